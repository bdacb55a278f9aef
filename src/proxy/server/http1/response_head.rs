//! Writes the head of an answer, and decides how its body is framed.

use std::{io::Write as _, time::Duration};

use http::{HeaderMap, HeaderName, Method, Response, StatusCode, Version, header};
use http_body::Body;

use crate::proxy::server::date;

/// How the body of an answer is framed (RFC 9112 §6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFraming {
    /// There is no body. The head may state the length that the answer to `GET` has (RFC 9110 §8.6).
    Empty(Option<u64>),
    /// This many bytes.
    Length(u64),
    /// Chunks.
    Chunked,
    /// All bytes up to the end of the connection, for HTTP/1.0.
    UntilClose,
}

/// The framing of the answer to a request with that method and version.
pub fn framing<B: Body>(method: &Method, version: Version, answer: &Response<B>) -> AnswerFraming {
    let stated = || answer.headers().get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok();
    let exact = answer.body().size_hint().exact();
    match (answer.status(), exact) {
        (StatusCode::NO_CONTENT, _) => AnswerFraming::Empty(None),
        (StatusCode::NOT_MODIFIED, _) => AnswerFraming::Empty(stated()),
        _ if *method == Method::HEAD => {
            AnswerFraming::Empty(stated().or(exact.filter(|length| *length > 0)))
        }
        (_, exact) => match exact.or_else(stated) {
            Some(length) => AnswerFraming::Length(length),
            None if version == Version::HTTP_11 => AnswerFraming::Chunked,
            None => AnswerFraming::UntilClose,
        },
    }
}

/// Writes a head. `persistence` has the fields that say that the connection is kept, if it is.
pub fn write(
    buffer: &mut Vec<u8>,
    status: StatusCode,
    fields: &HeaderMap,
    framing: AnswerFraming,
    persistence: Option<&str>,
) {
    write_status_and_fields(buffer, status, fields);
    match framing {
        AnswerFraming::Length(length) | AnswerFraming::Empty(Some(length)) => {
            let mut digits = itoa::Buffer::new();
            write_field(buffer, "content-length", digits.format(length).as_bytes());
        }
        AnswerFraming::Chunked => write_field(buffer, "transfer-encoding", b"chunked"),
        AnswerFraming::Empty(None) | AnswerFraming::UntilClose => {}
    }
    if !fields.contains_key(header::DATE) {
        date::with_now(|date| write_field(buffer, "date", date.as_bytes()));
    }
    buffer.extend_from_slice(persistence.unwrap_or(CLOSE).as_bytes());
    buffer.extend_from_slice(b"\r\n");
}

/// Writes an interim response, which is a head alone (RFC 9110 §15.2).
pub fn write_interim(buffer: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) {
    write_status_and_fields(buffer, status, fields);
    buffer.extend_from_slice(b"\r\n");
}

fn write_status_and_fields(buffer: &mut Vec<u8>, status: StatusCode, fields: &HeaderMap) {
    let length: usize = fields.iter().fold(REST, |length, (name, value)| {
        length.saturating_add(name.as_str().len()).saturating_add(value.len()).saturating_add(FIELD)
    });
    buffer.reserve(length);
    buffer.extend_from_slice(b"HTTP/1.1 ");
    buffer.extend_from_slice(status.as_str().as_bytes());
    buffer.push(b' ');
    buffer.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    buffer.extend_from_slice(b"\r\n");
    for (name, value) in fields {
        if !is_of_the_connection(name) {
            write_field(buffer, name.as_str(), value.as_bytes());
        }
    }
}

/// Fields that the server writes by itself.
fn is_of_the_connection(name: &HeaderName) -> bool {
    matches!(*name, header::CONNECTION | header::TRANSFER_ENCODING | header::CONTENT_LENGTH)
}

fn write_field(buffer: &mut Vec<u8>, name: &str, value: &[u8]) {
    buffer.extend_from_slice(name.as_bytes());
    buffer.extend_from_slice(b": ");
    buffer.extend_from_slice(value);
    buffer.extend_from_slice(b"\r\n");
}

/// The fields that say that a connection is kept, and for how long the caller may use it. A caller that
/// stops some seconds before the idle time never sends a request on a connection that is being closed.
pub fn keep_alive_fields(idle: Duration) -> String {
    let margin = MARGIN.min(idle.mul_f64(0.5));
    match idle.saturating_sub(margin).as_secs() {
        0 => String::new(),
        seconds => format!("connection: keep-alive\r\nkeep-alive: timeout={seconds}\r\n"),
    }
}

/// Writes the size line of a chunk.
pub fn write_chunk_size(buffer: &mut Vec<u8>, length: usize) {
    // A vector takes all bytes.
    let _written = write!(buffer, "{length:x}\r\n");
}

/// The time between the hint to callers and the idle time.
const MARGIN: Duration = Duration::from_secs(5);
const CLOSE: &str = "connection: close\r\n";
/// More bytes than the status line and the fields of the connection have.
const REST: usize = 256;
/// What a field has beside its name and value.
const FIELD: usize = 4;
