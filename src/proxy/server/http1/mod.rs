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
//! | [`response_head`], `answer` | write an answer |
//! | `close` | closes in stages |
//! | `wire` | the bytes in both directions |
//! | `timer` | the time limits |

mod answer;
pub mod chunked;
mod close;
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

use bytes::{Bytes, BytesMut};
use http::{Method, Request, Response, Version};
use parking_lot::Mutex;

pub(super) use self::close::{CLOSE, CLOSE_SILENT};
pub use self::parse_error::ParseError;
use self::{
    head::{Head, HeadFinder},
    request_body::{Announced, request_body},
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
}

impl Exchange {
    /// After a message that cannot be read, the beginning of the next one is unknown.
    const LAST: Self = Self { method: Method::GET, version: Version::HTTP_11, keep_alive: false };
}

/// Reads a head as the first one of a connection, for a preview of its call. Its body has the announced
/// size and never comes.
pub(in crate::proxy) fn read_head(
    head: &[u8],
    max_bytes: usize,
    max_fields: usize,
) -> Result<Request<Body>, Unreadable> {
    let mut read = BytesMut::from(head);
    let found = HeadFinder::new(max_bytes, max_fields).find(&mut read);
    match found.and_then(|head| head.ok_or(ParseError::LineEnd)) {
        Ok(Head { request, framing, .. }) => Ok(request.map(|()| Announced::body(framing))),
        Err(error) => {
            let (method, target) = head::method_and_target(head);
            Err(Unreadable::new(method, target, error.into_error()))
        }
    }
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

/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long after the idle time a request is still answered.
const GRACE: Duration = Duration::from_secs(1);
/// The time for the first request of a connection when the gateway drains.
const FIRST_REQUEST: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;
