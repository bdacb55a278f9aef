//! The events that the fleet knows. All members read the same log, and one of them tells the others.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher as _, RandomState},
};

use super::event::Event;
use crate::domain::ProfileName;

/// The last events that were told, by this member or another.
#[derive(Debug, Default)]
pub(super) struct Told {
    hasher: RandomState,
    known: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Told {
    /// Notes an event of a profile, or of all, and returns whether it is new. One that has neither an identifier nor a
    /// time always is.
    pub(super) fn is_new(&mut self, profile: Option<&ProfileName>, event: &Event) -> bool {
        let Event { id, of_type, object, created_at } = event;
        if id.is_none() && created_at.is_none() {
            return true;
        }
        let hash = |profile: Option<&ProfileName>| {
            self.hasher.hash_one((profile, id, of_type, object, created_at))
        };
        if self.known.contains(&hash(None)) {
            return false;
        }
        let event = hash(profile);
        let is_new = self.known.insert(event);
        if is_new {
            self.order.push_back(event);
        }
        if self.order.len() > MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        is_new
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        self.known.clear();
        self.order.clear();
    }
}

/// More events than there are in the time in which all members have read the log. They take half a megabyte.
const MOST: usize = 20_000;

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_event_is_told_once_for_each_profile_or_for_all() {
        let mut told = Told::default();
        let (mine, other) = (ProfileName::new("mine"), ProfileName::new("other"));
        let event = |id: Option<&str>, second| Event {
            id: id.map(Into::into),
            of_type: Some("tenant".into()),
            object: Some(Uuid::from_u128(1)),
            created_at: Some(Timestamp::from_second(second).unwrap()),
        };
        let one = event(Some("1"), 1);
        assert!(told.is_new(Some(&mine), &one) && !told.is_new(Some(&mine), &one));
        assert!(told.is_new(Some(&other), &one) && told.is_new(None, &one));
        assert!(!told.is_new(None, &one) && !told.is_new(Some(&ProfileName::new("third")), &one));
        assert!(told.is_new(Some(&mine), &event(Some("2"), 1)));
        assert!(told.is_new(Some(&mine), &event(None, 1)));
        assert!(!told.is_new(Some(&mine), &event(None, 1)));
        let unnamed = Event { id: None, created_at: None, ..one.clone() };
        assert!(told.is_new(None, &unnamed) && told.is_new(None, &unnamed));
        for second in 0..=20_000 {
            told.is_new(None, &event(None, second));
        }
        assert!(told.is_new(Some(&mine), &one), "the oldest are forgotten");
        assert!(told.known.len() == MOST && told.order.len() == MOST);
    }
}
