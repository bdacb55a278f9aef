//! Decodes a chunked body strictly (RFC 9112 §7.1).
//!
//! Extensions must be well formed. Trailer fields must be well formed and must not frame, route or
//! authenticate a message (RFC 9110 §6.5.1).

use super::{
    ParseError,
    head::{field, is_field_byte, is_tchar, split_at},
};

/// The decoder of one chunked body.
#[derive(Debug)]
pub struct Chunked {
    state: ChunkState,
    /// An incomplete line.
    line: Vec<u8>,
    /// Bytes of trailer lines so far.
    trailer: usize,
}

/// The length of the next part of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkPart {
    /// Bytes that belong to no data.
    Framing(usize),
    /// Bytes of the body.
    Data(usize),
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug)]
enum ChunkState {
    SizeLine,
    Data(u64),
    DataCr,
    DataLf,
    TrailerLine,
    Over,
}

impl Default for Chunked {
    fn default() -> Self {
        Self::new()
    }
}

impl Chunked {
    /// Before the first chunk.
    pub fn new() -> Self {
        Self { state: ChunkState::SizeLine, line: Vec::new(), trailer: 0 }
    }

    /// Whether the body is complete.
    pub fn is_over(&self) -> bool {
        matches!(self.state, ChunkState::Over)
    }

    /// Decodes the next bytes: framing up to the next data, or data up to the end of its chunk.
    pub fn next(&mut self, bytes: &[u8]) -> Result<ChunkPart, ParseError> {
        if let ChunkState::Data(left) = self.state {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let left = left.saturating_sub(take as u64);
            self.state = if left == 0 { ChunkState::DataCr } else { ChunkState::Data(left) };
            return Ok(ChunkPart::Data(take));
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = match self.state {
                ChunkState::DataCr => self.expect(b'\r', ChunkState::DataLf, rest)?,
                ChunkState::DataLf => self.expect(b'\n', ChunkState::SizeLine, rest)?,
                ChunkState::SizeLine | ChunkState::TrailerLine => self.line(rest)?,
                ChunkState::Data(_) | ChunkState::Over => break,
            };
        }
        Ok(ChunkPart::Framing(bytes.len().saturating_sub(rest.len())))
    }

    fn expect<'a>(
        &mut self,
        byte: u8,
        then: ChunkState,
        rest: &'a [u8],
    ) -> Result<&'a [u8], ParseError> {
        match rest.split_first() {
            Some((first, tail)) if *first == byte => {
                self.state = then;
                Ok(tail)
            }
            _ => Err(ParseError::ChunkEnd),
        }
    }

    fn line<'a>(&mut self, rest: &'a [u8]) -> Result<&'a [u8], ParseError> {
        let error = match self.state {
            ChunkState::TrailerLine => ParseError::Trailer,
            _ => ParseError::ChunkSize,
        };
        let Some((end, tail)) = split_at(rest, b'\n') else {
            // Only LF may follow CR.
            let bare = memchr::memchr(b'\r', rest)
                .is_some_and(|at| at.saturating_add(1) < rest.len())
                || self.line.last() == Some(&b'\r');
            self.line.extend_from_slice(rest);
            let too_long = self.line.len() > MAX_LINE;
            return if bare || too_long { Err(error) } else { Ok(&[]) };
        };
        self.line.extend_from_slice(end);
        let line = std::mem::take(&mut self.line);
        if line.len() > MAX_LINE {
            return Err(error);
        }
        let text = line.strip_suffix(b"\r").ok_or(error)?;
        self.state = match self.state {
            ChunkState::TrailerLine => self.trailer_line(text)?,
            _ => match chunk_size(text).ok_or(error)? {
                0 => ChunkState::TrailerLine,
                size => ChunkState::Data(size),
            },
        };
        self.line = line;
        self.line.clear();
        Ok(tail)
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<ChunkState, ParseError> {
        if line.is_empty() {
            return Ok(ChunkState::Over);
        }
        self.trailer = self.trailer.saturating_add(line.len());
        let (name, value) = field(line).map_err(|_| ParseError::Trailer)?;
        let is_field = !name.is_empty()
            && name.iter().all(|byte| is_tchar(*byte))
            && value.iter().all(|byte| is_field_byte(*byte));
        let forbidden = FORBIDDEN_TRAILERS.iter().any(|field| name.eq_ignore_ascii_case(field));
        if !is_field || forbidden || self.trailer > MAX_TRAILER {
            return Err(ParseError::Trailer);
        }
        Ok(ChunkState::TrailerLine)
    }
}

/// `chunk-size [ chunk-ext ]` (RFC 9112 §7.1, §7.1.1).
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at_checked(digits)?;
    if size.is_empty() || size.len() > MAX_HEX_DIGITS || !is_extensions(extensions) {
        return None;
    }
    size.iter().try_fold(0, |number: u64, digit| {
        Some(number << 4 | u64::from(char::from(*digit).to_digit(16)?))
    })
}

/// `*( BWS ";" BWS token [ BWS "=" BWS ( token / quoted-string ) ] )`.
fn is_extensions(mut rest: &[u8]) -> bool {
    while !rest.is_empty() {
        let Some(b';') = take(&mut rest) else { return false };
        skip_space(&mut rest);
        if !skip_token(&mut rest) {
            return false;
        }
        let behind_name = rest;
        skip_space(&mut rest);
        if rest.first() == Some(&b'=') {
            rest = rest.get(1..).unwrap_or_default();
            skip_space(&mut rest);
            let is_value = match rest.first() {
                Some(b'"') => skip_quoted(&mut rest),
                _ => skip_token(&mut rest),
            };
            if !is_value {
                return false;
            }
            let behind_value = rest;
            skip_space(&mut rest);
            if rest.first() != Some(&b';') {
                rest = behind_value;
            }
        } else if rest.first() != Some(&b';') {
            rest = behind_name;
        }
    }
    true
}

fn take(rest: &mut &[u8]) -> Option<u8> {
    let (first, tail) = rest.split_first()?;
    *rest = tail;
    Some(*first)
}

fn skip_space(rest: &mut &[u8]) {
    while let [b' ' | b'\t', tail @ ..] = rest {
        *rest = tail;
    }
}

fn skip_token(rest: &mut &[u8]) -> bool {
    let length = rest.iter().take_while(|byte| is_tchar(**byte)).count();
    *rest = rest.get(length..).unwrap_or_default();
    length > 0
}

/// `quoted-string` of RFC 9110 §5.6.4.
fn skip_quoted(rest: &mut &[u8]) -> bool {
    if take(rest) != Some(b'"') {
        return false;
    }
    while let Some(byte) = take(rest) {
        match byte {
            b'"' => return true,
            b'\\' => match take(rest) {
                Some(b'\t' | b' '..=b'~' | 0x80..) => {}
                _ => return false,
            },
            b'\t' | b' '..=b'~' | 0x80.. => {}
            _ => return false,
        }
    }
    false
}

/// A size line with its extensions, or a trailer line.
const MAX_LINE: usize = 1024;
/// A trailer section.
const MAX_TRAILER: usize = 4096;
/// As many digits as 60 bits have. No body is longer.
const MAX_HEX_DIGITS: usize = 15;
/// Fields that frame, route, authenticate or describe a message, and so must precede it.
const FORBIDDEN_TRAILERS: &[&[u8]] = &[
    b"authorization",
    b"connection",
    b"content-encoding",
    b"content-length",
    b"content-range",
    b"content-type",
    b"cookie",
    b"expect",
    b"host",
    b"proxy-authorization",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Decodes as much as there is. Returns the number of bytes used.
    fn decode(chunked: &mut Chunked, bytes: &[u8]) -> Result<usize, ParseError> {
        let mut used = 0;
        while used < bytes.len() && !chunked.is_over() {
            let (ChunkPart::Framing(length) | ChunkPart::Data(length)) =
                chunked.next(&bytes[used..])?;
            used += length;
        }
        Ok(used)
    }

    fn whole(body: &str) -> Result<(usize, bool), ParseError> {
        let mut chunked = Chunked::new();
        decode(&mut chunked, body.as_bytes()).map(|length| (length, chunked.is_over()))
    }

    #[test]
    fn well_formed_bodies_pass_to_their_last_byte() {
        for body in [
            "0\r\n\r\n",
            "5\r\nhello\r\n0\r\n\r\n",
            "A\r\nhelloworld\r\n0\r\n\r\n",
            "00a\r\nhelloworld\r\n0\r\n\r\n",
            "5;ext=value\r\nhello\r\n0;last\r\n\r\n",
            "5;a=\"b;\\\"c\";d\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello\r\n0\r\nX-Checksum: abc\r\nY:\r\n\r\n",
        ] {
            assert_eq!(whole(body), Ok((body.len(), true)), "{body:?}");
            assert_eq!(whole(&format!("{body}GET /")), Ok((body.len(), true)), "{body:?}");
        }
        assert_eq!(whole("5\r\nhel"), Ok((6, false)));
    }

    #[test]
    fn ambiguous_bodies_are_refused() {
        for (body, error) in [
            ("5\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5\rhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("0x5\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("+5\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("-1\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("1_0\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            (" 5\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5 \r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5;\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5;\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5;a\rX\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5;\0ext\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5;bad[=x\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("5;a=\"b\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("\r\nhello\r\n0\r\n\r\n", ParseError::ChunkSize),
            ("FFFFFFFFFFFFFFFF\r\n", ParseError::ChunkSize),
            ("5\r\nhello0\r\n\r\n", ParseError::ChunkEnd),
            ("5\r\nhello!!\r\n0\r\n\r\n", ParseError::ChunkEnd),
            ("5\r\nhello\n0\r\n\r\n", ParseError::ChunkEnd),
            ("5\r\nhello\r\n0\r\n\n", ParseError::Trailer),
            ("0\r\nContent-Length: 5\r\n\r\n", ParseError::Trailer),
            ("0\r\nX : a\r\n\r\n", ParseError::Trailer),
            ("0\r\n X: a\r\n\r\n", ParseError::Trailer),
        ] {
            assert_eq!(whole(body), Err(error), "{body:?}");
        }
        let long = format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(2000));
        assert_eq!(whole(&long), Err(ParseError::ChunkSize));
        let long = format!("0\r\n{}\r\n", "X-Trailer: value\r\n".repeat(400));
        assert_eq!(whole(&long), Err(ParseError::Trailer));
    }

    proptest! {
        /// The result does not depend on where the bytes are cut.
        #[test]
        fn the_result_does_not_depend_on_the_cuts(
            body in "(0|5|a|;|x|\r\n|\n|\r| |:|hello){0,12}",
            cut in 0_usize..40,
        ) {
            let bytes = body.as_bytes();
            let mut at_once = Chunked::new();
            let result = decode(&mut at_once, bytes);
            let (left, right) = bytes.split_at(cut.min(bytes.len()));
            let mut in_two = Chunked::new();
            let second = decode(&mut in_two, left).and_then(|first| {
                if in_two.is_over() { Ok(first) } else { Ok(first + decode(&mut in_two, right)?) }
            });
            prop_assert_eq!(result, second);
        }
    }
}
