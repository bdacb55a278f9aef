//! Imports values into a store: from a folder with one file for each value, or from JSON.

use std::path::Path;

use super::document::StoredValues;
use crate::{
    credentials::{
        ValueName,
        set::{ValueProblems, ValuesFromJson},
        settings::RefreshSettings,
        sources::directory::{DirectoryError, DirectorySource},
    },
    domain::visible,
};

/// Reads the values of a folder. Passes over files with other names.
pub fn values_from_directory(folder: &Path) -> Result<StoredValues, ImportError> {
    let (_, builder) = DirectorySource::new(folder, RefreshSettings::QUIET).collect()?;
    Ok(StoredValues::from_partial(builder.into_values()?))
}

/// Reads values from a JSON object `{"customer_id": "…", …}`.
pub fn values_from_json(text: &[u8]) -> Result<StoredValues, ImportError> {
    let values: ValuesFromJson = serde_json::from_slice(text).map_err(|error| {
        // The parser's message may quote a value.
        ImportError::Json { line: error.line(), column: error.column() }
    })?;
    if !values.others.is_empty() {
        return Err(ImportError::UnknownNames { names: values.others });
    }
    Ok(StoredValues::from_partial(values.builder.into_values()?))
}

/// Why values cannot be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder cannot be read.
    #[error(transparent)]
    DirectorySource(#[from] DirectoryError),
    /// The text is not a JSON object.
    #[error("line {line}, column {column}: not a JSON object of values by name")]
    Json {
        /// The line of the mistake.
        line: usize,
        /// The column in that line.
        column: usize,
    },
    /// The object has other fields.
    #[error(
        "none of the seven values has the name {}; they are {}",
        names.iter().map(|name| format!("`{}`", visible(name))).collect::<Vec<_>>().join(", "),
        ValueName::ALL.map(ValueName::key).join(", ")
    )]
    UnknownNames {
        /// Their names.
        names: Vec<String>,
    },
    /// Values cannot be used.
    #[error("{0}")]
    Values(ValueProblems),
}

impl From<ValueProblems> for ImportError {
    fn from(problems: ValueProblems) -> Self {
        Self::Values(problems)
    }
}
