//! The options that say where the trail is.

use std::path::{Path, PathBuf};

use clap::Args;

/// The location of the trail.
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
    /// The directory, or else the configuration files.
    pub(super) fn get(&self) -> Result<&Path, &[PathBuf]> {
        self.directory.as_deref().ok_or(&self.config)
    }
}
