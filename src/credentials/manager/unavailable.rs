//! The error of a request while no credential set may be used.

use std::{sync::Arc, time::Duration};

use crate::{
    credentials::{rotation::UnavailableReason, settings::Settings},
    error::{Error, Kind},
};

/// No set may be used; with the reason in words for a caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unavailable {
    pub(super) detail: Arc<str>,
    pub(super) retry_after: Duration,
}

impl Unavailable {
    /// For a reason, and the message for callers of the last failed read, if it failed.
    pub(super) fn new(
        settings: &Settings,
        reason: UnavailableReason,
        last_failure: Option<&str>,
    ) -> Self {
        let (name, retry_cap) = (&settings.name, settings.refresh.retry_cap);
        let detail = match (reason, last_failure) {
            (UnavailableReason::NotYet, None) => {
                format!("The credential set {name:?} has not been read yet.")
            }
            (UnavailableReason::NotYet, Some(failure)) => failure.to_owned(),
            (UnavailableReason::Stale, _) => {
                format!("The source of the credential set {name:?} has been away for too long.")
            }
            (UnavailableReason::Withdrawn, _) => {
                format!("The credential set {name:?} was taken away at its source.")
            }
            (UnavailableReason::Rejected, _) => {
                format!("Pigello has refused the credential set {name:?} for too long.")
            }
        };
        // As long as no read is planned: soon at the start; later a person must act first.
        let retry_after = match reason {
            UnavailableReason::NotYet => Duration::from_secs(2).min(retry_cap),
            _ => retry_cap,
        };
        Self { detail: detail.into(), retry_after }
    }

    /// The reason: a sentence without paths, addresses or values.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The value of `Retry-After`.
    pub fn retry_after(&self) -> Duration {
        self.retry_after
    }
}

impl From<Unavailable> for Error {
    fn from(reason: Unavailable) -> Self {
        Self::new(Kind::CredentialsUnavailable, reason.detail.to_string())
            .retry_after(reason.retry_after)
    }
}
