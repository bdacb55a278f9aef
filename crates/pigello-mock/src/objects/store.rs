//! The objects of one activation in memory: at the start a few of each entity.
//!
//! Identifiers are the same after every start, those of created objects too, so that documentation
//! and tests can name them. All activations start with the same people under the same identifiers,
//! so that no path tells them apart: `custom_id` says whose an object is.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api::ENTITIES,
    credentials::{Credentials, SecurityScheme, derived_id, made_up},
};

use super::{field::Object, schema::Schema, subtenant};

/// The objects of the ten entities, in the order of their creation.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    objects: BTreeMap<&'static str, Vec<Object>>,
    created: u64,
    /// The upper half of the identifiers of created objects.
    prefix: u64,
}

impl Store {
    /// The objects of the built-in activation at the start.
    pub(crate) fn seeded() -> Self {
        static SEEDS: LazyLock<Store> = LazyLock::new(Store::from_seeds);
        SEEDS.clone()
    }

    /// The objects of another activation at the start.
    pub(crate) fn seeded_for(activation: &str, credentials: Option<&Credentials>) -> Self {
        let mut store = Self::seeded();
        store.prefix = derived_id(activation, "created objects").as_u64_pair().0;
        let objects = store.objects.values_mut().flatten();
        for custom_id in objects.filter_map(|object| object.get_mut("custom_id")) {
            let own = custom_id.as_str().map_or_else(String::new, |own| format!(" {own}"));
            *custom_id = json!(format!("{activation}{own}"));
        }
        if let Some(credentials) = credentials {
            let agents = store.objects.get_mut("integrationuseragent").into_iter().flatten();
            for agent in agents {
                for scheme in [
                    SecurityScheme::APPLICATION_ID,
                    SecurityScheme::SERVICE_ID,
                    SecurityScheme::SERVICE_VERSION_ID,
                ] {
                    agent.insert(scheme.key().to_owned(), json!(credentials.text(scheme)));
                }
            }
        }
        store
    }

    fn from_seeds() -> Self {
        let objects = ENTITIES
            .iter()
            .map(|entity| {
                let seeds = seeds(entity.name).into_iter();
                let objects = seeds.filter_map(|seed| match seed {
                    Value::Object(mut object) => {
                        Schema::of(entity.name).complete(&mut object);
                        subtenant::compute(&mut object);
                        Some(object)
                    }
                    _ => None,
                });
                (entity.name, objects.collect())
            })
            .collect();
        Self { objects, created: 0, prefix: 0x4000 }
    }

    /// All objects of an entity.
    pub(crate) fn all(&self, entity: &str) -> &[Object] {
        self.objects.get(entity).map(Vec::as_slice).unwrap_or_default()
    }

    /// One object.
    pub(crate) fn get(&self, entity: &str, id: &str) -> Option<&Object> {
        self.all(entity).iter().find(|object| has_id(object, id))
    }

    /// Replaces the object with the same `id`, or adds the object at the end.
    pub(crate) fn put(&mut self, entity: &str, object: Object) {
        let Some(all) = self.objects.get_mut(entity) else { return };
        match all.iter_mut().find(|known| has_id(known, id_of(&object))) {
            Some(known) => *known = object,
            None => all.push(object),
        }
    }

    /// Removes an object, and returns it if there was one.
    pub(crate) fn remove(&mut self, entity: &str, id: &str) -> Option<Object> {
        let all = self.objects.get_mut(entity)?;
        let place = all.iter().position(|object| has_id(object, id))?;
        Some(all.remove(place))
    }

    /// The identifier for the next created object: a counter in the form of a version 4 UUID.
    pub(crate) fn next_id(&mut self) -> String {
        self.created += 1;
        Uuid::from_u64_pair(self.prefix, 0x8000_0000_0000_0000 | self.created).to_string()
    }
}

/// The identifier of an object; empty if it has none.
pub(crate) fn id_of(object: &Object) -> &str {
    object.get("id").and_then(Value::as_str).unwrap_or_default()
}

fn has_id(object: &Object, id: &str) -> bool {
    id_of(object).eq_ignore_ascii_case(id)
}

const ORGANIZATION: &str = "0d6a4c1e-52b7-4c53-8f0a-7e1b2c3d4001";
const TENANT: &str = "6c2e1d63-8e45-4a1f-8b7c-4d3e2f1a5b01";
/// Who writes at Pigello's own pages.
pub(crate) const ORGANIZATION_USER: &str = "8d3f2e74-9f56-4b20-9c8d-5e4f3a2b6c01";
/// The integration itself.
pub(crate) const INTEGRATION_USER_AGENT: &str = "07b1acfc-17de-43a8-9405-d0c1bcade301";
const ENGAGEMENT: &str = "9e4a3f85-a067-4c31-8d9e-6f5a4b3c7d01";

fn seeds(entity: &str) -> Vec<Value> {
    let id = |id: &str| json!({ "id": id });
    match entity {
        "subtenant" => subtenant::seeds(),
        "tenant" => vec![
            json!({
                "id": TENANT, "first_name": "Erik", "last_name": "Mallgren",
                "ssn": "198501012382", "birth_date": "1985-01-01",
                "email": "erik.mallgren@example.com", "phone_number": "+46701740610",
                "is_active": true, "organization": id(ORGANIZATION), "custom_id": "HG-3001",
                "created_at": "2020-01-15T09:00:00Z",
            }),
            json!({
                "id": "6c2e1d63-8e45-4a1f-8b7c-4d3e2f1a5b02",
                "corporate_name": "Provhyra AB", "org_no": "559999-9991",
                "email": "hyra@example.com", "phone_number": "+46701740611",
                "is_active": true, "organization": id(ORGANIZATION),
                "created_at": "2023-06-01T12:00:00Z",
            }),
        ],
        "subtenantcontractconnection" => vec![json!({
            "id": "a15b4c96-b178-4d42-9eaf-7a6b5c4d8e01",
            "sub_tenant": id(subtenant::EXAMPLE_SUBTENANT), "stakeholder_type": 0,
            "apartment_contract": id("b26c5da7-c289-4e53-8fb0-8b7c6d5e9f01"),
            "start_date": "2021-04-01", "created_at": "2021-03-01T08:20:00Z",
        })],
        "subtenanttenantconnection" => vec![json!({
            "id": "c37d6eb8-d39a-4f64-90c1-9c8d7e6faf01",
            "sub_tenant": id(subtenant::EXAMPLE_SUBTENANT), "tenant": id(TENANT),
            "stakeholder_type": 1, "category": 3, "is_active": true,
            "organization": id(ORGANIZATION), "created_at": "2021-03-01T08:25:00Z",
        })],
        "organizationuser" => vec![json!({
            "id": ORGANIZATION_USER, "detail_access": 1, "first_name": "Karin", "last_name": "Förvalter",
            "email": "karin.forvalter@example.com", "phone_number": "+46701740620",
            "is_active": true, "organization": id(ORGANIZATION),
            "created_at": "2018-02-01T07:00:00Z",
        })],
        "organizationuserworkengagement" => vec![json!({
            "id": "d48e7fc9-e4ab-4075-81d2-ad9e8f7ab001", "user": id(ORGANIZATION_USER),
            "work_engagement": id(ENGAGEMENT), "start_date": "2024-01-01",
            "organization": id(ORGANIZATION), "created_at": "2023-12-20T10:00:00Z",
        })],
        "organizationusersegment" => vec![json!({
            "id": "e59f8ada-f5bc-4186-92e3-beaf9a8bc101", "user": id(ORGANIZATION_USER),
            "segment": id("f6a09beb-06cd-4297-83f4-cfb0ab9cd201"),
            "organization": id(ORGANIZATION),
        })],
        "integrationuseragent" => vec![json!({
            "id": INTEGRATION_USER_AGENT,
            "application_id": made_up(SecurityScheme::APPLICATION_ID),
            "service_id": made_up(SecurityScheme::SERVICE_ID),
            "service_version_id": made_up(SecurityScheme::SERVICE_VERSION_ID),
            "clashing_priority": 1, "is_active": true, "organization": id(ORGANIZATION),
            "allowed_access": {"accounts.subtenant": ["read", "write"]},
        })],
        "protectedidentity" => vec![json!({
            "id": "18c2bd0d-28ef-44b9-8516-e1d2cdbef401",
            "sub_tenant": id("5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a03"),
            "first_name": "Skyddad", "last_name": "Provperson",
            "ssn": "197909212396", "birth_date": "1979-09-21",
            "organization": id(ORGANIZATION),
        })],
        "workengagement" => vec![
            json!({
                "id": ENGAGEMENT, "name": "Fastighetsskötare", "color_code": "2f6f4f",
                "tags": [], "customer_columns": [], "organization": id(ORGANIZATION),
                "created_at": "2017-11-05T06:30:00Z",
            }),
            json!({
                "id": "9e4a3f85-a067-4c31-8d9e-6f5a4b3c7d02", "name": "Uthyrare",
                "color_code": "c0392b", "tags": [], "customer_columns": [],
                "organization": id(ORGANIZATION), "created_at": "2019-04-12T06:30:00Z",
            }),
        ],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entity_has_complete_objects() {
        let store = Store::seeded();
        for entity in &ENTITIES {
            let all = store.all(entity.name);
            assert!(!all.is_empty(), "{}", entity.name);
            for object in all {
                for field in Schema::of(entity.name).fields {
                    assert!(object.contains_key(field.name), "{} {}", entity.name, field.name);
                }
                let known = |name: &String| Schema::of(entity.name).field(name).is_some();
                assert!(object.keys().all(known), "{}", entity.name);
            }
        }
        let example = store.get("subtenant", subtenant::EXAMPLE_SUBTENANT).unwrap();
        assert_eq!(example.len(), 65);
        assert_eq!(example["full_name"], "Maja Testsson");
        assert_eq!(example["communication_name"], "Maja");
        assert_eq!(example["is_company"], false);
    }

    #[test]
    fn each_activation_has_people_of_its_own() {
        let credentials = Credentials::made_up_for("acme");
        let mut acme = Store::seeded_for("acme", Some(&credentials));
        let example = acme.get("subtenant", subtenant::EXAMPLE_SUBTENANT).unwrap();
        assert_eq!(example["custom_id"], "acme HG-1001");
        for entity in &ENTITIES {
            let all = acme.all(entity.name).iter();
            let mut marked = all.filter_map(|object| object["custom_id"].as_str());
            assert!(marked.all(|custom_id| custom_id.starts_with("acme")), "{}", entity.name);
        }
        let agent = &acme.all("integrationuseragent")[0];
        assert_eq!(agent["service_id"], credentials.text(SecurityScheme::SERVICE_ID));
        let mut beta = Store::seeded_for("beta", None);
        let created = [acme.next_id(), acme.next_id(), beta.next_id(), Store::seeded().next_id()];
        assert_eq!(created.iter().collect::<std::collections::HashSet<_>>().len(), 4);
        assert!(created.iter().all(|id| id.get(14..15) == Some("4")), "{created:?}");
    }

    #[test]
    fn created_identifiers_are_the_same_after_every_start() {
        let first = Store::seeded().next_id();
        assert_eq!(first, "00000000-0000-4000-8000-000000000001");
        assert_eq!(Store::seeded().next_id(), first);
    }
}
