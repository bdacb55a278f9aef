//! The doctor behind `check --online`: one step after the other, each with what was found and, where
//! that is not as it should be, with what to do about it.
//!
//! It uses the parts that `serve` uses, so what it finds is what `serve` would meet. It writes nothing,
//! and the one thing it sends to an upstream is a read of one subtenant with the seven values, which can
//! be left out. No value is shown.

mod advice;
mod credentials;
mod files;
mod machine;
mod report;
mod upstream;

pub(super) use report::{Report, Step};

use std::collections::BTreeMap;

use crate::config::Loaded;

/// Looks at everything that the configuration names, one thing after the other.
pub(super) async fn look(loaded: &Loaded, call: bool) -> Report {
    let settings = &loaded.settings;
    let mut report = Report::default();
    report.extend(files::look(loaded));
    report.extend(machine::listeners(settings));
    let mut sets = BTreeMap::new();
    for (name, set) in &settings.credentials {
        if let Some(read) = credentials::look(set, &mut report).await {
            sets.insert(name, read);
        }
    }
    let mut clock = None;
    for (name, profile) in &settings.profiles {
        let set = sets.get(&profile.credentials).filter(|_| call);
        let told = upstream::look(name, profile, settings, set, &mut report).await;
        clock = clock.or(told);
    }
    report.push(machine::audit_directory(&settings.audit.directory));
    report.push(machine::clock(clock));
    report
}
