//! Decodes content codings as streams, so that a body can be searched (RFC 9110 §8.4.1).
//!
//! Each call decodes as much as its buffer takes, so a few bytes that stand for millions cannot hold up
//! the worker. A body that decodes to far more than any honest one is an error.

use std::io;

use brotli_decompressor::{BrotliDecompressStream, BrotliResult, BrotliState, StandardAlloc};
use bytes::{Buf as _, Bytes};
use flate2::{Decompress, FlushDecompress, Status};
use http::{HeaderMap, header};
use zstd::stream::raw::{DParameter, Operation as _};

/// A content coding with a decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Coding {
    /// RFC 1952, any number of members.
    Gzip,
    /// RFC 1950, or RFC 1951 alone: some servers omit the zlib header.
    Deflate,
    /// RFC 7932.
    Brotli,
    /// RFC 8878, any number of frames.
    Zstd,
}

/// A coding without a decoder, or several codings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) struct UnknownCoding;

impl Coding {
    /// The coding that `Content-Encoding` names.
    pub(in crate::proxy) fn of(headers: &HeaderMap) -> Result<Option<Self>, UnknownCoding> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let coding = match (codings.next(), codings.next()) {
            (None, _) => return Ok(None),
            (Some(coding), None) => coding.as_bytes().trim_ascii().to_ascii_lowercase(),
            // No server needs them.
            (Some(_), Some(_)) => return Err(UnknownCoding),
        };
        match coding.as_slice() {
            b"" | b"identity" => Ok(None),
            b"gzip" | b"x-gzip" => Ok(Some(Self::Gzip)),
            b"deflate" => Ok(Some(Self::Deflate)),
            b"br" => Ok(Some(Self::Brotli)),
            b"zstd" => Ok(Some(Self::Zstd)),
            _ => Err(UnknownCoding),
        }
    }

    /// The coding whose first bytes a text begins with. Brotli has none.
    pub(in crate::proxy) fn guess(text: &[u8]) -> Option<Self> {
        match text {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Some(Self::Zstd),
            [0x78, 0x01 | 0x5e | 0x9c | 0xda, ..] => Some(Self::Deflate),
            _ => None,
        }
    }

    /// The number of bytes that [`Self::guess`] looks at.
    pub(in crate::proxy) const GUESSED_BY: usize = 4;
}

/// Decodes one body.
pub(in crate::proxy) struct Decoder {
    stream: Stream,
    /// The number of bytes so far.
    coded: u64,
    decoded: u64,
    /// Whether the last step filled its buffer.
    has_more: bool,
    has_ended: bool,
}

enum Stream {
    Gzip(Decompress),
    /// Before the first byte, which says whether there is a zlib header.
    Deflate(Option<Decompress>),
    Brotli(Box<BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>>),
    Zstd {
        decoder: zstd::stream::raw::Decoder<'static>,
        /// The number of bytes that it wants next, with the header of the next block.
        wanted: usize,
    },
}

/// Why a body cannot be decoded.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum DecodeError {
    /// It is not coded so.
    #[error(transparent)]
    Invalid(#[from] io::Error),
    /// It decodes to too much.
    #[error("a compressed answer stands for more bytes than any honest one")]
    Bomb,
}

impl Decoder {
    pub(in crate::proxy) fn new(coding: Coding) -> io::Result<Self> {
        let stream = match coding {
            Coding::Gzip => Stream::Gzip(Decompress::new_gzip(DEFLATE_WINDOW)),
            Coding::Deflate => Stream::Deflate(None),
            Coding::Brotli => {
                let alloc = StandardAlloc::default;
                Stream::Brotli(Box::new(BrotliState::new_strict(alloc(), alloc(), alloc())))
            }
            Coding::Zstd => {
                let mut decoder = zstd::stream::raw::Decoder::new()?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW))?;
                Stream::Zstd { decoder, wanted: 0 }
            }
        };
        Ok(Self { stream, coded: 0, decoded: 0, has_more: false, has_ended: true })
    }

    /// Takes a step: uses some of the input, and fills some of the buffer. Returns how much of the buffer.
    pub(in crate::proxy) fn decode(
        &mut self,
        input: &mut Bytes,
        output: &mut [u8],
    ) -> Result<usize, DecodeError> {
        let portion = if self.has_more { 0 } else { self.stream.portion().min(input.len()) };
        let offered = input.get(..portion).unwrap_or_default();
        let (used, made) = self.stream.step(&mut self.has_ended, offered, output)?;
        if used == 0 && made == 0 && portion > 0 {
            let error = io::Error::new(io::ErrorKind::InvalidData, "bytes follow the end");
            return Err(error.into());
        }
        input.advance(used);
        self.has_more = made == output.len();
        self.coded = self.coded.saturating_add(used as u64);
        self.decoded = self.decoded.saturating_add(made as u64);
        if self.decoded > MOST_DECODED.max(self.coded.saturating_mul(MOST_TIMES)) {
            return Err(DecodeError::Bomb);
        }
        Ok(made)
    }

    /// Whether there may be more without more input.
    pub(in crate::proxy) fn has_more(&self) -> bool {
        self.has_more
    }

    /// Whether all that was used is decoded. zstd decodes a block when it is complete, and what has come of
    /// the block can be read by anyone.
    pub(in crate::proxy) fn is_even(&self) -> bool {
        let is_inside =
            matches!(self.stream, Stream::Zstd { wanted, .. } if wanted > ZSTD_BLOCK_HEADER);
        !self.has_more && !is_inside
    }

    /// The number of bytes that were used.
    pub(in crate::proxy) fn coded(&self) -> u64 {
        self.coded
    }

    /// Checks that the body ends where its coding does. An empty body has no coding.
    pub(in crate::proxy) fn finish(&self) -> Result<(), DecodeError> {
        if self.has_ended {
            Ok(())
        } else {
            Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())
        }
    }
}

impl Stream {
    /// The most bytes that a step takes. zstd stops at the end of each block: there it is even.
    fn portion(&self) -> usize {
        match self {
            Self::Zstd { wanted: 0, .. } => ZSTD_SHORTEST_HEADER,
            Self::Zstd { wanted, .. } => match wanted.saturating_sub(ZSTD_BLOCK_HEADER) {
                0 => *wanted,
                left_of_block => left_of_block,
            },
            _ => usize::MAX,
        }
    }

    /// Returns how many bytes were used and made. `has_ended` is whether the coding ends after them.
    fn step(
        &mut self,
        has_ended: &mut bool,
        input: &[u8],
        output: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        match self {
            Self::Gzip(decompress) => {
                if *has_ended && !input.is_empty() && decompress.total_in() > 0 {
                    // The next member.
                    *decompress = Decompress::new_gzip(DEFLATE_WINDOW);
                }
                inflate(decompress, has_ended, input, output)
            }
            Self::Deflate(decompress) => {
                // RFC 1950 §2.2: the method, 8, is the low half of the first byte.
                let has_header = input.first().is_some_and(|first| first & 0x0f == 8);
                let decompress = decompress.get_or_insert_with(|| Decompress::new(has_header));
                inflate(decompress, has_ended, input, output)
            }
            Self::Brotli(state) => {
                let (mut used, mut made) = (0, 0);
                let (mut to_use, mut to_make) = (input.len(), output.len());
                let result = BrotliDecompressStream(
                    &mut to_use,
                    &mut used,
                    input,
                    &mut to_make,
                    &mut made,
                    output,
                    &mut 0,
                    state,
                );
                *has_ended = matches!(result, BrotliResult::ResultSuccess);
                match result {
                    BrotliResult::ResultFailure => Err(io::ErrorKind::InvalidData.into()),
                    _ => Ok((used, made)),
                }
            }
            Self::Zstd { decoder, wanted } => {
                let status = decoder.run_on_buffers(input, output)?;
                if (status.bytes_read, status.bytes_written) != (0, 0) {
                    *wanted = status.remaining;
                    *has_ended = *wanted == 0;
                }
                Ok((status.bytes_read, status.bytes_written))
            }
        }
    }
}

fn inflate(
    decompress: &mut Decompress,
    has_ended: &mut bool,
    input: &[u8],
    output: &mut [u8],
) -> io::Result<(usize, usize)> {
    let (used, made) = (decompress.total_in(), decompress.total_out());
    let status = decompress.decompress(input, output, FlushDecompress::None)?;
    let length =
        |now: u64, before: u64| usize::try_from(now.saturating_sub(before)).unwrap_or(usize::MAX);
    let (used, made) = (length(decompress.total_in(), used), length(decompress.total_out(), made));
    *has_ended = status == Status::StreamEnd || (*has_ended && used == 0);
    Ok((used, made))
}

/// The bits of the window (RFC 1950 §2.2).
const DEFLATE_WINDOW: u8 = 15;
/// The bits of the largest window, 8 MiB. No sender may use a larger one (RFC 9659 §3).
const ZSTD_WINDOW: u32 = 23;
/// In bytes (RFC 8878 §3.1.1.2).
const ZSTD_BLOCK_HEADER: usize = 3;
/// In bytes: magic number and descriptor (RFC 8878 §3.1.1).
const ZSTD_SHORTEST_HEADER: usize = 5;
/// The most bytes that a short body may decode to: what Pigello's longest lists take, many times over.
const MOST_DECODED: u64 = 64 * 1024 * 1024;
/// The most times its own length that a long body may decode to. JSON that repeats itself comes to 50.
const MOST_TIMES: u64 = 200;
