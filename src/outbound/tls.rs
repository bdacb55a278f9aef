//! TLS client settings for every outgoing connection: TLS 1.3 and 1.2, with the server's certificate
//! and name verified.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, client::Resumption, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls_platform_verifier::BuilderVerifierExt as _;
use zeroize::Zeroizing;

use super::{
    revocation::RevocationVerifier,
    roots::{Roots, RootsError, without_mark},
};
use crate::{error::BoxError, process::files::read_named};

/// A client certificate and its private key, both PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// The private key.
    pub private_key: PathBuf,
}

/// Which certificates of a server are accepted.
#[derive(Clone, Debug)]
pub enum Trust<'a> {
    /// Those from the roots in this PEM file and no others, or from the platform's roots without one.
    Roots(Option<&'a Path>),
    /// Those that are not revoked either.
    Unrevoked(Arc<RevocationVerifier>),
}

/// Settings that present `certificate` to a server that asks for one.
pub fn client_tls(
    trust: Trust<'_>,
    certificate: Option<&ClientCertificate>,
) -> Result<ClientConfig, TlsError> {
    // The one crypto provider, with its post-quantum key exchange.
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(TlsError::Setup)?;
    let is_unrevoked = matches!(trust, Trust::Unrevoked(_));
    let builder = match trust {
        Trust::Roots(Some(path)) => builder.with_root_certificates(Roots::read(path)?.store),
        Trust::Roots(None) => builder.with_platform_verifier().map_err(TlsError::Setup)?,
        Trust::Unrevoked(verifier) => {
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(ClientCertificate { certificate, private_key }) => {
            let chain = certificates(certificate)?;
            let pem = read_named(private_key).map_err(|source| unusable(private_key, source))?;
            let key = PrivateKeyDer::from_pem_slice(without_mark(&Zeroizing::new(pem)))
                .map_err(|source| unusable(private_key, source))?;
            builder
                .with_client_auth_cert(chain, key)
                .map_err(|source| unusable(certificate, source))?
        }
    };
    if is_unrevoked {
        // A resumed session would skip the check of the certificate.
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// Why a handshake's certificate was refused, if that is why it failed.
pub fn certificate_refusal(error: &io::Error) -> Option<&rustls::Error> {
    let refusal = error.get_ref()?.downcast_ref()?;
    match refusal {
        rustls::Error::InvalidCertificate(_)
        | rustls::Error::InvalidCertRevocationList(_)
        | rustls::Error::NoCertificatesPresented => Some(refusal),
        _ => None,
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source: BoxError| TlsError::Read { path: path.to_owned(), source };
    let pem = read_named(path).map_err(|error| failed(error.into()))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(without_mark(&pem))
        .collect::<Result<_, _>>()
        .map_err(|error| failed(error.into()))?;
    if certificates.is_empty() {
        return Err(unusable(path, "holds no certificate"));
    }
    Ok(certificates)
}

fn unusable(path: &Path, source: impl Into<BoxError>) -> TlsError {
    TlsError::Unusable { path: path.to_owned(), source: source.into() }
}

/// Why there are no TLS settings.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read, or is not PEM.
    #[error("cannot read certificates from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: BoxError,
    },
    /// There are no roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// The certificate or key in the file cannot be used.
    #[error("cannot use {}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: BoxError,
    },
    /// rustls refuses the settings, or the platform has no roots.
    #[error("TLS cannot be set up")]
    Setup(#[source] rustls::Error),
}
