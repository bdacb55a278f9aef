//! A caller's bytes, looked at before hyper reads them.
//!
//! hyper takes much of what HTTP/1 allows a recipient to take, repairs some of it before anyone can
//! see it (`Content-Length` beside `Transfer-Encoding`), and finds an error of a body's framing only
//! while the body is on its way to the upstream. Here every message is followed from its first byte
//! to its last: what passes has one reading, and hyper is given one message at a time.
//!
//! A head that is refused is replaced by one that says nothing, and the [`Connection`] remembers
//! why. So the refusal goes down the path like any other: a problem document, a record, and the end
//! of the connection. A body that is refused breaks off at the byte that is wrong.
//!
//! On HTTP/2 the bytes are hyper's; what ends a connection all the same is in [`frame_budget`].

pub mod chunked;
mod lingering_close;
pub mod frame_budget;
pub mod head;
mod detect;

use std::{
    io,
    pin::Pin,
    sync::{Arc, LazyLock},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use memchr::memmem::Finder;
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::Instant,
};

use self::{chunked::Chunked, frame_budget::FrameBudget, head::Framing, lingering_close::Linger};
pub(super) use self::{detect::Spoken, lingering_close::CloseMode};
use super::tls::Protocol;
use crate::proxy::call::{Connection, ParseError};

/// What a head may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Bytes, with the empty line.
    pub(super) bytes: usize,
    /// Fields.
    pub(super) fields: usize,
}

/// A stream that hands on only what can be read in one way.
pub(super) struct StrictReader<S> {
    stream: S,
    connection: Arc<Connection>,
    limits: HeadLimits,
    farewell: CloseMode,
    place: Place,
    /// What has been read and is not handed on yet.
    held: BytesMut,
    /// How many of the held bytes may go on.
    cleared: usize,
    linger: Option<Linger>,
}

/// Where in the caller's bytes the next one stands.
enum Place {
    /// At the beginning of a connection that may turn out to be HTTP/2.
    Opening,
    /// Before or in a head.
    Head,
    /// In a body of which so many bytes are left.
    Length(u64),
    Chunked(Chunked),
    Http2(FrameBudget),
    /// SharedService a head that was refused: nothing more is read.
    Refused,
    /// SharedService a body's framing that was wrong.
    Broken(ParseError),
}

/// What a look at some bytes said.
enum Verdict {
    /// So many may go on; what is behind them is another message or not complete yet.
    Pass(usize),
    /// More bytes are needed to say anything.
    More,
    /// The head they begin with is refused.
    Refuse(ParseError),
    /// They may not be read at all.
    Fail(io::Error),
}

impl<S> StrictReader<S> {
    /// Follows a stream on which that protocol is spoken.
    pub(super) fn new(
        stream: S,
        connection: Arc<Connection>,
        limits: HeadLimits,
        protocol: Protocol,
        farewell: CloseMode,
    ) -> Self {
        let held = BytesMut::new();
        let place = match protocol {
            Protocol::Unknown => Place::Opening,
            Protocol::Http1 => Place::Head,
            Protocol::Http2 => Place::Http2(FrameBudget::new(Instant::now(), PREFACE.len())),
        };
        Self { stream, connection, limits, farewell, place, held, cleared: 0, linger: None }
    }

    /// Looks at a head and at what is there of its body, or at a body: up to the end of the message.
    /// What comes in one piece goes on in one, so that its reader needs one buffer for it.
    fn look_on(&mut self, bytes: &[u8]) -> Verdict {
        let mut passed = 0;
        loop {
            match self.look(bytes.get(passed..).unwrap_or_default()) {
                Verdict::Pass(length) => {
                    passed += length;
                    let is_in_body = matches!(self.place, Place::Length(_) | Place::Chunked(_));
                    if length == 0 || passed == bytes.len() || !is_in_body {
                        return Verdict::Pass(passed);
                    }
                }
                verdict if passed == 0 => return verdict,
                // What is right goes on first. The next look says the same of the rest.
                Verdict::More | Verdict::Refuse(_) | Verdict::Fail(_) => {
                    return Verdict::Pass(passed);
                }
            }
        }
    }

    /// Looks at bytes that begin where the last look ended.
    fn look(&mut self, bytes: &[u8]) -> Verdict {
        match &mut self.place {
            Place::Opening => self.opening(bytes),
            Place::Head => self.head(bytes),
            Place::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= take as u64;
                if *left == 0 {
                    self.place = Place::Head;
                }
                Verdict::Pass(take)
            }
            Place::Chunked(chunked) => match chunked.advance(bytes) {
                Ok(take) => {
                    if chunked.is_over() {
                        self.place = Place::Head;
                    }
                    Verdict::Pass(take)
                }
                Err(defect) => {
                    // The head of this body is on its way: its reader learns of it.
                    self.place = Place::Broken(defect);
                    Verdict::Fail(broken(defect))
                }
            },
            Place::Http2(meter) => match meter.advance(bytes, Instant::now) {
                Ok(()) => Verdict::Pass(bytes.len()),
                Err(breach) => Verdict::Fail(io::Error::other(breach)),
            },
            Place::Refused => Verdict::Pass(0),
            Place::Broken(defect) => Verdict::Fail(broken(*defect)),
        }
    }

    fn opening(&mut self, bytes: &[u8]) -> Verdict {
        if let Some(frames) = bytes.strip_prefix(PREFACE) {
            let mut meter = FrameBudget::new(Instant::now(), 0);
            let verdict = meter.advance(frames, Instant::now);
            self.place = Place::Http2(meter);
            return match verdict {
                Ok(()) => Verdict::Pass(bytes.len()),
                Err(breach) => Verdict::Fail(io::Error::other(breach)),
            };
        }
        if PREFACE.starts_with(bytes) {
            return Verdict::More;
        }
        let verdict = self.head(bytes);
        match verdict {
            // Nobody would understand an answer.
            Verdict::Refuse(ParseError::NotHttp) => {
                Verdict::Fail(io::Error::new(io::ErrorKind::InvalidData, ParseError::NotHttp))
            }
            verdict => verdict,
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Verdict {
        // One empty line before a request is passed over (RFC 9112 §2.2).
        let skip = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(end) = bytes.get(skip..).and_then(|rest| END.find(rest)) else {
            return self.part_of_a_head(bytes);
        };
        let end = skip + end + 4;
        let head = bytes.get(..end).unwrap_or_default();
        if end > self.limits.bytes {
            return Verdict::Refuse(too_large(head));
        }
        match head::check(head, self.limits.fields) {
            Ok(framing) => {
                self.place = match framing {
                    Framing::Empty => Place::Head,
                    Framing::Length(length) => Place::Length(length),
                    Framing::Chunked => Place::Chunked(Chunked::new()),
                };
                Verdict::Pass(end)
            }
            Err(defect) => Verdict::Refuse(defect),
        }
    }

    fn part_of_a_head(&self, bytes: &[u8]) -> Verdict {
        let is_bare = |at: usize| at == 0 || bytes.get(at - 1) != Some(&b'\r');
        if memchr::memchr_iter(b'\n', bytes).any(is_bare) {
            return Verdict::Refuse(ParseError::LineEnd);
        }
        if bytes.len() > self.limits.bytes {
            return Verdict::Refuse(too_large(bytes));
        }
        // A request line that is whole and wrong will not get better.
        match head::check_request_line(bytes) {
            Some(Err(defect)) => Verdict::Refuse(defect),
            Some(Ok(())) | None => Verdict::More,
        }
    }

    /// Looks at what is held, and says whether any of it may go on now.
    fn look_at_held(&mut self) -> io::Result<bool> {
        let held = std::mem::take(&mut self.held);
        let verdict = self.look_on(&held);
        self.held = held;
        match verdict {
            Verdict::Pass(0) | Verdict::More => return Ok(false),
            Verdict::Pass(length) => self.cleared = length,
            Verdict::Refuse(defect) => self.refuse(defect),
            Verdict::Fail(error) => return Err(error),
        }
        Ok(true)
    }

    /// Puts a head that says nothing in the place of one that is refused.
    fn refuse(&mut self, defect: ParseError) {
        self.connection.refuse(defect);
        let told = head::method_and_target(&self.held)
            .filter(|(_, target)| target.starts_with('/') && target.len() <= MAX_TARGET)
            .map(|(method, target)| (method.to_owned(), target.to_owned()));
        self.held.clear();
        let (method, target) = told.unwrap_or_else(|| ("-".to_owned(), "*".to_owned()));
        let head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n\r\n");
        self.held.extend_from_slice(head.as_bytes());
        self.cleared = self.held.len();
        self.place = Place::Refused;
    }

    /// Hands on what may go on of what is held.
    fn forward(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let length = self.cleared.min(buffer.remaining());
        let Some(bytes) = self.held.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return false;
        };
        buffer.put_slice(bytes);
        self.held.advance(length);
        self.cleared -= length;
        if self.held.is_empty() {
            // Most connections never hold anything again.
            self.held = BytesMut::new();
        }
        true
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for StrictReader<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if this.forward(buffer) {
                return Poll::Ready(Ok(()));
            }
            if matches!(this.place, Place::Refused) {
                // hyper has all it gets; it closes the connection once the refusal is sent.
                return Poll::Pending;
            }
            if !this.held.is_empty() && this.look_at_held()? {
                continue;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                // Nearly always: a whole message, handed on where it lies.
                match this.look_on(read) {
                    Verdict::Pass(length) if length == read.len() => return Poll::Ready(Ok(())),
                    Verdict::Pass(length) if length > 0 => {
                        this.held.extend_from_slice(read.get(length..).unwrap_or_default());
                        buffer.set_filled(before + length);
                        return Poll::Ready(Ok(()));
                    }
                    Verdict::Fail(error) => return Poll::Ready(Err(error)),
                    // Looked at again below, now that it is held.
                    Verdict::Pass(_) | Verdict::More | Verdict::Refuse(_) => {}
                }
            }
            this.held.extend_from_slice(read);
            buffer.set_filled(before);
        }
    }
}

/// A head over the limit, told by its part that is.
fn too_large(head: &[u8]) -> ParseError {
    let line = memchr::memchr(b'\n', head).map_or(head, |end| head.get(..end).unwrap_or_default());
    match memchr::memchr(b' ', line) {
        None | Some(MAX_METHOD..) => ParseError::Method,
        Some(_) if line.len() > MAX_TARGET => ParseError::TargetTooLong,
        Some(_) => ParseError::HeadTooLarge,
    }
}

fn broken(defect: ParseError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, defect)
}

/// Made once: every request's head is looked through.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));
/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer than any method.
const MAX_METHOD: usize = 33;
/// The longest target that is written down for a request that is refused.
const MAX_TARGET: usize = 8 * 1024;

#[cfg(test)]
mod tests;
