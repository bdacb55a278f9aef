//! Path patterns, for requests that match no operation.

use std::{fmt, str::FromStr};

/// `/a/path` or `/a/prefix/*`.
///
/// A pattern is compared byte for byte with a canonical path, so it has one reading only.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// One path.
    Exactly(Box<str>),
    /// Every path with this prefix, which ends with a slash.
    Below(Box<str>),
}

impl PathPattern {
    /// Whether the pattern matches a path.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exactly(exactly) => path == &**exactly,
            Self::Below(prefix) => path.starts_with(&**prefix),
        }
    }
}

impl FromStr for PathPattern {
    type Err = PathPatternError;

    fn from_str(text: &str) -> Result<Self, PathPatternError> {
        let (path, below) = match text.strip_suffix('*') {
            Some(prefix) if prefix.ends_with('/') => (prefix, true),
            Some(_) => return Err(PathPatternError),
            None => (text, false),
        };
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"*?#".contains(&byte));
        match (plain && path.starts_with('/'), below) {
            (true, true) => Ok(Self::Below(path.into())),
            (true, false) => Ok(Self::Exactly(path.into())),
            (false, _) => Err(PathPatternError),
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(path) => f.write_str(path),
            Self::Below(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// The text is not a path pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a path pattern; write `/a/path` or `/a/prefix/*`")]
pub struct PathPatternError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_its_paths() {
        let below: PathPattern = "/docs/*".parse().unwrap();
        assert!(below.matches("/docs/") && below.matches("/docs/a/b"));
        assert!(!below.matches("/docs") && !below.matches("/docsx/a"));
        let exactly: PathPattern = "/docs/".parse().unwrap();
        assert!(exactly.matches("/docs/") && !exactly.matches("/docs/a"));
        assert!("/*".parse::<PathPattern>().unwrap().matches("/"));
        for text in ["/docs/*", "/docs/", "/*"] {
            assert_eq!(text.parse::<PathPattern>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in ["", "docs/*", "/docs*", "/a*/b", "/a/*/b", "/a?x", "/a b", "*"] {
            assert_eq!(text.parse::<PathPattern>(), Err(PathPatternError), "{text:?}");
        }
    }
}
