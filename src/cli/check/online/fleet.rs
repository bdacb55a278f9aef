//! Tests the fleet's store: version, access, what it does when memory is short, what it writes to a disk, clock. And the
//! keys that members share.

use super::{Step, advice, machine::Clock};
use crate::{
    cli::vault_policy,
    config::Settings,
    credentials::{KeyPlace, KeyReadError, KeySettings, KvVersion, Sources, VaultError, read_key},
    error::Chain,
    fleet::{self, Findings, KeyError, Persistence, StoreError},
};

/// The steps, if there is a fleet, and the store's clock.
pub(super) async fn look(settings: &Settings) -> (Vec<Step>, Option<Clock>) {
    let Some(fleet) = &settings.fleet else { return (Vec::new(), None) };
    let mut steps = keys(settings).await;
    let (of_store, clock) = store(fleet, settings.cache.shared.enabled).await;
    steps.extend(of_store);
    (steps, clock)
}

async fn keys(settings: &Settings) -> Vec<Step> {
    let (sources, mut steps) = (Sources::default(), Vec::new());
    if let Some(key) = &settings.fleet_key {
        steps.push(key_step("fleet key", key, &sources).await);
    }
    let in_use = settings.cache_keys.iter().filter(|_| settings.cache.shared.enabled);
    for (name, key) in in_use {
        let what = format!("cache key of {name}");
        steps.push(if name.template().is_some() {
            Step::skipped(what, "each member of the template has its own")
        } else {
            key_step(&what, key, &sources).await
        });
    }
    steps
}

async fn key_step(what: &str, key: &KeySettings, sources: &Sources) -> Step {
    match read_key(key, sources).await {
        Ok(keys) => {
            let versions: Vec<_> = keys.all().map(|key| key.id().to_string()).collect();
            let place = match &key.place {
                KeyPlace::File(path) => format!("is in {}", path.display()),
                KeyPlace::Vault { .. } => {
                    format!("is in the vault, version {}", versions.join(" and "))
                }
            };
            Step::good(what, place)
        }
        Err(error) => Step::bad(what, Chain(&error).to_string()).advise(key_remedy(key, &error)),
    }
}

fn key_remedy(key: &KeySettings, error: &KeyReadError) -> Option<String> {
    const MAKE: &str =
        "`(umask 077; openssl rand -base64 32 > FILE)` makes one, which all members have";
    match (&key.place, error) {
        (KeyPlace::File(_), KeyReadError::File(error)) => error.hint(),
        (KeyPlace::File(_), KeyReadError::Key(KeyError::NoKey { .. })) => Some(MAKE.to_owned()),
        (KeyPlace::Vault { secret, field }, KeyReadError::Vault(error)) => match **error {
            VaultError::Denied { .. } => {
                let policy = vault_policy(&secret.mount, &secret.path, KvVersion::V2);
                Some(format!("the policy of this login needs\n{}", policy.trim_end()))
            }
            VaultError::Absent { .. } | VaultError::Deleted { .. } => Some(format!(
                "openssl rand -base64 32 | bao kv put -mount={} {} {field}=-",
                secret.mount, secret.path
            )),
            _ => None,
        },
        _ => None,
    }
}

/// `has_entries` says whether it has entries of the shared cache, besides notices.
async fn store(settings: &fleet::Settings, has_entries: bool) -> (Vec<Step>, Option<Clock>) {
    const WHAT: &str = "fleet store";
    let findings = fleet::look(settings).await;
    let Findings { server, place, forbidden, policy, persistence, ahead } = match findings {
        Ok(findings) => findings,
        Err(error) => {
            let step = Step::bad(WHAT, Chain(&error).to_string());
            return (vec![step.advise(remedy(&error))], None);
        }
    };
    let mut steps = vec![if server.is_new_enough() {
        Step::good(WHAT, format!("{server} at {place}"))
    } else {
        Step::bad(WHAT, format!("{server} at {place} is too old"))
            .advise(Some("the fleet needs Valkey 8 or Redis 7, or newer"))
    }];
    let rights = "fleet store's ACL";
    steps.push(if forbidden.is_empty() {
        Step::good(rights, "allows what the gateway needs")
    } else {
        let found = format!("the user may not use {}", forbidden.join(", "));
        Step::bad(rights, found).advise(Some(fleet::acl(settings)))
    });
    steps.push(memory(policy.as_deref(), has_entries));
    if has_entries {
        steps.push(disk(persistence));
    }
    let said_by = "the fleet's store".to_owned();
    (steps, ahead.map(|ahead| Clock { said_by, ahead }))
}

/// Entries are sealed, and on a disk they outlive their time all the same.
fn disk(persistence: Option<Persistence>) -> Step {
    const WHAT: &str = "fleet store's disk";
    let written = match persistence {
        None => {
            return Step::skipped(WHAT, "the user may not use INFO, which tells what is written");
        }
        Some(Persistence { log: false, snapshots: false }) => {
            return Step::good(WHAT, "nothing has been written to it");
        }
        Some(Persistence { log: true, .. }) => "an append-only file",
        Some(Persistence { snapshots: true, .. }) => "snapshots",
    };
    Step::doubtful(WHAT, format!("the server writes {written}, with the entries of the shared cache")).advise(
        Some("set `save \"\"` and `appendonly no`: neither notices nor entries have to outlive the server"),
    )
}

fn memory(policy: Option<&str>, has_entries: bool) -> Step {
    const WHAT: &str = "fleet store's memory";
    match policy {
        None => Step::skipped(WHAT, "the user may not use INFO, which tells `maxmemory-policy`"),
        Some(policy) if policy.starts_with("allkeys-") => {
            let found = format!("`maxmemory-policy {policy}` may remove the notices");
            Step::doubtful(WHAT, found).advise(Some(
                "set `maxmemory-policy noeviction`, or one of `volatile-…`; a store that is not a cache for others",
            ))
        }
        Some("noeviction") if has_entries => {
            let found = "with `maxmemory-policy noeviction`, notices find no room when entries have taken all";
            Step::doubtful(WHAT, found).advise(Some(
                "set `maxmemory-policy volatile-lru`: entries make room, and notices stay",
            ))
        }
        Some(policy) => Step::good(WHAT, format!("`maxmemory-policy {policy}` keeps the notices")),
    }
}

fn remedy(error: &StoreError) -> Option<String> {
    if let Some(certificate) = advice::certificate_error(error) {
        return Some(advice::what_is_wrong(certificate));
    }
    Some(match error {
        StoreError::Login => {
            "`username` and the file of `password_file` have to be those of the store's ACL"
                .to_owned()
        }
        StoreError::Connect(_) | StoreError::TooSlow(_) => {
            "is `fleet.store.address` right, and does the store accept connections from here?"
                .to_owned()
        }
        StoreError::NoPrimary(_) => {
            "is `fleet.store.service` the name of `sentinel monitor NAME …`?".to_owned()
        }
        StoreError::Replica => "name the primary, or `sentinels` that know where it is".to_owned(),
        StoreError::File(error) => return error.hint(),
        _ => return None,
    })
}
