//! Why an `audit` command fails.

use std::{io, path::PathBuf};

use jiff::Timestamp;

use crate::{
    audit::{KeyError, ResendError, TrailReadError, VerifyError},
    cli::Failure,
    domain::visible,
    error::Chain,
};

/// Why an `audit` command fails.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The directory does not exist.
    #[error("there is no audit trail at {}", path.display())]
    NoDirectory {
        /// The directory.
        path: PathBuf,
    },
    /// The trail cannot be read.
    #[error(transparent)]
    Read(#[from] TrailReadError),
    /// A key cannot be read.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A file of the command line cannot be read.
    #[error("{} cannot be read", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A file of the command line cannot be written.
    #[error("{} cannot be read or written", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A bundle cannot be made.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A caller that no record and no configuration names.
    #[error(
        "there is no caller `{}`: no record names it, and no entry of the configuration",
        visible(name)
    )]
    UnknownCaller {
        /// The name.
        name: String,
        /// The names that are near.
        hint: Option<String>,
    },
    /// An operation that no record and no catalogue names.
    #[error(
        "there is no operation `{}`: no record names it, and it is not in the catalogue",
        visible(name)
    )]
    UnknownOperation {
        /// The name or pattern.
        name: String,
        /// The names that are near.
        hint: Option<String>,
    },
    /// A period that ends before it begins.
    #[error("the period ends before it begins: --since is {since}, and --until is {until}")]
    EmptyPeriod {
        /// Its beginning.
        since: Timestamp,
        /// Its end.
        until: Timestamp,
    },
    /// There is no collector to send lines to.
    #[error(
        "the configuration names no collector (`telemetry.otlp_endpoint`); give it with `--config`"
    )]
    NoCollector,
    /// The collector does not take the lines.
    #[error(transparent)]
    Resend(#[from] ResendError),
    /// The lines on standard input cannot be used.
    #[error(transparent)]
    Input(VerifyError),
    /// The output cannot be written.
    #[error("the output cannot be written")]
    Output(#[source] io::Error),
}

impl AuditError {
    /// Whether the command line names something that cannot be used.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::NoDirectory { .. }
            | Self::Read(_)
            | Self::Key(_)
            | Self::Unreadable { .. }
            | Self::UnknownCaller { .. }
            | Self::UnknownOperation { .. }
            | Self::EmptyPeriod { .. } => true,
            Self::Bundle(error) => !matches!(error, BundleError::Changed),
            _ => false,
        }
    }

    /// What to do.
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::UnknownCaller { hint, .. } | Self::UnknownOperation { hint, .. } => {
                hint.as_deref()
            }
            _ => None,
        }
    }
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        let text = Chain(&error).to_string();
        let failure = if error.is_usage() { Self::usage(text) } else { Self::failed(text) };
        match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
    }
}

impl From<VerifyError> for AuditError {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Read(error) => Self::Read(error),
            VerifyError::Key(error) => Self::Key(error),
            error @ (VerifyError::Input(_) | VerifyError::NotSorted { .. }) => Self::Input(error),
        }
    }
}

/// Why a bundle cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// What is there is no file: a folder, a link, a device.
    #[error("{} is no file to replace", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// There is a file where the bundle would be written.
    #[error("{} exists; name another file, or replace it with --force", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The key that should sign the manifest cannot be used.
    #[error("the manifest cannot be signed")]
    SigningKey(#[source] KeyError),
    /// The files of the trail were deleted or replaced during the export.
    #[error("the trail changed while it was exported; export it again")]
    Changed,
}
