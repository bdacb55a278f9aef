//! What of a request target may stand in the trail: the path, bounded, and the names of its query.
//!
//! The target need not be canonical; refused ones are on the trail as well. Nothing here keeps a
//! value of a query, whichever way a caller tries to dress it up as a name.

use std::{borrow::Cow, fmt, str::FromStr};

use http::uri::{InvalidUri, PathAndQuery};

use super::keys::ObjectKey;
use crate::domain::{UUID_LENGTH, is_uuid};

/// The longest path that is written down, in bytes. Pigello's are a tenth of it.
const MAX_PATH: usize = 2048;
/// How many names of a query are written down.
const MAX_KEYS: usize = 64;
/// The longest name of a query that is written down, in bytes.
const MAX_KEY: usize = 64;
/// Stands for a parameter without `=`: the whole of it could be a value.
const NO_NAME: &str = "(no name)";
/// Stands for names that do not look like one.
const ODD_NAME: &str = "(odd name)";

/// A request target as it was received, canonical or not.
///
/// It is a copy of its own: a record lives longer than its request, and a part of hyper's read buffer
/// that stays in use would cost the connection a new buffer for every request.
#[derive(Clone)]
pub struct Target {
    text: Box<str>,
    /// How many bytes of it are the path.
    path: usize,
}

impl Target {
    /// The path, which ends where the query begins.
    pub fn path(&self) -> &str {
        self.text.get(..self.path).unwrap_or_default()
    }

    fn query(&self) -> Option<&str> {
        self.text.get(self.path..)?.strip_prefix('?')
    }
}

impl From<&PathAndQuery> for Target {
    fn from(target: &PathAndQuery) -> Self {
        Self { text: target.as_str().into(), path: target.path().len() }
    }
}

impl FromStr for Target {
    type Err = InvalidUri;

    fn from_str(text: &str) -> Result<Self, InvalidUri> {
        text.parse().map(|target: PathAndQuery| Self::from(&target))
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Values of a query are for nobody's eyes.
        write!(f, "Target({})", self.path())
    }
}

/// The path, cut with an ellipsis where it is too long.
pub(super) fn path(target: &Target) -> Cow<'_, str> {
    // A fragment has no place in a request target, and what stands behind it may be anything.
    let path = target.path();
    let end = memchr::memchr(b'#', path.as_bytes()).unwrap_or(path.len());
    bounded(path.get(..end).unwrap_or_default(), MAX_PATH)
}

/// Cuts a text to a number of bytes and says so with an ellipsis.
pub(super) fn bounded(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    let mut end = most;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// The object the path is about: its last segment that is a UUID.
pub(super) fn object_id(path: &str) -> Option<&str> {
    path.rsplit('/').find(|segment| is_uuid(segment))
}

/// Puts the key's names in the place of all UUIDs, wherever they stand in the path.
pub(super) fn rename_objects<'a>(path: Cow<'a, str>, key: &ObjectKey) -> Cow<'a, str> {
    let mut renamed = String::new();
    let mut kept = 0;
    let mut at = 0;
    while at + UUID_LENGTH <= path.len() {
        match path.get(at..at + UUID_LENGTH).filter(|text| is_uuid(text)) {
            Some(uuid) => {
                renamed.push_str(path.get(kept..at).unwrap_or_default());
                renamed.push_str(&key.name(uuid));
                at += UUID_LENGTH;
                kept = at;
            }
            None => at += 1,
        }
    }
    if kept == 0 {
        return path;
    }
    renamed.push_str(path.get(kept..).unwrap_or_default());
    Cow::Owned(renamed)
}

/// The names of the query's parameters in their order, each once.
pub(super) fn query_keys(target: &Target) -> Vec<&str> {
    let mut keys: Vec<&str> = Vec::new();
    let query = target.query().unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let key = name_of(pair);
        if !keys.contains(&key) {
            keys.push(key);
        }
        if keys.len() == MAX_KEYS {
            break;
        }
    }
    keys
}

/// The name of one parameter, if it looks like one: a word of a programming language with the signs
/// that filters use (`category!`, `id__in!`, `address.city`, `ids[]`).
fn name_of(pair: &str) -> &str {
    let Some((name, _)) = pair.split_once('=') else { return NO_NAME };
    let begins = name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_');
    let fits = name.bytes().all(|byte| {
        byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'!' | b'[' | b']')
    });
    if begins && fits && name.len() <= MAX_KEY { name } else { ODD_NAME }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(text: &str) -> Target {
        text.parse().unwrap()
    }

    #[test]
    fn a_path_is_kept_and_bounded() {
        assert_eq!(path(&target("/a/..%2fb//?ssn=201701272394")), "/a/..%2fb//");
        let long = format!("/{}", "å".repeat(MAX_PATH));
        let kept = path(&target(&long)).into_owned();
        assert!(kept.len() <= MAX_PATH + 3, "{}", kept.len());
        assert!(kept.ends_with('…'));
    }

    #[test]
    fn the_last_uuid_is_the_object() {
        let id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
        assert_eq!(object_id(&format!("/accounts/users/customer/subtenant/{id}/")), Some(id));
        assert_eq!(object_id("/accounts/users/customer/subtenant/list/"), None);
        assert_eq!(object_id("/0190d1c2x9a4e-7cc3-8f00-1234567890ab/"), None);
    }

    #[test]
    fn every_uuid_of_a_path_can_be_renamed() {
        let home = tempfile::tempdir().unwrap();
        let key = ObjectKey::open(&home.path().join("key")).unwrap();
        let id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
        let name = key.name(id);
        let renamed = |path: &str| rename_objects(Cow::Borrowed(path), &key).into_owned();
        assert_eq!(renamed(&format!("/a/{id}/b/{id}")), format!("/a/{name}/b/{name}"));
        assert_eq!(renamed(&format!("/å%2f{}x", id.to_uppercase())), format!("/å%2f{name}x"));
        assert_eq!(renamed("/a/list/"), "/a/list/");
    }

    #[test]
    fn only_names_are_kept_of_a_query() {
        let keys = |text: &str| {
            query_keys(&target(text)).into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            keys("/l/?_page=1&category!=3&id__in!=a,b&ids[]=1&&category!=4&ssn=201701272394"),
            ["_page", "category!", "id__in!", "ids[]", "ssn"]
        );
        // A value where a name should be is not written down.
        for hidden in [
            "/l/?201701272394",
            "/l/?201701272394=",
            "/l/?ssn%3D201701272394=",
            "/l/?ssn:201701272394=x",
            "/l/?Tolvan+Tolvansson=x",
            "/l/?a;ssn%3d201701272394=x",
            "/l/?=201701272394",
        ] {
            let keys = keys(hidden);
            assert!(keys == [NO_NAME] || keys == [ODD_NAME], "{hidden}: {keys:?}");
        }
        let many = (0..1000).map(|n| format!("a{n}=1")).collect::<Vec<_>>().join("&");
        assert_eq!(keys(&format!("/?{many}")).len(), MAX_KEYS);
    }
}
