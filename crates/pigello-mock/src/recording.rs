//! The requests that have arrived, each as it was on the wire.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version, request::Parts};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::credentials;

/// One request that has arrived.
#[derive(Clone, Debug)]
pub struct RecordedRequest {
    /// The method.
    pub method: Method,
    /// Path and query, byte for byte.
    pub target: String,
    /// The authority: `:authority` in HTTP/2, that of an absolute target, or `Host`.
    pub authority: Option<String>,
    /// The header fields, with `_` and `-` in their names as sent; hyper makes names lower case. The
    /// `X-PIGELLO-*` values are marked sensitive, so `{:?}` does not show them.
    pub headers: HeaderMap,
    /// The body; empty unless it is complete.
    pub body: Bytes,
    /// Whether the mock has read the whole body. It has not if the body broke off, was over the limit,
    /// or if [`Fault::early`](crate::Fault::early) left it unread.
    pub complete: bool,
    /// The version of HTTP.
    pub version: Version,
    /// The server name of the TLS handshake.
    pub sni: Option<Arc<str>>,
    /// The number of its connection; connections are numbered from 1.
    pub connection: u64,
    /// Whether the mock accepted the credentials.
    pub authorized: bool,
    /// The name of the activation whose credentials it accepted.
    pub activation: Option<Arc<str>>,
    /// Whether the request had values of several activations.
    pub mixed: bool,
}

impl RecordedRequest {
    pub(crate) fn new(head: &Parts, connection: u64, sni: Option<Arc<str>>) -> Self {
        let mut headers = head.headers.clone();
        for (name, value) in &mut headers {
            if credentials::is_pigello(name) {
                value.set_sensitive(true);
            }
        }
        let host = headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
        let target = head.uri.path_and_query().map_or_else(String::new, ToString::to_string);
        Self {
            method: head.method.clone(),
            target,
            authority: head.uri.authority().map(ToString::to_string).or(host.map(str::to_owned)),
            headers,
            body: Bytes::new(),
            complete: true,
            version: head.version,
            sni,
            connection,
            authorized: false,
            activation: None,
            mixed: false,
        }
    }

    /// The values of a header, in the order of the request.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The request as JSON. `reveal` shows the `X-PIGELLO-*` values too.
    pub(crate) fn to_json(&self, reveal: bool) -> Value {
        let show = |value: &HeaderValue| {
            if value.is_sensitive() && !reveal {
                "(not shown)".to_owned()
            } else {
                String::from_utf8_lossy(value.as_bytes()).into_owned()
            }
        };
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| json!([name.as_str(), show(value)])).collect();
        json!({
            "method": self.method.as_str(),
            "target": self.target,
            "authority": self.authority,
            "version": version_text(self.version),
            "sni": self.sni.as_deref(),
            "connection": self.connection,
            "authorized": self.authorized,
            "activation": self.activation.as_deref(),
            "mixed": self.mixed,
            "complete": self.complete,
            "headers": headers,
            "body": String::from_utf8_lossy(&self.body),
        })
    }
}

fn version_text(version: Version) -> &'static str {
    match version {
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_10 => "HTTP/1.0",
        _ => "HTTP/1.1",
    }
}

/// The last requests, and how many there were in all.
#[derive(Debug)]
pub(crate) struct Recording {
    kept: Mutex<Kept>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<Arc<RecordedRequest>>,
    body_bytes: usize,
}

impl Recording {
    pub(crate) fn new() -> Self {
        Self { kept: Mutex::default(), count: watch::Sender::new(0) }
    }

    pub(crate) fn add(&self, request: Arc<RecordedRequest>) {
        let mut kept = self.kept.lock();
        kept.body_bytes += request.body.len();
        kept.requests.push_back(request);
        while kept.requests.len() > KEPT_REQUESTS || kept.body_bytes > KEPT_BODY_BYTES {
            let Some(oldest) = kept.requests.pop_front() else { break };
            kept.body_bytes -= oldest.body.len();
        }
        drop(kept);
        self.count.send_modify(|count| *count += 1);
    }

    pub(crate) fn all(&self) -> Vec<Arc<RecordedRequest>> {
        self.kept.lock().requests.iter().map(Arc::clone).collect()
    }

    /// How many requests have arrived since the start or the last [`clear`](Self::clear).
    pub(crate) fn count(&self) -> u64 {
        *self.count.borrow()
    }

    pub(crate) fn clear(&self) {
        *self.kept.lock() = Kept::default();
        self.count.send_replace(0);
    }

    pub(crate) async fn wait_for(&self, wanted: u64) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        drop(count.wait_for(|count| *count >= wanted).await);
    }
}

/// How many requests are kept: a mock that runs for weeks must not grow.
const KEPT_REQUESTS: usize = 2_000;
/// How many bytes of bodies are kept, over all requests.
const KEPT_BODY_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &'static [u8]) -> Arc<RecordedRequest> {
        let (head, ()) = http::Request::get("https://api.pigello.test/a/?b=%2F&c!=1,2")
            .header("x-pigello-client-secret", "canary")
            .header("x_pigello_client_secret", "canary")
            .header("accept", "application/json")
            .body(())
            .unwrap()
            .into_parts();
        let mut recorded = RecordedRequest::new(&head, 1, Some("api.pigello.test".into()));
        recorded.body = Bytes::from_static(body);
        Arc::new(recorded)
    }

    #[test]
    fn a_request_is_recorded_as_sent_and_shows_no_secret() {
        let recorded = request(b"x");
        assert_eq!(recorded.target, "/a/?b=%2F&c!=1,2");
        assert_eq!(recorded.authority.as_deref(), Some("api.pigello.test"));
        assert_eq!(recorded.values("x-pigello-client-secret"), ["canary"]);
        assert!(!format!("{recorded:?}").contains("canary"));
        assert!(!recorded.to_json(false).to_string().contains("canary"));
        assert!(recorded.to_json(true).to_string().contains("canary"));
    }

    #[tokio::test]
    async fn the_recording_is_bounded_and_counts_all() {
        const MEBIBYTE: &[u8] = &[0; 1024 * 1024];
        let recording = Recording::new();
        for _ in 0..70 {
            recording.add(request(MEBIBYTE));
        }
        recording.wait_for(70).await;
        assert_eq!((recording.count(), recording.all().len()), (70, 64));
        recording.clear();
        assert_eq!((recording.count(), recording.all().len()), (0, 0));
        for _ in 0..KEPT_REQUESTS + 5 {
            recording.add(request(b""));
        }
        assert_eq!(recording.all().len(), KEPT_REQUESTS);
    }
}
