//! Which profiles a name stands for: one, or all that begin alike.

use std::{fmt, str::FromStr};

use super::names::{ProfileName, is_name};

/// `customer-acme`, `customer-*` or `*`.
///
/// A `[profiles.…]` table whose name is a pattern with a `*` is a template: each name that it matches is a
/// profile, its member.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProfilePattern {
    /// One profile.
    Exactly(ProfileName),
    /// Every member name that begins with the text before the `*`, and is longer.
    Prefix(Box<str>),
}

impl ProfilePattern {
    /// Whether a profile is one of them.
    pub fn matches(&self, name: &ProfileName) -> bool {
        match self {
            Self::Exactly(exactly) => exactly == name,
            Self::Prefix(prefix) => {
                let rest = name.as_str().strip_prefix(&**prefix);
                rest.is_some_and(|rest| !rest.is_empty())
            }
        }
    }

    /// Whether it matches every name that the other one matches.
    pub fn covers(&self, other: &Self) -> bool {
        match (self, other) {
            (_, Self::Exactly(name)) => self.matches(name),
            (Self::Exactly(_), Self::Prefix(_)) => false,
            (Self::Prefix(prefix), Self::Prefix(longer)) => longer.starts_with(&**prefix),
        }
    }

    /// A name that both patterns match, if there is one.
    pub fn common(&self, other: &Self) -> Option<ProfileName> {
        match (self, other) {
            (Self::Exactly(name), pattern) | (pattern, Self::Exactly(name)) => {
                pattern.matches(name).then(|| name.clone())
            }
            (Self::Prefix(one), Self::Prefix(another)) => {
                let (short, long) =
                    if one.len() < another.len() { (one, another) } else { (another, one) };
                let name = format!("{long}x");
                long.starts_with(&**short)
                    .then(|| ProfileName::of_member(name.as_bytes()))
                    .flatten()
            }
        }
    }

    /// How many characters it fixes. Of two patterns that match, the one that fixes more counts.
    pub fn specificity(&self) -> usize {
        match self {
            Self::Exactly(_) => usize::MAX,
            Self::Prefix(prefix) => prefix.len(),
        }
    }
}

impl FromStr for ProfilePattern {
    type Err = ProfilePatternError;

    fn from_str(text: &str) -> Result<Self, ProfilePatternError> {
        match text.strip_suffix('*') {
            Some(prefix) if prefix.is_empty() || is_beginning(prefix) => {
                Ok(Self::Prefix(prefix.into()))
            }
            None if is_name(text) => Ok(Self::Exactly(ProfileName::new(text))),
            Some(_) | None => Err(ProfilePatternError),
        }
    }
}

impl fmt::Display for ProfilePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(name) => name.fmt(f),
            Self::Prefix(prefix) => write!(f, "{prefix}*"),
        }
    }
}

/// The text is not a profile pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a profile or a pattern of profiles; write a name, `customer-*` or `*`")]
pub struct ProfilePatternError;

impl ProfileName {
    /// The names that a table stands for, if its own name ends in `*`: then it is a template.
    pub fn template(&self) -> Option<ProfilePattern> {
        self.as_str().ends_with('*').then(|| self.as_str().parse().ok()).flatten()
    }

    /// A name that a request gives: `[a-z0-9][a-z0-9-]{0,62}`, so that it can stand in a path, in a host name and
    /// in a vault's URL.
    pub fn of_member(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        (text.len() <= LONGEST && is_beginning(text)).then(|| Self::new(text))
    }

    /// Whether a request can give it.
    pub fn is_nameable(&self) -> bool {
        Self::of_member(self.as_str().as_bytes()).is_some()
    }
}

/// Whether a member's name can begin like this.
fn is_beginning(text: &str) -> bool {
    text.len() <= LONGEST
        && !text.starts_with('-')
        && !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// What stands for the name of a member where a configuration says how something depends on it.
pub const PROFILE_PLACE: &str = "{profile}";

/// The longest label of a host name (RFC 1035 §2.3.4).
const LONGEST: usize = 63;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_names_that_begin_alike() {
        for (pattern, name, matches) in [
            ("customer-acme", "customer-acme", true),
            ("customer-acme", "customer-acme-2", false),
            ("customer-*", "customer-acme", true),
            ("customer-*", "customer-", false),
            ("customer-*", "nordic-acme", false),
            ("*", "acme", true),
        ] {
            let parsed: ProfilePattern = pattern.parse().unwrap();
            assert_eq!(parsed.to_string(), pattern);
            assert_eq!(parsed.matches(&ProfileName::new(name)), matches, "{pattern} {name}");
        }
    }

    #[test]
    fn patterns_cover_one_another_and_have_names_in_common() {
        for (one, other, covers, common) in [
            ("a-b", "a-b", true, Some("a-b")),
            ("a-b", "a-c", false, None),
            ("a-*", "a-b", true, Some("a-b")),
            ("a-b", "a-*", false, Some("a-b")),
            ("a-*", "a-b*", true, Some("a-bx")),
            ("a-b*", "a-*", false, Some("a-bx")),
            ("a-*", "b-*", false, None),
            ("a-*", "a-", false, None),
            ("*", "Production", true, Some("Production")),
            ("*", "*", true, Some("x")),
        ] {
            let [one, other]: [ProfilePattern; 2] = [one, other].map(|text| text.parse().unwrap());
            assert_eq!(one.covers(&other), covers, "{one} {other}");
            assert_eq!(one.common(&other), common.map(ProfileName::new), "{one} {other}");
            assert_eq!(other.common(&one), common.map(ProfileName::new), "{one} {other}");
        }
    }

    #[test]
    fn other_texts_are_no_patterns() {
        for text in [
            "",
            "a*b",
            "*a",
            "**",
            "a**",
            "Customer-*",
            "customer_*",
            "-*",
            "a/*",
            "a b",
            "-a",
            "å",
        ] {
            assert_eq!(text.parse::<ProfilePattern>(), Err(ProfilePatternError), "{text:?}");
        }
    }

    #[test]
    fn a_member_has_a_name_that_fits_everywhere() {
        let longest = "a".repeat(63);
        for name in ["a", "0", "customer-acme", "a-", longest.as_str()] {
            assert!(ProfileName::of_member(name.as_bytes()).is_some(), "{name:?}");
        }
        let long = "a".repeat(64);
        for name in [
            "",
            "-a",
            "A",
            "a_b",
            "a.b",
            "a/b",
            "..",
            "a b",
            "a%2f",
            "a\0",
            "a\n",
            "å",
            "a*",
            long.as_str(),
        ] {
            assert!(ProfileName::of_member(name.as_bytes()).is_none(), "{name:?}");
        }
        assert!(ProfileName::of_member(b"a\xff").is_none());
    }
}
