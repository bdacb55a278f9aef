//! Why there is no store.
//!
//! No error has words of the server: a server that does not know a command repeats its arguments, and one of them may
//! be the password.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use super::keys::KeyError;
use crate::{
    domain::Span,
    outbound::{ResolveError, TlsError, certificate_refusal},
    process::files::PrivateFileError,
    secret::SecretTextError,
};

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The certificate files cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no key for the notices.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The file of the password cannot be read, or others can.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// There is no password in the file.
    #[error("{} holds no password", path.display())]
    NoPassword {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: SecretTextError,
    },
    /// The name has no address.
    #[error("the store's name does not resolve")]
    Name(#[from] ResolveError),
    /// The connection failed.
    #[error("the store cannot be reached")]
    Connect(#[source] io::Error),
    /// The store's certificate is not valid for its name.
    #[error("the store's certificate was refused")]
    Certificate(#[source] rustls::Error),
    /// A connection without TLS would leave this machine.
    #[error("a connection without TLS would lead to {_0}, another machine")]
    Plain(IpAddr),
    /// It took too long.
    #[error("the store did not answer within {_0}")]
    TooSlow(Span),
    /// No sentinel names a primary.
    #[error("no sentinel names a primary for the service")]
    NoPrimary(#[source] Option<Box<Self>>),
    /// The sentinels name another primary by now.
    #[error("the sentinels name another primary")]
    Moved,
    /// The server is a replica, which takes no writes.
    #[error("the server is a replica, not the primary")]
    Replica,
    /// The user name or the password is refused.
    #[error("the store refuses the user name or the password")]
    Login,
    /// The user may not run a command.
    #[error("the store's ACL forbids a command, key or channel that the gateway needs")]
    Forbidden,
    /// The server does not speak RESP3.
    #[error("the store is too old: it does not speak RESP3")]
    TooOld,
    /// The server reads its data from a disk.
    #[error("the store is still loading its data")]
    Loading,
    /// The server takes no writes for want of memory.
    #[error("the store has no memory left")]
    Full,
    /// The server refuses a command for another reason.
    #[error("the store refuses a command")]
    Refused,
    /// The server answers something else than was asked for.
    #[error("the store's answer has another form than expected")]
    Form,
    /// A message cannot be sealed.
    #[error("a message cannot be sealed")]
    Seal,
    /// There is no connection now.
    #[error("there is no connection to the store")]
    NotConnected,
    /// The connection broke off.
    #[error("the connection to the store broke off")]
    Lost,
}

impl StoreError {
    /// The error of a handshake.
    pub(super) fn of_handshake(error: io::Error) -> Self {
        match certificate_refusal(&error) {
            Some(refusal) => Self::Certificate(refusal.clone()),
            None => Self::Connect(error),
        }
    }

    /// A file without a password.
    pub(super) fn no_password(path: &Path, source: SecretTextError) -> Self {
        Self::NoPassword { path: path.to_owned(), source }
    }

    /// What a command's error means. `limit` was the time for the answer.
    pub(super) fn of_command(error: &RedisError, limit: Span) -> Self {
        match error.kind() {
            ErrorKind::AuthenticationFailed => Self::Login,
            ErrorKind::RESP3NotSupported => Self::TooOld,
            ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Self::Form,
            ErrorKind::Io if error.is_timeout() => Self::TooSlow(limit),
            ErrorKind::Io => Self::Lost,
            ErrorKind::Server(ServerErrorKind::NoPerm) => Self::Forbidden,
            ErrorKind::Server(ServerErrorKind::BusyLoading) => Self::Loading,
            ErrorKind::Server(ServerErrorKind::ReadOnly) => Self::Replica,
            _ => {
                let says = |words| error.detail().is_some_and(|detail| detail.contains(words));
                match error.code() {
                    Some("WRONGPASS" | "NOAUTH") => Self::Login,
                    Some("OOM") => Self::Full,
                    _ if says("ACL failure in script") => Self::Forbidden,
                    // Between a client and a managed store, proxies word it in their own way.
                    _ if says("READONLY") => Self::Replica,
                    _ => Self::Refused,
                }
            }
        }
    }
}
