//! The steps of `check --online`: each reports a finding and, for a problem, a remedy.
//!
//! The steps use the parts that `serve` uses, so they find what `serve` would meet. The requests to an upstream are one
//! for credentials, which reads nobody's data, and one for the event log if it is used. Each is on the audit trail
//! before it is made, and can be left out ([`probe`](crate::cli::probe)). Nothing else is written. No value is shown.

mod advice;
mod collector;
mod credentials;
mod files;
mod fleet;
mod machine;
mod notices;
mod profiles;
mod report;
mod upstream;

pub(in crate::cli) use credentials::look as look_at_credentials;
pub(super) use profiles::ProfileChoice;
pub(in crate::cli) use profiles::{look_at_upstream, members_of, set_of};
pub(in crate::cli) use report::{Report, Step};

use crate::{cli::admin::status_of, config::Loaded};

/// Runs all steps.
pub(super) async fn look(loaded: &Loaded, call: bool, choice: Option<&ProfileChoice>) -> Report {
    let settings = &loaded.settings;
    let mut report = Report::default();
    report.extend(files::look(loaded));
    report.extend(files::certificates(settings));
    report.extend(files::other_certificates(settings));
    report.extend(files::admin_tokens(settings));
    report.extend(notices::tokens(settings));
    let running = status_of(settings).await;
    report.extend(machine::listeners(settings, running.as_ref()).await);
    let mut clocks = profiles::look(settings, running.as_ref(), call, choice, &mut report).await;
    let (steps, clock) = fleet::look(settings).await;
    report.extend(steps);
    clocks.extend(clock);
    report.extend(collector::look(&settings.telemetry).await);
    report.push(machine::audit_directory(&settings.audit.directory, running.as_ref()));
    report.extend(files::trail_keys(&settings.audit));
    report.extend(files::trail_readers(&settings.audit));
    report.extend(files::collector_headers(settings));
    report.extend(machine::steady_numbers(&settings.audit.directory));
    report.push(machine::clock(&clocks));
    report
}
