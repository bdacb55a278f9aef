//! What can go wrong between the gateway and a vault.

use std::{io, path::PathBuf};

use http::StatusCode;

use super::IncompleteVault;
use crate::{
    credentials::{ValueProblems, source::Cause},
    domain::Span,
    error::BoxError,
    outbound::TlsError,
};

/// Why a vault gives no set. Never quotes what the vault said, which may hold what it was sent.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The connection fails: name, port, TLS.
    #[error("cannot reach the vault at {address}")]
    Unreachable {
        /// The vault.
        address: String,
        /// What failed.
        #[source]
        source: BoxError,
    },
    /// No whole answer in time.
    #[error("the vault at {address} did not answer within {limit}")]
    Timeout {
        /// The vault.
        address: String,
        /// The time it had.
        limit: Span,
    },
    /// It answers, and cannot do its work now.
    #[error("the vault answers {status}: {meaning}", meaning = meaning(*.status))]
    Unavailable {
        /// What it answered.
        status: StatusCode,
    },
    /// It points elsewhere. A token is not carried after it.
    #[error(
        "the vault answers {status}, a redirect, and redirects are not followed; configure the address of the active server"
    )]
    Redirect {
        /// What it answered.
        status: StatusCode,
    },
    /// An answer that the API does not have here.
    #[error("the vault answers {status} to {call}")]
    Unexpected {
        /// What it answered.
        status: StatusCode,
        /// To what.
        call: &'static str,
    },
    /// An answer of a size that no answer has.
    #[error("the vault's answer to {call} is larger than 1 MiB")]
    TooLarge {
        /// To what.
        call: &'static str,
    },
    /// An answer that cannot be read.
    #[error(
        "the vault's answer to {call} is not what its API gives (line {line}, column {column})"
    )]
    Malformed {
        /// To what.
        call: &'static str,
        /// Where.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// A plain connection to another host.
    #[error("the vault's address {address} is not https, and not on this host")]
    Plaintext {
        /// The vault.
        address: String,
    },
    /// Nothing says where the vault is, or how to log in.
    #[error(transparent)]
    Incomplete(#[from] IncompleteVault),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The namespace cannot be sent.
    #[error("the vault's namespace cannot be a header value")]
    Namespace {
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// A file with a token or a secret id cannot be read.
    #[error("cannot read {path}", path = path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// What should be a token is none.
    #[error("{place} holds no token: it is empty, too long or not printable")]
    NoToken {
        /// Where it should be.
        place: String,
    },
    /// The login is refused.
    #[error(
        "the vault refuses the {method} login ({status}); check its role and what it proves itself with"
    )]
    LoginRefused {
        /// The method.
        method: &'static str,
        /// What it answered.
        status: StatusCode,
    },
    /// A token that nobody renews is no longer taken.
    #[error("the vault does not take the token from {place}; put a new one there")]
    TokenRefused {
        /// Where it came from.
        place: String,
    },
    /// The wrapped secret id could not be unwrapped.
    #[error("the wrapping token in {path} is used up or unknown: if nobody here unwrapped it, somebody else may have read the secret id; make a new one", path = path.display())]
    Unwrap {
        /// The file.
        path: PathBuf,
    },
    /// The vault lets the token in, and not to this secret.
    #[error("the vault does not let this login read {secret}; check the policy")]
    Denied {
        /// The path of the secret.
        secret: String,
    },
    /// The secret was deleted.
    #[error("{secret} is deleted in the vault")]
    Deleted {
        /// The path of the secret.
        secret: String,
    },
    /// There is no such secret.
    #[error("the vault holds nothing at {secret}")]
    Absent {
        /// The path of the secret.
        secret: String,
    },
    /// There is no such mount.
    #[error("the vault has no secrets engine at {secret}; check `mount` and `kv_version`")]
    NoMount {
        /// The path of the secret.
        secret: String,
    },
    /// The version is lower than one seen before.
    #[error("{secret} went back from version {seen} to {offered}; ask for a refresh to take it")]
    WentBack {
        /// The path of the secret.
        secret: String,
        /// The highest seen.
        seen: u64,
        /// What there is now.
        offered: u64,
    },
    /// The secret is no whole set.
    #[error("{secret}: {problems}")]
    Values {
        /// The path of the secret.
        secret: String,
        /// What is wrong with it.
        problems: ValueProblems,
    },
}

impl VaultError {
    /// What it means for the set that is held.
    pub(in crate::credentials) fn cause(&self) -> Cause {
        match self {
            Self::Denied { .. } | Self::Deleted { .. } | Self::Absent { .. } => Cause::Withdrawn,
            _ => Cause::Trouble,
        }
    }

    /// Whether other certificates of ours could help. A vault that asks for a client certificate
    /// may let the connection through and refuse the login that rests on it.
    pub(super) fn is_of_certificates(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Tls(_) | Self::LoginRefused { .. })
    }

    /// What is wrong with the values, if that is what is wrong.
    pub(in crate::credentials) fn problems(&self) -> Option<&ValueProblems> {
        match self {
            Self::Values { problems, .. } => Some(problems),
            _ => None,
        }
    }
}

/// The statuses of `sys/health` are used by other calls as well.
fn meaning(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "it limits the rate of calls, or is a standby",
        472 | 473 => "it is a standby for disaster recovery or performance",
        474 => "it is a standby that cannot reach the active server",
        503 => "it is sealed, or in maintenance",
        _ => "it has a problem of its own",
    }
}
