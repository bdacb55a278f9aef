//! Invalidation by writes (RFC 9111 §4.4).
//!
//! A successful write invalidates its target, and the targets of its `Location` and `Content-Location`
//! on the same authority. The API adds: an update or a deletion changes an object and the lists
//! of its collection, a creation changes the lists, and a bulk write may change all of a collection. A
//! write that failed changes nothing. What is invalidated here, the fleet is told, if there is one.
//! A write without a known end may have changed everything.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, header};

use super::{
    handle::Cache,
    outcome::CallResult,
    storage::{
        epochs::{EpochStamp, Subject},
        key::path_of,
    },
};
use crate::{
    domain::{Action, Entity, Operation, Origin},
    error::Fault,
    fleet::{Change, Written},
    proxy::call::Head,
};

/// The invalidation by one write. Unless the write is known to have failed, it happens, also when the
/// caller leaves before the write ends.
#[derive(Debug)]
pub(super) struct Invalidation {
    cache: Cache,
    head: Arc<Head>,
    operation: Option<Arc<Operation>>,
    /// Whether the end of the write is unknown.
    is_open: bool,
}

/// The part of a collection that a write changes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Lists(Box<str>),
    All(Box<str>),
}

impl Invalidation {
    pub(super) fn begin(
        cache: &Cache,
        head: &Arc<Head>,
        operation: Option<Arc<Operation>>,
    ) -> Self {
        Self { cache: cache.clone(), head: Arc::clone(head), operation, is_open: true }
    }

    /// Takes the result of the write. Returns whether it was a success.
    pub(super) fn finish(&mut self, result: &CallResult) -> bool {
        let response = match result {
            Ok(response) => response,
            Err(error) => {
                // Nothing changed if the gateway refused the write.
                self.is_open = error.kind().fault() == Fault::Upstream;
                return false;
            }
        };
        self.is_open = false;
        if response.status().is_client_error() || response.status().is_server_error() {
            return false;
        }
        self.invalidate();
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            if let Some(target) = self.target_in(response.headers(), &name) {
                self.drop_written(path_of(&target), None);
            }
        }
        true
    }

    /// The target that a response field names, if it is on the same upstream.
    pub(super) fn target_in(&self, headers: &HeaderMap, name: &HeaderName) -> Option<String> {
        let reference = headers.get(name)?.to_str().ok()?.trim();
        same_authority_target(
            reference,
            self.head.profile.partition.origin(),
            self.head.target.path(),
        )
    }

    fn invalidate(&self) {
        let path = self.head.target.path();
        self.drop_written(path, Some(reach(&self.head.method, path, self.operation.as_deref())));
    }

    /// Drops it here, and tells the fleet.
    fn drop_written(&self, path: &str, reach: Option<Reach>) {
        let partition = &self.head.profile.partition;
        let whole = matches!(reach, Some(Reach::All(_)));
        let collection =
            reach.map(|(Reach::Lists(collection) | Reach::All(collection))| collection);
        self.cache.drop_written(partition.owner(), path, collection.as_deref(), whole, None);
        if let Some(fleet) = self.cache.fleet() {
            fleet.tell(Change::Written(Written {
                profile: partition.profile().clone(),
                shared: partition.owner().is_none(),
                path: path.into(),
                collection,
                whole,
            }));
        }
    }

    /// Waits a moment until the fleet is told.
    pub(super) async fn told(&self) {
        if let Some(fleet) = self.cache.fleet() {
            fleet.told().await;
        }
    }
}

impl Drop for Invalidation {
    fn drop(&mut self) {
        if self.is_open {
            self.invalidate();
        }
    }
}

/// The stamp of a response that is about to be fetched.
pub(super) fn stamp(cache: &Cache, head: &Head, operation: Option<&Operation>) -> EpochStamp {
    cache.store().epochs.stamp(&subject(head, operation))
}

/// What the response to a read is about. Its collection is the operation's, or follows from the path, since the API
/// builds all paths alike.
pub(super) fn subject<'a>(head: &'a Head, operation: Option<&'a Operation>) -> Subject<'a> {
    let path = head.target.path();
    let (collection, is_list) = match operation {
        Some(operation) => (operation.collection(), operation.is_list()),
        None => (parent(path), path.ends_with("/list/")),
    };
    let partition = &head.profile.partition;
    let (owner, profile) = (partition.owner(), partition.profile());
    Subject { owner, profile, path, collection, is_list }
}

fn reach(method: &Method, path: &str, operation: Option<&Operation>) -> Reach {
    let Some(operation) = operation else {
        // The path may belong to an entity all the same, and name its object in any spelling that the
        // upstream takes, such as a UUID without hyphens.
        let collection = parent(path).unwrap_or(path);
        return match *method {
            Method::PUT | Method::PATCH | Method::DELETE => Reach::All(collection.into()),
            _ if path.ends_with("/list/") => Reach::All(collection.into()),
            _ => Reach::Lists(path.into()),
        };
    };
    match (operation.action(), operation.collection()) {
        (Some(Action::Create | Action::Update | Action::Delete), Some(collection)) => {
            Reach::Lists(collection.into())
        }
        (_, Some(collection)) => Reach::All(collection.into()),
        // An invitation creates an object of its entity.
        (_, None) => {
            let entity = Entity::ALL.iter().find(|e| e.name == operation.entity_name());
            Reach::All(entity.map_or_else(|| path.to_owned(), Entity::base).into())
        }
    }
}

/// The parent of a path: `/a/b/` for `/a/b/c/` and `/a/b/c`.
fn parent(path: &str) -> Option<&str> {
    let end = path.strip_suffix('/').unwrap_or(path).rfind('/')?;
    path.get(..=end)
}

/// The path and query of a reference, relative to the request's path (RFC 3986 §5), if it is on the
/// same upstream (RFC 9111 §4.4).
fn same_authority_target(reference: &str, origin: &Origin, base: &str) -> Option<String> {
    let has_scheme = reference.split(['/', '?', '#']).next().is_some_and(|head| head.contains(':'));
    if has_scheme || reference.starts_with("//") {
        let absolute = if has_scheme {
            reference.to_owned()
        } else {
            format!("{}:{reference}", if origin.is_tls() { "https" } else { "http" })
        };
        let uri: http::Uri = absolute.split('#').next()?.parse().ok()?;
        let named = format!("{}://{}", uri.scheme_str()?, uri.authority()?);
        let is_same = named.parse::<Origin>().is_ok_and(|named| {
            (named.is_tls(), named.host(), named.port())
                == (origin.is_tls(), origin.host(), origin.port())
        });
        return is_same.then(|| uri.path_and_query().map_or("/", |p| p.as_str()).to_owned());
    }
    let reference = reference.split('#').next()?;
    if reference.starts_with('/') {
        return Some(reference.to_owned());
    }
    if reference.is_empty() || reference.starts_with('?') {
        return Some(format!("{base}{reference}"));
    }
    // No stored target has dot segments, so such a reference names none.
    let directory = base.get(..=base.rfind('/')?)?;
    (!reference.split('/').any(|segment| matches!(segment, "." | "..")))
        .then(|| format!("{directory}{reference}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::builtin_operations;

    const BASE: &str = "/accounts/users/customer/subtenant/";

    fn reach_of(name: &str, path: &str) -> Reach {
        let operation = builtin_operations().find(|operation| operation.name() == name).unwrap();
        reach(operation.method(), path, Some(&operation))
    }

    #[test]
    fn the_reach_of_each_action() {
        let pk = format!("{BASE}6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/");
        assert_eq!(reach_of("subtenant.create", BASE), Reach::Lists(BASE.into()));
        assert_eq!(reach_of("subtenant.update", &pk), Reach::Lists(BASE.into()));
        assert_eq!(reach_of("subtenant.delete", &pk), Reach::Lists(BASE.into()));
        let list = format!("{BASE}list/");
        assert_eq!(reach_of("subtenant.bulk_write", &list), Reach::All(BASE.into()));
        let invite = "/accounts/users/auth/invite/customer/subtenant/";
        assert_eq!(reach_of("subtenant.invite", invite), Reach::All(BASE.into()));
    }

    #[test]
    fn the_reach_of_a_write_without_an_operation() {
        let reach = |method, path| reach(&method, path, None);
        assert_eq!(reach(Method::PUT, "/a/b/"), Reach::All("/a/".into()));
        assert_eq!(reach(Method::POST, "/a/list/"), Reach::All("/a/".into()));
        assert_eq!(reach(Method::POST, "/a/"), Reach::Lists("/a/".into()));
        assert_eq!(reach(Method::DELETE, "/"), Reach::All("/".into()));
    }

    #[test]
    fn references_on_the_same_authority() {
        let origin: Origin = "https://api.pigello.io".parse().unwrap();
        for (reference, target) in [
            ("/x/?a=1#f", Some("/x/?a=1")),
            ("https://api.pigello.io/x", Some("/x")),
            ("https://API.pigello.io:443/x?y", Some("/x?y")),
            ("//api.pigello.io/x", Some("/x")),
            ("https://api.pigello.io", Some("/")),
            ("x/", Some("/base/x/")),
            ("", Some("/base/here")),
            ("?q", Some("/base/here?q")),
            ("../x", None),
            ("http://api.pigello.io/x", None),
            ("https://elsewhere.example/x", None),
            ("//elsewhere.example/x", None),
            ("https://api.pigello.io:8443/x", None),
            ("mailto:x@example.com", None),
            ("http://[", None),
        ] {
            let found = same_authority_target(reference, &origin, "/base/here");
            assert_eq!(found.as_deref(), target, "{reference}");
        }
    }
}
