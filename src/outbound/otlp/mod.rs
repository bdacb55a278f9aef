//! Sends logs and spans to an OpenTelemetry collector: OTLP 1.x over HTTP, protobuf, compressed with gzip.

mod headers;
mod message;

use std::{
    fmt::Debug,
    io::Write as _,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use prost::Message;

pub use headers::{HeadersError, read_headers};
pub use message::{
    AnyKind, AnyValue, ArrayValue, ExportRequest, ExportResponse, InstrumentationScope, KeyValue,
    KeyValueList, LogRecord, PartialSuccess, Resource, ResourceItems, ScopeItems, Span, Status,
};

use super::{
    backoff::retry_after,
    client::{CallLimits, Client, ClientError, ClientSetupError},
    forward_proxy::ForwardProxySettings,
    tls::Trust,
};
use crate::domain::Origin;

/// A response has a few fields.
const MAX_RESPONSE: usize = 64 * 1024;

/// Where telemetry goes, and with what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CollectorSettings {
    /// The collector.
    pub endpoint: Origin,
    /// Trusts these roots in place of the platform's.
    pub ca_file: Option<PathBuf>,
    /// The file with the header fields of each request, as [`read_headers`] reads it.
    pub headers_file: Option<PathBuf>,
    /// The forward proxy that leads to it.
    pub proxy: ForwardProxySettings,
}

/// What can be sent.
pub trait Item: Message + Default + Debug {
    /// The path of its requests (OTLP/HTTP, "default path").
    const PATH: &'static str;
}

impl Item for LogRecord {
    const PATH: &'static str = "/v1/logs";
}

impl Item for Span {
    const PATH: &'static str = "/v1/traces";
}

/// The request with the items of one scope. The resource is this service, with more attributes.
pub fn request<T: Item>(scope: &str, more: Vec<KeyValue>, items: Vec<T>) -> ExportRequest<T> {
    let mut attributes = vec![
        KeyValue::new("service.name", AnyValue::text("pigello-gateway")),
        KeyValue::new("service.version", AnyValue::text(env!("CARGO_PKG_VERSION"))),
    ];
    attributes.extend(more);
    let resource = Resource { attributes };
    let scope = ScopeItems { scope: Some(InstrumentationScope { name: scope.to_owned() }), items };
    let resources = vec![ResourceItems { resource: Some(resource), scopes: vec![scope] }];
    ExportRequest { resources }
}

/// A point in time, in nanoseconds since 1970.
pub fn nanoseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A collector.
#[derive(Debug)]
pub struct Collector {
    client: Client,
    headers_file: Option<PathBuf>,
}

impl Collector {
    /// A collector with a time limit for each request. Reads the roots, and opens no connection.
    pub fn new(settings: &CollectorSettings, limit: Duration) -> Result<Self, ClientSetupError> {
        let limits = CallLimits { time: limit, body: MAX_RESPONSE };
        let CollectorSettings { endpoint, ca_file, headers_file, proxy } = settings;
        let trust = Trust::Roots(ca_file.as_deref());
        let client = Client::new(endpoint, trust, None, proxy, limits)?;
        Ok(Self { client, headers_file: headers_file.clone() })
    }

    /// Connects, and sends nothing: whether the collector can be reached.
    pub async fn reach(&self) -> Result<(), ClientError> {
        self.client.reach().await
    }

    /// Sends one request. Returns what the collector did not take of it; the protocol forbids to send that
    /// again (OTLP 1.x, "Partial Success").
    pub async fn send<T: Item>(
        &self,
        message: &ExportRequest<T>,
    ) -> Result<PartialSuccess, CollectorError> {
        let mut request = Request::new(compressed(&message.encode_to_vec())?);
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::from_static(T::PATH);
        *request.headers_mut() = self.headers()?;
        for (name, value) in
            [(header::CONTENT_TYPE, "application/x-protobuf"), (header::CONTENT_ENCODING, "gzip")]
        {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let answer = self.client.send(request).await?;
        let status = answer.status;
        if !status.is_success() {
            let retry_after = retry_after(&answer.headers, SystemTime::now());
            return Err(CollectorError::Status { status, retry_after });
        }
        // A body that is no message of the protocol takes nothing back from the success.
        let response = ExportResponse::decode(answer.body().await?.as_slice());
        Ok(response.ok().and_then(|response| response.partial_success).unwrap_or_default())
    }

    /// Read for each request, so that a token can be changed while the gateway runs.
    fn headers(&self) -> Result<HeaderMap, HeadersError> {
        self.headers_file.as_deref().map_or_else(|| Ok(HeaderMap::new()), read_headers)
    }
}

/// Compressing into memory does not fail.
fn compressed(bytes: &[u8]) -> Result<Bytes, ClientError> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?.into())
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
    /// The header fields cannot be read, and nothing was sent.
    #[error("the header fields for the collector cannot be read")]
    Headers(#[from] HeadersError),
}

impl CollectorError {
    /// The status of a refusal that a repetition does not change; `None` if the request should be repeated.
    /// Those are 429, 502, 503 and 504, and whatever is no response (OTLP/HTTP, "Retryable Response Codes").
    pub fn refusal(&self) -> Option<StatusCode> {
        match self {
            Self::Status { status, .. } => {
                Some(*status).filter(|status| !matches!(status.as_u16(), 429 | 502..=504))
            }
            Self::Unreachable(_) | Self::Headers(_) => None,
        }
    }

    /// How long the collector asks to wait; zero if it does not.
    pub fn retry_after(&self) -> Duration {
        match self {
            Self::Status { retry_after, .. } => retry_after.unwrap_or_default(),
            Self::Unreachable(_) | Self::Headers(_) => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `protoc --encode` writes them: the numbers of the fields are those of the protocol.
    #[test]
    fn messages_are_those_of_the_protocol() {
        let record = LogRecord {
            time_unix_nano: 1,
            severity_number: 9,
            body: Some(AnyValue::text("b")),
            attributes: vec![KeyValue::new("k", AnyKind::Integer(5).into())],
            trace_id: vec![0xaa],
            event_name: "e".to_owned(),
        };
        let expected =
            b"\x09\x01\0\0\0\0\0\0\0\x10\x09\x2a\x03\x0a\x01b\x32\x07\x0a\x01k\x12\x02\x18\x05\
                         \x4a\x01\xaa\x62\x01e";
        assert_eq!(record.encode_to_vec(), expected);
        let span = Span {
            trace_id: vec![1],
            span_id: vec![2],
            parent_span_id: vec![3],
            name: "n".to_owned(),
            kind: 2,
            start_time_unix_nano: 4,
            end_time_unix_nano: 5,
            attributes: Vec::new(),
            status: Some(Status { code: 2 }),
        };
        let expected =
            b"\x0a\x01\x01\x12\x01\x02\x22\x01\x03\x2a\x01n\x30\x02\x39\x04\0\0\0\0\0\0\0\
                         \x41\x05\0\0\0\0\0\0\0\x7a\x02\x18\x02";
        assert_eq!(span.encode_to_vec(), expected);
        let response = ExportResponse::decode(&b"\x0a\x05\x08\x03\x12\x01w"[..]).unwrap();
        let partial = PartialSuccess { rejected: 3, error_message: "w".to_owned() };
        assert_eq!(response.partial_success, Some(partial));
    }

    #[test]
    fn only_what_may_pass_is_repeated() {
        for (status, is_repeated) in [
            (408, false),
            (429, true),
            (500, false),
            (502, true),
            (503, true),
            (504, true),
            (400, false),
            (401, false),
            (404, false),
            (413, false),
            (307, false),
        ] {
            let status = StatusCode::from_u16(status).unwrap();
            let error = CollectorError::Status { status, retry_after: None };
            assert_eq!(error.refusal().is_none(), is_repeated, "{status}");
        }
        assert!(CollectorError::from(ClientError::Timeout).refusal().is_none());
    }
}
