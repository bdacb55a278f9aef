//! How a call ends, and how a fetch ends for the calls that wait for it.

use std::{borrow::Cow, sync::Arc, time::Duration};

use http::Response;
use tokio::sync::oneshot;

use super::storage::response::StoredResponse;
use crate::{
    body::Body,
    error::{Error, Kind},
};

/// The end of a call.
pub(super) type CallResult = Result<Response<Body>, Error>;

/// Hands the end of a call to its caller, who may have left.
pub(super) type Reply = oneshot::Sender<CallResult>;

/// Gets the end of a call.
pub(super) type Answer = oneshot::Receiver<CallResult>;

/// The end of a fetch.
#[derive(Clone, Debug)]
pub(super) enum FetchOutcome {
    /// With a response that may answer other calls.
    Stored(Arc<StoredResponse>),
    /// With a failure of the upstream. The stale response may answer the calls that accept it.
    Stale(Arc<StoredResponse>, SharedError),
    /// With a response for its own caller alone.
    NotShared,
    /// With an error.
    Failed(SharedError),
}

/// An error that several calls return.
#[derive(Clone, Debug)]
pub(super) struct SharedError {
    kind: Kind,
    detail: Arc<str>,
    retry_after: Option<Duration>,
}

impl SharedError {
    pub(super) fn is_before_sending(&self) -> bool {
        self.kind.is_before_sending()
    }
}

impl From<&Error> for SharedError {
    fn from(error: &Error) -> Self {
        let (kind, retry_after) = (error.kind(), error.retry_after_hint());
        Self { kind, detail: error.detail().into(), retry_after }
    }
}

impl From<SharedError> for Error {
    fn from(shared: SharedError) -> Self {
        let error = Self::new(shared.kind, Cow::Owned(shared.detail.as_ref().to_owned()));
        match shared.retry_after {
            Some(after) => error.retry_after(after),
            None => error,
        }
    }
}
