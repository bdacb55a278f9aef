//! Accepts only requests that are unambiguous and addressed to this listener.
//!
//! The server accepts more than the later stages may see: two `Host` fields, absolute targets, a raw
//! `..%2f`, `TRACE`. After this stage a request is well formed, names a host of this listener, is not
//! from a browser, and has a canonical target and only fields that a caller may send. Nothing is
//! repaired: an ambiguous request is refused.

mod body;

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use futures_util::future::{Either, Ready, ready};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, Uri, Version, header,
};
use http_body::Body as _;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    body::Body,
    domain::{ByteSize, CanonicalTarget, ProfileName, TargetError},
    error::{Error, Kind},
    proxy::{
        call::{Identified, Received, Unreadable},
        http_policy::{HostRules, PROXIED_METHODS, check_head, join_cookies, strip_request},
    },
};

/// The size limits of a request.
#[derive(Clone, Debug)]
pub struct RequestLimits {
    /// Bytes of the body.
    pub request_body: u64,
    /// Bytes of all header fields: names, values and separators.
    pub header_bytes: usize,
    /// Number of header fields.
    pub header_count: usize,
    /// Bytes of the request target.
    pub target_bytes: usize,
}

/// The requests that one listener accepts.
#[derive(Debug)]
pub struct ListenerRules {
    /// Its host names.
    pub hosts: HostRules,
    /// The size limits of a request.
    pub limits: RequestLimits,
    /// Whether a request may name its profile.
    pub may_name_profile: bool,
}

/// Refuses requests that are malformed, ambiguous or not addressed to this listener.
pub fn receive<S>(
    rules: impl Into<Arc<ListenerRules>>,
) -> impl Layer<S, Service = Receive<S>> + Clone {
    let rules = rules.into();
    layer_fn(move |inner| Receive { inner, rules: Arc::clone(&rules) })
}

/// See [`receive`].
#[derive(Clone, Debug)]
pub struct Receive<S> {
    inner: S,
    rules: Arc<ListenerRules>,
}

impl<S> Service<Identified> for Receive<S>
where
    S: Service<Received, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = Either<S::Future, Ready<Result<Response<Body>, Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, identified: Identified) -> Self::Future {
        match self.rules.check(identified) {
            Ok(Some(received)) => Either::Left(self.inner.call(received)),
            Ok(None) => Either::Right(ready(Ok(server_options()))),
            Err(error) => Either::Right(ready(Err(error))),
        }
    }
}

impl ListenerRules {
    /// The received request, or `None` for `OPTIONS *`, which asks about the server itself (RFC 9110
    /// §9.3.7).
    pub(in crate::proxy) fn check(
        &self,
        identified: Identified,
    ) -> Result<Option<Received>, Error> {
        let Identified { request, connection, context, caller } = identified;
        let request = request.map_err(Unreadable::into_error)?;
        let (parts, body) = request.into_parts();
        self.check_size(&parts.uri, &parts.headers)?;
        let of_host = check_head(&self.hosts, &parts, body.is_end_stream())?;
        let asked = match of_host {
            _ if !self.may_name_profile => None,
            Some(profile) => Some(profile),
            None => profile_field(&parts.headers)?,
        };
        let (uri, mut headers) = (parts.uri, parts.headers);
        if parts.method == Method::OPTIONS && uri.path() == "*" {
            return Ok(None);
        }
        if parts.version == Version::HTTP_2 {
            join_cookies(&mut headers);
        }
        let target = canonical(uri)?;
        // An offer like `Upgrade` is ignored (RFC 9110 §7.8): the request is served without it.
        strip_request(&mut headers);
        let body = body::limited(body, self.limits.request_body, &context)?;
        let method = parts.method;
        Ok(Some(Received { method, target, headers, body, connection, context, caller, asked }))
    }

    fn check_size(&self, uri: &Uri, headers: &HeaderMap) -> Result<(), Error> {
        let target = uri.path_and_query().map_or(0, |target| target.as_str().len());
        if target > self.limits.target_bytes {
            return Err(Error::new(
                Kind::TargetTooLong,
                format!("a target may have at most {:#}", byte_size(self.limits.target_bytes)),
            ));
        }
        // With the separators of each line: `: ` and the line's end.
        let lengths =
            headers.iter().flat_map(|(name, value)| [name.as_str().len(), value.len(), 4]);
        let bytes = lengths.fold(0, usize::saturating_add);
        if bytes > self.limits.header_bytes || headers.len() > self.limits.header_count {
            return Err(Error::new(
                Kind::HeadersTooLarge,
                format!(
                    "a header may have at most {:#} (`limits.header_bytes`) in {} fields \
                     (`limits.header_count`)",
                    byte_size(self.limits.header_bytes),
                    self.limits.header_count
                ),
            ));
        }
        Ok(())
    }
}

/// The profile that the field of a request names.
fn profile_field(headers: &HeaderMap) -> Result<Option<ProfileName>, Error> {
    let mut fields = headers.get_all(PROFILE).iter();
    let Some(field) = fields.next() else { return Ok(None) };
    match ProfileName::of_member(field.as_bytes()) {
        Some(profile) if fields.next().is_none() => Ok(Some(profile)),
        Some(_) => Err(misnamed("the request names its profile twice")),
        None => Err(misnamed(
            "`Pigello-Gateway-Profile` has up to 63 letters in lower case, digits and `-`, and does not begin \
             with `-`",
        )),
    }
}

fn misnamed(detail: &'static str) -> Error {
    Error::new(Kind::ProfileNotNamed, detail)
}

/// Names the profile of a call. It never goes up.
const PROFILE: HeaderName = HeaderName::from_static("pigello-gateway-profile");

fn byte_size(bytes: usize) -> ByteSize {
    ByteSize(u64::try_from(bytes).unwrap_or(u64::MAX))
}

fn canonical(uri: Uri) -> Result<CanonicalTarget, TargetError> {
    match uri.into_parts().path_and_query {
        // `http` would put a slash in front of a query alone.
        Some(target) if target.as_str().starts_with('/') => CanonicalTarget::parse(target),
        Some(_) | None => Err(TargetError::NotAbsolute),
    }
}

/// The response to `OPTIONS *`.
fn server_options() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(PROXIED_METHODS));
    response
}
