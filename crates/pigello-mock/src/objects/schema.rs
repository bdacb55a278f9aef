//! The fields of each entity. Writes are checked and filters parsed by them.
//!
//! They come from the pages of the Accounts reference; some pages were incomplete. A mock that
//! rejects what Pigello accepts would teach wrong things, so the mock does not enforce enumerations
//! and drops unknown fields without an error.

use super::{
    field::{Field, Kind, Object},
    subtenant,
};

/// The fields and rules of one entity.
#[derive(Debug)]
pub(crate) struct Schema {
    pub(super) fields: &'static [Field],
    pub(super) rules: &'static [Rule],
}

impl Schema {
    /// The schema of an entity.
    pub(crate) fn of(entity: &str) -> &'static Self {
        SCHEMAS
            .iter()
            .find_map(|(name, schema)| (*name == entity).then_some(schema))
            .unwrap_or(&Self { fields: &[], rules: &[] })
    }

    /// The field with that name.
    pub(super) fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    /// Adds the fields that `object` lacks, with their empty values.
    pub(super) fn complete(&self, object: &mut Object) {
        for field in self.fields {
            if !object.contains_key(field.name) {
                object.insert(field.name.to_owned(), field.empty());
            }
        }
    }
}

/// A rule across fields.
#[derive(Debug)]
pub(super) enum Rule {
    /// At least one is set.
    AtLeastOne(&'static [&'static str]),
    /// Exactly one is set.
    ExactlyOne(&'static [&'static str]),
    /// All are set or none is.
    Together(&'static [&'static str]),
}

/// A person or company needs a name.
pub(super) const NAMED: Rule = Rule::AtLeastOne(&["first_name", "last_name", "corporate_name"]);

const ID: Field = Field::new("id", Kind::Id).read_only();
const CREATED_AT: Field = Field::new("created_at", Kind::Moment).read_only();
const CUSTOM_ID: Field = Field::new("custom_id", Kind::Text(128)).nullable();
const ORGANIZATION: Field = Field::new("organization", Kind::Relation).nullable();
const FIRST_NAME: Field = Field::new("first_name", Kind::Text(255)).nullable();
const LAST_NAME: Field = Field::new("last_name", Kind::Text(255)).nullable();
const CORPORATE_NAME: Field = Field::new("corporate_name", Kind::Text(255)).nullable();
const FULL_NAME: Field = Field::new("full_name", Kind::Any).read_only();
const SSN: Field = Field::new("ssn", Kind::Text(13)).nullable();
const ORG_NO: Field = Field::new("org_no", Kind::Text(11)).nullable();
const BIRTH_DATE: Field = Field::new("birth_date", Kind::Date).nullable();
const EMAIL: Field = Field::new("email", Kind::Text(254)).nullable();
const PHONE_NUMBER: Field = Field::new("phone_number", Kind::Text(36)).nullable();
const IS_ACTIVE: Field = Field::new("is_active", Kind::Flag);
const START_DATE: Field = Field::new("start_date", Kind::Date).nullable();
const END_DATE: Field = Field::new("end_date", Kind::Date).nullable();

const SUBTENANT_CONTRACT_CONNECTION: Schema = Schema {
    fields: &[
        ID,
        Field::new("sub_tenant", Kind::Relation).required(),
        Field::new("stakeholder_type", Kind::Number).required(),
        Field::new("apartment_contract", Kind::Relation).nullable(),
        Field::new("industrial_premises_contract", Kind::Relation).nullable(),
        Field::new("parking_spot_contract", Kind::Relation).nullable(),
        Field::new("outdoor_section_contract", Kind::Relation).nullable(),
        Field::new("brf_apartment", Kind::Relation).nullable(),
        Field::new("parent_sub_tenant", Kind::Relation).nullable(),
        Field::new("signed_time", Kind::Moment).nullable(),
        START_DATE,
        END_DATE,
        CUSTOM_ID,
        CREATED_AT,
    ],
    rules: &[Rule::ExactlyOne(&[
        "apartment_contract",
        "industrial_premises_contract",
        "parking_spot_contract",
        "outdoor_section_contract",
        "brf_apartment",
    ])],
};

const SUBTENANT_TENANT_CONNECTION: Schema = Schema {
    fields: &[
        ID,
        Field::new("sub_tenant", Kind::Relation).required(),
        Field::new("tenant", Kind::Relation).required(),
        Field::new("stakeholder_type", Kind::Number).required(),
        Field::new("category", Kind::Number).nullable(),
        Field::new("prefer_invoice_view_only", Kind::Flag),
        Field::new("parent_sub_tenant", Kind::Relation).nullable(),
        IS_ACTIVE,
        ORGANIZATION,
        CUSTOM_ID,
        CREATED_AT,
    ],
    rules: &[],
};

const TENANT: Schema = Schema {
    fields: &[
        ID,
        FIRST_NAME,
        LAST_NAME,
        CORPORATE_NAME,
        FULL_NAME,
        SSN,
        ORG_NO,
        BIRTH_DATE,
        EMAIL,
        PHONE_NUMBER,
        Field::new("current_registered_address", Kind::Relation).nullable(),
        Field::new("invoice_address", Kind::Relation).nullable(),
        IS_ACTIVE,
        ORGANIZATION,
        CUSTOM_ID,
        CREATED_AT,
    ],
    rules: &[NAMED],
};

const ORGANIZATION_USER: Schema = Schema {
    fields: &[
        ID,
        Field::new("detail_access", Kind::Number).required(),
        FIRST_NAME,
        LAST_NAME,
        FULL_NAME,
        SSN,
        ORG_NO,
        BIRTH_DATE,
        EMAIL,
        PHONE_NUMBER,
        Field::new("role", Kind::Relation).nullable(),
        Field::new("external_clients", Kind::Many),
        Field::new("active_to", Kind::Moment).nullable(),
        Field::new("anonymized", Kind::Flag),
        IS_ACTIVE,
        ORGANIZATION,
        CUSTOM_ID,
        CREATED_AT,
    ],
    rules: &[],
};

const ORGANIZATION_USER_WORK_ENGAGEMENT: Schema = Schema {
    fields: &[
        ID,
        Field::new("user", Kind::Relation).required(),
        Field::new("work_engagement", Kind::Relation).required(),
        START_DATE,
        END_DATE,
        Field::new("dates_are_blocking", Kind::Flag),
        Field::new("buildings", Kind::Many),
        Field::new("outdoor_areas", Kind::Many),
        Field::new("parking_lots", Kind::Many),
        ORGANIZATION,
        CUSTOM_ID,
        CREATED_AT,
    ],
    rules: &[],
};

const ORGANIZATION_USER_SEGMENT: Schema = Schema {
    fields: &[
        ID,
        Field::new("segment", Kind::Relation).required(),
        Field::new("user", Kind::Relation).required(),
        Field::new("role", Kind::Relation).nullable(),
        ORGANIZATION,
        CUSTOM_ID,
    ],
    rules: &[],
};

const INTEGRATION_USER_AGENT: Schema = Schema {
    fields: &[
        ID,
        Field::new("application_id", Kind::Id).required(),
        Field::new("service_id", Kind::Id).required(),
        Field::new("service_version_id", Kind::Id).required(),
        Field::new("clashing_priority", Kind::Number).required(),
        Field::new("activation_content_type", Kind::Relation).nullable(),
        Field::new("activation_object_id", Kind::Id).nullable(),
        Field::new("activation_variables", Kind::Structure).nullable(),
        Field::new("integration_activation_data", Kind::Structure).nullable(),
        Field::new("personal_information_acceptance_mode", Kind::Number),
        Field::new("registered_ip_addresses", Kind::Any).nullable().read_only(),
        Field::new("allowed_access", Kind::Structure).read_only(),
        Field::new("require_personal_information_access", Kind::Flag).read_only(),
        Field::new("category", Kind::Number).nullable(),
        IS_ACTIVE,
        ORGANIZATION,
        CUSTOM_ID,
    ],
    rules: &[Rule::Together(&["activation_content_type", "activation_object_id"])],
};

const PROTECTED_IDENTITY: Schema = Schema {
    fields: &[
        ID,
        Field::new("tenant", Kind::Relation).nullable(),
        Field::new("sub_tenant", Kind::Relation).nullable(),
        FIRST_NAME,
        LAST_NAME,
        SSN,
        BIRTH_DATE,
        EMAIL,
        PHONE_NUMBER,
        Field::new("current_registered_address", Kind::Relation).nullable(),
        ORGANIZATION,
        CUSTOM_ID,
    ],
    rules: &[Rule::ExactlyOne(&["tenant", "sub_tenant"])],
};

const WORK_ENGAGEMENT: Schema = Schema {
    fields: &[
        ID,
        Field::new("name", Kind::Text(255)).required(),
        Field::new("color_code", Kind::Text(7)).nullable(),
        Field::new("template_notifications", Kind::Many),
        Field::new("tags", Kind::Any).read_only(),
        Field::new("customer_columns", Kind::Any).read_only(),
        ORGANIZATION,
        CUSTOM_ID,
        CREATED_AT,
    ],
    rules: &[],
};

/// `common.eventlog`.
const EVENT_LOG: Schema = Schema {
    fields: &[
        ID,
        Field::new("object_id", Kind::Id),
        Field::new("content_type", Kind::Text(255)),
        Field::new("event_identifier", Kind::Text(255)),
        CREATED_AT,
        Field::new("event_context", Kind::Structure),
        Field::new("triggered_by_tenant", Kind::Relation).nullable(),
        Field::new("triggered_by_sub_tenant", Kind::Relation).nullable(),
        Field::new("triggered_by_organization_user", Kind::Relation).nullable(),
        Field::new("triggered_by_integration", Kind::Relation).nullable(),
    ],
    rules: &[],
};

static SCHEMAS: [(&str, Schema); 11] = [
    ("subtenantcontractconnection", SUBTENANT_CONTRACT_CONNECTION),
    ("subtenanttenantconnection", SUBTENANT_TENANT_CONNECTION),
    ("tenant", TENANT),
    ("organizationuser", ORGANIZATION_USER),
    ("subtenant", Schema { fields: &subtenant::FIELDS, rules: &[NAMED] }),
    ("organizationuserworkengagement", ORGANIZATION_USER_WORK_ENGAGEMENT),
    ("organizationusersegment", ORGANIZATION_USER_SEGMENT),
    ("integrationuseragent", INTEGRATION_USER_AGENT),
    ("protectedidentity", PROTECTED_IDENTITY),
    ("workengagement", WORK_ENGAGEMENT),
    ("eventlog", EVENT_LOG),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::ENTITIES;

    #[test]
    fn every_entity_has_a_schema_with_an_id() {
        for entity in &ENTITIES {
            let schema = Schema::of(entity.name);
            let id = schema.field("id").unwrap();
            assert!(id.read_only && id.kind == Kind::Id, "{}", entity.name);
            for rule in schema.rules {
                let (Rule::AtLeastOne(names) | Rule::ExactlyOne(names) | Rule::Together(names)) =
                    rule;
                assert!(names.iter().all(|name| schema.field(name).unwrap().nullable));
            }
        }
    }
}
