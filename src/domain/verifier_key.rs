//! The public key of whoever signs a note (C2SP signed-note, "Verifier keys"; tlog-cosignature).

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::hex;

/// A key that checks signatures of a note: a name, what the signatures mean, and an Ed25519 key. Its text is
/// `name+id+key`, the `vkey` of the C2SP tools.
#[derive(Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: Box<str>,
    id: [u8; 4],
    kind: SignatureKind,
    key: [u8; 32],
}

/// What a signature of a note says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureKind {
    /// The signer wrote the text (type 0x01).
    Note,
    /// A witness has seen that the tree only grew, at a time (type 0x04).
    Cosignature,
}

impl SignatureKind {
    const fn byte(self) -> u8 {
        match self {
            Self::Note => 1,
            Self::Cosignature => 4,
        }
    }
}

impl VerifierKey {
    /// The key with that name.
    pub fn new(name: &str, kind: SignatureKind, key: [u8; 32]) -> Self {
        let named = [name.as_bytes(), &[b'\n', kind.byte()], &key].concat();
        let digest = digest::digest(&digest::SHA256, &named);
        let id = digest.as_ref().first_chunk().copied().unwrap_or_default();
        Self { name: name.into(), id, kind, key }
    }

    /// The name of the signer.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The first four bytes of the SHA-256 over name, kind and key. They stand before each signature.
    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    /// What its signatures say.
    pub fn kind(&self) -> SignatureKind {
        self.kind
    }

    /// The Ed25519 key (RFC 8032 §5.1.5).
    pub fn bytes(&self) -> &[u8; 32] {
        &self.key
    }
}

impl FromStr for VerifierKey {
    type Err = VerifierKeyError;

    fn from_str(text: &str) -> Result<Self, VerifierKeyError> {
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(VerifierKeyError::Form);
        };
        if !is_note_name(name) {
            return Err(VerifierKeyError::Form);
        }
        let key = BASE64_STANDARD.decode(key).map_err(|_| VerifierKeyError::Form)?;
        let (kind, key) = key.split_first().ok_or(VerifierKeyError::Form)?;
        let kind = match kind {
            1 => SignatureKind::Note,
            4 => SignatureKind::Cosignature,
            _ => return Err(VerifierKeyError::Kind),
        };
        let key = key.try_into().map_err(|_| VerifierKeyError::Form)?;
        let parsed = Self::new(name, kind, key);
        if parsed.hex_id() == id { Ok(parsed) } else { Err(VerifierKeyError::Id) }
    }
}

impl VerifierKey {
    fn hex_id(&self) -> String {
        self.id.iter().flat_map(|byte| hex::digits(*byte)).map(char::from).collect()
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = [&[self.kind.byte()], self.key.as_slice()].concat();
        write!(f, "{}+{}+{}", self.name, self.hex_id(), BASE64_STANDARD.encode(key))
    }
}

impl fmt::Debug for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Whether a text can name a key or a log in a note: no spaces, no `+`, nothing invisible.
pub(super) fn is_note_name(text: &str) -> bool {
    let fits = |letter: char| !letter.is_whitespace() && !letter.is_control() && letter != '+';
    !text.is_empty() && text.chars().all(fits)
}

/// Why a text is not the key of a signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifierKeyError {
    /// Not `name+id+key`.
    #[error("not a verifier key; write it as the witness publishes it: `name+id+key`")]
    Form,
    /// Another algorithm than Ed25519.
    #[error("a key of another kind; only Ed25519 is known (type 0x01, and 0x04 for a witness)")]
    Kind,
    /// The parts do not belong together.
    #[error("damaged: the id does not belong to the name and the key")]
    Id,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The log of the signed-note specification's example, as its tools print it.
    const GO_SUMDB: &str = "sum.golang.org+033de0ae+Ac4zctda0e5eza+HJyk9SxEdh+s3Ux18htTTAD8OuAn8";

    #[test]
    fn a_key_is_read_as_it_is_written() {
        let key: VerifierKey = GO_SUMDB.parse().unwrap();
        assert_eq!((key.name(), key.kind()), ("sum.golang.org", SignatureKind::Note));
        assert_eq!(key.id(), [0x03, 0x3d, 0xe0, 0xae]);
        assert_eq!(key.to_string(), GO_SUMDB);
        let witness = VerifierKey::new("w.test/w1", SignatureKind::Cosignature, *key.bytes());
        assert_ne!(witness.id(), key.id(), "the kind is part of the id");
        assert_eq!(witness.to_string().parse(), Ok(witness));
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let other_name = GO_SUMDB.replace("sum.", "sun.");
        let other_id = GO_SUMDB.replace("033d", "033e");
        let upper = GO_SUMDB.replace("033de0ae", "033DE0AE");
        for text in [other_name, other_id, upper] {
            assert_eq!(text.parse::<VerifierKey>(), Err(VerifierKeyError::Id), "{text}");
        }
        let ml_dsa = format!("w+00000000+{}", BASE64_STANDARD.encode([6; 33]));
        assert_eq!(ml_dsa.parse::<VerifierKey>(), Err(VerifierKeyError::Kind));
        for text in
            ["", "a", "a+b", "+033de0ae+AA==", "a b+033de0ae+AA==", "a+033de0ae+AQ==", "a+b+!"]
        {
            assert_eq!(text.parse::<VerifierKey>(), Err(VerifierKeyError::Form), "{text}");
        }
    }
}
