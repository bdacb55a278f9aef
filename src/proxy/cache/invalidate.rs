//! What a write makes unreachable.
//!
//! Two sources say it. The API: an update or a deletion changes an object and the lists it is in, a
//! creation the lists, a bulk write anything in the collection. And HTTP (RFC 9111 §4.4): the target
//! of a successful write, and what its `Location` and `Content-Location` name on the same authority.
//! A write that failed changes nothing; one whose end is not known may have changed everything.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, Response, header};

use super::storage::{
    epochs::Scope,
    store::{Store, path_of},
};
use crate::{
    domain::{Action, CanonicalTarget, Entity, Operation, Origin},
    error::{Error, Fault},
    proxy::call::Head,
};

/// A write under way. Unless it is known to have failed, what it changes is made unreachable, also
/// when its caller leaves before it ends.
#[derive(Debug)]
pub(super) struct Write {
    store: Store,
    origin: Arc<Origin>,
    method: Method,
    target: CanonicalTarget,
    operation: Option<Arc<Operation>>,
    is_open: bool,
}

/// How much of a collection a write changes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Reach {
    Lists(Box<str>),
    All(Box<str>),
}

impl Write {
    pub(super) fn begin(
        store: &Store,
        origin: &Arc<Origin>,
        head: &Head,
        operation: Option<Arc<Operation>>,
    ) -> Self {
        Self {
            store: store.clone(),
            origin: Arc::clone(origin),
            method: head.method.clone(),
            target: head.target.clone(),
            operation,
            is_open: true,
        }
    }

    /// The write's answer is there. Returns whether it was a success.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) -> bool {
        self.is_open = false;
        let status = response.status();
        if status.is_client_error() || status.is_server_error() {
            return false;
        }
        self.advance();
        for name in [header::LOCATION, header::CONTENT_LOCATION] {
            if let Some(target) = self.named(response.headers(), &name) {
                self.store.invalidate([Scope::Path(path_of(&target))]);
            }
        }
        true
    }

    /// The write has no answer. If it was refused on this side of the upstream, nothing changed.
    pub(super) fn failed(&mut self, error: &Error) {
        self.is_open = error.kind().fault() == Fault::Upstream;
    }

    /// The target that a field of the answer names, if it is one of the same upstream.
    pub(super) fn named(&self, headers: &HeaderMap, name: &HeaderName) -> Option<String> {
        let reference = headers.get(name)?.to_str().ok()?.trim();
        same_authority_target(reference, &self.origin, self.target.path())
    }

    fn advance(&self) {
        let path = self.target.path();
        let target = Scope::Path(path);
        match reach(&self.method, path, self.operation.as_deref()) {
            Reach::Lists(collection) => {
                self.store.invalidate([target, Scope::Lists(&collection)]);
            }
            Reach::All(collection) => {
                let (all, lists) = (Scope::Collection(&collection), Scope::Lists(&collection));
                self.store.invalidate([target, all, lists]);
            }
        }
    }
}

impl Drop for Write {
    fn drop(&mut self) {
        if self.is_open {
            self.advance();
        }
    }
}

/// The collection that an object or list belongs to: the operation's, or by the path, as the API
/// builds its paths.
pub(super) fn collection<'a>(path: &'a str, operation: Option<&'a Operation>) -> Option<&'a str> {
    match operation {
        Some(operation) => operation.collection(),
        None => parent(path),
    }
}

/// Whether an operation reads many objects.
pub(super) fn is_list(operation: &Operation) -> bool {
    operation.action() == Some(Action::List) || operation.template().ends_with("/list/")
}

fn reach(method: &Method, path: &str, operation: Option<&Operation>) -> Reach {
    let Some(operation) = operation else {
        // No operation is known for it, but the path may be one of a known entity all the same.
        let collection = parent(path).unwrap_or(path);
        return match *method {
            Method::PUT | Method::PATCH | Method::DELETE => Reach::Lists(collection.into()),
            _ if path.ends_with("/list/") => Reach::All(collection.into()),
            _ => Reach::Lists(path.into()),
        };
    };
    match (operation.action(), operation.collection()) {
        (Some(Action::Create | Action::Update | Action::Delete), Some(collection)) => {
            Reach::Lists(collection.into())
        }
        (_, Some(collection)) => Reach::All(collection.into()),
        // An invitation makes an object of its entity.
        (_, None) => {
            let entity = Entity::ALL.iter().find(|e| e.name == operation.entity_name());
            Reach::All(entity.map_or_else(|| path.to_owned(), Entity::base).into())
        }
    }
}

/// `/a/b/` of `/a/b/c/` and of `/a/b/c`.
fn parent(path: &str) -> Option<&str> {
    let end = path.strip_suffix('/').unwrap_or(path).rfind('/')?;
    path.get(..=end)
}

/// Path and query that a reference names, relative to the path of the request (RFC 3986 §5), if they
/// are on the upstream (RFC 9111 §4.4).
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
    // Nothing stored has dot segments in its path, so such a reference is not followed.
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
    fn what_the_api_changes() {
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
    fn what_no_operation_is_known_for() {
        let reach = |method, path| reach(&method, path, None);
        assert_eq!(reach(Method::PUT, "/a/b/"), Reach::Lists("/a/".into()));
        assert_eq!(reach(Method::POST, "/a/list/"), Reach::All("/a/".into()));
        assert_eq!(reach(Method::POST, "/a/"), Reach::Lists("/a/".into()));
        assert_eq!(reach(Method::DELETE, "/"), Reach::Lists("/".into()));
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
