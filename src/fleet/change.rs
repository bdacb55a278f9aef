//! What members tell each other.
//!
//! A change is no command and carries no data of an object: whoever hears of it drops what it has, and the next
//! caller fetches the truth. So one that comes twice or late does no harm. A pause is told with the time that is left
//! of it, because members' clocks differ.

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::ProfileName;

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
    /// There is another version of the key of a profile's entries in the shared cache.
    CacheKey {
        /// The profile.
        profile: ProfileName,
    },
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
    /// What was told that long ago: the rest of a pause is shorter.
    pub(super) fn aged(self, age: Duration) -> Self {
        match self {
            Self::Pause(pause) => match pause.until.checked_sub(age) {
                Some(until) => Self::Pause(Pause { until, ..pause }),
                None => Self::Unknown,
            },
            other => other,
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
            Self::Purge { .. } | Self::Everything | Self::CacheKey { .. } | Self::Unknown => 0,
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
        assert_eq!(heard.aged(Duration::from_secs(1)), pause(Instant::now() + left - SECOND));
        let told = told.replace("3000", &u64::MAX.to_string());
        assert!(serde_json::from_str::<Change>(&told).is_ok());
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
