//! What is wrong with a request, field by field.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// What is wrong, by the field or parameter that it is wrong with.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldErrors(BTreeMap<String, Vec<String>>);

impl FieldErrors {
    /// Adds one problem.
    pub(crate) fn add(&mut self, field: &str, problem: impl Into<String>) {
        self.0.entry(field.to_owned()).or_default().push(problem.into());
    }

    /// `value`, unless there are problems.
    pub(crate) fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }

    /// The problems as Django REST framework sends them: `{"field": ["the problem"]}`.
    pub(crate) fn to_json(&self) -> Value {
        json!(self.0)
    }
}
