//! Errors in the bytes of a connection.

use crate::{
    domain::TargetError,
    error::{Error, Kind},
};

/// Why a message is malformed or ambiguous. After each of these errors the beginning of the next message
/// is unknown, so the connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseError {
    /// A line ends with a bare LF, or there is a bare CR (RFC 9112 §2.2).
    LineEnd,
    /// The request line is not three words with single spaces (RFC 9112 §3).
    RequestLine,
    /// The method is no token, or longer than any method is (RFC 9110 §9.1).
    Method,
    /// The target has a forbidden character or form (RFC 9112 §3.2).
    Target(TargetError),
    /// The version has the wrong form (RFC 9112 §2.3).
    Version,
    /// A version that the gateway does not support.
    VersionUnsupported,
    /// A field line without a colon, or whose name is no token (RFC 9112 §5.1).
    FieldName,
    /// A field line that continues the previous one (RFC 9112 §5.2).
    FieldFold,
    /// A control character in a field value (RFC 9110 §5.5).
    FieldValue,
    /// `Content-Length` is repeated or not one plain number (RFC 9110 §8.6).
    ContentLength,
    /// `Transfer-Encoding` that is not `chunked`, once, on HTTP/1.1 (RFC 9112 §6.1).
    TransferEncoding,
    /// A transfer coding that the gateway does not support.
    CodingUnknown,
    /// Both `Content-Length` and `Transfer-Encoding` (RFC 9112 §6.1).
    TwoLengths,
    /// The request line is over the limit.
    TargetTooLong,
    /// The head is over the limit.
    HeadTooLarge,
    /// A malformed size line of a chunk (RFC 9112 §7.1).
    ChunkSize,
    /// A chunk is not followed by a line end (RFC 9112 §7.1).
    ChunkEnd,
    /// A trailer section that is malformed, too long, or frames a message (RFC 9110 §6.5.1).
    Trailer,
}

impl ParseError {
    /// The error the caller gets.
    pub fn into_error(self) -> Error {
        let (kind, detail) = match self {
            Self::LineEnd => (Kind::Malformed, "every line of a head ends with CR LF"),
            Self::RequestLine => {
                (Kind::Malformed, "a request begins with `METHOD target HTTP/1.1`")
            }
            Self::Method => (Kind::Malformed, "the method is not one"),
            Self::Target(error) => return error.into(),
            Self::Version => (Kind::Malformed, "the version is not written as `HTTP/1.1`"),
            Self::VersionUnsupported => {
                (Kind::VersionUnsupported, "send HTTP/1.1, HTTP/1.0 or HTTP/2")
            }
            Self::FieldName => (Kind::Malformed, "a header field's name is not a token"),
            Self::FieldFold => (Kind::Malformed, "a header field goes on in another line"),
            Self::FieldValue => (Kind::Malformed, "a header field holds a control character"),
            Self::ContentLength => {
                (Kind::Malformed, "`Content-Length` must stand once, as one decimal number")
            }
            Self::TransferEncoding => {
                (Kind::Malformed, "`Transfer-Encoding` must be `chunked`, once, on HTTP/1.1")
            }
            Self::CodingUnknown => {
                (Kind::NotImplemented, "the only transfer coding understood is `chunked`")
            }
            Self::TwoLengths => {
                (Kind::Malformed, "`Content-Length` and `Transfer-Encoding` stand side by side")
            }
            Self::TargetTooLong => (Kind::TargetTooLong, "the request line is over the limit"),
            Self::HeadTooLarge => {
                (Kind::HeadersTooLarge, "the request's head is over the limit (`limits`)")
            }
            Self::ChunkSize => (Kind::BodyBroken, "a chunk of the body does not state its size"),
            Self::ChunkEnd => (Kind::BodyBroken, "a chunk of the body is longer than it says"),
            Self::Trailer => (Kind::BodyBroken, "the body's trailer section is not acceptable"),
        };
        Error::new(kind, detail)
    }
}

impl std::fmt::Display for ParseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.into_error().detail())
    }
}

impl std::error::Error for ParseError {}
