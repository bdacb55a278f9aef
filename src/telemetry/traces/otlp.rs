//! Spans as OTLP has them in JSON: identifiers in hexadecimal, 64-bit integers as strings
//! (opentelemetry-proto, "JSON Protobuf Encoding").

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use super::{Span, SpanKind, Trace};

/// The body of a request to `/v1/traces`.
pub(super) fn request(traces: &[Trace]) -> Value {
    let spans: Vec<Value> = traces
        .iter()
        .flat_map(|trace| trace.spans.iter().map(|span| encode(trace.trace_id, span)))
        .collect();
    json!({ "resourceSpans": [{
        "resource": { "attributes": [
            text("service.name", "pigello-gateway"),
            text("service.version", env!("CARGO_PKG_VERSION")),
        ] },
        "scopeSpans": [{ "scope": { "name": "pigello-gateway" }, "spans": spans }],
    }] })
}

fn encode(trace_id: u128, span: &Span) -> Value {
    let mut attributes: Vec<Value> =
        span.attributes.iter().map(|(key, value)| text(key, value)).collect();
    attributes.extend(span.error.map(|error| text("error.type", error)));
    json!({
        "traceId": format!("{trace_id:032x}"),
        "spanId": format!("{:016x}", span.id),
        "parentSpanId": span.parent.map(|parent| format!("{parent:016x}")).unwrap_or_default(),
        "name": &*span.name,
        "kind": match span.kind {
            SpanKind::Internal => 1,
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
        "startTimeUnixNano": nanoseconds(span.began),
        "endTimeUnixNano": nanoseconds(span.ended),
        "attributes": attributes,
        "status": if span.error.is_some() { json!({ "code": 2 }) } else { json!({}) },
    })
}

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
