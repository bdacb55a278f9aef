//! Seven values from a source and from the configuration, put together or refused in one go.

use std::fmt;

use super::{
    CredentialSet, IncompleteSet, PartialSet, SetVersion, ValueName, settings::Identifiers,
};
use crate::secret::{SecretText, SecretTextError};

/// What a source had to give, and what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct SetBuilder {
    values: PartialSet,
    problems: Vec<ValueProblem>,
}

impl SetBuilder {
    /// Takes what a source holds under a name. A value that cannot be used is noted, not skipped:
    /// an empty file is a mistake, not an absent value.
    pub(super) fn offer(&mut self, name: ValueName, raw: &[u8]) {
        match SecretText::parse(raw) {
            Ok(value) => self.values.insert(name, value),
            Err(problem) => self.refuse(name, ValueTrouble::Text(problem)),
        }
    }

    /// Takes a value that was read already.
    pub(super) fn take(&mut self, name: ValueName, value: SecretText) {
        self.values.insert(name, value);
    }

    /// Notes a value that the source holds in a form that cannot be used.
    pub(super) fn refuse(&mut self, name: ValueName, trouble: ValueTrouble) {
        self.problems.push(ValueProblem { name, trouble });
    }

    /// What was found, if nothing was wrong with any of it.
    pub(super) fn into_values(mut self) -> Result<PartialSet, ValueProblems> {
        if self.problems.is_empty() {
            return Ok(self.values);
        }
        self.problems.sort_by_key(|problem| problem.name);
        Err(ValueProblems(self.problems))
    }

    /// Adds the identifiers of the configuration and makes the set, or says everything that
    /// stands against it.
    pub(super) fn into_set(
        mut self,
        version: SetVersion,
        fixed: &Identifiers,
    ) -> Result<CredentialSet, ValueProblems> {
        for name in ValueName::ALL {
            let Some(text) = fixed.get(name) else { continue };
            let Ok(value) = SecretText::parse(text.as_bytes()) else { continue };
            match self.values.get(name) {
                // Which of the two would be right is not for us to guess.
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

/// Everything that keeps seven values from being a set. Names values, never shows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueProblems(Vec<ValueProblem>);

impl ValueProblems {
    /// One by one, in the order of the seven.
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

/// What is wrong with one value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValueProblem {
    /// Which one.
    pub name: ValueName,
    /// What is wrong.
    pub trouble: ValueTrouble,
}

/// What can be wrong with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ValueTrouble {
    /// Neither the source nor the configuration has it.
    #[error("is missing")]
    Missing,
    /// The source has something that is no value.
    #[error("{0}")]
    Text(SecretTextError),
    /// The source has a number, a list or the like.
    #[error("is not text; write it in quotation marks")]
    NotText,
    /// The file is a folder, a pipe, a device.
    #[error("is not a regular file")]
    NotAFile,
    /// The file is there and this process may not read it.
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
        let mut gathered = SetBuilder::default();
        gathered.offer(ValueName::ClientSecret, b"\n");
        gathered.offer(ValueName::CustomerId, b"made-up-1");
        gathered.offer(ValueName::ServiceId, b"made-up-2");
        gathered.refuse(ValueName::ClientCt, ValueTrouble::NotText);
        let mut fixed = Identifiers::new();
        fixed.insert(ValueName::ServiceId, "another").unwrap();
        fixed.insert(ValueName::CustomerId, "made-up-1").unwrap();
        let problems = gathered.into_set(version(), &fixed).unwrap_err();
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
        let mut gathered = SetBuilder::default();
        gathered.offer(ValueName::ClientSecret, b"made-up-secret");
        let mut fixed = Identifiers::new();
        for name in ValueName::ALL.into_iter().filter(|name| !name.is_secret()) {
            fixed.insert(name, "made-up").unwrap();
        }
        let set = gathered.into_set(version(), &fixed).unwrap();
        assert!(set.value(ValueName::ClientSecret).expose_to(|text| text == "made-up-secret"));
        assert!(set.value(ValueName::ServiceId).expose_to(|text| text == "made-up"));
    }
}
