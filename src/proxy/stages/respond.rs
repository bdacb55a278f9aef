//! Makes responses of errors and panics, as no other place does.
//!
//! A response of the gateway itself is a problem document (RFC 9457) with a `Proxy-Status` (RFC 9209),
//! so that a caller can tell it from Pigello's. The caller gets the kind and one sentence; the cause
//! goes to the log. A panic in an inner stage fails its call alone, and the call has a record.
//!
//! An answer of Pigello leaves here as a program reads it: closed to pages in a browser.
//!
//! A refused call, which has no permit, takes one for its document. If there is none left, the answer is a
//! status without a document, and an HTTP/1 connection closes after it.

use std::{
    any::Any,
    convert::Infallible,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use pin_project_lite::pin_project;
use serde::Serialize;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    body::Body,
    domain::{Caller, Operation, ProblemBase, Proof, RequestId},
    error::{Chain, Error, Fault, Kind},
    proxy::{
        call::{CallContext, ConcurrencyLimits, Opened, REQUEST_ID},
        http_policy::{PROXIED_METHODS, close_to_pages},
    },
};

/// Makes responses of errors and panics. `concurrency` limits refusals with a document.
pub fn respond<S>(
    problem_base: ProblemBase,
    concurrency: ConcurrencyLimits,
) -> impl Layer<S, Service = Respond<S>> + Clone {
    let rules = Arc::new(Rules { problem_base, concurrency });
    layer_fn(move |inner| Respond { inner, rules: Arc::clone(&rules) })
}

#[derive(Debug)]
struct Rules {
    problem_base: ProblemBase,
    concurrency: ConcurrencyLimits,
}

/// See [`respond`].
#[derive(Clone, Debug)]
pub struct Respond<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Service<Opened> for Respond<S>
where
    S: Service<Opened, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The inner stages are always ready. A limit refuses a call instead of waiting here, so that
        // the refusal has a response and a record.
        let ready = ready!(self.inner.poll_ready(cx));
        debug_assert!(ready.is_ok(), "a stage fails only when it is called");
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, opened: Opened) -> Self::Future {
        let (context, rules) = (opened.context.clone(), Arc::clone(&self.rules));
        match catch_unwind(AssertUnwindSafe(|| self.inner.call(opened))) {
            Ok(inner) => RespondFuture { inner: Some(inner), panicked: None, context, rules },
            Err(panic) => {
                let panicked = Some(panicked(panic.as_ref()));
                RespondFuture { inner: None, panicked, context, rules }
            }
        }
    }
}

pin_project! {
    /// The future of [`Respond`].
    pub struct RespondFuture<F> {
        #[pin]
        inner: Option<F>,
        panicked: Option<Error>,
        context: CallContext,
        rules: Arc<Rules>,
    }
}

impl<F> Future for RespondFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = match (this.inner.as_pin_mut(), this.panicked.take()) {
            (_, Some(error)) => Err(error),
            (Some(inner), None) => match catch_unwind(AssertUnwindSafe(|| inner.poll(cx))) {
                Ok(poll) => ready!(poll),
                Err(panic) => Err(panicked(panic.as_ref())),
            },
            (None, None) => return Poll::Pending,
        };
        let id = this.context.id();
        let response = match result {
            Ok(mut response) => {
                close_to_pages(&mut response);
                set_request_id(response.headers_mut(), id);
                response
            }
            Err(error) => {
                this.context.note(|facts| facts.error = Some(error.kind()));
                this.rules.answer(&error, this.context)
            }
        };
        Poll::Ready(Ok(response))
    }
}

impl<F> fmt::Debug for RespondFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RespondFuture({:?})", self.context)
    }
}

impl Rules {
    /// The response for an error: a document, or for one refusal too many its status.
    fn answer(&self, error: &Error, context: &CallContext) -> Response<Body> {
        if !context.holds_permit() {
            match self.concurrency.refuse() {
                Some(permit) => context.hold(permit),
                None => return bare(error, context),
            }
        }
        let identity = Identity::of(context);
        log(error, context.id(), &identity);
        match error.kind() {
            // A page in a browser may read it.
            Kind::HostForbidden | Kind::CrossSite => {
                document(error, context.id(), &self.problem_base, &Identity::default())
            }
            _ => document(error, context.id(), &self.problem_base, &identity),
        }
    }
}

/// What a problem document tells a caller about itself and its request, as far as it is known.
#[derive(Default)]
struct Identity {
    caller: Option<Arc<Caller>>,
    operation: Option<Arc<Operation>>,
}

impl Identity {
    fn of(context: &CallContext) -> Self {
        context.facts(|facts| Self {
            caller: facts.caller.clone(),
            operation: facts.operation.clone(),
        })
    }

    fn caller_name(&self) -> Option<&str> {
        self.caller.as_deref().and_then(Caller::name).map(|name| &**name)
    }

    fn proof(&self) -> Option<&Proof> {
        self.caller.as_deref().map(Caller::proof)
    }

    fn operation_name(&self) -> Option<&str> {
        self.operation.as_deref().map(Operation::name)
    }
}

/// The error for a panic. Its message can have data of the call, so the error does not repeat it.
fn panicked(_panic: &(dyn Any + Send)) -> Error {
    Error::new(Kind::Internal, "the gateway met a defect of its own while it handled this request")
}

fn log(error: &Error, id: RequestId, identity: &Identity) {
    let (kind, error_chain) = (error.kind().label(), Chain(error));
    let (caller, operation) = (identity.caller_name(), identity.operation_name());
    let proof = identity.proof().map(tracing::field::display);
    match error.kind().fault() {
        Fault::Caller => {
            tracing::info!(request_id = %id, kind, caller, proof, operation, error = %error_chain, "call refused");
        }
        Fault::Gateway => {
            tracing::warn!(request_id = %id, kind, caller, proof, operation, error = %error_chain, "call failed");
        }
        Fault::Upstream => {
            tracing::warn!(
                request_id = %id, kind, caller, proof, operation, error = %error_chain, "upstream failed"
            );
        }
    }
}

/// The response for an error, whose cause goes to the log.
pub(in crate::proxy) fn refusal(
    error: &Error,
    id: RequestId,
    base: &ProblemBase,
) -> Response<Body> {
    log(error, id, &Identity::default());
    document(error, id, base, &Identity::default())
}

fn document(
    error: &Error,
    id: RequestId,
    base: &ProblemBase,
    identity: &Identity,
) -> Response<Body> {
    let mut response = problem(error, id, base, identity);
    set_request_id(response.headers_mut(), id);
    response
}

/// The status for an error, without a document. It has no part that could wait for the caller.
fn bare(error: &Error, context: &CallContext) -> Response<Body> {
    let id = context.id();
    log(error, id, &Identity::of(context));
    let mut response = Response::new(Body::empty());
    *response.status_mut() = error.kind().status();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    set_request_id(response.headers_mut(), id);
    response
}

/// The problem document for an error.
fn problem(
    error: &Error,
    id: RequestId,
    base: &ProblemBase,
    identity: &Identity,
) -> Response<Body> {
    let kind = error.kind();
    let mut buffer = [0; 36];
    let body = ProblemDocument {
        kind: base.type_of(kind.label()),
        title: kind.title(),
        status: kind.status().as_u16(),
        detail: error.detail(),
        request_id: id.encode(&mut buffer),
        caller: identity.caller_name(),
        proof: identity.proof().map(ToString::to_string),
        operation: identity.operation_name(),
    };
    let mut response = Response::new(Body::full(serde_json::to_vec(&body).unwrap_or_default()));
    *response.status_mut() = kind.status();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let status =
        format!("pigello-gateway; error={}; details=\"{}\"", kind.proxy_error(), kind.label());
    if let Ok(status) = HeaderValue::from_str(&status) {
        headers.insert(PROXY_STATUS, status);
    }
    if let Some(after) = error.retry_after_hint() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    match kind {
        Kind::MethodRefused => {
            headers.insert(header::ALLOW, HeaderValue::from_static(PROXIED_METHODS));
        }
        // The next message on the connection may begin anywhere.
        Kind::Malformed
        | Kind::BodyBroken
        | Kind::BodyTooLarge
        | Kind::BodyTimeout
        | Kind::NotImplemented
        | Kind::VersionUnsupported
        | Kind::TargetTooLong
        | Kind::HeadersTooLarge
        | Kind::ExpectationFailed => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        _ => {}
    }
    response
}

/// Sets the identifier of the call, also in place of one from the upstream.
fn set_request_id(headers: &mut HeaderMap, id: RequestId) {
    let mut buffer = [0; 36];
    if let Ok(value) = HeaderValue::from_str(id.encode(&mut buffer)) {
        headers.insert(REQUEST_ID, value);
    }
}

/// The members of a problem document (RFC 9457 §3.1), and three of the gateway's own (§3.2).
#[derive(Serialize)]
struct ProblemDocument<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: &'static str,
    status: u16,
    detail: &'a str,
    request_id: &'a str,
    /// Who calls, by the gateway's configuration.
    #[serde(skip_serializing_if = "Option::is_none")]
    caller: Option<&'a str>,
    /// What the connection shows of the caller.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
    /// What the caller asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    operation: Option<&'a str>,
}

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, time::SystemTime};

    use http::Request;
    use http_body::Body as _;
    use tower::service_fn;

    use super::*;
    use crate::{
        domain::{Peer, TraceContext},
        proxy::call::Connection,
    };

    fn opened() -> Opened {
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let trace = TraceContext::continue_or_begin(None, id);
        Opened {
            request: Ok(Request::new(Body::empty())),
            connection: Connection::new(Peer::Tcp((Ipv4Addr::LOCALHOST, 1).into()), Vec::new()),
            context: CallContext::begin(time, id, trace, false),
        }
    }

    #[tokio::test]
    async fn refusals_that_do_not_leave_lose_their_documents_and_take_no_permit_of_a_call() {
        let concurrency = ConcurrencyLimits::new(1);
        let refuse =
            service_fn(|_: Opened| async { Err(Error::new(Kind::OperationUnknown, "unknown")) });
        let mut stage = respond(ProblemBase::default(), concurrency.clone()).layer(refuse);
        let mut waiting = Vec::new();
        let bare = loop {
            let opened = opened();
            let context = opened.context.clone();
            let Ok(response) = stage.call(opened).await;
            assert_eq!(response.status(), Kind::OperationUnknown.status());
            if response.body().is_end_stream() {
                break response;
            }
            waiting.push(context);
            assert!(waiting.len() < 1000, "there is a limit");
        };
        assert_eq!(bare.headers()[header::CONNECTION], "close");
        assert!(concurrency.acquire(true).is_ok(), "a call is served");
        drop(waiting.pop());
        let Ok(response) = stage.call(opened()).await;
        assert!(!response.body().is_end_stream(), "a permit is free again");
    }
}
