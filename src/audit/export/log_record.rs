//! A line of the audit log as an OpenTelemetry log record.
//!
//! | field of the line | field of the log record |
//! | --- | --- |
//! | the line itself | `body` |
//! | `time` | `timeUnixNano` |
//! | `trace_id` | `traceId` |
//! | `kind` | `eventName`, `pigello.audit.<kind>` |
//! | `outcome` | `severityNumber`: 9 (info), 13 (warn) for `refused`, 17 (error) for `failed` |
//! | `method` | `http.request.method` |
//! | `path` | `url.path` |
//! | `status` | `http.response.status_code` |
//! | `request_bytes`, `response_bytes` | `http.request.body.size`, `http.response.body.size` |
//! | `error` | `error.type` |
//! | any other field | `pigello.audit.<field>` |
//!
//! The attribute names without `pigello` are those of the semantic conventions for HTTP.

use std::{borrow::Cow, collections::BTreeMap};

use serde_json::{Value, json};

use crate::outbound::otlp::{any_value, attribute, text};

/// The log record of a line; `None` if it is not a line of the log.
pub(super) fn encode(line: &[u8]) -> Option<Value> {
    let body = std::str::from_utf8(line).ok()?;
    let mut fields: BTreeMap<Cow<'_, str>, Value> = serde_json::from_str(body).ok()?;
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let kind = take("kind")?;
    let time: jiff::Timestamp = take("time")?.parse().ok()?;
    let trace_id = take("trace_id").map(|id| ("traceId".to_owned(), id.into()));
    let severity = match fields.get("outcome").and_then(Value::as_str) {
        Some("failed") => 17,
        Some("refused") => 13,
        _ => 9,
    };
    let attributes: Vec<Value> = fields
        .iter()
        .filter_map(|(name, value)| Some(attribute(&attribute_name(name), &any_value(value)?)))
        .collect();
    let mut record = json!({
        "timeUnixNano": time.as_nanosecond().to_string(),
        "severityNumber": severity,
        "eventName": format!("pigello.audit.{kind}"),
        "attributes": attributes,
        "body": text(body),
    });
    if let Some(record) = record.as_object_mut() {
        record.extend(trace_id);
    }
    Some(record)
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
    use crate::audit::{Record, RefusedCertificate, Tip, encode::Encoder, testing::record};

    #[test]
    fn an_object_of_a_line_is_a_list_of_attributes() {
        let mut encoder = Encoder::new(Tip::START, None);
        let refused = RefusedCertificate { reason: "expired".to_owned(), presented: None };
        encoder.call(&Record { refused_certificate: Some(Box::new(refused)), ..record() });
        let record = encode(encoder.lines().trim_ascii_end()).unwrap();
        let reason = json!({ "key": "reason", "value": { "stringValue": "expired" } });
        let value = json!({ "kvlistValue": { "values": [reason] } });
        let expected = json!({ "key": "pigello.audit.refused_certificate", "value": value });
        assert!(record["attributes"].as_array().unwrap().contains(&expected), "{record}");
    }

    #[test]
    fn a_call_is_a_log_record_with_the_line_as_its_body() {
        let mut encoder = Encoder::new(Tip::START, None);
        encoder.call(&record());
        let line = encoder.lines().trim_ascii_end().to_vec();
        let record = encode(&line).unwrap();
        assert_eq!(record["body"]["stringValue"].as_str().unwrap().as_bytes(), line);
        assert_eq!(record["timeUnixNano"], "1700000000000001000");
        assert_eq!(record["eventName"], "pigello.audit.call");
        assert_eq!(record["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(record["severityNumber"], 9);
        let attributes = record["attributes"].as_array().unwrap();
        for (key, value) in [
            ("http.request.method", json!({ "stringValue": "GET" })),
            ("http.response.status_code", json!({ "intValue": "200" })),
            ("pigello.audit.operation", json!({ "stringValue": "subtenant.get" })),
            (
                "pigello.audit.retries",
                json!({ "arrayValue": { "values": [{ "stringValue": "upstream_refused" }] } }),
            ),
        ] {
            assert!(attributes.contains(&json!({ "key": key, "value": value })), "{key}");
        }
        assert!(!attributes.iter().any(|a| a["key"] == "error.type"), "null is left out");
    }
}
