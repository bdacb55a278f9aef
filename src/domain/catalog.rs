//! Every operation there is, found by method and canonical path.

use std::{collections::HashMap, sync::Arc};

use http::Method;

use super::{Operation, builtin_operations, is_uuid};

/// Every operation the gateway knows, matched by method and canonical path.
#[derive(Debug)]
pub struct Catalog {
    operations: Vec<Arc<Operation>>,
    router: matchit::Router<Vec<Arc<Operation>>>,
}

impl Catalog {
    /// The built-in operations and the configuration's own.
    pub fn new(own: impl IntoIterator<Item = Operation>) -> Result<Self, CatalogError> {
        let mut operations: Vec<Arc<Operation>> = Vec::new();
        let mut by_template: HashMap<Arc<str>, Vec<Arc<Operation>>> = HashMap::new();
        for operation in builtin_operations().chain(own) {
            if operations.iter().any(|known| known.name == operation.name) {
                return Err(CatalogError::NameTaken(Arc::clone(operation.name.shared())));
            }
            let same_path = by_template.entry(Arc::clone(&operation.template)).or_default();
            if let Some(other) = same_path.iter().find(|known| known.method == operation.method) {
                let [name, other] =
                    [&operation, &**other].map(|operation| Arc::clone(operation.name.shared()));
                return Err(CatalogError::PathTaken { name, other });
            }
            let operation = Arc::new(operation);
            same_path.push(Arc::clone(&operation));
            operations.push(operation);
        }
        let mut router = matchit::Router::new();
        for (template, same_path) in by_template {
            let name = same_path.first().map(|operation| Arc::clone(operation.name.shared()));
            router
                .insert(&*template, same_path)
                .map_err(|_| CatalogError::PathConflict { name: name.unwrap_or_default() })?;
        }
        Ok(Self { operations, router })
    }

    /// Every operation, built-in ones first.
    pub fn operations(&self) -> &[Arc<Operation>] {
        &self.operations
    }

    /// The operation with that name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Operation>> {
        self.operations.iter().find(|operation| operation.name() == name)
    }

    /// Finds the operation of a method and canonical path, without allocating.
    pub fn find(&self, method: &Method, path: &str) -> OperationMatch<'_> {
        let Ok(found) = self.router.at(path) else { return OperationMatch::Unknown };
        if !found.params.iter().all(|(_, value)| is_uuid(value)) {
            return OperationMatch::Unknown;
        }
        let method = if method == Method::HEAD { &Method::GET } else { method };
        match found.value.iter().find(|operation| operation.method == *method) {
            Some(operation) => OperationMatch::Found(operation),
            None => OperationMatch::OtherMethods(found.value),
        }
    }
}

/// What a method and a path are to the catalog.
#[derive(Debug)]
pub enum OperationMatch<'a> {
    /// This operation.
    Found(&'a Arc<Operation>),
    /// The path is known, the method is not; these operations share the path.
    OtherMethods(&'a [Arc<Operation>]),
    /// No operation has this path.
    Unknown,
}

/// Why an operation cannot be in the catalog.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// The name has the wrong form.
    #[error("an operation is named `entity.action`, in lower-case letters, digits and `_`")]
    Name,
    /// The path has the wrong form.
    #[error("the path must begin with `/`; a variable segment is written `{{pk}}` and is a UUID")]
    Template,
    /// Another operation has the name.
    #[error("there is an operation named `{0}` already")]
    NameTaken(Arc<str>),
    /// Another operation has the method and path.
    #[error("`{name}` has the same method and path as `{other}`")]
    PathTaken {
        /// The operation that was to be added.
        name: Arc<str>,
        /// The one that is there.
        other: Arc<str>,
    },
    /// The path cannot be told from another one's.
    #[error("the path of `{name}` cannot be told from that of another operation")]
    PathConflict {
        /// The operation that was to be added.
        name: Arc<str>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Action;

    const PK: &str = "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/";

    fn found(method: &Method, path: &str) -> Option<String> {
        let catalog = Catalog::new([]).unwrap();
        match catalog.find(method, path) {
            OperationMatch::Found(operation) => Some(operation.name().to_owned()),
            OperationMatch::OtherMethods(_) | OperationMatch::Unknown => None,
        }
    }

    #[test]
    fn there_are_63_operations() {
        assert_eq!(builtin_operations().count(), 63);
    }

    #[test]
    fn list_is_never_an_object() {
        let list = "/accounts/users/customer/subtenant/list/";
        assert_eq!(found(&Method::GET, list).as_deref(), Some("subtenant.list"));
        assert_eq!(found(&Method::POST, list).as_deref(), Some("subtenant.bulk_write"));
        assert_eq!(found(&Method::GET, PK).as_deref(), Some("subtenant.get"));
        assert_eq!(found(&Method::HEAD, PK).as_deref(), Some("subtenant.get"));
        assert_eq!(found(&Method::DELETE, list), None);
    }

    #[test]
    fn an_object_is_named_by_a_uuid() {
        for path in [
            "/accounts/users/customer/subtenant/7/",
            "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e5g/",
            "/accounts/users/customer/subtenant/6b7d1c1e0a634b2f9d8e3f6f0c9a1e55/",
            "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55",
            "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/x/",
            "/accounts/users/customer/Subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/",
        ] {
            assert_eq!(found(&Method::GET, path), None, "{path}");
        }
    }

    #[test]
    fn a_known_path_with_another_method_is_told_apart() {
        let catalog = Catalog::new([]).unwrap();
        assert!(
            matches!(catalog.find(&Method::PUT, PK), OperationMatch::OtherMethods(known) if known.len() == 3)
        );
        assert!(matches!(catalog.find(&Method::GET, "/"), OperationMatch::Unknown));
    }

    #[test]
    fn every_operation_of_an_entity_shares_its_collection() {
        for operation in builtin_operations() {
            match operation.action() {
                Some(Action::Invite) => assert_eq!(operation.collection(), None),
                _ => assert!(
                    operation
                        .collection()
                        .unwrap()
                        .ends_with(&format!("/{}/", operation.entity_name())),
                    "{operation:?}"
                ),
            }
        }
    }

    #[test]
    fn own_operations_are_checked() {
        let own = |name: &str, path: &str| Operation::new(name, Method::GET, path);
        assert_eq!(own("Realestate.get", "/x/"), Err(CatalogError::Name));
        assert_eq!(own("realestate.get", "x/"), Err(CatalogError::Template));
        let get = own("realestate.get", "/objects/structural/realestate/{pk}/").unwrap();
        assert!(Catalog::new([get.clone()]).is_ok());
        assert_eq!(
            Catalog::new([get.clone(), get]).err(),
            Some(CatalogError::NameTaken("realestate.get".into()))
        );
        let taken = own("mine.get", "/accounts/users/customer/subtenant/{pk}/").unwrap();
        assert!(matches!(Catalog::new([taken]), Err(CatalogError::PathTaken { .. })));
        let clash = own("mine.get", "/accounts/users/customer/subtenant/{id}/").unwrap();
        assert!(matches!(Catalog::new([clash]), Err(CatalogError::PathConflict { .. })));
    }
}
