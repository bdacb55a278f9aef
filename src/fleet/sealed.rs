//! Seals what members tell each other, so that the store neither reads nor forges it.
//!
//! A message is `PGF1 | publisher 16 | number 8 | nonce 12 | AES-256-GCM(changes) | tag 16`. Each process is a publisher
//! with a key of its own, which is derived from the fleet's: random nonces are safe for as many messages as it can
//! send. The numbers of a publisher have no gaps. One that is missing was kept back, and one that comes again is
//! skipped.
//!
//! The record of a member is `PGR1 | publisher 16 | nonce 12 | AES-256-GCM(record) | tag 16`, with the same key. It has
//! no number: whoever runs the store can show an old record, or none.

use std::{collections::HashMap, fmt, path::PathBuf};

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::{HKDF_SHA256, Prk, Salt},
    rand,
};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::process::files::{PrivateFileError, read_closed};

/// The keys of the fleet: the first seals, all open.
#[derive(Clone)]
pub(super) struct FleetKeys {
    keys: Vec<Prk>,
    /// The name of the fleet, which is part of every key.
    name: Box<str>,
}

/// A process that tells changes.
pub(super) type Publisher = [u8; 16];

/// Seals what this process tells.
pub(super) struct Sealer {
    publisher: Publisher,
    key: RandomizedNonceKey,
    number: u64,
}

/// Opens what others tell.
pub(super) struct Opener {
    keys: FleetKeys,
    own: Publisher,
    known: HashMap<Publisher, (RandomizedNonceKey, u64)>,
}

/// A message that was opened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    /// This process has told it itself.
    Own,
    /// It was opened before.
    Again,
    /// It follows the last one of its publisher, or is the first of all.
    Next(Vec<u8>),
    /// It is the first that came of its publisher, which has told others before.
    Midway(Vec<u8>),
    /// Another one is missing before it.
    AfterGap(Vec<u8>),
}

/// Nobody with a key of this fleet has sealed it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl FleetKeys {
    /// Reads the file: a line of 32 bytes in Base64 for each key.
    pub(super) fn read(path: &std::path::Path, name: &str) -> Result<Self, KeyError> {
        let text = read_closed(path)?;
        let keys = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let keys: Option<Vec<_>> =
            keys.filter(|line| !line.is_empty() && !line.starts_with(b"#")).map(key).collect();
        let keys = keys.filter(|keys| !keys.is_empty());
        let keys = keys.ok_or_else(|| KeyError::NoKey { path: path.to_owned() })?;
        Ok(Self { keys, name: name.into() })
    }

    /// Seals as a new publisher.
    pub(super) fn sealer(&self) -> Option<Sealer> {
        let mut publisher = Publisher::default();
        rand::fill(&mut publisher).ok()?;
        Some(Sealer { publisher, key: self.of(self.keys.first()?, &publisher)?, number: 0 })
    }

    /// Opens what others than that one tell.
    pub(super) fn opener(&self, own: &Sealer) -> Opener {
        Opener { keys: self.clone(), own: own.publisher, known: HashMap::new() }
    }

    /// Opens the record of a member.
    pub(super) fn open_record(&self, record: &[u8]) -> Result<(Publisher, Vec<u8>), Unreadable> {
        let (head, rest) = record.split_at_checked(RECORD_HEAD).ok_or(Unreadable)?;
        let publisher = head.strip_prefix(RECORD_MAGIC).ok_or(Unreadable)?;
        let publisher = publisher.try_into().map_err(|_| Unreadable)?;
        let mut keys = self.keys.iter().filter_map(|key| self.of(key, &publisher));
        let opened = keys.find_map(|key| open(&key, head, rest)).ok_or(Unreadable)?;
        Ok((publisher, opened))
    }

    /// The name under which the store knows something that it must not read, such as a profile.
    pub(super) fn hidden(&self, what: &str) -> Option<String> {
        let info = [self.name.as_bytes(), b" hidden ", what.as_bytes()];
        let mut name = [0; 32];
        let key = self.keys.first()?;
        key.expand(&info, &AES_256_GCM).and_then(|derived| derived.fill(&mut name)).ok()?;
        let (half, _) = name.split_first_chunk()?;
        Some(Uuid::from_bytes(*half).simple().to_string())
    }

    fn of(&self, key: &Prk, publisher: &Publisher) -> Option<RandomizedNonceKey> {
        let info = [self.name.as_bytes(), publisher];
        let mut bytes = Zeroizing::new([0; 32]);
        key.expand(&info, &AES_256_GCM).and_then(|derived| derived.fill(&mut *bytes)).ok()?;
        RandomizedNonceKey::new(&AES_256_GCM, &*bytes).ok()
    }
}

fn key(line: &[u8]) -> Option<Prk> {
    let bytes = Zeroizing::new(BASE64_STANDARD.decode(line).ok()?);
    let salt = Salt::new(HKDF_SHA256, b"pigello-gateway fleet 1");
    (bytes.len() == 32).then(|| salt.extract(&bytes))
}

impl Sealer {
    /// The number of the next message.
    pub(super) fn next(&mut self) -> Option<u64> {
        self.number = self.number.checked_add(1)?;
        Some(self.number)
    }

    /// Seals the message of that number. One that may not have arrived is sealed again, because what it says ages.
    pub(super) fn seal(&self, number: u64, changes: Vec<u8>) -> Option<Vec<u8>> {
        let head = [&MAGIC[..], &self.publisher, &number.to_be_bytes()].concat();
        seal(&self.key, &head, changes)
    }

    /// Seals a record of this member.
    pub(super) fn seal_record(&self, record: Vec<u8>) -> Option<Vec<u8>> {
        seal(&self.key, &[&RECORD_MAGIC[..], &self.publisher].concat(), record)
    }

    /// Identifies this process.
    pub(super) fn publisher(&self) -> Publisher {
        self.publisher
    }
}

fn seal(key: &RandomizedNonceKey, head: &[u8], mut text: Vec<u8>) -> Option<Vec<u8>> {
    let nonce = key.seal_in_place_append_tag(Aad::from(head), &mut text).ok()?;
    Some([head, nonce.as_ref(), &text].concat())
}

/// Opens what follows a head: nonce, text and tag.
fn open(key: &RandomizedNonceKey, head: &[u8], rest: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = rest.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut text = sealed.to_vec();
    let length = key.open_in_place(nonce, Aad::from(head), &mut text).ok()?.len();
    text.truncate(length);
    Some(text)
}

impl Opener {
    /// Opens a message.
    pub(super) fn open(&mut self, message: &[u8]) -> Result<Opened, Unreadable> {
        let (head, rest) = message.split_at_checked(HEAD).ok_or(Unreadable)?;
        let (publisher, number) = publisher_and_number(head).ok_or(Unreadable)?;
        if publisher == self.own {
            return Ok(Opened::Own);
        }
        let opened = |key: &RandomizedNonceKey| open(key, head, rest);
        if let Some((key, last)) = self.known.get_mut(&publisher) {
            let changes = opened(key).ok_or(Unreadable)?;
            if number <= *last {
                return Ok(Opened::Again);
            }
            let is_next = last.checked_add(1) == Some(number);
            *last = number;
            return Ok(if is_next { Opened::Next(changes) } else { Opened::AfterGap(changes) });
        }
        let mut keys = self.keys.keys.iter().filter_map(|key| self.keys.of(key, &publisher));
        let found = keys.find_map(|key| Some((opened(&key)?, key)));
        let (changes, key) = found.ok_or(Unreadable)?;
        if self.known.len() >= MOST_PUBLISHERS {
            self.known.clear();
        }
        self.known.insert(publisher, (key, number));
        Ok(if number == 1 { Opened::Next(changes) } else { Opened::Midway(changes) })
    }

    /// Takes any number for the next one, because messages were missed.
    pub(super) fn forget(&mut self) {
        self.known.clear();
    }
}

fn publisher_and_number(head: &[u8]) -> Option<(Publisher, u64)> {
    let (publisher, number) = head.strip_prefix(MAGIC)?.split_at_checked(16)?;
    Some((publisher.try_into().ok()?, u64::from_be_bytes(number.try_into().ok()?)))
}

impl fmt::Debug for FleetKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FleetKeys({} of {})", self.keys.len(), self.name)
    }
}

/// Why there is no key. No message quotes one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read, or others can.
    #[error(transparent)]
    File(#[from] PrivateFileError),
    /// A line is no key, or there is none.
    #[error("{} does not hold keys of 32 bytes in Base64, one a line", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// The first format.
const MAGIC: &[u8; 4] = b"PGF1";
const HEAD: usize = MAGIC.len() + 16 + 8;
/// The first format of a record.
const RECORD_MAGIC: &[u8; 4] = b"PGR1";
const RECORD_HEAD: usize = RECORD_MAGIC.len() + 16;
/// More than a fleet has processes in a day. Beyond it the numbers begin anew.
const MOST_PUBLISHERS: usize = 16_384;

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    fn keys(lines: &str, name: &str) -> Result<FleetKeys, KeyError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, lines).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        FleetKeys::read(&path, name)
    }

    fn line(byte: u8) -> String {
        BASE64_STANDARD.encode([byte; 32])
    }

    fn next(text: &str) -> Opened {
        Opened::Next(text.into())
    }

    fn sealed(sealer: &mut Sealer, text: &str) -> Vec<u8> {
        let number = sealer.next().unwrap();
        sealer.seal(number, text.into()).unwrap()
    }

    #[test]
    fn a_name_is_hidden_from_whoever_has_no_key() {
        let fleet = keys(&line(1), "prod").unwrap();
        let hidden = fleet.hidden("acme").unwrap();
        assert_eq!(fleet.hidden("acme").as_ref(), Some(&hidden));
        assert_eq!(hidden.len(), 32);
        for (other, what) in [
            (keys(&line(1), "prod").unwrap(), "acme2"),
            (keys(&line(2), "prod").unwrap(), "acme"),
            (keys(&line(1), "test").unwrap(), "acme"),
        ] {
            assert_ne!(other.hidden(what), Some(hidden.clone()));
        }
    }

    #[test]
    fn a_message_is_opened_by_members_of_the_same_fleet_alone() {
        let fleet = keys(&line(1), "prod").unwrap();
        let (mut sealer, other) = (fleet.sealer().unwrap(), fleet.sealer().unwrap());
        let message = sealed(&mut sealer, "canary");
        assert!(!message.windows(6).any(|part| part == b"canary"));
        assert_eq!(fleet.opener(&other).open(&message), Ok(next("canary")));
        assert_eq!(fleet.opener(&sealer).open(&message), Ok(Opened::Own));
        for stranger in [keys(&line(1), "test").unwrap(), keys(&line(2), "prod").unwrap()] {
            let own = stranger.sealer().unwrap();
            assert_eq!(stranger.opener(&own).open(&message), Err(Unreadable));
        }
        let mut opener = fleet.opener(&other);
        for at in 0..message.len() {
            let mut forged = message.clone();
            forged[at] ^= 1;
            assert_eq!(opener.open(&forged), Err(Unreadable), "byte {at}");
            assert_eq!(opener.open(&message[..at]), Err(Unreadable), "{at} bytes");
        }
    }

    #[test]
    fn a_record_is_opened_by_members_alone_and_is_no_message() {
        let fleet = keys(&line(1), "prod").unwrap();
        let mut sealer = fleet.sealer().unwrap();
        let record = sealer.seal_record(b"canary".to_vec()).unwrap();
        assert!(!record.windows(6).any(|part| part == b"canary"));
        let opened = fleet.open_record(&record).unwrap();
        assert_eq!(opened, (sealer.publisher(), b"canary".to_vec()));
        for stranger in [keys(&line(1), "test").unwrap(), keys(&line(2), "prod").unwrap()] {
            assert_eq!(stranger.open_record(&record), Err(Unreadable));
        }
        let both = keys(&format!("{}\n{}", line(2), line(1)), "prod").unwrap();
        assert!(both.open_record(&record).is_ok());
        for at in 0..record.len() {
            let mut forged = record.clone();
            forged[at] ^= 1;
            assert_eq!(fleet.open_record(&forged), Err(Unreadable), "byte {at}");
            assert_eq!(fleet.open_record(&record[..at]), Err(Unreadable), "{at} bytes");
        }
        let other = fleet.sealer().unwrap();
        assert_eq!(fleet.opener(&other).open(&record), Err(Unreadable));
        let message = sealed(&mut sealer, "x");
        assert_eq!(fleet.open_record(&message), Err(Unreadable));
    }

    #[test]
    fn a_message_that_is_missing_or_comes_again_is_seen() {
        let fleet = keys(&line(1), "prod").unwrap();
        let (mut sealer, own) = (fleet.sealer().unwrap(), fleet.sealer().unwrap());
        let messages: Vec<_> = ["a", "b", "c", "d"].map(|text| sealed(&mut sealer, text)).into();
        let mut opener = fleet.opener(&own);
        assert_eq!(opener.open(&messages[0]), Ok(next("a")));
        assert_eq!(opener.open(&messages[1]), Ok(next("b")));
        assert_eq!(opener.open(&messages[0]), Ok(Opened::Again));
        assert_eq!(opener.open(&messages[3]), Ok(Opened::AfterGap(b"d".to_vec())));
        opener.forget();
        assert_eq!(opener.open(&messages[2]), Ok(Opened::Midway(b"c".to_vec())));
        assert_eq!(opener.open(&messages[3]), Ok(next("d")));
        // What is sealed again has the same number.
        let again = sealer.seal(4, b"other".to_vec()).unwrap();
        assert_eq!(opener.open(&again), Ok(Opened::Again));
    }

    #[test]
    fn while_a_key_is_replaced_both_open() {
        let (old, new) = (line(1), line(2));
        let before = keys(&old, "prod").unwrap();
        let between = keys(&format!("# since May\n{new}\n{old}\n"), "prod").unwrap();
        let mut old_sealer = before.sealer().unwrap();
        let mut new_sealer = between.sealer().unwrap();
        let mut opener = between.opener(&new_sealer);
        assert_eq!(opener.open(&sealed(&mut old_sealer, "x")), Ok(next("x")));
        let message = sealed(&mut new_sealer, "y");
        assert_eq!(before.opener(&old_sealer).open(&message), Err(Unreadable));
    }

    #[test]
    fn what_is_no_key_is_told_and_never_quoted() {
        let short = BASE64_STANDARD.encode([7; 31]);
        for text in ["", "# none\n", "made-up", &short, &format!("{}\nmade-up", line(1))] {
            let error = keys(text, "prod").unwrap_err().to_string();
            assert!(error.contains("32 bytes in Base64") && !error.contains("made-up"), "{error}");
        }
    }
}
