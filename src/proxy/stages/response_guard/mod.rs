//! SharedService the credentials, before anything is stored or passed on: makes sure that the secret does
//! not come back.
//!
//! An upstream that repeats what it got (an error page, a debug view, a header echo) would hand the
//! caller what the gateway keeps from it. So the secret is looked for in every form that such a
//! page would give it ([`Lease::needles`]): in header fields and trailers, in the
//! body across the borders of its chunks, and inside gzip, deflate, brotli and zstd. An answer that
//! holds it is refused, and so is one that cannot be looked into. A small body is looked at whole,
//! so that its refusal is a `502`; a larger one breaks off where the secret begins. Neither is
//! stored, because the cache stands in front.
//!
//! Fields under Pigello's own prefix never come down at all.

mod body;
mod decode;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use self::body::{Guarded, echoed};
use crate::{
    body::{Body, CollectError, SMALL_BODY, collect_limited},
    credentials::Lease,
    error::{Error, Kind, find_kind},
    proxy::{
        call::{CallContext, Resolved},
        http_policy::strip_reserved,
    },
};

/// Refuses answers that hold the secret.
pub fn guard() -> GuardLayer {
    GuardLayer
}

/// See [`guard`].
#[derive(Clone, Copy, Debug)]
pub struct GuardLayer;

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { inner }
    }
}

/// See [`guard`].
#[derive(Clone, Debug)]
pub struct Guard<S> {
    inner: S,
}

impl<S> Service<Resolved> for Guard<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = GuardFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let lease = Arc::clone(&resolved.lease);
        let context = resolved.head.context.clone();
        let state = State::Answering { answer: self.inner.call(resolved), lease, context };
        GuardFuture { state }
    }
}

pin_project! {
    /// The future of [`Guard`].
    pub struct GuardFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        /// The upstream is at work.
        Answering { #[pin] answer: F, lease: Arc<Lease>, context: CallContext },
        /// The body is read. Only this needs memory of its own.
        Reading { inspected: Inspected },
    }
}

type Inspected = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

impl<F> Future for GuardFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let inspected = match state.as_mut().project() {
                StateProjection::Answering { answer, lease, context } => {
                    let mut response = ready!(answer.poll(cx))?;
                    inspect_head(&mut response, lease, context)?;
                    match inspect_body(response, lease)? {
                        Look::Done(response) => return Poll::Ready(Ok(response)),
                        Look::Reading(inspected) => inspected,
                    }
                }
                StateProjection::Reading { inspected } => return inspected.as_mut().poll(cx),
            };
            state.set(State::Reading { inspected });
        }
    }
}

impl<F> fmt::Debug for GuardFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GuardFuture")
    }
}

/// Looks at what can be told from the head of an answer.
fn inspect_head(
    response: &mut Response<Body>,
    lease: &Lease,
    context: &CallContext,
) -> Result<(), Error> {
    if is_in_fields(response.headers(), Some(lease)) {
        return Err(echoed());
    }
    let dropped = strip_reserved(response.headers_mut());
    if dropped > 0 {
        context.note(|facts| facts.masked_fields = dropped);
        tracing::warn!(request_id = %context.id(), dropped, "Pigello sent fields under its own prefix");
    }
    // The words behind the status are free text of the upstream.
    response.extensions_mut().remove::<hyper::ext::ReasonPhrase>();
    Ok(())
}

enum Look {
    /// The head may go, and the body is looked at on its way, if there is one.
    Done(Response<Body>),
    /// The body is read first.
    Reading(Inspected),
}

fn inspect_body(response: Response<Body>, lease: &Arc<Lease>) -> Result<Look, Error> {
    let (parts, body) = response.into_parts();
    if body.is_end_stream() || parts.status == StatusCode::NOT_MODIFIED {
        return Ok(Look::Done(Response::from_parts(parts, body)));
    }
    if let Some(bytes) = body.in_memory().filter(|_| is_plain(&parts.headers)) {
        let is_in_it = lease.needles().are_in(&bytes);
        let response = Response::from_parts(parts, body);
        return if is_in_it { Err(echoed()) } else { Ok(Look::Done(response)) };
    }
    let lease = Arc::clone(lease);
    match body.size_hint().exact() {
        Some(length) if length <= SMALL_BODY as u64 => Ok(Look::Reading(Box::pin(async move {
            let body = whole(&parts.headers, body, lease).await?;
            Ok(Response::from_parts(parts, body))
        }))),
        _ => {
            let guarded =
                Guarded::new(body, &parts.headers, lease).map_err(|_| unknown_coding())?;
            Ok(Look::Done(Response::from_parts(parts, Body::wrap(guarded))))
        }
    }
}

/// Reads a small body and looks at it before its head is passed on.
async fn whole(headers: &HeaderMap, body: Body, lease: Arc<Lease>) -> Result<Body, Error> {
    if is_plain(headers) {
        // Nearly always one piece, which is looked at where it lies.
        let bytes = collect_limited(body, SMALL_BODY).await.map_err(incomplete)?;
        return if lease.needles().are_in(&bytes) { Err(echoed()) } else { Ok(Body::full(bytes)) };
    }
    let guarded = Guarded::new(body, headers, lease).map_err(|_| unknown_coding())?;
    collect_limited(guarded, SMALL_BODY).await.map(Body::full).map_err(incomplete)
}

/// Whether a body can be looked into as it is.
fn is_plain(headers: &HeaderMap) -> bool {
    !headers.contains_key(http::header::CONTENT_ENCODING)
}

fn incomplete(error: CollectError) -> Error {
    let CollectError::Broken(error) = error else {
        return Error::new(Kind::UpstreamProtocol, "the upstream's answer is longer than it says");
    };
    match error.downcast::<Error>() {
        Ok(ours) => *ours,
        Err(error) => {
            let kind = find_kind(error.as_ref()).unwrap_or(Kind::UpstreamIncomplete);
            Error::new(kind, "the upstream's answer broke off").because(error)
        }
    }
}

fn unknown_coding() -> Error {
    let detail = "the upstream's answer has a content coding that cannot be looked into";
    Error::new(Kind::UpstreamProtocol, detail)
}

/// Whether a field's value holds the secret.
fn is_in_fields(fields: &HeaderMap, lease: Option<&Lease>) -> bool {
    lease.is_some_and(|lease| fields.values().any(|value| lease.needles().are_in(value.as_bytes())))
}

#[cfg(test)]
mod tests;
