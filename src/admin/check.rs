//! Verifies the audit trail on request of the status page and keeps the result.
//!
//! A verification reads the whole trail. It runs on a thread of its own, one at a time, and nothing
//! waits for it: the gateway may exit while it runs.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use crate::{
    audit::{KeySource, Trail, Verdict, VerifyOptions, VerifyReport, verify},
    error::Chain,
};

/// The state of the last verification.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks(Arc<Mutex<Check>>);

/// Progress of a verification.
#[derive(Clone, Debug, Default)]
pub(super) enum Check {
    /// Nobody has requested one.
    #[default]
    Never,
    /// It is running.
    Running { since: SystemTime },
    Done {
        at: SystemTime,
        took: Duration,
        /// The findings, or the reason why the trail could not be read.
        result: Result<Arc<VerifyReport>, String>,
    },
}

impl Checks {
    pub(super) fn last(&self) -> Check {
        self.0.lock().clone()
    }

    /// Starts a verification, unless one is running. Returns whether it did.
    pub(super) fn begin(&self, trail: &Trail) -> bool {
        {
            let mut last = self.0.lock();
            if last.is_running() {
                return false;
            }
            *last = Check::Running { since: SystemTime::now() };
        }
        let (last, directory) = (Arc::clone(&self.0), trail.directory().to_owned());
        // The key in the directory may have been replaced since the start.
        let key = trail.public_key().map_or(KeySource::Directory, KeySource::Gateway);
        let options = VerifyOptions { key, ..VerifyOptions::default() };
        let began = Instant::now();
        let check = move || {
            let result = verify(&directory, options, |_| {});
            let result = result.map(Arc::new).map_err(|error| Chain(&error).to_string());
            *last.lock() = Check::Done { at: SystemTime::now(), took: began.elapsed(), result };
        };
        if let Err(error) = thread::Builder::new().name("audit-verify".to_owned()).spawn(check) {
            let result = Err(error.to_string());
            *self.0.lock() = Check::Done { at: SystemTime::now(), took: began.elapsed(), result };
        }
        true
    }
}

impl Check {
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// The verdict, once there is one.
    pub(super) fn verdict(&self) -> Option<Verdict> {
        match self {
            Self::Done { result: Ok(report), .. } => Some(report.verdict()),
            _ => None,
        }
    }
}
