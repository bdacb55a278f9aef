//! The commands that change a store: `init`, `set`, `rotate`, `remove`.

use std::path::Path;

use jiff::Timestamp;

use super::{
    Failure,
    arguments::{RemoveArgs, RotateArgs, StoreArgs, ValueArgs},
    console::{Console, read_json_file},
    probe::Ready,
    prompt::{ask_for_set, is_sure},
};
use crate::{
    cli::ConfigFiles,
    credentials::{
        CredentialSet, ValueName,
        sealed::{
            Created, SealedStore, StoredSet, StoredValues, StoredVersion, values_from_directory,
            values_from_json,
        },
    },
    domain::{Name, TextForm as _},
    secret::SecretText,
};

pub(super) fn init(store: &SealedStore, console: &mut Console<'_>) -> Result<(), Failure> {
    let created = store.create()?;
    writeln!(console.out, "made the store   {}", store.file().display())?;
    match created {
        Created::StoreAndKey => {
            writeln!(console.out, "made its key     {}", store.key_file().display())?;
        }
        Created::Store => {
            writeln!(console.out, "with the key in  {}", store.key_file().display())?;
        }
    }
    writeln!(
        console.notes,
        "hint: keep the key out of backups that hold the store; put the seven values in with\n      \
         pigello-gateway credentials set --file {} --key-file {}",
        store.file().display(),
        store.key_file().display()
    )?;
    Ok(())
}

pub(super) fn set(
    store: &SealedStore,
    name: &str,
    args: &ValueArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    // Opened before the prompt: nobody should type a secret to learn that the key file is missing.
    let is_new = !store.read()?.sets.contains_key(name);
    if is_new {
        // A configuration could not name it.
        Name::check(name).map_err(|why| Failure::usage(format!("--name: {why}")))?;
    }
    let values = new_values(args, console)?;
    seal(store, name, values, console)
}

/// Makes these values the current version, over those of the previous one.
pub(in crate::cli) fn seal(
    store: &SealedStore,
    name: &str,
    values: StoredValues,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let now = second(Timestamp::now());
    let version = store.update(|document| {
        let set = document.sets.entry(name.to_owned()).or_insert_with(StoredSet::empty);
        let values = values.over(set.current.as_ref());
        if set.current.as_ref().is_some_and(|current| current.values.same_as(&values)) {
            return Ok::<_, Failure>(None);
        }
        set.replace_current(values, now);
        Ok(set.current.as_ref().map(summary))
    })?;
    match version {
        Some((number, missing)) => {
            writeln!(console.out, "{name}: version {number} is in use")?;
            remark_on_missing(&missing, console)
        }
        None => Ok(writeln!(console.out, "{name}: unchanged, these values are in use already")?),
    }
}

pub(super) fn rotate(
    store: &SealedStore,
    place: &StoreArgs,
    args: &RotateArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let name = place.set();
    let ready = args.probe.ready(&ConfigFiles { named: place.config.clone() })?;
    if args.promote || args.discard || args.back {
        if !args.values.is_empty() {
            return Err(Failure::usage("--promote, --discard and --back take no values")
                .hint("stage the values first, then promote them"));
        }
        if args.back {
            return go_back(store, name, console);
        }
        if args.promote {
            probe(store, name, ready, console)?;
        }
        return finish_rotation(store, name, args.promote, console);
    }
    existing(store.read()?.sets.get(name), name)?;
    let values = new_values(&args.values, console)?;
    let now = second(Timestamp::now());
    let staged = store.update(|document| {
        let set = existing_mut(document.sets.get_mut(name), name)?;
        let values = values.over(set.current.as_ref());
        if set.current.as_ref().is_some_and(|current| current.values.same_as(&values)) {
            return Err(Failure::failed(format!("{name}: these values are in use already")));
        }
        let staged = set.next_version(values, now);
        if ready.is_some() {
            whole(name, &staged)?;
        }
        let summary = summary(&staged);
        let dropped = set.staged.replace(staged).map(|dropped| dropped.version);
        Ok((summary, dropped))
    })?;
    let ((number, missing), dropped) = staged;
    if let Some(dropped) = dropped {
        writeln!(console.notes, "note: version {dropped} was staged before, and is forgotten")?;
    }
    writeln!(console.out, "{name}: version {number} is staged, and not in use yet")?;
    remark_on_missing(&missing, console)?;
    if ready.is_some() {
        probe(store, name, ready, console)?;
        return finish_rotation(store, name, true, console);
    }
    writeln!(console.notes, "hint: put it into use with `credentials rotate --promote`")?;
    Ok(())
}

/// Probes the staged version, if a probe is asked for.
fn probe(
    store: &SealedStore,
    name: &str,
    ready: Option<Ready<'_>>,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let Some(ready) = ready else { return Ok(()) };
    let document = store.read()?;
    let set = existing(document.sets.get(name), name)?;
    let Some(staged) = &set.staged else { return Err(nothing_staged(name)) };
    let upstream = ready.upstream();
    ready.run(name, &whole(name, staged)?)?;
    writeln!(console.out, "{name}: {upstream} takes version {}", staged.version)?;
    Ok(())
}

/// The seven values of a version that is to be tried.
fn whole(name: &str, staged: &StoredVersion) -> Result<CredentialSet, Failure> {
    staged.to_set().map_err(|problems| {
        Failure::failed(format!("{name}: the staged version cannot be tried: {problems}"))
            .hint("put all seven values into the store, or promote without `--probe`")
    })
}

fn nothing_staged(name: &str) -> Failure {
    Failure::failed(format!("{name}: no version is staged"))
        .hint("stage one with `credentials rotate client_secret`")
}

fn finish_rotation(
    store: &SealedStore,
    name: &str,
    promote: bool,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let number = store.update(|document| {
        let set = existing_mut(document.sets.get_mut(name), name)?;
        let staged = set.staged.as_ref().map(|staged| staged.version);
        let Some(number) = staged else {
            return Err(nothing_staged(name));
        };
        if promote {
            set.promote();
        } else {
            set.staged = None;
        }
        Ok(number)
    })?;
    if promote {
        writeln!(console.out, "{name}: version {number} is in use")?;
        writeln!(
            console.notes,
            "hint: once the old secret is revoked, forget it with `credentials remove --previous`"
        )?;
    } else {
        writeln!(console.out, "{name}: version {number} is forgotten")?;
    }
    Ok(())
}

fn go_back(store: &SealedStore, name: &str, console: &mut Console<'_>) -> Result<(), Failure> {
    let number = store.update(|document| {
        let set = existing_mut(document.sets.get_mut(name), name)?;
        set.go_back().ok_or_else(|| {
            Failure::failed(format!("{name}: there is no previous version to return to"))
        })
    })?;
    writeln!(console.out, "{name}: version {number} is in use again")?;
    writeln!(console.notes, "hint: `credentials rotate --back` once more undoes this")?;
    Ok(())
}

pub(super) fn remove(
    store: &SealedStore,
    name: &str,
    args: &RemoveArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    if !args.previous && !args.all {
        return Err(Failure::usage("say what to remove: `--previous` or `--all`").hint(
            "`--previous` removes the version before the one in use, `--all` the whole set",
        ));
    }
    if args.all && !args.yes && console.is_terminal() {
        existing(store.read()?.sets.get(name), name)?;
        if !is_sure(console, &format!("`{name}` goes, with all its versions"))? {
            return Err(Failure::failed("nothing was removed"));
        }
    }
    let removed = store.update(|document| {
        if args.all {
            existing(document.sets.get(name), name)?;
            document.sets.remove(name);
            return Ok::<_, Failure>(None);
        }
        let set = existing_mut(document.sets.get_mut(name), name)?;
        match set.previous.take() {
            Some(version) => Ok(Some(version.version)),
            None => Err(Failure::failed(format!("{name}: there is no previous version"))),
        }
    })?;
    match removed {
        Some(number) => writeln!(console.out, "{name}: version {number} is removed")?,
        None => writeln!(console.out, "{name}: removed with all its versions")?,
    }
    Ok(())
}

/// All values given, from every source.
fn new_values(args: &ValueArgs, console: &mut Console<'_>) -> Result<StoredValues, Failure> {
    if args.is_empty() && console.is_terminal() {
        return ask_for_set(console);
    }
    if args.is_empty() {
        return Err(Failure::usage("no values are given")
            .hint("`credentials set client_secret` reads the secret from standard input"));
    }
    let mut values = StoredValues::default();
    if let Some(folder) = &args.from_directory {
        values = values_from_directory(folder)?;
        if values.is_empty() {
            return Err(Failure::failed(format!(
                "{} holds no file that is named like one of the seven values",
                folder.display()
            )));
        }
    }
    if let Some(path) = &args.from_json {
        let text =
            if path == Path::new("-") { console.read_json()? } else { read_json_file(path)? };
        let read = values_from_json(&text)?;
        if read.is_empty() {
            return Err(Failure::failed("the JSON object holds none of the seven values"));
        }
        values = read.over_values(values);
    }
    for (name, text) in args.identifiers() {
        let value = SecretText::parse(text.as_bytes())
            .map_err(|problem| Failure::usage(format!("`{name}` {problem}")))?;
        values.insert(name, value);
    }
    if let Some(name) = args.value {
        values.insert(name, console.read_value(name)?);
    }
    Ok(values)
}

fn existing<'a>(set: Option<&'a StoredSet>, name: &str) -> Result<&'a StoredSet, Failure> {
    set.ok_or_else(|| no_set(name))
}

fn existing_mut<'a>(
    set: Option<&'a mut StoredSet>,
    name: &str,
) -> Result<&'a mut StoredSet, Failure> {
    set.ok_or_else(|| no_set(name))
}

fn no_set(name: &str) -> Failure {
    Failure::failed(format!("the store holds no set `{name}`"))
        .hint("`credentials show` lists the sets, `credentials set` makes one")
}

/// The number of a version, and the values it leaves to the configuration.
fn summary(version: &StoredVersion) -> (u64, Vec<ValueName>) {
    let missing = ValueName::ALL.into_iter().filter(|name| version.values.get(*name).is_none());
    (version.version, missing.collect())
}

fn remark_on_missing(missing: &[ValueName], console: &mut Console<'_>) -> Result<(), Failure> {
    if missing.is_empty() {
        return Ok(());
    }
    let names: Vec<_> = missing.iter().map(|name| format!("`{name}`")).collect();
    let place = if missing.iter().any(|name| name.is_secret()) {
        "they are needed before the set can be used"
    } else {
        "put them in as well, or into the configuration"
    };
    writeln!(console.notes, "hint: not in the store: {}; {place}", names.join(", "))?;
    Ok(())
}

/// Whole seconds are enough for people.
pub(super) fn second(time: Timestamp) -> Timestamp {
    time.round(jiff::Unit::Second).unwrap_or(time)
}
