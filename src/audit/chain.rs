//! The hash chain: each line holds the hash of the line before it and its own.
//!
//! A line's hash is the SHA-256 of the line's own bytes from its first `{` up to, and without, the
//! `,"hash":"…"}` it ends with. The hash of the line before stands right in front of that, so it is
//! among the hashed bytes, and a line cannot be moved, removed or put in without breaking the
//! chain. The canonical form is the line itself: nothing has to be parsed and printed again.

use std::fmt;

use aws_lc_rs::digest;

use crate::domain::hex;

/// A SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// What stands before the first line of a trail.
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

    /// Reads 64 lower-case hexadecimal digits.
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

    /// The 64 digits.
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

/// Where the chain stands: the number and the hash of its last line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The last line's `seq`; 0 before the first.
    pub seq: u64,
    /// The last line's `hash`.
    pub hash: Hash,
}

impl Tip {
    /// Before the first line.
    pub const START: Self = Self { seq: 0, hash: Hash::ZERO };

    /// Ends the line that begins at `start` in the buffer, which has everything but the chain
    /// fields, and moves on to it.
    pub(super) fn seal(&mut self, buffer: &mut Vec<u8>, start: usize) {
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

/// The chain fields of a line, and whether the line is what its hash says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// The hash of the line before.
    pub prev: Hash,
    /// The line's hash, as it says itself.
    pub stated: Hash,
    /// The line's hash, as its bytes say.
    pub computed: Hash,
}

impl Seal {
    /// Reads the end of a line (without its line end). `None` where it is no sealed line.
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

    /// Whether the line is what its hash says.
    pub fn holds(&self) -> bool {
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
        tip.seal(&mut buffer, 0);
        let line = buffer.strip_suffix(b"\n").unwrap();
        let seal = Seal::read(line).unwrap();
        assert!(seal.holds());
        assert_eq!((seal.prev, seal.stated, tip.seq), (Hash::ZERO, tip.hash, 1));

        for at in 0..line.len() {
            let mut changed = line.to_vec();
            changed[at] ^= 1;
            assert!(Seal::read(&changed).is_none_or(|seal| !seal.holds()), "byte {at}");
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
