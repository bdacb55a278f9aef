//! A strict reader of a caller's bytes, in front of hyper.
//!
//! hyper accepts most of what HTTP/1 allows a recipient to accept, repairs some of it before a service
//! can see it (`Content-Length` beside `Transfer-Encoding`), and finds a framing error in a body only
//! while the body is on its way to the upstream. This reader parses each message from its first byte to
//! its last one: only an unambiguous message passes, and hyper gets one message at a time.
//!
//! A refused head is replaced by a neutral one, and the [`Connection`] stores the reason. So the refusal
//! takes the path like any other: a problem document, a record, and the end of the connection. A refused
//! body breaks off before the wrong byte.
//!
//! HTTP/2 is hyper's. [`super::http2::frame_budget`] ends connections that abuse it.

pub mod chunked;
mod detect;
pub mod head;
mod lingering_close;

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

use self::{chunked::Chunked, head::Framing, lingering_close::Linger};
pub(super) use self::{detect::HttpVersion, lingering_close::CloseMode};
use super::{http2::frame_budget::FrameBudget, tls::Protocol};
use crate::proxy::call::{Connection, ParseError};

/// The limits of a head.
#[derive(Clone, Copy, Debug)]
pub(super) struct HeadLimits {
    /// Bytes, with the empty line.
    pub(super) bytes: usize,
    /// Fields.
    pub(super) fields: usize,
}

/// A stream that passes on only unambiguous messages.
pub(super) struct StrictReader<S> {
    stream: S,
    connection: Arc<Connection>,
    limits: HeadLimits,
    close_mode: CloseMode,
    state: ParserState,
    /// The bytes that have been read and not passed on.
    held: BytesMut,
    /// How many of the held bytes may pass.
    cleared: usize,
    linger: Option<Linger>,
}

/// What the next byte belongs to.
enum ParserState {
    /// The beginning of a connection that may be HTTP/2.
    Opening,
    /// A head, or the space before one.
    Head,
    /// A body with this many bytes left.
    Length(u64),
    /// A chunked body.
    Chunked(Chunked),
    /// An HTTP/2 connection.
    Http2(FrameBudget),
    /// Nothing: a head was refused, and nothing more is read.
    Refused,
    /// Nothing: the framing of a body was wrong.
    Broken(ParseError),
}

/// The result of parsing some bytes.
enum ParseStep {
    /// This many bytes may pass. The rest is another message or incomplete.
    Pass(usize),
    /// More bytes are needed.
    More,
    /// The head is refused.
    Refuse(ParseError),
    /// The connection must end.
    Fail(io::Error),
}

impl<S> StrictReader<S> {
    /// A reader of a stream with this protocol.
    pub(super) fn new(
        stream: S,
        connection: Arc<Connection>,
        limits: HeadLimits,
        protocol: Protocol,
        close_mode: CloseMode,
    ) -> Self {
        let held = BytesMut::new();
        let state = match protocol {
            Protocol::Unknown => ParserState::Opening,
            Protocol::Http1 => ParserState::Head,
            Protocol::Http2 => ParserState::Http2(FrameBudget::new(Instant::now(), PREFACE.len())),
        };
        Self { stream, connection, limits, close_mode, state, held, cleared: 0, linger: None }
    }

    /// Parses up to the end of the message. A head and a body that came in one piece pass in one piece, so
    /// that hyper needs one buffer for them.
    fn parse_message(&mut self, bytes: &[u8]) -> ParseStep {
        let mut passed = 0;
        loop {
            match self.parse(bytes.get(passed..).unwrap_or_default()) {
                ParseStep::Pass(length) => {
                    passed += length;
                    let is_in_body =
                        matches!(self.state, ParserState::Length(_) | ParserState::Chunked(_));
                    if length == 0 || passed == bytes.len() || !is_in_body {
                        return ParseStep::Pass(passed);
                    }
                }
                step if passed == 0 => return step,
                // The correct part passes first. The next call returns the same step for the rest.
                ParseStep::More | ParseStep::Refuse(_) | ParseStep::Fail(_) => {
                    return ParseStep::Pass(passed);
                }
            }
        }
    }

    /// Parses bytes that follow the last ones.
    fn parse(&mut self, bytes: &[u8]) -> ParseStep {
        match &mut self.state {
            ParserState::Opening => self.opening(bytes),
            ParserState::Head => self.head(bytes),
            ParserState::Length(left) => {
                let take = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= take as u64;
                if *left == 0 {
                    self.state = ParserState::Head;
                }
                ParseStep::Pass(take)
            }
            ParserState::Chunked(chunked) => match chunked.advance(bytes) {
                Ok(take) => {
                    if chunked.is_over() {
                        self.state = ParserState::Head;
                    }
                    ParseStep::Pass(take)
                }
                Err(error) => {
                    // The head has passed, so the reader of the body gets the error.
                    self.state = ParserState::Broken(error);
                    ParseStep::Fail(broken(error))
                }
            },
            ParserState::Http2(budget) => match budget.advance(bytes, Instant::now) {
                Ok(()) => ParseStep::Pass(bytes.len()),
                Err(abuse) => ParseStep::Fail(io::Error::other(abuse)),
            },
            ParserState::Refused => ParseStep::Pass(0),
            ParserState::Broken(error) => ParseStep::Fail(broken(*error)),
        }
    }

    fn opening(&mut self, bytes: &[u8]) -> ParseStep {
        if let Some(frames) = bytes.strip_prefix(PREFACE) {
            let mut budget = FrameBudget::new(Instant::now(), 0);
            let step = budget.advance(frames, Instant::now);
            self.state = ParserState::Http2(budget);
            return match step {
                Ok(()) => ParseStep::Pass(bytes.len()),
                Err(abuse) => ParseStep::Fail(io::Error::other(abuse)),
            };
        }
        if PREFACE.starts_with(bytes) {
            return ParseStep::More;
        }
        let step = self.head(bytes);
        match step {
            // The peer would not understand a response.
            ParseStep::Refuse(ParseError::NotHttp) => {
                ParseStep::Fail(io::Error::new(io::ErrorKind::InvalidData, ParseError::NotHttp))
            }
            step => step,
        }
    }

    fn head(&mut self, bytes: &[u8]) -> ParseStep {
        // One empty line before a request is skipped (RFC 9112 §2.2).
        let skip = if bytes.starts_with(b"\r\n") { 2 } else { 0 };
        let Some(end) = bytes.get(skip..).and_then(|rest| END.find(rest)) else {
            return self.incomplete_head(bytes);
        };
        let end = skip + end + 4;
        let head = bytes.get(..end).unwrap_or_default();
        if end > self.limits.bytes {
            return ParseStep::Refuse(too_large(head));
        }
        match head::check(head, self.limits.fields) {
            Ok(framing) => {
                self.state = match framing {
                    Framing::Empty => ParserState::Head,
                    Framing::Length(length) => ParserState::Length(length),
                    Framing::Chunked => ParserState::Chunked(Chunked::new()),
                };
                ParseStep::Pass(end)
            }
            Err(error) => ParseStep::Refuse(error),
        }
    }

    fn incomplete_head(&self, bytes: &[u8]) -> ParseStep {
        let is_bare = |at: usize| at == 0 || bytes.get(at - 1) != Some(&b'\r');
        if memchr::memchr_iter(b'\n', bytes).any(is_bare) {
            return ParseStep::Refuse(ParseError::LineEnd);
        }
        if bytes.len() > self.limits.bytes {
            return ParseStep::Refuse(too_large(bytes));
        }
        // A complete request line that is wrong stays wrong.
        match head::check_request_line(bytes) {
            Some(Err(error)) => ParseStep::Refuse(error),
            Some(Ok(())) | None => ParseStep::More,
        }
    }

    /// Parses the held bytes. Returns whether any of them may pass.
    fn parse_held(&mut self) -> io::Result<bool> {
        let held = std::mem::take(&mut self.held);
        let step = self.parse_message(&held);
        self.held = held;
        match step {
            ParseStep::Pass(0) | ParseStep::More => return Ok(false),
            ParseStep::Pass(length) => self.cleared = length,
            ParseStep::Refuse(error) => self.refuse(error),
            ParseStep::Fail(error) => return Err(error),
        }
        Ok(true)
    }

    /// Replaces a refused head by a neutral one.
    fn refuse(&mut self, error: ParseError) {
        self.connection.refuse(error);
        let known = head::method_and_target(&self.held)
            .filter(|(_, target)| target.as_str().len() <= MAX_TARGET)
            .map(|(method, target)| (method.to_owned(), target.to_string()));
        self.held.clear();
        let (method, target) = known.unwrap_or_else(|| ("-".to_owned(), "*".to_owned()));
        let head = format!("{method} {target} HTTP/1.1\r\nconnection: close\r\n\r\n");
        self.held.extend_from_slice(head.as_bytes());
        self.cleared = self.held.len();
        self.state = ParserState::Refused;
    }

    /// Passes on held bytes that may pass.
    fn pass_on(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let length = self.cleared.min(buffer.remaining());
        let Some(bytes) = self.held.get(..length).filter(|bytes| !bytes.is_empty()) else {
            return false;
        };
        buffer.put_slice(bytes);
        self.held.advance(length);
        self.cleared -= length;
        if self.held.is_empty() {
            // Most connections never hold bytes again.
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
            if this.pass_on(buffer) {
                return Poll::Ready(Ok(()));
            }
            if matches!(this.state, ParserState::Refused) {
                // hyper closes the connection when the refusal is sent.
                return Poll::Pending;
            }
            if !this.held.is_empty() && this.parse_held()? {
                continue;
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            if this.held.is_empty() {
                // The rule: a complete message, which passes without a copy.
                match this.parse_message(read) {
                    ParseStep::Pass(length) if length == read.len() => return Poll::Ready(Ok(())),
                    ParseStep::Pass(length) if length > 0 => {
                        this.held.extend_from_slice(read.get(length..).unwrap_or_default());
                        buffer.set_filled(before + length);
                        return Poll::Ready(Ok(()));
                    }
                    ParseStep::Fail(error) => return Poll::Ready(Err(error)),
                    // Parsed again below, when it is held.
                    ParseStep::Pass(_) | ParseStep::More | ParseStep::Refuse(_) => {}
                }
            }
            this.held.extend_from_slice(read);
            buffer.set_filled(before);
        }
    }
}

/// The error for a head over the limit, by the part that is over it.
fn too_large(head: &[u8]) -> ParseError {
    let line = memchr::memchr(b'\n', head).map_or(head, |end| head.get(..end).unwrap_or_default());
    match memchr::memchr(b' ', line) {
        None | Some(MAX_METHOD..) => ParseError::Method,
        Some(_) if line.len() > MAX_TARGET => ParseError::TargetTooLong,
        Some(_) => ParseError::HeadTooLarge,
    }
}

fn broken(error: ParseError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Made once, because each head is searched.
static END: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\r\n\r\n"));
/// RFC 9113 §3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Longer than any method.
const MAX_METHOD: usize = 33;
/// The longest target in the record of a refused head.
const MAX_TARGET: usize = 8 * 1024;

#[cfg(test)]
mod tests;
