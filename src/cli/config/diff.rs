//! `config diff`: what another configuration changes, in words, and who is concerned.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    path::{self, PathBuf},
    process::ExitCode,
};

use serde::Serialize;

use super::access::{AccessRights, CallerChange, Presence};
use crate::{
    app,
    cli::{ConfigFiles, Failure},
    config::Loaded,
    domain::{UNIDENTIFIED, visible},
};

/// Says what another configuration changes: first who may do what, then everything else.
///
/// Both are validated as `check` does. The environment is over both. Access is compared by what becomes of each
/// operation for each caller, so that a pattern in another form is no difference.
#[derive(Debug, clap::Args)]
pub(super) struct DiffArgs {
    /// The old configuration.
    #[arg(value_name = "OLD", required_unless_present = "old_files", conflicts_with = "old_files")]
    old: Option<PathBuf>,
    /// The new configuration.
    #[arg(value_name = "NEW", required_unless_present = "new_files", conflicts_with = "new_files")]
    new: Option<PathBuf>,
    /// A file of the old configuration, if it has several. May be repeated; later files win.
    #[arg(long = "old", value_name = "FILE")]
    old_files: Vec<PathBuf>,
    /// A file of the new configuration, if it has several. May be repeated; later files win.
    #[arg(long = "new", value_name = "FILE")]
    new_files: Vec<PathBuf>,
    /// Make the exit code 1 if there is a difference.
    #[arg(long)]
    exit_code: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What differs.
#[derive(Debug, Serialize)]
struct Difference {
    /// For whom access differs.
    access: Vec<CallerChange>,
    /// Every key with another value.
    keys: Vec<KeyChange>,
    /// Those of them that a reload refuses.
    restart: Vec<String>,
}

/// A key with another value. Identifiers are cut short.
#[derive(Debug, Serialize)]
struct KeyChange {
    key: String,
    old: Option<String>,
    new: Option<String>,
}

/// Compares, and prints what differs.
pub(super) fn run(args: &DiffArgs, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let load = |one: &Option<PathBuf>, several: &[PathBuf]| {
        let named = one.iter().chain(several).cloned().collect();
        ConfigFiles { named }.load()?.for_serving()
    };
    let old = load(&args.old, &args.old_files);
    let new = load(&args.new, &args.new_files);
    let (old, new) = match (old, new) {
        (Err(old), Err(new)) => return Err(old.and(new).into()),
        (old, new) => (old?, new?),
    };
    let rights = [AccessRights::of(&old.settings), AccessRights::of(&new.settings)];
    let difference = Difference::between(&old, &new, &rights);
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &difference).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        difference.print(&rights, out)?;
    }
    Ok(ExitCode::from(u8::from(args.exit_code && !difference.keys.is_empty())))
}

impl Difference {
    fn between(old: &Loaded, new: &Loaded, [could, can]: &[AccessRights; 2]) -> Self {
        let changed = new.settings.revision.changes_since(&old.settings.revision);
        let [(was, from), (is, to)] =
            [old, new].map(|loaded| (loaded.effective.values(), folder(loaded)));
        let keys: Vec<_> = changed
            .into_iter()
            .map(|change| KeyChange {
                old: was.get(&change.key).map(|value| beside(value, from.as_deref())),
                new: is.get(&change.key).map(|value| beside(value, to.as_deref())),
                key: change.key,
            })
            // The same file, beside another configuration.
            .filter(|change| {
                change.old != change.new || was.get(&change.key) == is.get(&change.key)
            })
            .collect();
        let mut restart = app::needs_restart(&old.settings, &new.settings);
        restart.retain(|key| keys.iter().any(|change| change.key == *key));
        Self { access: can.changes_since(could), keys, restart }
    }

    fn print(&self, rights: &[AccessRights; 2], out: &mut impl Write) -> io::Result<()> {
        if self.keys.is_empty() {
            return writeln!(out, "no difference");
        }
        let mut told = BTreeSet::new();
        let mut lines = Vec::new();
        for change in &self.access {
            lines.extend(in_words(change, rights));
            for key in ["allow", "unix_uids", "tls_names", "profile", "profiles"] {
                told.insert(format!("callers[{}].{key}", change.caller));
            }
        }
        let entries = self.entries();
        for (title, sections) in SECTIONS {
            let is_in = |key: &str| sections.iter().any(|section| section_of(key) == *section);
            let of_section = entries.iter().filter(|(entry, _)| is_in(entry));
            lines.extend(
                of_section.filter_map(|(entry, is_new)| self.entry_in_words(entry, *is_new, &told)),
            );
            for change in self.keys.iter().filter(|change| is_in(&change.key)) {
                let is_of_entry =
                    entries.keys().any(|entry| change.key.starts_with(&format!("{entry}.")));
                if is_of_entry || told.contains(&change.key) {
                    continue;
                }
                lines.push(change.in_words());
            }
            if !lines.is_empty() {
                writeln!(out, "{title}")?;
                for line in lines.drain(..) {
                    writeln!(out, "  {}", visible(&line))?;
                }
            }
        }
        match self.restart.as_slice() {
            [] => writeln!(out, "A reload applies it."),
            keys => writeln!(
                out,
                "A reload refuses it: {} can only change with a restart.",
                visible(&keys.join(", "))
            ),
        }
    }

    /// The entries with a name that are new (true) or gone, by their key: `listeners[edge]`, `profiles.test`.
    fn entries(&self) -> BTreeMap<&str, bool> {
        let mut entries: BTreeMap<&str, bool> = BTreeMap::new();
        let mut kept = BTreeSet::new();
        for change in &self.keys {
            let Some(entry) = entry_of(&change.key) else { continue };
            match (&change.old, &change.new) {
                (None, Some(_))
                    if NAMES.iter().any(|name| change.key == format!("{entry}.{name}")) =>
                {
                    entries.insert(entry, true);
                }
                (Some(_), None)
                    if NAMES.iter().any(|name| change.key == format!("{entry}.{name}")) =>
                {
                    entries.insert(entry, false);
                }
                (Some(_), Some(_)) => {
                    kept.insert(entry);
                }
                _ => {}
            }
        }
        entries.retain(|entry, _| !kept.contains(entry));
        entries
    }

    /// `None` if all of it is told already.
    fn entry_in_words(&self, entry: &str, is_new: bool, told: &BTreeSet<String>) -> Option<String> {
        let prefix = format!("{entry}.");
        let of_entry = self.keys.iter().filter_map(|change| {
            let key = change.key.strip_prefix(&prefix).filter(|_| !told.contains(&change.key))?;
            let value = if is_new { &change.new } else { &change.old }.as_deref()?;
            (key != "name" && !EMPTY.contains(&value)).then(|| format!("{key} = {value}"))
        });
        let keys = of_entry.collect::<Vec<_>>().join(", ");
        let what = if is_new { "is new:" } else { "is gone; it had" };
        (!keys.is_empty()).then(|| format!("{entry} {what} {keys}"))
    }
}

impl KeyChange {
    fn in_words(&self) -> String {
        let Self { key, old, new } = self;
        if is_allow(key) {
            let caller = entry_of(key).unwrap_or_default();
            return format!("{caller}: `allow` is written in another way, and allows the same");
        }
        match (old, new) {
            (Some(_), Some(new)) if key == "policy.mode" && new.contains("report") => {
                format!("{key}: {new}: what the rules refuse goes through, and is only reported")
            }
            (Some(old), Some(new)) if old == new => format!("{key}: another value"),
            (Some(old), Some(new)) => format!("{key}: {old} → {new}"),
            (None, Some(new)) => format!("{key}: {new} (it was not set)"),
            (Some(old), None) => format!("{key}: not set any more (it was {old})"),
            (None, None) => format!("{key}: another value"),
        }
    }
}

/// What changes for a caller, a sentence each.
fn in_words(change: &CallerChange, [could, can]: &[AccessRights; 2]) -> Vec<String> {
    let CallerChange { caller, change, gained, lost, profiles_gained, profiles_lost, proofs } =
        change;
    let name = match caller.as_str() {
        UNIDENTIFIED => "callers without a name".to_owned(),
        name => format!("`{name}`"),
    };
    let mut sentences = Vec::new();
    match (change, proofs) {
        (Presence::New, [_, Some(is)]) => {
            let with = match profiles_gained.as_slice() {
                [] => String::new(),
                some => format!(" with the profiles {}", some.join(", ")),
            };
            return vec![format!("{name} is new, {is}; it may {}{with}", can.in_words(gained))];
        }
        (Presence::Gone, _) => {
            return vec![format!("{name} is gone; it could {}", could.in_words(lost))];
        }
        (_, [Some(was), Some(is)]) if was != is => {
            sentences.push(format!("{name} is {is} (it was {was})"));
        }
        _ => {}
    }
    if !gained.is_empty() {
        sentences.push(format!("{name} may now {}", can.in_words(gained)));
    }
    if !lost.is_empty() {
        sentences.push(format!("{name} may no longer {}", could.in_words(lost)));
        if can.has_nothing(caller) {
            sentences.push(format!("{name} may use nothing now"));
        }
    }
    for (may, patterns) in [("may now", profiles_gained), ("may no longer", profiles_lost)] {
        if !patterns.is_empty() {
            sentences.push(format!("{name} {may} use the profiles {}", patterns.join(", ")));
        }
    }
    sentences
}

/// The folder of the first file: other files are named relative to it.
fn folder(loaded: &Loaded) -> Option<String> {
    let file = path::absolute(loaded.files.first()?).ok()?;
    Some(format!("{}/", file.parent()?.to_str()?))
}

/// A value with the paths below that folder as the file writes them.
fn beside(value: &str, folder: Option<&str>) -> String {
    folder.map_or_else(|| value.to_owned(), |folder| value.replace(&format!("\"{folder}"), "\""))
}

/// `listeners` of `listeners[edge].address`, and `limits` of `limits.in_flight`.
fn section_of(key: &str) -> &str {
    key.split(['.', '[']).next().unwrap_or_default()
}

/// `listeners[edge]` of `listeners[edge].address`, and `profiles.test` of `profiles.test.upstream`.
fn entry_of(key: &str) -> Option<&str> {
    if let Some(at) = key.find("].") {
        return key.get(..=at);
    }
    let (section, rest) = key.split_once('.')?;
    let (name, _) = rest.split_once('.')?;
    ["profiles", "credentials"]
        .contains(&section)
        .then(|| key.get(..section.len() + 1 + name.len()))?
}

fn is_allow(key: &str) -> bool {
    section_of(key) == "callers" && key.ends_with("].allow")
}

/// A key that every entry of its kind has.
const NAMES: [&str; 3] = ["name", "upstream", "source"];
/// Values that say nothing.
const EMPTY: [&str; 3] = ["[]", "false", "\"\""];

/// The headings, with the sections of the file below each. Who may do what comes first.
const SECTIONS: [(&str, &[&str]); 7] = [
    ("Who may do what", &["callers", "policy", "operations"]),
    ("Listeners", &["listeners", "admin", "metrics"]),
    ("Pigello", &["profiles", "retry", "breaker", "quota"]),
    ("Credentials", &["credentials", "vault"]),
    ("Cache", &["cache", "notices", "fleet"]),
    ("Limits and timeouts", &["limits", "timeouts", "runtime"]),
    ("Audit trail, logs and errors", &["audit", "telemetry", "problems"]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    #[test]
    fn every_section_of_the_file_has_a_heading() {
        let schema = config::schema();
        let sections = schema["properties"].as_object().unwrap().keys();
        for section in sections {
            let headings = SECTIONS.iter().filter(|(_, below)| below.contains(&section.as_str()));
            assert_eq!(headings.count(), 1, "{section}");
        }
    }
}
