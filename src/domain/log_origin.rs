//! The first part of the name of a transparency log.

use std::{fmt, str::FromStr, sync::Arc};

use super::verifier_key::is_note_name;

/// What the name of a log begins with (C2SP tlog-checkpoint, "origin"); the chain of a trail follows.
///
/// A URL without its scheme keeps names of several owners apart. Nothing has to answer there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOrigin(Arc<str>);

impl LogOrigin {
    /// The name of the log of a chain.
    pub fn of(&self, chain: &str) -> String {
        format!("{}/{chain}", self.0)
    }

    /// The origin of the fleet logs beside the trails.
    #[must_use]
    pub fn of_fleet(&self) -> Self {
        Self(format!("{}/fleet", self.0).into())
    }
}

impl Default for LogOrigin {
    fn default() -> Self {
        Self("pigello-gateway".into())
    }
}

impl FromStr for LogOrigin {
    type Err = LogOriginError;

    fn from_str(text: &str) -> Result<Self, LogOriginError> {
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        let has_scheme = text.contains("://");
        if is_note_name(text)
            && is_plain
            && !has_scheme
            && !text.ends_with('/')
            && text.len() <= LONGEST
        {
            Ok(Self(text.into()))
        } else {
            Err(LogOriginError)
        }
    }
}

impl fmt::Display for LogOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot begin the name of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not the name of a log; write a URL without its scheme, like `audit.example.org/pigello`, without \
     spaces, `+`, or `/` at its end"
)]
pub struct LogOriginError;

/// A witness keeps 255 bytes of a name (tlog-cosignature); `/fleet`, and a chain with its `/`, take 39.
const LONGEST: usize = 216;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_names_the_logs_of_its_chains() {
        let origin: LogOrigin = "audit.example.org/pigello".parse().unwrap();
        assert_eq!(origin.of("ab12"), "audit.example.org/pigello/ab12");
        assert_eq!(LogOrigin::default().of("ab12"), "pigello-gateway/ab12");
        assert_eq!(LogOrigin::default().of_fleet().of("ab12"), "pigello-gateway/fleet/ab12");
        let longest = "a".repeat(LONGEST);
        assert!(longest.parse::<LogOrigin>().is_ok());
        for text in ["", "a b", "a+b", "a\nb", "å", "https://a", "a/", &format!("{longest}a")] {
            assert_eq!(text.parse::<LogOrigin>(), Err(LogOriginError), "{text}");
        }
    }
}
