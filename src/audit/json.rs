//! Writes one JSON object into a buffer, field by field, without a tree in between.
//!
//! Everything outside printable ASCII is escaped, so that a line is one line in every editor and
//! moves no cursor on a terminal, whatever a caller put into its path.

use std::{
    fmt,
    io::Write as _,
    time::{Duration, SystemTime},
};

use crate::domain::hex::digits;

/// A field's name, with what stands around it in a line: one copy instead of three.
#[derive(Clone, Copy)]
pub(super) struct Key(pub(super) &'static str);

/// Makes a [`Key`] of a name.
macro_rules! key {
    ($name:literal) => {
        $crate::audit::json::Key(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

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

    fn key(&mut self, Key(key): Key) {
        self.0.extend_from_slice(key.as_bytes());
    }

    /// A field of text.
    pub(super) fn text(&mut self, key: Key, value: &str) -> &mut Self {
        self.key(key);
        string(self.0, value);
        self
    }

    /// A field whose text is a word of the gateway's own, in which nothing is to be escaped.
    pub(super) fn word(&mut self, key: Key, value: &str) -> &mut Self {
        debug_assert!(is_plain_text(value.as_bytes()), "escaped where it is no such word");
        self.key(key);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
        self
    }

    /// Such a word, or `null`.
    pub(super) fn word_or_null(&mut self, key: Key, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.word(key, value),
            None => self.null(key),
        }
    }

    /// A field of text, or `null`.
    pub(super) fn text_or_null(&mut self, key: Key, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// A field that prints itself.
    pub(super) fn display(&mut self, key: Key, value: impl fmt::Display) -> &mut Self {
        self.key(key);
        self.0.push(b'"');
        let start = self.0.len();
        print(self.0, format_args!("{value}"));
        // What prints itself here has names from certificates in it, so it is escaped like any text.
        let printed = self.0.get(start..).unwrap_or_default();
        if is_plain_text(printed) {
            self.0.push(b'"');
        } else {
            let text = String::from_utf8_lossy(printed).into_owned();
            self.0.truncate(start - 1);
            string(self.0, &text);
        }
        self
    }

    /// A whole number.
    pub(super) fn number(&mut self, key: Key, value: impl itoa::Integer) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    /// A whole number, or `null`.
    pub(super) fn number_or_null(
        &mut self,
        key: Key,
        value: Option<impl itoa::Integer>,
    ) -> &mut Self {
        match value {
            Some(value) => self.number(key, value),
            None => self.null(key),
        }
    }

    /// A length of time in whole microseconds.
    pub(super) fn micros(&mut self, key: Key, value: Option<Duration>) -> &mut Self {
        self.number_or_null(
            key,
            value.map(|value| u64::try_from(value.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// A moment: RFC 3339, UTC, six digits behind the point.
    pub(super) fn time(&mut self, key: Key, value: SystemTime, clock: &mut Clock) -> &mut Self {
        self.key(key);
        self.0.push(b'"');
        clock.write(self.0, value);
        self.0.push(b'"');
        self
    }

    /// Bytes as lower-case hexadecimal digits.
    pub(super) fn hex(&mut self, key: Key, bytes: &[u8]) -> &mut Self {
        self.key(key);
        self.0.push(b'"');
        self.0.extend(bytes.iter().flat_map(|byte| digits(*byte)));
        self.0.push(b'"');
        self
    }

    /// A list of texts.
    pub(super) fn list<'t>(
        &mut self,
        key: Key,
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

    fn null(&mut self, key: Key) -> &mut Self {
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

/// Writes moments, of which most are in the same second as the one before: what they have in common
/// is formatted once.
#[derive(Debug, Default)]
pub(super) struct Clock {
    second: u64,
    /// Up to and with the point.
    text: String,
}

impl Clock {
    fn write(&mut self, buffer: &mut Vec<u8>, value: SystemTime) {
        let since = value.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text = time_text(value);
            self.text.truncate(self.text.len() - "000000Z".len());
        }
        buffer.extend_from_slice(self.text.as_bytes());
        // Six digits, the leading zeros among them.
        let mut micros = itoa::Buffer::new();
        let micros = micros.format(1_000_000 + since.subsec_micros());
        buffer.extend_from_slice(micros.as_bytes().get(1..).unwrap_or_default());
        buffer.push(b'Z');
    }
}

fn string(buffer: &mut Vec<u8>, value: &str) {
    buffer.push(b'"');
    if is_plain_text(value.as_bytes()) {
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

/// Looks at all bytes in any case: without a way out in between, many are looked at at once.
fn is_plain_text(text: &[u8]) -> bool {
    text.iter().fold(true, |plain, byte| plain & is_plain(*byte))
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
        Object::begin(&mut buffer, "x").time(key!("time"), moment, &mut Clock::default());
        assert_eq!(buffer, br#"{"kind":"x","time":"2023-11-14T22:13:20.000001Z""#);
    }

    #[test]
    fn moments_one_after_the_other_are_as_jiff_writes_them() {
        let mut clock = Clock::default();
        for nanos in
            [0, 1_999, 999_999_999, 1_000_000_000, 1_000_001_000, 999_999_999, 86_400_123_456_789]
        {
            let moment = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
            let mut buffer = Vec::new();
            clock.write(&mut buffer, moment);
            assert_eq!(String::from_utf8(buffer).unwrap(), time_text(moment));
        }
    }

    #[test]
    fn what_prints_itself_is_escaped_like_any_text() {
        for text in ["uid=1 gid=2", "a\"b\n\u{7f}é"] {
            let mut buffer = Vec::new();
            Object::begin(&mut buffer, "x").display(key!("proof"), text);
            buffer.push(b'}');
            let read: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
            assert_eq!(read["proof"], text);
        }
    }
}
