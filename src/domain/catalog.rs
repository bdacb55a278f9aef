//! The catalog of operations, searched by method and canonical path.

use std::{collections::HashMap, sync::Arc};

use http::Method;

use super::{
    operation::{Operation, builtin_operations},
    uuid::is_uuid,
};

/// All operations that the gateway knows.
#[derive(Debug)]
pub struct Catalog {
    operations: Vec<Arc<Operation>>,
    router: matchit::Router<Vec<Arc<Operation>>>,
}

impl Catalog {
    /// A catalog of the built-in operations and those of the configuration.
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

    /// The operation of a name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Operation>> {
        self.operations.iter().find(|operation| operation.name() == name)
    }

    /// Finds the operation of a method and canonical path, without allocating.
    pub fn find(&self, method: &Method, path: &str) -> OperationMatch<'_> {
        let Ok(found) = self.router.at(path) else { return OperationMatch::Unknown };
        if !found.params.iter().all(|(_, value)| is_uuid(value)) {
            return OperationMatch::Unknown;
        }
        match found.value.iter().find(|operation| operation.has_method(method)) {
            Some(operation) => OperationMatch::Found(operation),
            None => OperationMatch::OtherMethods(found.value),
        }
    }
}

/// The result of a search by method and path.
#[derive(Debug)]
pub enum OperationMatch<'a> {
    /// This operation.
    Found(&'a Arc<Operation>),
    /// The path belongs to these operations, which have other methods.
    OtherMethods(&'a [Arc<Operation>]),
    /// The path belongs to no operation.
    Unknown,
}

/// Why the catalog refuses an operation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// Another operation has the name.
    #[error("there is an operation named `{0}` already")]
    NameTaken(Arc<str>),
    /// Another operation has the method and path.
    #[error("`{name}` has the same method and path as `{other}`")]
    PathTaken {
        /// The refused operation.
        name: Arc<str>,
        /// The known operation.
        other: Arc<str>,
    },
    /// The router cannot tell the path from that of another operation.
    #[error("the path of `{name}` cannot be told from that of another operation")]
    PathConflict {
        /// The refused operation.
        name: Arc<str>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::{Action, OperationError};

    const PK: &str = "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/";

    fn found(method: &Method, path: &str) -> Option<String> {
        let catalog = Catalog::new([]).unwrap();
        match catalog.find(method, path) {
            OperationMatch::Found(operation) => Some(operation.name().to_owned()),
            OperationMatch::OtherMethods(_) | OperationMatch::Unknown => None,
        }
    }

    #[test]
    fn the_api_has_63_operations() {
        assert_eq!(builtin_operations().count(), 63);
    }

    #[test]
    fn a_list_path_is_not_an_object() {
        let list = "/accounts/users/customer/subtenant/list/";
        assert_eq!(found(&Method::GET, list).as_deref(), Some("subtenant.list"));
        assert_eq!(found(&Method::POST, list).as_deref(), Some("subtenant.bulk_write"));
        assert_eq!(found(&Method::GET, PK).as_deref(), Some("subtenant.get"));
        assert_eq!(found(&Method::HEAD, PK).as_deref(), Some("subtenant.get"));
        assert_eq!(found(&Method::DELETE, list), None);
    }

    #[test]
    fn an_object_path_has_a_uuid() {
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
    fn a_known_path_with_another_method_lists_its_operations() {
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
    fn configured_operations_are_checked() {
        let own = |name: &str, path: &str| Operation::new(name, Method::GET, path);
        assert_eq!(own("Realestate.get", "/x/"), Err(OperationError::Name));
        assert_eq!(own("realestate.get", "x/"), Err(OperationError::Template));
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
