//! Creates and updates objects; checks the request as far as the reference has rules.

use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    field::{Field, Kind, Object},
    field_errors::FieldErrors,
    schema::{Rule, Schema},
    subtenant,
};

/// A new object with the fields that were sent. The caller sets its identifier.
pub(crate) fn create(
    schema: &Schema,
    sent: &Object,
    now: Timestamp,
) -> Result<Object, FieldErrors> {
    let mut errors = FieldErrors::default();
    for field in schema.fields.iter().filter(|field| field.required) {
        if !sent.contains_key(field.name) {
            errors.add(field.name, "This field is required.");
        }
    }
    let mut object = Object::new();
    schema.complete(&mut object);
    if object.contains_key("created_at") {
        let now = now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        object.insert("created_at".to_owned(), json!(now));
    }
    merge(schema, object, sent, errors)
}

/// `old` with the fields that were sent in place of its own.
pub(crate) fn update(schema: &Schema, old: &Object, sent: &Object) -> Result<Object, FieldErrors> {
    merge(schema, old.clone(), sent, FieldErrors::default())
}

fn merge(
    schema: &Schema,
    mut object: Object,
    sent: &Object,
    mut errors: FieldErrors,
) -> Result<Object, FieldErrors> {
    for (name, value) in sent {
        // Django REST framework drops read-only and unknown fields.
        let Some(field) = schema.field(name).filter(|field| !field.read_only) else { continue };
        match check(field, value) {
            Ok(()) => drop(object.insert(name.clone(), value.clone())),
            Err(problem) => errors.add(name, problem),
        }
    }
    for rule in schema.rules {
        check_rule(rule, &object, &mut errors);
    }
    subtenant::compute(&mut object);
    errors.or(object)
}

fn check(field: &Field, value: &Value) -> Result<(), String> {
    if value.is_null() {
        return if field.nullable { Ok(()) } else { Err("This field may not be null.".into()) };
    }
    let (fits, wanted) = match field.kind {
        Kind::Flag => (value.is_boolean(), "true or false".to_owned()),
        Kind::Number => {
            let fits = value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
            (fits, "a 32-bit integer".to_owned())
        }
        Kind::Text(most) => {
            let fits = value.as_str().is_some_and(|text| text.chars().count() <= most);
            (fits, format!("text of at most {most} characters"))
        }
        Kind::Date => {
            let fits = value.as_str().is_some_and(|text| text.parse::<jiff::civil::Date>().is_ok());
            (fits, "a date such as 2019-08-24".to_owned())
        }
        Kind::Moment => {
            let fits = value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_ok());
            (fits, "a time such as 2019-08-24T14:15:22Z".to_owned())
        }
        Kind::Id => (is_id(value), "a UUID".to_owned()),
        Kind::Relation => {
            let fits = value.get("id").is_some_and(is_id);
            (fits, "an object such as {\"id\": \"<uuid>\"}".to_owned())
        }
        Kind::Many => (value.is_array(), "an array".to_owned()),
        Kind::Structure => (value.is_object(), "an object".to_owned()),
        Kind::Any => (true, String::new()),
    };
    if fits { Ok(()) } else { Err(format!("This field must be {wanted}.")) }
}

fn is_id(value: &Value) -> bool {
    value.as_str().is_some_and(|text| Uuid::try_parse(text).is_ok())
}

fn check_rule(rule: &Rule, object: &Object, errors: &mut FieldErrors) {
    let count = |names: &[&str]| {
        let is_set = |name: &&&str| match object.get(**name) {
            None | Some(Value::Null) => false,
            Some(Value::String(text)) => !text.is_empty(),
            Some(_) => true,
        };
        names.iter().filter(is_set).count()
    };
    let (names, holds, problem) = match rule {
        Rule::AtLeastOne(names) => (names, count(names) > 0, "At least one of these must be set"),
        Rule::ExactlyOne(names) => (names, count(names) == 1, "Exactly one of these must be set"),
        Rule::Together(names) => {
            let set = count(names);
            (names, set == 0 || set == names.len(), "These must be set together")
        }
    };
    if !holds {
        errors.add("non_field_errors", format!("{problem}: {}.", names.join(", ")));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(value: &Value) -> Object {
        value.as_object().unwrap().clone()
    }

    fn create(schema: &Schema, sent: &Object) -> Result<Object, FieldErrors> {
        super::create(schema, sent, Timestamp::UNIX_EPOCH)
    }

    fn subtenant() -> Object {
        let required = subtenant::FIELDS.iter().filter(|field| field.required);
        let mut sent: Object =
            required.map(|field| (field.name.to_owned(), json!(false))).collect();
        sent.insert("first_name".into(), json!("Nils"));
        sent
    }

    #[test]
    fn a_created_subtenant_has_all_fields() {
        let made = create(Schema::of("subtenant"), &subtenant()).unwrap();
        assert_eq!(made.len(), 65);
        assert_eq!(made["full_name"], "Nils");
        assert_eq!(made["email"], Value::Null);
        assert_eq!(made["created_at"], "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_subtenant_needs_the_twelve_flags_and_a_name() {
        let errors = create(Schema::of("subtenant"), &Object::new()).unwrap_err().to_json();
        assert_eq!(errors.as_object().unwrap().len(), 13);
        assert_eq!(errors["allow_brf_access"][0], "This field is required.");
        assert!(errors["non_field_errors"][0].as_str().unwrap().contains("corporate_name"));
    }

    #[test]
    fn an_update_is_a_merge_that_is_checked() {
        let schema = Schema::of("subtenant");
        let old = create(schema, &subtenant()).unwrap();
        let sent = object(&json!({
            "last_name": "Provén", "status": 9, "id": "x", "no_such_field": 1
        }));
        let new = update(schema, &old, &sent).unwrap();
        assert_eq!(new["full_name"], "Nils Provén");
        assert_eq!((&new["status"], &new["id"]), (&old["status"], &old["id"]));
        assert!(!new.contains_key("no_such_field"));
        assert!(update(schema, &old, &object(&json!({"first_name": null}))).is_err());
    }

    #[test]
    fn values_must_have_their_kind() {
        let schema = Schema::of("subtenant");
        let old = create(schema, &subtenant()).unwrap();
        for wrong in [
            json!({"is_active": "yes"}),
            json!({"is_active": null}),
            json!({"birth_date": "1990-13-01"}),
            json!({"active_to": "1990-01-01"}),
            json!({"sni_number": "1234567"}),
            json!({"organization": "0d6a4c1e-52b7-4c53-8f0a-7e1b2c3d4001"}),
            json!({"organization": {"id": 7}}),
            json!({"realestates": {}}),
            json!({"profile_picture": []}),
        ] {
            assert!(update(schema, &old, &object(&wrong)).is_err(), "{wrong}");
        }
        let status = Field::new("n", Kind::Number);
        assert!(check(&status, &json!(2_147_483_648_i64)).is_err());
        assert!(check(&status, &json!(-2_147_483_648_i64)).is_ok());
    }

    #[test]
    fn rules_across_fields_hold() {
        let relation = json!({"id": "0d6a4c1e-52b7-4c53-8f0a-7e1b2c3d4001"});
        let schema = Schema::of("protectedidentity");
        let both = object(&json!({"tenant": relation, "sub_tenant": relation}));
        assert!(create(schema, &both).is_err());
        assert!(create(schema, &Object::new()).is_err());
        assert!(create(schema, &object(&json!({"tenant": relation}))).is_ok());
    }
}
