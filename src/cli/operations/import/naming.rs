//! Names of imported operations, by the rule of the built-in ones.
//!
//! The entity is the last word of the path that is no action, and the action comes from the method and the end
//! of the path: `GET …/realestate/{pk}/` is `realestate.get`, `POST …/realestate/list/` is
//! `realestate.bulk_write`, `POST …/realestate/{pk}/archive/` is `realestate.archive`.
//!
//! An entity stands for one place. Of those that share a word, or have that of a built-in entity in another
//! place, each gets the segment before it (`structural_realestate`), and so on. None keeps the short name,
//! because a later version of the file must not give it to another one: `allow` would change its meaning.

use std::collections::{BTreeMap, BTreeSet};

use http::Method;

use super::document::{Endpoint, Segment};
use crate::domain::Entity;

/// Several endpoints of one entity would have this name.
#[derive(Debug, thiserror::Error)]
#[error("others would be `{0}` as well; name it by hand")]
pub(super) struct SharedName(String);

/// The endpoints with their names, in their order.
pub(super) fn named(endpoints: Vec<Endpoint>) -> Vec<(Endpoint, Result<String, SharedName>)> {
    let parts: Vec<_> = endpoints.iter().map(Parts::of).collect();
    let entities = entities(parts.iter().map(|parts| &parts.place));
    let name = |parts: &Parts| {
        let entity = entities.get(&parts.place).map(String::as_str).unwrap_or_default();
        format!("{entity}.{}", parts.action)
    };
    let names: Vec<_> = parts.iter().map(name).collect();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for name in &names {
        *counts.entry(name).or_default() += 1;
    }
    let is_shared = |name: &str| counts.get(name).is_some_and(|count| *count > 1);
    let checked: Vec<_> = names
        .iter()
        .map(|name| if is_shared(name) { Err(SharedName(name.clone())) } else { Ok(name.clone()) })
        .collect();
    endpoints.into_iter().zip(checked).collect()
}

/// The words of a path up to its entity.
type Place = Vec<String>;

#[derive(Debug)]
struct Parts {
    place: Place,
    action: String,
}

impl Parts {
    fn of(endpoint: &Endpoint) -> Self {
        let mut segments: Vec<_> = endpoint.segments.iter().collect();
        let method = &endpoint.method;
        let is_on_variable =
            |segments: &[&Segment]| segments.last().is_some_and(|last| last.parameter().is_some());
        let last = segments.last().and_then(|last| last.word()).map(str::to_owned);
        let action = match last.as_deref() {
            None if segments.is_empty() => on_collection(method).to_owned(),
            None => on_object(method).to_owned(),
            Some("list") if segments.len() > 1 => {
                segments.pop();
                on_list(method).to_owned()
            }
            Some(word)
                if is_on_variable(segments.get(..segments.len() - 1).unwrap_or_default()) =>
            {
                segments.pop();
                match *method {
                    Method::POST => plain(word),
                    _ => format!("{}_{}", on_object(method), plain(word)),
                }
            }
            Some(_) => {
                let words = segments.iter().map(|segment| segment.word());
                match words.rev().skip(1).position(|word| word == Some("invite")) {
                    Some(behind) if *method == Method::POST => {
                        let at = segments.len() - 2 - behind;
                        segments.remove(at);
                        // `…/auth/invite/customer/subtenant/` is about `…/customer/subtenant/`.
                        if at > 0
                            && segments.get(at - 1).and_then(|before| before.word()) == Some("auth")
                        {
                            segments.remove(at - 1);
                        }
                        "invite".to_owned()
                    }
                    _ => on_collection(method).to_owned(),
                }
            }
        };
        while is_on_variable(&segments) {
            segments.pop();
        }
        let place: Place = segments
            .into_iter()
            .map(|segment| match segment {
                Segment::Word(name) | Segment::Variable(name) => plain(name),
            })
            .collect();
        Self { place, action }
    }
}

fn on_object(method: &Method) -> &'static str {
    match *method {
        Method::PUT => "replace",
        Method::PATCH => "update",
        Method::DELETE => "delete",
        Method::POST => "post",
        Method::OPTIONS => "options",
        _ => "get",
    }
}

fn on_list(method: &Method) -> &'static str {
    match *method {
        Method::POST => "bulk_write",
        Method::PUT => "bulk_replace",
        Method::PATCH => "bulk_update",
        Method::DELETE => "bulk_delete",
        Method::OPTIONS => "options_list",
        _ => "list",
    }
}

fn on_collection(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::GET => "list",
        _ => on_object(method),
    }
}

/// The entity of each place, none of them for two.
fn entities<'a>(places: impl Iterator<Item = &'a Place>) -> BTreeMap<Place, String> {
    let built_in: BTreeMap<String, Place> = Entity::ALL
        .iter()
        .map(|entity| {
            (
                entity.name.to_owned(),
                entity
                    .base()
                    .split('/')
                    .filter(|part| !part.is_empty())
                    .map(str::to_owned)
                    .collect(),
            )
        })
        .collect();
    // How many segments before its own word each place needs.
    let mut levels: BTreeMap<&Place, usize> = places.map(|place| (place, 0)).collect();
    loop {
        let mut places_of: BTreeMap<String, BTreeSet<&Place>> = BTreeMap::new();
        for (place, level) in &levels {
            places_of.entry(entity(place, *level)).or_default().insert(place);
        }
        let mut is_done = true;
        for (name, places) in &places_of {
            let is_anothers =
                |place: &&Place| built_in.get(name).is_some_and(|known| known != *place);
            if places.len() == 1 && !places.iter().any(is_anothers) {
                continue;
            }
            for place in places.iter().filter(|place| built_in.get(name) != Some(**place)) {
                if let Some(level) =
                    levels.get_mut(*place).filter(|level| **level + 1 < place.len())
                {
                    *level += 1;
                    is_done = false;
                }
            }
        }
        if is_done {
            return levels
                .into_iter()
                .map(|(place, level)| (place.clone(), entity(place, level)))
                .collect();
        }
    }
}

fn entity(place: &Place, level: usize) -> String {
    let from = place.len().saturating_sub(level + 1);
    match place.get(from..) {
        None | Some([]) => "root".to_owned(),
        Some(words) => words.join("_"),
    }
}

/// A word as it may stand in a name.
fn plain(word: &str) -> String {
    let letter = |letter: char| {
        let letter = letter.to_ascii_lowercase();
        if letter.is_ascii_lowercase() || letter.is_ascii_digit() { letter } else { '_' }
    };
    let plain: String = word.chars().map(letter).collect();
    let plain = plain.trim_matches('_');
    if plain.is_empty() { "segment".to_owned() } else { plain.to_owned() }
}
