//! Reads a secret from one of the two key-value engines.

use std::{collections::BTreeMap, time::Duration};

use http::{HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde::{
    Deserialize, Serialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    client::{About, VaultCall, VaultClient, VaultResponse},
    error::VaultError,
    messages::{self, parse},
};
use crate::credentials::settings::{KvVersion, VaultSettings};

const CALL: &str = "the read of the secret";
const LIST: &str = "the list of the secrets";
const WRITE: &str = "the write of the secret";
const DESTROY: &str = "the destruction of old versions";

/// A secret of a vault.
pub(in crate::credentials::sources) struct Secret<T> {
    pub(in crate::credentials::sources) values: T,
    /// Its version; the first engine has none.
    pub(in crate::credentials::sources) version: Option<u64>,
    /// How long ago that version was made, by the vault's clock.
    pub(in crate::credentials::sources) age: Duration,
}

/// The outcome of a read.
pub(super) enum KvRead<T> {
    Found(Secret<T>),
    /// 403, because of the policy or of the token.
    Forbidden,
}

/// The secret's name in messages.
pub(in crate::credentials::sources) fn name(settings: &VaultSettings) -> String {
    format!("{}/{}", settings.mount.trim_matches('/'), settings.path.trim_matches('/'))
}

/// Reads a version, or the newest one.
pub(super) async fn read<T: DeserializeOwned>(
    client: &VaultClient,
    token: &HeaderValue,
    settings: &VaultSettings,
    version: Option<u64>,
) -> Result<KvRead<T>, VaultError> {
    let (mount, path) = (settings.mount.trim_matches('/'), settings.path.trim_matches('/'));
    let full = match settings.kv_version {
        KvVersion::V1 => format!("{mount}/{path}"),
        KvVersion::V2 => format!("{mount}/data/{path}"),
    };
    let call = VaultCall {
        name: CALL,
        about: About::Secret,
        method: Method::GET,
        path: &full,
        version,
        token: Some(token),
        body: None,
    };
    let answer = client.call(call).await?;
    match answer.status {
        StatusCode::OK => found(&answer, settings).map(KvRead::Found),
        StatusCode::FORBIDDEN => Ok(KvRead::Forbidden),
        StatusCode::NOT_FOUND => Err(not_found(&answer, settings)),
        status => Err(VaultError::Unexpected { status, call: CALL }),
    }
}

/// The names of the secrets and folders in a folder, those of folders with a slash at the end. `folder` is empty or
/// ends with a slash.
pub(super) async fn list(
    client: &VaultClient,
    token: &HeaderValue,
    settings: &VaultSettings,
    folder: &str,
) -> Result<Vec<String>, VaultError> {
    let mount = settings.mount.trim_matches('/');
    let full = match settings.kv_version {
        KvVersion::V1 => format!("{mount}/{folder}"),
        KvVersion::V2 => format!("{mount}/metadata/{folder}"),
    };
    let method = Method::from_bytes(b"LIST").unwrap_or(Method::GET);
    let call = VaultCall {
        name: LIST,
        about: About::Secret,
        method,
        path: full.trim_end_matches('/'),
        version: None,
        token: Some(token),
        body: None,
    };
    let answer = client.call(call).await?;
    match answer.status {
        StatusCode::OK => Ok(parse::<ListBody>(&answer.body, LIST)?.data.keys),
        // A vault says the same of an empty folder and of one that is not there.
        StatusCode::NOT_FOUND => Ok(Vec::new()),
        StatusCode::FORBIDDEN => Err(VaultError::NotListed { folder: full }),
        status => Err(VaultError::Unexpected { status, call: LIST }),
    }
}

/// Writes the one field of a secret of the second engine as its next version, if `before` is the newest one.
/// Returns the version.
pub(super) async fn write(
    client: &VaultClient,
    token: &HeaderValue,
    settings: &VaultSettings,
    (field, value): (&str, &str),
    before: u64,
) -> Result<u64, VaultError> {
    let (mount, path) = (settings.mount.trim_matches('/'), settings.path.trim_matches('/'));
    let body = WriteBody { options: WriteOptions { cas: before }, data: [(field, value)].into() };
    let body = messages::json(&body).map_err(|error| messages::malformed(WRITE, &error))?;
    let call = VaultCall {
        name: WRITE,
        about: About::Secret,
        method: Method::POST,
        path: &format!("{mount}/data/{path}"),
        version: None,
        token: Some(token),
        body: Some(body),
    };
    let answer = client.call(call).await?;
    match answer.status {
        StatusCode::OK => Ok(parse::<Written>(&answer.body, WRITE)?.data.version),
        StatusCode::FORBIDDEN => {
            Err(VaultError::NotWritten { path: format!("{mount}/data/{path}") })
        }
        // It says so if the newest version is another one.
        StatusCode::BAD_REQUEST => Err(VaultError::Overtaken { secret: name(settings) }),
        status => Err(VaultError::Unexpected { status, call: WRITE }),
    }
}

/// Destroys versions of a secret of the second engine for good.
pub(super) async fn destroy(
    client: &VaultClient,
    token: &HeaderValue,
    settings: &VaultSettings,
    versions: Vec<u64>,
) -> Result<(), VaultError> {
    let (mount, path) = (settings.mount.trim_matches('/'), settings.path.trim_matches('/'));
    let body = messages::json(&DestroyBody { versions });
    let body = body.map_err(|error| messages::malformed(DESTROY, &error))?;
    let call = VaultCall {
        name: DESTROY,
        about: About::Secret,
        method: Method::POST,
        path: &format!("{mount}/destroy/{path}"),
        version: None,
        token: Some(token),
        body: Some(body),
    };
    match client.call(call).await?.status {
        StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
        StatusCode::FORBIDDEN => {
            Err(VaultError::NotWritten { path: format!("{mount}/destroy/{path}") })
        }
        status => Err(VaultError::Unexpected { status, call: DESTROY }),
    }
}

fn found<T: DeserializeOwned>(
    answer: &VaultResponse,
    settings: &VaultSettings,
) -> Result<Secret<T>, VaultError> {
    match settings.kv_version {
        KvVersion::V1 => {
            let body: BodyV1<T> = parse(&answer.body, CALL)?;
            Ok(Secret { values: body.data, version: None, age: Duration::ZERO })
        }
        KvVersion::V2 => {
            let BodyV2 { data } = parse(&answer.body, CALL)?;
            let Some(values) = data.data else {
                return Err(VaultError::Deleted { secret: name(settings) });
            };
            let Metadata { version, created_time } = data.metadata;
            let date = answer.date.and_then(|date| Timestamp::try_from(date).ok());
            let age = date.zip(created_time).map(|(date, created)| date.duration_since(created));
            let age = age.and_then(|age| Duration::try_from(age).ok());
            let version = Some(version);
            Ok(Secret { values, version, age: age.unwrap_or_default() })
        }
    }
}

/// The meaning of a 404. For a deleted version the answer has a body, for an absent secret an empty list
/// of errors, and for an absent mount a list with text.
fn not_found(answer: &VaultResponse, settings: &VaultSettings) -> VaultError {
    let secret = name(settings);
    if parse::<BodyV2<IgnoredAny>>(&answer.body, CALL).is_ok() {
        return VaultError::Deleted { secret };
    }
    match parse::<Errors>(&answer.body, CALL) {
        Ok(Errors { errors }) if errors.is_empty() => VaultError::Absent { secret },
        _ => VaultError::NoMount { secret },
    }
}

#[derive(Deserialize)]
struct BodyV1<T> {
    data: T,
}

#[derive(Deserialize)]
struct BodyV2<T> {
    data: DataV2<T>,
}

#[derive(Deserialize)]
struct DataV2<T> {
    data: Option<T>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
    created_time: Option<Timestamp>,
}

#[derive(Serialize)]
struct WriteBody<'a> {
    options: WriteOptions,
    data: BTreeMap<&'a str, &'a str>,
}

#[derive(Serialize)]
struct WriteOptions {
    cas: u64,
}

#[derive(Deserialize)]
struct Written {
    data: WrittenVersion,
}

#[derive(Deserialize)]
struct WrittenVersion {
    version: u64,
}

#[derive(Serialize)]
struct DestroyBody {
    versions: Vec<u64>,
}

#[derive(Deserialize)]
struct ListBody {
    data: ListData,
}

#[derive(Deserialize)]
struct ListData {
    keys: Vec<String>,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<IgnoredAny>,
}
