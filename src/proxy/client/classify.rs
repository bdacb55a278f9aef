//! Makes the gateway's errors of the client's errors.

use std::io;

use http::StatusCode;
use rustix::io::Errno;
use rustls::CertificateError;

use super::{AddressRefused, ConnectError, connect::CheckoutError, http2::Http2Error};
use crate::{
    error::{Error, Kind},
    outbound::{ResolveError, TunnelError},
};

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// No connection could be opened.
    #[error(transparent)]
    Open(#[from] CheckoutError),
    /// The exchange failed.
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    /// The exchange failed over HTTP/2.
    #[error("{error}")]
    Http2 {
        /// What failed.
        #[source]
        error: hyper::Error,
        /// The upstream has certainly not processed the request.
        is_unprocessed: bool,
        /// Another call has failed with the same connection.
        is_repeated: bool,
    },
    /// The head of the answer is over the limits.
    #[error("the head of the answer is too large")]
    HeadTooLarge,
    /// The answer is a 101.
    #[error("the upstream switches to another protocol")]
    Switched,
    /// The answer has a transfer coding besides `chunked`, which hyper does not undo.
    #[error("the upstream uses a transfer coding that nobody asked for")]
    TransferCoding,
}

impl From<Http2Error> for RequestError {
    fn from(failure: Http2Error) -> Self {
        let Http2Error { error, is_unprocessed, is_repeated, .. } = failure;
        Self::Http2 { error, is_unprocessed, is_repeated }
    }
}

/// The gateway's error for a request without a response.
pub(super) fn classify(failure: RequestError, body_error: Option<Error>) -> Error {
    // A request body that fails ends the exchange. That is not Pigello's fault.
    if let Some(error) = body_error {
        return error.because(failure);
    }
    let (kind, detail) = match &failure {
        RequestError::Open(error) => from_checkout(error),
        RequestError::Http2 { is_unprocessed: true, .. } => (
            Kind::UpstreamUnprocessed,
            "the upstream ended the connection or refused the stream before it looked at the request",
        ),
        // hyper gives up a connection whose PING is not answered.
        RequestError::Http2 { error, .. } if error.is_timeout() => {
            (Kind::UpstreamClosed, "the connection to the upstream was lost")
        }
        RequestError::Exchange(error) | RequestError::Http2 { error, .. } => from_exchange(error),
        RequestError::HeadTooLarge => (Kind::UpstreamProtocol, HEAD_TOO_LARGE),
        RequestError::Switched => (
            Kind::UpstreamProtocol,
            "the upstream switches to another protocol, and nobody asked for that",
        ),
        RequestError::TransferCoding => (
            Kind::UpstreamProtocol,
            "the upstream's answer has a transfer coding besides `chunked`, and nobody asked for that",
        ),
    };
    let is_repeated = matches!(
        failure,
        RequestError::Http2 { is_repeated: true, .. }
            | RequestError::Open(CheckoutError::Shared(_))
    );
    let is_final = matches!(&failure, RequestError::Open(error) if waited_for_a_name(error));
    let error = Error::new(kind, detail).because(failure);
    let error = if is_repeated { error.repeated() } else { error };
    if is_final { error.final_failure() } else { error }
}

/// The system's resolver has tried all its servers, and more than once.
fn waited_for_a_name(error: &CheckoutError) -> bool {
    match error {
        CheckoutError::Connect(error) => {
            matches!(error, ConnectError::Resolve(ResolveError::Silent))
        }
        CheckoutError::First(error) | CheckoutError::Shared(error) => waited_for_a_name(error),
        CheckoutError::Handshake(_) | CheckoutError::NoStream => false,
    }
}

fn from_checkout(error: &CheckoutError) -> (Kind, &'static str) {
    match error {
        CheckoutError::Connect(error) => from_connect(error),
        CheckoutError::Handshake(error) => from_exchange(error),
        CheckoutError::NoStream => {
            (Kind::UpstreamClosed, "the upstream accepts no request on a new HTTP/2 connection")
        }
        CheckoutError::First(error) | CheckoutError::Shared(error) => from_checkout(error),
    }
}

fn from_connect(error: &ConnectError) -> (Kind, &'static str) {
    match error {
        ConnectError::Timeout(_) => (
            Kind::UpstreamConnectTimeout,
            "no connection within the time limit (`timeouts.connect`)",
        ),
        ConnectError::Resolve(ResolveError::Silent) => (
            Kind::UpstreamDns,
            "the name service did not answer within the time limit (`timeouts.resolve`)",
        ),
        ConnectError::Resolve(ResolveError::Failed(error)) => {
            own_limit(error).unwrap_or((Kind::UpstreamDns, "the upstream's name does not resolve"))
        }
        ConnectError::NoAddress => (Kind::UpstreamDns, "the upstream's name does not resolve"),
        ConnectError::Address(AddressRefused::Private) => (
            Kind::UpstreamAddressRefused,
            "the upstream's name leads to a private address; `allow_private` in its profile allows that",
        ),
        ConnectError::Address(AddressRefused::Plain) => (
            Kind::UpstreamAddressRefused,
            "the upstream is `http`, and its name leads to another machine",
        ),
        ConnectError::Address(_) => (
            Kind::UpstreamAddressRefused,
            "the upstream's name leads to an address that no API has",
        ),
        ConnectError::Name => {
            (Kind::UpstreamDns, "the upstream's host is not a name TLS can verify")
        }
        ConnectError::Io(_, error) => from_io(error),
        ConnectError::Certificate(error) => (Kind::UpstreamCertificate, certificate(error)),
        ConnectError::Handshake(_) => (Kind::UpstreamTls, "the TLS handshake failed"),
        ConnectError::Tunnel(TunnelError::Refused(StatusCode::PROXY_AUTHENTICATION_REQUIRED)) => (
            Kind::UpstreamProxyRefused,
            "the forward proxy asks for credentials (`proxy_authorization_file` of the profile)",
        ),
        ConnectError::Tunnel(TunnelError::Refused(_)) => (
            Kind::UpstreamProxyRefused,
            "the forward proxy does not open a tunnel to the upstream; the log has its status",
        ),
        ConnectError::Tunnel(TunnelError::Certificate(_)) => (
            Kind::UpstreamUnreachable,
            "the forward proxy's certificate is not valid; the log says why",
        ),
        ConnectError::Tunnel(_) => {
            (Kind::UpstreamUnreachable, "the connection through the forward proxy failed")
        }
        ConnectError::NoHttp2 => (
            Kind::UpstreamTls,
            "the upstream does not offer HTTP/2, and `http` of its profile asks for it",
        ),
    }
}

fn from_io(error: &io::Error) -> (Kind, &'static str) {
    if let Some(own) = own_limit(error) {
        return own;
    }
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            (Kind::UpstreamRefused, "nothing accepts connections at the upstream's address")
        }
        io::ErrorKind::TimedOut => (Kind::UpstreamConnectTimeout, "the connection timed out"),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::ConnectionAborted => {
            (Kind::UpstreamRefused, "the upstream closed the connection before it was open")
        }
        _ => (Kind::UpstreamUnreachable, "the upstream's address cannot be reached"),
    }
}

/// The error of a limit of this machine, which says nothing of the upstream.
fn own_limit(error: &io::Error) -> Option<(Kind, &'static str)> {
    let detail = match Errno::from_io_error(error)? {
        Errno::MFILE | Errno::NFILE => {
            "the gateway has no more open files (`LimitNOFILE`, `ulimit -n`), and so no connection to Pigello"
        }
        Errno::NOMEM | Errno::NOBUFS => "the machine has no memory for a connection to Pigello",
        Errno::ADDRNOTAVAIL => {
            "the machine has no free port, or not the address of `local_address`"
        }
        Errno::AGAIN => "the machine allows no more threads, and the name service needs one",
        Errno::PERM | Errno::ACCESS => "a rule of this machine forbids the connection to Pigello",
        _ => return None,
    };
    Some((Kind::Overloaded, detail))
}

fn certificate(error: &rustls::Error) -> &'static str {
    match error {
        rustls::Error::InvalidCertificate(reason) => match reason {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the upstream's certificate has expired"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "the upstream's certificate is not valid yet"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "the upstream's certificate is for another name"
            }
            CertificateError::UnknownIssuer => {
                "the upstream's certificate is from an authority that is not trusted"
            }
            CertificateError::Revoked => "the upstream's certificate has been revoked",
            CertificateError::UnknownRevocationStatus => {
                "no list in `crl_file` of the profile says whether the upstream's certificate is revoked"
            }
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. } => {
                "the revocation list for the upstream's certificate is too old (`crl_file` of the profile)"
            }
            _ => "the upstream's certificate is not valid",
        },
        rustls::Error::InvalidCertRevocationList(_) => {
            "the revocation list for the upstream's certificate cannot be used"
        }
        _ => "the upstream's certificate is not valid",
    }
}

fn from_exchange(error: &hyper::Error) -> (Kind, &'static str) {
    if error.is_timeout() {
        return (Kind::UpstreamTimeout, "the upstream took too long");
    }
    if error.is_parse_too_large() {
        return (Kind::UpstreamProtocol, HEAD_TOO_LARGE);
    }
    if error.is_parse() {
        return (Kind::UpstreamProtocol, "what the upstream sent is not an HTTP response");
    }
    (Kind::UpstreamClosed, "the upstream closed the connection before it answered")
}

const HEAD_TOO_LARGE: &str =
    "the head of the upstream's answer is over 64 KiB, or has more than 100 fields";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_of_this_machine_is_not_the_upstreams_fault() {
        for errno in [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::NOBUFS,
            Errno::ADDRNOTAVAIL,
            Errno::PERM,
            Errno::ACCESS,
        ] {
            assert_eq!(from_io(&errno.into()).0, Kind::Overloaded, "{errno}");
        }
        let failed = ResolveError::Failed(std::sync::Arc::new(Errno::MFILE.into()));
        assert_eq!(from_connect(&failed.into()).0, Kind::Overloaded);
        assert_eq!(from_io(&Errno::CONNREFUSED.into()).0, Kind::UpstreamRefused);
    }
}
