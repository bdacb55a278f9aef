//! Source `environment`: one variable of this process for each value.
//!
//! The variables are read raw. The configuration's reader would take a secret of digits for a number
//! and quote it in its errors. Nothing changes the environment of a running process, so this source has
//! one version.

use std::{env, ffi::OsString, os::unix::ffi::OsStringExt as _};

use zeroize::Zeroizing;

use crate::credentials::set::{
    CredentialSet, Identifiers, SetBuilder, SetVersion, ValueName, ValueProblems,
};

/// Reads the seven values from the environment.
#[derive(Debug)]
pub(super) struct EnvironmentSource {
    prefix: String,
}

impl EnvironmentSource {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The variable of a value.
    fn variable(&self, name: ValueName) -> String {
        format!("{}{}", self.prefix, name.key().to_ascii_uppercase())
    }

    pub(super) fn read(&self, fixed: &Identifiers) -> Result<CredentialSet, EnvironmentError> {
        self.read_from(|variable| env::var_os(variable), fixed)
    }

    fn read_from(
        &self,
        lookup: impl Fn(&str) -> Option<OsString>,
        fixed: &Identifiers,
    ) -> Result<CredentialSet, EnvironmentError> {
        let mut builder = SetBuilder::default();
        for name in ValueName::ALL {
            if let Some(text) = lookup(&self.variable(name)) {
                builder.offer(name, &Zeroizing::new(text.into_vec()));
            }
        }
        builder
            .into_set(SetVersion::new("environment"), fixed)
            .map_err(|problems| EnvironmentError { prefix: self.prefix.clone(), problems })
    }
}

/// The variables are not a whole set.
#[derive(Debug, thiserror::Error)]
#[error("variables {prefix}CUSTOMER_ID … {prefix}CLIENT_SECRET: {problems}")]
pub struct EnvironmentError {
    prefix: String,
    problems: ValueProblems,
}

impl EnvironmentError {
    /// The problems of the values.
    pub fn problems(&self) -> &ValueProblems {
        &self.problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_raw_text_by_prefix_and_name() {
        let lookup = |variable: &str| {
            let name = variable.strip_prefix("PIGELLO_")?.to_ascii_lowercase();
            ValueName::from_key(&name).map(|_| OsString::from("0012345"))
        };
        let set =
            EnvironmentSource::new("PIGELLO_").read_from(lookup, &Identifiers::new()).unwrap();
        assert_eq!(set.version().as_str(), "environment");
        assert!(set.value(ValueName::ClientSecret).expose_to(|text| text == "0012345"));
    }

    #[test]
    fn an_empty_variable_and_bytes_that_are_no_text_are_named() {
        let lookup = |variable: &str| match variable {
            "X_CLIENT_SECRET" => Some(OsString::new()),
            "X_CUSTOMER_ID" => Some(OsString::from_vec(vec![b'a', 0xff])),
            _ => Some(OsString::from("made-up")),
        };
        let error =
            EnvironmentSource::new("X_").read_from(lookup, &Identifiers::new()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "variables X_CUSTOMER_ID … X_CLIENT_SECRET: `customer_id` holds a character that is \
             not printable ASCII (a line break, perhaps); `client_secret` is empty"
        );
    }
}
