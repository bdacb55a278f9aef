//! Writes one JSON object into a buffer, field by field, without a tree in between.
//!
//! Everything outside printable ASCII is escaped, so that a line is one line in every editor and
//! moves no cursor on a terminal, whatever a caller put into its path.

use std::{
    fmt,
    io::Write as _,
    time::{Duration, SystemTime},
};

use super::chain::digits;

/// An object under construction. Its closing brace is the chain's to write.
pub(super) struct Object<'a>(&'a mut Vec<u8>);

impl<'a> Object<'a> {
    /// Begins an object with its kind.
    pub(super) fn begin(buffer: &'a mut Vec<u8>, kind: &str) -> Self {
        buffer.extend_from_slice(b"{\"kind\":\"");
        buffer.extend_from_slice(kind.as_bytes());
        buffer.push(b'"');
        Self(buffer)
    }

    fn key(&mut self, key: &str) {
        self.0.extend_from_slice(b",\"");
        self.0.extend_from_slice(key.as_bytes());
        self.0.extend_from_slice(b"\":");
    }

    /// A field of text.
    pub(super) fn text(&mut self, key: &str, value: &str) -> &mut Self {
        self.key(key);
        string(self.0, value);
        self
    }

    /// A field of text, or `null`.
    pub(super) fn text_or_null(&mut self, key: &str, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// A field that prints itself.
    pub(super) fn display(&mut self, key: &str, value: impl fmt::Display) -> &mut Self {
        // What prints itself here has names from certificates in it, so it is escaped like any text.
        self.text(key, &value.to_string())
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: &str, value: impl itoa::Integer) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    /// A whole number, or `null`.
    pub(super) fn number_or_null(
        &mut self,
        key: &str,
        value: Option<impl itoa::Integer>,
    ) -> &mut Self {
        match value {
            Some(value) => self.number(key, value),
            None => self.null(key),
        }
    }

    /// A length of time in whole microseconds.
    pub(super) fn micros(&mut self, key: &str, value: Option<Duration>) -> &mut Self {
        self.number_or_null(
            key,
            value.map(|value| u64::try_from(value.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// A moment: RFC 3339, UTC, six digits behind the point.
    pub(super) fn time(&mut self, key: &str, value: SystemTime) -> &mut Self {
        self.text(key, &time_text(value))
    }

    /// Bytes as lower-case hexadecimal digits.
    pub(super) fn hex(&mut self, key: &str, bytes: &[u8]) -> &mut Self {
        self.key(key);
        self.0.push(b'"');
        self.0.reserve(2 * bytes.len());
        for byte in bytes {
            self.0.extend_from_slice(&digits(*byte));
        }
        self.0.push(b'"');
        self
    }

    /// A list of texts.
    pub(super) fn list<'t>(
        &mut self,
        key: &str,
        values: impl IntoIterator<Item = &'t str>,
    ) -> &mut Self {
        self.key(key);
        self.0.push(b'[');
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.0.push(b',');
            }
            string(self.0, value);
        }
        self.0.push(b']');
        self
    }

    fn null(&mut self, key: &str) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(b"null");
        self
    }
}

/// A moment as it stands in every line.
pub(super) fn time_text(value: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(value).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.6}")
}

fn string(buffer: &mut Vec<u8>, value: &str) {
    buffer.push(b'"');
    if value.bytes().all(is_plain) {
        buffer.extend_from_slice(value.as_bytes());
    } else {
        for unit in value.encode_utf16() {
            match u8::try_from(unit) {
                Ok(byte) if is_plain(byte) => buffer.push(byte),
                Ok(byte @ (b'"' | b'\\')) => buffer.extend_from_slice(&[b'\\', byte]),
                _ => print(buffer, format_args!("\\u{unit:04x}")),
            }
        }
    }
    buffer.push(b'"');
}

fn print(buffer: &mut Vec<u8>, text: fmt::Arguments<'_>) {
    // A `Vec` takes every write.
    drop(buffer.write_fmt(text));
}

const fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_is_printable_and_reads_back(text: String) {
            let mut buffer = Vec::new();
            string(&mut buffer, &text);
            prop_assert!(buffer.iter().all(|byte| (b' '..=b'~').contains(byte)));
            prop_assert_eq!(serde_json::from_slice::<String>(&buffer).unwrap(), text);
        }
    }

    #[test]
    fn a_moment_is_utc_with_microseconds() {
        let mut buffer = Vec::new();
        let moment = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_001_999);
        Object::begin(&mut buffer, "x").time("time", moment);
        assert_eq!(buffer, br#"{"kind":"x","time":"2023-11-14T22:13:20.000001Z""#);
    }
}
