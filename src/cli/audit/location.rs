//! Where the trails are: the options that say so, and what the configuration knows of them.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use clap::Args;

use super::error::AuditError;
use crate::{
    config::Settings,
    domain::{Operation, PolicyId, ProfileName, ProfilePattern, builtin_operations},
    outbound::CollectorSettings,
};

/// The location of one trail.
#[derive(Clone, Debug, Default, Args)]
pub struct TrailLocation {
    /// A configuration file, for the directory it names; may be repeated, later files win
    #[arg(long, value_name = "FILE", conflicts_with = "directory")]
    config: Vec<PathBuf>,
    /// The trail's directory
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl TrailLocation {
    /// Whether the command line names one.
    pub(super) fn is_given(&self) -> bool {
        self.directory.is_some() || !self.config.is_empty()
    }

    /// The directory, or else the configuration files.
    pub(super) fn get(&self) -> Result<&[PathBuf], &[PathBuf]> {
        self.directory.as_ref().map(std::slice::from_ref).ok_or(&self.config)
    }
}

/// The location of one trail, or of several that are read as one.
#[derive(Clone, Debug, Default, Args)]
pub struct TrailLocations {
    /// A configuration file, for the directory and the callers it names; may be repeated, later files win
    #[arg(long, value_name = "FILE", conflicts_with = "directories")]
    config: Vec<PathBuf>,
    /// The trail's directory; more of them, such as those of replicas, are read as one trail, by time
    #[arg(long = "directory", value_name = "DIR", num_args = 1..)]
    directories: Vec<PathBuf>,
}

impl TrailLocations {
    /// The directories, or else the configuration files.
    pub(super) fn get(&self) -> Result<&[PathBuf], &[PathBuf]> {
        if self.directories.is_empty() { Err(&self.config) } else { Ok(&self.directories) }
    }
}

/// The trails that a command reads, and the names that the configuration gives.
#[derive(Debug)]
pub struct Trails {
    directories: Vec<PathBuf>,
    /// The callers of the configuration, if there is one.
    pub(super) callers: Vec<String>,
    /// The operations: built-in ones, and those of the configuration.
    pub(super) operations: Vec<Operation>,
    /// The templates of the configuration, if there are any.
    pub(super) templates: Vec<ProfilePattern>,
    /// The file of the key that signs checkpoints, if a configuration names the trail.
    pub(super) signing_key: Option<PathBuf>,
    /// The effective configuration, as `config show` prints it.
    pub(super) configuration: Option<String>,
    /// The identifier of that configuration.
    pub(super) policy: Option<PolicyId>,
    /// The collector of the configuration, if there is one.
    pub(super) collector: Option<CollectorSettings>,
}

impl Trails {
    /// Trails without a configuration.
    pub fn at(directories: &[PathBuf]) -> Self {
        let operations = builtin_operations().collect();
        Self {
            directories: distinct(directories),
            callers: Vec::new(),
            operations,
            templates: Vec::new(),
            signing_key: None,
            configuration: None,
            policy: None,
            collector: None,
        }
    }

    /// The trail of a configuration.
    pub fn of(settings: &Settings) -> Self {
        let entries = settings.callers.iter().map(|rule| rule.name.to_string());
        let names = settings.listeners.iter().filter_map(|listener| listener.caller.as_ref());
        Self {
            directories: vec![settings.audit.directory.clone()],
            callers: entries.chain(names.map(ToString::to_string)).collect(),
            operations: settings.catalog.operations().iter().map(|one| (**one).clone()).collect(),
            templates: settings.profiles.keys().filter_map(ProfileName::template).collect(),
            signing_key: Some(settings.audit.signing_key_path()),
            configuration: None,
            policy: Some(settings.revision.policy_id()),
            collector: settings.telemetry.collector(),
        }
    }

    /// With the text of the configuration.
    #[must_use]
    pub fn configured(self, configuration: String) -> Self {
        Self { configuration: Some(configuration), ..self }
    }

    /// At these directories, if there are any.
    #[must_use]
    pub(in crate::cli) fn or_at(mut self, directories: &[PathBuf]) -> Self {
        if !directories.is_empty() {
            self.directories = distinct(directories);
        }
        self
    }

    /// The directories, which are there.
    pub(super) fn directories(&self) -> Result<&[PathBuf], AuditError> {
        match self.directories.iter().find(|directory| !directory.is_dir()) {
            Some(path) => Err(AuditError::NoDirectory { path: path.clone() }),
            None => Ok(&self.directories),
        }
    }

    /// The only trail, of a command that reads one.
    pub(super) fn one(&self) -> Result<&Path, AuditError> {
        Ok(self.directories()?.first().map_or(Path::new(""), PathBuf::as_path))
    }
}

/// Each directory once, however often and by whatever paths it is named: a shell's pattern may match a link to it, too.
fn distinct(directories: &[PathBuf]) -> Vec<PathBuf> {
    let mut known = BTreeSet::new();
    let place = |directory: &PathBuf| fs::canonicalize(directory).unwrap_or(directory.clone());
    directories.iter().filter(|directory| known.insert(place(directory))).cloned().collect()
}
