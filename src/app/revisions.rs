//! Puts on the audit trail which configuration is in force, and who or what changed it.
//!
//! The last revision is kept in the trail's directory, so that a start can also tell what changed while no gateway
//! ran.

use std::{path::PathBuf, time::SystemTime};

use crate::{
    audit::{ChangedKey, ConfigurationChange, Trail},
    config::Revision,
    error::Chain,
    process::files,
};

/// What begins a reload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReloadCause {
    /// The signal.
    Hangup,
    /// A configuration file has changed.
    FileChanged,
    /// Somebody asked for it over the admin listener.
    Admin {
        /// Who.
        who: String,
    },
}

impl ReloadCause {
    /// The value on the trail.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Hangup => "SIGHUP",
            Self::FileChanged => "file",
            Self::Admin { .. } => "admin",
        }
    }

    fn who(self) -> Option<String> {
        match self {
            Self::Hangup | Self::FileChanged => None,
            Self::Admin { who } => Some(who),
        }
    }
}

/// Records the configuration that a gateway starts with.
pub(super) fn started(trail: &Trail, revision: &Revision) {
    let last = files::read_own(&kept(trail)).ok();
    let last: Option<Revision> = last.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    let changes = last.as_ref().map_or_else(Vec::new, |last| revision.changes_since(last));
    let previous = last.as_ref().map(Revision::hash);
    record(trail, ("start", None), revision, previous, changes);
}

/// Records a configuration that came into force, with its changes.
pub(super) fn applied(
    trail: &Trail,
    cause: ReloadCause,
    before: &Revision,
    revision: &Revision,
    changes: Vec<ChangedKey>,
) {
    let cause = (cause.label(), cause.who());
    record(trail, cause, revision, Some(before.hash()), changes);
}

/// Records a configuration that was refused. The `current` one stays in force.
pub(super) fn refused(trail: &Trail, cause: ReloadCause, current: [u8; 32], reason: String) {
    trail.configuration(ConfigurationChange {
        time: SystemTime::now(),
        cause: cause.label(),
        who: cause.who(),
        refused: Some(reason),
        hash: current,
        previous: Some(current),
        changes: Vec::new(),
    });
}

fn record(
    trail: &Trail,
    (cause, who): (&'static str, Option<String>),
    revision: &Revision,
    previous: Option<[u8; 32]>,
    changes: Vec<ChangedKey>,
) {
    let (time, hash) = (SystemTime::now(), revision.hash());
    let change = ConfigurationChange { time, cause, who, refused: None, hash, previous, changes };
    trail.configuration(change);
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
