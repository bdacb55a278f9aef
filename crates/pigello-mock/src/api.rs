//! Pigello's Accounts API, as its reference has it: ten entities, their paths, 63 operations.
//!
//! The gateway has a catalogue of its own; one of its tests compares the two.

use http::Method;
use uuid::Uuid;

/// The ten entities, in the order of the reference.
pub(crate) static ENTITIES: [Entity; 10] = [
    Entity::new(
        "subtenantcontractconnection",
        "/accounts/users/customer/subtenantcontractconnection/",
    ),
    Entity::new("subtenanttenantconnection", "/accounts/users/customer/subtenanttenantconnection/"),
    Entity::new("tenant", "/accounts/users/customer/tenant/")
        .with_invitation("/accounts/users/auth/invite/customer/tenant/"),
    Entity::new("organizationuser", "/accounts/users/organization/organizationuser/")
        .with_invitation("/accounts/users/auth/invite/organization/organizationuser/"),
    Entity::new("subtenant", "/accounts/users/customer/subtenant/")
        .with_invitation("/accounts/users/auth/invite/customer/subtenant/"),
    Entity::new(
        "organizationuserworkengagement",
        "/accounts/users/organization/organizationuserworkengagement/",
    ),
    Entity::new("organizationusersegment", "/accounts/users/organization/organizationusersegment/"),
    Entity::new("integrationuseragent", "/accounts/users/api/integrationuseragent/"),
    Entity::new("protectedidentity", "/accounts/users/customer/protectedidentity/"),
    Entity::new("workengagement", "/accounts/users/organization/workengagement/"),
];

/// One entity of the API.
#[derive(Debug)]
pub(crate) struct Entity {
    pub(crate) name: &'static str,
    /// The path of the collection.
    pub(crate) path: &'static str,
    /// The path of the invitation, where there is one.
    pub(crate) invitation: Option<&'static str>,
}

impl Entity {
    const fn new(name: &'static str, path: &'static str) -> Self {
        Self { name, path, invitation: None }
    }

    /// How events and permissions name it: `accounts.subtenant`. The application is the first part
    /// of the path.
    pub(crate) fn content_type(&self) -> String {
        let application = self.path.split('/').nth(1).unwrap_or_default();
        format!("{application}.{}", self.name)
    }

    const fn with_invitation(mut self, path: &'static str) -> Self {
        self.invitation = Some(path);
        self
    }

    fn resource<'a>(&self, path: &'a str) -> Option<Resource<'a>> {
        if self.invitation == Some(path) {
            return Some(Resource::Invitation);
        }
        match path.strip_prefix(self.path)? {
            "" => Some(Resource::Collection),
            "list/" => Some(Resource::List),
            object => object.strip_suffix('/').filter(|id| is_uuid(id)).map(Resource::Object),
        }
    }
}

/// The hyphenated form alone; `uuid` takes other forms as well.
fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// The resource that a path identifies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource<'a> {
    Collection,
    List,
    /// The object with this identifier.
    Object(&'a str),
    Invitation,
}

impl Resource<'_> {
    /// The actions on the resource; each has a method of its own.
    pub(crate) const fn actions(self) -> &'static [Action] {
        match self {
            Self::Collection => &[Action::Create],
            Self::List => &[Action::List, Action::BulkWrite],
            Self::Object(_) => &[Action::Get, Action::Update, Action::Delete],
            Self::Invitation => &[Action::Invite],
        }
    }

    /// The action of a method. `HEAD` is like `GET` (RFC 9110 §9.3.2).
    pub(crate) fn action(self, method: &Method) -> Option<Action> {
        let method = if method == Method::HEAD { &Method::GET } else { method };
        self.actions().iter().copied().find(|action| action.method() == method)
    }
}

/// What an operation does with its entity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Get,
    List,
    Create,
    Update,
    Delete,
    BulkWrite,
    Invite,
}

impl Action {
    const fn name(self) -> &'static str {
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

    pub(crate) const fn method(self) -> &'static Method {
        match self {
            Self::Get | Self::List => &Method::GET,
            Self::Create | Self::BulkWrite | Self::Invite => &Method::POST,
            Self::Update => &Method::PATCH,
            Self::Delete => &Method::DELETE,
        }
    }
}

/// The entity with that name.
pub(crate) fn entity_named(name: &str) -> Option<&'static Entity> {
    ENTITIES.iter().find(|entity| entity.name == name)
}

/// The entity and the resource that a path identifies.
pub(crate) fn resolve(path: &str) -> Option<(&'static Entity, Resource<'_>)> {
    ENTITIES.iter().find_map(|entity| Some((entity, entity.resource(path)?)))
}

/// An operation of the API that the mock serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// `subtenant.get`.
    pub name: String,
    /// The method; the mock serves `HEAD` wherever it serves `GET`.
    pub method: Method,
    /// The path; `{pk}` stands for the UUID of an object.
    pub path: String,
}

/// The 63 operations.
pub fn operations() -> impl Iterator<Item = Operation> {
    ENTITIES.iter().flat_map(|entity| {
        let resources = [
            (Resource::Collection, entity.path.to_owned()),
            (Resource::List, format!("{}list/", entity.path)),
            (Resource::Object("{pk}"), format!("{}{{pk}}/", entity.path)),
        ];
        let invitation = entity.invitation.map(|path| (Resource::Invitation, path.to_owned()));
        resources.into_iter().chain(invitation).flat_map(move |(resource, path)| {
            resource.actions().iter().map(move |action| Operation {
                name: format!("{}.{}", entity.name, action.name()),
                method: action.method().clone(),
                path: path.clone(),
            })
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_63_operations_and_each_path_resolves_to_its_own() {
        const ID: &str = "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55";
        let mut count = 0;
        for operation in operations() {
            let path = operation.path.replace("{pk}", ID);
            let (entity, resource) = resolve(&path).unwrap();
            let action = resource.action(&operation.method).unwrap();
            assert_eq!(operation.name, format!("{}.{}", entity.name, action.name()));
            count += 1;
        }
        assert_eq!(count, 63);
    }

    #[test]
    fn a_content_type_is_application_and_name() {
        assert_eq!(entity_named("tenant").unwrap().content_type(), "accounts.tenant");
        assert!(entity_named("no_such_entity").is_none());
    }

    #[test]
    fn an_object_has_a_hyphenated_uuid() {
        let collection = "/accounts/users/customer/subtenant/";
        for id in ["7", "6b7d1c1e0a634b2f9d8e3f6f0c9a1e55", "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e5g"]
        {
            assert!(resolve(&format!("{collection}{id}/")).is_none(), "{id}");
        }
        assert!(resolve("/accounts/users/customer/Subtenant/").is_none());
    }
}
