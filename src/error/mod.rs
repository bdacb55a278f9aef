//! What can go wrong with one call, and what the caller is told of it.
//!
//! Every stage fails with [`Error`]. Its [`Kind`] is a closed set: the kind decides the status
//! (contract of the wire), the `Proxy-Status` error type (RFC 9209 §2.3), the label in metrics and
//! in the audit trail, and whose fault it is. The source is for the log alone and never leaves the
//! process.

mod manual;

use std::{borrow::Cow, error::Error as StdError, fmt, time::Duration};

use http::StatusCode;

pub use manual::{Entry, errors_page};

/// Any error below a stage.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a call was not answered by Pigello.
#[derive(Debug)]
pub struct Error {
    kind: Kind,
    detail: Cow<'static, str>,
    retry_after: Option<Duration>,
    source: Option<BoxError>,
}

impl Error {
    /// An error with a sentence for the caller. The sentence never quotes what a caller or an
    /// upstream sent, and never a secret.
    pub fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { kind, detail: detail.into(), retry_after: None, source: None }
    }

    /// Adds the cause, for the log.
    #[must_use]
    pub fn because(mut self, source: impl Into<BoxError>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Tells the caller when to retry (`Retry-After`, RFC 9110 §10.2.3), in whole seconds and never too
    /// early.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        let rounded_up = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.retry_after = Some(Duration::from_secs(rounded_up));
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// The sentence for the caller.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When the caller should come back.
    pub fn retry_after_hint(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind.label(), self.detail)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn StdError + 'static))
    }
}

/// Whose doing a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The request was refused; nothing was wrong with the gateway or Pigello.
    Caller,
    /// The gateway could not do its work.
    Gateway,
    /// Pigello, or the way to it, failed.
    Upstream,
}

impl Fault {
    /// Every one, in the manual's order.
    pub const ALL: [Self; 3] = [Self::Caller, Self::Gateway, Self::Upstream];

    /// The heading of its errors.
    pub const fn heading(self) -> &'static str {
        match self {
            Self::Caller => "The request was refused",
            Self::Gateway => "The gateway could not do its work",
            Self::Upstream => "Pigello, or the way to it, failed",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $status:ident, $label:literal, $title:literal, $proxy:literal, $fault:ident;)*) => {
        /// The closed set of failures.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind, for documentation and metrics.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The kind with that label.
            pub fn by_label(label: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.label() == label)
            }

            /// The status the caller gets.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The name in metrics, in the audit trail's `error` and in a problem's `type`.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }

            /// The problem's `title` (RFC 9457 §3.1.3): the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// The error type of `Proxy-Status` (RFC 9209 §2.3).
            pub const fn proxy_error(self) -> &'static str {
                match self { $(Self::$kind => $proxy,)* }
            }

            /// Whose doing it is.
            pub const fn fault(self) -> Fault {
                match self { $(Self::$kind => Fault::$fault,)* }
            }
        }
    };
}

kinds! {
    /// The request breaks HTTP, or could be read in two ways.
    Malformed = BAD_REQUEST, "malformed_request", "The request is malformed or ambiguous", "http_request_error", Caller;
    /// The path has more than one reading.
    TargetNotCanonical = BAD_REQUEST, "target_not_canonical", "The request target has no single reading", "http_request_error", Caller;
    /// The `Host` is none of the listener's names.
    HostForbidden = FORBIDDEN, "host_forbidden", "This host name is not served here", "http_request_denied", Caller;
    /// A browser sent the request for a page of another site.
    CrossSite = FORBIDDEN, "cross_site", "Calls from browsers are not served", "http_request_denied", Caller;
    /// The caller proved nothing that the configuration names.
    Unidentified = FORBIDDEN, "caller_unidentified", "The caller is not known", "http_request_denied", Caller;
    /// The caller's certificate is missing or not valid.
    CertificateRefused = FORBIDDEN, "certificate_refused", "The caller's certificate is not accepted", "http_request_denied", Caller;
    /// The caller may not do this.
    NotAllowed = FORBIDDEN, "operation_not_allowed", "The caller may not use this operation", "http_request_denied", Caller;
    /// The request is no operation the gateway knows.
    OperationUnknown = FORBIDDEN, "operation_unknown", "The request matches no operation", "http_request_denied", Caller;
    /// The method is never proxied.
    MethodRefused = METHOD_NOT_ALLOWED, "method_refused", "The method is not proxied", "http_request_denied", Caller;
    /// A version of HTTP that the gateway does not speak.
    VersionUnsupported = HTTP_VERSION_NOT_SUPPORTED, "version_unsupported", "This version of HTTP is not spoken here", "http_request_error", Caller;
    /// A method, an upgrade or a transfer coding that the gateway does not know.
    NotImplemented = NOT_IMPLEMENTED, "not_implemented", "The gateway does not implement this", "http_request_denied", Caller;
    /// An `Expect` that is not `100-continue`.
    ExpectationFailed = EXPECTATION_FAILED, "expectation_failed", "The expectation cannot be met", "http_request_error", Caller;
    /// The body is over the limit.
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The request body is over the limit", "http_request_denied", Caller;
    /// The target is over the limit.
    TargetTooLong = URI_TOO_LONG, "target_too_long", "The request target is over the limit", "http_request_denied", Caller;
    /// The header fields are over the limit.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The request header is over the limit", "http_request_denied", Caller;
    /// The caller stopped sending its body.
    BodyTimeout = REQUEST_TIMEOUT, "body_timeout", "The request body did not arrive in time", "http_request_error", Caller;
    /// The caller's body broke off or was not well framed.
    BodyBroken = BAD_REQUEST, "body_broken", "The request body is broken", "http_request_error", Caller;
    /// The caller went away before it had its answer.
    CallerGone = BAD_REQUEST, "caller_gone", "The caller went away", "http_request_error", Caller;
    /// Over the caller's rate.
    RateLimited = TOO_MANY_REQUESTS, "rate_limited", "The caller sends too many requests", "http_request_denied", Caller;
    /// Over the gateway's own limit.
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "The gateway is at its limit", "http_request_denied", Gateway;
    /// There is no usable credential set.
    CredentialsUnavailable = SERVICE_UNAVAILABLE, "credentials_unavailable", "Pigello's credentials are not available", "proxy_internal_error", Gateway;
    /// The audit trail cannot be written.
    AuditUnavailable = SERVICE_UNAVAILABLE, "audit_unavailable", "The audit trail cannot be written", "proxy_internal_error", Gateway;
    /// A defect of the gateway.
    Internal = INTERNAL_SERVER_ERROR, "internal", "The gateway failed", "proxy_internal_error", Gateway;
    /// The name of the upstream does not resolve.
    UpstreamDns = BAD_GATEWAY, "upstream_dns", "Pigello's name does not resolve", "dns_error", Upstream;
    /// The upstream does not accept connections.
    UpstreamRefused = BAD_GATEWAY, "upstream_refused", "Pigello refused the connection", "connection_refused", Upstream;
    /// The upstream cannot be reached.
    UpstreamUnreachable = BAD_GATEWAY, "upstream_unreachable", "Pigello cannot be reached", "destination_ip_unroutable", Upstream;
    /// The upstream's name leads to an address that is not dialled.
    UpstreamAddressRefused = BAD_GATEWAY, "upstream_address_refused", "Pigello's name leads to an address that is not called", "destination_ip_prohibited", Upstream;
    /// The upstream's certificate is not valid for its name.
    UpstreamCertificate = BAD_GATEWAY, "upstream_certificate", "Pigello's certificate is not valid", "tls_certificate_error", Upstream;
    /// The TLS handshake failed otherwise.
    UpstreamTls = BAD_GATEWAY, "upstream_tls", "The TLS handshake with Pigello failed", "tls_protocol_error", Upstream;
    /// The upstream closed the connection before it answered.
    UpstreamClosed = BAD_GATEWAY, "upstream_closed", "Pigello closed the connection", "connection_terminated", Upstream;
    /// The upstream's answer broke off or was no HTTP.
    UpstreamIncomplete = BAD_GATEWAY, "upstream_incomplete", "Pigello's answer is incomplete", "http_response_incomplete", Upstream;
    /// The upstream's answer is no HTTP that can be passed on.
    UpstreamProtocol = BAD_GATEWAY, "upstream_protocol", "Pigello's answer is not HTTP", "http_protocol_error", Upstream;
    /// The upstream's answer holds the client secret.
    UpstreamEchoedSecret = BAD_GATEWAY, "upstream_echoed_secret", "Pigello's answer held the client secret", "http_protocol_error", Upstream;
    /// Connecting took too long.
    UpstreamConnectTimeout = GATEWAY_TIMEOUT, "upstream_connect_timeout", "Connecting to Pigello took too long", "connection_timeout", Upstream;
    /// The answer took too long.
    UpstreamTimeout = GATEWAY_TIMEOUT, "upstream_timeout", "Pigello took too long to answer", "http_response_timeout", Upstream;
    /// The answer did not begin in time.
    UpstreamFirstByteTimeout = GATEWAY_TIMEOUT, "upstream_first_byte_timeout", "Pigello did not begin to answer in time", "connection_read_timeout", Upstream;
    /// The answer began and then stopped.
    UpstreamStalled = GATEWAY_TIMEOUT, "upstream_stalled", "Pigello's answer stopped before its end", "connection_read_timeout", Upstream;
    /// The breaker is open: the upstream failed so often that it is left alone for a while.
    UpstreamSuspended = SERVICE_UNAVAILABLE, "upstream_suspended", "Calls to Pigello are suspended after failures", "destination_unavailable", Upstream;
    /// The upstream has said when it wants to be called again, and it is not yet time.
    UpstreamRateLimited = SERVICE_UNAVAILABLE, "upstream_rate_limited", "Pigello asks for a pause", "destination_unavailable", Upstream;
    /// `only-if-cached`, and nothing is stored (RFC 9111 §5.2.1.7).
    OnlyIfCached = GATEWAY_TIMEOUT, "not_cached", "Nothing usable is stored for this request", "http_request_denied", Caller;
}

/// Looks for one of our own errors among the causes of another: a body that fails under hyper comes
/// back wrapped in hyper's error.
pub fn find_kind(error: &(dyn StdError + 'static)) -> Option<Kind> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(ours) = error.downcast_ref::<Error>() {
            return Some(ours.kind());
        }
        next = error.source();
    }
    None
}

/// Prints an error and its causes on one line, for the log.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a (dyn StdError + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(cause) = source {
            write!(f, ": {cause}")?;
            source = cause.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_plain() {
        let mut labels: Vec<_> = Kind::ALL.iter().map(|kind| kind.label()).collect();
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Kind::ALL.len());
    }

    #[test]
    fn a_fault_and_a_status_agree() {
        for kind in Kind::ALL {
            let status = kind.status();
            match kind.fault() {
                Fault::Caller => assert!(
                    status.is_client_error()
                        || [Kind::NotImplemented, Kind::OnlyIfCached, Kind::VersionUnsupported]
                            .contains(kind),
                    "{kind:?}"
                ),
                Fault::Gateway | Fault::Upstream => assert!(status.is_server_error(), "{kind:?}"),
            }
        }
    }

    #[test]
    fn the_chain_is_printed_once() {
        let error = Error::new(Kind::UpstreamRefused, "no connection").because("port closed");
        assert_eq!(Chain(&error).to_string(), "upstream_refused: no connection: port closed");
        assert_eq!(error.to_string(), "upstream_refused: no connection");
    }
}
