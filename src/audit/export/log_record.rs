//! A line of the audit log as an OpenTelemetry log record.
//!
//! | field of the line | field of the log record |
//! | --- | --- |
//! | the line itself | `body` |
//! | `time` | `time_unix_nano` |
//! | `trace_id` | `trace_id` |
//! | `kind` | `event_name`, `pigello.audit.<kind>` |
//! | `outcome` | `severity_number`: 9 (info), 13 (warn) for `refused`, 17 (error) for `failed` |
//! | `method` | `http.request.method` |
//! | `path` | `url.path` |
//! | `status` | `http.response.status_code` |
//! | `request_bytes`, `response_bytes` | `http.request.body.size`, `http.response.body.size` |
//! | `error` | `error.type` |
//! | any other field | `pigello.audit.<field>` |
//!
//! The attribute names without `pigello` are those of the semantic conventions for HTTP.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::Value;

use crate::outbound::otlp::{AnyValue, KeyValue, LogRecord};

/// The log record of a line; `None` if it is not a line of the log.
pub(super) fn encode(line: &[u8]) -> Option<LogRecord> {
    let body = std::str::from_utf8(line).ok()?;
    let mut fields: BTreeMap<Cow<'_, str>, Value> = serde_json::from_str(body).ok()?;
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let kind = take("kind")?;
    let time: jiff::Timestamp = take("time")?.parse().ok()?;
    let trace_id = take("trace_id").and_then(|id| u128::from_str_radix(&id, 16).ok());
    let severity_number = match fields.get("outcome").and_then(Value::as_str) {
        Some("failed") => 17,
        Some("refused") => 13,
        _ => 9,
    };
    let attributes = fields.iter().filter_map(|(name, value)| {
        Some(KeyValue::new(attribute_name(name), AnyValue::of(value)?))
    });
    Some(LogRecord {
        time_unix_nano: u64::try_from(time.as_nanosecond()).unwrap_or_default(),
        severity_number,
        body: Some(AnyValue::text(body)),
        attributes: attributes.collect(),
        trace_id: trace_id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),
        event_name: format!("pigello.audit.{kind}"),
    })
}

fn attribute_name(field: &str) -> Cow<'static, str> {
    Cow::Borrowed(match field {
        "method" => "http.request.method",
        "path" => "url.path",
        "status" => "http.response.status_code",
        "request_bytes" => "http.request.body.size",
        "response_bytes" => "http.response.body.size",
        "error" => "error.type",
        other => return Cow::Owned(format!("pigello.audit.{other}")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        audit::{
            Record, RefusedCertificate, Tip,
            encode::{Encoder, ObjectNaming},
            testing::record,
        },
        outbound::otlp::{AnyKind, ArrayValue, KeyValueList},
    };

    #[test]
    fn an_object_of_a_line_is_a_list_of_attributes() {
        let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
        let refused = RefusedCertificate { reason: "expired".to_owned(), presented: None };
        encoder.call(&Record { refused_certificate: Some(Box::new(refused)), ..record() });
        let record = encode(encoder.lines().trim_ascii_end()).unwrap();
        let reason = KeyValue::new("reason", AnyValue::text("expired"));
        let value = AnyKind::List(KeyValueList { values: vec![reason] }).into();
        let expected = KeyValue::new("pigello.audit.refused_certificate", value);
        assert!(record.attributes.contains(&expected), "{record:?}");
    }

    #[test]
    fn a_call_is_a_log_record_with_the_line_as_its_body() {
        let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
        encoder.call(&record());
        let line = encoder.lines().trim_ascii_end().to_vec();
        let record = encode(&line).unwrap();
        assert_eq!(record.body, Some(AnyValue::text(String::from_utf8(line).unwrap())));
        assert_eq!(record.time_unix_nano, 1_700_000_000_000_001_000);
        assert_eq!(record.event_name, "pigello.audit.call");
        let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128;
        assert_eq!(record.trace_id, trace_id.to_be_bytes());
        assert_eq!(record.severity_number, 9);
        let retries = ArrayValue { values: vec![AnyValue::text("upstream_refused")] };
        for (key, value) in [
            ("http.request.method", AnyValue::text("GET")),
            ("http.response.status_code", AnyKind::Integer(200).into()),
            ("pigello.audit.operation", AnyValue::text("subtenant.get")),
            ("pigello.audit.retries", AnyKind::Array(retries).into()),
        ] {
            assert!(record.attributes.contains(&KeyValue::new(key, value)), "{key}");
        }
        assert!(!record.attributes.iter().any(|a| a.key == "error.type"), "null is left out");
    }
}
