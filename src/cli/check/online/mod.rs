//! The steps of `check --online`: each reports a finding and, for a problem, a remedy.
//!
//! The steps use the parts that `serve` uses, so they find what `serve` would meet. The one request to an
//! upstream reads nobody's data, is on the audit trail before it is made, and can be left out
//! ([`probe`](crate::cli::probe)). Nothing else is written. No value is shown.

mod advice;
mod collector;
mod credentials;
mod files;
mod machine;
mod report;
mod upstream;

pub(super) use report::{Report, Step};

use std::collections::BTreeMap;

use self::machine::Clock;
use crate::{cli::admin::status_of, config::Loaded, credentials::Sources};

/// Runs all steps.
pub(super) async fn look(loaded: &Loaded, call: bool) -> Report {
    let settings = &loaded.settings;
    let mut report = Report::default();
    report.extend(files::look(loaded));
    report.extend(files::certificates(settings));
    report.extend(files::other_certificates(settings));
    report.extend(files::admin_tokens(settings));
    let running = status_of(settings).await;
    report.extend(machine::listeners(settings, running.as_ref()).await);
    let (mut sets, sources) = (BTreeMap::new(), Sources::default());
    let mut clocks = Vec::new();
    for (name, set) in &settings.credentials {
        let (read, observed) =
            credentials::look(set, &sources, running.as_ref(), &mut report).await;
        if let Some(read) = read {
            sets.insert(name, read);
        }
        clocks.extend(observed.and_then(|observed| {
            let ahead = observed.clock_offset()?;
            Some(Clock { said_by: format!("the vault of {name}"), ahead })
        }));
    }
    for (name, profile) in &settings.profiles {
        let set = sets.get(&profile.credentials).filter(|_| call);
        clocks.extend(upstream::look(name, profile, settings, set, &mut report).await);
    }
    report.extend(collector::look(&settings.telemetry).await);
    report.push(machine::audit_directory(&settings.audit.directory, running.as_ref()));
    report.extend(files::trail_keys(&settings.audit));
    report.extend(files::trail_readers(&settings.audit));
    report.extend(files::collector_headers(settings));
    report.extend(machine::steady_numbers(&settings.audit.directory));
    report.push(machine::clock(&clocks));
    report
}
