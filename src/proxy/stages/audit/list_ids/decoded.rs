//! A list behind the content coding of its body.

use bytes::Bytes;
use http::HeaderMap;

use super::reader::ListReader;
use crate::{
    audit::ListObjects,
    proxy::http_policy::content_coding::{Coding, Decoder},
};

/// Decodes and reads one list.
pub(super) struct DecodedList {
    content: Content,
    reader: ListReader,
    /// What is not read yet.
    rest: Bytes,
}

enum Content {
    Plain,
    Coded(Box<Decoder>),
    /// It has a coding that cannot be undone.
    Unreadable,
}

impl DecodedList {
    /// The list of a body with these fields.
    pub(super) fn new(headers: &HeaderMap) -> Self {
        let content = match Coding::of(headers) {
            Ok(None) => Content::Plain,
            Ok(Some(coding)) => match Decoder::new(coding) {
                Ok(decoder) => Content::Coded(Box::new(decoder)),
                Err(_) => Content::Unreadable,
            },
            Err(_) => Content::Unreadable,
        };
        Self { content, reader: ListReader::new(), rest: Bytes::new() }
    }

    /// Takes the next piece. It is read by [`Self::advance`].
    pub(super) fn push(&mut self, piece: Bytes) {
        self.rest = piece;
    }

    /// Reads on, up to a number of bytes. Returns whether all pieces are read.
    pub(super) fn advance(&mut self, budget: usize) -> bool {
        match &mut self.content {
            Content::Unreadable => true,
            Content::Plain => {
                let piece = self.rest.split_to(budget.min(self.rest.len()));
                self.reader.push(&piece);
                self.rest.is_empty()
            }
            Content::Coded(decoder) => {
                let mut buffer = vec![0; SLICE];
                let mut read = 0_usize;
                while !self.rest.is_empty() || decoder.has_more() {
                    if read >= budget {
                        return false;
                    }
                    let Ok(length) = decoder.decode(&mut self.rest, &mut buffer) else {
                        self.content = Content::Unreadable;
                        return true;
                    };
                    self.reader.push(buffer.get(..length).unwrap_or_default());
                    // A piece may decode to nothing.
                    read = read.saturating_add(length.max(LEAST_COST));
                }
                true
            }
        }
    }

    /// The objects, and whether they are all. `is_whole` is whether the body was passed to its end.
    pub(super) fn finish(self, is_whole: bool) -> ListObjects {
        let is_read = match &self.content {
            Content::Plain => true,
            Content::Coded(decoder) => decoder.finish().is_ok(),
            Content::Unreadable => false,
        };
        self.reader.finish(is_whole && is_read && self.rest.is_empty())
    }
}

/// The bytes that are decoded at a time.
const SLICE: usize = 16 * 1024;
/// What a call of a decoder costs at least: a gzip member may be empty.
const LEAST_COST: usize = 256;
