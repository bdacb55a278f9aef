//! The catalog of operations, searched by method and canonical path.

use std::{collections::HashMap, sync::Arc};

use http::Method;

use super::{
    operation::{Operation, builtin_operations},
    uuid::is_uuid,
};

/// All operations that the gateway knows.
#[derive(Debug, Default)]
pub struct Catalog {
    operations: Vec<Arc<Operation>>,
    by_name: HashMap<Arc<str>, Arc<Operation>>,
    /// The operations of each path, by the numbers that the router and the templates lead to.
    by_path: Vec<Vec<Arc<Operation>>>,
    templates: HashMap<Arc<str>, usize>,
    router: matchit::Router<usize>,
}

impl Catalog {
    /// A catalog of the built-in operations and those of the configuration.
    pub fn new(own: impl IntoIterator<Item = Operation>) -> Result<Self, CatalogError> {
        let mut catalog = Self::default();
        builtin_operations().chain(own).try_for_each(|operation| catalog.add(operation))?;
        Ok(catalog)
    }

    /// Adds an operation. One that is refused changes nothing.
    pub fn add(&mut self, operation: Operation) -> Result<(), CatalogError> {
        let name = Arc::clone(operation.name.shared());
        if self.by_name.contains_key(&name) {
            return Err(CatalogError::NameTaken(name));
        }
        let operation = Arc::new(operation);
        let known =
            self.templates.get(&operation.template).and_then(|at| self.by_path.get_mut(*at));
        if let Some(same_path) = known {
            if let Some(other) = same_path.iter().find(|known| known.method == operation.method) {
                return Err(CatalogError::PathTaken {
                    name,
                    other: Arc::clone(other.name.shared()),
                });
            }
            same_path.push(Arc::clone(&operation));
        } else {
            let at = self.by_path.len();
            if self.router.insert(&*operation.template, at).is_err() {
                return Err(CatalogError::PathConflict { name });
            }
            self.templates.insert(Arc::clone(&operation.template), at);
            self.by_path.push(vec![Arc::clone(&operation)]);
        }
        self.by_name.insert(name, Arc::clone(&operation));
        self.operations.push(operation);
        Ok(())
    }

    /// Every operation, built-in ones first.
    pub fn operations(&self) -> &[Arc<Operation>] {
        &self.operations
    }

    /// The operation of a name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<Operation>> {
        self.by_name.get(name)
    }

    /// Finds the operation of a method and canonical path, without allocating.
    pub fn find(&self, method: &Method, path: &str) -> OperationMatch<'_> {
        let Ok(found) = self.router.at(path) else { return OperationMatch::Unknown };
        if !found.params.iter().all(|(_, value)| is_uuid(value)) {
            return OperationMatch::Unknown;
        }
        let same_path = self.by_path.get(*found.value).map_or(&[][..], Vec::as_slice);
        match same_path.iter().find(|operation| operation.has_method(method)) {
            Some(operation) => OperationMatch::Found(operation),
            None => OperationMatch::OtherMethods(same_path),
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

    #[test]
    fn a_refused_operation_changes_nothing() {
        let mut catalog = Catalog::new([]).unwrap();
        for (name, path) in [
            ("subtenant.get", "/x/"),
            ("mine.get", "/accounts/users/customer/subtenant/{pk}/"),
            ("mine.get", "/accounts/users/customer/subtenant/{id}/"),
        ] {
            assert!(
                catalog.add(Operation::new(name, Method::GET, path).unwrap()).is_err(),
                "{name} {path}"
            );
            assert_eq!(catalog.operations().len(), 63);
            assert!(catalog.by_name("mine.get").is_none());
        }
        catalog.add(Operation::new("mine.get", Method::GET, "/mine/{pk}/").unwrap()).unwrap();
        assert_eq!(catalog.by_name("mine.get").unwrap().template(), "/mine/{pk}/");
    }
}
