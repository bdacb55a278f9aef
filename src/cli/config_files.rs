//! `--config FILE …`, for every command that reads the gateway's files.

use std::{env, path::PathBuf};

use crate::{
    config::{self, Loaded, Problems},
    telemetry::LogFormat,
};

/// Where the configuration is.
#[expect(clippy::doc_markdown, reason = "clap shows the text as it is")]
#[derive(Clone, Debug, Default, clap::Args)]
pub struct ConfigFiles {
    /// A configuration file. May be repeated; later files win.
    ///
    /// Without it: the file that PIGELLO_GATEWAY_CONFIG names, then
    /// /etc/pigello-gateway/gateway.toml.
    #[arg(long = "config", value_name = "FILE")]
    pub named: Vec<PathBuf>,
}

impl ConfigFiles {
    /// The files to read.
    pub fn paths(&self) -> Vec<PathBuf> {
        config::config_paths(&self.named, env::var_os(config::CONFIG_VARIABLE))
    }

    /// The format of the log that they ask for, also if there are mistakes elsewhere.
    pub(super) fn log_format(&self) -> Option<LogFormat> {
        config::log_format(&self.paths(), env::vars_os())
    }

    /// Reads and checks them, with the environment over them.
    pub fn load(&self) -> Result<Loaded, Problems> {
        config::load(&self.paths(), env::vars_os())
    }
}
