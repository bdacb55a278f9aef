//! Operations: the named calls of Pigello's API.
//!
//! The 63 operations of the Accounts API are built in (Pigello Core API reference, "Accounts"). A
//! configuration may add others. Only the method and the canonical path of a request decide its
//! operation, so the target that a policy matched is byte for byte the target that is sent.

use std::{fmt, sync::Arc};

use http::Method;

use super::label::LabelValue;

/// A named operation: `subtenant.get` is `GET /accounts/users/customer/subtenant/{pk}/`.
#[derive(Clone, PartialEq, Eq)]
pub struct Operation {
    pub(super) name: LabelValue,
    dot: usize,
    pub(super) method: Method,
    pub(super) template: Arc<str>,
    collection: Option<Arc<str>>,
    takes_body: bool,
    is_built_in: bool,
}

impl Operation {
    /// An operation of the configuration.
    ///
    /// `name` is `entity.action` in lower case. `template` is an absolute path. A segment in braces, like
    /// `{pk}`, matches a UUID.
    pub fn new(name: &str, method: Method, template: &str) -> Result<Self, OperationError> {
        let word = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
        };
        let dot = match name.split_once('.') {
            Some((entity, action)) if word(entity) && word(action) => entity.len(),
            _ => return Err(OperationError::Name),
        };
        if !template.starts_with('/') || template.contains(['*', '?', '#']) {
            return Err(OperationError::Template);
        }
        Ok(Self {
            name: name.into(),
            dot,
            template: template.into(),
            collection: collection_of(template),
            takes_body: defines_body(&method),
            is_built_in: false,
            method,
        })
    }

    /// The same operation, whose requests may have a body although their method defines none.
    #[must_use]
    pub fn with_body(mut self) -> Self {
        self.takes_body = true;
        self
    }

    /// Whether its requests may have a body.
    pub fn takes_body(&self) -> bool {
        self.takes_body
    }

    /// Whether it is one of the 63 of the Accounts API.
    pub fn is_built_in(&self) -> bool {
        self.is_built_in
    }

    /// `entity.action`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name, as metrics count by it.
    pub fn label(&self) -> &LabelValue {
        &self.name
    }

    /// The part before the dot.
    pub fn entity_name(&self) -> &str {
        self.name.get(..self.dot).unwrap_or_default()
    }

    /// The part after the dot.
    pub fn action_name(&self) -> &str {
        self.name.get(self.dot + 1..).unwrap_or_default()
    }

    /// The method. `HEAD` belongs to the `GET` operation.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// Whether a request with this method can be the operation.
    pub fn has_method(&self, method: &Method) -> bool {
        self.method == if method == Method::HEAD { &Method::GET } else { method }
    }

    /// The path with its variable segments in braces.
    pub fn template(&self) -> &str {
        &self.template
    }

    /// The path that all operations on an entity share, like `/accounts/users/customer/subtenant/`.
    /// `None` for an operation outside that path, like an invitation.
    pub fn collection(&self) -> Option<&str> {
        self.collection.as_deref()
    }

    /// The action, if the name has a known one.
    pub fn action(&self) -> Option<Action> {
        Action::from_name(self.action_name())
    }

    /// Whether the operation reads many objects.
    pub fn is_list(&self) -> bool {
        self.action() == Some(Action::List) || self.template.ends_with("/list/")
    }

    /// Whether the operation is about people with a protected identity. Their data is never stored,
    /// whatever a cache rule covers.
    pub fn is_protected_identity(&self) -> bool {
        self.entity_name() == "protectedidentity"
    }
}

impl fmt::Debug for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {} {}", self.name, self.method, self.template)
    }
}

/// Whether a method gives a request body a meaning (RFC 9110 §9.3).
pub fn defines_body(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS)
}

/// The collection of `…/subtenant/{pk}/`, `…/subtenant/list/` and `…/subtenant/` is `…/subtenant/`.
fn collection_of(template: &str) -> Option<Arc<str>> {
    let base = template.strip_suffix("list/").unwrap_or_else(|| {
        match template.strip_suffix("}/").and_then(|open| open.rsplit_once('{')) {
            Some((base, _)) => base,
            None => template,
        }
    });
    (!base.contains('{') && !base.contains("/invite/")).then(|| base.into())
}

/// The seven actions of the Accounts API on an entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// Reads one object.
    Get,
    /// Reads many objects.
    List,
    /// Creates one object.
    Create,
    /// Changes one object.
    Update,
    /// Deletes one object.
    Delete,
    /// Creates and changes many objects.
    BulkWrite,
    /// Invites a person.
    Invite,
}

impl Action {
    /// The name, as in an operation's name after the dot.
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
    /// Whether a person can be invited as one.
    pub invite: bool,
}

impl Entity {
    /// All ten, in the order of the reference.
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

    /// `/accounts/users/auth/invite/customer/subtenant/`, if there is an invitation.
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
            let name = format!("{}.{}", self.name, action.name()).into();
            let collection = collection_of(&template);
            Operation {
                name,
                dot: self.name.len(),
                takes_body: defines_body(&action.method()),
                is_built_in: true,
                method: action.method(),
                template: template.into(),
                collection,
            }
        })
    }
}

/// Why an operation of the configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OperationError {
    /// The name has the wrong form.
    #[error("an operation is named `entity.action`, in lower-case letters, digits and `_`")]
    Name,
    /// The path has the wrong form.
    #[error("the path must begin with `/`; a variable segment is written `{{pk}}` and is a UUID")]
    Template,
}

/// The 63 operations of the Accounts API.
pub fn builtin_operations() -> impl Iterator<Item = Operation> {
    Entity::ALL.into_iter().flat_map(Entity::operations)
}
