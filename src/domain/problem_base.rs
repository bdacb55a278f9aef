//! The prefix of the `type` of problem documents.

use std::{fmt, str::FromStr, sync::Arc};

/// The prefix of a problem's `type` (RFC 9457 §3.1.1). The error's name follows it.
///
/// The default, `urn:pigello-gateway:problem:`, identifies an error but is no link: a gateway does not
/// know where its manual is published, and a link to itself would not work for every caller.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProblemBase(Option<Arc<str>>);

impl ProblemBase {
    /// The `type` of the error with a name.
    pub fn type_of(&self, name: &str) -> String {
        [self.as_str(), name].concat()
    }

    fn as_str(&self) -> &str {
        self.0.as_deref().unwrap_or(NAME_ONLY)
    }
}

impl FromStr for ProblemBase {
    type Err = ProblemBaseError;

    fn from_str(text: &str) -> Result<Self, ProblemBaseError> {
        let is_absolute = ["https://", "http://", "urn:", "tag:"].iter().any(|scheme| {
            text.strip_prefix(scheme).is_some_and(|rest| rest.len() > 1 && !rest.starts_with('/'))
        });
        let is_plain = text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\'));
        let can_go_on = text.ends_with(['/', '#', '=', ':']);
        if is_absolute && is_plain && can_go_on && text.len() <= LONGEST {
            Ok(Self(Some(text.into())))
        } else {
            Err(ProblemBaseError)
        }
    }
}

impl fmt::Display for ProblemBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text cannot be the prefix of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "not what a link can begin with; write `https://docs.example.org/errors.html#`, with `/`, `#`, \
     `=` or `:` at its end"
)]
pub struct ProblemBaseError;

const NAME_ONLY: &str = "urn:pigello-gateway:problem:";
/// The greatest length in bytes, more than a usual URL has.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_is_the_base_and_the_name() {
        assert_eq!(
            ProblemBase::default().type_of("internal"),
            "urn:pigello-gateway:problem:internal"
        );
        for base in
            ["https://docs.test/errors.html#", "http://127.0.0.1:9901/errors/", "urn:corp:p:"]
        {
            let parsed: ProblemBase = base.parse().unwrap();
            assert_eq!(parsed.type_of("internal"), format!("{base}internal"));
            assert_eq!(parsed.to_string(), base);
        }
        for text in [
            "",
            "/errors/",
            "https://",
            "https:///",
            "https://docs.test/errors",
            "javascript:alert(1)#",
            "https://docs.test/a b/",
            "https://docs.test/\"/",
            &format!("https://docs.test/{}/", "a".repeat(256)),
        ] {
            assert_eq!(text.parse::<ProblemBase>(), Err(ProblemBaseError), "{text}");
        }
    }
}
