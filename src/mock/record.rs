//! What arrived: every request, as it stood on the wire.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version, request::Parts};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::auth;

/// One request that arrived.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The method.
    pub method: Method,
    /// Path and query, byte for byte.
    pub target: String,
    /// The authority: `:authority` in HTTP/2, that of an absolute target, or `Host`.
    pub authority: Option<String>,
    /// The header fields. Names are in lower case, as hyper reads them, with `_` and `-` as they
    /// were sent; a name that was sent twice stands here twice. The `X-PIGELLO-*` values are marked
    /// sensitive, so `{:?}` does not show them.
    pub headers: HeaderMap,
    /// The body; empty if it did not come to its end.
    pub body: Bytes,
    /// Whether the body was read to its end: it did not break off, was not over the mock's limit, and
    /// no [`super::Fault::early`] left it unread.
    pub complete: bool,
    /// The version of HTTP.
    pub version: Version,
    /// The server name of the TLS handshake.
    pub sni: Option<Arc<str>>,
    /// The number of the connection it came on, from 1.
    pub connection: u64,
    /// Whether the seven values were right.
    pub authorized: bool,
}

impl Recorded {
    pub(super) fn new(head: &Parts, connection: u64, sni: Option<Arc<str>>) -> Self {
        let mut headers = head.headers.clone();
        for (name, value) in &mut headers {
            if auth::is_pigello(name) {
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
        }
    }

    /// The values of a header, in the order they were sent.
    pub fn values(&self, name: &str) -> Vec<&str> {
        self.headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
    }

    /// The request as JSON. `reveal` shows the `X-PIGELLO-*` values too.
    pub(super) fn to_json(&self, reveal: bool) -> Value {
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

/// The last requests, bounded, and how many there were in all.
#[derive(Debug)]
pub(super) struct Records {
    kept: Mutex<Kept>,
    count: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<Arc<Recorded>>,
    body_bytes: usize,
}

impl Records {
    pub(super) fn new() -> Self {
        Self { kept: Mutex::default(), count: watch::Sender::new(0) }
    }

    pub(super) fn add(&self, request: Arc<Recorded>) {
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

    pub(super) fn all(&self) -> Vec<Arc<Recorded>> {
        self.kept.lock().requests.iter().map(Arc::clone).collect()
    }

    /// How many requests arrived since the start or the last [`forget`](Self::forget).
    pub(super) fn count(&self) -> u64 {
        *self.count.borrow()
    }

    pub(super) fn forget(&self) {
        *self.kept.lock() = Kept::default();
        self.count.send_replace(0);
    }

    pub(super) async fn wait_for(&self, wanted: u64) {
        let mut count = self.count.subscribe();
        // The sender lives as long as `self`, so this cannot fail.
        drop(count.wait_for(|count| *count >= wanted).await);
    }
}

/// How many requests are kept; a mock that runs for weeks must not grow.
const KEPT_REQUESTS: usize = 2_000;
/// How much of bodies is kept, over all requests.
const KEPT_BODY_BYTES: usize = 64 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: &'static [u8]) -> Arc<Recorded> {
        let (head, ()) = http::Request::get("https://api.pigello.test/a/?b=%2F&c!=1,2")
            .header("x-pigello-client-secret", "canary")
            .header("x_pigello_client_secret", "canary")
            .header("accept", "application/json")
            .body(())
            .unwrap()
            .into_parts();
        let mut recorded = Recorded::new(&head, 1, Some("api.pigello.test".into()));
        recorded.body = Bytes::from_static(body);
        Arc::new(recorded)
    }

    #[test]
    fn a_request_is_kept_as_it_was_and_shows_no_secret() {
        let recorded = request(b"x");
        assert_eq!(recorded.target, "/a/?b=%2F&c!=1,2");
        assert_eq!(recorded.authority.as_deref(), Some("api.pigello.test"));
        assert_eq!(recorded.values("x-pigello-client-secret"), ["canary"]);
        assert!(!format!("{recorded:?}").contains("canary"));
        assert!(!recorded.to_json(false).to_string().contains("canary"));
        assert!(recorded.to_json(true).to_string().contains("canary"));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_counted() {
        const MEBIBYTE: &[u8] = &[0; 1024 * 1024];
        let records = Records::new();
        for _ in 0..70 {
            records.add(request(MEBIBYTE));
        }
        records.wait_for(70).await;
        assert_eq!((records.count(), records.all().len()), (70, 64));
        records.forget();
        assert_eq!((records.count(), records.all().len()), (0, 0));
        for _ in 0..KEPT_REQUESTS + 5 {
            records.add(request(b""));
        }
        assert_eq!(records.all().len(), KEPT_REQUESTS);
    }
}
