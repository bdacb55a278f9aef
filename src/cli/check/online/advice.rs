//! Remedies for the findings of the steps, ready to copy.

use std::{error::Error, iter, path::Path};

use http::StatusCode;
use jiff::Timestamp;
use rustls::{CertificateError, pki_types::UnixTime};

use crate::{
    cli::vault_policy,
    credentials::{
        DirectoryError, LoadError, Settings, SourceSettings, ValueName, VaultError, VaultSettings,
        sealed::{SealedError, StoreError},
    },
    domain::Origin,
    outbound::TunnelError,
};

/// Remedies for credentials that could not be read.
pub(super) fn for_credentials(error: &LoadError, set: &Settings) -> Option<String> {
    match error {
        LoadError::Sealed(SealedError::Store(error)) => StoreError::hint(error),
        LoadError::Sealed(SealedError::NoSet { .. } | SealedError::Values { .. }) => {
            let SourceSettings::Sealed { file, key_file } = &set.source else { return None };
            Some(format!(
                "pigello-gateway credentials set --name {} --file {} --key-file {} --from-json FILE",
                set.name,
                file.display(),
                key_file.display()
            ))
        }
        LoadError::Directory(DirectoryError::Values { path, .. }) => Some(format!(
            "put one file a value into {}: {}",
            path.display(),
            ValueName::ALL.map(ValueName::key).join(", ")
        )),
        LoadError::Directory(DirectoryError::Writable(error)) => Some(error.hint()),
        LoadError::Directory(_) => {
            Some(format!("change `credentials.{}.path`, or make the folder", set.name))
        }
        LoadError::Environment(_) => {
            Some("set them where the gateway is started; they are read once".to_owned())
        }
        LoadError::Vault(error) => {
            let SourceSettings::Vault(vault) = &set.source else { return None };
            for_vault(error, vault)
        }
        LoadError::Timeout { .. } | LoadError::Interrupted => None,
    }
}

fn for_vault(error: &VaultError, vault: &VaultSettings) -> Option<String> {
    let VaultSettings { server, mount, path, kv_version } = vault;
    match error {
        VaultError::Unreachable { address, source } => {
            let (tunnel, certificate) = (tunnel_error(&**source), certificate_error(&**source));
            Some(match (tunnel, certificate) {
                (Some(error), _) => for_tunnel(error, "vault", address),
                (None, Some(error)) => {
                    for_certificate(error, "vault.ca_file", server.ca_file.as_deref(), "the vault's")
                }
                (None, None) => {
                    format!("is `vault.address` right, and does {address} accept connections?")
                }
            })
        }
        VaultError::Unavailable { status } if status.as_u16() == 503 => Some(
            "unseal it (`bao operator unseal`, `vault operator unseal`); the gateway goes on by itself"
                .to_owned(),
        ),
        VaultError::Writable(error) => Some(error.hint()),
        VaultError::LoginRefused { .. }
            if server.namespace.is_some() && server.login_namespace.is_none() =>
        {
            Some(
                "the login was sent to `vault.namespace`; if the role is in another one, name that with \
                 `vault.auth.namespace` (\"\" is the root namespace); else compare `vault.auth` with `bao read \
                 auth/METHOD/role/NAME`"
                    .to_owned(),
            )
        }
        VaultError::LoginRefused { .. } => Some(
            "compare `vault.auth` with `bao read auth/METHOD/role/NAME`: role, audience, validity"
                .to_owned(),
        ),
        VaultError::Denied { .. } => {
            let policy = vault_policy(mount, path, *kv_version);
            Some(format!("the policy of this login needs\n{}", policy.trim_end()))
        }
        VaultError::NotListed { folder } => Some(format!(
            "name the members one by one, or let the policy of this login list them\n\
             path \"{}/\" {{\n  capabilities = [\"list\"]\n}}",
            folder.trim_end_matches('/')
        )),
        VaultError::Absent { .. } | VaultError::Deleted { .. } => Some(format!(
            "bao kv put -mount={mount} {path} {} client_secret=-",
            identifiers("=…")
        )),
        VaultError::Values { .. } => Some(format!(
            "bao kv patch -mount={mount} {path} NAME=…, with `client_secret=-` for the secret, which is then read \
             from standard input; it needs {}, client_secret",
            identifiers("").replace(' ', ", ")
        )),
        _ => None,
    }
}

fn identifiers(behind: &str) -> String {
    let names = ValueName::ALL.into_iter().filter(|name| !name.is_secret());
    names.map(|name| format!("{}{behind}", name.key())).collect::<Vec<_>>().join(" ")
}

/// The way of a connection that works, as the end of a sentence.
pub(super) fn way(proxy: Option<&Origin>) -> String {
    proxy.map_or_else(String::new, |proxy| format!(" through the proxy {proxy}"))
}

/// Remedies for a proxy that opens no tunnel. `table` of the configuration names it.
pub(super) fn for_tunnel(error: &TunnelError, table: &str, server: &str) -> String {
    match error {
        TunnelError::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED) => format!(
            "put its credentials, one line `user:password`, into the file of `{table}.proxy_authorization_file`"
        ),
        TunnelError::Refused(_) => format!("may this machine use the proxy for {server}?"),
        TunnelError::Certificate(_) => format!(
            "this machine has to trust the authority of the proxy's certificate, which has to be for the name in \
             `{table}.proxy`"
        ),
        TunnelError::Early | TunnelError::Io(_) | TunnelError::Exchange(_) => format!(
            "does the proxy of `{table}.proxy` speak HTTP there, and may it reach {server}?"
        ),
    }
}

/// Finds the error of a tunnel in a chain of errors.
pub(super) fn tunnel_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a TunnelError> {
    causes(error).find_map(<dyn Error>::downcast_ref)
}

/// Finds a certificate error in a chain of errors.
pub(super) fn certificate_error<'a>(
    error: &'a (dyn Error + 'static),
) -> Option<&'a CertificateError> {
    causes(error).find_map(|error| match error.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(error)) => Some(error),
        _ => None,
    })
}

/// An error and its causes.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| {
        let error = *error;
        // An `io::Error` skips its inner error: `source` returns that one's source.
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// Describes a certificate error.
pub(super) fn what_is_wrong(error: &CertificateError) -> String {
    let day = |time: &UnixTime| {
        let seconds = i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
        Timestamp::from_second(seconds).unwrap_or(Timestamp::MAX)
    };
    match error {
        CertificateError::UnknownIssuer => {
            "the certificate is signed by an authority that is not trusted".to_owned()
        }
        CertificateError::ExpiredContext { not_after, .. } => {
            format!("the certificate expired at {}", day(not_after))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            format!("the certificate is valid only from {} on", day(not_before))
        }
        CertificateError::NotValidForNameContext { expected, presented } => {
            format!("the certificate is not for {} but {}", expected.to_str(), presented.join(", "))
        }
        CertificateError::Revoked => "the certificate is revoked".to_owned(),
        CertificateError::UnknownRevocationStatus => {
            "no revocation list is from the authority that signed the certificate".to_owned()
        }
        CertificateError::ExpiredRevocationListContext { next_update, .. } => {
            format!("the revocation list for the certificate ended at {}", day(next_update))
        }
        error => format!("the certificate was refused: {error}"),
    }
}

/// Remedies for a refused certificate. `key` is the configuration key of the trusted roots.
pub(super) fn for_certificate(
    error: &CertificateError,
    key: &str,
    roots: Option<&Path>,
    whose: &str,
) -> String {
    match error {
        CertificateError::UnknownIssuer => match roots {
            Some(file) => format!(
                "{} does not hold the authority that signed {whose} certificate: put it there \
                 (`{key}`)",
                file.display()
            ),
            None => format!(
                "this machine does not trust the authority that signed {whose} certificate: name \
                 its file with `{key}`"
            ),
        },
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => format!(
            "this machine's clock says {}: if that is right, {whose} certificate has to be renewed \
             there; otherwise set the clock",
            now()
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            format!("this machine's clock says {}: set the clock", now())
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            let name = "the name in the address has to be one that is in the certificate";
            // The vault has no such key.
            match key {
                "vault.ca_file" => format!("{name}: `getent hosts NAME` has to lead to the vault"),
                _ => format!("{name}; to dial another address, keep the name and use `connect_to`"),
            }
        }
        CertificateError::Revoked => {
            format!(
                "{whose} certificate has to be replaced there; nothing is sent to whoever shows it"
            )
        }
        CertificateError::UnknownRevocationStatus
        | CertificateError::ExpiredRevocationList
        | CertificateError::ExpiredRevocationListContext { .. } => {
            let table = key.trim_end_matches(".ca_file");
            format!(
                "put a valid list of each authority in the chain into `{table}.crl_file`, or set \
                 `{table}.crl_policy = \"if_present\"`"
            )
        }
        _ => format!("see what `openssl s_client -connect` says of {whose} certificate"),
    }
}

/// Remedies for a name that does not resolve.
pub(super) fn for_name(upstream: &Origin) -> String {
    format!("`getent hosts {}` shows what this machine makes of the name", upstream.host())
}

/// The current time, to the second, in UTC.
fn now() -> String {
    let now = Timestamp::now();
    now.round(jiff::Unit::Second).unwrap_or(now).to_string()
}
