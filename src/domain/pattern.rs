//! Operation patterns, for `allow` lists and cache rules.

use std::{fmt, str::FromStr};

use super::operation::Operation;

/// `*`, `entity.*`, `*.action` or one operation's name.
///
/// A pattern matches no request without an operation. For such a request the policy checks `*`
/// separately.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum OperationPattern {
    /// `*`: every operation.
    Any,
    /// `subtenant.*`: every operation of one entity.
    Entity(Box<str>),
    /// `*.get`: one action on every entity.
    Action(Box<str>),
    /// `subtenant.get`: one operation.
    Exactly(Box<str>),
}

impl OperationPattern {
    /// Whether the pattern matches an operation.
    pub fn matches(&self, operation: &Operation) -> bool {
        match self {
            Self::Any => true,
            Self::Entity(entity) => operation.entity_name() == &**entity,
            Self::Action(action) => operation.action_name() == &**action,
            Self::Exactly(name) => operation.name() == &**name,
        }
    }
}

impl FromStr for OperationPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let (entity, action) = text.split_once('.').ok_or(PatternError)?;
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        match (entity, action) {
            (entity, "*") if word(entity) => Ok(Self::Entity(entity.into())),
            ("*", action) if word(action) => Ok(Self::Action(action.into())),
            (entity, action) if word(entity) && word(action) => Ok(Self::Exactly(text.into())),
            _ => Err(PatternError),
        }
    }
}

impl fmt::Display for OperationPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Entity(entity) => write!(f, "{entity}.*"),
            Self::Action(action) => write!(f, "*.{action}"),
            Self::Exactly(name) => f.write_str(name),
        }
    }
}

/// The text is not an operation pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an operation pattern; write `*`, `entity.*`, `*.action` or `entity.action`")]
pub struct PatternError;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::builtin_operations;

    #[test]
    fn a_pattern_matches_its_operations() {
        let operations: Vec<_> = builtin_operations().collect();
        let count = |text: &str| {
            let pattern: OperationPattern = text.parse().unwrap();
            assert_eq!(pattern.to_string(), text);
            operations.iter().filter(|operation| pattern.matches(operation)).count()
        };
        assert_eq!(count("*"), 63);
        assert_eq!(count("subtenant.*"), 7);
        assert_eq!(count("*.get"), 10);
        assert_eq!(count("subtenant.get"), 1);
        assert_eq!(count("subtenant.fly"), 0);
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "subtenant", ".", "*.*", "sub*.get", "Subtenant.get", "a.b.c", "a b.get"] {
            assert_eq!(text.parse::<OperationPattern>(), Err(PatternError), "{text:?}");
        }
    }
}
