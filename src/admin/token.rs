//! Random texts, and the one in the status page's forms: it proves that this process rendered the form.
//!
//! Each process makes a new one. Together with the origin check it prevents cross-site request
//! forgery.

use std::fmt::{self, Write as _};

use aws_lc_rs::rand;
use subtle::ConstantTimeEq as _;

/// 256 random bits as text; empty when the system has no randomness, and then no form is accepted.
pub(super) struct Token(Option<String>);

impl Token {
    pub(super) fn fresh() -> Self {
        Self(random_text())
    }

    /// The value for the form.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Compares in constant time.
    pub(super) fn is(&self, brought: &str) -> bool {
        self.0.as_deref().is_some_and(|token| token.as_bytes().ct_eq(brought.as_bytes()).into())
    }
}

/// 256 random bits as text; `None` if the system has no randomness.
pub(super) fn random_text() -> Option<String> {
    let mut bytes = [0_u8; 32];
    rand::fill(&mut bytes).ok()?;
    Some(bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        // Writing to a string cannot fail.
        let _infallible = write!(text, "{byte:02x}");
        text
    }))
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_token_itself_is_the_token() {
        let token = Token::fresh();
        let text = token.text().unwrap().to_owned();
        assert_eq!(text.len(), 64);
        assert!(token.is(&text));
        for other in [
            "",
            &text.repeat(2),
            &text.to_uppercase().replace('0', "1"),
            Token::fresh().text().unwrap(),
        ] {
            assert!(!token.is(other), "{other}");
        }
        assert_eq!(format!("{token:?}"), "Token");
        assert!(!Token(None).is(""));
    }
}
