//! The subtenant: the 65 fields of the reference's example, and four made-up subtenants.
//!
//! None of these people exists. The identity numbers are from Skatteverket's published test numbers
//! (data set "Testpersonnummer"), the telephone numbers from the series that PTS keeps free for
//! books and films (070-1740605 to 070-1740699), the mail addresses under `example.com`.

use serde_json::{Value, json};

use super::field::{Field, Kind, Object};

/// The subtenant in documentation and examples: Maja Testsson.
pub const EXAMPLE_SUBTENANT: &str = "5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a01";

const fn flag(name: &'static str) -> Field {
    Field::new(name, Kind::Flag)
}

const fn text(name: &'static str, most: usize) -> Field {
    Field::new(name, Kind::Text(most)).nullable()
}

const fn date(name: &'static str) -> Field {
    Field::new(name, Kind::Date).nullable()
}

const fn moment(name: &'static str) -> Field {
    Field::new(name, Kind::Moment).nullable()
}

const fn relation(name: &'static str) -> Field {
    Field::new(name, Kind::Relation).nullable()
}

const fn many(name: &'static str) -> Field {
    Field::new(name, Kind::Many)
}

const fn computed(name: &'static str) -> Field {
    Field::new(name, Kind::Any).read_only()
}

/// The 65 fields in the order of the reference: 12 are required, 19 are read-only.
pub(super) static FIELDS: [Field; 65] = [
    flag("allow_errands_access_through_connections").required(),
    flag("allow_personal_information_access").required(),
    flag("add_connection_description_on_invoice").required(),
    flag("allow_notifications").required(),
    flag("allow_revenue_row_access").required(),
    flag("allow_brf_access").required(),
    flag("allow_cancel_contract_access").required(),
    flag("allow_errands_access").required(),
    flag("allow_contracts_access").required(),
    flag("allow_invoice_access").required(),
    flag("allow_objects_access").required(),
    flag("allow_my_pages_access").required(),
    Field::new("status", Kind::Number).read_only(),
    Field::new("id", Kind::Id).read_only(),
    flag("mfa_has_hotp").nullable().read_only(),
    text("org_no", 11),
    many("block_sms_notifications_for"),
    text("username", 150).read_only(),
    computed("is_company"),
    relation("previous_address"),
    relation("organization"),
    many("block_notifications_for"),
    relation("current_registered_address"),
    text("invoice_email", 254),
    text("sni_number", 6),
    flag("ssn_is_coordination_number"),
    Field::new("profile_picture", Kind::Structure).nullable(),
    flag("is_active"),
    moment("hotp_invite_sendout_time").read_only(),
    flag("mfa_has_totp").nullable().read_only(),
    text("gln13_number", 14),
    flag("allows_external_personal_information_sharing").nullable(),
    moment("last_login").read_only(),
    computed("customer_columns"),
    flag("autogiro_disables_invoice_distribution"),
    text("fmi", 20),
    text("phone_number", 36),
    text("peppol_id", 18),
    computed("pending_monitor_approval_amount"),
    relation("future_address"),
    Field::new("created_at", Kind::Moment).read_only(),
    date("birth_date"),
    text("email", 254),
    text("custom_id", 128),
    computed("full_name"),
    many("send_out_distribution_instruction").nullable(),
    moment("active_to"),
    computed("tags"),
    text("popular_name", 255),
    flag("email_verified").read_only(),
    text("last_name", 255),
    text("first_name", 255),
    date("latest_active_date").read_only(),
    many("block_email_notifications_for"),
    flag("anonymized"),
    date("earliest_active_date").read_only(),
    flag("wants_evicted"),
    computed("communication_name"),
    many("realestates"),
    text("custom_application_domain", 255).read_only(),
    text("ssn", 13),
    relation("invoice_address"),
    text("anonymization_name", 255),
    text("corporate_name", 255),
    flag("phone_number_verified").read_only(),
];

/// The subtenants of a new mock; the first is [`EXAMPLE_SUBTENANT`].
pub(super) fn seeds() -> Vec<Value> {
    vec![
        json!({
            "id": EXAMPLE_SUBTENANT, "status": 1, "is_active": true,
            "first_name": "Maja", "last_name": "Testsson", "popular_name": "Maja",
            "ssn": "199001012385", "birth_date": "1990-01-01", "username": "maja.testsson",
            "email": "maja.testsson@example.com", "email_verified": true,
            "invoice_email": "faktura.maja@example.com",
            "phone_number": "+46701740605", "phone_number_verified": true,
            "allow_errands_access_through_connections": true,
            "allow_personal_information_access": true, "allow_notifications": true,
            "allow_errands_access": true, "allow_contracts_access": true,
            "allow_invoice_access": true, "allow_objects_access": true,
            "allow_my_pages_access": true,
            "mfa_has_totp": true, "mfa_has_hotp": false,
            "organization": {"id": "0d6a4c1e-52b7-4c53-8f0a-7e1b2c3d4001"},
            "current_registered_address": {"id": "3e9b7a10-6c2d-4b8e-9f41-5a6b7c8d4001"},
            "invoice_address": {"id": "3e9b7a10-6c2d-4b8e-9f41-5a6b7c8d4001"},
            "previous_address": {"id": "3e9b7a10-6c2d-4b8e-9f41-5a6b7c8d4002"},
            "realestates": [{"id": "7a5c3e91-0b2d-4f6a-8c1e-9d8e7f604001"}],
            "profile_picture": {
                "name": "maja.png", "md5_hash": "1B2M2Y8AsgTpgAmY7PhCfg==",
                "get": "https://files.example.com/maja.png?signature=made-up",
                "post": {"url": "https://files.example.com/", "fields": {"key": "maja.png"}},
            },
            "custom_id": "HG-1001", "customer_columns": [], "tags": ["autogiro"],
            "created_at": "2021-03-01T08:15:00Z", "last_login": "2026-05-20T17:42:10Z",
            "earliest_active_date": "2021-04-01",
        }),
        json!({
            "id": "5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a02", "status": 1, "is_active": true,
            "first_name": "Anders", "last_name": "Provberg",
            "ssn": "197701172392", "birth_date": "1977-01-17", "username": "anders.provberg",
            "email": "anders.provberg@example.com", "phone_number": "+46701740606",
            "allow_my_pages_access": true, "allow_invoice_access": true,
            "organization": {"id": "0d6a4c1e-52b7-4c53-8f0a-7e1b2c3d4001"},
            "current_registered_address": {"id": "3e9b7a10-6c2d-4b8e-9f41-5a6b7c8d4003"},
            "realestates": [{"id": "7a5c3e91-0b2d-4f6a-8c1e-9d8e7f604002"}],
            "custom_id": "HG-1002", "customer_columns": [], "tags": [],
            "created_at": "2022-09-15T10:00:00Z", "earliest_active_date": "2022-10-01",
        }),
        json!({
            "id": "5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a03", "status": 2, "is_active": false,
            "first_name": "Åsa", "last_name": "Demolund",
            "ssn": "197909212388", "birth_date": "1979-09-21",
            "email": "asa.demolund@example.com", "phone_number": "+46701740607",
            "organization": {"id": "0d6a4c1e-52b7-4c53-8f0a-7e1b2c3d4002"},
            "customer_columns": [], "tags": [], "wants_evicted": true,
            "created_at": "2019-08-24T14:15:22Z", "latest_active_date": "2025-12-31",
        }),
        json!({
            "id": "5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a04", "status": 0, "is_active": true,
            "corporate_name": "Exempelbolaget AB", "org_no": "559999-9991",
            "sni_number": "68.310", "peppol_id": "0007:5599999991",
            "email": "kontakt@example.com", "phone_number": "+46701740608",
            "allow_invoice_access": true,
            "organization": {"id": "0d6a4c1e-52b7-4c53-8f0a-7e1b2c3d4001"},
            "custom_id": "HG-2001", "customer_columns": [], "tags": [],
            "created_at": "2024-01-10T07:30:00Z", "earliest_active_date": "2024-02-01",
        }),
    ]
}

/// Sets the fields that Pigello derives from others.
pub(super) fn compute(object: &mut Object) {
    let word = |name: &str| object.get(name).and_then(Value::as_str).filter(|it| !it.is_empty());
    let corporate = word("corporate_name");
    let full_name = corporate.map_or_else(
        || {
            [word("first_name"), word("last_name")]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(" ")
        },
        str::to_owned,
    );
    let communication_name = word("popular_name").unwrap_or(&full_name).to_owned();
    let is_company = corporate.is_some();
    for (name, value) in [
        ("full_name", json!(full_name)),
        ("communication_name", json!(communication_name)),
        ("is_company", json!(is_company)),
    ] {
        if object.contains_key(name) {
            object.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_fields_are_those_of_the_reference() {
        let names: HashSet<_> = FIELDS.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), 65);
        assert_eq!(FIELDS.iter().filter(|field| field.required).count(), 12);
        assert_eq!(FIELDS.iter().filter(|field| field.read_only).count(), 19);
        for seed in seeds() {
            for name in seed.as_object().unwrap().keys() {
                assert!(names.contains(name.as_str()), "{name}");
            }
        }
    }

    #[test]
    fn identity_numbers_are_test_numbers_and_addresses_are_reserved() {
        let luhn = |digits: &str| {
            let sum: u32 = digits
                .chars()
                .map(|c| c.to_digit(10).unwrap())
                .enumerate()
                .map(|(at, digit)| if at % 2 == 0 { digit * 2 } else { digit })
                .map(|digit| digit / 10 + digit % 10)
                .sum();
            sum.is_multiple_of(10)
        };
        for seed in seeds() {
            if let Some(ssn) = seed["ssn"].as_str() {
                let (century, number) = ssn.split_at(2);
                assert!(luhn(number), "{ssn}");
                let (born, behind) = number.split_at(6);
                let birth_date = seed["birth_date"].as_str().unwrap().replace('-', "");
                assert_eq!(format!("{century}{born}"), birth_date);
                // Skatteverket's test numbers have 238 or 239 where a birth number stands.
                assert!(behind.starts_with("238") || behind.starts_with("239"), "{ssn}");
            }
            let phone = seed["phone_number"].as_str().unwrap();
            let series: u8 = phone.strip_prefix("+467017406").unwrap().parse().unwrap();
            assert!((5..=99).contains(&series), "{phone}");
            assert!(seed["email"].as_str().unwrap().ends_with("@example.com"));
        }
    }
}
