//! Tests the credential sources. A vault is tested in the order of a request: connection, login,
//! permission, secret.

use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use super::{Report, Step, advice};
use crate::{
    credentials::{
        self, CredentialSet, LoadError, Settings, SourceSettings, Sources, VaultAuth, VaultError,
    },
    domain::Origin,
    error::Chain,
    outbound::{Nearness, Observed, Until},
};

/// Loads one set, and reports each step. Returns also what its server has shown of itself.
pub(in crate::cli) async fn look(
    set: &Settings,
    sources: &Sources,
    running: Option<&Value>,
    report: &mut Report,
) -> (Option<CredentialSet>, Option<Arc<Observed>>) {
    let what = format!("credentials {}", set.name);
    if let Err(error) = set.source.check() {
        report.push(Step::bad(what, error.to_string()));
        return (None, None);
    }
    // Reading it would use up the wrapping token that the gateway's start needs.
    if let Some(found) = credentials::look_up_wrapping(set).await {
        report.extend(wrapped(found, set, running));
        return (None, None);
    }
    let (read, observed) = credentials::load(set, sources).await;
    if let SourceSettings::Vault(vault) = &set.source {
        let proxy = vault.server.proxy_in_use();
        report.extend(on_the_way(&read, set, vault.server.auth.as_ref(), proxy.as_ref()));
        let end = observed.as_ref().and_then(|observed| observed.certificate_end());
        report.extend(end.and_then(vault_certificate));
    }
    let read = match read {
        Ok(read) => {
            report.push(Step::good(what, format!("all seven values, version {}", read.version())));
            Some(read)
        }
        Err(LoadError::Vault(error)) if obstacle(&error) != Obstacle::Secret => {
            report.push(Step::skipped(what, "cannot be read before that"));
            None
        }
        Err(error) => {
            let hint = advice::for_credentials(&error, set);
            report.push(Step::bad(what, Chain(&error).to_string()).advise(hint));
            None
        }
    };
    (read, observed)
}

/// The steps of a login whose secret id is wrapped.
fn wrapped(found: Result<(), LoadError>, set: &Settings, running: Option<&Value>) -> Vec<Step> {
    let what = format!("credentials {}", set.name);
    match found {
        Ok(()) => vec![
            Step::good("vault", "answers"),
            Step::good("vault login", "the wrapping token is unused, and is left for the gateway"),
            Step::skipped(what, "not read: that would use up the wrapping token"),
        ],
        Err(error) => match version_in_use(set, running) {
            Some(version) if is_used_up(&error) => vec![
                Step::good("vault", "answers"),
                Step::good("vault login", "the running gateway has used the wrapping token"),
                Step::good(what, format!("the running gateway has version {version}")),
            ],
            _ => {
                let SourceSettings::Vault(vault) = &set.source else { return Vec::new() };
                let proxy = vault.server.proxy_in_use();
                let mut steps =
                    on_the_way(&Err(error), set, vault.server.auth.as_ref(), proxy.as_ref());
                steps.push(Step::skipped(what, "cannot be read before that"));
                steps
            }
        },
    }
}

fn is_used_up(error: &LoadError) -> bool {
    matches!(error, LoadError::Vault(error) if matches!(**error, VaultError::Unwrap { .. }))
}

/// The version of the set that the running gateway uses.
fn version_in_use(set: &Settings, running: Option<&Value>) -> Option<String> {
    let sets = running?.get("credentials")?.as_array()?;
    let own = sets.iter().find(|one| one["name"] == set.name.as_str())?;
    Some(own["version"].as_str()?.to_owned())
}

/// Whether the vault's certificate ends soon.
fn vault_certificate(not_after: Timestamp) -> Option<Step> {
    let now = Timestamp::now();
    let is_far = Nearness::of(not_after, now) == Nearness::Far;
    let step = Step::doubtful("vault certificate", Until { not_after, now }.to_string());
    (!is_far).then(|| step.advise(Some("it has to be renewed before then")))
}

/// The steps between the gateway and a secret in a vault, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Obstacle {
    /// The vault cannot be reached, or is not working.
    Vault,
    /// The login failed.
    Login,
    /// The policy does not permit the read.
    Policy,
    /// The secret is missing or incomplete.
    Secret,
}

fn obstacle(error: &VaultError) -> Obstacle {
    match error {
        VaultError::Unreachable { .. }
        | VaultError::Timeout { .. }
        | VaultError::Unavailable { .. }
        | VaultError::Redirect { .. }
        | VaultError::Unexpected { .. }
        | VaultError::TooLarge { .. }
        | VaultError::Malformed { .. }
        | VaultError::Plaintext { .. }
        | VaultError::Incomplete(_)
        | VaultError::Tls(_)
        | VaultError::Proxy(_)
        | VaultError::Revocation(_)
        | VaultError::Namespace { .. } => Obstacle::Vault,
        VaultError::SecretFile { .. }
        | VaultError::Writable(_)
        | VaultError::NoToken { .. }
        | VaultError::LoginRefused { .. }
        | VaultError::TokenRefused { .. }
        | VaultError::TokensUsedUp { .. }
        | VaultError::Unwrap { .. }
        | VaultError::LeftWrapped => Obstacle::Login,
        VaultError::Denied { .. }
        | VaultError::NotListed { .. }
        | VaultError::NotWritten { .. } => Obstacle::Policy,
        VaultError::Deleted { .. }
        | VaultError::Absent { .. }
        | VaultError::NoMount { .. }
        | VaultError::WentBack { .. }
        | VaultError::Overtaken { .. }
        | VaultError::Values { .. } => Obstacle::Secret,
    }
}

fn on_the_way(
    read: &Result<CredentialSet, LoadError>,
    set: &Settings,
    auth: Option<&VaultAuth>,
    proxy: Option<&Origin>,
) -> Vec<Step> {
    let (failed, error): (_, Option<&LoadError>) = match read {
        Ok(_) => (Obstacle::Secret, None),
        Err(error @ LoadError::Vault(cause)) => (obstacle(cause), Some(error)),
        Err(error) => (Obstacle::Vault, Some(error)),
    };
    let login = auth.map_or("token", VaultAuth::name);
    let steps = [
        (Obstacle::Vault, "vault", format!("answers{}", advice::way(proxy))),
        (Obstacle::Login, "vault login", format!("lets the gateway in ({login})")),
        (Obstacle::Policy, "vault policy", "lets the gateway read the secret".to_owned()),
    ];
    let step = |(met, what, good): (Obstacle, &str, String)| match (met.cmp(&failed), error) {
        (std::cmp::Ordering::Less, _) => Step::good(what, good),
        (std::cmp::Ordering::Equal, Some(error)) => {
            let hint = advice::for_credentials(error, set);
            Step::bad(what, Chain(error).to_string()).advise(hint)
        }
        _ => Step::skipped(what, "not looked at, because of what is above"),
    };
    // A file that cannot be read is found before anything is sent.
    let unseen = matches!(
        read,
        Err(LoadError::Vault(error)) if matches!(
            **error,
            VaultError::SecretFile { .. } | VaultError::Writable(_) | VaultError::NoToken { .. }
        )
    );
    let mut steps: Vec<_> = steps.map(step).into();
    if let (true, Some(first)) = (unseen, steps.first_mut()) {
        *first = Step::skipped("vault", "not called without a login");
    }
    steps
}

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{
        credentials::{Identifiers, RefreshSettings},
        domain::{CredentialsName, Span},
    };

    fn steps(error: VaultError) -> Vec<String> {
        let set = Settings {
            name: CredentialsName::new("test"),
            fixed: Identifiers::new(),
            source: SourceSettings::Environment { prefix: String::new() },
            keep: None,
            refresh: RefreshSettings::default(),
        };
        let mut report = Report::default();
        report.extend(on_the_way(&Err(LoadError::Vault(error.into())), &set, None, None));
        let report = report.to_json();
        let steps = report["steps"].as_array().unwrap();
        steps.iter().map(|step| step["state"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn what_is_in_the_way_of_a_secret_is_one_step_and_hides_the_rest() {
        let timeout = VaultError::Timeout { address: String::new(), limit: Span::from_secs(5) };
        assert_eq!(steps(timeout), ["failed", "skipped", "skipped"]);
        let refused = VaultError::LoginRefused { method: "approle", status: StatusCode::FORBIDDEN };
        assert_eq!(steps(refused), ["ok", "failed", "skipped"]);
        let denied = VaultError::Denied { secret: "secret/pigello".to_owned() };
        assert_eq!(steps(denied), ["ok", "ok", "failed"]);
        let absent = VaultError::Absent { secret: "secret/pigello".to_owned() };
        assert_eq!(steps(absent), ["ok", "ok", "ok"]);
        // Found before anything is sent.
        let no_token = VaultError::NoToken { location: "the file".to_owned() };
        assert_eq!(steps(no_token), ["skipped", "failed", "skipped"]);
    }
}
