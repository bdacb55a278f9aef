//! The remedy for a failed start: one or two sentences printed below the error.

use std::{error::Error as _, io};

use super::{CertificatesError, ReloadError, StartError};
use crate::{
    audit::{TrailDirectoryError, TrailOpenError},
    credentials::VaultError,
    outbound::TlsError,
    proxy::server::BindError,
};

impl StartError {
    /// The remedy, with the reason for the check; `None` where the error says it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Tls(error) => upstream(error),
            Self::Proxy(_) | Self::Vault(VaultError::Proxy(_)) => Some(
                "`proxy_authorization_file` is a file of mode 0600 with one line `user:password`",
            ),
            Self::Revocation(_)
            | Self::ListenerTls(CertificatesError::Upstream { .. })
            | Self::Vault(VaultError::Revocation(_)) => Some(
                "`crl_file` is a PEM file with version 2 revocation lists, readable for the gateway's user: \
                 `openssl crl -inform DER -in OLD -out NEW` makes one of a list in DER",
            ),
            Self::ListenerTls(
                CertificatesError::Listener { source, .. }
                | CertificatesError::Metrics(source)
                | CertificatesError::Webhook(source),
            ) => Some(source.remedy()),
            Self::Credentials(_) | Self::Vault(_) => None,
            Self::Tokens(_) => Some(
                "`admin.token_file` is a file of mode 0600, no link, or a Secret that Kubernetes mounts with \
                 `defaultMode: 0440`, with lines `read TOKEN` or `operate TOKEN`",
            ),
            Self::HookTokens(_) => Some(
                "`notices.webhook.tokens_file` is a file of mode 0600, no link, or a Secret that Kubernetes mounts \
                 with `defaultMode: 0440`, with lines `TOKEN` or `TOKEN PROFILE`",
            ),
            Self::Fleet(_) => Some(
                "`password_file` is a file of mode 0600 with the password alone; the other files are PEM",
            ),
            Self::FleetKey(_) => Some(
                "the file of `fleet.key` is one of mode 0600 with what `openssl rand -base64 32` prints",
            ),
            Self::SocketGroup(_) => Some("name a group of this machine, or its number"),
            Self::SocketFolder { .. } => Some(
                "make it for the gateway's user, or name another place with `address = …` in [admin]",
            ),
            Self::Trail(error) | Self::FleetLog(error) => trail(error),
            Self::Bind(error) => Some(bind(error)),
        }
    }
}

impl ReloadError {
    /// The remedy; `None` where the error says it.
    pub fn remedy(&self) -> Option<&'static str> {
        match self {
            Self::Restart { .. } => Some("restart the gateway, or take the change back"),
            Self::Part(error) => error.remedy(),
            Self::Certificates(_) | Self::Credentials { .. } | Self::Ending | Self::Worker(_) => {
                None
            }
        }
    }
}

fn upstream(error: &TlsError) -> Option<&'static str> {
    match error {
        TlsError::Read { .. } | TlsError::Roots(_) | TlsError::Unusable { .. } => Some(
            "a profile's `ca_file` is a PEM file with the roots that may vouch for Pigello, readable for \
             the gateway's user; without the key, the platform's roots do. The secret is sent to nobody \
             else, so without roots nothing can be served",
        ),
        TlsError::Setup(_) => None,
    }
}

fn trail(error: &TrailOpenError) -> Option<&'static str> {
    match error {
        TrailOpenError::Directory(TrailDirectoryError::Unusable { .. })
        | TrailOpenError::File { .. } => Some(
            "`audit.directory` is a folder that the gateway's user owns, with mode 0700, on a file system \
             that can be written; if it is not there, the folder above it has to let the gateway make it. \
             No call is served that could leave no record, so nothing was started",
        ),
        TrailOpenError::Group(_) | TrailOpenError::Directory(TrailDirectoryError::Group { .. }) => {
            Some(
                "`audit.group` is a group of this machine, or its number, and the gateway's user belongs to it",
            )
        }
        TrailOpenError::Directory(TrailDirectoryError::Exposed(_)) => Some(
            "whoever may write into it can replace files of the trail: `chmod go-w` it, or name a folder in \
             it, which the gateway makes for itself with mode 0700",
        ),
        // These errors say it themselves, or a person can do nothing.
        TrailOpenError::Directory(TrailDirectoryError::InUse { .. })
        | TrailOpenError::Key(_)
        | TrailOpenError::Export(_)
        | TrailOpenError::Publisher(_)
        | TrailOpenError::Recover(_)
        | TrailOpenError::Thread(_) => None,
    }
}

fn bind(error: &BindError) -> &'static str {
    let kind = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match kind.map(io::Error::kind) {
        Some(io::ErrorKind::AddrInUse) => {
            "something listens there already, perhaps another gateway: `ss -ltnp` (`ss -lxp` for Unix \
             sockets) names it. End that one, or choose another `address`"
        }
        Some(io::ErrorKind::AddrNotAvailable) => {
            "no interface of this machine has that address: `ip address` lists those it has. A listener for \
             this machine alone is `127.0.0.1:PORT`"
        }
        Some(io::ErrorKind::PermissionDenied) => {
            "a port below 1024 needs the capability CAP_NET_BIND_SERVICE, a Unix socket the right to write \
             into its folder; choose a port above 1024, or a folder of the gateway's user"
        }
        Some(io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            "the folder of the socket is not there; make it for the gateway's user (with systemd: \
             `RuntimeDirectory=`)"
        }
        _ => "choose another `address` for this listener in the configuration",
    }
}
