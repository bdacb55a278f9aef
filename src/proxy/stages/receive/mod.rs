//! SharedService the audit guard: makes sure that a request is one, has one reading, and is meant for us.
//!
//! hyper hands through what HTTP allows a server to take and much that it does not (two `Host`
//! fields, absolute targets, raw `..%2f`, `TRACE`). Everything behind this stage relies on a request
//! that is well formed, names a host of this listener, is no browser's, has a canonical target and
//! carries end-to-end fields only. Nothing is repaired: what is ambiguous is refused.

mod body;
mod fields;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::{HeaderValue, Method, Response, StatusCode, Uri, Version, header};
use http_body::Body as _;
use tower::{Layer, Service};

use crate::{
    body::Body,
    domain::{CanonicalTarget, TargetError},
    error::{Error, Kind},
    proxy::{
        call::{ConcurrencyLimits, Opened, Received},
        http_policy::{HostRules, PROXIED_METHODS, hop_by_hop, refuse_browsers, refuse_methods},
    },
};

/// The limits of a request's head and body.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Bytes of a request body.
    pub request_body: u64,
    /// Bytes of all header fields: names, values and their separators.
    pub header_bytes: usize,
    /// Number of header fields.
    pub header_count: usize,
    /// Bytes of the request target.
    pub target_bytes: usize,
}

/// What a listener takes.
#[derive(Debug)]
pub struct Rules {
    /// The names it answers to.
    pub hosts: HostRules,
    /// The limits of one request.
    pub limits: Limits,
    /// The limits of calls in flight.
    pub concurrency: ConcurrencyLimits,
}

/// Refuses what is malformed, ambiguous or not meant for this listener.
pub fn receive(rules: Rules) -> ReceiveLayer {
    ReceiveLayer { rules: Arc::new(rules) }
}

/// See [`receive`].
#[derive(Clone, Debug)]
pub struct ReceiveLayer {
    rules: Arc<Rules>,
}

impl<S> Layer<S> for ReceiveLayer {
    type Service = Receive<S>;

    fn layer(&self, inner: S) -> Receive<S> {
        Receive { inner, rules: Arc::clone(&self.rules) }
    }
}

/// See [`receive`].
#[derive(Clone, Debug)]
pub struct Receive<S> {
    inner: S,
    rules: Arc<Rules>,
}

impl<S> Service<Opened> for Receive<S>
where
    S: Service<Received, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, opened: Opened) -> Self::Future {
        match self.rules.check(opened) {
            Ok(Some(received)) => Either::Left(self.inner.call(received)),
            Ok(None) => Either::Right(ready(Ok(server_options()))),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

impl Rules {
    /// A request that is in order, or `None` for `OPTIONS *`, which is about this server and no
    /// resource (RFC 9110 §9.3.7).
    fn check(&self, opened: Opened) -> Result<Option<Received>, Error> {
        let Opened { request, connection, context } = opened;
        if let Some(error) = connection.parse_error() {
            return Err(error.into_error());
        }
        context.hold(self.concurrency.acquire(request.body().is_end_stream())?);
        let (parts, body) = request.into_parts();
        let (uri, mut headers) = (parts.uri, parts.headers);
        refuse_methods(&parts.method)?;
        self.check_size(&uri, &headers)?;
        if headers.contains_key(header::UPGRADE) && parts.version < Version::HTTP_2 {
            return Err(Error::new(Kind::NotImplemented, "send the request without `Upgrade`"));
        }
        self.hosts.check(&uri, &headers)?;
        fields::check(parts.version, &uri, &headers, body.is_end_stream())?;
        refuse_browsers(&headers)?;
        hop_by_hop::refuse_expectations(&headers)?;
        if parts.method == Method::OPTIONS && uri.path() == "*" {
            return Ok(None);
        }
        if parts.version == Version::HTTP_2 {
            fields::join_cookies(&mut headers);
        }
        let target = canonical(uri)
            .map_err(|error| Error::new(Kind::TargetNotCanonical, error.to_string()))?;
        hop_by_hop::strip(&mut headers);
        hop_by_hop::strip_request_only(&mut headers);
        let body = body::limited(body, self.limits.request_body, &context)?;
        let method = parts.method;
        Ok(Some(Received { method, target, headers, body, connection, context }))
    }

    fn check_size(&self, uri: &Uri, headers: &http::HeaderMap) -> Result<(), Error> {
        let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.limits.target_bytes {
            return Err(Error::new(
                Kind::TargetTooLong,
                format!("the target may have {} bytes", self.limits.target_bytes),
            ));
        }
        let bytes: usize =
            headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
        if bytes > self.limits.header_bytes || headers.len() > self.limits.header_count {
            return Err(Error::new(
                Kind::HeadersTooLarge,
                format!(
                    "the header may have {} bytes in {} fields",
                    self.limits.header_bytes, self.limits.header_count
                ),
            ));
        }
        Ok(())
    }
}

fn canonical(uri: Uri) -> Result<CanonicalTarget, TargetError> {
    match uri.into_parts().path_and_query {
        // A query alone would be sent with a slash in front that nobody wrote.
        Some(target) if target.as_str().starts_with('/') => CanonicalTarget::parse(target),
        Some(_) | None => Err(TargetError::NotAbsolute),
    }
}

/// The methods that may go further, depending on the operation.
fn server_options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(PROXIED_METHODS));
    response
}
