//! What a form of the page has to bring back: proof that the page came from this process.
//!
//! It is made anew with each process. Together with the check of the origin it keeps every other page
//! in the same browser from sending the form.

use std::fmt::{self, Write as _};

use aws_lc_rs::rand;
use subtle::ConstantTimeEq as _;

/// 256 random bits as text; nothing where there is no randomness, and then no form works.
pub(super) struct Token(Option<String>);

impl Token {
    pub(super) fn fresh() -> Self {
        let mut bytes = [0_u8; 32];
        Self(rand::fill(&mut bytes).is_ok().then(|| {
            bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
                // Writing to a string cannot fail.
                let _infallible = write!(text, "{byte:02x}");
                text
            })
        }))
    }

    /// What stands in the form.
    pub(super) fn text(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether that is it; how long this takes says nothing about how much of it is right.
    pub(super) fn is(&self, brought: &str) -> bool {
        self.0.as_deref().is_some_and(|token| token.as_bytes().ct_eq(brought.as_bytes()).into())
    }
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
