//! Makes a set of a source's values and the configuration's identifiers, or lists all that is wrong.

use std::fmt;

use super::{CredentialSet, Identifiers, IncompleteSet, PartialSet, SetVersion, ValueName};
use crate::secret::{SecretText, SecretTextError};

/// The values of a source, and what is wrong with them.
#[derive(Debug, Default)]
pub(in crate::credentials) struct SetBuilder {
    values: PartialSet,
    problems: Vec<ValueProblem>,
}

impl SetBuilder {
    /// Adds the raw text of a value. Notes a problem with it: an empty file is a mistake, not an absent
    /// value.
    pub(in crate::credentials) fn offer(&mut self, name: ValueName, raw: &[u8]) {
        match SecretText::parse(raw) {
            Ok(value) => self.values.insert(name, value),
            Err(problem) => self.refuse(name, ValueTrouble::Text(problem)),
        }
    }

    /// Adds a parsed value.
    pub(in crate::credentials) fn take(&mut self, name: ValueName, value: SecretText) {
        self.values.insert(name, value);
    }

    /// Notes a problem with a value.
    pub(in crate::credentials) fn refuse(&mut self, name: ValueName, trouble: ValueTrouble) {
        self.problems.push(ValueProblem { name, trouble });
    }

    /// The source's values, if there is no problem with any.
    pub(in crate::credentials) fn into_values(mut self) -> Result<PartialSet, ValueProblems> {
        if self.problems.is_empty() {
            return Ok(self.values);
        }
        self.problems.sort_by_key(|problem| problem.name);
        Err(ValueProblems(self.problems))
    }

    /// Adds the identifiers of the configuration and makes the set, or returns all problems.
    pub(in crate::credentials) fn into_set(
        mut self,
        version: SetVersion,
        fixed: &Identifiers,
    ) -> Result<CredentialSet, ValueProblems> {
        for name in ValueName::ALL {
            let Some(text) = fixed.get(name) else { continue };
            let Ok(value) = SecretText::parse(text.as_bytes()) else { continue };
            match self.values.get(name) {
                // Which of the two is right cannot be known.
                Some(given) if !given.same_as(&value) => self.refuse(name, ValueTrouble::Conflict),
                Some(_) => {}
                None => self.values.insert(name, value),
            }
        }
        for name in ValueName::ALL {
            let noted = self.problems.iter().any(|problem| problem.name == name);
            if self.values.get(name).is_none() && !noted {
                self.refuse(name, ValueTrouble::Missing);
            }
        }
        if !self.problems.is_empty() {
            self.problems.sort_by_key(|problem| problem.name);
            return Err(ValueProblems(self.problems));
        }
        CredentialSet::new(version, self.values).map_err(|incomplete| {
            ValueProblems(match incomplete {
                IncompleteSet::Missing(names) => names
                    .into_iter()
                    .map(|name| ValueProblem { name, trouble: ValueTrouble::Missing })
                    .collect(),
                IncompleteSet::Invalid { name, problem } => {
                    vec![ValueProblem { name, trouble: ValueTrouble::Text(problem) }]
                }
            })
        })
    }
}

/// All problems of a set. They name values and never show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueProblems(Vec<ValueProblem>);

impl ValueProblems {
    /// The problems, in the order of [`ValueName::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = &ValueProblem> {
        self.0.iter()
    }
}

impl fmt::Display for ValueProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}`{}` {}", problem.name, problem.trouble)?;
        }
        Ok(())
    }
}

/// A problem of one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueProblem {
    /// The value.
    pub name: ValueName,
    /// The problem.
    pub trouble: ValueTrouble,
}

/// A reason why a value cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueTrouble {
    /// Neither the source nor the configuration has it.
    #[error("is missing")]
    Missing,
    /// The text cannot be a value.
    #[error("{0}")]
    Text(SecretTextError),
    /// The source has a number, a list or the like.
    #[error("is not text; write it in quotation marks")]
    NotText,
    /// The JSON object has it more than once.
    #[error("stands there twice")]
    Twice,
    /// The path is a folder, a pipe or a device.
    #[error("is not a regular file")]
    NotAFile,
    /// This process may not read the file.
    #[error("may not be read by this process")]
    Denied,
    /// The configuration and the source disagree.
    #[error("stands in the configuration and in the source, with different values")]
    Conflict,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version() -> SetVersion {
        SetVersion::new("1")
    }

    #[test]
    fn every_problem_is_told_at_once_and_no_value() {
        let mut builder = SetBuilder::default();
        builder.offer(ValueName::ClientSecret, b"\n");
        builder.offer(ValueName::CustomerId, b"made-up-1");
        builder.offer(ValueName::ServiceId, b"made-up-2");
        builder.refuse(ValueName::ClientCt, ValueTrouble::NotText);
        let mut fixed = Identifiers::new();
        fixed.insert(ValueName::ServiceId, "another").unwrap();
        fixed.insert(ValueName::CustomerId, "made-up-1").unwrap();
        let problems = builder.into_set(version(), &fixed).unwrap_err();
        assert_eq!(
            problems.to_string(),
            "`application_id` is missing; `service_id` stands in the configuration and in the \
             source, with different values; `service_version_id` is missing; `client_ct` is not \
             text; write it in quotation marks; `client_object_id` is missing; `client_secret` is \
             empty"
        );
    }

    #[test]
    fn the_configuration_fills_what_the_source_leaves_out() {
        let mut builder = SetBuilder::default();
        builder.offer(ValueName::ClientSecret, b"made-up-secret");
        let mut fixed = Identifiers::new();
        for name in ValueName::ALL.into_iter().filter(|name| !name.is_secret()) {
            fixed.insert(name, "made-up").unwrap();
        }
        let set = builder.into_set(version(), &fixed).unwrap();
        assert!(set.value(ValueName::ClientSecret).expose_to(|text| text == "made-up-secret"));
        assert!(set.value(ValueName::ServiceId).expose_to(|text| text == "made-up"));
    }
}
