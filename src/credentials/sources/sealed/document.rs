//! The content of a sealed store: a JSON document.
//!
//! ```json
//! {
//!   "format": "pigello-gateway-credentials/1",
//!   "fingerprint_salt": "…",
//!   "sets": {
//!     "production": {
//!       "last_version": 4,
//!       "current":  { "version": 3, "created": "2026-01-31T12:00:00Z", "values": { "customer_id": "…" } },
//!       "previous": { "version": 2, … },
//!       "staged":   { "version": 4, … }
//!     }
//!   }
//! }
//! ```
//!
//! `previous` and `staged` may be absent. `age -d -i KEY_FILE STORE` prints the document.

use std::{collections::BTreeMap, fmt, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize, Serializer, de, ser::SerializeMap as _};
use zeroize::Zeroizing;

use crate::{
    credentials::set::{
        CredentialSet, Identifiers, PartialSet, SetBuilder, SetVersion, ValueFromJson, ValueName,
        ValueProblems,
    },
    secret::{SecretBuffer, SecretText},
};

const FORMAT: &str = "pigello-gateway-credentials/1";

/// The content of a store.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Document {
    format: FormatMark,
    /// The key of the fingerprints that `credentials show` prints. It is not a secret.
    pub fingerprint_salt: String,
    /// The sets by name.
    pub sets: BTreeMap<String, StoredSet>,
}

impl Document {
    /// A store without sets.
    pub fn empty() -> Self {
        Self {
            format: FormatMark,
            fingerprint_salt: uuid::Uuid::new_v4().simple().to_string(),
            sets: BTreeMap::new(),
        }
    }

    /// Reads a document that [`Self::to_bytes`] wrote. An error quotes nothing of it.
    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Misfit> {
        serde_json::from_slice(bytes)
            .map_err(|error| Misfit { line: error.line(), column: error.column() })
    }

    /// The document as text, in a buffer that is wiped.
    pub(super) fn to_bytes(&self) -> Result<SecretBuffer, serde_json::Error> {
        // Sized for the worst case, in which each character is escaped, because a buffer that grows leaves copies
        // behind.
        let versions = self.sets.values().flat_map(StoredSet::versions);
        let length = |value: &SecretText| value.expose_to(|text| text.len() * 2 + 64);
        let values: usize = versions
            .map(|version| 256 + version.values.iter().map(|(_, it)| length(it)).sum::<usize>())
            .sum();
        let names: usize = self.sets.keys().map(|name| name.len() * 6 + 64).sum();
        let mut bytes = Zeroizing::new(Vec::with_capacity(256 + values + names));
        serde_json::to_writer_pretty(&mut *bytes, self)?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

/// The content of the store is not such a document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {line}, column {column}: not a credential store of this program, or of a newer one")]
pub struct Misfit {
    line: usize,
    column: usize,
}

/// One named set, in up to three versions.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredSet {
    /// The highest number given so far. Numbers are never given twice.
    pub last_version: u64,
    /// The version in use.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub current: Option<StoredVersion>,
    /// The version that was in use before it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub previous: Option<StoredVersion>,
    /// The version to use next, after a trial.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub staged: Option<StoredVersion>,
}

impl StoredSet {
    /// A set without versions.
    pub const fn empty() -> Self {
        Self { last_version: 0, current: None, previous: None, staged: None }
    }

    /// The versions, newest last.
    pub fn versions(&self) -> impl Iterator<Item = &StoredVersion> {
        [&self.previous, &self.current, &self.staged].into_iter().flatten()
    }

    /// A new version of these values.
    pub fn next_version(&mut self, values: StoredValues, now: Timestamp) -> StoredVersion {
        self.last_version = self.last_version.saturating_add(1);
        StoredVersion { version: self.last_version, created: now, values }
    }

    /// Puts values into use. The version that was in use becomes the previous one.
    pub fn replace_current(&mut self, values: StoredValues, now: Timestamp) {
        let next = self.next_version(values, now);
        self.previous = self.current.replace(next).or_else(|| self.previous.take());
    }

    /// Puts the previous version into use, and keeps the one in use as the previous one. Returns its number;
    /// `None` if there is no previous one.
    pub fn go_back(&mut self) -> Option<u64> {
        let previous = self.previous.take()?;
        let number = previous.version;
        self.previous = self.current.replace(previous);
        Some(number)
    }

    /// Puts the staged version into use. False if there is none.
    pub fn promote(&mut self) -> bool {
        let Some(staged) = self.staged.take() else { return false };
        self.previous = self.current.replace(staged).or_else(|| self.previous.take());
        true
    }
}

/// One version of a set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredVersion {
    /// Its number, counted per set.
    pub version: u64,
    /// When it was written.
    pub created: Timestamp,
    /// The values; identifiers may be left to the configuration.
    pub values: StoredValues,
}

impl StoredVersion {
    /// The version as a set, if the store holds all seven values.
    pub fn to_set(&self) -> Result<CredentialSet, ValueProblems> {
        self.to_set_with(&Identifiers::new())
    }

    /// The version as a set, with the identifiers of a configuration.
    pub fn to_set_with(&self, fixed: &Identifiers) -> Result<CredentialSet, ValueProblems> {
        let mut builder = SetBuilder::default();
        for (name, value) in self.values.iter() {
            value.expose_to(|text| builder.offer(name, text.as_bytes()));
        }
        builder.into_set(SetVersion::new(self.version.to_string()), fixed)
    }
}

/// Values by name. Versions share them, because a new version often changes only one.
#[derive(Clone, Debug, Default)]
pub struct StoredValues(BTreeMap<ValueName, Arc<SecretText>>);

impl StoredValues {
    /// Sets a value.
    pub fn insert(&mut self, name: ValueName, value: SecretText) {
        self.0.insert(name, Arc::new(value));
    }

    /// The value of that name.
    pub fn get(&self, name: ValueName) -> Option<&SecretText> {
        self.0.get(&name).map(AsRef::as_ref)
    }

    /// Takes the values of a partial set.
    pub fn from_partial(mut partial: PartialSet) -> Self {
        let found = ValueName::ALL.into_iter();
        Self(found.filter_map(|name| Some((name, Arc::new(partial.take(name)?)))).collect())
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values, in the order of [`ValueName::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (ValueName, &SecretText)> {
        self.0.iter().map(|(name, value)| (*name, value.as_ref()))
    }

    /// These values, and those of an older version that are not among them.
    #[must_use]
    pub fn over(self, older: Option<&StoredVersion>) -> Self {
        self.over_values(older.map(|version| version.values.clone()).unwrap_or_default())
    }

    /// These values, and older ones that are not among them.
    #[must_use]
    pub fn over_values(self, mut older: Self) -> Self {
        older.0.extend(self.0);
        older
    }

    /// Whether both hold the same values.
    pub fn same_as(&self, other: &Self) -> bool {
        self.0.len() == other.0.len()
            && self.iter().all(|(name, value)| other.get(name).is_some_and(|o| o.same_as(value)))
    }
}

impl Serialize for StoredValues {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        struct Exposed<'a>(&'a SecretText);
        impl Serialize for Exposed<'_> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                self.0.expose_to(|text| serializer.serialize_str(text))
            }
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.iter() {
            map.serialize_entry(name.key(), &Exposed(value))?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for StoredValues {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ValuesVisitor)
    }
}

struct ValuesVisitor;

impl<'de> de::Visitor<'de> for ValuesVisitor {
    type Value = StoredValues;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("values by name")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<StoredValues, A::Error> {
        let mut values = StoredValues::default();
        while let Some(key) = map.next_key::<String>()? {
            let name = ValueName::from_key(&key)
                .ok_or_else(|| de::Error::custom("a name that is none of the seven"))?;
            let Ok(value) = map.next_value::<ValueFromJson>()?.0 else {
                return Err(de::Error::custom("a value that cannot be sent"));
            };
            values.insert(name, value);
        }
        Ok(values)
    }
}

/// The field that marks a store.
#[derive(Debug)]
struct FormatMark;

impl Serialize for FormatMark {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(FORMAT)
    }
}

impl<'de> Deserialize<'de> for FormatMark {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == FORMAT { Ok(Self) } else { Err(de::Error::custom("another format")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> SecretText {
        SecretText::parse(value.as_bytes()).unwrap()
    }

    fn values(entries: &[(ValueName, &str)]) -> StoredValues {
        let mut values = StoredValues::default();
        for (name, value) in entries {
            values.insert(*name, text(value));
        }
        values
    }

    #[test]
    fn it_reads_what_it_writes_whatever_the_characters() {
        let mut document = Document::empty();
        let mut set = StoredSet::empty();
        set.replace_current(
            values(&[(ValueName::ClientSecret, r#"made"up\/~"#)]),
            Timestamp::now(),
        );
        set.replace_current(values(&[(ValueName::ClientCt, "001200340056")]), Timestamp::now());
        document.sets.insert("a \"name\"".to_owned(), set);
        let bytes = document.to_bytes().unwrap();
        let again = Document::from_bytes(&bytes).unwrap();
        let set = &again.sets["a \"name\""];
        assert_eq!(set.last_version, 2);
        assert!(
            set.current
                .as_ref()
                .unwrap()
                .values
                .same_as(&values(&[(ValueName::ClientCt, "001200340056")]))
        );
        let previous = set.previous.as_ref().unwrap();
        assert!(
            previous.values.get(ValueName::ClientSecret).unwrap().same_as(&text(r#"made"up\/~"#))
        );
        assert_eq!(again.fingerprint_salt, document.fingerprint_salt);
        assert!(!format!("{again:?}").contains("001200340056"));
    }

    #[test]
    fn the_buffer_is_never_grown() {
        let mut document = Document::empty();
        let full: String = "\\".repeat(SecretText::MAX_BYTES);
        for set_name in ["a", "b", "\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}\u{1}"] {
            let mut set = StoredSet::empty();
            for _ in 0..2 {
                let all: Vec<_> =
                    ValueName::ALL.iter().map(|name| (*name, full.as_str())).collect();
                set.replace_current(values(&all), Timestamp::now());
            }
            document.sets.insert(set_name.to_owned(), set);
        }
        let bytes = document.to_bytes().unwrap();
        let exact = serde_json::to_vec_pretty(&document).unwrap().len() + 1;
        assert_eq!(bytes.len(), exact);
        // A grown buffer would have at least doubled its first capacity.
        assert!(bytes.capacity() < 2 * bytes.len());
    }

    #[test]
    fn another_format_and_odd_values_are_refused_without_a_quote() {
        for text in [
            r#"{"format":"canary/9","fingerprint_salt":"x","sets":{}}"#,
            r#"{"format":"pigello-gateway-credentials/1","fingerprint_salt":"x","sets":{"a":{"last_version":1,"current":{"version":1,"created":"2026-01-01T00:00:00Z","values":{"client_secret":"canary\n\n"}}}}}"#,
            r#"{"format":"pigello-gateway-credentials/1","fingerprint_salt":"x","sets":{"a":{"last_version":"canary"}}}"#,
            "canary",
        ] {
            let error = Document::from_bytes(text.as_bytes()).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
        }
    }

    #[test]
    fn promoting_keeps_what_was_used() {
        let mut set = StoredSet::empty();
        assert!(!set.promote());
        set.replace_current(values(&[(ValueName::ClientCt, "1")]), Timestamp::now());
        let staged = set.next_version(values(&[(ValueName::ClientCt, "2")]), Timestamp::now());
        set.staged = Some(staged);
        assert_eq!(set.versions().map(|v| v.version).collect::<Vec<_>>(), [1, 2]);
        assert!(set.promote());
        assert_eq!(set.previous.as_ref().unwrap().version, 1);
        assert_eq!(set.current.as_ref().unwrap().version, 2);
        assert!(set.staged.is_none());
    }
}
