//! The record of one finished call, as the request path submits it.
//!
//! The path's thread builds it, so it holds only what is cheap: shared names, numbers and a copy of
//! the target. The writer thread encodes it.

use std::{
    fmt,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::target::Target;
use crate::domain::{
    CredentialsName, LabelValue, ListenerName, Peer, PolicyId, ProfileName, Proof, RequestId,
};

/// One finished call.
#[derive(Clone, Debug)]
pub struct Record {
    /// When the call arrived.
    pub time: SystemTime,
    /// The gateway's identifier of the call.
    pub request_id: RequestId,
    /// The distributed trace of the call.
    pub trace_id: u128,
    /// Why the gateway made the call by itself; `None` for a caller's call.
    pub own: Option<OwnCall>,
    /// The other end of the caller's connection; `None` for a call of the gateway's own.
    pub peer: Option<Peer>,
    /// The listener that accepted the call.
    pub listener: ListenerName,
    /// The caller's name, if the caller was identified.
    pub caller: Option<LabelValue>,
    /// The proof that identified the caller.
    pub caller_proof: Option<Proof>,
    /// The certificate that the caller presented, if that is why it was refused.
    pub refused_certificate: Option<Box<RefusedCertificate>>,
    /// The configuration under which the call was decided.
    pub policy: PolicyId,
    /// The profile that the call was for, if it came far enough to have one.
    pub profile: Option<ProfileName>,
    /// The operation, if the request matched one.
    pub operation: Option<LabelValue>,
    /// The method.
    pub method: Method,
    /// Path and query as received, canonical or not; the trail keeps the path and the query's names.
    /// `None` if the request target was not a path.
    pub target: Option<Target>,
    /// The status sent to the caller; `None` if the caller left before, or if there is none.
    pub status: Option<StatusCode>,
    /// How the call ended.
    pub outcome: Outcome,
    /// The cache's result, if the call reached the cache.
    pub cache: Option<CacheResult>,
    /// For a cache hit: the call that fetched the response from the upstream.
    pub source_request_id: Option<RequestId>,
    /// The chain of the trail that has that call, if it is another gateway's.
    pub source_chain: Option<Arc<str>>,
    /// The upstream's own status, if it responded.
    pub upstream_status: Option<StatusCode>,
    /// The TLS parameters of the upstream connection, if one was used.
    pub upstream_tls: Option<Arc<UpstreamTls>>,
    /// How many attempts were made at the upstream.
    pub attempts: u32,
    /// Why each attempt but the last was abandoned: labels of [`Kind`](crate::error::Kind).
    pub retries: Vec<&'static str>,
    /// The version of the credentials that were sent.
    pub credential_version: Option<Arc<str>>,
    /// From the request head to the last byte of the response.
    pub duration: Duration,
    /// How long its requests waited to be sent, because the worker was saturated.
    pub queue_time: Duration,
    /// From the first attempt to the upstream's response head.
    pub upstream_time: Option<Duration>,
    /// Bytes of the request body.
    pub request_bytes: u64,
    /// Bytes of the response body that were sent.
    pub response_bytes: u64,
    /// Why the call failed or was refused: a label of [`Kind`](crate::error::Kind).
    pub error: Option<&'static str>,
    /// Why an enforcing policy would have refused the call: a label of
    /// [`Kind`](crate::error::Kind).
    pub would_refuse: Option<&'static str>,
    /// How many response fields were removed because they carry the name of an injected field.
    pub masked_fields: u32,
    /// The objects that a list answered, if it was read.
    pub list_ids: Option<Box<ListObjects>>,
}

impl Record {
    /// Whether the call failed, or was answered with 500 or above.
    pub fn is_error(&self) -> bool {
        self.outcome == Outcome::Failed
            || self.status.is_some_and(|status| status.is_server_error())
    }
}

/// The objects that a list answered, as far as its body was understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListObjects {
    /// Their UUIDs, in the order of the list.
    pub ids: Vec<Uuid>,
    /// Whether they are all.
    pub is_complete: bool,
}

/// A call that the gateway made by itself, to Pigello and with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnCall {
    /// Why.
    pub cause: CallCause,
    /// The call that began it.
    pub caused_by: Option<RequestId>,
}

/// Why the gateway made a call by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallCause {
    /// To revalidate a stale response whose caller has its answer (RFC 5861 §3).
    Revalidation,
    /// `check --online` or `credentials rotate --probe`, to try the credentials.
    Check,
    /// To read the event log, for notices of changes.
    EventLog,
}

impl CallCause {
    /// The value of the line's field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Revalidation => "revalidation",
            Self::Check => "check",
            Self::EventLog => "event_log",
        }
    }
}

/// A caller's certificate that the handshake refused, and why. A certificate is text of a stranger: the trail
/// cuts and escapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedCertificate {
    /// Why it was refused.
    pub reason: String,
    /// Subject, issuer, serial number and fingerprint; `None` if the caller presented no certificate.
    pub presented: Option<PresentedCertificate>,
}

/// What a presented certificate says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresentedCertificate {
    /// Its subject, as RFC 4514 writes it.
    pub subject: String,
    /// Its issuer.
    pub issuer: String,
    /// Its serial number: hexadecimal digits.
    pub serial: String,
    /// SHA-256 of its DER form.
    pub sha256: [u8; 32],
}

/// For the log, where control characters of a stranger's text have no place.
impl fmt::Display for RefusedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        let Some(PresentedCertificate { subject, issuer, serial, sha256 }) = &self.presented else {
            return Ok(());
        };
        let text = |text: &str| text.chars().take(MAX_NAME).collect::<String>();
        let (subject, issuer) = (text(subject), text(issuer));
        let (subject, issuer) = (subject.escape_debug(), issuer.escape_debug());
        write!(f, "; subject=\"{subject}\" issuer=\"{issuer}\" serial={serial} sha256=")?;
        sha256.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The characters of a name in a certificate that the log shows.
const MAX_NAME: usize = 256;

/// A call that is about to use a credential. With [`Synced`](super::Durability::Synced) it is on disk
/// before the secret leaves the process.
#[derive(Clone, Debug)]
pub struct Intent {
    /// When the call arrived.
    pub time: SystemTime,
    /// The call; its record carries the same identifier.
    pub request_id: RequestId,
    /// The caller's name, if the caller was identified.
    pub caller: Option<LabelValue>,
    /// The profile the call leads to.
    pub profile: ProfileName,
    /// The operation, if the request matched one.
    pub operation: Option<LabelValue>,
    /// The method.
    pub method: Method,
    /// Path and query as received.
    pub target: Option<Target>,
}

/// Something that an operator did over the admin listener.
#[derive(Clone, Debug)]
pub struct AdminAction {
    /// When it was done.
    pub time: SystemTime,
    /// What was done: `purge`, `refresh`, `reload`, `verify`, `page_link`, `page`.
    pub action: &'static str,
    /// Who did it: the user of a Unix socket, a token's role and fingerprint, or a session of the page.
    pub who: String,
    /// The operation that it was limited to.
    pub operation: Option<String>,
    /// The UUID of the object that it was limited to.
    pub object: Option<String>,
    /// The credential set that it was about.
    pub credentials: Option<CredentialsName>,
    /// What came of it, in a few words.
    pub result: String,
}

/// Another configuration came into force, or was refused.
#[derive(Clone, Debug)]
pub struct ConfigurationChange {
    /// When.
    pub time: SystemTime,
    /// What began it: `start`, `SIGHUP`, `file`, `admin`.
    pub cause: &'static str,
    /// Who asked for it over the admin listener.
    pub who: Option<String>,
    /// Why it was refused; `None` if it is in force.
    pub refused: Option<String>,
    /// SHA-256 of the configuration that is in force now.
    pub hash: [u8; 32],
    /// SHA-256 of the one before it; `None` if there was none.
    pub previous: Option<[u8; 32]>,
    /// The keys that changed.
    pub changes: Vec<ChangedKey>,
}

/// A key of the configuration that changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChangedKey {
    /// The key, such as `callers[billing].allow`.
    pub key: String,
    /// The old value, if values of this key are told and there was one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The new value.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

/// Calls use another version of a credential set, or none.
#[derive(Clone, Debug)]
pub struct CredentialsChange {
    /// When.
    pub time: SystemTime,
    /// The set.
    pub credentials: CredentialsName,
    /// The version before; `None` if there was none.
    pub from: Option<Arc<str>>,
    /// The version that calls use now; `None` if they get none.
    pub to: Option<Arc<str>>,
    /// The state of the set, such as `fresh` or `expired`.
    pub state: &'static str,
    /// Why.
    pub cause: &'static str,
}

/// Notices of changes in Pigello were taken.
#[derive(Clone, Debug)]
pub struct NoticesTaken {
    /// When.
    pub time: SystemTime,
    /// The profile whose stored responses they are about.
    pub profile: ProfileName,
    /// Where they come from: `event_log` or `webhook`.
    pub source: &'static str,
    /// Events that came since the last such line.
    pub received: u64,
    /// Those of them that were new.
    pub applied: u64,
    /// From the oldest change of the last ones to its drop.
    pub lag: Option<Duration>,
    /// The last call that read them, if one did.
    pub request_id: Option<RequestId>,
}

/// The TLS parameters of an upstream connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    /// `TLSv1.3` or `TLSv1.2`.
    pub version: &'static str,
    /// SHA-256 of the upstream's own certificate (DER).
    pub certificate: [u8; 32],
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The upstream responded, and the caller got that response.
    Forwarded,
    /// The caller got a response from the cache.
    Cached,
    /// The gateway decided against the caller or its request.
    Refused,
    /// The call could not be served, or was interrupted.
    Failed,
}

impl Outcome {
    /// The value of the line's field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Forwarded => "forwarded",
            Self::Cached => "cached",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The cache's result for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheResult {
    /// A fresh stored response.
    Hit,
    /// No usable stored response; the call went to the upstream.
    Miss,
    /// A stale stored response, as the cache rules allow.
    Stale,
    /// A stored response that the upstream confirmed.
    Revalidated,
    /// The response to another call's concurrent request.
    Collapsed,
    /// A response that another gateway of the fleet has fetched.
    Shared,
    /// The cache was not used for this call.
    Bypass,
}

impl CacheResult {
    /// The value of the line's field.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Stale => "stale",
            Self::Revalidated => "revalidated",
            Self::Collapsed => "collapsed",
            Self::Shared => "shared",
            Self::Bypass => "bypass",
        }
    }
}
