//! Checks the audit trail when someone asks on the page, and remembers what was found.
//!
//! A check reads the whole trail, so it runs on a thread of its own and never twice at a time. Nothing
//! waits for that thread: a gateway that ends does not have to see a long check through.

use std::{
    sync::Arc,
    thread,
    time::{Duration, Instant, SystemTime},
};

use parking_lot::Mutex;

use crate::{
    audit::{Trail, VerifyOptions, VerifyReport, verify},
    error::Chain,
};

/// What is known of the trail's last check.
#[derive(Clone, Debug, Default)]
pub(super) struct Checks(Arc<Mutex<Check>>);

/// How the last check stands.
#[derive(Clone, Debug, Default)]
pub(super) enum Check {
    /// Nobody has asked.
    #[default]
    Never,
    /// It is under way.
    Running { since: SystemTime },
    Done {
        at: SystemTime,
        took: Duration,
        /// What was found, or why it could not be looked at.
        result: Result<Arc<VerifyReport>, String>,
    },
}

impl Checks {
    pub(super) fn last(&self) -> Check {
        self.0.lock().clone()
    }

    /// Begins a check, unless one is under way.
    pub(super) fn begin(&self, trail: &Trail) {
        {
            let mut last = self.0.lock();
            if last.is_running() {
                return;
            }
            *last = Check::Running { since: SystemTime::now() };
        }
        let (last, directory) = (Arc::clone(&self.0), trail.directory().to_owned());
        let began = Instant::now();
        let check = move || {
            let result = verify(&directory, VerifyOptions::default(), |_| {});
            let result = result.map(Arc::new).map_err(|error| Chain(&error).to_string());
            *last.lock() = Check::Done { at: SystemTime::now(), took: began.elapsed(), result };
        };
        if let Err(error) = thread::Builder::new().name("audit-verify".to_owned()).spawn(check) {
            let result = Err(error.to_string());
            *self.0.lock() = Check::Done { at: SystemTime::now(), took: began.elapsed(), result };
        }
    }
}

impl Check {
    pub(super) fn is_running(&self) -> bool {
        matches!(self, Self::Running { .. })
    }

    /// Whether the trail is not as it was written.
    pub(super) fn found_problems(&self) -> bool {
        matches!(self, Self::Done { result: Ok(report), .. } if !report.problems.is_empty())
    }
}
