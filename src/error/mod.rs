//! The errors of calls.
//!
//! Every stage fails with [`Error`]. Its [`Kind`] decides the status, the `Proxy-Status` error type
//! (RFC 9209 §2.3), the label in metrics and in the audit log, and the party at fault. The source of an
//! error is for the log alone and never leaves the process.

mod kind;
mod manual;

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

pub use kind::{Fault, Kind};
pub use manual::{ManualEntry, errors_page};

/// Any error of another crate or a lower layer.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call has no response from Pigello.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    is_repeated: bool,
    is_final: bool,
    source: Option<BoxError>,
}

impl Error {
    /// An error with a sentence for the caller. The sentence may name the caller itself, its proof and
    /// operations. It quotes nothing that a caller or an upstream sent, but for a method and one character
    /// of a target, and never a secret.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            retry_after: None,
            is_repeated: false,
            is_final: false,
            source: None,
        }
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Tells the caller when to retry (`Retry-After`, RFC 9110 §10.2.3), in whole seconds and never too
    /// early.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        let rounded_up = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.retry_after = Some(Duration::from_secs(rounded_up));
        self
    }

    /// Marks the failure of a connection that another call has reported: for the upstream's health it is one
    /// failure.
    #[must_use]
    pub fn repeated(mut self) -> Self {
        self.is_repeated = true;
        self
    }

    /// Whether another call has reported the same failure.
    pub fn is_repeated(&self) -> bool {
        self.is_repeated
    }

    /// Marks a failure that came after so long a wait that another attempt would only wait again.
    #[must_use]
    pub fn final_failure(mut self) -> Self {
        self.is_final = true;
        self
    }

    /// Whether no further attempt should be made.
    pub fn is_final(&self) -> bool {
        self.is_final
    }

    /// The kind of the failure.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The value of `Retry-After`.
    pub fn retry_after_hint(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// The kind of an [`Error`] among the causes of another error. hyper wraps the error of a body in its own.
pub fn find_kind(error: &(dyn StdError + 'static)) -> Option<Kind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(own) = error.downcast_ref::<Error>() {
            return Some(own.kind());
        }
        next = error.source();
    }
    None
}

/// Prints an error and its causes on one line.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chain_is_printed_once() {
        let error = Error::new(Kind::UpstreamRefused, "no connection").because("port closed");
        assert_eq!(Chain(&error).to_string(), "upstream_refused: no connection: port closed");
        assert_eq!(error.to_string(), "upstream_refused: no connection");
    }
}
