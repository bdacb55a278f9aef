//! The hash chain: each line holds its own hash and the hash of the line before it.
//!
//! The hash of a line is the SHA-256 of its bytes from the first `{` up to the `,"hash":"…"}` at its
//! end. The hashed bytes include the hash of the line before, so moving, removing or inserting a line
//! breaks the chain. The line itself is the canonical form: a check needs no JSON parser.

use std::fmt;

use aws_lc_rs::digest;

use crate::domain::hex;

/// A SHA-256 hash.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// The `prev` of the first line of a trail.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash of some bytes.
    pub fn of(bytes: &[u8]) -> Self {
        let digest = digest::digest(&digest::SHA256, bytes);
        let mut hash = [0; 32];
        for (to, from) in hash.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        Self(hash)
    }

    /// Parses 64 lower-case hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (pairs, []) = text.as_chunks::<2>() else { return None };
        let mut hash = [0; 32];
        if pairs.len() != hash.len() {
            return None;
        }
        for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Some(Self(hash))
    }

    /// The hash as 64 lower-case hexadecimal digits.
    pub fn hex(&self) -> [u8; 64] {
        let mut text = [b'0'; 64];
        hex::write(&mut text, &self.0);
        text
    }
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.hex()))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The end of the chain: the number and the hash of the last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The last line's `seq`; 0 for an empty trail.
    pub seq: u64,
    /// The last line's `hash`.
    pub hash: Hash,
}

impl Tip {
    /// The end of an empty trail.
    pub const START: Self = Self { seq: 0, hash: Hash::ZERO };

    /// Appends the chain fields to the line that begins at `start`, and makes it the end of the chain.
    pub(super) fn append(&mut self, buffer: &mut Vec<u8>, start: usize) {
        buffer.extend_from_slice(PREV);
        buffer.extend_from_slice(&self.hash.hex());
        buffer.push(b'"');
        self.hash = Hash::of(buffer.get(start..).unwrap_or_default());
        self.seq += 1;
        buffer.extend_from_slice(HASH);
        buffer.extend_from_slice(&self.hash.hex());
        buffer.extend_from_slice(END);
    }
}

/// The chain fields of a line, and the hash of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainFields {
    /// The hash of the line before.
    pub prev: Hash,
    /// The line's `hash` field.
    pub stated: Hash,
    /// The hash of the line's bytes.
    pub computed: Hash,
}

impl ChainFields {
    /// Parses the end of a line (without its newline). `None` if it has no chain fields.
    pub fn read(line: &[u8]) -> Option<Self> {
        let (hashed, tail) = line.split_at_checked(line.len().checked_sub(HASH_FIELD)?)?;
        let stated = tail.strip_prefix(HASH)?.strip_suffix(b"\"}")?;
        let (_, tail) = hashed.split_at_checked(hashed.len().checked_sub(PREV_FIELD)?)?;
        let prev = tail.strip_prefix(PREV)?.strip_suffix(b"\"")?;
        Some(Self {
            prev: Hash::parse(prev)?,
            stated: Hash::parse(stated)?,
            computed: Hash::of(hashed),
        })
    }

    /// Whether the line's bytes fit its hash.
    pub fn is_intact(&self) -> bool {
        self.stated == self.computed
    }
}

const PREV: &[u8] = b",\"prev\":\"";
const HASH: &[u8] = b",\"hash\":\"";
const END: &[u8] = b"\"}\n";
const PREV_FIELD: usize = PREV.len() + 64 + 1;
const HASH_FIELD: usize = HASH.len() + 64 + 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_line_reads_back_and_a_changed_one_does_not_hold() {
        let mut buffer = b"{\"kind\":\"call\",\"seq\":1".to_vec();
        let mut tip = Tip::START;
        tip.append(&mut buffer, 0);
        let line = buffer.strip_suffix(b"\n").unwrap();
        let fields = ChainFields::read(line).unwrap();
        assert!(fields.is_intact());
        assert_eq!((fields.prev, fields.stated, tip.seq), (Hash::ZERO, tip.hash, 1));

        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(
                ChainFields::read(&changed).is_none_or(|fields| !fields.is_intact()),
                "byte {at}"
            );
        }
    }

    #[test]
    fn a_hash_reads_what_it_prints() {
        let hash = Hash::of(b"");
        let text = hash.to_string();
        assert_eq!(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(Hash::parse(text.as_bytes()), Some(hash));
        assert_eq!(Hash::parse(text.to_uppercase().as_bytes()), None);
        assert_eq!(Hash::parse(b"e3"), None);
    }
}
