//! Makes the gateway's errors of the client's errors.

use std::io;

use rustls::CertificateError;

use super::{AddressRefused, ConnectError, pool::CheckoutError};
use crate::error::{Error, Kind};

/// Why a request has no response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    /// No connection could be opened.
    #[error(transparent)]
    Open(#[from] CheckoutError),
    /// The exchange failed.
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    /// The answer is a 101.
    #[error("the upstream switches to another protocol")]
    Switched,
}

/// The gateway's error for a request without a response.
pub(super) fn classify(failure: RequestError, body_error: Option<Error>) -> Error {
    // A request body that fails ends the exchange. That is not Pigello's fault.
    if let Some(error) = body_error {
        return error.because(failure);
    }
    let (kind, detail) = match &failure {
        RequestError::Open(CheckoutError::Connect(error)) => from_connect(error),
        RequestError::Open(CheckoutError::Handshake(error)) | RequestError::Exchange(error) => {
            from_exchange(error)
        }
        RequestError::Switched => (
            Kind::UpstreamProtocol,
            "the upstream switches to another protocol, and nobody asked for that",
        ),
    };
    Error::new(kind, detail).because(failure)
}

fn from_connect(error: &ConnectError) -> (Kind, &'static str) {
    match error {
        ConnectError::Timeout => (
            Kind::UpstreamConnectTimeout,
            "no connection within the time limit (`timeouts.connect`)",
        ),
        ConnectError::Resolve(_) | ConnectError::NoAddress => {
            (Kind::UpstreamDns, "the upstream's name does not resolve")
        }
        ConnectError::Address(AddressRefused::Private) => (
            Kind::UpstreamAddressRefused,
            "the upstream's name leads to a private address; `allow_private` in its profile allows that",
        ),
        ConnectError::Address(_) => (
            Kind::UpstreamAddressRefused,
            "the upstream's name leads to an address that no API has",
        ),
        ConnectError::Name => {
            (Kind::UpstreamDns, "the upstream's host is not a name TLS can verify")
        }
        ConnectError::Io(error) => from_io(error),
        ConnectError::Certificate(error) => (Kind::UpstreamCertificate, certificate(error)),
        ConnectError::Handshake(_) => (Kind::UpstreamTls, "the TLS handshake failed"),
    }
}

fn from_io(error: &io::Error) -> (Kind, &'static str) {
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
            _ => "the upstream's certificate is not valid",
        },
        _ => "the upstream's certificate is not valid",
    }
}

fn from_exchange(error: &hyper::Error) -> (Kind, &'static str) {
    if error.is_timeout() {
        return (Kind::UpstreamTimeout, "the upstream took too long");
    }
    if error.is_parse() {
        return (Kind::UpstreamProtocol, "what the upstream sent is not an HTTP response");
    }
    (Kind::UpstreamClosed, "the upstream closed the connection before it answered")
}
