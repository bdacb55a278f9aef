//! The entries of the shared cache: their names, and what seals them.
//!
//! ```text
//! key of the profile ── HKDF-Extract ──▶ PRK ── HKDF-Expand(origin, profile, credentials, target) ──▶ 32 bytes: AES key
//!                                                                                                     24 bytes: name
//! ```
//!
//! So each object has a key of its own, which seals a few versions of one response, and random nonces are safe. Whoever
//! has other credentials, or another profile, cannot even name it. The store sees sizes, times and counts.
//!
//! An entry is `PGC1 | version of the key 4 | asof 8 | nonce 12 | AES-256-GCM(content) | tag 16`. What is in clear is
//! sealed with it.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    hkdf::Prk,
    hmac,
};
use base64::prelude::{BASE64_URL_SAFE_NO_PAD, Engine as _};
use bytes::Bytes;
use zeroize::Zeroizing;

use super::{
    horizon::Position,
    keys::{Key, fill},
};

/// One version of a profile's key, with the credentials that its entries were fetched with.
pub struct EntryKey {
    version: u32,
    prk: Prk,
    credentials: [u8; 32],
}

/// A keyed digest of the seven values.
pub struct Identity(hmac::Context);

impl Identity {
    /// Adds a value.
    pub fn add(&mut self, value: &[u8]) {
        self.0.update(&length(value));
        self.0.update(value);
    }
}

/// Where the entry of one object is, and what seals it.
pub struct EntryPlace {
    version: u32,
    name: String,
    key: RandomizedNonceKey,
}

/// What an entry is about.
#[derive(Clone, Copy, Debug)]
pub struct EntrySubject<'a> {
    /// The upstream.
    pub origin: &'a str,
    /// The profile.
    pub profile: &'a str,
    /// Path and query, in their one spelling.
    pub target: &'a str,
    /// The request's `Accept-Encoding` in its normal form, if it has one.
    pub coding: Option<&'a [u8]>,
}

/// An entry that was opened.
#[derive(Debug, PartialEq, Eq)]
pub struct Opened {
    /// Where the stream was when its fetch began.
    pub asof: Position,
    /// Its content.
    pub content: Bytes,
}

impl EntryKey {
    /// `identify` adds the seven values, in their order. Their content identifies them, because numbers of versions
    /// differ from process to process.
    pub fn new(key: &Key, identify: impl FnOnce(&mut Identity)) -> Option<Self> {
        let prk = key.extract(PURPOSE);
        let mut bytes = Zeroizing::new([0; 32]);
        fill(&prk, &[b"credentials"], &mut *bytes)?;
        let key_of_identity = hmac::Key::new(hmac::HMAC_SHA256, &*bytes);
        let mut identity = Identity(hmac::Context::with_key(&key_of_identity));
        identify(&mut identity);
        let credentials = identity.0.sign().as_ref().try_into().ok()?;
        Some(Self { version: key.id(), prk, credentials })
    }

    fn place(&self, fleet: &str, subject: &EntrySubject<'_>) -> Option<EntryPlace> {
        let EntrySubject { origin, profile, target, coding } = subject;
        let coding = coding.map(|coding| [b"=", coding].concat()).unwrap_or_default();
        let parts: [&[u8]; 6] = [
            MAGIC,
            origin.as_bytes(),
            profile.as_bytes(),
            &self.credentials,
            target.as_bytes(),
            &coding,
        ];
        let mut info = Vec::with_capacity(256);
        for part in parts {
            info.extend_from_slice(&length(part));
            info.extend_from_slice(part);
        }
        let mut derived = Zeroizing::new([0; 56]);
        fill(&self.prk, &[&info], &mut *derived)?;
        let (key, name) = derived.split_at(32);
        Some(EntryPlace {
            version: self.version,
            name: format!("pgw:{{{fleet}}}:c:{}", BASE64_URL_SAFE_NO_PAD.encode(name)),
            key: RandomizedNonceKey::new(&AES_256_GCM, key).ok()?,
        })
    }
}

impl EntryPlace {
    /// The place of an object in a fleet.
    pub fn of(key: &EntryKey, fleet: &str, subject: &EntrySubject<'_>) -> Option<Self> {
        key.place(fleet, subject)
    }

    /// Its name in the store.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Seals what was fetched after that position.
    pub fn seal(&self, asof: Position, content: &[u8]) -> Option<Vec<u8>> {
        let head = self.head(asof);
        let mut sealed = Vec::with_capacity(HEAD + NONCE_LEN + content.len() + 16);
        sealed.extend_from_slice(content);
        let nonce = self.key.seal_in_place_append_tag(Aad::from(&head), &mut sealed).ok()?;
        Some([&head[..], nonce.as_ref(), &sealed].concat())
    }

    /// Opens an entry of this place; `None` if nobody with this key has sealed it for here.
    pub fn open(&self, mut entry: Vec<u8>) -> Option<Opened> {
        let (head, rest) = entry.split_at_mut_checked(HEAD)?;
        let asof = head.get(8..).and_then(|asof| asof.try_into().ok()).map(u64::from_be_bytes)?;
        let asof = Position::from_bits(asof);
        if *head != self.head(asof) {
            return None;
        }
        let (nonce, sealed) = rest.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let length = self.key.open_in_place(nonce, Aad::from(head), sealed).ok()?.len();
        let content = Bytes::from(entry).split_off(HEAD + NONCE_LEN).split_to(length);
        Some(Opened { asof, content })
    }

    fn head(&self, asof: Position) -> [u8; HEAD] {
        let mut head = [0; HEAD];
        let (magic, rest) = head.split_at_mut(MAGIC.len());
        let (version, position) = rest.split_at_mut(4);
        magic.copy_from_slice(MAGIC);
        version.copy_from_slice(&self.version.to_be_bytes());
        position.copy_from_slice(&asof.bits().to_be_bytes());
        head
    }
}

fn length(part: &[u8]) -> [u8; 4] {
    u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes()
}

impl std::fmt::Debug for EntryKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EntryKey({})", self.version)
    }
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Identity")
    }
}

impl std::fmt::Debug for EntryPlace {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EntryPlace({})", self.name)
    }
}

/// What the keys are derived for.
const PURPOSE: &[u8] = b"pigello-gateway shared cache 1";
/// The first format.
const MAGIC: &[u8; 4] = b"PGC1";
const HEAD: usize = MAGIC.len() + 4 + 8;

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    const VALUES: [&str; 7] = ["c", "a", "s", "v", "ct", "e", "made-up-secret"];

    fn entry_key(byte: u8, values: [&str; 7]) -> EntryKey {
        let text = super::super::keys::tests::line(byte);
        let key = Key::parse(text.as_bytes(), Some(7), Instant::now()).unwrap();
        let identify = |it: &mut Identity| values.iter().for_each(|value| it.add(value.as_bytes()));
        EntryKey::new(&key, identify).unwrap()
    }

    const SUBJECT: EntrySubject<'static> = EntrySubject {
        origin: "https://api.pigello.io",
        profile: "production",
        target: "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/",
        coding: Some(b"br,gzip"),
    };

    fn place() -> EntryPlace {
        entry_key(1, VALUES).place("prod", &SUBJECT).unwrap()
    }

    /// Computed from RFC 5869 and RFC 2104 with another program (Python's `hmac` and `hashlib`).
    #[test]
    fn the_derivation_has_known_answers() {
        let key = entry_key(1, VALUES);
        assert_eq!(key.credentials.to_vec(), from_hex(KNOWN_CREDENTIALS));
        assert_eq!(place().name(), KNOWN_NAME);
        let opened = place().open(from_hex(KNOWN_ENTRY)).unwrap();
        assert_eq!(opened.asof, Position::new(1_800_000_000_000, 3));
        assert_eq!(opened.content, "made-up content");
    }

    const KNOWN_CREDENTIALS: &str =
        "96755bb499eab86f241727d90c34e5436a8f30f97b24bd816938b2f77730a1cf";
    const KNOWN_NAME: &str = "pgw:{prod}:c:As-7ZZaC36g_eogb35Unw824QQyTZCFq";
    const KNOWN_ENTRY: &str = "50474331000000071a3185c500000003000102030405060708090a0bb1e2cefb0b90e193c9e0c065979dd39ac1\
        6e1dee9e6227deedef7d6fa63cc9";

    fn from_hex(text: &str) -> Vec<u8> {
        let digits = text.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).unwrap());
        digits.map(|two| u8::from_str_radix(two, 16).unwrap()).collect()
    }

    #[test]
    fn every_part_of_the_subject_makes_another_name() {
        let mut names = vec![place().name().to_owned()];
        let mut add = |key: EntryKey, fleet: &str, subject: EntrySubject<'_>| {
            names.push(key.place(fleet, &subject).unwrap().name().to_owned());
        };
        let key = || entry_key(1, VALUES);
        add(entry_key(2, VALUES), "prod", SUBJECT);
        add(key(), "prod2", SUBJECT);
        add(key(), "prod", EntrySubject { origin: "https://api.pigello.i", ..SUBJECT });
        add(key(), "prod", EntrySubject { profile: "oproduction", ..SUBJECT });
        add(key(), "prod", EntrySubject { target: "/", ..SUBJECT });
        add(key(), "prod", EntrySubject { coding: None, ..SUBJECT });
        add(key(), "prod", EntrySubject { coding: Some(b""), ..SUBJECT });
        for at in 0..7 {
            let mut values = VALUES;
            values[at] = "other";
            add(entry_key(1, values), "prod", SUBJECT);
        }
        add(entry_key(1, ["ca", "", "s", "v", "ct", "e", "made-up-secret"]), "prod", SUBJECT);
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(
            names.iter().all(|name| !name.contains("6b7d1c1e") && !name.contains("production"))
        );
    }

    #[test]
    fn an_entry_is_opened_in_its_place_alone_and_as_it_was_sealed() {
        let (place, asof) = (place(), Position::new(5, 6));
        let sealed = place.seal(asof, b"canary").unwrap();
        assert!(!sealed.windows(6).any(|part| part == b"canary"));
        let content = Bytes::from_static(b"canary");
        assert_eq!(place.open(sealed.clone()), Some(Opened { asof, content }));
        for at in 0..sealed.len() {
            for bit in 0..8 {
                let mut forged = sealed.clone();
                forged[at] ^= 1 << bit;
                assert_eq!(place.open(forged), None, "byte {at}, bit {bit}");
            }
            assert_eq!(place.open(sealed[..at].to_vec()), None, "{at} bytes");
        }
        let other = EntrySubject { target: "/other/", ..SUBJECT };
        let other = entry_key(1, VALUES).place("prod", &other).unwrap();
        assert_eq!(other.open(sealed.clone()), None, "an entry of another object");
        assert_eq!(entry_key(2, VALUES).place("prod", &SUBJECT).unwrap().open(sealed), None);
    }
}
