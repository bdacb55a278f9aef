//! The identifiers that a configuration gives beside a source.

use std::fmt;

use super::ValueName;
use crate::secret::{SecretText, SecretTextError};

/// Identifiers of a configuration. They are not secrets, but confidential.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Identifiers([Option<Box<str>>; 7]);

impl Identifiers {
    /// No identifiers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets an identifier. Refuses the secret.
    pub fn insert(&mut self, name: ValueName, text: &str) -> Result<(), IdentifierError> {
        if name.is_secret() {
            return Err(IdentifierError::Secret);
        }
        let value = SecretText::parse(text.as_bytes()).map_err(IdentifierError::Text)?;
        if let Some(slot) = self.0.get_mut(name as usize) {
            // The parsed text has no line end.
            *slot = Some(value.expose_to(|text| text.into()));
        }
        Ok(())
    }

    /// The names of the identifiers that are there.
    pub fn names(&self) -> impl Iterator<Item = ValueName> {
        ValueName::ALL.into_iter().filter(|name| self.get(*name).is_some())
    }

    /// The identifier of that name.
    pub fn get(&self, name: ValueName) -> Option<&str> {
        self.0.get(name as usize).and_then(Option::as_deref)
    }
}

impl fmt::Debug for Identifiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names().map(ValueName::key)).finish()
    }
}

/// Why a configuration cannot give a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdentifierError {
    /// The value is the secret.
    #[error(
        "is a secret and never stands in a configuration file; put it in the source of these \
         credentials"
    )]
    Secret,
    /// The text cannot be a header's value.
    #[error("{0}")]
    Text(SecretTextError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_secret_is_refused_and_identifiers_are_checked() {
        let mut fixed = Identifiers::new();
        assert_eq!(fixed.insert(ValueName::ClientSecret, "made-up"), Err(IdentifierError::Secret));
        assert_eq!(
            fixed.insert(ValueName::CustomerId, ""),
            Err(IdentifierError::Text(SecretTextError::Empty))
        );
        fixed.insert(ValueName::CustomerId, "made-up\n").unwrap();
        assert_eq!(fixed.get(ValueName::CustomerId), Some("made-up"));
        assert_eq!(fixed.get(ValueName::ClientSecret), None);
    }
}
