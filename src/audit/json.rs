//! Writes one JSON object into a buffer, field by field.
//!
//! Everything outside printable ASCII is escaped. So a line stays one line in every editor and is safe
//! on a terminal, whatever a caller has put into its path.

use std::{
    fmt,
    io::Write as _,
    time::{Duration, SystemTime},
};

use crate::domain::hex::digits;

/// A field's name with its quotes and separators, so that one copy writes all of it.
#[derive(Clone, Copy)]
pub(super) struct FieldKey(pub(super) &'static str);

/// The [`FieldKey`] of a name.
macro_rules! key {
    ($name:literal) => {
        $crate::audit::json::FieldKey(concat!(",\"", $name, "\":"))
    };
}
pub(super) use key;

/// An object under construction. [`Tip::append`](super::chain::Tip::append) closes it.
pub(super) struct JsonObject<'a>(&'a mut Vec<u8>);

impl<'a> JsonObject<'a> {
    /// Begins an object with its `kind`.
    pub(super) fn begin(buffer: &'a mut Vec<u8>, kind: &str) -> Self {
        buffer.extend_from_slice(b"{\"kind\":\"");
        buffer.extend_from_slice(kind.as_bytes());
        buffer.push(b'"');
        Self(buffer)
    }

    /// A field with an object, or `null`. `name` and `text` are the object's first field.
    pub(super) fn object_or_null(
        &mut self,
        key: FieldKey,
        first: Option<(&'static str, &str)>,
        fields: impl FnOnce(&mut JsonObject<'_>),
    ) -> &mut Self {
        let Some(first) = first else { return self.null(key) };
        self.key(key);
        self.element(first, fields);
        self
    }

    /// A list of objects. `first` tells the name and the text of each one's first field.
    pub(super) fn objects<T>(
        &mut self,
        key: FieldKey,
        values: &[T],
        first: impl Fn(&T) -> (&'static str, &str),
        fields: impl Fn(&mut JsonObject<'_>, &T),
    ) -> &mut Self {
        self.key(key);
        self.0.push(b'[');
        for (index, value) in values.iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            self.element(first(value), |object| fields(object, value));
        }
        self.0.push(b']');
        self
    }

    fn element(
        &mut self,
        (name, text): (&'static str, &str),
        fields: impl FnOnce(&mut JsonObject<'_>),
    ) {
        self.0.push(b'{');
        string(self.0, name);
        self.0.push(b':');
        string(self.0, text);
        fields(&mut JsonObject(self.0));
        self.0.push(b'}');
    }

    fn key(&mut self, FieldKey(key): FieldKey) {
        self.0.extend_from_slice(key.as_bytes());
    }

    /// A string field.
    pub(super) fn text(&mut self, key: FieldKey, value: &str) -> &mut Self {
        self.key(key);
        string(self.0, value);
        self
    }

    /// A string field with one of the gateway's own words, which needs no escapes.
    pub(super) fn word(&mut self, key: FieldKey, value: &str) -> &mut Self {
        debug_assert!(is_plain_text(value.as_bytes()), "a word that needs escapes");
        self.key(key);
        self.0.push(b'"');
        self.0.extend_from_slice(value.as_bytes());
        self.0.push(b'"');
        self
    }

    /// A field like [`word`](Self::word), or `null`.
    pub(super) fn word_or_null(&mut self, key: FieldKey, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.word(key, value),
            None => self.null(key),
        }
    }

    /// A string field, or `null`.
    pub(super) fn text_or_null(&mut self, key: FieldKey, value: Option<&str>) -> &mut Self {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// A string field with the value's `Display` text.
    pub(super) fn display(&mut self, key: FieldKey, value: impl fmt::Display) -> &mut Self {
        self.key(key);
        self.0.push(b'"');
        let start = self.0.len();
        print(self.0, format_args!("{value}"));
        // The text may hold names from a certificate, so it needs the same escapes as any other.
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

    /// An integer field.
    pub(super) fn number(&mut self, key: FieldKey, value: impl itoa::Integer) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
        self
    }

    /// An integer field, or `null`.
    pub(super) fn number_or_null(
        &mut self,
        key: FieldKey,
        value: Option<impl itoa::Integer>,
    ) -> &mut Self {
        match value {
            Some(value) => self.number(key, value),
            None => self.null(key),
        }
    }

    /// A duration in whole microseconds, or `null`.
    pub(super) fn micros(&mut self, key: FieldKey, value: Option<Duration>) -> &mut Self {
        self.number_or_null(
            key,
            value.map(|value| u64::try_from(value.as_micros()).unwrap_or(u64::MAX)),
        )
    }

    /// A time: RFC 3339, UTC, microseconds.
    pub(super) fn time(
        &mut self,
        key: FieldKey,
        value: SystemTime,
        writer: &mut TimestampWriter,
    ) -> &mut Self {
        self.key(key);
        self.0.push(b'"');
        writer.write(self.0, value);
        self.0.push(b'"');
        self
    }

    /// Bytes as lower-case hexadecimal digits.
    pub(super) fn hex(&mut self, key: FieldKey, bytes: &[u8]) -> &mut Self {
        self.key(key);
        self.0.push(b'"');
        self.0.extend(bytes.iter().flat_map(|byte| digits(*byte)));
        self.0.push(b'"');
        self
    }

    /// A field like [`hex`](Self::hex), or `null`.
    pub(super) fn hex_or_null(&mut self, key: FieldKey, bytes: Option<&[u8]>) -> &mut Self {
        match bytes {
            Some(bytes) => self.hex(key, bytes),
            None => self.null(key),
        }
    }

    /// A list of strings.
    pub(super) fn list<'t>(
        &mut self,
        key: FieldKey,
        values: impl IntoIterator<Item = &'t str>,
    ) -> &mut Self {
        self.key(key);
        self.0.push(b'[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.0.push(b',');
            }
            string(self.0, value);
        }
        self.0.push(b']');
        self
    }

    /// Whether it is so.
    pub(super) fn bool(&mut self, key: FieldKey, value: bool) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(if value { b"true" } else { b"false" });
        self
    }

    fn null(&mut self, key: FieldKey) -> &mut Self {
        self.key(key);
        self.0.extend_from_slice(b"null");
        self
    }
}

/// A time as every line shows it.
pub(super) fn time_text(value: SystemTime) -> String {
    let time = jiff::Timestamp::try_from(value).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    format!("{time:.6}")
}

/// Writes times, and formats the part up to the second only when it changes: most times are in the
/// same second as the one before.
#[derive(Debug, Default)]
pub(super) struct TimestampWriter {
    second: u64,
    /// The text up to and including the decimal point.
    text: String,
}

impl TimestampWriter {
    fn write(&mut self, buffer: &mut Vec<u8>, value: SystemTime) {
        let since = value.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        if self.text.is_empty() || self.second != since.as_secs() {
            self.second = since.as_secs();
            self.text = time_text(value);
            self.text.truncate(self.text.len() - "000000Z".len());
        }
        buffer.extend_from_slice(self.text.as_bytes());
        // Six digits with leading zeros.
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

/// Has no early exit, so that the compiler vectorises the loop.
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
    fn a_time_is_utc_with_microseconds() {
        let mut buffer = Vec::new();
        let moment = SystemTime::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_001_999);
        JsonObject::begin(&mut buffer, "x").time(
            key!("time"),
            moment,
            &mut TimestampWriter::default(),
        );
        assert_eq!(buffer, br#"{"kind":"x","time":"2023-11-14T22:13:20.000001Z""#);
    }

    #[test]
    fn consecutive_times_are_as_jiff_writes_them() {
        let mut writer = TimestampWriter::default();
        for nanos in
            [0, 1_999, 999_999_999, 1_000_000_000, 1_000_001_000, 999_999_999, 86_400_123_456_789]
        {
            let moment = SystemTime::UNIX_EPOCH + Duration::from_nanos(nanos);
            let mut buffer = Vec::new();
            writer.write(&mut buffer, moment);
            assert_eq!(String::from_utf8(buffer).unwrap(), time_text(moment));
        }
    }

    #[test]
    fn displayed_values_are_escaped_like_any_text() {
        for text in ["uid=1 gid=2", "a\"b\n\u{7f}é"] {
            let mut buffer = Vec::new();
            JsonObject::begin(&mut buffer, "x").display(key!("proof"), text);
            buffer.push(b'}');
            let read: serde_json::Value = serde_json::from_slice(&buffer).unwrap();
            assert_eq!(read["proof"], text);
        }
    }
}
