//! What is said to a request when there is no set for it.

use std::{sync::Arc, time::Duration};

use super::{Record, Settings};
use crate::{
    credentials::rotation::{Selection, UnavailableReason},
    error::{Error, Kind},
};

/// There is no set to use, and why, in words for a caller.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Unavailable {
    pub(super) detail: Arc<str>,
    pub(super) retry_after: Duration,
}

impl Unavailable {
    /// The reason: a sentence without paths, addresses or values.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When it is worth trying again (`Retry-After`).
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

/// What a request without a set is told.
pub(super) fn unavailable(settings: &Settings, record: &Record) -> Unavailable {
    let name = &settings.name;
    let loss = match record.life.pick() {
        Selection::Nothing { loss, .. } => loss,
        Selection::Use { .. } => UnavailableReason::NotYet,
    };
    let detail = match (loss, &record.last_error) {
        (UnavailableReason::NotYet, None) => {
            format!("The credential set {name:?} has not been read yet.")
        }
        (UnavailableReason::NotYet, Some(failure)) => failure.for_callers.clone(),
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
    Unavailable { detail: detail.into(), retry_after: retry_after(settings, loss) }
}

/// When another call has a chance, as long as no read is planned: at the start that is soon, later a
/// person must act first.
fn retry_after(settings: &Settings, loss: UnavailableReason) -> Duration {
    match loss {
        UnavailableReason::NotYet => Duration::from_secs(2).min(settings.refresh.retry_cap),
        UnavailableReason::Stale | UnavailableReason::Withdrawn | UnavailableReason::Rejected => {
            settings.refresh.retry_cap
        }
    }
}
