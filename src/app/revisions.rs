//! Puts on the audit trail which configuration is in force, and who or what changed it.
//!
//! The last revision is kept in the trail's directory, so that a start can also tell what changed while no gateway
//! ran.

use std::{path::PathBuf, time::SystemTime};

use crate::{
    audit::{ConfigurationChange, Trail},
    config::Revision,
    error::Chain,
    process::files,
};

/// What begins a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadCause {
    /// The signal.
    Hangup,
    /// A configuration file has changed.
    FileChanged,
}

impl ReloadCause {
    /// The value on the trail.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::FileChanged => "file",
        }
    }
}

/// Records the configuration that a gateway starts with.
pub(super) fn started(trail: &Trail, revision: &Revision) {
    let last = files::read_own(&kept(trail)).ok();
    let last: Option<Revision> = last.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    record(trail, "start", last.as_ref(), revision);
}

/// Records a configuration that came into force.
pub(super) fn applied(trail: &Trail, cause: ReloadCause, before: &Revision, revision: &Revision) {
    record(trail, cause.label(), Some(before), revision);
}

/// Records a configuration that was refused. The `current` one stays in force.
pub(super) fn refused(trail: &Trail, cause: ReloadCause, current: [u8; 32], reason: String) {
    trail.configuration(ConfigurationChange {
        time: SystemTime::now(),
        cause: cause.label(),
        who: None,
        refused: Some(reason),
        hash: current,
        previous: Some(current),
        changes: Vec::new(),
    });
}

fn record(trail: &Trail, cause: &'static str, before: Option<&Revision>, revision: &Revision) {
    trail.configuration(ConfigurationChange {
        time: SystemTime::now(),
        cause,
        who: None,
        refused: None,
        hash: revision.hash(),
        previous: before.map(Revision::hash),
        changes: before.map_or_else(Vec::new, |before| revision.changes_since(before)),
    });
    let written = serde_json::to_vec(revision)
        .map_err(Into::into)
        .and_then(|bytes| files::replace(&kept(trail), &bytes));
    if let Err(error) = written {
        let error = Chain(&error);
        tracing::warn!(%error, "the next start cannot tell what changed in the configuration");
    }
}

fn kept(trail: &Trail) -> PathBuf {
    trail.directory().join("configuration.json")
}
