//! Behind the credentials, before anything is stored or passed on: makes sure that the secret does
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
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use tower::{Layer, Service};

use self::body::{Guarded, echoed};
use super::{draft::Draft, request::Resolved};
use crate::{
    body::{Body, CollectError, collect_limited},
    credentials::Lease,
    error::{Error, Kind, find_kind},
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
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let lease = Arc::clone(&resolved.lease);
        let draft = resolved.head.draft.clone();
        let response = self.inner.call(resolved);
        Box::pin(async move { inspect(response.await?, lease, &draft).await })
    }
}

/// Looks at an answer.
async fn inspect(
    mut response: Response<Body>,
    lease: Arc<Lease>,
    draft: &Draft,
) -> Result<Response<Body>, Error> {
    if is_in_fields(response.headers(), Some(&lease)) {
        return Err(echoed());
    }
    let dropped = drop_own_names(response.headers_mut());
    if dropped > 0 {
        draft.note(|facts| facts.masked_fields = dropped);
        tracing::warn!(request_id = %draft.id(), dropped, "Pigello sent fields under its own prefix");
    }
    // The words behind the status are free text of the upstream.
    response.extensions_mut().remove::<hyper::ext::ReasonPhrase>();
    let (parts, body) = response.into_parts();
    if body.is_end_stream() || parts.status == StatusCode::NOT_MODIFIED {
        return Ok(Response::from_parts(parts, body));
    }
    let body = match body.size_hint().exact() {
        Some(length) if length <= SMALL_BODY as u64 => whole(&parts.headers, body, lease).await?,
        _ => {
            let guarded =
                Guarded::new(body, &parts.headers, lease).map_err(|_| unknown_coding())?;
            Body::wrap(guarded)
        }
    };
    Ok(Response::from_parts(parts, body))
}

/// Reads a small body and looks at it before its head is passed on.
async fn whole(headers: &HeaderMap, body: Body, lease: Arc<Lease>) -> Result<Body, Error> {
    let plain = !headers.contains_key(http::header::CONTENT_ENCODING);
    if plain {
        // Nearly always one piece, which is looked at where it lies.
        let bytes = collect_limited(body, SMALL_BODY).await.map_err(incomplete)?;
        return if lease.needles().are_in(&bytes) { Err(echoed()) } else { Ok(Body::full(bytes)) };
    }
    let guarded = Guarded::new(body, headers, lease).map_err(|_| unknown_coding())?;
    collect_limited(guarded, SMALL_BODY).await.map(Body::full).map_err(incomplete)
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

/// Removes fields under Pigello's own prefix; says how many.
fn drop_own_names(fields: &mut HeaderMap) -> u32 {
    let mut dropped = 0;
    while let Some(name) = fields.keys().find(|name| name.as_str().starts_with(PREFIX)).cloned() {
        fields.remove(name);
        dropped += 1;
    }
    dropped
}

const PREFIX: &str = "x-pigello-";
/// A body up to this size is looked at before its head is passed on.
const SMALL_BODY: usize = 64 * 1024;

#[cfg(test)]
mod tests;
