//! Operations: what a call does to Pigello, by name.
//!
//! The 63 operations of the Accounts API are built in (Pigello Core API reference, "Accounts");
//! a configuration adds its own. A request belongs to an operation by its method and its canonical
//! path alone, so what a policy matched is byte for byte what is sent.

use std::{collections::HashMap, fmt, sync::Arc};

use http::Method;

/// A named operation: `subtenant.get` is `GET /accounts/users/customer/subtenant/{pk}/`.
#[derive(Clone, PartialEq, Eq)]
pub struct Operation {
    name: Arc<str>,
    dot: usize,
    method: Method,
    template: Arc<str>,
    collection: Option<Arc<str>>,
}

impl Operation {
    /// Makes an operation of the configuration.
    ///
    /// `name` is `entity.action` in lower case, `template` an absolute path whose variable segments
    /// are written `{pk}` (or another name in braces) and stand for a UUID.
    pub fn new(name: &str, method: Method, template: &str) -> Result<Self, CatalogError> {
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let dot = match name.split_once('.') {
            Some((entity, action)) if word(entity) && word(action) => entity.len(),
            _ => return Err(CatalogError::Name),
        };
        if !template.starts_with('/') || template.contains(['*', '?', '#']) {
            return Err(CatalogError::Template);
        }
        Ok(Self {
            name: name.into(),
            dot,
            method,
            template: template.into(),
            collection: collection_of(template),
        })
    }

    /// `entity.action`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, shared.
    pub fn shared_name(&self) -> &Arc<str> {
        &self.name
    }

    /// The part before the dot.
    pub fn entity_name(&self) -> &str {
        self.name.get(..self.dot).unwrap_or_default()
    }

    /// The part behind the dot.
    pub fn action_name(&self) -> &str {
        self.name.get(self.dot + 1..).unwrap_or_default()
    }

    /// The method; `HEAD` belongs to the `GET` operation.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The path with its variable segments in braces.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The path of the entity itself, `/accounts/users/customer/subtenant/`, which every operation
    /// on it shares. `None` where the path is no object, list or collection (an invitation).
    pub fn collection(&self) -> Option<&str> {
        self.collection.as_deref()
    }

    /// What the operation does, where its name says so.
    pub fn action(&self) -> Option<Action> {
        Action::from_name(self.action_name())
    }

    /// Whether this is about people whose whereabouts are legally shielded. Nothing about them may
    /// be stored, whatever a rule says.
    pub fn is_protected_identity(&self) -> bool {
        self.entity_name() == "protectedidentity"
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} {}", self.name, self.method, self.template)
    }
}

/// `…/subtenant/{pk}/`, `…/subtenant/list/` and `…/subtenant/` all belong to `…/subtenant/`.
fn collection_of(template: &str) -> Option<Arc<str>> {
    let base = template.strip_suffix("list/").unwrap_or_else(|| {
        match template.strip_suffix("}/").and_then(|open| open.rsplit_once('{')) {
            Some((base, _)) => base,
            None => template,
        }
    });
    (!base.contains('{') && !base.contains("/invite/")).then(|| base.into())
}

/// The seven things the Accounts API does with an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reads one object.
    Get,
    /// Reads many objects.
    List,
    /// Makes one object.
    Create,
    /// Changes one object.
    Update,
    /// Removes one object.
    Delete,
    /// Makes and changes many objects.
    BulkWrite,
    /// Invites a person.
    Invite,
}

impl Action {
    /// The action's name, the part of an operation's name behind the dot.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Create => "create",
            Self::Update => "update",
            Self::Delete => "delete",
            Self::BulkWrite => "bulk_write",
            Self::Invite => "invite",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        const ALL: [Action; 7] = [
            Action::Get,
            Action::List,
            Action::Create,
            Action::Update,
            Action::Delete,
            Action::BulkWrite,
            Action::Invite,
        ];
        ALL.into_iter().find(|action| action.name() == name)
    }

    const fn method(self) -> Method {
        match self {
            Self::Get | Self::List => Method::GET,
            Self::Create | Self::BulkWrite | Self::Invite => Method::POST,
            Self::Update => Method::PATCH,
            Self::Delete => Method::DELETE,
        }
    }
}

/// One of the ten entities of the Accounts API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entity {
    /// The name in lower case, as in paths and operation names.
    pub name: &'static str,
    /// The sub-functionality, the path segment before the entity.
    pub area: &'static str,
    /// Whether there is an invitation for it.
    pub invite: bool,
}

impl Entity {
    /// The ten, in the order of the reference.
    pub const ALL: [Self; 10] = [
        Self::new("subtenantcontractconnection", "customer", false),
        Self::new("subtenanttenantconnection", "customer", false),
        Self::new("tenant", "customer", true),
        Self::new("organizationuser", "organization", true),
        Self::new("subtenant", "customer", true),
        Self::new("organizationuserworkengagement", "organization", false),
        Self::new("organizationusersegment", "organization", false),
        Self::new("integrationuseragent", "api", false),
        Self::new("protectedidentity", "customer", false),
        Self::new("workengagement", "organization", false),
    ];

    const fn new(name: &'static str, area: &'static str, invite: bool) -> Self {
        Self { name, area, invite }
    }

    /// `/accounts/users/customer/subtenant/`.
    pub fn base(&self) -> String {
        format!("/accounts/users/{}/{}/", self.area, self.name)
    }

    /// `/accounts/users/auth/invite/customer/subtenant/`, where there is an invitation.
    pub fn invite_path(&self) -> Option<String> {
        self.invite.then(|| format!("/accounts/users/auth/invite/{}/{}/", self.area, self.name))
    }

    fn operations(self) -> impl Iterator<Item = Operation> {
        let base = self.base();
        let object = format!("{base}{{pk}}/");
        let list = format!("{base}list/");
        let crud = [
            (Action::Get, object.clone()),
            (Action::List, list.clone()),
            (Action::Create, base),
            (Action::Update, object.clone()),
            (Action::Delete, object),
            (Action::BulkWrite, list),
        ];
        let invite = self.invite_path().map(|path| (Action::Invite, path));
        crud.into_iter().chain(invite).map(move |(action, template)| {
            let name: Arc<str> = format!("{}.{}", self.name, action.name()).into();
            let collection = collection_of(&template);
            Operation {
                name,
                dot: self.name.len(),
                method: action.method(),
                template: template.into(),
                collection,
            }
        })
    }
}

/// The 63 operations of the Accounts API.
pub fn builtin_operations() -> impl Iterator<Item = Operation> {
    Entity::ALL.into_iter().flat_map(Entity::operations)
}

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
                return Err(CatalogError::NameTaken(operation.name));
            }
            let same_path = by_template.entry(Arc::clone(&operation.template)).or_default();
            if let Some(other) = same_path.iter().find(|known| known.method == operation.method) {
                let other = Arc::clone(&other.name);
                return Err(CatalogError::PathTaken { name: operation.name, other });
            }
            let operation = Arc::new(operation);
            same_path.push(Arc::clone(&operation));
            operations.push(operation);
        }
        let mut router = matchit::Router::new();
        for (template, same_path) in by_template {
            let name = same_path.first().map(|operation| Arc::clone(&operation.name));
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

/// `8-4-4-4-12` hexadecimal digits, in either case.
fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
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
