//! The caller of a request, by proof.

use std::{
    fmt,
    num::{NonZeroU32, NonZeroUsize},
    sync::Arc,
};

use http::{HeaderName, header};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    label::LabelValue, names::ProfileName, operation::Operation, pattern::OperationPattern,
    profile_pattern::ProfilePattern,
};

/// The caller of one request, as the stage `identify` found it. Only the connection proves a caller; no
/// header field does.
#[derive(Clone, Debug)]
pub enum Caller {
    /// The proof names an entry of `[[callers]]`, or the listener's own `caller`.
    Known {
        /// The rule of `[[callers]]` with the name, if there is one.
        rule: Option<Arc<CallerRule>>,
        /// The name, as in the audit log and in metrics.
        name: LabelValue,
        /// How it was proved.
        proof: Proof,
    },
    /// The configuration names nothing that the connection proves.
    Unidentified {
        /// The proof of the connection.
        proof: Proof,
    },
}

/// What people read in place of the name of a caller that has none.
pub const UNIDENTIFIED: &str = "(unidentified)";

impl Caller {
    /// The caller's name, if it has one.
    pub fn name(&self) -> Option<&LabelValue> {
        match self {
            Self::Known { name, .. } => Some(name),
            Self::Unidentified { .. } => None,
        }
    }

    /// Whether a credential of the caller's own goes up.
    pub fn forwards(&self, credential: CallerCredential) -> bool {
        matches!(self, Self::Known { rule: Some(rule), .. } if rule.forward.contains(&credential))
    }

    /// The proof.
    pub fn proof(&self) -> &Proof {
        match self {
            Self::Known { proof, .. } | Self::Unidentified { proof } => proof,
        }
    }
}

/// The proof of a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// The listener: every client that reaches it is this caller.
    Listener,
    /// The peer of a Unix socket, from the kernel.
    UnixPeer {
        /// Effective user id.
        uid: u32,
        /// Effective group id.
        gid: u32,
        /// Process id, if the kernel has it.
        pid: Option<i32>,
    },
    /// The peer of a Unix socket whose user id is the kernel's overflow id: any user that the gateway's
    /// user namespace does not map. It proves nobody.
    UnmappedPeer {
        /// The overflow id.
        uid: u32,
        /// Effective group id.
        gid: u32,
        /// Process id, if the kernel has it.
        pid: Option<i32>,
    },
    /// A name in a verified client certificate.
    Certificate {
        /// The URI or DNS name that matched.
        name: Arc<str>,
    },
    /// A verified client certificate without a URI or DNS name. It proves nobody.
    NamelessCertificate {
        /// Its serial number and subject.
        certificate: Arc<str>,
    },
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener => f.write_str("listener"),
            Self::UnixPeer { uid, gid, pid } => write_peer(f, *uid, *gid, *pid),
            Self::UnmappedPeer { uid, gid, pid } => {
                f.write_str("unmapped ")?;
                write_peer(f, *uid, *gid, *pid)
            }
            Self::Certificate { name } => write!(f, "certificate={name}"),
            Self::NamelessCertificate { certificate } => {
                write!(f, "nameless certificate {certificate}")
            }
        }
    }
}

fn write_peer(f: &mut fmt::Formatter<'_>, uid: u32, gid: u32, pid: Option<i32>) -> fmt::Result {
    write!(f, "uid={uid} gid={gid}")?;
    pid.map_or(Ok(()), |pid| write!(f, " pid={pid}"))
}

/// A checked `[[callers]]` entry.
#[derive(Debug)]
pub struct CallerRule {
    /// The caller's name.
    pub name: LabelValue,
    /// Peers of a Unix socket that are this caller.
    pub unix_uids: Vec<u32>,
    /// URI or DNS names in a verified client certificate that are this caller, matched exactly.
    pub tls_names: Vec<Arc<str>>,
    /// The operations that the caller may use.
    pub allow: Vec<OperationPattern>,
    /// The profile of all its calls, unless the listener has one.
    pub profile: Option<ProfileName>,
    /// The profiles that it may name.
    pub profiles: Vec<ProfilePattern>,
    /// The credentials of its own that go up.
    pub forward: Vec<CallerCredential>,
    /// The limits of the caller.
    pub limits: CallerLimits,
}

impl CallerRule {
    /// The pattern that allows a request. One without an operation needs `*`.
    pub fn allowing(&self, operation: Option<&Operation>) -> Option<&OperationPattern> {
        self.allow.iter().find(|pattern| match operation {
            Some(operation) => pattern.matches(operation),
            None => **pattern == OperationPattern::Any,
        })
    }
}

/// A header field in which a caller proves itself to Pigello, besides the seven values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum CallerCredential {
    /// `Authorization`.
    Authorization,
    /// `Cookie`.
    Cookie,
}

impl CallerCredential {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Authorization, Self::Cookie];

    /// The field's name.
    pub const fn field(self) -> HeaderName {
        match self {
            Self::Authorization => header::AUTHORIZATION,
            Self::Cookie => header::COOKIE,
        }
    }
}

/// The limits of one caller. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallerLimits {
    /// Calls a second.
    pub rate: Option<Rate>,
    /// Calls at the same time.
    pub concurrency: Option<NonZeroUsize>,
}

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Calls a second in the long run.
    pub per_second: NonZeroU32,
    /// Calls at once after a pause.
    pub burst: NonZeroU32,
}
