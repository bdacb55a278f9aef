//! The only module that opens a secret.
//!
//! A [`SecretText`] cannot be printed, cloned, compared with `==` or serialised. It leaves this
//! module only as a header value marked sensitive, as a keyed fingerprint, or, for the sealed store
//! that has to write it down, through [`SecretText::expose_to`].

mod needles;

use std::fmt;

use aws_lc_rs::hmac;
use http::HeaderValue;
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

pub use needles::{Needles, Sighting};

/// One value of a credential set: never empty, printable ASCII, without spaces around it, so that
/// it is exactly one header value.
pub struct SecretText(SecretString);

impl SecretText {
    /// The longest value taken; Pigello's are identifiers and one token.
    pub const MAX_BYTES: usize = 4096;

    /// Takes a value as a file, a variable or a vault gave it.
    ///
    /// One trailing line end is dropped, because editors and `echo` leave one; nothing else is
    /// trimmed, because a space that was pasted along would be a different secret.
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

    /// The value as a header value that no log prints and HPACK never indexes.
    pub fn to_header_value(&self) -> Result<HeaderValue, SecretTextError> {
        let mut value =
            HeaderValue::from_str(self.open()).map_err(|_| SecretTextError::Character)?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// A keyed digest: two hosts that use the same key can compare what they hold without showing
    /// it. 12 hexadecimal digits of HMAC-SHA-256.
    pub fn fingerprint(&self, key: &[u8]) -> Fingerprint {
        let key = hmac::Key::new(hmac::HMAC_SHA256, key);
        let tag = hmac::sign(&key, self.open().as_bytes());
        let mut digest = [0; 6];
        for (to, from) in digest.iter_mut().zip(tag.as_ref()) {
            *to = *from;
        }
        Fingerprint(digest)
    }

    /// Whether two secrets are the same, in a time that does not depend on where they differ.
    pub fn same_as(&self, other: &Self) -> bool {
        self.open().as_bytes().ct_eq(other.open().as_bytes()).into()
    }

    /// What to look for where the value must not appear.
    pub fn needles(&self) -> Needles {
        Needles::of(self.open())
    }

    /// Shows the value to a writer that must have it: the sealed store, which encrypts it.
    pub fn expose_to<T>(&self, use_it: impl FnOnce(&str) -> T) -> T {
        use_it(self.open())
    }

    #[expect(clippy::disallowed_methods, reason = "this is the module that may")]
    fn open(&self) -> &str {
        self.0.expose_secret()
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

/// Shows a secret of another crate to a writer that must have it: the key file of a sealed store.
#[expect(clippy::disallowed_methods, reason = "this is the module that may")]
pub fn expose_to<T>(secret: &SecretString, use_it: impl FnOnce(&str) -> T) -> T {
    use_it(secret.expose_secret())
}

/// Bytes that hold a secret while they are read: wiped when dropped.
pub type SecretBuffer = Zeroizing<Vec<u8>>;

/// A keyed digest of a secret, safe to print.
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

/// Why a text cannot be a credential value. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SecretTextError {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Over [`SecretText::MAX_BYTES`].
    #[error("is longer than 4096 bytes")]
    TooLong,
    /// A space before or behind.
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
    fn one_line_end_is_dropped_and_nothing_else() {
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
    fn nothing_prints_it() {
        let secret = SecretText::parse(b"canary-made-up").unwrap();
        let header = secret.to_header_value().unwrap();
        assert!(header.is_sensitive());
        assert!(!format!("{secret:?} {header:?}").contains("canary"));
    }

    #[test]
    fn fingerprints_compare_under_one_key() {
        let (a, b) =
            (SecretText::parse(b"made-up").unwrap(), SecretText::parse(b"made-up").unwrap());
        assert_eq!(a.fingerprint(b"key"), b.fingerprint(b"key"));
        assert_ne!(a.fingerprint(b"key"), b.fingerprint(b"other"));
        assert_eq!(a.fingerprint(b"key").to_string().len(), 12);
        assert!(a.same_as(&b));
    }
}
