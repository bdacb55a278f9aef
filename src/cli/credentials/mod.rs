//! `credentials`: manages the sealed store.
//!
//! Secrets come from standard input or from files, never from an argument: every user of the host
//! can read arguments in the process list. Nothing here prints a value.

mod arguments;
mod console;
mod import;
mod probe;
mod prompt;
mod show;
mod table;
mod write;

pub use arguments::{CredentialsArgs, StorePlace, leave_out_values};
pub use console::Console;
pub(super) use console::read_json_file;
pub(super) use prompt::{Echo, Prompt, ask_for_set};
pub(super) use write::seal;

use std::path::{Path, PathBuf};

use arguments::{Command, StoreArgs};

use super::Failure;
use crate::{
    credentials::sealed::{ImportError, SealedStore, StoreError},
    error::Chain,
};

/// Finds the store of a credential set: from the configuration files and the name of the set.
pub type Locate<'a> = &'a dyn Fn(&[PathBuf], &str) -> Result<StorePlace, String>;

/// Runs the command.
pub fn run(
    args: &CredentialsArgs,
    console: &mut Console<'_>,
    locate: Locate<'_>,
) -> Result<(), Failure> {
    let store = || find(&args.store, locate);
    let name = args.store.set();
    match &args.command {
        Command::Init => write::init(&store()?, console),
        Command::Set(values) => write::set(&store()?, name, values, console),
        Command::Rotate(rotate) => write::rotate(&store()?, &args.store, rotate, console),
        Command::Show(show) => show::show(&store()?, args.store.name.as_deref(), show, console),
        Command::Remove(remove) => write::remove(&store()?, name, remove, console),
        Command::Import(import) => import::run(import, &args.store, console),
    }
}

fn find(args: &StoreArgs, locate: Locate<'_>) -> Result<SealedStore, Failure> {
    if let Some(file) = &args.file {
        return named(file, args);
    }
    let place = locate(&args.config, args.set())
        .map_err(|message| Failure::usage(message).hint("name the store with `--file FILE`"))?;
    let key_file = args.key_file.clone().unwrap_or(place.key_file);
    Ok(SealedStore::new(place.file, key_file))
}

/// The store of `--file`.
fn named(file: &Path, args: &StoreArgs) -> Result<SealedStore, Failure> {
    let key_file = args.key_file.clone().unwrap_or_else(|| beside(file));
    if *file == key_file {
        let text = format!("{} would be the store and its key", file.display());
        return Err(Failure::usage(text).hint("name the key with `--key-file FILE`"));
    }
    Ok(SealedStore::new(file, key_file))
}

/// The default key file: `credentials.key` beside `credentials.sealed`.
fn beside(file: &Path) -> PathBuf {
    file.with_extension("key")
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let failure = Self::failed(Chain(&error).to_string());
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<ImportError> for Failure {
    fn from(error: ImportError) -> Self {
        Self::failed(Chain(&error).to_string())
    }
}

#[cfg(test)]
mod tests;
