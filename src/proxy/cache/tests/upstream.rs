//! An upstream in process, which sends scripted responses and records the requests.

use std::{
    collections::VecDeque,
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tower::Service;

use crate::{
    body::Body,
    error::{Error, Kind},
    proxy::call::{Fetch, Head},
};

/// Sends its scripted responses in order, and then 200 without a lifetime.
#[derive(Clone, Debug, Default)]
pub(crate) struct Upstream(Arc<Mutex<Script>>);

#[derive(Default)]
struct Script {
    turns: VecDeque<Turn>,
    asked: Vec<SeenRequest>,
    /// Answers what is not scripted.
    model: Option<Model>,
}

type Model = Arc<dyn Fn(&SeenRequest) -> BoxFuture<'static, Response<Body>> + Send + Sync>;

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("turns", &self.turns).finish_non_exhaustive()
    }
}

/// A request at the upstream.
#[derive(Clone, Debug)]
pub(crate) struct SeenRequest {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(super) headers: HeaderMap,
}

impl SeenRequest {
    pub(super) fn field(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// One scripted response.
#[derive(Debug)]
pub(super) struct Turn {
    result: Result<Response<Body>, Kind>,
    gate: Option<oneshot::Receiver<()>>,
}

pub(super) fn reply(status: u16) -> Turn {
    let response = Response::builder().status(status).body(Body::full("body")).unwrap();
    Turn { result: Ok(response), gate: None }
}

pub(super) fn failure(kind: Kind) -> Turn {
    Turn { result: Err(kind), gate: None }
}

impl Turn {
    pub(super) fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        let value = HeaderValue::from_str(value.as_ref()).unwrap();
        if let Ok(response) = &mut self.result {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
        self
    }

    pub(super) fn value(mut self, name: &'static str, value: HeaderValue) -> Self {
        if let Ok(response) = &mut self.result {
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
        self
    }

    pub(super) fn cache_control(self, value: &str) -> Self {
        self.header("cache-control", value)
    }

    pub(super) fn body(mut self, body: Body) -> Self {
        if let Ok(response) = &mut self.result {
            *response.body_mut() = body;
        }
        self
    }

    /// Holds the response back until the returned half sends or is dropped.
    pub(super) fn gated(mut self) -> (Self, oneshot::Sender<()>) {
        let (open, gate) = oneshot::channel();
        self.gate = Some(gate);
        (self, open)
    }
}

impl Upstream {
    pub(super) fn then(&self, turn: Turn) -> &Self {
        self.0.lock().turns.push_back(turn);
        self
    }

    /// Answers every request that is not scripted like that.
    pub(crate) fn answer_with(
        &self,
        model: impl Fn(&SeenRequest) -> BoxFuture<'static, Response<Body>> + Send + Sync + 'static,
    ) {
        self.0.lock().model = Some(Arc::new(model));
    }

    /// Removes the responses that were not used.
    pub(super) fn forget(&self) {
        self.0.lock().turns.clear();
    }

    /// Takes back the turns that were not used, and what it was asked.
    pub(super) fn forget_all(&self) {
        *self.0.lock() = Script::default();
    }

    /// The number of requests.
    pub(crate) fn count(&self) -> usize {
        self.0.lock().asked.len()
    }

    pub(super) fn last(&self) -> SeenRequest {
        self.0.lock().asked.last().unwrap().clone()
    }
}

impl Service<Fetch> for Upstream {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        let (turn, number) = {
            let mut script = self.0.lock();
            let Head { method, target, headers, .. } = Arc::unwrap_or_clone(fetch.head);
            let seen = SeenRequest { method, target: target.as_str().to_owned(), headers };
            script.asked.push(seen.clone());
            if let Some(model) = script.model.clone().filter(|_| script.turns.is_empty()) {
                drop(script);
                let answer = model(&seen);
                return Box::pin(async move { Ok(answer.await) });
            }
            (script.turns.pop_front().unwrap_or_else(|| reply(200)), script.asked.len() as u64)
        };
        Box::pin(async move {
            if let Some(gate) = turn.gate {
                // Opened, or dropped with its test: both release the response.
                gate.await.unwrap_or_default();
            }
            let mut response = turn.result.map_err(|kind| Error::new(kind, "as scripted"))?;
            response.headers_mut().insert("count", number.into());
            Ok(response)
        })
    }
}
