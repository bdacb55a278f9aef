//! A secret in one of the two key-value engines.

use http::{Method, StatusCode};
use serde::{Deserialize, de::IgnoredAny};

use super::{
    KvVersion, VaultError, VaultSettings,
    auth::{Session, parse},
    client::{Answer, Call, Client},
};
use crate::credentials::{json_value::IncomingValues, set_builder::SetBuilder};

const CALL: &str = "the read of the secret";

/// A secret as it lies in the vault.
pub(super) struct Secret {
    pub(super) values: SetBuilder,
    /// Its version; the first engine has none.
    pub(super) version: Option<u64>,
}

/// What became of a read.
pub(super) enum Read {
    Found(Secret),
    /// 403: the policy, or the token. Only the vault can say which.
    Forbidden,
}

/// Where the secret lies, for messages.
pub(super) fn place(settings: &VaultSettings) -> String {
    format!("{}/{}", settings.mount.trim_matches('/'), settings.path.trim_matches('/'))
}

/// Reads the newest version.
pub(super) async fn read(
    client: &Client,
    session: &Session,
    settings: &VaultSettings,
) -> Result<Read, VaultError> {
    let (mount, path) = (settings.mount.trim_matches('/'), settings.path.trim_matches('/'));
    let full = match settings.kv_version {
        KvVersion::V1 => format!("{mount}/{path}"),
        KvVersion::V2 => format!("{mount}/data/{path}"),
    };
    let call = Call {
        name: CALL,
        method: Method::GET,
        path: &full,
        token: Some(session.token()),
        body: None,
    };
    let answer = client.call(call).await?;
    match answer.status {
        StatusCode::OK => found(&answer, settings).map(Read::Found),
        StatusCode::FORBIDDEN => Ok(Read::Forbidden),
        StatusCode::NOT_FOUND => Err(not_found(&answer, settings)),
        status => Err(VaultError::Unexpected { status, call: CALL }),
    }
}

fn found(answer: &Answer, settings: &VaultSettings) -> Result<Secret, VaultError> {
    match settings.kv_version {
        KvVersion::V1 => {
            let body: BodyV1 = parse(&answer.body, CALL)?;
            Ok(Secret { values: body.data.gathered, version: None })
        }
        KvVersion::V2 => {
            let BodyV2 { data } = parse(&answer.body, CALL)?;
            let Some(values) = data.data else {
                return Err(VaultError::Deleted { secret: place(settings) });
            };
            Ok(Secret { values: values.gathered, version: Some(data.metadata.version) })
        }
    }
}

/// A version that was deleted has a body; a secret that never was has an empty list of errors; a
/// mount that is not there has words in it.
fn not_found(answer: &Answer, settings: &VaultSettings) -> VaultError {
    let secret = place(settings);
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
    data: IncomingValues,
}

#[derive(Deserialize)]
struct BodyV2 {
    data: DataV2,
}

#[derive(Deserialize)]
struct DataV2 {
    data: Option<IncomingValues>,
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    version: u64,
}

#[derive(Deserialize)]
struct Errors {
    errors: Vec<IgnoredAny>,
}
