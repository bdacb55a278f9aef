//! Secrets. Only this module reads their text.
//!
//! A [`SecretText`] cannot be printed, cloned, compared with `==` or serialised. It leaves this module
//! as a header value marked sensitive, as a keyed fingerprint or, for the sealed store that encrypts it,
//! through [`SecretText::expose_to`].

mod search;
mod token;

use std::fmt;

use aws_lc_rs::hmac;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use search::{SecretMatch, SecretSearch};
pub use token::TokenDigest;

/// One value of a credential set. It is not empty, has only printable ASCII and no spaces around it, so
/// it is exactly one header value.
pub struct SecretText(SecretString);

impl SecretText {
    /// The greatest length. Pigello's values are identifiers and one token.
    pub const MAX_BYTES: usize = 4096;

    /// Reads a value from a file, a variable or a vault.
    ///
    /// One line end is removed, because editors and `echo` add one. Nothing else is trimmed, because a
    /// pasted space would make another secret.
    pub fn parse(raw: &[u8]) -> Result<Self, SecretTextError> {
        let text = raw.strip_suffix(b"\n").unwrap_or(raw);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        if text.is_empty() {
            return Err(SecretTextError::Empty);
        }
        if text.len() > Self::MAX_BYTES {
            return Err(SecretTextError::TooLong);
        }
        if text.first() == Some(&b' ') || text.last() == Some(&b' ') {
            return Err(SecretTextError::OuterSpace);
        }
        if !text.iter().all(|byte| (b' '..=b'~').contains(byte)) {
            return Err(SecretTextError::Character);
        }
        let text = std::str::from_utf8(text).map_err(|_| SecretTextError::Character)?;
        Ok(Self(SecretString::from(text)))
    }

    /// The header value, marked sensitive: logs do not print it, and HPACK does not index it.
    pub fn to_header_value(&self) -> Result<HeaderValue, SecretTextError> {
        let mut value =
            HeaderValue::from_str(self.open()).map_err(|_| SecretTextError::Character)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// A keyed digest: the first 12 hexadecimal digits of HMAC-SHA-256. Two hosts with the same key can
    /// compare their secrets by it.
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let tag = hmac::sign(&key, self.open().as_bytes());
        let mut digest = [0; 6];
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Fingerprint(digest)
    }

    /// Whether two secrets are equal, in constant time.
    pub fn same_as(&self, other: &Self) -> bool {
        self.open().as_bytes().ct_eq(other.open().as_bytes()).into()
    }

    /// The search for the value where it must not appear.
    pub fn search(&self) -> SecretSearch {
        SecretSearch::new(self.open())
    }

    /// Shows the value to the sealed store, which encrypts it.
    pub fn expose_to<T>(&self, use_it: impl FnOnce(&str) -> T) -> T {
        use_it(self.open())
    }

    #[expect(clippy::disallowed_methods, reason = "only this module may")]
    fn open(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Shows a secret of another crate to the writer of a key file.
#[expect(clippy::disallowed_methods, reason = "only this module may")]
pub fn expose_to<T>(secret: &SecretString, use_it: impl FnOnce(&str) -> T) -> T {
    use_it(secret.expose_secret())
}

/// A buffer for a secret while it is read. It is wiped when dropped.
pub type SecretBuffer = Zeroizing<Vec<u8>>;

/// A keyed digest of a secret. It may be printed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 6]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a credential value. The message never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretTextError {
    /// No text.
    #[error("is empty")]
    Empty,
    /// Over [`SecretText::MAX_BYTES`].
    #[error("is longer than 4096 bytes")]
    TooLong,
    /// A space at the beginning or the end.
    #[error("begins or ends with a space")]
    OuterSpace,
    /// A line break, a control character, or anything outside ASCII.
    #[error("holds a character that is not printable ASCII (a line break, perhaps)")]
    Character,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_end_is_removed_and_nothing_else() {
        let open = |raw: &[u8]| SecretText::parse(raw).map(|s| s.expose_to(str::to_owned));
        assert_eq!(open(b"made-up\n").as_deref(), Ok("made-up"));
        assert_eq!(open(b"made-up\r\n").as_deref(), Ok("made-up"));
        assert_eq!(open(b"0012345").as_deref(), Ok("0012345"));
        assert_eq!(open(b"made-up\n\n"), Err(SecretTextError::Character));
        assert_eq!(open(b" made-up"), Err(SecretTextError::OuterSpace));
        assert_eq!(open(b"\n"), Err(SecretTextError::Empty));
        assert_eq!(open(b""), Err(SecretTextError::Empty));
        assert_eq!(open("hemlig-å".as_bytes()), Err(SecretTextError::Character));
        assert_eq!(open(&[b'x'; 4097]), Err(SecretTextError::TooLong));
    }

    #[test]
    fn a_secret_cannot_be_printed() {
        let secret = SecretText::parse(b"canary-made-up").unwrap();
        let header = secret.to_header_value().unwrap();
        assert!(header.is_sensitive());
        assert!(!format!("{secret:?} {header:?}").contains("canary"));
    }

    #[test]
    fn fingerprints_are_equal_under_one_key() {
        let (a, b) =
            (SecretText::parse(b"made-up").unwrap(), SecretText::parse(b"made-up").unwrap());
        assert_eq!(a.fingerprint(b"key"), b.fingerprint(b"key"));
        assert_ne!(a.fingerprint(b"key"), b.fingerprint(b"other"));
        assert_eq!(a.fingerprint(b"key").to_string().len(), 12);
        assert!(a.same_as(&b));
    }
}
