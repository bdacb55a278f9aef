//! Where a witness takes checkpoints.

use std::{fmt, str::FromStr};

use http::{Uri, uri::PathAndQuery};

use super::origin::{Origin, OriginError};

/// The submission prefix of a witness (C2SP tlog-witness): scheme, host, port, and perhaps a path.
#[derive(Clone, PartialEq, Eq)]
pub struct WitnessUrl {
    origin: Origin,
    /// Without a `/` at its end.
    path: Box<str>,
}

impl WitnessUrl {
    /// Scheme, host and port.
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The path of a call.
    pub fn path_of(&self, call: &str) -> Uri {
        let path = format!("{}/{call}", self.path);
        // The prefix was parsed, and a call is one of the protocol's words.
        PathAndQuery::try_from(path).map(Uri::from).unwrap_or_default()
    }
}

impl FromStr for WitnessUrl {
    type Err = WitnessUrlError;

    fn from_str(text: &str) -> Result<Self, WitnessUrlError> {
        let uri: Uri = text.parse().map_err(|_| OriginError::NotAUrl)?;
        if uri.query().is_some() || text.contains('#') {
            return Err(WitnessUrlError::Query);
        }
        let path = uri.path();
        let origin = text.strip_suffix(path).filter(|_| path != "/").unwrap_or(text);
        Ok(Self { origin: origin.parse()?, path: path.trim_end_matches('/').into() })
    }
}

impl fmt::Display for WitnessUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin, self.path)
    }
}

impl fmt::Debug for WitnessUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text does not lead to a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WitnessUrlError {
    /// Scheme, host or port.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// A query or a fragment.
    #[error("must not hold a query or a fragment; `add-checkpoint` is put after its path")]
    Query,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_go_below_the_prefix() {
        for (text, shown, call) in [
            ("https://w.test", "https://w.test", "/add-checkpoint"),
            ("https://W.test/", "https://w.test", "/add-checkpoint"),
            ("http://127.0.0.1:8081/a/w1", "http://127.0.0.1:8081/a/w1", "/a/w1/add-checkpoint"),
            ("https://w.test/a/", "https://w.test/a", "/a/add-checkpoint"),
        ] {
            let url: WitnessUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.path_of("add-checkpoint").to_string(), call);
        }
        for text in ["", "w.test", "ftp://w.test/a", "https://u@w.test/a"] {
            assert!(
                matches!(text.parse::<WitnessUrl>(), Err(WitnessUrlError::Origin(_))),
                "{text}"
            );
        }
        for text in ["https://w.test/?a", "https://w.test/a#b"] {
            assert_eq!(text.parse::<WitnessUrl>(), Err(WitnessUrlError::Query), "{text}");
        }
    }
}
