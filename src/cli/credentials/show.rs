//! `credentials show`: lists the contents of a store without values.

use std::io::Write as _;

use jiff::Timestamp;
use serde::Serialize;

use super::{Console, Failure, arguments::ShowArgs};
use crate::credentials::{
    ValueName,
    sealed::{Document, SealedStore, StoredSet, StoredVersion},
};

pub(super) fn show(
    store: &SealedStore,
    only: Option<&str>,
    args: &ShowArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let document = store.read()?;
    if let Some(name) = only.filter(|name| !document.sets.contains_key(*name)) {
        return Err(Failure::failed(format!("the store holds no set `{name}`"))
            .hint("`credentials show` without `--name` lists the sets"));
    }
    let view = StoreView::of(store, &document, only, args.salt.as_deref(), Timestamp::now());
    if args.json {
        serde_json::to_writer_pretty(&mut console.out, &view)
            .map_err(|error| Failure::failed(format!("cannot write the answer: {error}")))?;
        writeln!(console.out)?;
        return Ok(());
    }
    print(&view, console)
}

#[derive(Serialize)]
struct StoreView {
    file: String,
    salt: String,
    sets: Vec<SetView>,
}

#[derive(Serialize)]
struct SetView {
    name: String,
    versions: Vec<VersionView>,
}

#[derive(Serialize)]
struct VersionView {
    version: u64,
    state: &'static str,
    created: Timestamp,
    age_seconds: u64,
    values: Vec<ValueView>,
    missing: Vec<&'static str>,
}

#[derive(Serialize)]
struct ValueView {
    name: &'static str,
    fingerprint: String,
}

impl StoreView {
    fn of(
        store: &SealedStore,
        document: &Document,
        only: Option<&str>,
        salt: Option<&str>,
        now: Timestamp,
    ) -> Self {
        let salt = salt.unwrap_or(&document.fingerprint_salt);
        let sets = document.sets.iter().filter(|(name, _)| only.is_none_or(|only| only == *name));
        Self {
            file: store.file().display().to_string(),
            salt: salt.to_owned(),
            sets: sets.map(|(name, set)| SetView::of(name, set, salt, now)).collect(),
        }
    }
}

impl SetView {
    fn of(name: &str, set: &StoredSet, salt: &str, now: Timestamp) -> Self {
        let versions =
            [("previous", &set.previous), ("current", &set.current), ("staged", &set.staged)];
        Self {
            name: name.to_owned(),
            versions: versions
                .into_iter()
                .filter_map(|(state, version)| {
                    Some(VersionView::of(state, version.as_ref()?, salt, now))
                })
                .collect(),
        }
    }
}

impl VersionView {
    fn of(state: &'static str, version: &StoredVersion, salt: &str, now: Timestamp) -> Self {
        let age = now.duration_since(version.created).as_secs();
        Self {
            version: version.version,
            state,
            created: version.created,
            age_seconds: u64::try_from(age).unwrap_or_default(),
            values: version
                .values
                .iter()
                .map(|(name, value)| ValueView {
                    name: name.key(),
                    fingerprint: value.fingerprint(salt.as_bytes()).to_string(),
                })
                .collect(),
            missing: ValueName::ALL
                .into_iter()
                .filter(|name| version.values.get(*name).is_none())
                .map(ValueName::key)
                .collect(),
        }
    }
}

fn print(view: &StoreView, console: &mut Console<'_>) -> Result<(), Failure> {
    let out = &mut console.out;
    writeln!(out, "store {}", view.file)?;
    writeln!(out, "salt  {}", view.salt)?;
    if view.sets.is_empty() {
        writeln!(out, "\nno sets")?;
    }
    for set in &view.sets {
        writeln!(out, "\n{}", set.name)?;
        for version in &set.versions {
            writeln!(
                out,
                "  version {} ({}), written {}, {} ago",
                version.version,
                version.state,
                version.created,
                age(version.age_seconds)
            )?;
            for value in &version.values {
                writeln!(out, "    {:<20}{}", value.name, value.fingerprint)?;
            }
            for name in &version.missing {
                writeln!(out, "    {name:<20}not in the store")?;
            }
        }
    }
    Ok(())
}

/// An age, in its largest unit.
fn age(seconds: u64) -> String {
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3_600 => (seconds / 60, "minute"),
        3_600..86_400 => (seconds / 3_600, "hour"),
        _ => (seconds / 86_400, "day"),
    };
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {unit}{plural}")
}
