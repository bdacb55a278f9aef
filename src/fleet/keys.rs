//! The keys that the members of a fleet share: of the notices, and of each profile's part of the shared cache.
//!
//! A key is 32 bytes, and its source has versions of it: the newest, and the one before. They are read in the background
//! (`crate::credentials`), so a start waits for nothing. Who uses them has a [`KeyRing`].
//!
//! ```text
//! source of a new version ── read by one member ── by the next one ── … ── by all ──▶ now it seals
//!                                                                        ▲
//!                                        two intervals after it was made ┘
//! ```

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use aws_lc_rs::hkdf::{HKDF_SHA256, Prk, Salt};
use base64::prelude::{BASE64_STANDARD, Engine as _};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};
use zeroize::Zeroizing;

use crate::domain::{ProfileName, Span};

/// Where a key comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(extend("required" = ["source", "path"]))]
pub struct KeySource {
    /// `vault`: a secret of the vault of `[vault]`, with the second key-value engine. `file`: a file.
    #[schemars(required)]
    pub source: Option<KeySourceKind>,
    /// With `vault`: the path of the secret below its mount. With `file`: the file, which nobody else may read, with a
    /// key on its first line, and on a second line the one before. In the `cache_key` of a template `{profile}` stands
    /// for the name of a member.
    pub path: String,
    /// With `vault`: where the key-value engine is mounted. Default: `secret`.
    pub mount: Option<String>,
    /// With `vault`: the field of the secret, 32 bytes in Base64. Default: `key`.
    pub field: Option<String>,
    /// How often it is read again. A new version in a vault seals two such times after it was made, when all members
    /// have it.
    pub refresh: Span,
}

/// The kinds of sources of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KeySourceKind {
    /// HashiCorp Vault or OpenBao.
    Vault,
    /// A file.
    File,
}

impl KeySource {
    /// The mount of a secret in a vault.
    pub fn mount(&self) -> &str {
        self.mount.as_deref().unwrap_or("secret")
    }

    /// The field of a secret in a vault.
    pub fn field(&self) -> &str {
        self.field.as_deref().unwrap_or("key")
    }
}

impl Default for KeySource {
    fn default() -> Self {
        let (mount, field, refresh) = (None, None, Span::from_secs(60));
        Self { source: None, path: String::new(), mount, field, refresh }
    }
}

/// One version of a key.
pub struct Key {
    id: u32,
    bytes: Zeroizing<[u8; 32]>,
    /// When all members have it.
    shared_by_all: Instant,
}

impl Key {
    /// From its text: 32 bytes in Base64. `id` is the version; without one, it is derived from the key.
    pub fn parse(text: &[u8], id: Option<u32>, shared_by_all: Instant) -> Option<Self> {
        let decoded = Zeroizing::new(BASE64_STANDARD.decode(text.trim_ascii()).ok()?);
        let bytes = Zeroizing::new(<[u8; 32]>::try_from(decoded.as_slice()).ok()?);
        let mut key = Self { id: 0, bytes, shared_by_all };
        key.id = match id {
            Some(id) => id,
            None => key.derived_id()?,
        };
        Some(key)
    }

    /// The keys of a file: one a line, the newest first.
    pub fn of_file(text: &[u8]) -> Option<Keys> {
        let lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with(b"#"));
        // Who writes the file says by the order which one seals.
        let now = Instant::now();
        let keys: Vec<_> = lines.map(|line| Self::parse(line, None, now)).collect::<Option<_>>()?;
        (!keys.is_empty()).then_some(Keys(keys))
    }

    /// Its version.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// What keys for one purpose are derived from.
    pub(super) fn extract(&self, purpose: &[u8]) -> Prk {
        Salt::new(HKDF_SHA256, purpose).extract(&*self.bytes)
    }

    fn derived_id(&self) -> Option<u32> {
        let mut id = [0; 4];
        fill(&self.extract(b"pigello-gateway key id 1"), &[], &mut id)?;
        Some(u32::from_be_bytes(id))
    }
}

/// HKDF-Expand, to as many bytes as there is room for.
pub(super) fn fill(prk: &Prk, info: &[&[u8]], to: &mut [u8]) -> Option<()> {
    prk.expand(info, Length(to.len())).and_then(|derived| derived.fill(to)).ok()
}

struct Length(usize);

impl aws_lc_rs::hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

/// The versions of a key, the newest first.
#[derive(Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// From its versions, the newest first.
    pub fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// The version that seals: the newest one that all members have.
    pub fn sealing(&self) -> Option<&Key> {
        let now = Instant::now();
        self.0.iter().find(|key| key.shared_by_all <= now).or(self.0.last())
    }

    /// All versions, the newest first.
    pub fn all(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// The version that seals, and those that other members may seal with now: a newer one, and for as long as `lasts`
    /// the one before.
    pub fn in_use(&self, lasts: Duration) -> impl Iterator<Item = &Key> {
        let now = Instant::now();
        let sealing = self.sealing();
        let others = self.0.iter().filter(move |key| {
            let is_older = |than: &Key| !std::ptr::eq(*key, than) && key.shared_by_all <= now;
            sealing.is_some_and(|sealing| {
                !std::ptr::eq(*key, sealing)
                    && (!is_older(sealing) || sealing.shared_by_all + lasts > now)
            })
        });
        sealing.into_iter().chain(others)
    }

    /// Whether there is no version.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both have the same versions.
    fn is_same(&self, other: &Self) -> bool {
        let parts = |keys: &Self| keys.0.iter().map(|key| key.id).collect::<Vec<_>>();
        let same = |(one, two): (&Key, &Key)| {
            aws_lc_rs::constant_time::verify_slices_are_equal(&*one.bytes, &*two.bytes).is_ok()
        };
        parts(self) == parts(other) && self.0.iter().zip(&other.0).all(same)
    }
}

/// The versions of a key as they were read last. They are none before the first reading, and after their source has
/// said that there are none.
pub struct KeyRing {
    held: watch::Sender<Held>,
    wanted: Notify,
}

#[derive(Clone, Default)]
struct Held {
    keys: Arc<Keys>,
    /// When these versions were first read.
    loaded: Option<Moment>,
    /// When their source gave them the last time.
    confirmed: Option<Moment>,
    /// Why the last reading failed.
    error: Option<Arc<str>>,
}

/// A time, by the clock of the machine and by one that does not jump.
#[derive(Clone, Copy)]
struct Moment {
    time: Timestamp,
    instant: Instant,
}

impl Moment {
    fn now() -> Self {
        Self { time: Timestamp::now(), instant: Instant::now() }
    }
}

/// A key as `/status` shows it: its versions, and never a byte of one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeyStatus {
    /// The versions that are there, the newest first. Of a file, each is a number that is derived from the key.
    pub versions: Vec<u32>,
    /// The version that seals.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seals: Option<u32>,
    /// When these versions were first read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loaded_at: Option<Timestamp>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age_seconds: Option<u64>,
    /// When the source gave a key the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confirmed_at: Option<Timestamp>,
    /// Seconds since then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unconfirmed_seconds: Option<u64>,
    /// Why the last reading failed, if it did. What is there is used on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl KeyRing {
    /// Holds nothing yet.
    pub fn new() -> Arc<Self> {
        Arc::new(Self { held: watch::Sender::default(), wanted: Notify::new() })
    }

    /// The versions now.
    pub fn keys(&self) -> Arc<Keys> {
        Arc::clone(&self.held.borrow().keys)
    }

    /// Why the last reading failed.
    pub fn error(&self) -> Option<Arc<str>> {
        self.held.borrow().error.clone()
    }

    /// Whether the last reading failed.
    pub fn is_unread(&self) -> bool {
        self.held.borrow().error.is_some()
    }

    /// Its state.
    pub fn status(&self) -> KeyStatus {
        let held = self.held.borrow().clone();
        let seconds = |moment: Option<Moment>| Some(moment?.instant.elapsed().as_secs());
        let time = |moment: Option<Moment>| Some(moment?.time);
        KeyStatus {
            versions: held.keys.all().map(Key::id).collect(),
            seals: held.keys.sealing().map(Key::id),
            loaded_at: time(held.loaded),
            age_seconds: seconds(held.loaded),
            confirmed_at: time(held.confirmed),
            unconfirmed_seconds: seconds(held.confirmed),
            last_error: held.error.as_deref().map(str::to_owned),
        }
    }

    /// Waits until there is a key.
    pub async fn filled(&self) {
        // The sender lives as long as this.
        drop(self.held.subscribe().wait_for(|held| !held.keys.is_empty()).await);
    }

    /// Waits until there is none.
    pub async fn emptied(&self) {
        drop(self.held.subscribe().wait_for(|held| held.keys.is_empty()).await);
    }

    /// Has it read again soon.
    pub fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until it is to be read again.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Takes what was read. Returns whether that is another key than before.
    pub fn put(&self, keys: Keys) -> bool {
        let mut is_new = false;
        self.held.send_if_modified(|held| {
            is_new = !held.keys.is_same(&keys);
            // The same versions of a file are in use for longer.
            held.keys = Arc::new(keys);
            let now = Some(Moment::now());
            held.loaded = held.loaded.filter(|_| !is_new).or(now);
            (held.confirmed, held.error) = (now, None);
            is_new
        });
        is_new
    }

    /// Notes that it could not be read: what there was is used on, unless its source `is_without` it.
    pub fn failed(&self, error: String, is_without: bool) {
        self.held.send_modify(|held| {
            if is_without {
                (held.keys, held.loaded) = (Arc::default(), None);
            }
            held.error = Some(error.into());
        });
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", self.id)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.0).finish()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({:?})", self.keys())
    }
}

/// Why there is no key. No message quotes one.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The key has not been read.
    #[error("the fleet's key is not there yet")]
    NotRead,
    /// Its source has said why there is none.
    #[error("the fleet's key cannot be read: {_0}")]
    Unread(Arc<str>),
    /// A line is no key, or there is none.
    #[error("{} does not hold keys of 32 bytes in Base64, one a line", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
}

/// The path of a member's key, in the place of a template's.
pub fn path_for_member(path: &str, member: &ProfileName) -> String {
    path.replace(crate::domain::PROFILE_PLACE, member.as_str())
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::time::advance;

    use super::*;

    /// A line of a file with a made-up key.
    pub(in crate::fleet) fn line(byte: u8) -> String {
        BASE64_STANDARD.encode([byte; 32])
    }

    /// A ring with the keys of a file.
    pub(in crate::fleet) fn ring(lines: &str) -> Arc<KeyRing> {
        let ring = KeyRing::new();
        ring.put(Key::of_file(lines.as_bytes()).unwrap());
        ring
    }

    fn ids(keys: &Keys) -> (u32, Vec<u32>) {
        let in_use = keys.in_use(SETTLE).map(Key::id).collect();
        (keys.sealing().unwrap().id(), in_use)
    }

    const SETTLE: Duration = Duration::from_mins(2);

    #[tokio::test(start_paused = true)]
    async fn a_new_version_seals_when_all_have_it_and_the_old_one_opens_for_as_long_again() {
        let now = Instant::now();
        let key = |id: u32, at| Key::parse(line(1).as_bytes(), Some(id), at).unwrap();
        let keys = Keys::new(vec![key(8, now + SETTLE), key(7, now)]);
        assert_eq!(ids(&keys), (7, vec![7, 8]));
        advance(SETTLE).await;
        assert_eq!(ids(&keys), (8, vec![8, 7]));
        advance(SETTLE).await;
        assert_eq!(ids(&keys), (8, vec![8]));
        let alone = Keys::new(vec![key(8, Instant::now() + SETTLE)]);
        assert_eq!(ids(&alone), (8, vec![8]), "there is no other");
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_line_of_a_file_seals() {
        let keys = Key::of_file(format!("# since May\n{}\n{}\n", line(2), line(1)).as_bytes());
        let keys = keys.unwrap();
        let (sealing, in_use) = ids(&keys);
        assert_eq!((in_use.len(), in_use[0]), (2, sealing));
        assert_eq!(ids(&Key::of_file(line(2).as_bytes()).unwrap()).0, sealing);
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let short = BASE64_STANDARD.encode([7; 31]);
        for text in ["", "# none\n", "made-up", &short, &format!("{}\nmade-up", line(1))] {
            assert!(Key::of_file(text.as_bytes()).is_none(), "{text}");
        }
    }

    #[tokio::test]
    async fn a_key_stays_while_its_source_is_away_and_goes_when_it_has_none() {
        let ring = ring(&line(1));
        ring.failed("away".to_owned(), false);
        assert!(!ring.keys().is_empty());
        assert_eq!(ring.error().as_deref(), Some("away"));
        ring.failed("gone".to_owned(), true);
        assert!(ring.keys().is_empty());
        assert!(ring.put(Key::of_file(line(1).as_bytes()).unwrap()));
        assert!(!ring.put(Key::of_file(line(1).as_bytes()).unwrap()), "the same one");
        assert_eq!(ring.error(), None);
        assert!(!format!("{ring:?}").contains("AQEB"));
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_says_since_when_a_key_is_in_use_and_why_it_was_not_read_again() {
        let ring = KeyRing::new();
        let nothing = ring.status();
        assert_eq!((nothing.versions, nothing.seals, nothing.age_seconds), (vec![], None, None));
        let lines = format!("{}\n{}\n", line(2), line(1));
        let read = || ring.put(Key::of_file(lines.as_bytes()).unwrap());
        assert!(read());
        advance(Duration::from_mins(1)).await;
        assert!(!read());
        advance(Duration::from_secs(5)).await;
        ring.failed("away".to_owned(), false);
        let status = ring.status();
        assert_eq!((status.versions.len(), status.seals), (2, Some(status.versions[0])));
        assert_eq!((status.age_seconds, status.unconfirmed_seconds), (Some(65), Some(5)));
        assert!(status.loaded_at.is_some() && status.confirmed_at.is_some() && ring.is_unread());
        assert_eq!(status.last_error.as_deref(), Some("away"));
        ring.failed("gone".to_owned(), true);
        let gone = ring.status();
        assert_eq!((gone.versions, gone.seals, gone.age_seconds), (vec![], None, None));
        assert_eq!((gone.unconfirmed_seconds, ring.is_unread()), (Some(5), true));
        assert!(read());
        assert_eq!((ring.status().age_seconds, ring.is_unread()), (Some(0), false));
    }
}
