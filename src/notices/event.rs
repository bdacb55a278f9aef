//! Reads events, from the event log and from webhooks.
//!
//! An event says that an object of a type was created, changed or deleted. Its fields are known from Pigello's
//! manual alone, so each of them may be missing or of another kind. Whatever else an event has is skipped
//! without being kept: it is personal data.

use std::{borrow::Cow, fmt};

use jiff::Timestamp;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use uuid::Uuid;

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Its own identifier.
    pub id: Option<Box<str>>,
    /// The type of the object, as [`type_name`] shortens it.
    pub of_type: Option<Box<str>>,
    /// The object.
    pub object: Option<Uuid>,
    /// When it happened, by Pigello's clock.
    pub created_at: Option<Timestamp>,
}

/// The name of a type without its application and separators, in lower case: `tenant` for `accounts.tenant`.
/// Operations and paths have it in this form.
pub fn type_name(content_type: &str) -> Box<str> {
    let model = content_type.rsplit('.').next().unwrap_or(content_type);
    let letters = model.chars().filter(char::is_ascii_alphanumeric);
    letters.map(|letter| letter.to_ascii_lowercase()).collect()
}

/// Why a body holds no events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is no JSON of that form.
    Form,
    /// It is nested too deeply.
    TooDeep,
    /// It has too many events.
    TooMany,
    /// It is too large.
    TooLarge,
}

impl Unreadable {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Form, Self::TooDeep, Self::TooMany, Self::TooLarge];

    /// The value of the label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::TooDeep => "too_deep",
            Self::TooMany => "too_many",
            Self::TooLarge => "too_large",
        }
    }
}

/// The events of a body: a list of them, a list under `results`, or one event.
pub(super) fn read(body: &[u8]) -> Result<Vec<Event>, Unreadable> {
    if is_deeper_than(MAX_DEPTH, body) {
        return Err(Unreadable::TooDeep);
    }
    match serde_json::from_slice(body) {
        Ok(Events { is_cut: true, .. }) => Err(Unreadable::TooMany),
        Ok(Events { events, .. }) => Ok(events),
        Err(_) => Err(Unreadable::Form),
    }
}

/// Whether arrays and objects are nested more deeply than that.
fn is_deeper_than(most: usize, json: &[u8]) -> bool {
    let (mut depth, mut in_text, mut is_escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = in_text,
            b'"' => in_text = !in_text,
            b'[' | b'{' if !in_text => depth += 1,
            b']' | b'}' if !in_text => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > most {
            return true;
        }
    }
    false
}

/// The events of a body, up to [`MAX_EVENTS`].
#[derive(Default)]
struct Events {
    events: Vec<Event>,
    is_cut: bool,
}

impl<'de> Deserialize<'de> for Events {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EventsVisitor)
    }
}

struct EventsVisitor;

impl<'de> Visitor<'de> for EventsVisitor {
    type Value = Events;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Events, A::Error> {
        let mut found = Events::default();
        while !found.is_cut
            && let Some(Entry(event)) = list.next_element()?
        {
            found.events.push(event);
            found.is_cut = found.events.len() > MAX_EVENTS;
        }
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Events, A::Error> {
        let (mut event, mut results) = (Event::default(), None);
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == "results" {
                results = Some(map.next_value()?);
            } else {
                field(&key, &mut event, &mut map)?;
            }
        }
        Ok(results.unwrap_or(Events { events: vec![event], is_cut: false }))
    }
}

/// An entry of a list. One that is no object is an event that says nothing.
struct Entry(Event);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(EntryVisitor).map(Self)
    }
}

struct EntryVisitor;

impl<'de> Visitor<'de> for EntryVisitor {
    type Value = Event;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event, A::Error> {
        let mut event = Event::default();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            field(&key, &mut event, &mut map)?;
        }
        Ok(event)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Event, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Event::default())
    }

    fn visit_str<E>(self, _: &str) -> Result<Event, E> {
        Ok(Event::default())
    }

    fn visit_bool<E>(self, _: bool) -> Result<Event, E> {
        Ok(Event::default())
    }

    fn visit_i64<E>(self, _: i64) -> Result<Event, E> {
        Ok(Event::default())
    }

    fn visit_u64<E>(self, _: u64) -> Result<Event, E> {
        Ok(Event::default())
    }

    fn visit_f64<E>(self, _: f64) -> Result<Event, E> {
        Ok(Event::default())
    }

    fn visit_unit<E>(self) -> Result<Event, E> {
        Ok(Event::default())
    }
}

fn field<'de, A: MapAccess<'de>>(
    key: &str,
    event: &mut Event,
    map: &mut A,
) -> Result<(), A::Error> {
    let mut text = || map.next_value().map(|Word(text)| text);
    match key {
        "id" => event.id = text()?,
        "object_id" => event.object = text()?.and_then(|text| text.parse().ok()),
        "content_type" => {
            let name = text()?.map(|text| type_name(&text));
            event.of_type = name.filter(|name| !name.is_empty());
        }
        "created_at" => event.created_at = text()?.and_then(|text| text.parse().ok()),
        _ => drop(map.next_value::<IgnoredAny>()?),
    }
    Ok(())
}

/// A short text of visible characters, or a number as text; nothing for any other value.
struct Word(Option<Box<str>>);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(WordVisitor).map(Self)
    }
}

struct WordVisitor;

impl<'de> Visitor<'de> for WordVisitor {
    type Value = Option<Box<str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        let is_word = text.len() <= MAX_WORD && text.bytes().all(|byte| byte.is_ascii_graphic());
        Ok((is_word && !text.is_empty()).then(|| text.into()))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string().into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(Some(number.to_string().into()))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}

/// The most events of one body.
pub(super) const MAX_EVENTS: usize = 10_000;
const MAX_DEPTH: usize = 16;
/// Longer than a UUID, a time or the name of a type.
const MAX_WORD: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55";

    fn one(json: &str) -> Event {
        let events = read(json.as_bytes()).unwrap();
        assert_eq!(events.len(), 1, "{json}");
        events.into_iter().next().unwrap()
    }

    #[test]
    fn an_event_says_what_changed() {
        let json = format!(
            r#"[{{"id": "e1", "object_id": "{ID}", "content_type": "accounts.SubTenant_Connection",
            "event_identifier": "x.instanceupdated", "created_at": "2026-11-30T03:28:13.5+01:00",
            "event_context": {{"first_name": ["Testa", {{"deep": 1}}]}}}}]"#
        );
        let event = one(&json);
        assert_eq!(event.id.as_deref(), Some("e1"));
        assert_eq!(event.of_type.as_deref(), Some("subtenantconnection"));
        assert_eq!(event.object, Some(ID.parse().unwrap()));
        assert_eq!(event.created_at, Some("2026-11-30T02:28:13.5Z".parse().unwrap()));
        assert!(!format!("{event:?}").contains("Testa"));
    }

    #[test]
    fn a_field_of_another_kind_is_as_one_that_is_missing() {
        for json in [
            r#"[{"object_id": null, "content_type": 7.5, "created_at": "yesterday", "id": {}}]"#,
            r#"[{"object_id": [1, 2], "content_type": "", "created_at": true, "id": "a b"}]"#,
            "[{}]",
            "[null]",
            "[\"text\"]",
            "[7]",
            "[[{}]]",
            "{}",
        ] {
            let event = one(json);
            let empty = Event { of_type: event.of_type.clone(), ..Event::default() };
            assert_eq!(event, empty, "{json}");
        }
        assert_eq!(one(r#"[{"id": 7}]"#).id.as_deref(), Some("7"));
        let long = format!(r#"[{{"id": "{}"}}]"#, "x".repeat(MAX_WORD + 1));
        assert_eq!(one(&long).id, None);
    }

    #[test]
    fn events_come_in_a_list_under_results_or_alone() {
        let event = r#"{"id": "e1"}"#;
        for json in [
            format!("[{event}]"),
            format!(r#"{{"count": 1, "results": [{event}], "next": null}}"#),
            event.to_owned(),
        ] {
            assert_eq!(one(&json).id.as_deref(), Some("e1"), "{json}");
        }
        assert_eq!(read(b"[]"), Ok(Vec::new()));
    }

    #[test]
    fn what_is_too_much_is_unreadable() {
        for json in ["", "nothing", "[", "\"text\"", "7", "[{}", "[{}] x", "\u{0}"] {
            assert_eq!(read(json.as_bytes()), Err(Unreadable::Form), "{json}");
        }
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert_eq!(read(nested(MAX_DEPTH + 1).as_bytes()), Err(Unreadable::TooDeep));
        assert_eq!(read("[".repeat(1 << 20).as_bytes()), Err(Unreadable::TooDeep));
        let in_text = format!(r#"[{{"x": "{}\"{}"}}]"#, "[".repeat(99), "{".repeat(99));
        assert!(read(in_text.as_bytes()).is_ok());
        let many = |count: usize| format!("[{}]", vec!["{}"; count].join(","));
        assert_eq!(read(many(MAX_EVENTS).as_bytes()).unwrap().len(), MAX_EVENTS);
        assert_eq!(read(many(MAX_EVENTS + 1).as_bytes()), Err(Unreadable::TooMany));
        assert_eq!(read(many(3 * MAX_EVENTS).as_bytes()), Err(Unreadable::TooMany));
    }

    proptest::proptest! {
        /// Whatever comes is read or refused.
        #[test]
        fn no_body_stops_the_reader(body in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            drop(read(&body));
        }

        #[test]
        fn nothing_that_looks_like_events_stops_it(body in r#"[\[\]{},:"\\0-9a-z ]{0,80}"#) {
            drop(read(body.as_bytes()));
        }
    }
}
