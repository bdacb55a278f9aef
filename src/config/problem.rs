//! A problem of a configuration: file and line, key, what is wrong, and what to do about it.
//!
//! A problem never quotes a value. It may show a name that the configuration gives to an entry.

use std::{
    fmt,
    path::{self, Path},
    sync::Arc,
};

use super::key::KeyPath;

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// A configuration file.
    File {
        /// The file, as it was named.
        path: Arc<Path>,
        /// The line, counted from 1.
        line: Option<usize>,
        /// The column, counted from 1, if the file is not TOML.
        column: Option<usize>,
    },
    /// An environment variable.
    Variable(Arc<str>),
    /// Built in.
    Default,
}

impl Location {
    /// Resolves a path that is relative to this file; `None` if this is not a file.
    pub(super) fn resolve(&self, relative: &str) -> Option<String> {
        let Self::File { path, .. } = self else { return None };
        let file = path::absolute(path).ok()?;
        file.parent()?.join(relative).into_os_string().into_string().ok()
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line, column } => {
                write!(f, "{}", path.display())?;
                [line, column].into_iter().flatten().try_for_each(|at| write!(f, ":{at}"))
            }
            Self::Variable(name) => f.write_str(name),
            Self::Default => f.write_str("default"),
        }
    }
}

/// One mistake, or what looks like one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    location: Location,
    key: KeyPath,
    message: String,
    hint: Option<String>,
}

impl Problem {
    /// A problem of a key.
    pub(super) fn new(location: Location, key: KeyPath, message: impl Into<String>) -> Self {
        Self { location, key, message: message.into(), hint: None }
    }

    /// Adds a hint: what to do.
    #[must_use]
    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The location.
    pub fn location(&self) -> &Location {
        &self.location
    }

    /// The key; empty if it is about a whole file.
    pub fn key(&self) -> &KeyPath {
        &self.key
    }

    /// The message.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The location, the key and the message in one line, and the hint.
    pub fn words(&self) -> (String, Option<String>) {
        let text = self.to_string();
        (text.lines().next().unwrap_or_default().to_owned(), self.hint.clone())
    }

    /// The hint.
    pub fn hint_text(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.location != Location::Default {
            write!(f, "{}: ", self.location)?;
        }
        if self.key != KeyPath::root() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// All mistakes in a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Returns the result if there is one and no problem; else all problems, by file, line and key.
    pub(super) fn unless<T>(mut problems: Vec<Problem>, result: Option<T>) -> Result<T, Self> {
        problems.sort();
        problems.dedup();
        match result {
            Some(result) if problems.is_empty() => Ok(result),
            _ => Err(Self(problems)),
        }
    }

    /// These, and those of another configuration.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self.0.dedup();
        self
    }

    /// The problems, by file, line and key.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }

    /// How many there are.
    #[expect(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, problem) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// Returns the known word nearest to an unknown one, if it is near enough to be meant.
pub(super) fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const NEAR_ENOUGH: f64 = 0.75;
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(score, _)| *score >= NEAR_ENOUGH)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, candidate)| candidate)
}

/// Makes a hint about an unknown word: `did you mean …?`, or all known words if they are few.
pub(crate) fn suggestion(word: &str, known: &[&str], what: &str) -> Option<String> {
    const FEW: usize = 20;
    if let Some(nearest) = nearest(word, known.iter().copied()) {
        return Some(format!("did you mean `{nearest}`?"));
    }
    if known.is_empty() || known.len() > FEW {
        return None;
    }
    Some(format!("{what}: {}", listed(known)))
}

/// Lists words like `` `a`, `b` and `c` ``.
pub(super) fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("adress", ["name", "address", "profile"]), Some("address"));
        assert_eq!(nearest("Max-Bytes", ["max_entry_bytes", "max_bytes"]), Some("max_bytes"));
        assert_eq!(nearest("zebra", ["name", "address", "profile"]), None);
        assert_eq!(nearest("", []), None);
    }
}
