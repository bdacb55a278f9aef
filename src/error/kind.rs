//! The kinds of failures: one table of status, label, title, `Proxy-Status` error and fault.

use http::StatusCode;

/// The party at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The caller: its request was refused.
    Caller,
    /// The gateway itself.
    Gateway,
    /// Pigello or the network to it.
    Upstream,
}

impl Fault {
    /// All faults, in the order of the manual.
    pub const ALL: [Self; 3] = [Self::Caller, Self::Gateway, Self::Upstream];

    /// The heading of the errors in the manual.
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
        /// The kind of a failure. The set is closed.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// All kinds, for the manual and the metrics.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// The kind of a label.
            pub fn by_label(label: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|kind| kind.label() == label)
            }

            /// The status of the response to the caller.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// The name in metrics, in the audit log's `error` and in a problem's `type`.
            pub const fn label(self) -> &'static str {
                match self { $(Self::$kind => $label,)* }
            }

            /// The problem's `title` (RFC 9457 §3.1.3), the same for every occurrence.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$kind => $title,)* }
            }

            /// The error type of `Proxy-Status` (RFC 9209 §2.3).
            pub const fn proxy_error(self) -> &'static str {
                match self { $(Self::$kind => $proxy,)* }
            }

            /// The party at fault.
            pub const fn fault(self) -> Fault {
                match self { $(Self::$kind => Fault::$fault,)* }
            }
        }
    };
}

kinds! {
    /// The request violates HTTP, or has two readings.
    Malformed = BAD_REQUEST, "malformed_request", "The request is malformed or ambiguous", "http_request_error", Caller;
    /// The path has two readings.
    TargetNotCanonical = BAD_REQUEST, "target_not_canonical", "The request target has no single reading", "http_request_error", Caller;
    /// The `Host` is not one of the listener's names.
    HostForbidden = FORBIDDEN, "host_forbidden", "This host name is not served here", "http_request_denied", Caller;
    /// A browser sent the request for a page of another site.
    CrossSite = FORBIDDEN, "cross_site", "Calls from browsers are not served", "http_request_denied", Caller;
    /// The configuration names nothing that the connection proves.
    Unidentified = FORBIDDEN, "caller_unidentified", "The caller is not known", "http_request_denied", Caller;
    /// The caller's certificate is missing or not valid.
    CertificateRefused = FORBIDDEN, "certificate_refused", "The caller's certificate is not accepted", "http_request_denied", Caller;
    /// The caller may not do this.
    NotAllowed = FORBIDDEN, "operation_not_allowed", "The caller may not use this operation", "http_request_denied", Caller;
    /// The request does not say which profile it is for.
    ProfileNotNamed = BAD_REQUEST, "profile_not_named", "The request does not say which profile it is for", "http_request_error", Caller;
    /// The caller may not use this profile.
    ProfileNotAllowed = FORBIDDEN, "profile_not_allowed", "The caller may not use this profile", "http_request_denied", Caller;
    /// There is no such profile.
    ProfileUnknown = FORBIDDEN, "profile_unknown", "There is no such profile", "http_request_denied", Caller;
    /// The request matches no operation.
    OperationUnknown = FORBIDDEN, "operation_unknown", "The request matches no operation", "http_request_denied", Caller;
    /// The method is never proxied.
    MethodRefused = METHOD_NOT_ALLOWED, "method_refused", "The method is not proxied", "http_request_denied", Caller;
    /// An HTTP version that the gateway does not support.
    VersionUnsupported = HTTP_VERSION_NOT_SUPPORTED, "version_unsupported", "This version of HTTP is not spoken here", "http_request_error", Caller;
    /// A method or a transfer coding that the gateway does not implement.
    NotImplemented = NOT_IMPLEMENTED, "not_implemented", "The gateway does not implement this", "http_request_denied", Caller;
    /// An `Expect` that is not `100-continue`.
    ExpectationFailed = EXPECTATION_FAILED, "expectation_failed", "The expectation cannot be met", "http_request_error", Caller;
    /// The body is over the limit.
    BodyTooLarge = PAYLOAD_TOO_LARGE, "body_too_large", "The request body is over the limit", "http_request_denied", Caller;
    /// The target is over the limit.
    TargetTooLong = URI_TOO_LONG, "target_too_long", "The request target is over the limit", "http_request_denied", Caller;
    /// The header fields are over the limit.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE, "headers_too_large", "The request header is over the limit", "http_request_denied", Caller;
    /// The head of a request did not come to its end.
    HeadTimeout = REQUEST_TIMEOUT, "head_timeout", "The request head did not arrive in time", "http_request_error", Caller;
    /// The caller stopped sending its body.
    BodyTimeout = REQUEST_TIMEOUT, "body_timeout", "The request body did not arrive in time", "http_request_error", Caller;
    /// The request body is incomplete or badly framed.
    BodyBroken = BAD_REQUEST, "body_broken", "The request body is broken", "http_request_error", Caller;
    /// The caller closed the connection before it had its answer.
    CallerGone = BAD_REQUEST, "caller_gone", "The caller went away", "http_request_error", Caller;
    /// Over the caller's rate.
    RateLimited = TOO_MANY_REQUESTS, "rate_limited", "The caller sends too many requests", "http_request_denied", Caller;
    /// Over the gateway's own limit.
    Overloaded = SERVICE_UNAVAILABLE, "overloaded", "The gateway is at its limit", "http_request_denied", Gateway;
    /// There is no usable credential set.
    CredentialsUnavailable = SERVICE_UNAVAILABLE, "credentials_unavailable", "Pigello's credentials are not available", "proxy_internal_error", Gateway;
    /// The audit log cannot be written.
    AuditUnavailable = SERVICE_UNAVAILABLE, "audit_unavailable", "The audit trail cannot be written", "proxy_internal_error", Gateway;
    /// The gateway stopped before the call was over.
    Stopping = SERVICE_UNAVAILABLE, "stopping", "The gateway stopped", "proxy_internal_error", Gateway;
    /// A bug in the gateway.
    Internal = INTERNAL_SERVER_ERROR, "internal", "The gateway failed", "proxy_internal_error", Gateway;
    /// The name of the upstream does not resolve.
    UpstreamDns = BAD_GATEWAY, "upstream_dns", "Pigello's name does not resolve", "dns_error", Upstream;
    /// The upstream does not accept connections.
    UpstreamRefused = BAD_GATEWAY, "upstream_refused", "Pigello refused the connection", "connection_refused", Upstream;
    /// The upstream cannot be reached.
    UpstreamUnreachable = BAD_GATEWAY, "upstream_unreachable", "Pigello cannot be reached", "destination_ip_unroutable", Upstream;
    /// The forward proxy opens no tunnel.
    UpstreamProxyRefused = BAD_GATEWAY, "upstream_proxy_refused", "The forward proxy opens no tunnel to Pigello", "destination_unavailable", Upstream;
    /// The upstream's name resolves to a forbidden address.
    UpstreamAddressRefused = BAD_GATEWAY, "upstream_address_refused", "Pigello's name leads to an address that is not called", "destination_ip_prohibited", Upstream;
    /// The upstream's certificate is not valid for its name.
    UpstreamCertificate = BAD_GATEWAY, "upstream_certificate", "Pigello's certificate is not valid", "tls_certificate_error", Upstream;
    /// The TLS handshake failed for another reason.
    UpstreamTls = BAD_GATEWAY, "upstream_tls", "The TLS handshake with Pigello failed", "tls_protocol_error", Upstream;
    /// The upstream closed the connection before it answered.
    UpstreamClosed = BAD_GATEWAY, "upstream_closed", "Pigello closed the connection", "connection_terminated", Upstream;
    /// The upstream refused the stream or went away before it processed the request.
    UpstreamUnprocessed = SERVICE_UNAVAILABLE, "upstream_unprocessed", "Pigello did not process the request", "connection_terminated", Upstream;
    /// The response ended early.
    UpstreamIncomplete = BAD_GATEWAY, "upstream_incomplete", "Pigello's answer is incomplete", "http_response_incomplete", Upstream;
    /// The response is not valid HTTP.
    UpstreamProtocol = BAD_GATEWAY, "upstream_protocol", "Pigello's answer is not HTTP", "http_protocol_error", Upstream;
    /// The response has the client secret.
    UpstreamEchoedSecret = BAD_GATEWAY, "upstream_echoed_secret", "Pigello's answer held the client secret", "http_protocol_error", Upstream;
    /// Connecting took too long.
    UpstreamConnectTimeout = GATEWAY_TIMEOUT, "upstream_connect_timeout", "Connecting to Pigello took too long", "connection_timeout", Upstream;
    /// The whole call took too long.
    UpstreamTimeout = GATEWAY_TIMEOUT, "upstream_timeout", "Pigello took too long to answer", "http_response_timeout", Upstream;
    /// The response did not begin in time.
    UpstreamFirstByteTimeout = GATEWAY_TIMEOUT, "upstream_first_byte_timeout", "Pigello did not begin to answer in time", "connection_read_timeout", Upstream;
    /// The response began and then stopped.
    UpstreamStalled = GATEWAY_TIMEOUT, "upstream_stalled", "Pigello's answer stopped before its end", "connection_read_timeout", Upstream;
    /// The circuit breaker is open after repeated failures.
    UpstreamSuspended = SERVICE_UNAVAILABLE, "upstream_suspended", "Calls to Pigello are suspended after failures", "destination_unavailable", Upstream;
    /// The time that the upstream set with `Retry-After` has not come.
    UpstreamRateLimited = SERVICE_UNAVAILABLE, "upstream_rate_limited", "Pigello asks for a pause", "destination_unavailable", Upstream;
    /// Over the rate that was learnt from the upstream's 429 responses.
    UpstreamQuota = SERVICE_UNAVAILABLE, "upstream_quota", "Pigello's rate limit is used up", "destination_unavailable", Upstream;
    /// `only-if-cached` without a usable stored response (RFC 9111 §5.2.1.7).
    OnlyIfCached = GATEWAY_TIMEOUT, "not_cached", "Nothing usable is stored for this request", "http_request_denied", Caller;
}

impl Kind {
    /// Whether the gateway decided against the caller or its request: the audit log's outcome `refused`. With
    /// any other error the call could not be served, or was interrupted: `failed`.
    pub const fn is_refusal(self) -> bool {
        match self {
            Self::Malformed
            | Self::TargetNotCanonical
            | Self::HostForbidden
            | Self::CrossSite
            | Self::Unidentified
            | Self::CertificateRefused
            | Self::NotAllowed
            | Self::ProfileNotNamed
            | Self::ProfileNotAllowed
            | Self::ProfileUnknown
            | Self::OperationUnknown
            | Self::MethodRefused
            | Self::VersionUnsupported
            | Self::NotImplemented
            | Self::ExpectationFailed
            | Self::BodyTooLarge
            | Self::TargetTooLong
            | Self::HeadersTooLarge
            | Self::BodyBroken
            | Self::RateLimited
            | Self::OnlyIfCached => true,
            Self::HeadTimeout
            | Self::BodyTimeout
            | Self::CallerGone
            | Self::Overloaded
            | Self::CredentialsUnavailable
            | Self::AuditUnavailable
            | Self::Stopping
            | Self::Internal
            | Self::UpstreamDns
            | Self::UpstreamRefused
            | Self::UpstreamUnreachable
            | Self::UpstreamProxyRefused
            | Self::UpstreamAddressRefused
            | Self::UpstreamCertificate
            | Self::UpstreamTls
            | Self::UpstreamClosed
            | Self::UpstreamUnprocessed
            | Self::UpstreamIncomplete
            | Self::UpstreamProtocol
            | Self::UpstreamEchoedSecret
            | Self::UpstreamConnectTimeout
            | Self::UpstreamTimeout
            | Self::UpstreamFirstByteTimeout
            | Self::UpstreamStalled
            | Self::UpstreamSuspended
            | Self::UpstreamRateLimited
            | Self::UpstreamQuota => false,
        }
    }

    /// Whether the upstream has certainly not processed the request.
    pub const fn is_before_sending(self) -> bool {
        matches!(
            self,
            Self::UpstreamDns
                | Self::UpstreamRefused
                | Self::UpstreamUnreachable
                | Self::UpstreamConnectTimeout
                | Self::UpstreamTls
                | Self::UpstreamUnprocessed
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_unique_and_in_snake_case() {
        let mut labels: Vec<_> = Kind::ALL.iter().map(|kind| kind.label()).collect();
        assert!(labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
        labels.sort_unstable();
        labels.dedup();
        assert_eq!(labels.len(), Kind::ALL.len());
    }

    #[test]
    fn the_status_fits_the_fault() {
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
}
