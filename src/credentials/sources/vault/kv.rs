//! Reads a secret from one of the two key-value engines.

use http::{HeaderValue, Method, StatusCode};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    client::{About, VaultCall, VaultClient, VaultResponse},
    error::VaultError,
    messages::parse,
};
use crate::credentials::{
    set::{SetBuilder, ValuesFromJson},
    settings::{KvVersion, VaultSettings},
};

const CALL: &str = "the read of the secret";
const LIST: &str = "the list of the secrets";

/// A secret of a vault.
pub(super) struct Secret {
    pub(super) values: SetBuilder,
    /// Its version; the first engine has none.
    pub(super) version: Option<u64>,
}

/// The outcome of a read.
pub(super) enum KvRead {
    Found(Secret),
    /// 403, because of the policy or of the token.
    Forbidden,
}

/// The secret's name in messages.
pub(super) fn name(settings: &VaultSettings) -> String {
    format!("{}/{}", settings.mount.trim_matches('/'), settings.path.trim_matches('/'))
}

/// Reads the newest version.
pub(super) async fn read(
    client: &VaultClient,
    token: &HeaderValue,
    settings: &VaultSettings,
) -> Result<KvRead, VaultError> {
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

fn found(answer: &VaultResponse, settings: &VaultSettings) -> Result<Secret, VaultError> {
    match settings.kv_version {
        KvVersion::V1 => {
            let body: BodyV1 = parse(&answer.body, CALL)?;
            Ok(Secret { values: body.data.builder, version: None })
        }
        KvVersion::V2 => {
            let BodyV2 { data } = parse(&answer.body, CALL)?;
            let Some(values) = data.data else {
                return Err(VaultError::Deleted { secret: name(settings) });
            };
            Ok(Secret { values: values.builder, version: Some(data.metadata.version) })
        }
    }
}

/// The meaning of a 404. For a deleted version the answer has a body, for an absent secret an empty list
/// of errors, and for an absent mount a list with text.
fn not_found(answer: &VaultResponse, settings: &VaultSettings) -> VaultError {
    let secret = name(settings);
    if parse::<BodyV2>(&answer.body, CALL).is_ok() {
        return VaultError::Deleted { secret };
    }
    match parse::<Errors>(&answer.body, CALL) {
        Ok(Errors { errors }) if errors.is_empty() => VaultError::Absent { secret },
        _ => VaultError::NoMount { secret },
    }
}

#[derive(Deserialize)]
struct BodyV1 {
    data: ValuesFromJson,
}

#[derive(Deserialize)]
struct BodyV2 {
    data: DataV2,
}

#[derive(Deserialize)]
struct DataV2 {
    data: Option<ValuesFromJson>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
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
