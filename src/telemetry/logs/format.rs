//! Lines in which strangers' text cannot pass for something else: what cannot be seen is an escape.
//!
//! An error or a name in a certificate may have line ends, which would begin a line of its own, or characters
//! that turn the direction of a line around; see [`visible`].

use std::{
    borrow::Cow,
    fmt::Write as _,
    io::{self, Write},
};

use tracing_subscriber::{
    field::MakeExt as _,
    fmt::{FormatFields, MakeWriter, format::debug_fn},
};

use super::queue::{LineWriter, QueuedLine};
use crate::domain::{is_visible, visible};

/// The fields of a line for people: the message, then `name=value`.
pub(super) fn escaped_fields() -> impl for<'writer> FormatFields<'writer> + 'static {
    debug_fn(|out, field, value| {
        let value = format!("{value:?}");
        let value = visible(&value);
        if field.name() == "message" {
            write!(out, "{value}")
        } else {
            write!(out, "{field}={value}")
        }
    })
    .delimited(" ")
}

/// Writes lines of JSON to the queue.
#[derive(Debug)]
pub(super) struct EscapedJson(pub(super) LineWriter);

/// One line of JSON.
#[derive(Debug)]
pub(super) struct EscapedLine<'a>(QueuedLine<'a>);

impl<'a> MakeWriter<'a> for EscapedJson {
    type Writer = EscapedLine<'a>;

    fn make_writer(&'a self) -> EscapedLine<'a> {
        EscapedLine(self.0.make_writer())
    }
}

impl Write for EscapedLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.write(escape(line).as_bytes())?;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// JSON with a `\u` escape (RFC 8259 §7) for each character that cannot be seen. Only strings can have one.
fn escape(json: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(json);
    let is_plain = |character| is_visible(character) || character == '\n';
    if text.chars().all(is_plain) {
        return text;
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_plain(character) {
            escaped.push(character);
        } else {
            for unit in character.encode_utf16(&mut [0; 2]) {
                // Writing to a string cannot fail.
                let _infallible = write!(escaped, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tracing_subscriber::{fmt, layer::SubscriberExt as _};

    use super::{super::queue::Queue, *};

    /// A line end of each kind, a bell, colours, a turned direction, and characters outside of the BMP.
    const HOSTILE: &str =
        "a\r\n{\"level\":\"ERROR\"}\u{85}\u{2028}\u{7}\u{1b}[31m\u{202e}\u{e0041}\u{7f}å";

    fn logged(json: bool) -> String {
        let queue = Arc::new(Queue::default());
        let writer = LineWriter(Arc::clone(&queue));
        let log = || {
            tracing::warn!(shown = %HOSTILE, quoted = HOSTILE, debug = ?HOSTILE, "a message: {HOSTILE}");
        };
        let registry = tracing_subscriber::registry();
        if json {
            let lines = fmt::layer().json().flatten_event(true).with_writer(EscapedJson(writer));
            tracing::subscriber::with_default(registry.with(lines), log);
        } else {
            let lines = fmt::layer().compact().with_ansi(false).fmt_fields(escaped_fields());
            let lines = lines.with_writer(writer);
            tracing::subscriber::with_default(registry.with(lines), log);
        }
        queue.waiting()
    }

    #[test]
    fn strangers_text_begins_no_line_and_turns_none_around() {
        for json in [false, true] {
            let text = logged(json);
            let line = text.strip_suffix('\n').unwrap();
            assert!(line.chars().all(is_visible), "{json}: {line}");
            assert!(line.contains('å') && line.contains("a message: "), "{json}: {line}");
        }
    }

    #[test]
    fn json_says_what_was_logged() {
        let line: serde_json::Value = serde_json::from_str(&logged(true)).unwrap();
        assert_eq!(line["quoted"], HOSTILE);
        assert_eq!(line["level"], "WARN");
    }
}
