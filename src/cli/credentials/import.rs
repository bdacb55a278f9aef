//! `credentials import --table`: many sets at once, from a table into the sealed store or into a vault.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{
    Failure,
    arguments::{ImportArgs, StoreArgs},
    console::Console,
    named,
    table::{self, Row, mistake},
    write::second,
};
use crate::{
    cli::{ConfigFiles, failure::Message},
    config::Settings,
    credentials::{
        self, SourceSettings, VaultSettings,
        sealed::{Document, SealedStore, StoredSet, StoredVersion},
    },
    domain::{CredentialsName, ProfileName},
    secret::SecretText,
};

pub(super) fn run(
    args: &ImportArgs,
    place: &StoreArgs,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let target = Target::of(place)?;
    let store = match (&args.print_vault_commands, target.source()) {
        (Some(folder), Some(SourceSettings::Vault(_))) => {
            let rows = target.rows(console)?;
            return print_commands(&rows, &target, folder, console);
        }
        (Some(_), _) => {
            return Err(Failure::usage(
                "`--print-vault-commands` is for credentials with `source = \"vault\"`",
            )
            .hint("name the configuration with `--config FILE`"));
        }
        (None, _) => target.store(place)?,
    };
    // Before the table is read: nobody should send it to learn that the key file is missing.
    store.read()?;
    let rows = target.rows(console)?;
    let changes = if args.dry_run {
        apply(&rows, &target, &mut store.read()?)?
    } else {
        store.update(|document| apply(&rows, &target, document))?
    };
    tell(&changes, args.dry_run, console)
}

/// What the sets are for.
struct Target(Option<(Settings, CredentialsName)>);

impl Target {
    /// Of a configuration, the credentials that `--name` names, or the only ones of a template. With `--file` alone
    /// nothing is known of them.
    fn of(place: &StoreArgs) -> Result<Self, Failure> {
        if place.file.is_some() && place.config.is_empty() {
            return Ok(Self(None));
        }
        let settings = ConfigFiles { named: place.config.clone() }.load()?.settings;
        let templates = settings.profiles.iter().filter(|(name, _)| name.template().is_some());
        let mut sets: Vec<_> = templates.map(|(_, table)| table.credentials.clone()).collect();
        sets.sort();
        sets.dedup();
        if let Some(name) = &place.name {
            sets.retain(|set| set.as_str() == name);
        }
        let names: Vec<_> = sets.iter().map(|set| format!("`{set}`")).collect();
        match <[CredentialsName; 1]>::try_from(sets) {
            Ok([set]) => Ok(Self(Some((settings, set)))),
            Err(none) if none.is_empty() => Err(Failure::usage(
                "no template of the configuration has such credentials",
            )
            .hint(
                "a template is a profile whose name ends in `*`, like [profiles.\"customer-*\"]",
            )),
            Err(_) => Err(Failure::usage("the configuration has several templates")
                .hint(format!("choose credentials with `--name`: {}", names.join(", ")))),
        }
    }

    fn set(&self) -> Option<&credentials::Settings> {
        let (settings, name) = self.0.as_ref()?;
        settings.credentials.get(name)
    }

    fn source(&self) -> Option<&SourceSettings> {
        self.set().map(|set| &set.source)
    }

    /// The sealed store.
    fn store(&self, place: &StoreArgs) -> Result<SealedStore, Failure> {
        match (&place.file, self.source()) {
            (Some(file), _) => named(file, place),
            (None, Some(SourceSettings::Sealed { file, key_file })) => {
                Ok(SealedStore::new(file, place.key_file.as_ref().unwrap_or(key_file)))
            }
            (None, Some(SourceSettings::Vault(_))) => Err(Failure::usage(
                "these credentials are in a vault",
            )
            .hint("`--print-vault-commands DIR` makes the commands that put the table there")),
            (None, _) => Err(Failure::usage("these credentials do not come from a sealed store")
                .hint("name a store with `--file FILE`")),
        }
    }

    /// The rows of standard input, each for a profile that there is.
    fn rows(&self, console: &mut Console<'_>) -> Result<Vec<Row>, Failure> {
        let rows = table::read(&console.read_table()?).map_err(refused)?;
        let mistakes: Vec<_> = rows
            .iter()
            .filter(|row| !self.takes(&row.profile))
            .map(|row| {
                mistake(row.line, "column `profile`: no template with these credentials matches it")
            })
            .collect();
        if mistakes.is_empty() { Ok(rows) } else { Err(refused(mistakes)) }
    }

    /// Whether a profile has these credentials.
    fn takes(&self, profile: &ProfileName) -> bool {
        let Some((settings, set)) = &self.0 else { return true };
        let found = settings.profile(profile);
        found.is_some_and(|(name, table)| name.template().is_some() && table.credentials == *set)
    }

    /// Whether the values of a row are whole, with those of the configuration.
    fn check(&self, row: &Row, version: &StoredVersion) -> Result<(), Message> {
        let Some(set) = self.set() else { return Ok(()) };
        let whole = version.to_set_with(&set.fixed).map(drop);
        whole.map_err(|problems| mistake(row.line, problems))
    }
}

/// What becomes of a row.
struct Change {
    profile: ProfileName,
    /// The new version; `None` if the store has these values.
    version: Option<u64>,
    is_new: bool,
}

/// Puts the rows into the document, or says everything that is wrong.
fn apply(rows: &[Row], target: &Target, document: &mut Document) -> Result<Vec<Change>, Failure> {
    let now = second(Timestamp::now());
    let (mut changes, mut mistakes) = (Vec::new(), Vec::new());
    for row in rows {
        let set = document.sets.entry(row.profile.to_string()).or_insert_with(StoredSet::empty);
        let is_new = set.current.is_none();
        let values = row.values.clone().over(set.current.as_ref());
        let is_same = set.current.as_ref().is_some_and(|current| current.values.same_as(&values));
        if !is_same {
            set.replace_current(values, now);
        }
        if let Some(current) = &set.current {
            mistakes.extend(target.check(row, current).err());
            let version = (!is_same).then_some(current.version);
            changes.push(Change { profile: row.profile.clone(), version, is_new });
        }
    }
    if mistakes.is_empty() { Ok(changes) } else { Err(refused(mistakes)) }
}

fn tell(changes: &[Change], is_dry: bool, console: &mut Console<'_>) -> Result<(), Failure> {
    for Change { profile, version, is_new } in changes {
        let Some(version) = version else { continue };
        let kind = if *is_new { "new" } else { "changed" };
        if is_dry {
            writeln!(console.out, "{profile}: would be version {version} ({kind})")?;
        } else {
            writeln!(console.out, "{profile}: version {version} is in use ({kind})")?;
        }
    }
    let changed = changes.iter().filter(|change| change.version.is_some());
    let new = changed.clone().filter(|change| change.is_new).count();
    let (all, changed) = (changes.len(), changed.count());
    writeln!(
        console.out,
        "{all} rows: {new} new, {} changed, {} unchanged",
        changed - new,
        all - changed
    )?;
    if is_dry {
        writeln!(console.notes, "nothing was written")?;
    }
    Ok(())
}

/// Writes a file for each row, and prints the commands that send them to the vault.
fn print_commands(
    rows: &[Row],
    target: &Target,
    folder: &Path,
    console: &mut Console<'_>,
) -> Result<(), Failure> {
    let now = second(Timestamp::now());
    let whole = |row: &Row| {
        let version = StoredVersion { version: 1, created: now, values: row.values.clone() };
        target.check(row, &version).err()
    };
    let mistakes: Vec<_> = rows.iter().filter_map(whole).collect();
    if !mistakes.is_empty() {
        return Err(refused(mistakes));
    }
    let failed = |error: io::Error| {
        Failure::failed(format!("{}: {error}; nothing was imported", folder.display()))
    };
    fs::DirBuilder::new().mode(0o700).create(folder).map_err(failed)?;
    let files = rows.iter().map(|row| write_values(row, folder)).collect::<io::Result<Vec<_>>>();
    let files = files.map_err(|error| {
        drop(fs::remove_dir_all(folder));
        failed(error)
    })?;
    for (row, file) in rows.iter().zip(files) {
        let set = target.set().map(|set| set.for_member(&row.profile));
        let Some(SourceSettings::Vault(vault)) = set.map(|set| set.source) else { continue };
        writeln!(console.out, "{} - < {}", put(&vault), shell_word(&file.display().to_string()))?;
    }
    writeln!(
        console.notes,
        "hint: run these where `bao` (or `vault`) is logged in, then remove {}: it has the secrets in clear",
        folder.display()
    )?;
    Ok(())
}

/// The command that puts a secret into the vault.
fn put(vault: &VaultSettings) -> String {
    let namespace =
        vault.server.namespace.iter().map(|it| format!("-namespace={}", shell_word(it)));
    let mount = format!("-mount={}", shell_word(vault.mount.trim_matches('/')));
    let path = shell_word(vault.path.trim_matches('/'));
    let words = ["bao kv put".to_owned()].into_iter().chain(namespace).chain([mount, path]);
    words.collect::<Vec<_>>().join(" ")
}

fn write_values(row: &Row, folder: &Path) -> io::Result<PathBuf> {
    // Sized for the worst case, because a buffer that grows leaves copies behind.
    let length = |value: &SecretText| value.expose_to(|text| text.len() * 2 + 64);
    let size: usize = row.values.iter().map(|(_, value)| length(value)).sum();
    let mut text = Zeroizing::new(Vec::with_capacity(size + 64));
    serde_json::to_writer(&mut *text, &row.values)?;
    let path = folder.join(format!("{}.json", row.profile));
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    file.write_all(&text)?;
    Ok(path)
}

/// A word of a shell's command line.
fn shell_word(text: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn refused(mut mistakes: Vec<Message>) -> Failure {
    let more = mistakes.len().saturating_sub(MOST_MISTAKES);
    mistakes.truncate(MOST_MISTAKES);
    if more > 0 {
        mistakes.push(Message::new(format!("{more} more lines have mistakes"), None));
    }
    Failure::Mistakes(mistakes, "nothing was imported")
}

/// More of them do not help.
const MOST_MISTAKES: usize = 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_a_command_stays_one() {
        for (text, word) in
            [("pigello/acme", "pigello/acme"), ("a b", "'a b'"), ("it's", r"'it'\''s'"), ("", "''")]
        {
            assert_eq!(shell_word(text), word);
        }
    }
}
