//! Logs in to a vault, and renews the token.

use std::{
    env,
    io::{self, Read as _},
    path::Path,
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode};
use tokio::{task, time::Instant};
use zeroize::Zeroizing;

use super::{
    client::{About, VaultCall, VaultClient, VaultResponse},
    error::VaultError,
    messages::{
        AppRoleLogin, CertLogin, JwtLogin, LookupBody, UnwrapBody, WrappingLookup, grant, json,
        malformed, parse,
    },
};
use crate::{
    credentials::settings::{TokenSource, VaultAuth},
    outbound::ClientError,
    process::files::{self, WritableByOthers},
    secret::{SecretBuffer, SecretText},
};

/// A service account's token has a few kilobytes.
const MAX_FILE: usize = 64 * 1024;
/// The shortest pause between two renewals.
const RENEWAL_RETRY: Duration = Duration::from_secs(1);

/// A token that the vault accepts.
pub(super) struct Session {
    token: HeaderValue,
    lifetime: Option<TokenLifetime>,
}

/// The lifetime of a token that expires.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct TokenLifetime {
    granted: Duration,
    renewable: bool,
    /// When to renew the token, or to log in again.
    renew_at: Instant,
    expires: Instant,
}

/// The outcome of a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The token was renewed.
    Renewed,
    /// The token can no longer be renewed: a new login is needed.
    Exhausted,
}

impl Session {
    pub(super) fn token(&self) -> &HeaderValue {
        &self.token
    }

    /// When to renew the token.
    pub(super) fn renew_at(&self) -> Option<Instant> {
        self.lifetime.map(|lifetime| lifetime.renew_at)
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.lifetime.is_some_and(|lifetime| lifetime.renew_at <= now)
    }

    pub(super) fn is_expired(&self, now: Instant) -> bool {
        self.lifetime.is_some_and(|lifetime| lifetime.expires <= now)
    }

    /// The renewal failed for a reason that says nothing about the token: try again later.
    pub(super) fn postpone(&mut self, now: Instant) {
        if let Some(lifetime) = &mut self.lifetime {
            let left = lifetime.expires.saturating_duration_since(now);
            lifetime.renew_at = now + (left / 3).max(RENEWAL_RETRY);
        }
    }

    /// Renews the token. A vault that grants less than half of the first grant is near the token's last
    /// hour, so the token counts as exhausted.
    pub(super) async fn renew(&mut self, client: &VaultClient) -> Result<Renewal, VaultError> {
        let Some(lifetime) = self.lifetime.filter(|lifetime| lifetime.renewable) else {
            return Ok(Renewal::Exhausted);
        };
        let answer = client
            .call(VaultCall {
                name: "auth/token/renew-self",
                about: About::Login,
                method: Method::POST,
                path: "auth/token/renew-self",
                version: None,
                token: Some(&self.token),
                body: Some(Zeroizing::new(b"{}".to_vec())),
            })
            .await?;
        if !answer.status.is_success() {
            return Ok(Renewal::Exhausted);
        }
        let grant = grant(&answer, "auth/token/renew-self")?;
        let renewed = TokenLifetime::new(grant.lease_duration, grant.renewable, Instant::now());
        if renewed.is_some_and(|renewed| renewed.granted * 2 < lifetime.granted) {
            return Ok(Renewal::Exhausted);
        }
        self.lifetime = renewed.map(|renewed| TokenLifetime {
            granted: lifetime.granted.max(renewed.granted),
            ..renewed
        });
        Ok(Renewal::Renewed)
    }
}

impl TokenLifetime {
    /// The lifetime of a token with that lease; `None` for 0 seconds, which never expire.
    fn new(seconds: u64, renewable: bool, now: Instant) -> Option<Self> {
        let granted = (seconds > 0).then(|| Duration::from_secs(seconds))?;
        let two_thirds = granted.mul_f64((1.0 - 0.1 * fastrand::f64()) * 2.0 / 3.0);
        let renew_at = now.checked_add(two_thirds)?;
        Some(Self { granted, renewable, renew_at, expires: now.checked_add(granted)? })
    }
}

/// A secret id that came wrapped, kept for later logins.
#[derive(Default)]
pub(super) struct Wrapped {
    /// The wrapping token that was used. Another token in the file is a new one.
    used: Option<HeaderValue>,
    secret_id: Option<SecretText>,
}

/// Logs in.
pub(super) async fn login(
    client: &VaultClient,
    auth: &VaultAuth,
    wrapped: &mut Wrapped,
) -> Result<Session, VaultError> {
    match auth {
        VaultAuth::Token(source) => adopt(client, source).await,
        VaultAuth::AppRole { mount, role_id, secret_id_file, wrapped: is_wrapped } => {
            let secret_id = if *is_wrapped {
                unwrapped(client, secret_id_file, wrapped).await?
            } else {
                read_text(secret_id_file).await?
            };
            let body = json(&AppRoleLogin { role_id, secret_id: text(&secret_id) });
            post_login(client, "AppRole", mount, body).await
        }
        VaultAuth::Kubernetes { mount, role, token_file } => {
            let jwt = read_text(token_file).await?;
            let body = json(&JwtLogin { role, jwt: text(&jwt) });
            post_login(client, "Kubernetes", mount, body).await
        }
        VaultAuth::Jwt { mount, role, token_file } => {
            let jwt = read_text(token_file).await?;
            let body = json(&JwtLogin { role, jwt: text(&jwt) });
            post_login(client, "JWT", mount, body).await
        }
        VaultAuth::Cert { mount, role } => {
            let body = json(&CertLogin { name: role.as_deref() });
            post_login(client, "certificate", mount, body).await
        }
    }
}

/// Whether the vault accepts a token at all. A 403 to another call may come from a policy.
pub(super) async fn is_accepted(
    client: &VaultClient,
    token: &HeaderValue,
) -> Result<bool, VaultError> {
    let answer = lookup(client, token).await?;
    Ok(answer.status.is_success())
}

async fn lookup(client: &VaultClient, token: &HeaderValue) -> Result<VaultResponse, VaultError> {
    client
        .call(VaultCall {
            name: "auth/token/lookup-self",
            about: About::Login,
            method: Method::GET,
            path: "auth/token/lookup-self",
            version: None,
            token: Some(token),
            body: None,
        })
        .await
}

/// Uses a token that another program provides.
async fn adopt(client: &VaultClient, source: &TokenSource) -> Result<Session, VaultError> {
    let (raw, location) = match source {
        TokenSource::File(path) => (read_file(path).await?, path.display().to_string()),
        TokenSource::Environment => {
            let value = ["BAO_TOKEN", "VAULT_TOKEN"].iter().find_map(env::var_os);
            let raw = std::os::unix::ffi::OsStringExt::into_vec(value.unwrap_or_default());
            (Zeroizing::new(raw), "BAO_TOKEN or VAULT_TOKEN".to_owned())
        }
    };
    let Ok(token) = SecretText::parse(&raw).and_then(|token| token.to_header_value()) else {
        return Err(VaultError::NoToken { location });
    };
    let answer = lookup(client, &token).await?;
    match answer.status {
        StatusCode::FORBIDDEN => return Err(VaultError::TokenRefused { location }),
        status if !status.is_success() => {
            return Err(VaultError::Unexpected { status, call: "auth/token/lookup-self" });
        }
        _ => {}
    }
    let LookupBody { data } = parse(&answer.body, "auth/token/lookup-self")?;
    Ok(Session { token, lifetime: TokenLifetime::new(data.ttl, data.renewable, Instant::now()) })
}

/// Whether the wrapping token in the file can still be unwrapped. This does not use it up.
pub(super) async fn look_up_wrapping(client: &VaultClient, file: &Path) -> Result<(), VaultError> {
    const CALL: &str = "sys/wrapping/lookup";
    let token = read_text(file).await?;
    let body = json(&WrappingLookup { token: text(&token) });
    let answer = client
        .call(VaultCall {
            name: CALL,
            about: About::Login,
            method: Method::POST,
            path: CALL,
            version: None,
            token: None,
            body: Some(body.map_err(|error| malformed(CALL, &error))?),
        })
        .await?;
    match answer.status {
        status if status.is_success() => Ok(()),
        StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND => {
            Err(VaultError::Unwrap { path: file.to_owned() })
        }
        status => Err(VaultError::Unexpected { status, call: CALL }),
    }
}

/// The secret id of a wrapping token, which can be unwrapped once. If that fails, somebody else may have
/// unwrapped it, and the same token is not tried again.
async fn unwrapped(
    client: &VaultClient,
    file: &Path,
    state: &mut Wrapped,
) -> Result<SecretBuffer, VaultError> {
    let raw = read_file(file).await?;
    let token = SecretText::parse(&raw)
        .and_then(|token| token.to_header_value())
        .map_err(|_| VaultError::NoToken { location: file.display().to_string() })?;
    if state.used.as_ref() != Some(&token) {
        state.secret_id = None;
        // Noted before the call: one that breaks off may have used up the token.
        state.used = Some(token.clone());
        let sent = client
            .call(VaultCall {
                name: "sys/wrapping/unwrap",
                about: About::Login,
                method: Method::POST,
                path: "sys/wrapping/unwrap",
                version: None,
                token: Some(&token),
                body: Some(Zeroizing::new(b"{}".to_vec())),
            })
            .await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                if !may_have_arrived(&error) {
                    state.used = None;
                }
                return Err(error);
            }
        };
        if !answer.status.is_success() {
            return Err(VaultError::Unwrap { path: file.to_owned() });
        }
        let UnwrapBody { data } = parse(&answer.body, "sys/wrapping/unwrap")?;
        state.secret_id = data.secret_id.0.ok();
    }
    match &state.secret_id {
        Some(secret_id) => Ok(secret_id.expose_to(|text| Zeroizing::new(text.as_bytes().to_vec()))),
        None => Err(VaultError::Unwrap { path: file.to_owned() }),
    }
}

/// Whether a failed call may have reached the vault.
fn may_have_arrived(error: &VaultError) -> bool {
    match error {
        VaultError::Unreachable { source, .. } => {
            source.downcast_ref().is_none_or(|error: &ClientError| !error.is_before_sending())
        }
        VaultError::Unavailable { .. } | VaultError::Redirect { .. } => false,
        _ => true,
    }
}

async fn post_login(
    client: &VaultClient,
    method: &'static str,
    mount: &str,
    body: Result<SecretBuffer, serde_json::Error>,
) -> Result<Session, VaultError> {
    const CALL: &str = "a login";
    let body = body.map_err(|error| malformed(CALL, &error))?;
    let path = format!("auth/{}/login", mount.trim_matches('/'));
    let answer = client
        .call(VaultCall {
            name: CALL,
            about: About::Login,
            method: Method::POST,
            path: &path,
            version: None,
            token: None,
            body: Some(body),
        })
        .await?;
    match answer.status {
        StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(VaultError::LoginRefused { method, status: answer.status });
        }
        status if !status.is_success() => {
            return Err(VaultError::Unexpected { status, call: CALL });
        }
        _ => {}
    }
    let grant = grant(&answer, CALL)?;
    let token = grant.client_token.0.ok().and_then(|token| token.to_header_value().ok());
    let Some(token) = token else {
        return Err(VaultError::NoToken { location: "the answer to the login".to_owned() });
    };
    let lifetime = TokenLifetime::new(grant.lease_duration, grant.renewable, Instant::now());
    tracing::info!(method, "logged in to the vault");
    Ok(Session { token, lifetime })
}

/// The text of a file. [`read_text`] makes sure that it is UTF-8.
fn text(buffer: &SecretBuffer) -> &str {
    std::str::from_utf8(buffer).unwrap_or_default().trim()
}

async fn read_text(path: &Path) -> Result<SecretBuffer, VaultError> {
    let buffer = read_file(path).await?;
    if text(&buffer).is_empty() {
        return Err(VaultError::NoToken { location: path.display().to_string() });
    }
    Ok(buffer)
}

async fn read_file(path: &Path) -> Result<SecretBuffer, VaultError> {
    fn read(path: &Path) -> io::Result<SecretBuffer> {
        let mut buffer = Zeroizing::new(Vec::with_capacity(MAX_FILE));
        let limit = u64::try_from(MAX_FILE).unwrap_or(u64::MAX);
        files::open_named(path)?.take(limit).read_to_end(&mut buffer)?;
        Ok(buffer)
    }
    let owned = path.to_owned();
    let failed = |source| VaultError::SecretFile { path: path.to_owned(), source };
    let checked = task::spawn_blocking(move || {
        files::keep_writers_out(&owned)?;
        Ok::<_, WritableByOthers>(read(&owned))
    });
    checked.await.map_err(|error| failed(io::Error::other(error)))??.map_err(failed)
}
