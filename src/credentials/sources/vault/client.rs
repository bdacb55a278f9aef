//! One call to a vault's HTTP API.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::VaultError;
use crate::{
    credentials::settings::VaultServer,
    domain::Span,
    outbound::{
        self, CallLimits, ClientError, ForwardProxy, Observed, RevocationSettings,
        RevocationVerifier, Trust,
    },
    secret::SecretBuffer,
};

/// A healthy vault responds in milliseconds, and one that elects a leader within a few seconds. No
/// response that is used here comes near 1 MiB.
const LIMITS: CallLimits = CallLimits { time: Duration::from_secs(5), body: 1024 * 1024 };
/// All but the unreserved characters (RFC 3986 §2.3) and the slashes of a path.
const ESCAPED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// A vault that can be called.
pub(super) struct VaultClient {
    http: outbound::Client,
    revocation: Option<Arc<RevocationVerifier>>,
    address: String,
    /// The namespace of the secret.
    namespace: Option<HeaderValue>,
    /// The namespace of the login and its token.
    login_namespace: Option<HeaderValue>,
    /// Whether other certificate files could have prevented the last failure.
    are_files_suspect: AtomicBool,
}

/// One call.
pub(super) struct VaultCall<'a> {
    /// Its name in messages.
    pub(super) name: &'static str,
    pub(super) about: About,
    pub(super) method: Method,
    /// Below `/v1/`, without outer slashes.
    pub(super) path: &'a str,
    /// An older version than the newest of the secret at that path.
    pub(super) version: Option<u64>,
    pub(super) token: Option<&'a HeaderValue>,
    pub(super) body: Option<SecretBuffer>,
}

/// What a call is about, which may be in different namespaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum About {
    Login,
    Secret,
}

/// A success, or a refusal that the caller understands.
pub(super) struct VaultResponse {
    pub(super) status: StatusCode,
    /// When it was made, by the vault's clock.
    pub(super) date: Option<SystemTime>,
    pub(super) body: SecretBuffer,
}

impl VaultClient {
    /// Reads the certificate files. Opens no connection.
    pub(super) fn new(
        settings: &VaultServer,
        observed: &Arc<Observed>,
    ) -> Result<Self, VaultError> {
        let address = settings.address()?;
        if !address.is_tls() && !address.is_loopback() {
            return Err(VaultError::Plaintext { address: address.to_string() });
        }
        let (ca_file, certificate) = (settings.ca_file(), settings.client_certificate());
        let revocation = open_lists(settings)?;
        let trust = match &revocation {
            Some(verifier) => Trust::Unrevoked(Arc::clone(verifier)),
            None => Trust::Roots(ca_file.as_deref()),
        };
        let (certificate, proxy) = (certificate.as_ref(), &settings.proxy);
        let http = outbound::Client::new(&address, trust, certificate, proxy, LIMITS)?
            .observed_in(Arc::clone(observed));
        let header = |namespace: Option<String>| {
            let value = namespace.as_deref().map(HeaderValue::from_str).transpose();
            value.map_err(|source| VaultError::Namespace { source: source.into() })
        };
        let namespace = header(settings.namespace())?;
        let login_namespace = header(settings.login_namespace())?;
        let address = address.to_string();
        let are_files_suspect = AtomicBool::new(false);
        Ok(Self { http, revocation, address, namespace, login_namespace, are_files_suspect })
    }

    /// Notes how a login or a read ended.
    pub(super) fn suspect_files(&self, error: Option<&VaultError>) {
        let suspect = error.is_some_and(VaultError::may_be_of_certificates);
        self.are_files_suspect.store(suspect, Ordering::Relaxed);
    }

    /// Whether other certificate files could have prevented the last failure.
    pub(super) fn are_files_suspect(&self) -> bool {
        self.are_files_suspect.load(Ordering::Relaxed)
    }

    /// Reads the revocation lists again. A connection that older lists accepted is not used any more.
    pub(super) async fn reread_lists(&self) {
        let Some(verifier) = self.revocation.clone() else { return };
        let reread = tokio::task::spawn_blocking(move || verifier.reload_and_log());
        if reread.await.is_ok_and(|changed| changed) {
            self.http.close_idle();
        }
    }

    /// Calls the vault. A response that says nothing about the call itself is an error: the vault is
    /// sealed or busy, or redirects.
    pub(super) async fn call(&self, call: VaultCall<'_>) -> Result<VaultResponse, VaultError> {
        let name = call.name;
        let failed = |error| self.error(error, name);
        let answer = self.http.send(self.request(call)?).await.map_err(failed)?;
        let status = answer.status;
        if status.is_redirection() {
            return Err(VaultError::Redirect { status });
        }
        if status.is_server_error() || matches!(status.as_u16(), 429 | 472..=474) {
            return Err(VaultError::Unavailable { status });
        }
        let date = answer.headers.get(header::DATE).and_then(|date| date.to_str().ok());
        let date = date.and_then(|date| httpdate::parse_http_date(date).ok());
        Ok(VaultResponse { status, date, body: answer.body().await.map_err(failed)? })
    }

    fn error(&self, error: ClientError, call: &'static str) -> VaultError {
        let address = self.address.clone();
        match error {
            ClientError::Timeout => VaultError::Timeout { address, limit: Span(LIMITS.time) },
            ClientError::TooLarge => VaultError::TooLarge { call },
            error => VaultError::Unreachable { address, source: error.into() },
        }
    }

    fn request(&self, call: VaultCall<'_>) -> Result<Request<Bytes>, VaultError> {
        let version = call.version.map(|version| format!("?version={version}"));
        let version = version.unwrap_or_default();
        let mut request = Request::builder()
            .method(call.method)
            .uri(format!("/v1/{}{version}", utf8_percent_encode(call.path, ESCAPED)))
            .header(header::ACCEPT, "application/json")
            // An agent or a proxy may require it, so that a page in a browser cannot call it.
            .header("x-vault-request", "true");
        let namespace = match call.about {
            About::Login => &self.login_namespace,
            About::Secret => &self.namespace,
        };
        if let Some(namespace) = namespace {
            request = request.header("x-vault-namespace", namespace);
        }
        if let Some(token) = call.token {
            // Marked as sensitive, so Debug does not print it.
            request = request.header("x-vault-token", token);
        }
        if call.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let body = call.body.map_or_else(Bytes::new, Bytes::from_owner);
        request.body(body).map_err(|source| VaultError::Unreachable {
            address: self.address.clone(),
            source: source.into(),
        })
    }
}

fn open_lists(settings: &VaultServer) -> Result<Option<Arc<RevocationVerifier>>, VaultError> {
    let open = |lists| RevocationVerifier::open(settings.ca_file().as_deref(), lists);
    Ok(settings.revocation.clone().map(open).transpose()?)
}

/// Whether the files for the way to a vault can be used that a start does not go without: its revocation lists
/// and the credentials of its forward proxy. The others may come later.
pub(in super::super) fn check_files(settings: &VaultServer) -> Result<(), VaultError> {
    settings.revocation.as_ref().map(RevocationSettings::check).transpose()?;
    ForwardProxy::open(&settings.proxy, &settings.address()?)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_escaped_and_keeps_its_slashes() {
        let escape = |path| utf8_percent_encode(path, ESCAPED).to_string();
        assert_eq!(
            escape("secret/data/pigello/a b?c#d%e"),
            "secret/data/pigello/a%20b%3Fc%23d%25e"
        );
        assert_eq!(escape("ställe"), "st%C3%A4lle");
    }
}
