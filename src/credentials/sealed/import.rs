//! Values that are brought into a store: from a folder with one file a value, or from JSON.

use std::path::Path;

use super::StoredValues;
use crate::credentials::{
    DirectoryError, RefreshSettings, ValueProblems, directory::Directory,
    json_value::IncomingValues,
};

/// Reads the values that a folder holds, one file each. Files of other names are left alone.
pub fn values_from_directory(folder: &Path) -> Result<StoredValues, ImportError> {
    let (_, gathered) = Directory::new(folder, RefreshSettings::QUIET).gather()?;
    Ok(StoredValues::from_partial(gathered.into_values()?))
}

/// Reads values from a JSON object `{"customer_id": "…", …}`.
pub fn values_from_json(text: &[u8]) -> Result<StoredValues, ImportError> {
    let values: IncomingValues = serde_json::from_slice(text).map_err(|error| {
        // The parser's own words may quote a value.
        ImportError::Json { line: error.line(), column: error.column() }
    })?;
    if !values.others.is_empty() {
        return Err(ImportError::UnknownNames { names: values.others });
    }
    Ok(StoredValues::from_partial(values.gathered.into_values()?))
}

/// Why values cannot be brought in.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The folder cannot be read.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It is no JSON object.
    #[error("line {line}, column {column}: not a JSON object of values by name")]
    Json {
        /// Where.
        line: usize,
        /// Where in that line.
        column: usize,
    },
    /// There is more in it than the seven.
    #[error("{names:?} are none of the seven values")]
    UnknownNames {
        /// The names.
        names: Vec<String>,
    },
    /// Values that cannot be used.
    #[error("{0}")]
    Values(ValueProblems),
}

impl From<ValueProblems> for ImportError {
    fn from(problems: ValueProblems) -> Self {
        Self::Values(problems)
    }
}
