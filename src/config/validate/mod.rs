//! From the tree of values to checked settings, past every mistake to the end.
//!
//! [`structure`] reports what the schema forbids. The checks then report what makes no sense: names
//! without an entry, keys that contradict each other, sockets that other machines can reach.

mod audit;
mod cache;
mod callers;
mod checker;
mod credentials;
mod fleet;
mod limits;
mod listeners;
mod notices;
mod outbound;
mod profiles;
mod structure;
mod telemetry;
mod vault;

use std::sync::Arc;

use self::checker::Checker;
use super::{
    problem::Problem, read::Locations, report::Revision, settings::Settings, types::Config,
};

pub(super) use structure::fit;

/// Makes the settings. They are valid only if no problem was found, here or before.
pub(super) fn check(
    config: &Config,
    locations: &Locations,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Option<Settings> {
    let mut checker = Checker::new(config, locations, problems, warnings);
    let catalog = checker.catalog()?;
    checker.unused_names();
    checker.listeners();
    checker.profiles();
    checker.policy();
    checker.timeouts();
    checker.limits();
    checker.breaker();
    checker.telemetry();
    checker.unused_proxy_variables();
    let credentials = checker.credentials();
    checker.templates(&credentials);
    Some(Settings {
        revision: Revision::of(config),
        listeners: config.listeners.clone(),
        admin: checker.admin(),
        admin_tokens: config.admin.token_file.clone().filter(|_| config.admin.enabled),
        metrics: checker.metrics(),
        profiles: config.profiles.clone(),
        credentials,
        vault: config.vault.clone(),
        callers: checker.callers(&catalog),
        policy: config.policy.clone(),
        problem_base: config.problems.base.clone().unwrap_or_default(),
        cache: checker.cache(&catalog),
        notices: checker.notices(),
        fleet: checker.fleet(),
        audit: checker.audit(),
        timeouts: config.timeouts,
        limits: config.limits,
        retry: config.retry,
        breaker: config.breaker,
        quota: config.quota,
        runtime: config.runtime,
        telemetry: config.telemetry.clone(),
        catalog: Arc::new(catalog),
    })
}
