//! What members tell each other.
//!
//! A change is no command and carries no data of an object: whoever hears of it drops what it has, and the next
//! caller fetches the truth. So one that comes twice or late does no harm.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
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

impl Change {
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
            Self::Purge { .. } | Self::Everything | Self::Unknown => 0,
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
    use super::*;

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
