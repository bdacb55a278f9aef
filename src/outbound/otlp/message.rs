//! The messages of OTLP that the gateway sends and receives (opentelemetry-proto 1.x), with the fields that
//! it uses. A request of logs and one of traces differ in their innermost items only.

use std::fmt::Debug;

use prost::{Message, Oneof};
use serde_json::Value;

/// `ExportLogsServiceRequest` and `ExportTraceServiceRequest`.
#[derive(Clone, PartialEq, Message)]
pub struct ExportRequest<T: Message + Default + Debug> {
    /// One for each resource.
    #[prost(message, repeated, tag = "1")]
    pub resources: Vec<ResourceItems<T>>,
}

/// `ResourceLogs` and `ResourceSpans`.
#[derive(Clone, PartialEq, Message)]
pub struct ResourceItems<T: Message + Default + Debug> {
    /// What the items come from.
    #[prost(message, optional, tag = "1")]
    pub resource: Option<Resource>,
    /// One for each scope.
    #[prost(message, repeated, tag = "2")]
    pub scopes: Vec<ScopeItems<T>>,
}

/// `ScopeLogs` and `ScopeSpans`.
#[derive(Clone, PartialEq, Message)]
pub struct ScopeItems<T: Message + Default + Debug> {
    /// The part of the gateway.
    #[prost(message, optional, tag = "1")]
    pub scope: Option<InstrumentationScope>,
    /// Log records or spans.
    #[prost(message, repeated, tag = "2")]
    pub items: Vec<T>,
}

/// What items come from.
#[derive(Clone, PartialEq, Message)]
pub struct Resource {
    /// `service.name` and the like.
    #[prost(message, repeated, tag = "1")]
    pub attributes: Vec<KeyValue>,
}

/// The part of a program that made an item.
#[derive(Clone, PartialEq, Message)]
pub struct InstrumentationScope {
    /// Its name.
    #[prost(string, tag = "1")]
    pub name: String,
}

/// One entry of a log.
#[derive(Clone, PartialEq, Message)]
pub struct LogRecord {
    /// When it happened, in nanoseconds since 1970.
    #[prost(fixed64, tag = "1")]
    pub time_unix_nano: u64,
    /// 9 (info), 13 (warning), 17 (error).
    #[prost(int32, tag = "2")]
    pub severity_number: i32,
    /// The entry itself.
    #[prost(message, optional, tag = "5")]
    pub body: Option<AnyValue>,
    /// Its fields.
    #[prost(message, repeated, tag = "6")]
    pub attributes: Vec<KeyValue>,
    /// 16 bytes, or none.
    #[prost(bytes = "vec", tag = "9")]
    pub trace_id: Vec<u8>,
    /// The kind of the event.
    #[prost(string, tag = "12")]
    pub event_name: String,
}

/// One part of a traced call.
#[derive(Clone, PartialEq, Message)]
pub struct Span {
    /// 16 bytes.
    #[prost(bytes = "vec", tag = "1")]
    pub trace_id: Vec<u8>,
    /// 8 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub span_id: Vec<u8>,
    /// 8 bytes, or none.
    #[prost(bytes = "vec", tag = "4")]
    pub parent_span_id: Vec<u8>,
    /// The stage, or the operation.
    #[prost(string, tag = "5")]
    pub name: String,
    /// 1 (internal), 2 (server), 3 (client).
    #[prost(int32, tag = "6")]
    pub kind: i32,
    /// When it began, in nanoseconds since 1970.
    #[prost(fixed64, tag = "7")]
    pub start_time_unix_nano: u64,
    /// When it ended, in nanoseconds since 1970.
    #[prost(fixed64, tag = "8")]
    pub end_time_unix_nano: u64,
    /// Named by the semantic conventions.
    #[prost(message, repeated, tag = "9")]
    pub attributes: Vec<KeyValue>,
    /// Set if it failed.
    #[prost(message, optional, tag = "15")]
    pub status: Option<Status>,
}

/// How a span ended.
#[derive(Clone, PartialEq, Message)]
pub struct Status {
    /// 2 (error).
    #[prost(int32, tag = "3")]
    pub code: i32,
}

/// An attribute.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    /// Its name.
    #[prost(string, tag = "1")]
    pub key: String,
    /// Its value.
    #[prost(message, optional, tag = "2")]
    pub value: Option<AnyValue>,
}

impl KeyValue {
    /// An attribute with that value.
    pub fn new(key: impl Into<String>, value: AnyValue) -> Self {
        Self { key: key.into(), value: Some(value) }
    }
}

/// A value of any type.
#[derive(Clone, PartialEq, Message)]
pub struct AnyValue {
    /// The value.
    #[prost(oneof = "AnyKind", tags = "1, 2, 3, 4, 5, 6")]
    pub kind: Option<AnyKind>,
}

/// The types of a value.
#[derive(Clone, PartialEq, Oneof)]
pub enum AnyKind {
    /// A text.
    #[prost(string, tag = "1")]
    Text(String),
    /// Yes or no.
    #[prost(bool, tag = "2")]
    Bool(bool),
    /// A whole number.
    #[prost(int64, tag = "3")]
    Integer(i64),
    /// Any other number.
    #[prost(double, tag = "4")]
    Double(f64),
    /// A list.
    #[prost(message, tag = "5")]
    Array(ArrayValue),
    /// Named values.
    #[prost(message, tag = "6")]
    List(KeyValueList),
}

/// A list of values.
#[derive(Clone, PartialEq, Message)]
pub struct ArrayValue {
    /// The values.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<AnyValue>,
}

/// Named values.
#[derive(Clone, PartialEq, Message)]
pub struct KeyValueList {
    /// The values with their names.
    #[prost(message, repeated, tag = "1")]
    pub values: Vec<KeyValue>,
}

impl AnyValue {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        AnyKind::Text(text.into()).into()
    }

    /// The value of a JSON field; null has none.
    pub fn of(value: &Value) -> Option<Self> {
        let kind = match value {
            Value::Null => return None,
            Value::Object(fields) => {
                let known = fields.iter().filter_map(|(name, value)| {
                    Some(KeyValue::new(name.as_str(), Self::of(value)?))
                });
                AnyKind::List(KeyValueList { values: known.collect() })
            }
            Value::Bool(value) => AnyKind::Bool(*value),
            Value::Number(number) => match number.as_i64() {
                Some(whole) => AnyKind::Integer(whole),
                None => AnyKind::Double(number.as_f64()?),
            },
            Value::String(text) => AnyKind::Text(text.clone()),
            Value::Array(values) => {
                AnyKind::Array(ArrayValue { values: values.iter().filter_map(Self::of).collect() })
            }
        };
        Some(kind.into())
    }
}

impl From<AnyKind> for AnyValue {
    fn from(kind: AnyKind) -> Self {
        Self { kind: Some(kind) }
    }
}

/// `ExportLogsServiceResponse` and `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub struct ExportResponse {
    /// Set if the collector has something to say about what it took.
    #[prost(message, optional, tag = "1")]
    pub partial_success: Option<PartialSuccess>,
}

/// What a collector did not take of a request that it took.
#[derive(Clone, PartialEq, Message)]
pub struct PartialSuccess {
    /// How many log records or spans. They must not be sent again.
    #[prost(int64, tag = "1")]
    pub rejected: i64,
    /// Why, or a warning if none was rejected.
    #[prost(string, tag = "2")]
    pub error_message: String,
}
