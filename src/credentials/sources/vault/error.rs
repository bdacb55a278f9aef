//! Why a vault gives no set.

use std::{io, path::PathBuf};

use http::StatusCode;

use crate::{
    credentials::{set::ValueProblems, settings::IncompleteVault, sources::reason::SourceFailure},
    domain::Span,
    error::BoxError,
    outbound::{ClientSetupError, ForwardProxyError, RevocationError, TlsError},
    process::files::WritableByOthers,
};

/// Why a vault gives no set. Never quotes an answer, which may repeat a secret that was sent.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// There is no connection, or it broke.
    #[error("cannot reach the vault at {address}")]
    Unreachable {
        /// The vault.
        address: String,
        /// The reason.
        #[source]
        source: BoxError,
    },
    /// There was no whole answer in time.
    #[error("the vault at {address} did not answer within {limit}")]
    Timeout {
        /// The vault.
        address: String,
        /// The time limit.
        limit: Span,
    },
    /// The vault cannot work now.
    #[error("the vault answers {status}: {meaning}", meaning = status_meaning(*.status))]
    Unavailable {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The vault redirects. The token is not sent elsewhere.
    #[error(
        "the vault answers {status}, a redirect, and redirects are not followed; configure the address of the active server"
    )]
    Redirect {
        /// The status of the answer.
        status: StatusCode,
    },
    /// The API does not define this answer.
    #[error("the vault answers {status} to {call}")]
    Unexpected {
        /// The status of the answer.
        status: StatusCode,
        /// The call.
        call: &'static str,
    },
    /// The answer is too large.
    #[error("the vault's answer to {call} is larger than 1 MiB")]
    TooLarge {
        /// The call.
        call: &'static str,
    },
    /// The answer is not the JSON of the API.
    #[error(
        "the vault's answer to {call} is not what its API gives (line {line}, column {column})"
    )]
    Malformed {
        /// The call.
        call: &'static str,
        /// The line of the mistake.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// The connection would leave this host without TLS.
    #[error("the vault's address {address} is not https, and not on this host")]
    Plaintext {
        /// The vault.
        address: String,
    },
    /// There is no address, or no login.
    #[error(transparent)]
    Incomplete(#[from] IncompleteVault),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The forward proxy cannot be used.
    #[error("the forward proxy for the vault cannot be used")]
    Proxy(#[from] ForwardProxyError),
    /// The revocation lists cannot be used.
    #[error("the revocation lists for the vault's certificate cannot be used")]
    Revocation(#[source] RevocationError),
    /// The namespace cannot be sent.
    #[error("the vault's namespace cannot be a header value")]
    Namespace {
        /// The reason.
        #[source]
        source: BoxError,
    },
    /// A file with a token or a secret id cannot be read.
    #[error("cannot read {path}", path = path.display())]
    SecretFile {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Others can write a file with a token or a secret id.
    #[error(transparent)]
    Writable(#[from] WritableByOthers),
    /// There is no token.
    #[error("{location} holds no token: it is empty, too long or not printable")]
    NoToken {
        /// Its file or variable.
        location: String,
    },
    /// The vault refuses the login.
    #[error(
        "the vault refuses the {method} login ({status}); check its role and what it proves itself with"
    )]
    LoginRefused {
        /// The method.
        method: &'static str,
        /// The status of the answer.
        status: StatusCode,
    },
    /// The vault no longer accepts a token that another program provides.
    #[error("the vault does not take the token from {location}; put a new one there")]
    TokenRefused {
        /// Its file or variable.
        location: String,
    },
    /// The wrapped secret id could not be unwrapped.
    #[error("the wrapping token in {path} is used up or unknown: if nobody here unwrapped it, somebody else may have read the secret id; make a new one", path = path.display())]
    Unwrap {
        /// The file.
        path: PathBuf,
    },
    /// The vault accepts the token, but the policy forbids the secret.
    #[error("the vault does not let this login read {secret}; check the policy")]
    Denied {
        /// The secret.
        secret: String,
    },
    /// The vault accepts the token, but the policy forbids to list the secrets of a folder.
    #[error("the vault does not let this login list {folder}")]
    NotListed {
        /// The folder, as a policy names it.
        folder: String,
    },
    /// The vault accepts the token, but the policy forbids to write there.
    #[error("the vault does not let this login write {path}")]
    NotWritten {
        /// The path, as a policy names it.
        path: String,
    },
    /// Somebody else has written the secret meanwhile.
    #[error("{secret} was written by somebody else at the same time, and is left as it is")]
    Overtaken {
        /// The secret.
        secret: String,
    },
    /// The login's secret id is wrapped, and to unwrap it here would take it from the gateway.
    #[error("the login's wrapping token works once, and is left for the gateway")]
    LeftWrapped,
    /// The vault gave tokens, and accepts none of them any more.
    #[error(
        "the vault gave tokens that were used up before {secret} was read; if the role limits their uses \
         (`token_num_uses`), take the limit away"
    )]
    TokensUsedUp {
        /// The secret.
        secret: String,
    },
    /// The secret was deleted.
    #[error("{secret} is deleted in the vault")]
    Deleted {
        /// The secret.
        secret: String,
    },
    /// There is no such secret.
    #[error("the vault holds nothing at {secret}")]
    Absent {
        /// The secret.
        secret: String,
    },
    /// There is no such mount.
    #[error("the vault has no secrets engine at {secret}; check `mount` and `kv_version`")]
    NoMount {
        /// The secret.
        secret: String,
    },
    /// The version is lower than one seen before.
    #[error("{secret} went back from version {seen} to {offered}; ask for a refresh to take it")]
    WentBack {
        /// The secret.
        secret: String,
        /// The highest version so far.
        seen: u64,
        /// The version of the answer.
        offered: u64,
    },
    /// The secret is not a whole set.
    #[error("{secret}: {problems}")]
    Values {
        /// The secret.
        secret: String,
        /// The problems.
        problems: ValueProblems,
    },
}

impl VaultError {
    /// What the error means for the set that is held.
    pub(in crate::credentials) fn meaning(&self) -> SourceFailure {
        match self {
            Self::Denied { .. } | Self::Deleted { .. } | Self::Absent { .. } => {
                SourceFailure::Withdrawn
            }
            _ => SourceFailure::Unavailable,
        }
    }

    /// Whether other certificate files could help. A vault may accept a connection with an expired client
    /// certificate and refuse the login that relies on it.
    pub(super) fn may_be_of_certificates(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. }
                | Self::Tls(_)
                | Self::Proxy(_)
                | Self::Revocation(_)
                | Self::LoginRefused { .. }
        )
    }

    /// The problems of the values, if the error is about them.
    pub(in crate::credentials) fn problems(&self) -> Option<&ValueProblems> {
        match self {
            Self::Values { problems, .. } => Some(problems),
            _ => None,
        }
    }
}

impl From<RevocationError> for VaultError {
    fn from(error: RevocationError) -> Self {
        match error {
            RevocationError::Roots(error) => Self::Tls(error.into()),
            error => Self::Revocation(error),
        }
    }
}

impl From<ClientSetupError> for VaultError {
    fn from(error: ClientSetupError) -> Self {
        match error {
            ClientSetupError::Tls(error) => Self::Tls(error),
            ClientSetupError::Proxy(error) => Self::Proxy(error),
        }
    }
}

/// The meaning of a status. Other calls use the statuses of `sys/health` as well.
fn status_meaning(status: StatusCode) -> &'static str {
    match status.as_u16() {
        429 => "it limits the rate of calls, or is a standby",
        472 | 473 => "it is a standby for disaster recovery or performance",
        474 => "it is a standby that cannot reach the active server",
        503 => "it is sealed, or in maintenance",
        _ => "it has a problem of its own",
    }
}
