//! The tokens of `[admin] token_file`.
//!
//! A line of the file is a role and a token, `read TOKEN` or `operate TOKEN`; empty lines and lines that begin
//! with `#` are left out. The gateway keeps only the digests.

use std::path::Path;

use super::Role;
use crate::{
    process::token_file::{self, TWICE, TokenFileError, check_length},
    secret::TokenDigest,
};

/// The tokens that the gateway takes. Each has a role.
#[derive(Clone, Debug, Default)]
pub struct Tokens(Vec<(TokenDigest, Role)>);

impl Tokens {
    /// Reads the file.
    pub fn read(path: &Path) -> Result<Self, TokenFileError> {
        token_file::read(path, MAX_BYTES, token).map(Self)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The role of a token. Compares with every token, each in constant time.
    pub(super) fn role(&self, token: &TokenDigest) -> Option<Role> {
        self.0.iter().fold(
            None,
            |found, (known, role)| {
                if bool::from(known.same_as(token)) { Some(*role) } else { found }
            },
        )
    }
}

fn token(line: &[u8], known: &[(TokenDigest, Role)]) -> Result<(TokenDigest, Role), &'static str> {
    const FORM: &str = "write `read TOKEN` or `operate TOKEN`";
    let line = std::str::from_utf8(line).map_err(|_| FORM)?;
    let mut words = line.split_ascii_whitespace();
    let role = match words.next().unwrap_or_default() {
        "read" => Role::Read,
        "operate" => Role::Operate,
        _ => return Err(FORM),
    };
    let token = words.next().filter(|token| !token.starts_with('#')).ok_or(FORM)?;
    // What follows is a comment.
    let is_alone = words.next().is_none_or(|word| word.starts_with('#'));
    if !is_alone
        || !token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
    {
        return Err("a token has letters, digits and -._~+/= (RFC 6750)");
    }
    check_length(token)?;
    let digest = TokenDigest::of(token);
    if known.iter().any(|(known, _)| *known == digest) { Err(TWICE) } else { Ok((digest, role)) }
}

const MAX_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const READ: &str = "made-up-token-that-may-only-read-0";
    const OPERATE: &str = "made-up-token-that-may-operate-too";

    #[test]
    fn a_file_has_roles_and_tokens() {
        let text = format!("# made up\n\nread {READ}\r\n  operate\t{OPERATE}  \n");
        let tokens = Tokens(token_file::parse(text.as_bytes(), MAX_BYTES, token).unwrap());
        assert_eq!(tokens.role(&TokenDigest::of(READ)), Some(Role::Read));
        assert_eq!(tokens.role(&TokenDigest::of(OPERATE)), Some(Role::Operate));
        for other in ["", READ.get(1..).unwrap(), &READ.to_uppercase(), &format!("{READ} ")] {
            assert_eq!(tokens.role(&TokenDigest::of(other)), None, "{other}");
        }
        assert!(!format!("{tokens:?}").contains("made-up"));
    }

    #[test]
    fn what_is_wrong_is_told_by_its_line_and_never_quoted() {
        let short = READ.get(..31).unwrap();
        for (text, line) in [
            (String::new(), 1),
            ("# nothing\n".to_owned(), 1),
            (format!("\n{READ}\n"), 2),
            (format!("admin {READ}\n"), 1),
            (format!("Read {READ}\n"), 1),
            (format!("read {READ}\nread {short}\n"), 2),
            (format!("read {READ} {READ}\n"), 1),
            (format!("read {READ}å\n"), 1),
            (format!("read {READ}\noperate {READ}\n"), 2),
            (format!("read {}", "x".repeat(MAX_BYTES)), 1),
        ] {
            let text = text.as_bytes().get(..MAX_BYTES).unwrap_or(text.as_bytes());
            let (at, what) = token_file::parse(text, MAX_BYTES, token).unwrap_err();
            assert_eq!(at, line, "{what}");
            assert!(!what.contains("made-up"));
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokens");
        fs::write(&path, format!("read {READ}\n")).unwrap();
        for (mode, is_read) in [(0o600, true), (0o640, false), (0o644, false)] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(Tokens::read(&path).is_ok(), is_read, "{mode:o}");
        }
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        assert!(Tokens::read(&link).is_err());
    }
}
