//! Looks at an answer's body while it passes.

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
    body::Body,
    credentials::{Lease, Sighting},
    error::{BoxError, Error, Kind},
    proxy::http_policy::strip_reserved,
};

/// Looks for the secret in the pieces of a text.
pub(super) struct Watch {
    lease: Arc<Lease>,
    /// The end of what was looked at, as far as it could be the beginning of the secret.
    beginning: Vec<u8>,
    found: bool,
}

impl Watch {
    pub(super) fn new(lease: Arc<Lease>) -> Self {
        Self { lease, beginning: Vec::new(), found: false }
    }

    /// Looks at the next piece; how many bytes at its end are in doubt.
    fn look(&mut self, piece: &[u8]) -> usize {
        let needles = self.lease.needles();
        let joined;
        let text = if self.beginning.is_empty() {
            piece
        } else {
            joined = [&self.beginning, piece].concat();
            &joined
        };
        match needles.look(text) {
            Sighting::Nothing => {
                self.beginning.clear();
                0
            }
            Sighting::Secret => {
                self.found = true;
                0
            }
            Sighting::Beginning(at) => {
                let beginning = text.get(at..).unwrap_or_default().to_vec();
                self.beginning = beginning;
                self.beginning.len()
            }
        }
    }
}

impl Write for Watch {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.look(bytes);
        if self.found { Err(io::Error::other("found")) } else { Ok(bytes.len()) }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A body that breaks off where the secret begins.
pub(super) struct Guarded {
    body: Body,
    decoder: Decoder<Watch>,
    /// Bytes that are not handed on before it is clear that they are not the secret's.
    held: Vec<u8>,
    over: bool,
}

impl Guarded {
    pub(super) fn new(
        body: Body,
        headers: &HeaderMap,
        lease: Arc<Lease>,
    ) -> Result<Self, UnknownCoding> {
        let decoder = Decoder::new(headers, Watch::new(lease))?;
        Ok(Self { body, decoder, held: Vec::new(), over: false })
    }

    /// Takes the next piece; what of it may go on.
    fn take(&mut self, piece: Bytes) -> Result<Bytes, Error> {
        if let Decoder::Plain(watch) = &mut self.decoder {
            let doubtful = watch.look(&piece);
            if watch.found {
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
        // What was compressed goes on one piece late: its last bytes may be the secret's first.
        Ok(std::mem::replace(&mut self.held, piece.into()).into())
    }

    fn finish(&mut self) -> Result<Bytes, Error> {
        self.decoder.finish().map_err(|error| self.refusal(error))?;
        Ok(std::mem::take(&mut self.held).into())
    }

    fn refusal(&self, error: io::Error) -> Error {
        if self.decoder.sink().is_none_or(|watch| watch.found) {
            return echoed();
        }
        Error::new(Kind::UpstreamProtocol, "the upstream's answer is not coded as it says")
            .because(error)
    }
}

/// The answer to a call whose answer held the secret.
pub(super) fn echoed() -> Error {
    Error::new(
        Kind::UpstreamEchoedSecret,
        "the upstream's answer holds the client secret and is not passed on",
    )
}

impl HttpBody for Guarded {
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
                            .is_some_and(|fields| super::is_in_fields(fields, this.lease()));
                        if echo {
                            return Poll::Ready(Some(Err(echoed().into())));
                        }
                        // Everything else of the body was handed on or is flushed now.
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
                        // Rare enough: a doubtful end and trailers. The body is what counts.
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
        let held = self.held.len() as u64;
        let rest = self.body.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower() + held);
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper + held);
        }
        hint
    }
}

impl Guarded {
    fn lease(&self) -> Option<&Lease> {
        self.decoder.sink().map(|watch| watch.lease.as_ref())
    }
}
