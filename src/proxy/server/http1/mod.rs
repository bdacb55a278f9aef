//! HTTP/1.1 of a listener: one connection, from its first request to its close (RFC 9112).
//!
//! [`Http1::run`] is one loop: read a head, call the path, write the answer, decide how the connection goes
//! on. A caller may send its next request early; it is read when the answer before it is written.
//!
//! | file | its part |
//! | --- | --- |
//! | [`head`] | parses a head |
//! | `request_body` | reads a body that did not come with its head |
//! | [`chunked`] | decodes chunks |
//! | [`response_head`] | writes the head of an answer |
//! | `wire` | the bytes in both directions |
//! | `timer` | the time limits |

pub mod chunked;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
pub mod head;
mod parse_error;
mod request_body;
pub mod response_head;
mod timer;
mod wire;

use std::{
    future::poll_fn,
    io,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, Response, Version, header};
use http_body::Body as _;
use parking_lot::Mutex;
use tokio::time::Instant;

pub use self::parse_error::ParseError;
use self::{
    head::{Head, HeadFinder},
    request_body::request_body,
    response_head::AnswerFraming,
    timer::{Timer, Wait},
    wire::{Wire, batch},
};
use super::{Drain, Path, Settings, transport::Transport};
use crate::{
    body::Body,
    error::{Error, Kind},
    proxy::call::{Arrival, Connection, Interim, InterimQueue, SharedService, Unreadable},
};

/// Serves a connection until it ends. Returns the stream and the bytes that were read from it if the
/// caller speaks HTTP/2.
pub(super) async fn serve<P: Path, S: Transport>(
    stream: S,
    settings: &Settings,
    drain: &Drain,
    path: &SharedService<P>,
    connection: Arc<Connection>,
) -> io::Result<Option<(S, Bytes)>> {
    let wire = Arc::new(Mutex::new(Wire::new(stream)));
    let loan = EndOfLoan(&wire);
    let timer = Timer::new();
    let interim = InterimQueue::default();
    let http1 =
        Http1 { wire: &wire, timer, settings, drain, path, connection, interim, is_late: false };
    let end = http1.run().await?;
    drop(loan);
    Ok(match end {
        End::Closed => None,
        End::Http2 => Arc::into_inner(wire).map(|wire| wire.into_inner().into_parts()),
    })
}

/// Whatever ends the connection, a request body in use fails.
struct EndOfLoan<'a, S>(&'a Mutex<Wire<S>>);

impl<S> Drop for EndOfLoan<'_, S> {
    fn drop(&mut self) {
        self.0.lock().take_back();
    }
}

/// One connection.
struct Http1<'a, P, S> {
    wire: &'a Arc<Mutex<Wire<S>>>,
    timer: Timer,
    settings: &'a Settings,
    drain: &'a Drain,
    path: &'a SharedService<P>,
    connection: Arc<Connection>,
    /// The interim responses to the current request.
    interim: InterimQueue,
    /// Whether the current request came after the idle time, so that none may follow it.
    is_late: bool,
}

/// How a connection has ended.
enum End {
    Closed,
    /// It begins with the preface of HTTP/2.
    Http2,
}

/// What comes next on a connection.
enum Message {
    Request(Box<Head>),
    Unreadable(Unreadable),
    Http2,
    /// Nothing more.
    None,
}

/// What an answer depends on.
struct Exchange {
    method: Method,
    version: Version,
    /// Whether the caller will use the connection again.
    keep_alive: bool,
}

impl<P: Path, S: Transport> Http1<'_, P, S> {
    async fn run(mut self) -> io::Result<End> {
        loop {
            let (request, exchange) = match self.next_message().await? {
                Message::Request(head) => self.request(*head),
                Message::Unreadable(unreadable) => (Err(unreadable), Exchange::LAST),
                Message::Http2 => return Ok(End::Http2),
                Message::None => break,
            };
            self.connection.begin_call();
            let answer = self.call(request, &exchange).await?;
            if !self.answer(answer, &exchange).await? {
                break;
            }
        }
        self.close().await?;
        Ok(End::Closed)
    }

    /// Waits for the next head and parses it.
    async fn next_message(&mut self) -> io::Result<Message> {
        let timeouts = self.settings.timeouts;
        let mut finder = HeadFinder::new(self.settings.head_bytes, self.settings.header_count);
        let may_be_http2 = !self.connection.is_used();
        self.is_late = false;
        self.timer.stop();
        poll_fn(|cx| {
            let wire = &mut *self.wire.lock();
            let written = wire.poll_flush(cx)?;
            while written.is_ready() {
                if may_be_http2 && wire.read.starts_with(PREFACE) {
                    return Poll::Ready(Ok(Message::Http2));
                }
                if !(may_be_http2 && PREFACE.starts_with(&wire.read)) {
                    match finder.find(&mut wire.read) {
                        Ok(None) => {}
                        Ok(Some(head)) => return Poll::Ready(Ok(Message::Request(Box::new(head)))),
                        Err(error) => return Poll::Ready(Ok(unreadable(wire, error.into_error()))),
                    }
                }
                match wire.poll_read(cx) {
                    Poll::Pending => break,
                    Poll::Ready(Ok(0)) => return Poll::Ready(Ok(Message::None)),
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            loop {
                let (wait, limit) = if written.is_pending() {
                    (Wait::Write(wire.progress()), timeouts.write)
                } else if !wire.read.is_empty() {
                    (Wait::Head, timeouts.head)
                } else if self.connection.is_closing() {
                    let limit =
                        if self.connection.is_used() { Duration::ZERO } else { FIRST_REQUEST };
                    (Wait::FirstRequest, limit)
                } else if self.is_late {
                    (Wait::LateRequest, GRACE)
                } else {
                    (Wait::Request, timeouts.idle)
                };
                ready!(self.timer.poll(wait, limit, cx));
                match wait {
                    Wait::Request => self.is_late = true,
                    Wait::Head => return Poll::Ready(Ok(unreadable(wire, late_head()))),
                    Wait::LateRequest | Wait::FirstRequest => {
                        return Poll::Ready(Ok(Message::None));
                    }
                    Wait::Write(_) | Wait::Close(_) => {
                        return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                    }
                }
            }
        })
        .await
    }

    fn request(&self, head: Head) -> (Result<Request<Body>, Unreadable>, Exchange) {
        let Head { request, framing, keep_alive, expects_continue } = head;
        let exchange =
            Exchange { method: request.method().clone(), version: request.version(), keep_alive };
        let body = request_body(self.wire, framing, expects_continue);
        (Ok(request.map(|()| body)), exchange)
    }

    /// Calls the path. Fails if the caller leaves meanwhile.
    async fn call(
        &mut self,
        request: Result<Request<Body>, Unreadable>,
        exchange: &Exchange,
    ) -> io::Result<Response<P::Body>> {
        // HTTP/1.0 has no interim responses (RFC 9110 §15.2).
        let interim = (exchange.version == Version::HTTP_11).then(|| self.interim.clone());
        self.interim.clear();
        let arrival = Arrival { request, connection: Arc::clone(&self.connection), interim };
        let mut call = pin!(self.path.call(arrival));
        poll_fn(|cx| {
            let answer = call.as_mut().poll(cx);
            // Before the answer: both can come at once.
            while let Poll::Ready(Interim { status, headers }) = self.interim.poll_next(cx) {
                response_head::write_interim(self.wire.lock().buffer(), status, &headers);
                batch(self.wire, cx);
            }
            if let Poll::Ready(Ok(answer)) = answer {
                return Poll::Ready(Ok(answer));
            }
            self.poll_failed(cx).map(Err)
        })
        .await
    }

    /// Writes an answer. Returns whether the connection goes on.
    async fn answer(&mut self, answer: Response<P::Body>, exchange: &Exchange) -> io::Result<bool> {
        let framing = response_head::framing(&exchange.method, exchange.version, &answer);
        let keep_alive = exchange.keep_alive
            && framing != AnswerFraming::UntilClose
            && !self.is_late
            && !self.connection.is_closing()
            && !self.drain.is_leaving()
            && !answer.headers().contains_key(header::CONNECTION)
            && self.wire.lock().is_complete();
        let persistence = keep_alive.then_some(self.settings.keep_alive_fields.as_str());
        let (parts, body) = answer.into_parts();
        response_head::write(
            self.wire.lock().buffer(),
            parts.status,
            &parts.headers,
            framing,
            persistence,
        );
        if let AnswerFraming::Empty(_) = framing {
            drop(body);
        } else {
            self.write_body(body, framing).await?;
        }
        poll_fn(|cx| {
            batch(self.wire, cx);
            Poll::Ready(())
        })
        .await;
        Ok(keep_alive)
    }

    async fn write_body(&mut self, body: P::Body, framing: AnswerFraming) -> io::Result<()> {
        let mut body = pin!(body);
        let mut left = match framing {
            AnswerFraming::Length(length) => length,
            _ => u64::MAX,
        };
        let is_chunked = framing == AnswerFraming::Chunked;
        while !body.is_end_stream() {
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                    return Poll::Ready(Ok(frame));
                }
                batch(self.wire, cx);
                self.poll_failed(cx).map(Err)
            });
            let Some(frame) = frame.await? else { break };
            // HTTP/1 answers have no trailers: callers do not ask for them.
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
            left = left.checked_sub(data.len() as u64).ok_or_else(wrong_length)?;
            if !data.is_empty() {
                self.write_data(data, is_chunked).await?;
            }
        }
        match framing {
            AnswerFraming::Length(_) if left > 0 => return Err(wrong_length()),
            AnswerFraming::Chunked => self.wire.lock().buffer().extend_from_slice(LAST_CHUNK),
            _ => {}
        }
        Ok(())
    }

    async fn write_data(&mut self, mut data: Bytes, is_chunked: bool) -> io::Result<()> {
        if is_chunked {
            response_head::write_chunk_size(self.wire.lock().buffer(), data.len());
        }
        let is_small = {
            let mut wire = self.wire.lock();
            let is_small = wire.unwritten() + data.len() <= BATCHED;
            if is_small {
                wire.buffer().extend_from_slice(&data);
            }
            is_small
        };
        if !is_small {
            self.write(&mut data).await?;
        }
        if is_chunked {
            self.wire.lock().buffer().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Writes the bytes that wait and then these. Fails if the caller takes none of them for too long.
    async fn write(&mut self, data: &mut Bytes) -> io::Result<()> {
        poll_fn(|cx| {
            let mut wire = self.wire.lock();
            if let Poll::Ready(written) = wire.poll_write(cx, data) {
                return Poll::Ready(written);
            }
            let wait = Wait::Write(wire.progress());
            ready!(self.timer.poll(wait, self.settings.timeouts.write, cx));
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }

    /// Waits until the connection has failed, during a call.
    fn poll_failed(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        let mut wire = self.wire.lock();
        if let Poll::Ready(()) = wire.poll_left(cx) {
            return Poll::Ready(io::ErrorKind::ConnectionAborted.into());
        }
        match wire.poll_flush(cx) {
            Poll::Ready(Ok(())) => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(error),
            Poll::Pending => {
                let wait = Wait::Write(wire.progress());
                ready!(self.timer.poll(wait, self.settings.timeouts.write, cx));
                Poll::Ready(io::ErrorKind::TimedOut.into())
            }
        }
    }

    /// Closes the connection so that the last answer arrives (RFC 9112 §9.6).
    ///
    /// A socket that is closed with unread bytes is reset, and the reset can overtake the answer. So if
    /// the caller may still be sending, its bytes are read for a while after the end is signalled.
    async fn close(&mut self) -> io::Result<()> {
        self.write(&mut Bytes::new()).await?;
        let may_send = {
            let mut wire = self.wire.lock();
            let may_send = !wire.is_complete() || !wire.read.is_empty();
            wire.take_back();
            may_send
        };
        if !may_send && !S::HAS_END {
            // The stream is dropped next, which saves a system call.
            return Ok(());
        }
        poll_fn(|cx| self.wire.lock().poll_shutdown(cx)).await?;
        if !may_send {
            return Ok(());
        }
        let (mut discarded, ends) = (0, Instant::now() + CLOSE);
        poll_fn(|cx| {
            while let Poll::Ready(read) = self.wire.lock().poll_discard(cx) {
                match read {
                    Ok(1..) if Instant::now() >= ends => return Poll::Ready(()),
                    Ok(length @ 1..) => discarded += length as u64,
                    Ok(0) | Err(_) => return Poll::Ready(()),
                }
            }
            self.timer.poll(Wait::Close(discarded), CLOSE_SILENT, cx)
        })
        .await;
        Ok(())
    }
}

impl Exchange {
    /// After a message that cannot be read, the beginning of the next one is unknown.
    const LAST: Self = Self { method: Method::GET, version: Version::HTTP_11, keep_alive: false };
}

/// A message that is refused before it is a request.
fn unreadable<S>(wire: &mut Wire<S>, error: Error) -> Message {
    let (method, target) = head::method_and_target(&wire.read);
    let unreadable = Unreadable::new(method, target, error);
    wire.give_up();
    Message::Unreadable(unreadable)
}

fn late_head() -> Error {
    Error::new(Kind::HeadTimeout, "the request's head did not arrive within `timeouts.header_read`")
}

fn wrong_length() -> io::Error {
    io::Error::other("the answer has another length than it states")
}

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The most bytes that wait for the end of the worker's pass. To copy more costs as much as to write
/// them.
const BATCHED: usize = 16 * 1024;
/// How long after the idle time a request is still answered.
const GRACE: Duration = Duration::from_secs(1);
/// The time for the first request of a connection when the gateway drains.
const FIRST_REQUEST: Duration = Duration::from_millis(500);
/// How long the bytes of a caller are read after the last answer, and how long the caller may be silent.
const CLOSE: Duration = Duration::from_secs(30);
const CLOSE_SILENT: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
