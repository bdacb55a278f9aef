//! `notices.webhook.tokens_file`: who may send webhooks, and for which profile.
//!
//! A line is a token, and the name of a profile if the token is for that one alone. Empty lines and lines that
//! begin with `#` are left out. The gateway keeps only the digests.

use std::path::{Path, PathBuf};

use crate::{
    domain::ProfileName,
    process::token_file::{self, TWICE, TokenFileError, check_length},
    secret::TokenDigest,
};

/// The tokens in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HookTokens(Vec<(TokenDigest, Audience)>);

/// The profiles that a token's webhooks are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Audience {
    All,
    One(ProfileName),
}

impl Audience {
    pub(super) fn profile(&self) -> Option<&ProfileName> {
        match self {
            Self::All => None,
            Self::One(profile) => Some(profile),
        }
    }
}

impl HookTokens {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, HookTokensError> {
        Ok(Self(token_file::read(path, MAX_BYTES, token)?))
    }

    /// Whom a token is for, if it is known. Compares with every token, each in constant time.
    pub(super) fn audience(&self, token: &str) -> Option<&Audience> {
        let token = TokenDigest::of(token);
        self.0.iter().fold(None, |found, (known, audience)| {
            if bool::from(known.same_as(&token)) { Some(audience) } else { found }
        })
    }

    /// The profiles that it names.
    pub fn profiles(&self) -> impl Iterator<Item = &ProfileName> {
        self.0.iter().filter_map(|(_, audience)| audience.profile())
    }
}

fn token(
    line: &[u8],
    known: &[(TokenDigest, Audience)],
) -> Result<(TokenDigest, Audience), &'static str> {
    let form = "write `TOKEN` or `TOKEN PROFILE`";
    let line = std::str::from_utf8(line).map_err(|_| form)?;
    let mut words = line.split_ascii_whitespace().take_while(|word| !word.starts_with('#'));
    let (Some(token), profile, None) = (words.next(), words.next(), words.next()) else {
        return Err(form);
    };
    if !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)) {
        return Err("a token has letters, digits and -._~, because it is part of a path");
    }
    check_length(token)?;
    let audience = profile.map_or(Audience::All, |name| Audience::One(ProfileName::new(name)));
    let digest = TokenDigest::of(token);
    if known.iter().any(|(known, _)| *known == digest) {
        Err(TWICE)
    } else {
        Ok((digest, audience))
    }
}

/// Why a file of tokens is not used. No message quotes a token.
#[derive(Debug, thiserror::Error)]
pub enum HookTokensError {
    /// It is no file of tokens.
    #[error(transparent)]
    File(#[from] TokenFileError),
    /// It names a profile that the configuration does not have.
    #[error("{}: a token is for the profile `{profile}`, which is not in the configuration", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: ProfileName,
    },
}

/// Two tokens for each of a thousand profiles, and comments.
const MAX_BYTES: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "made-up-token-that-is-for-everything";
    const ONE: &str = "made-up-token-that-is-for-one-profile";

    #[test]
    fn a_token_is_for_all_profiles_or_for_one() {
        let text = format!("# made up\n\n{ALL}\r\n {ONE}\tproduction # since May\n");
        let tokens = HookTokens(token_file::parse(text.as_bytes(), MAX_BYTES, token).unwrap());
        assert_eq!(tokens.audience(ALL), Some(&Audience::All));
        let one = Audience::One(ProfileName::new("production"));
        assert_eq!(tokens.audience(ONE), Some(&one));
        let part = ALL.get(1..).unwrap();
        for other in ["", part, &ALL.to_uppercase(), &format!("{ALL} ")] {
            assert_eq!(tokens.audience(other), None, "{other}");
        }
        assert!(!format!("{tokens:?}").contains("made-up"));
        assert_eq!(tokens.profiles().count(), 1);
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_never_quoted() {
        for (text, line) in [
            (String::new(), 1),
            ("# nothing\n".to_owned(), 1),
            (format!("\n{}\n", ALL.get(..31).unwrap()), 2),
            (format!("{ALL} a b\n"), 1),
            (format!("{ALL}/x\n"), 1),
            (format!("{ALL}%\n"), 1),
            (format!("{ALL}å\n"), 1),
            (format!("{ALL}\n{ONE}\n{ALL} production\n"), 3),
            ("x".repeat(1024 * 1024), 1),
        ] {
            let (at, what) = token_file::parse(text.as_bytes(), MAX_BYTES, token).unwrap_err();
            assert_eq!(at, line, "{what}");
            assert!(!what.contains("made-up"));
        }
    }
}
