//! Searches a text that comes in pieces, and what it decodes to.

use std::{mem, sync::Arc};

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::{
    credentials::{Lease, SecretMatch},
    error::{Error, Kind},
    proxy::http_policy::content_coding::{Coding, DecodeError, Decoder},
};

/// The search in one text.
///
/// A text that has a coding is searched as it is, too: a comment in gzip and a skippable frame in zstd are
/// not in what it decodes to. One that has none, but begins as one that has, may be a file.
pub(super) struct Inspection {
    lease: Arc<Lease>,
    /// The end of the text so far, which is searched again with what follows.
    kept: Zeroizing<Vec<u8>>,
    /// How many bytes at the end of the text begin like the secret.
    doubtful: usize,
    content: Content,
    /// How many codings may be found inside it.
    nesting: usize,
}

/// What a text stands for.
enum Content {
    /// Itself, as far as its first bytes tell.
    Start(Vec<u8>),
    /// Itself.
    Plain,
    Coded(Box<Coded>),
}

struct Coded {
    decoder: Decoder,
    /// Whether the first bytes alone say that there is a coding, so that it may be none.
    is_guess: bool,
    input: Bytes,
    text: Inspection,
    /// How many bytes were used when the decoded text last was clear of a beginning of the secret.
    clear_at: u64,
}

/// Why decoding ends early.
enum Stop {
    Undecodable(DecodeError),
    Refused(Error),
}

impl Inspection {
    /// The search in a body with that coding.
    pub(super) fn new(lease: Arc<Lease>, coding: Option<Coding>) -> Result<Self, Error> {
        let mut inspection = Self::inside(lease, NESTING);
        if let Some(coding) = coding {
            inspection.decode(coding, false).map_err(undecodable)?;
        }
        Ok(inspection)
    }

    fn inside(lease: Arc<Lease>, nesting: usize) -> Self {
        let content = if nesting == 0 { Content::Plain } else { Content::Start(Vec::new()) };
        Self { lease, kept: Zeroizing::default(), doubtful: 0, content, nesting }
    }

    fn decode(&mut self, coding: Coding, is_guess: bool) -> Result<(), DecodeError> {
        let decoder = Decoder::new(coding)?;
        let text = Self::inside(Arc::clone(&self.lease), self.nesting.saturating_sub(1));
        let coded = Coded { decoder, is_guess, input: Bytes::new(), text, clear_at: 0 };
        self.content = Content::Coded(Box::new(coded));
        Ok(())
    }

    /// Searches the next piece. What it decodes to is left to [`Self::advance`].
    pub(super) fn push(&mut self, piece: &Bytes) -> Result<(), Error> {
        let joined;
        let text: &[u8] = if self.kept.is_empty() {
            piece
        } else {
            joined = Zeroizing::new([&self.kept, &piece[..]].concat());
            &joined
        };
        let (keep, hold) = match self.lease.secret_search().search(text) {
            SecretMatch::Present => return Err(echoed()),
            SecretMatch::Absent => (text.len(), text.len()),
            SecretMatch::Beginning { keep, hold } => (keep, hold),
        };
        self.doubtful = text.len().saturating_sub(hold);
        self.kept = Zeroizing::new(text.get(keep..).unwrap_or_default().to_vec());
        match &mut self.content {
            Content::Plain => Ok(()),
            Content::Coded(coded) => {
                coded.input = piece.clone();
                Ok(())
            }
            Content::Start(start) => {
                let missing = Coding::GUESSED_BY.saturating_sub(start.len());
                let (first, rest) = piece.split_at_checked(missing).unwrap_or((piece, &[]));
                start.extend_from_slice(first);
                match Coding::guess(start) {
                    Some(coding) => {
                        let input = Bytes::from([start, rest].concat());
                        self.decode(coding, true).map_err(undecodable)?;
                        if let Content::Coded(coded) = &mut self.content {
                            coded.input = input;
                        }
                    }
                    None if start.len() < Coding::GUESSED_BY => {}
                    None => self.content = Content::Plain,
                }
                Ok(())
            }
        }
    }

    /// Decodes and searches on, as long as there is something left of `budget`, in bytes. Returns whether all
    /// pieces so far are decoded.
    pub(super) fn advance(&mut self, budget: &mut usize) -> Result<bool, Error> {
        let Content::Coded(coded) = &mut self.content else { return Ok(true) };
        match coded.advance(budget) {
            // It was something else.
            Err(Stop::Undecodable(DecodeError::Invalid(_))) if coded.is_guess => {
                self.content = Content::Plain;
                Ok(true)
            }
            Err(Stop::Undecodable(error)) => Err(undecodable(error)),
            Err(Stop::Refused(error)) => Err(error),
            Ok(is_done) => Ok(is_done),
        }
    }

    /// How many bytes at the end of the text may not be sent yet.
    pub(super) fn doubtful(&self) -> usize {
        match &self.content {
            Content::Coded(coded) => {
                // By chance, a coded text often ends with the first byte of the secret.
                let by_chance = self.doubtful < LIKELY;
                coded.unclear().max(if by_chance { 0 } else { self.doubtful })
            }
            _ => self.doubtful,
        }
    }

    /// Checks that the text ends where its coding does.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        match mem::replace(&mut self.content, Content::Plain) {
            Content::Coded(coded) if !coded.is_guess => coded.decoder.finish().map_err(undecodable),
            _ => Ok(()),
        }
    }

    /// The credentials whose secret is searched for.
    pub(super) fn lease(&self) -> &Lease {
        &self.lease
    }
}

impl Coded {
    /// See [`Inspection::advance`].
    fn advance(&mut self, budget: &mut usize) -> Result<bool, Stop> {
        let mut buffer = Zeroizing::new(vec![0; SLICE]);
        loop {
            if !self.text.advance(budget).map_err(Stop::Refused)? {
                return Ok(false);
            }
            if self.decoder.is_even() && self.text.doubtful() == 0 {
                self.clear_at = self.decoder.coded();
            }
            if self.input.is_empty() && !self.decoder.has_more() {
                return Ok(true);
            }
            if *budget == 0 {
                return Ok(false);
            }
            let length =
                self.decoder.decode(&mut self.input, &mut buffer).map_err(Stop::Undecodable)?;
            *budget = budget.saturating_sub(length.max(LEAST_COST));
            if length > 0 {
                let decoded = Bytes::copy_from_slice(buffer.get(..length).unwrap_or_default());
                self.text.push(&decoded).map_err(Stop::Refused)?;
            }
        }
    }

    /// How many bytes came since the decoded text last was clear.
    fn unclear(&self) -> usize {
        let used = self.decoder.coded().saturating_sub(self.clear_at);
        usize::try_from(used).unwrap_or(usize::MAX).saturating_add(self.input.len())
    }
}

/// The error of a response that contains the secret.
pub(super) fn echoed() -> Error {
    Error::new(
        Kind::UpstreamEchoedSecret,
        "the upstream's answer holds the client secret and is not passed on",
    )
}

fn undecodable(error: DecodeError) -> Error {
    let detail = match error {
        DecodeError::Invalid(_) => "the upstream's answer is not coded as it says",
        DecodeError::Bomb => "the upstream's answer is compressed too much to look into",
    };
    Error::new(Kind::UpstreamProtocol, detail).because(error)
}

/// A coding inside a coding: a compressed file that is compressed again on its way.
const NESTING: usize = 2;
/// The bytes that are decoded at a time.
const SLICE: usize = 16 * 1024;
/// What a call of a decoder costs at least: a gzip member may be empty.
const LEAST_COST: usize = 256;
/// How many bytes of a coded text are like the secret, and not by chance.
const LIKELY: usize = 4;
