//! The JSON of a vault's logins, in both directions.

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::{client::VaultResponse, error::VaultError};
use crate::{credentials::set::ValueFromJson, secret::SecretBuffer};

/// Room for two tokens of service accounts, a few kilobytes each, so that the buffer never grows.
const MAX_REQUEST: usize = 136 * 1024;

pub(super) fn grant(answer: &VaultResponse, call: &'static str) -> Result<Grant, VaultError> {
    let LoginBody { auth } = parse(&answer.body, call)?;
    // Some servers answer a wrong password with 200 and no token.
    auth.ok_or(VaultError::Malformed { call, line: 1, column: 1 })
}

pub(super) fn parse<'de, T: Deserialize<'de>>(
    body: &'de [u8],
    call: &'static str,
) -> Result<T, VaultError> {
    serde_json::from_slice(body).map_err(|error| malformed(call, &error))
}

pub(super) fn malformed(call: &'static str, error: &serde_json::Error) -> VaultError {
    VaultError::Malformed { call, line: error.line(), column: error.column() }
}

#[derive(Deserialize)]
pub(super) struct LoginBody {
    pub(super) auth: Option<Grant>,
}

#[derive(Deserialize)]
pub(super) struct Grant {
    pub(super) client_token: ValueFromJson,
    #[serde(default)]
    pub(super) lease_duration: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

#[derive(Deserialize)]
pub(super) struct LookupBody {
    pub(super) data: TokenLookup,
}

#[derive(Deserialize)]
pub(super) struct TokenLookup {
    #[serde(default)]
    pub(super) ttl: u64,
    #[serde(default)]
    pub(super) renewable: bool,
}

#[derive(Deserialize)]
pub(super) struct UnwrapBody {
    pub(super) data: Unwrapped,
}

#[derive(Deserialize)]
pub(super) struct Unwrapped {
    pub(super) secret_id: ValueFromJson,
}

#[derive(Serialize)]
pub(super) struct WrappingLookup<'a> {
    pub(super) token: &'a str,
}

#[derive(Serialize)]
pub(super) struct AppRoleLogin<'a> {
    pub(super) role_id: &'a str,
    pub(super) secret_id: &'a str,
}

#[derive(Serialize)]
pub(super) struct JwtLogin<'a> {
    pub(super) role: &'a str,
    pub(super) jwt: &'a str,
}

#[derive(Serialize)]
pub(super) struct CertLogin<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) name: Option<&'a str>,
}

/// JSON in a buffer that is wiped and never grown.
pub(super) fn json(body: &impl Serialize) -> Result<SecretBuffer, serde_json::Error> {
    let mut buffer = Zeroizing::new(Vec::with_capacity(MAX_REQUEST));
    serde_json::to_writer(&mut *buffer, body)?;
    Ok(buffer)
}
