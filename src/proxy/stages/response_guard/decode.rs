//! Decodes content codings, so that a body can be searched (RFC 9110 §8.4.1).
//!
//! The decoders are pure Rust, because the upstream's bytes are not trusted.

use std::io::{self, Read as _, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, header};

/// Decodes a body piece by piece into `W`.
pub(super) enum Decoder<W: Write> {
    /// No coding.
    Plain(W),
    Gzip(Box<MultiGzDecoder<W>>),
    /// `deflate` before its first byte: some servers omit the zlib header.
    DeflateUnknown(Option<W>),
    Zlib(Box<ZlibDecoder<W>>),
    Deflate(Box<DeflateDecoder<W>>),
    Brotli(Box<DecompressorWriter<W>>),
    /// Decoded when it is complete.
    Zstd(Vec<u8>, W),
}

/// A coding without a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UnknownCoding;

impl<W: Write> Decoder<W> {
    /// For a body with those header fields.
    pub(super) fn new(headers: &HeaderMap, sink: W) -> Result<Self, UnknownCoding> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (codings.next(), codings.next()) {
            (None, _) => return Ok(Self::Plain(sink)),
            (Some(coding), None) => coding.as_bytes().trim_ascii().to_ascii_lowercase(),
            // Nested codings could hide the secret, and no server needs them.
            (Some(_), Some(_)) => return Err(UnknownCoding),
        };
        match coding.as_slice() {
            b"" | b"identity" => Ok(Self::Plain(sink)),
            b"gzip" | b"x-gzip" => Ok(Self::Gzip(Box::new(MultiGzDecoder::new(sink)))),
            b"deflate" => Ok(Self::DeflateUnknown(Some(sink))),
            b"br" => Ok(Self::Brotli(Box::new(DecompressorWriter::new(sink, BUFFER)))),
            b"zstd" => Ok(Self::Zstd(Vec::new(), sink)),
            _ => Err(UnknownCoding),
        }
    }

    /// Whether the decoded bytes are the sent bytes.
    pub(super) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain(_))
    }

    /// Decodes the next piece.
    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(sink) => sink.write_all(bytes),
            Self::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Zlib(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Deflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::DeflateUnknown(sink) => {
                let Some(first) = bytes.first() else { return Ok(()) };
                let Some(sink) = sink.take() else { return Ok(()) };
                // RFC 1950 §2.2: the method, 8, is the low half of the first byte.
                *self = if first & 0x0f == 8 {
                    Self::Zlib(Box::new(ZlibDecoder::new(sink)))
                } else {
                    Self::Deflate(Box::new(DeflateDecoder::new(sink)))
                };
                self.push(bytes)
            }
            Self::Zstd(held, _) => {
                held.extend_from_slice(bytes);
                if held.len() > MAX_HELD { Err(too_much()) } else { Ok(()) }
            }
        }
    }

    /// Decodes the rest after the last piece.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        let Self::Zstd(held, sink) = self else { return Ok(()) };
        if held.is_empty() {
            return Ok(());
        }
        let mut decoder =
            ruzstd::decoding::StreamingDecoder::new(held.as_slice()).map_err(io::Error::other)?;
        let mut buffer = vec![0; BUFFER];
        let mut total = 0;
        loop {
            let length = decoder.read(&mut buffer)?;
            if length == 0 {
                return Ok(());
            }
            total = usize::saturating_add(total, length);
            if total > MAX_DECODED {
                return Err(too_much());
            }
            sink.write_all(buffer.get(..length).unwrap_or_default())?;
        }
    }

    /// The sink of the decoded bytes.
    pub(super) fn sink(&self) -> Option<&W> {
        match self {
            Self::Plain(sink) | Self::Zstd(_, sink) => Some(sink),
            Self::Gzip(decoder) => Some(decoder.get_ref()),
            Self::Zlib(decoder) => Some(decoder.get_ref()),
            Self::Deflate(decoder) => Some(decoder.get_ref()),
            Self::Brotli(decoder) => Some(decoder.get_ref()),
            Self::DeflateUnknown(sink) => sink.as_ref(),
        }
    }
}

fn too_much() -> io::Error {
    io::Error::other("a compressed answer is too large to look into")
}

const BUFFER: usize = 16 * 1024;
/// Most compressed bytes of a zstd body.
const MAX_HELD: usize = 1024 * 1024;
/// Most decoded bytes of a zstd body.
const MAX_DECODED: usize = 64 * 1024 * 1024;
