//! Tests the fleet's store: version, access, what it does when memory is short, clock.

use super::{Step, advice, machine::Clock};
use crate::{
    error::Chain,
    fleet::{self, Findings, KeyError, StoreError},
};

/// The steps, if there is a fleet, and the store's clock.
pub(super) async fn look(settings: Option<&fleet::Settings>) -> (Vec<Step>, Option<Clock>) {
    const WHAT: &str = "fleet store";
    let Some(settings) = settings else { return (Vec::new(), None) };
    let Findings { server, place, forbidden, policy, ahead } = match fleet::look(settings).await {
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
    steps.push(memory(policy.as_deref()));
    let said_by = "the fleet's store".to_owned();
    (steps, ahead.map(|ahead| Clock { said_by, ahead }))
}

fn memory(policy: Option<&str>) -> Step {
    const WHAT: &str = "fleet store's memory";
    match policy {
        None => Step::skipped(WHAT, "the user may not use INFO, which tells `maxmemory-policy`"),
        Some(policy) if policy.starts_with("allkeys-") => {
            let found = format!("`maxmemory-policy {policy}` may remove the notices");
            Step::doubtful(WHAT, found).advise(Some(
                "set `maxmemory-policy noeviction`, or one of `volatile-…`; a store that is not a cache for others",
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
        StoreError::Key(KeyError::NoKey { .. }) => {
            "`(umask 077; openssl rand -base64 32 > FILE)` makes one, which all members have"
                .to_owned()
        }
        StoreError::File(error) | StoreError::Key(KeyError::File(error)) => return error.hint(),
        _ => return None,
    })
}
