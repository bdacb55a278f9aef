//! Blocks a response that echoes the client secret.
//!
//! An upstream that repeats a request (an error page, a debug view, a header echo) would give the
//! caller what the gateway keeps from it. So the stage searches for the secret in each form that such
//! a page can have ([`Lease::secret_search`]):
//!
//! - in names and values of fields and trailers;
//! - in the body across frames, as it is and decoded from gzip, deflate, brotli or zstd ([`inspection`]).
//!   What is not searched yet is held back ([`body`]).
//!
//! It refuses a response that contains the secret, one that it cannot decode, and a part of a response
//! (206), because two parts can have a half of the secret each. A small body is searched as a whole, so
//! that the refusal is a `502`; a larger one breaks off before the secret. The cache stands outside and
//! stores neither.
//!
//! The stage also removes fields under Pigello's own prefix.

mod body;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod inspection;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures_util::future::Either;
use http::{Response, StatusCode};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use self::{body::InspectedBody, inspection::echoed};
use crate::{
    body::{Body, CollectError, SMALL_BODY, collect_limited},
    credentials::Lease,
    error::{Error, Kind, find_kind},
    proxy::{
        call::{CallContext, Resolved},
        http_policy::{
            content_coding::{Coding, UnknownCoding},
            holds_secret, strip_reserved,
        },
    },
};

/// Refuses responses that contain the secret.
pub fn inspect<S>() -> impl Layer<S, Service = InspectResponse<S>> + Clone {
    layer_fn(|inner| InspectResponse { inner })
}

/// See [`inspect`].
#[derive(Clone, Debug)]
pub struct InspectResponse<S> {
    inner: S,
}

impl<S> Service<Resolved> for InspectResponse<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = InspectFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let lease = Arc::clone(&resolved.lease);
        let context = resolved.head.context.clone();
        let response = self.inner.call(resolved);
        let state = InspectState::Waiting { response, lease, context };
        InspectFuture { state }
    }
}

pin_project! {
    /// The future of [`InspectResponse`].
    pub struct InspectFuture<F> {
        #[pin]
        state: InspectState<F>,
    }
}

pin_project! {
    #[project = InspectProjection]
    enum InspectState<F> {
        /// For the head of the response.
        Waiting { #[pin] response: F, lease: Arc<Lease>, context: CallContext },
        /// For a small body. Only this state is boxed.
        Reading { inspected: Inspected },
    }
}

type Inspected = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

impl<F> Future for InspectFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let inspected = match state.as_mut().project() {
                InspectProjection::Waiting { response, lease, context } => {
                    let mut response = ready!(response.poll(cx))?;
                    inspect_head(&mut response, lease, context)?;
                    match inspect_body(response, lease)? {
                        Either::Left(response) => return Poll::Ready(Ok(response)),
                        Either::Right(inspected) => inspected,
                    }
                }
                InspectProjection::Reading { inspected } => return inspected.as_mut().poll(cx),
            };
            state.set(InspectState::Reading { inspected });
        }
    }
}

impl<F> fmt::Debug for InspectFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InspectFuture")
    }
}

/// Inspects the head of a response.
fn inspect_head(
    response: &mut Response<Body>,
    lease: &Lease,
    context: &CallContext,
) -> Result<(), Error> {
    if holds_secret(response.headers(), lease) {
        return Err(echoed());
    }
    // `Range` and `A-IM` do not go up, so nobody asked for it.
    if matches!(response.status(), StatusCode::PARTIAL_CONTENT | StatusCode::IM_USED) {
        let detail = "the upstream's answer is a part of one, and nobody asked for that";
        return Err(Error::new(Kind::UpstreamProtocol, detail));
    }
    let removed = strip_reserved(response.headers_mut());
    if removed > 0 {
        context.note(|facts| facts.masked_fields = removed);
        tracing::warn!(request_id = %context.id(), dropped = removed, "Pigello sent fields under its own prefix");
    }
    // The reason phrase is free text of the upstream.
    response.extensions_mut().remove::<hyper::ext::ReasonPhrase>();
    Ok(())
}

/// The inspected response, whose body may be inspected as it streams, or a future that reads a small body
/// first.
fn inspect_body(
    response: Response<Body>,
    lease: &Arc<Lease>,
) -> Result<Either<Response<Body>, Inspected>, Error> {
    let (parts, body) = response.into_parts();
    if body.is_end_stream() || parts.status == StatusCode::NOT_MODIFIED {
        return Ok(Either::Left(Response::from_parts(parts, body)));
    }
    let coding = Coding::of(&parts.headers).map_err(unknown_coding)?;
    if let Some(bytes) = body.in_memory().filter(|bytes| is_plain(coding, bytes)) {
        let is_echo = lease.secret_search().is_in(&bytes);
        let response = Response::from_parts(parts, body);
        return if is_echo { Err(echoed()) } else { Ok(Either::Left(response)) };
    }
    let lease = Arc::clone(lease);
    match body.size_hint().exact() {
        Some(length) if length <= SMALL_BODY as u64 => Ok(Either::Right(Box::pin(async move {
            let body = read_small(coding, body, lease).await?;
            Ok(Response::from_parts(parts, body))
        }))),
        _ => {
            let inspected = InspectedBody::new(body, coding, lease)?;
            Ok(Either::Left(Response::from_parts(parts, Body::wrap(inspected))))
        }
    }
}

/// Reads and searches a small body.
async fn read_small(coding: Option<Coding>, body: Body, lease: Arc<Lease>) -> Result<Body, Error> {
    // Most such bodies are one frame, which is searched without a copy.
    let bytes = collect_limited(body, SMALL_BODY).await.map_err(incomplete)?;
    if is_plain(coding, &bytes) {
        let is_echo = lease.secret_search().is_in(&bytes);
        return if is_echo { Err(echoed()) } else { Ok(Body::full(bytes)) };
    }
    let inspected = InspectedBody::new(Body::full(bytes.clone()), coding, lease)?;
    collect_limited(inspected, SMALL_BODY).await.map_err(incomplete)?;
    Ok(Body::full(bytes))
}

/// Whether a body stands for nothing but itself.
fn is_plain(coding: Option<Coding>, bytes: &[u8]) -> bool {
    coding.or_else(|| Coding::guess(bytes)).is_none()
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

fn unknown_coding(_: UnknownCoding) -> Error {
    let detail = "the upstream's answer has a content coding that cannot be looked into";
    Error::new(Kind::UpstreamProtocol, detail)
}

#[cfg(test)]
mod tests;
