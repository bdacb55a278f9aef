//! The arguments of `credentials`.

use std::path::PathBuf;

use clap::{
    ArgAction, Args, Subcommand,
    error::{ContextKind, ContextValue},
};

use super::probe::ProbeArgs;
use crate::credentials::ValueName;

/// The set used when none is named.
const DEFAULT_SET: &str = "production";

/// Manage the sealed store: an encrypted file with credential sets, and the key that opens it.
///
/// A configuration uses a set with `source = "sealed"`; the table `[credentials.production]` uses
/// the set `production`. The file is an age file: `age -d -i KEY_FILE STORE` opens it as well.
#[derive(Clone, Debug, Args)]
pub struct CredentialsArgs {
    #[command(flatten)]
    pub(super) store: StoreArgs,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Which store, and which set in it.
#[derive(Clone, Debug, Args)]
pub(super) struct StoreArgs {
    /// The store
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// The key of the store [default: the store's name with the extension `.key`]
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) key_file: Option<PathBuf>,
    /// Take store and key from this configuration (may be repeated, later files win); with `--file`, only the
    /// audit trail that `--probe` writes to
    #[arg(long, global = true, value_name = "FILE", action = ArgAction::Append)]
    pub(super) config: Vec<PathBuf>,
    /// The credential set [default: production]
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) name: Option<String>,
}

impl StoreArgs {
    /// The set of the command.
    pub(super) fn set(&self) -> &str {
        self.name.as_deref().unwrap_or(DEFAULT_SET)
    }
}

/// The location of a store, from a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorePlace {
    /// The store.
    pub file: PathBuf,
    /// Its key.
    pub key_file: PathBuf,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum Command {
    /// Make an empty store and its key, both readable by you alone
    Init,
    /// Put values into a set and use them at once
    ///
    /// On a terminal, without options, it asks for all seven values. The secret is read from standard input
    /// (`set client_secret`, with a prompt on a terminal) or from files; identifiers may be given as options.
    /// What is not given stays as it is.
    Set(ValueArgs),
    /// Stage a new version of a set beside the one in use, try it, and put it into use
    ///
    /// `rotate client_secret` stages what it reads; `rotate --promote` puts it into use. With
    /// `--probe https://api.pigello.io` both happen in one go, if Pigello takes the new version.
    /// `rotate --back` returns to the version before.
    Rotate(RotateArgs),
    /// Put a table of many sets into the store, or all into a vault
    ///
    /// The table is CSV on standard input. Its header names the columns, in any order: `profile`, and the values,
    /// such as `customer_id` and `client_secret`. Each row becomes the set of a profile: a member of the template whose
    /// credentials the configuration names. All rows are written or none, and only what changes gets a new version.
    Import(ImportArgs),
    /// Show names, versions, ages and fingerprints; never a value
    Show(ShowArgs),
    /// Remove a set, or one version of it
    Remove(RemoveArgs),
}

/// Where new values come from.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ValueArgs {
    /// Read this one value from standard input
    #[arg(value_name = "VALUE", value_parser = parse_value_name)]
    pub(super) value: Option<ValueName>,
    /// Read values from a folder with one file a value, named like the values
    #[arg(long, value_name = "DIR")]
    pub(super) from_directory: Option<PathBuf>,
    /// Read values from a JSON object, each under its name; `-` is standard input
    #[arg(long, value_name = "FILE", conflicts_with = "value")]
    pub(super) from_json: Option<PathBuf>,
    /// The identifier of Pigello's customer
    #[arg(long, value_name = "TEXT")]
    pub(super) customer_id: Option<String>,
    /// The identifier of the application
    #[arg(long, value_name = "TEXT")]
    pub(super) application_id: Option<String>,
    /// The identifier of the service
    #[arg(long, value_name = "TEXT")]
    pub(super) service_id: Option<String>,
    /// The identifier of the service's version
    #[arg(long, value_name = "TEXT")]
    pub(super) service_version_id: Option<String>,
    /// The content type of the client object
    #[arg(long, value_name = "TEXT")]
    pub(super) client_ct: Option<String>,
    /// The identifier of the client object
    #[arg(long, value_name = "TEXT")]
    pub(super) client_object_id: Option<String>,
}

impl ValueArgs {
    /// The identifiers given as options.
    pub(super) fn identifiers(&self) -> impl Iterator<Item = (ValueName, &str)> {
        [
            (ValueName::CustomerId, &self.customer_id),
            (ValueName::ApplicationId, &self.application_id),
            (ValueName::ServiceId, &self.service_id),
            (ValueName::ServiceVersionId, &self.service_version_id),
            (ValueName::ClientCt, &self.client_ct),
            (ValueName::ClientObjectId, &self.client_object_id),
        ]
        .into_iter()
        .filter_map(|(name, text)| Some((name, text.as_deref()?)))
    }

    /// Whether no values are given.
    pub(super) fn is_empty(&self) -> bool {
        self.value.is_none()
            && self.from_directory.is_none()
            && self.from_json.is_none()
            && self.identifiers().next().is_none()
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct RotateArgs {
    #[command(flatten)]
    pub(super) values: ValueArgs,
    /// Use the staged version from now on; the one in use becomes the previous one
    #[arg(long, conflicts_with = "discard")]
    pub(super) promote: bool,
    /// Forget the staged version
    #[arg(long, conflicts_with = "probe")]
    pub(super) discard: bool,
    /// Use the previous version from now on; the one in use becomes the previous one
    #[arg(long, conflicts_with_all = ["promote", "discard", "probe"])]
    pub(super) back: bool,
    #[command(flatten)]
    pub(super) probe: ProbeArgs,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ImportArgs {
    /// Read a table from standard input
    #[arg(long, required = true)]
    pub(super) table: bool,
    /// Say what would change, and write nothing
    #[arg(long, conflicts_with = "print_vault_commands")]
    pub(super) dry_run: bool,
    /// For `source = "vault"`: write a JSON file for each row into this new folder, readable by you alone, and print
    /// the commands that put them into the vault
    #[arg(long, value_name = "DIR")]
    pub(super) print_vault_commands: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct ShowArgs {
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Key the fingerprints with this text instead of the store's own, to compare two stores
    #[arg(long, value_name = "TEXT")]
    pub(super) salt: Option<String>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct RemoveArgs {
    /// Remove the previous version only
    #[arg(long, conflicts_with = "all")]
    pub(super) previous: bool,
    /// Remove the set with all its versions; asks first on a terminal
    #[arg(long)]
    pub(super) all: bool,
    /// Ask nothing
    #[arg(long)]
    pub(super) yes: bool,
}

/// Removes typed values from an error of clap, and returns whether there was one: it may be a secret in the wrong
/// place, and terminal output is kept and passed on. The names of options stay, and what is nearly a word that clap
/// knows, and proposes.
pub fn leave_out_values(error: &mut clap::Error) -> bool {
    let near =
        [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    if near.iter().any(|kind| error.get(*kind).is_some()) {
        return false;
    }
    let mut is_left_out = false;
    for kind in [ContextKind::InvalidArg, ContextKind::InvalidValue, ContextKind::InvalidSubcommand]
    {
        let is_typed = match error.get(kind) {
            Some(ContextValue::String(text)) => !text.starts_with(['-', '[', '<']),
            _ => false,
        };
        if is_typed {
            error.insert(kind, ContextValue::String("…".to_owned()));
            is_left_out = true;
        }
    }
    is_left_out
}

fn parse_value_name(text: &str) -> Result<ValueName, String> {
    ValueName::from_key(text).ok_or_else(|| {
        let known = ValueName::ALL.map(ValueName::key);
        let nearest = known
            .into_iter()
            .max_by(|a, b| strsim::jaro_winkler(a, text).total_cmp(&strsim::jaro_winkler(b, text)));
        match nearest {
            // The typed value may be a secret in the wrong place, so it is not repeated.
            Some(name) => format!("not one of the seven values; did you mean `{name}`?"),
            None => "not one of the seven values".to_owned(),
        }
    })
}
