//! The last events, to tell which of them dropped an object from the cache.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Source, event::Event};
use crate::domain::{ProfileName, RequestId};

/// An event that was applied.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) at: Timestamp,
    /// `None` for all profiles.
    pub(super) profile: Option<ProfileName>,
    pub(super) source: Source,
    /// The reading of the event log that brought it.
    pub(super) request_id: Option<RequestId>,
    pub(super) event: Event,
}

/// An event that dropped what is stored under a path.
#[derive(Clone, Debug, Serialize)]
pub struct DroppedBy {
    /// When it was applied.
    pub at: Timestamp,
    /// The profile that it was for; none for all.
    pub profile: Option<String>,
    /// `event_log` or `webhook`.
    pub source: &'static str,
    /// The event's own identifier.
    pub event: Option<String>,
    /// When the change happened, by Pigello's clock.
    pub created_at: Option<Timestamp>,
    /// The call that read it from the event log.
    pub request_id: Option<String>,
    /// What it dropped: the object, the lists that may hold it, what depends on it, or everything.
    pub what: &'static str,
}

impl Applied {
    pub(super) fn as_drop(&self, what: &'static str) -> DroppedBy {
        DroppedBy {
            at: self.at,
            profile: self.profile.as_ref().map(ToString::to_string),
            source: self.source.label(),
            event: self.event.id.as_deref().map(str::to_owned),
            created_at: self.event.created_at,
            request_id: self.request_id.map(|id| id.to_string()),
            what,
        }
    }
}

/// What a path stands for among the events.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) object: Option<Uuid>,
    pub(super) collection: Option<String>,
    pub(super) is_list: bool,
    /// The number of the cache's rule.
    pub(super) rule: usize,
}

/// The last events, the newest at the end.
#[derive(Debug, Default)]
pub(super) struct History(VecDeque<Applied>);

impl History {
    pub(super) fn add(&mut self, applied: Applied) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back(applied);
    }

    /// The newest first.
    pub(super) fn newest(&self) -> impl Iterator<Item = &Applied> {
        self.0.iter().rev()
    }
}

/// The events that are kept, of some 200 bytes each.
pub(super) const KEPT: usize = 4096;
