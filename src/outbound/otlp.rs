//! Encodes logs and spans as OTLP, and sends them to a collector over HTTP.
//!
//! The encoding is OTLP 1.x in JSON (opentelemetry-proto, "JSON Protobuf Encoding"): identifiers are
//! hexadecimal, and 64-bit integers are strings.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use serde_json::{Value, json};

use super::{
    client::{CallLimits, Client, ClientError, ClientSetupError},
    forward_proxy::ForwardProxySettings,
    tls::Trust,
};
use crate::domain::Origin;

/// A response has a few fields.
const MAX_RESPONSE: usize = 64 * 1024;

/// A kind of telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Spans.
    Traces,
}

/// The body of a request with the records of one scope. The resource is this service, with more attributes.
pub fn request(signal: Signal, scope: &str, more: Vec<Value>, records: &[Value]) -> Bytes {
    let (resources, scopes, items) = match signal {
        Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords"),
        Signal::Traces => ("resourceSpans", "scopeSpans", "spans"),
    };
    let mut attributes = vec![
        attribute("service.name", &text("pigello-gateway")),
        attribute("service.version", &text(env!("CARGO_PKG_VERSION"))),
    ];
    attributes.extend(more);
    let resource = json!({ "attributes": attributes });
    json!({ resources: [{
        "resource": resource,
        scopes: [{ "scope": { "name": scope }, items: records }],
    }] })
    .to_string()
    .into()
}

/// A `KeyValue`.
pub fn attribute(key: &str, value: &Value) -> Value {
    json!({ "key": key, "value": value })
}

/// A text as an `AnyValue`.
pub fn text(text: &str) -> Value {
    json!({ "stringValue": text })
}

/// A JSON value as an `AnyValue`; null has none.
pub fn any_value(value: &Value) -> Option<Value> {
    Some(match value {
        Value::Null => return None,
        Value::Bool(value) => json!({ "boolValue": value }),
        Value::Number(number) => json!({ "intValue": number.to_string() }),
        Value::String(value) => text(value),
        Value::Array(values) => {
            let values: Vec<_> = values.iter().filter_map(any_value).collect();
            json!({ "arrayValue": { "values": values } })
        }
        Value::Object(fields) => {
            let known = fields.iter().filter_map(|(name, value)| Some((name, any_value(value)?)));
            let fields: Vec<_> = known.map(|(name, value)| attribute(name, &value)).collect();
            json!({ "kvlistValue": { "values": fields } })
        }
    })
}

/// A point in time, in nanoseconds since 1970.
pub fn nanoseconds(time: SystemTime) -> String {
    time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}

/// Where a collector is, and how it is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorSettings {
    /// Scheme, host and port.
    pub endpoint: Origin,
    /// The forward proxy that leads to it.
    pub proxy: ForwardProxySettings,
}

/// A collector of one signal.
#[derive(Debug)]
pub struct Collector {
    client: Client,
    path: Uri,
}

impl Collector {
    /// A collector with a time limit for each request.
    pub fn new(
        settings: &CollectorSettings,
        signal: Signal,
        limit: Duration,
    ) -> Result<Self, ClientSetupError> {
        let limits = CallLimits { time: limit, body: MAX_RESPONSE };
        // OTLP/HTTP, "default path".
        let path = Uri::from_static(match signal {
            Signal::Logs => "/v1/logs",
            Signal::Traces => "/v1/traces",
        });
        let CollectorSettings { endpoint, proxy } = settings;
        let client = Client::new(endpoint, Trust::Roots(None), None, proxy, limits)?;
        Ok(Self { client, path })
    }

    /// Connects, and sends nothing: whether the collector can be reached.
    pub async fn reach(&self) -> Result<(), ClientError> {
        self.client.reach().await
    }

    /// Sends one request, made by [`request`]. Returns how many log records the collector
    /// rejected; the protocol forbids to send those again (OTLP 1.x, "Partial Success").
    pub async fn send(&self, body: Bytes) -> Result<u64, CollectorError> {
        let mut request = Request::new(body);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.path.clone();
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let answer = self.client.send(request).await?;
        let status = answer.status;
        if !status.is_success() {
            let retry_after = retry_after(&answer.headers);
            return Err(CollectorError::Status { status, retry_after });
        }
        Ok(rejected(&answer.body().await?))
    }
}

/// `Retry-After` in seconds. A date is passed over.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn rejected(answer: &[u8]) -> u64 {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    match answer.pointer("/partialSuccess/rejectedLogRecords") {
        Some(Value::String(text)) => text.parse().unwrap_or(0),
        // Some collectors send a number.
        number => number.and_then(Value::as_u64).unwrap_or(0),
    }
}

/// Why a collector did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    /// It refuses the request, or cannot work now.
    #[error("the collector answers {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// How long it asks to wait.
        retry_after: Option<Duration>,
    },
    /// There was no whole response.
    #[error("the collector cannot be reached")]
    Unreachable(#[from] ClientError),
}

impl CollectorError {
    /// How long the collector asks to wait; zero if it does not.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            Self::Unreachable(_) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_that_the_collector_rejects_are_counted() {
        assert_eq!(rejected(b""), 0);
        assert_eq!(rejected(b"{}"), 0);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedLogRecords":"3"}}"#), 3);
        assert_eq!(rejected(br#"{"partialSuccess":{"rejectedLogRecords":3}}"#), 3);
    }
}
