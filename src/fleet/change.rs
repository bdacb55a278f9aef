//! What members tell each other.
//!
//! A change is no command and carries no data of an object: whoever hears of it drops what it has, and the next
//! caller fetches the truth. So one that comes twice or late does no harm. A pause is told with the time that is left
//! of it, because members' clocks differ. So is a tick, which says up to when an event log was read: one that travels
//! ages, and it ages by the longest time that it can have been under way.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{CredentialsName, ProfileName};

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Change {
    /// A write through a member.
    Written(Written),
    /// An event of Pigello's event log or of a webhook.
    Event(Noted),
    /// An operator's purge of the whole fleet: everything, or what is all of these.
    Purge {
        /// Of this operation.
        operation: Option<Box<str>>,
        /// About this object.
        pk: Option<Box<str>>,
        /// Of this profile.
        profile: Option<ProfileName>,
    },
    /// More than could be told one by one.
    Everything,
    /// Pigello has asked a member for a pause.
    Pause(Pause),
    /// The source of a credential set has a new version.
    Credentials(VersionOfSet),
    /// Pigello has accepted a new version.
    Accepted(VersionOfSet),
    /// Pigello has refused a new version.
    Rejected(VersionOfSet),
    /// There is another version of the key of a profile's entries in the shared cache.
    CacheKey {
        /// The profile.
        profile: ProfileName,
    },
    /// A member has read an event log.
    Tick(Tick),
    /// A member is going to read event logs. Who hears it knows the number of its messages, so that none can be missing
    /// before the first tick.
    Hello,
    /// What a newer member tells.
    #[serde(other)]
    Unknown,
}

/// A write through a member.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Written {
    /// The profile of the call.
    pub profile: ProfileName,
    /// Whether other profiles of the writer may show the same data.
    pub shared: bool,
    /// The path that was written.
    pub path: Box<str>,
    /// The collection whose lists changed.
    pub collection: Option<Box<str>>,
    /// Whether any object of the collection may have changed.
    pub whole: bool,
}

/// What an event says.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Noted {
    /// The profile that it is about; all if there is none.
    pub profile: Option<ProfileName>,
    /// The event's identifier.
    pub id: Option<Box<str>>,
    /// The type of the object.
    pub of_type: Option<Box<str>>,
    /// The object; any of the type if there is none.
    pub object: Option<Uuid>,
    /// When it happened, by Pigello's clock.
    pub created_at: Option<Timestamp>,
}

/// What Pigello has asked a member for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Pause {
    /// The profile of the call.
    pub profile: ProfileName,
    /// The operation of the call, if it matches one.
    pub operation: Option<Box<str>>,
    /// Whether all operations of the profile are to pause.
    pub is_for_all: bool,
    /// The status of the response: 429 or 503.
    pub status: u16,
    /// When it ends.
    #[serde(
        rename = "left_ms",
        serialize_with = "serialize_left",
        deserialize_with = "deserialize_left"
    )]
    pub until: Instant,
}

/// A version of a credential set. None of its values.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct VersionOfSet {
    /// The set.
    pub set: CredentialsName,
    /// The version as the source of this member names it. That of another member may name it otherwise.
    pub version: Box<str>,
    /// What its values have in common everywhere: those who had the version before know it by this.
    pub fingerprint: Box<str>,
}

impl VersionOfSet {
    /// Whether a member may have told it, so that it can be kept and put into the log.
    pub fn is_plausible(&self) -> bool {
        let is_short = |text: &str| text.len() <= LONGEST_NAME && !text.contains(char::is_control);
        is_short(&self.version) && is_short(&self.fingerprint)
    }
}

/// More than the name of any version has.
const LONGEST_NAME: usize = 256;

/// A reading of a profile's event log. Every event that became visible between its two times was told before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Tick {
    /// The profile.
    pub profile: ProfileName,
    /// What the member that read it is called.
    pub by: Box<str>,
    /// Where the readings of which the fleet was told before end, by Pigello's clock; none if this one continues none.
    pub from: Option<Timestamp>,
    /// Up to when the log was read, by Pigello's clock.
    pub through: Timestamp,
    /// Until when it proves that no event was missed.
    #[serde(
        rename = "left_ms",
        serialize_with = "serialize_left",
        deserialize_with = "deserialize_left"
    )]
    pub until: Instant,
    /// For how long a reading proves that, from when it began, in milliseconds.
    pub proves_ms: u64,
    /// The store's time before it was sealed, in milliseconds. The bus sets it.
    #[serde(default)]
    pub sealed_ms: u64,
}

/// How a message came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    /// How long it probably lay in the store.
    pub(super) lain: Duration,
    /// The stream was read to its end then, without it.
    pub(super) read_before: Instant,
    /// The store's time when it was put there, in milliseconds.
    pub(super) stored_ms: u64,
    /// Whether its publisher has told something before that was not heard.
    pub(super) is_midway: bool,
}

/// Serialises an end as the milliseconds that are left until then.
fn serialize_left<S: Serializer>(until: &Instant, to: S) -> Result<S::Ok, S::Error> {
    let left = until.saturating_duration_since(Instant::now()).as_millis();
    to.serialize_u64(u64::try_from(left).unwrap_or(u64::MAX))
}

fn deserialize_left<'de, D: Deserializer<'de>>(from: D) -> Result<Instant, D::Error> {
    let left = Duration::from_millis(u64::deserialize(from)?);
    Ok(Instant::now() + left.min(LONGEST))
}

/// More than anybody pauses for, and no more than any clock can tell.
const LONGEST: Duration = Duration::from_hours(24);

impl Change {
    /// What came that way: the rest of a pause is shorter, and that of a tick still more.
    pub(super) fn arrived(self, way: &Arrival) -> Self {
        match self {
            Self::Pause(pause) => match pause.until.checked_sub(way.lain) {
                Some(until) => Self::Pause(Pause { until, ..pause }),
                None => Self::Unknown,
            },
            Self::Tick(tick) => Self::Tick(tick.arrived(way)),
            other => other,
        }
    }

    /// Whether it says as much to a member that reads it later.
    pub(super) fn is_lasting(&self) -> bool {
        matches!(self, Self::Written(_) | Self::Event(_) | Self::Purge { .. } | Self::Everything)
    }

    pub(super) fn as_tick(&mut self) -> Option<&mut Tick> {
        match self {
            Self::Tick(tick) => Some(tick),
            _ => None,
        }
    }

    /// Makes nothing of a tick.
    pub(super) fn drop_tick(&mut self) {
        if matches!(self, Self::Tick(_)) {
            *self = Self::Unknown;
        }
    }

    /// The value of the label `kind`, as a place among [`KINDS`].
    pub(super) fn kind(&self) -> usize {
        match self {
            Self::Written(_) => 0,
            Self::Event(_) => 1,
            Self::Purge { .. } => 2,
            Self::Everything => 3,
            Self::Pause(_) => 4,
            Self::Credentials(_) => 5,
            Self::Accepted(_) => 6,
            Self::Rejected(_) => 7,
            Self::CacheKey { .. } => 8,
            Self::Tick(_) => 9,
            Self::Hello => 10,
            Self::Unknown => 11,
        }
    }

    /// The memory that it takes, about.
    pub(super) fn size(&self) -> usize {
        let texts = match self {
            Self::Written(Written { path, collection, .. }) => {
                path.len().saturating_add(collection.as_deref().map_or(0, str::len))
            }
            Self::Event(Noted { id, of_type, .. }) => {
                let length = |text: &Option<Box<str>>| text.as_deref().map_or(0, str::len);
                length(id).saturating_add(length(of_type))
            }
            Self::Pause(Pause { operation, .. }) => operation.as_deref().map_or(0, str::len),
            Self::Credentials(of) | Self::Accepted(of) | Self::Rejected(of) => {
                let VersionOfSet { set, version, fingerprint } = of;
                [set.as_str(), version, fingerprint].map(str::len).into_iter().sum()
            }
            Self::Tick(Tick { by, .. }) => by.len(),
            Self::Purge { .. }
            | Self::Everything
            | Self::CacheKey { .. }
            | Self::Hello
            | Self::Unknown => 0,
        };
        texts.saturating_add(size_of::<Self>())
    }

    /// A change of less detail, which says this one and more: of a collection or a type in place of one object.
    pub(super) fn blurred(self) -> Self {
        match self {
            Self::Written(written) => Self::Written(written.blurred()),
            Self::Event(Noted { profile, of_type: of_type @ Some(_), .. }) => {
                Self::Event(Noted { profile, id: None, of_type, object: None, created_at: None })
            }
            other => other,
        }
    }
}

impl Tick {
    /// It has aged by the time from its seal to its place in the stream, by the store's clock, and by all that has passed
    /// since the stream was read without it, by this machine's.
    fn arrived(self, way: &Arrival) -> Self {
        let is_late = way.stored_ms < self.sealed_ms;
        let under_way = Duration::from_millis(way.stored_ms.saturating_sub(self.sealed_ms));
        let age = under_way.saturating_add(way.read_before.elapsed());
        let until = self.until.checked_sub(age).filter(|_| !is_late);
        let by = self.by.chars().filter(char::is_ascii_graphic).take(MOST_NAME).collect();
        Self {
            until: until.unwrap_or(way.read_before),
            from: self.from.filter(|_| !way.is_midway),
            by,
            ..self
        }
    }
}

/// The values of the label `kind`.
pub(super) const KINDS: [&str; 12] = [
    "written",
    "event",
    "purge",
    "everything",
    "pause",
    "credentials",
    "accepted",
    "rejected",
    "cache_key",
    "tick",
    "hello",
    "unknown",
];
/// How many of them, the first ones, change something.
pub(super) const CHANGING: usize = 9;
/// The longest name of a member that is kept.
const MOST_NAME: usize = 64;

impl Written {
    /// Responses at the path of an object are dropped with its collection. At other paths they are not.
    fn blurred(self) -> Self {
        let object = self.collection.as_deref().and_then(|base| self.path.strip_prefix(base));
        let is_object = object.is_some_and(|rest| !rest.trim_end_matches('/').contains('/'));
        match &self.collection {
            Some(collection) if is_object => Self { path: collection.clone(), whole: true, ..self },
            _ => self,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn written(path: &str, collection: Option<&str>) -> Written {
        Written {
            profile: ProfileName::new("p"),
            shared: true,
            path: path.into(),
            collection: collection.map(Into::into),
            whole: false,
        }
    }

    #[test]
    fn objects_of_a_collection_blur_into_it_and_other_paths_stay() {
        let blurred = |path, collection| written(path, collection).blurred();
        let collection = Written { whole: true, ..written("/e/", Some("/e/")) };
        assert_eq!(blurred("/e/1/", Some("/e/")), collection);
        assert_eq!(blurred("/e/2", Some("/e/")), collection);
        for (path, collection) in
            [("/e/1/act/", Some("/e/")), ("/f/1/", Some("/e/")), ("/e/1/", None)]
        {
            assert_eq!(blurred(path, collection), written(path, collection), "{path}");
        }
    }

    #[test]
    fn what_a_newer_member_tells_is_skipped() {
        let told = r#"[{"kind":"moon_phase","of":{"x":[1]}},{"kind":"everything"}]"#;
        let heard: Vec<Change> = serde_json::from_str(told).unwrap();
        assert_eq!(heard, [Change::Unknown, Change::Everything]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_told_by_what_is_left_of_it() {
        let until = Instant::now() + Duration::from_secs(5);
        let pause = |until| {
            Change::Pause(Pause {
                profile: ProfileName::new("p"),
                operation: Some("subtenant.get".into()),
                is_for_all: false,
                status: 429,
                until,
            })
        };
        // It has waited for the store.
        advance(Duration::from_secs(2)).await;
        let told = serde_json::to_string(&pause(until)).unwrap();
        assert!(told.contains(r#""left_ms":3000"#), "{told}");
        // The listener's clock is another one.
        advance(Duration::from_mins(1)).await;
        let left = Duration::from_secs(3);
        let heard: Change = serde_json::from_str(&told).unwrap();
        assert_eq!(heard, pause(Instant::now() + left));
        assert_eq!(heard.arrived(&way(SECOND)), pause(Instant::now() + left - SECOND));
        let told = told.replace("3000", &u64::MAX.to_string());
        assert!(serde_json::from_str::<Change>(&told).is_ok());
    }

    fn way(lain: Duration) -> Arrival {
        let read_before = Instant::now();
        Arrival { lain, read_before, stored_ms: 10_000, is_midway: false }
    }

    #[tokio::test(start_paused = true)]
    async fn a_tick_ages_by_all_that_it_can_have_been_under_way() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let tick = |left: u64, from| {
            Change::Tick(Tick {
                profile: ProfileName::new("p"),
                by: "hub-1".into(),
                from,
                through: at(105),
                until: Instant::now() + Duration::from_secs(left),
                proves_ms: 15_000,
                sealed_ms: 9_000,
            })
        };
        let told = serde_json::to_string(&tick(10, Some(at(100)))).unwrap();
        assert!(told.contains(r#""left_ms":10000"#), "{told}");
        let way = way(Duration::ZERO);
        advance(Duration::from_secs(3)).await;
        let heard = || serde_json::from_str::<Change>(&told).unwrap();
        // A second until it was in the store, and three since the stream was read.
        assert_eq!(heard().arrived(&way), tick(6, Some(at(100))));
        let midway = Arrival { is_midway: true, ..way };
        assert_eq!(heard().arrived(&midway), tick(6, None), "nobody knows what was told before");
        for stored_ms in [8_999, 60_000, u64::MAX] {
            let Change::Tick(tick) = heard().arrived(&Arrival { stored_ms, ..way }) else {
                panic!("a tick stays one");
            };
            assert!(tick.until <= Instant::now(), "it proves nothing: {stored_ms}");
        }
    }

    #[test]
    fn a_change_is_read_as_it_was_told() {
        let event = Noted {
            profile: Some(ProfileName::new("p")),
            id: Some("e-1".into()),
            of_type: Some("tenant".into()),
            object: Some(Uuid::from_u128(7)),
            created_at: Some(Timestamp::UNIX_EPOCH),
        };
        let purge = Change::Purge { operation: None, pk: None, profile: None };
        let all = [Change::Written(written("/e/1/", Some("/e/"))), Change::Event(event), purge];
        let told = serde_json::to_string(&all).unwrap();
        assert_eq!(serde_json::from_str::<Vec<Change>>(&told).unwrap(), all);
    }
}
