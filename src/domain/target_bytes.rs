//! The bytes that a request target may have, before anything is parsed.
//!
//! A caller that forgot to encode a character learns which one, where it stands and how to write it. The
//! record of its call has the target with those bytes encoded.

use std::fmt;

use http::{Uri, uri::PathAndQuery};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_encode};

use super::visible::is_visible;

/// A character that must be percent-encoded in a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Unencoded {
    at: usize,
    found: Found,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Found {
    Character(char),
    /// A byte that is not UTF-8.
    Byte(u8),
}

impl Unencoded {
    /// Finds the first one in the bytes of a target.
    pub(super) fn find(target: &[u8]) -> Option<Self> {
        let at = target.iter().position(|byte| !is_target_byte(*byte))?;
        Self::at(target, at)
    }

    /// The character that begins with this byte of a target.
    pub(super) fn at(target: &[u8], at: usize) -> Option<Self> {
        let rest = target.get(at..)?;
        let character = rest.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        let found = match character {
            Some(character) => Found::Character(character),
            None => Found::Byte(*rest.first()?),
        };
        Some(Self { at, found })
    }
}

impl fmt::Display for Unencoded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at;
        match self.found {
            Found::Character(character) => {
                f.write_str("the target holds ")?;
                match character {
                    ' ' => f.write_str("a space")?,
                    '`' => f.write_str("a backtick")?,
                    _ if is_visible(character) => write!(f, "`{character}`")?,
                    _ => write!(f, "the character U+{:04X}", u32::from(character))?,
                }
                let mut buffer = [0; 4];
                let bytes = character.encode_utf8(&mut buffer).as_bytes();
                write!(
                    f,
                    " at byte {at}; write it as `{}`",
                    percent_encode(bytes, NON_ALPHANUMERIC)
                )
            }
            Found::Byte(byte) => write!(
                f,
                "the target holds the byte {byte:02X} at byte {at}, which is no UTF-8; write it as `%{byte:02X}`"
            ),
        }
    }
}

/// Whether a byte may stand in a target. RFC 3986 allows fewer, but `{`, `|` and the like have one reading,
/// and the URL standard of browsers and Node.js leaves them as they are in a query. A fragment (`#`) is never
/// sent (RFC 9110 §4.2.5).
pub(super) const fn is_target_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'#' | b'<' | b'>' | b'`' | b'"')
}

/// The path and query of a target, with the bytes encoded that it may not have; `None` if it has no path.
/// It is for the record of a refused request and is never sent.
pub fn escaped_target(target: &[u8]) -> Option<PathAndQuery> {
    let escaped: Uri = percent_encode(target, NOT_IN_TARGETS).to_string().parse().ok()?;
    escaped.into_parts().path_and_query
}

/// The ASCII characters that are no [`is_target_byte`].
const NOT_IN_TARGETS: &AsciiSet =
    &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'<').add(b'>').add(b'`');

#[cfg(test)]
mod tests {
    use super::*;

    fn message(target: &[u8]) -> String {
        Unencoded::find(target).unwrap().to_string()
    }

    #[test]
    fn the_message_names_the_character_its_place_and_its_encoded_form() {
        let holds = |what: &str| format!("the target holds {what}");
        for (target, expected) in [
            ("/?name=Åkesson".as_bytes(), "`Å` at byte 7; write it as `%C3%85`"),
            ("/Ö".as_bytes(), "`Ö` at byte 1; write it as `%C3%96`"),
            (b"/?q=\"x\"", "`\"` at byte 4; write it as `%22`"),
            (b"/a<b", "`<` at byte 2; write it as `%3C`"),
            (b"/a b", "a space at byte 2; write it as `%20`"),
            (b"/`", "a backtick at byte 1; write it as `%60`"),
            (b"/list#top", "`#` at byte 5; write it as `%23`"),
            (b"/\t", "the character U+0009 at byte 1; write it as `%09`"),
            (b"/\x7f", "the character U+007F at byte 1; write it as `%7F`"),
            ("/\u{202e}".as_bytes(), "the character U+202E at byte 1; write it as `%E2%80%AE`"),
            (b"/?n=\xc5k", "the byte C5 at byte 4, which is no UTF-8; write it as `%C5`"),
        ] {
            assert_eq!(message(target), holds(expected));
        }
        assert_eq!(Unencoded::find(b"/a?x={y}|[z]^&p=100%"), None);
    }

    #[test]
    fn an_escaped_target_has_only_bytes_that_a_target_may_have() {
        for byte in 0..=u8::MAX {
            let escaped = percent_encode(&[byte], NOT_IN_TARGETS).to_string();
            let expected = if is_target_byte(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            };
            assert_eq!(escaped, expected);
        }
        let escaped = |target: &[u8]| escaped_target(target).map(|target| target.to_string());
        assert_eq!(escaped(b"/a b?q=\"\xc5#f").as_deref(), Some("/a%20b?q=%22%C5%23f"));
        assert_eq!(escaped("http://localhost/å".as_bytes()).as_deref(), Some("/%C3%A5"));
        assert_eq!(escaped(b"a:443"), None);
        assert_eq!(escaped(b"\xff\xff"), None);
    }
}
