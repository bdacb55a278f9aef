//! Why the mock does not start, or how it ended.

use std::{io, net::SocketAddr};

use crate::authority::AuthorityError;

/// Why the mock cannot start, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum MockError {
    /// The address is in use or does not belong to this host.
    #[error("the mock cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The certificate cannot be issued.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// rustls rejects the certificate.
    #[error("the mock's certificate cannot be used")]
    Tls(#[source] rustls::Error),
    /// The mock has a defect.
    #[error("the mock panicked: {0}")]
    Panicked(String),
}
