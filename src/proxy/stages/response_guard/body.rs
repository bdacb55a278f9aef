//! Searches a response body for the secret as it streams.

use std::{
    io::{self, Write},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body as HttpBody, Frame, SizeHint};

use super::decode::{Decoder, UnknownCoding};
use crate::{
    body::{Body, hint_after},
    credentials::{Lease, SecretMatch},
    error::{BoxError, Error, Kind},
    proxy::http_policy::{holds_secret, strip_reserved},
};

/// Searches for the secret in a text that comes in pieces.
pub(super) struct Search {
    lease: Arc<Lease>,
    /// The end of the text so far, if the secret could begin there.
    prefix: Vec<u8>,
    found: bool,
}

impl Search {
    pub(super) fn new(lease: Arc<Lease>) -> Self {
        Self { lease, prefix: Vec::new(), found: false }
    }

    /// Searches the next piece. Returns how many bytes at its end could begin the secret.
    fn push(&mut self, piece: &[u8]) -> usize {
        let needles = self.lease.needles();
        let joined;
        let text = if self.prefix.is_empty() {
            piece
        } else {
            joined = [&self.prefix, piece].concat();
            &joined
        };
        match needles.search(text) {
            SecretMatch::Absent => {
                self.prefix.clear();
                0
            }
            SecretMatch::Present => {
                self.found = true;
                0
            }
            SecretMatch::Beginning(at) => {
                let prefix = text.get(at..).unwrap_or_default().to_vec();
                self.prefix = prefix;
                self.prefix.len()
            }
        }
    }
}

impl Write for Search {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push(bytes);
        if self.found { Err(io::Error::other("found")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that breaks off before the secret.
pub(super) struct InspectedBody {
    body: Body,
    decoder: Decoder<Search>,
    /// Bytes that could be a part of the secret.
    held: Vec<u8>,
    over: bool,
}

impl InspectedBody {
    pub(super) fn new(
        body: Body,
        headers: &HeaderMap,
        lease: Arc<Lease>,
    ) -> Result<Self, UnknownCoding> {
        let decoder = Decoder::new(headers, Search::new(lease))?;
        Ok(Self { body, decoder, held: Vec::new(), over: false })
    }

    /// Searches the next piece. Returns the bytes that may be sent.
    fn take(&mut self, piece: Bytes) -> Result<Bytes, Error> {
        if let Decoder::Plain(search) = &mut self.decoder {
            let doubtful = search.push(&piece);
            if search.found {
                return Err(echoed());
            }
            if self.held.is_empty() && doubtful == 0 {
                return Ok(piece);
            }
            self.held.extend_from_slice(&piece);
            let clear = self.held.len().saturating_sub(doubtful);
            let rest = self.held.split_off(clear);
            return Ok(std::mem::replace(&mut self.held, rest).into());
        }
        self.decoder.push(&piece).map_err(|error| self.refusal(error))?;
        // A coded piece is sent one piece late: its last bytes may begin the secret.
        Ok(std::mem::replace(&mut self.held, piece.into()).into())
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        self.decoder.finish().map_err(|error| self.refusal(error))?;
        Ok(std::mem::take(&mut self.held).into())
    }

    fn refusal(&self, error: io::Error) -> Error {
        if self.decoder.sink().is_none_or(|search| search.found) {
            return echoed();
        }
        Error::new(Kind::UpstreamProtocol, "the upstream's answer is not coded as it says")
            .because(error)
    }
}

/// The error of a response that contains the secret.
pub(super) fn echoed() -> Error {
    Error::new(
        Kind::UpstreamEchoedSecret,
        "the upstream's answer holds the client secret and is not passed on",
    )
}

impl HttpBody for InspectedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        while !this.over {
            let data = match ready!(Pin::new(&mut this.body).poll_frame(cx)) {
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) => this.take(piece),
                    Err(trailers) => {
                        let trailers = trailers.into_trailers().ok();
                        let echo = trailers
                            .as_ref()
                            .zip(this.lease())
                            .is_some_and(|(fields, lease)| holds_secret(fields, lease));
                        if echo {
                            return Poll::Ready(Some(Err(echoed().into())));
                        }
                        let last = match this.finish() {
                            Ok(last) => last,
                            Err(error) => return Poll::Ready(Some(Err(error.into()))),
                        };
                        this.held = last.into();
                        if this.held.is_empty() {
                            return Poll::Ready(trailers.map(|mut fields| {
                                strip_reserved(&mut fields);
                                Ok(Frame::trailers(fields))
                            }));
                        }
                        // The held bytes come first, and these trailers are dropped.
                        this.over = true;
                        let last = std::mem::take(&mut this.held);
                        return Poll::Ready(Some(Ok(Frame::data(last.into()))));
                    }
                },
                None => {
                    this.over = true;
                    this.finish()
                }
            };
            match data {
                Ok(data) if data.is_empty() => {}
                Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                Err(error) => {
                    this.over = true;
                    return Poll::Ready(Some(Err(error.into())));
                }
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.over || (self.held.is_empty() && self.decoder.is_plain() && self.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        hint_after(self.held.len() as u64, self.body.size_hint())
    }
}

impl InspectedBody {
    fn lease(&self) -> Option<&Lease> {
        self.decoder.sink().map(|search| search.lease.as_ref())
    }
}
