//! What a member says of itself.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::Role;
use crate::domain::ProfileName;

/// What a member says of itself. A field that a later version adds is skipped by those before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What it is called, as in the audit trail.
    pub instance: String,
    /// What it is in the fleet.
    #[serde(default)]
    pub role: Role,
    /// The version of the program.
    pub version: String,
    /// The identifier of the configuration in force, which each audit record has as `policy`.
    pub configuration: String,
    /// When the process started, by its clock.
    pub started: Timestamp,
    /// The head of its audit trail, as of the last checkpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trail: Option<TrailHead>,
    /// What its event logs are, the worst of all profiles: `off`, `complete`, `incomplete` or `stopped`.
    pub event_log: String,
    /// The credentials in use: those of profiles with tables first, then of loaded members of templates.
    pub credentials: Vec<InUse>,
    /// How many more profiles there are.
    #[serde(default)]
    pub more: u64,
}

/// A line of an audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrailHead {
    /// The chain that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<String>,
    /// Its number.
    pub seq: u64,
    /// Its hash.
    pub hash: String,
    /// The signed head of the tree over the chain up to this line: a note (C2SP tlog-checkpoint).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The key that has signed it, as public tools take it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// After how many milliseconds the next head comes at the latest.
    #[serde(default)]
    pub interval_ms: u64,
    /// Whether the trail was closed here.
    #[serde(default)]
    pub ended: bool,
}

/// The credentials that a profile uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InUse {
    /// The profile.
    pub profile: ProfileName,
    /// Its credential set.
    pub set: String,
    /// The version in use, never a value; none if none is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The new version that waits until Pigello has accepted it from a member.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// The new version that Pigello refuses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<String>,
    /// The state of the set.
    pub state: String,
    /// Whether the key of its responses in the shared cache could not be read the last time.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cache_key_unread: bool,
}

impl InUse {
    /// The set with its version, `production 7`, and what is amiss: `production 7 (8 waits, cache key unread)`.
    fn in_words(&self) -> String {
        let used = format!("{} {}", self.set, self.version.as_deref().unwrap_or("–"));
        let new = match (&self.waiting, &self.refused) {
            (_, Some(refused)) => Some(format!("{refused} refused")),
            (Some(waiting), None) => Some(format!("{waiting} waits")),
            (None, None) => None,
        };
        let unread = self.cache_key_unread.then(|| "cache key unread".to_owned());
        let amiss: Vec<_> = new.into_iter().chain(unread).collect();
        if amiss.is_empty() { used } else { format!("{used} ({})", amiss.join(", ")) }
    }
}

/// Says what this member is now.
pub type Describe = Arc<dyn Fn() -> Record + Send + Sync>;

impl Record {
    /// Whether both say the same, but for the trail, which always grows.
    pub(super) fn says_the_same(&self, other: &Self) -> bool {
        let but_trail = |record: &Self| Self { trail: None, ..record.clone() };
        but_trail(self) == but_trail(other)
    }

    /// Whether its audit trail was closed properly.
    pub(super) fn has_ended(&self) -> bool {
        self.trail.as_ref().is_some_and(|trail| trail.ended)
    }

    /// The sets with their versions: `production 7, test 3 and 12 more`.
    pub fn credentials_in_words(&self) -> String {
        let sets: BTreeSet<_> = self.credentials.iter().map(InUse::in_words).collect();
        let told: Vec<_> = sets.iter().take(MOST_TOLD).map(String::as_str).collect();
        let more = sets.len().saturating_sub(told.len()) as u64;
        match more.saturating_add(self.more) {
            0 => told.join(", "),
            more => format!("{} and {more} more", told.join(", ")),
        }
    }
}

/// The profiles that a record names.
pub const MOST_PROFILES: usize = 200;
/// The sets that are told in words.
const MOST_TOLD: usize = 3;

#[cfg(test)]
impl Record {
    /// A record with that configuration and the versions of those profiles.
    pub(super) fn made_up(configuration: &str, versions: &[(&str, &str)]) -> Self {
        let used = |(profile, version): &(&str, &str)| InUse {
            profile: ProfileName::new(*profile),
            set: (*profile).to_owned(),
            version: Some((*version).to_owned()),
            waiting: None,
            refused: None,
            state: "fresh".to_owned(),
            cache_key_unread: false,
        };
        Self {
            instance: "one".to_owned(),
            role: Role::Member,
            version: "1.0.0".to_owned(),
            configuration: configuration.to_owned(),
            started: Timestamp::UNIX_EPOCH,
            trail: None,
            event_log: "off".to_owned(),
            credentials: versions.iter().map(used).collect(),
            more: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_says_the_same_while_only_its_trail_grows() {
        let one = Record::made_up("a", &[("p", "7")]);
        let head = TrailHead {
            chain: None,
            seq: 7,
            hash: "made up".to_owned(),
            note: None,
            key: None,
            interval_ms: 0,
            ended: false,
        };
        assert!(one.says_the_same(&Record { trail: Some(head), ..one.clone() }));
        assert!(!one.says_the_same(&Record::made_up("a", &[("p", "8")])));
    }

    #[test]
    fn credentials_are_told_by_set() {
        let some = Record::made_up("a", &[("p", "7"), ("q", "3")]);
        assert_eq!(some.credentials_in_words(), "p 7, q 3");
        let mut held_back = some.clone();
        held_back.credentials[0].waiting = Some("8".to_owned());
        held_back.credentials[1].refused = Some("4".to_owned());
        assert_eq!(held_back.credentials_in_words(), "p 7 (8 waits), q 3 (4 refused)");
        held_back.credentials[0].cache_key_unread = true;
        held_back.credentials[1] =
            InUse { refused: None, cache_key_unread: true, ..held_back.credentials[1].clone() };
        let words = "p 7 (8 waits, cache key unread), q 3 (cache key unread)";
        assert_eq!(held_back.credentials_in_words(), words);
        let many = [("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")];
        let many = Record { more: 10, ..Record::made_up("a", &many) };
        assert_eq!(many.credentials_in_words(), "a 1, b 1, c 1 and 11 more");
    }

    #[test]
    fn a_record_of_a_later_version_is_read() {
        let mut text = serde_json::to_value(Record::made_up("a", &[("p", "7")])).unwrap();
        text["later"] = serde_json::json!({"x": 1});
        assert_eq!(
            serde_json::from_value::<Record>(text).unwrap(),
            Record::made_up("a", &[("p", "7")])
        );
    }
}
