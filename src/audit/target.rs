//! The parts of a request target that the trail shows: the path, cut to a limit, and the names of the
//! query parameters.
//!
//! The target may be non-canonical, because refused calls have records too. No query value gets
//! through, not even one in the place of a name.

use std::{borrow::Cow, fmt, str::FromStr};

use http::uri::{InvalidUri, PathAndQuery};

use super::keys::ObjectKey;
use crate::domain::{UUID_LENGTH, is_uuid};

/// The limit for a path, in bytes. Pigello's paths have a tenth of it.
const MAX_PATH: usize = 2048;
/// The limit for the number of query names.
const MAX_KEYS: usize = 64;
/// The limit for a query name, in bytes.
const MAX_KEY: usize = 64;
/// Replaces a parameter without `=`, because all of it could be a value.
const NO_NAME: &str = "(no name)";
/// Replaces a name that does not look like one.
const ODD_NAME: &str = "(odd name)";

/// A request target as received, canonical or not.
///
/// It is a copy: a record outlives its request, and a slice that stays in use would cost the
/// connection a new read buffer for every request.
#[derive(Clone)]
pub struct Target {
    text: Box<str>,
    /// The length of the path.
    path_length: usize,
}

impl Target {
    /// The path without the query.
    pub fn path(&self) -> &str {
        self.text.get(..self.path_length).unwrap_or_default()
    }

    fn query(&self) -> Option<&str> {
        self.text.get(self.path_length..)?.strip_prefix('?')
    }
}

impl From<&PathAndQuery> for Target {
    fn from(target: &PathAndQuery) -> Self {
        Self { text: target.as_str().into(), path_length: target.path().len() }
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
        // Query values must not be printed.
        write!(f, "Target({})", self.path())
    }
}

/// The path, cut to [`MAX_PATH`].
pub(super) fn path(target: &Target) -> Cow<'_, str> {
    bounded(without_fragment(target.path()), MAX_PATH)
}

/// The number of bytes of the path that [`path`] leaves out.
pub(super) fn path_bytes_omitted(target: &Target) -> usize {
    let path = target.path();
    path.len().saturating_sub(cut(without_fragment(path), MAX_PATH).len())
}

/// A request target has no fragment (RFC 9112 §3.2). A caller's may hold anything.
fn without_fragment(path: &str) -> &str {
    path.split('#').next().unwrap_or_default()
}

/// Cuts a text to a number of bytes, and marks the cut with an ellipsis.
pub(super) fn bounded(text: &str, limit: usize) -> Cow<'_, str> {
    let kept = cut(text, limit);
    if kept.len() == text.len() { Cow::Borrowed(text) } else { Cow::Owned(format!("{kept}…")) }
}

/// The beginning of a text, up to a number of bytes.
pub(super) fn cut(text: &str, limit: usize) -> &str {
    text.get(..text.floor_char_boundary(limit)).unwrap_or_default()
}

/// The object of the path: the last segment that is a UUID.
pub(super) fn object_id(path: &str) -> Option<&str> {
    path.rsplit('/').find(|segment| is_uuid(segment))
}

/// Replaces every UUID in the path, at any position, by its hash.
pub(super) fn hash_objects<'a>(path: Cow<'a, str>, key: &ObjectKey) -> Cow<'a, str> {
    let mut hashed = String::new();
    let mut copied = 0;
    let mut at = 0;
    while at + UUID_LENGTH <= path.len() {
        match path.get(at..at + UUID_LENGTH).filter(|text| is_uuid(text)) {
            Some(uuid) => {
                hashed.push_str(path.get(copied..at).unwrap_or_default());
                hashed.push_str(&key.name(uuid));
                at += UUID_LENGTH;
                copied = at;
            }
            None => at += 1,
        }
    }
    if copied == 0 {
        return path;
    }
    hashed.push_str(path.get(copied..).unwrap_or_default());
    Cow::Owned(hashed)
}

/// The distinct names of the query parameters, in their order, up to [`MAX_KEYS`].
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct QueryKeys<'a> {
    pub(super) names: Vec<&'a str>,
    /// The number of parameters behind the limit whose names are not among these.
    pub(super) omitted: usize,
}

/// The names of the query parameters.
pub(super) fn query_keys(target: &Target) -> QueryKeys<'_> {
    let mut keys = QueryKeys::default();
    let query = target.query().unwrap_or_default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let name = name_of(pair);
        if keys.names.contains(&name) {
            continue;
        }
        if keys.names.len() < MAX_KEYS {
            keys.names.push(name);
        } else {
            keys.omitted = keys.omitted.saturating_add(1);
        }
    }
    keys
}

/// The name of a parameter, if it looks like one: an identifier with the extra characters of filters
/// (`category!`, `id__in!`, `address.city`, `ids[]`).
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
    fn a_path_is_kept_up_to_the_limit() {
        assert_eq!(path(&target("/a/..%2fb//?ssn=201701272394")), "/a/..%2fb//");
        let long = format!("/{}", "å".repeat(MAX_PATH));
        let kept = path(&target(&long)).into_owned();
        assert!(kept.len() <= MAX_PATH + 3, "{}", kept.len());
        assert!(kept.ends_with('…'));
        let whole = kept.len() - '…'.len_utf8() + path_bytes_omitted(&target(&long));
        assert_eq!(whole, long.len());
        assert_eq!(path_bytes_omitted(&target("/a/..%2fb//?ssn=201701272394")), 0);
    }

    #[test]
    fn the_last_uuid_is_the_object() {
        let id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
        assert_eq!(object_id(&format!("/accounts/users/customer/subtenant/{id}/")), Some(id));
        assert_eq!(object_id("/accounts/users/customer/subtenant/list/"), None);
        assert_eq!(object_id("/0190d1c2x9a4e-7cc3-8f00-1234567890ab/"), None);
    }

    #[test]
    fn every_uuid_of_a_path_is_hashed() {
        let home = tempfile::tempdir().unwrap();
        let key = ObjectKey::open(&home.path().join("key")).unwrap();
        let id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";
        let name = key.name(id);
        let hashed = |path: &str| hash_objects(Cow::Borrowed(path), &key).into_owned();
        assert_eq!(hashed(&format!("/a/{id}/b/{id}")), format!("/a/{name}/b/{name}"));
        assert_eq!(hashed(&format!("/å%2f{}x", id.to_uppercase())), format!("/å%2f{name}x"));
        assert_eq!(hashed("/a/list/"), "/a/list/");
    }

    #[test]
    fn a_query_is_reduced_to_its_names() {
        let keys = |text: &str| {
            let target = target(text);
            let keys = query_keys(&target);
            assert_eq!(keys.omitted, 0);
            keys.names.into_iter().map(ToOwned::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(
            keys("/l/?_page=1&category!=3&id__in!=a,b&ids[]=1&&category!=4&ssn=201701272394"),
            ["_page", "category!", "id__in!", "ids[]", "ssn"]
        );
        // A value in the place of a name is replaced.
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
        // Made-up names do not hide the rest: it is counted.
        let many = (0..1000).map(|n| format!("a{n}=1")).collect::<Vec<_>>().join("&");
        let many = target(&format!("/?{many}&a0=2&_jsonl=true&_jsonl=false"));
        let keys = query_keys(&many);
        assert_eq!((keys.names.len(), keys.omitted), (MAX_KEYS, 1000 - MAX_KEYS + 2));
    }
}
