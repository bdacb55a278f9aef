//! Who calls: a proved name, or nobody in particular.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
};

use super::{LabelValue, OperationPattern};

/// The caller of one request, as `identify` proved it.
///
/// A caller is proved, never claimed: no header makes one.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The proof names an entry of `[[callers]]`, or the listener's own `caller`.
    Known {
        /// The rule of `[[callers]]` with that name, if there is one.
        rule: Option<Arc<CallerRule>>,
        /// The name, as it appears in the audit trail and in metrics.
        name: LabelValue,
        /// How it was proved.
        proof: Proof,
    },
    /// Nothing that the caller proved is named in the configuration.
    Unidentified {
        /// What the connection itself shows.
        proof: Proof,
    },
}

impl Caller {
    /// The caller's name, if it has one.
    pub fn name(&self) -> Option<&LabelValue> {
        match self {
            Self::Known { name, .. } => Some(name),
            Self::Unidentified { .. } => None,
        }
    }

    /// What proved the caller.
    pub fn proof(&self) -> &Proof {
        match self {
            Self::Known { proof, .. } | Self::Unidentified { proof } => proof,
        }
    }
}

/// What stands behind a caller's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// Whoever can reach this listener is this caller.
    Listener,
    /// The peer of a Unix socket, as the kernel names it.
    UnixPeer {
        /// Effective user id.
        uid: u32,
        /// Effective group id.
        gid: u32,
        /// Process id, where the kernel tells.
        pid: Option<i32>,
    },
    /// A name in a verified client certificate.
    Certificate {
        /// The URI or DNS name that matched.
        name: Arc<str>,
    },
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener => f.write_str("listener"),
            Self::UnixPeer { uid, gid, pid: Some(pid) } => {
                write!(f, "uid={uid} gid={gid} pid={pid}")
            }
            Self::UnixPeer { uid, gid, pid: None } => write!(f, "uid={uid} gid={gid}"),
            Self::Certificate { name } => write!(f, "certificate={name}"),
        }
    }
}

/// One checked `[[callers]]` entry.
#[derive(Debug)]
pub struct CallerRule {
    /// The caller's name.
    pub name: LabelValue,
    /// Peers of a Unix socket that are this caller.
    pub unix_uids: Vec<u32>,
    /// URI or DNS names in a verified client certificate that are this caller, matched exactly.
    pub tls_names: Vec<Arc<str>>,
    /// What the caller may do.
    pub allow: Vec<OperationPattern>,
    /// How much of it.
    pub limits: CallerLimits,
}

/// How much one caller may ask for; nothing is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// Calls a second.
    pub rate: Option<Rate>,
    /// Calls at the same time.
    pub concurrency: Option<NonZeroUsize>,
}

/// So many calls a second, after a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run.
    pub per_second: NonZeroU32,
    /// At once, after a pause.
    pub burst: NonZeroU32,
}
