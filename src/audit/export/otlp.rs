//! Lines as OpenTelemetry log records (OTLP 1.x, JSON encoding).
//!
//! | of the line | in the log record |
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
//! The names in the middle are those of the semantic conventions for HTTP.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request with a log record for every line.
pub(super) fn request(lines: &[Vec<u8>]) -> Vec<u8> {
    let request = Request {
        resource_logs: [ResourceLogs {
            resource: Resource {
                attributes: vec![
                    attribute("service.name", Any::Text("pigello-gateway".into())),
                    attribute("service.version", Any::Text(env!("CARGO_PKG_VERSION").into())),
                ],
            },
            scope_logs: [ScopeLogs {
                scope: Scope { name: "pigello-gateway.audit" },
                log_records: lines.iter().filter_map(|line| log_record(line)).collect(),
            }],
        }],
    };
    // Names and numbers only: there is nothing in it that JSON cannot say.
    serde_json::to_vec(&request).unwrap_or_default()
}

/// How many records the collector says it did not take.
pub(super) fn rejected(answer: &[u8]) -> u64 {
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Answer {
        partial_success: Partial,
    }
    #[derive(Default, Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Partial {
        rejected_log_records: Value,
    }
    let answer: Answer = serde_json::from_slice(answer).unwrap_or_default();
    // 64-bit integers are strings in this encoding, but not everyone knows.
    match answer.partial_success.rejected_log_records {
        Value::String(text) => text.parse().unwrap_or(0),
        number => number.as_u64().unwrap_or(0),
    }
}

fn log_record(line: &[u8]) -> Option<LogRecord<'_>> {
    let body = std::str::from_utf8(line).ok()?;
    let mut fields: BTreeMap<Cow<'_, str>, Value> = serde_json::from_str(body).ok()?;
    let mut take = |name: &str| match fields.remove(name) {
        Some(Value::String(text)) => Some(text),
        _ => None,
    };
    let kind = take("kind")?;
    let time: jiff::Timestamp = take("time")?.parse().ok()?;
    let trace_id = take("trace_id").unwrap_or_default();
    let severity_number = match fields.get("outcome").and_then(Value::as_str) {
        Some("failed") => 17,
        Some("refused") => 13,
        _ => 9,
    };
    let attributes = fields
        .into_iter()
        .filter_map(|(name, value)| Some(KeyValue { key: key_of(&name), value: any(value)? }));
    Some(LogRecord {
        time_unix_nano: time.as_nanosecond().to_string(),
        severity_number,
        event_name: format!("pigello.audit.{kind}"),
        trace_id,
        attributes: attributes.collect(),
        body: Any::Text(body.into()),
    })
}

fn key_of(field: &str) -> Cow<'static, str> {
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

fn any(value: Value) -> Option<Any<'static>> {
    Some(match value {
        Value::Null | Value::Object(_) => return None,
        Value::Bool(_) | Value::Number(_) => Any::Number(value.to_string()),
        Value::String(text) => Any::Text(text.into()),
        Value::Array(values) => {
            Any::List(List { values: values.into_iter().filter_map(any).collect() })
        }
    })
}

fn attribute(key: &'static str, value: Any<'static>) -> KeyValue<'static> {
    KeyValue { key: key.into(), value }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_logs: [ResourceLogs<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs<'a> {
    resource: Resource,
    scope_logs: [ScopeLogs<'a>; 1],
}

#[derive(Serialize)]
struct Resource {
    attributes: Vec<KeyValue<'static>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs<'a> {
    scope: Scope,
    log_records: Vec<LogRecord<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    time_unix_nano: String,
    severity_number: u8,
    event_name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    trace_id: String,
    attributes: Vec<KeyValue<'static>>,
    body: Any<'a>,
}

#[derive(Serialize)]
struct KeyValue<'a> {
    key: Cow<'a, str>,
    value: Any<'a>,
}

#[derive(Serialize)]
enum Any<'a> {
    #[serde(rename = "stringValue")]
    Text(Cow<'a, str>),
    /// 64-bit integers are strings in this encoding.
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "arrayValue")]
    List(List<'a>),
}

#[derive(Serialize)]
struct List<'a> {
    values: Vec<Any<'a>>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::audit::{Tip, encode::Encoder, testing::record};

    #[test]
    fn a_call_is_a_log_record_with_the_line_as_its_body() {
        let mut encoder = Encoder::new(Tip::START, None);
        encoder.call(&record());
        let line = encoder.lines().trim_ascii_end().to_vec();
        let sent: Value = serde_json::from_slice(&request(std::slice::from_ref(&line))).unwrap();
        let record = &sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0];
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

    #[test]
    fn what_the_collector_did_not_take_is_counted() {
        assert_eq!(rejected(b""), 0);
        assert_eq!(rejected(b"{}"), 0);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedLogRecords":3}}"#), 3);
    }
}
