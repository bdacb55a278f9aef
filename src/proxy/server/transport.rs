//! The stream of a caller's connection, with or without TLS.

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::server::TlsStream;

use super::socket::CallerStream;

/// A stream between a caller and the gateway.
pub(super) trait Transport: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// Whether the stream has an end of its own, as TLS has, so that closing the socket is not enough.
    const HAS_END: bool;
}

impl Transport for CallerStream {
    const HAS_END: bool = false;
}

impl Transport for TlsStream<CallerStream> {
    const HAS_END: bool = true;
}
