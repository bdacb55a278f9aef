//! TLS towards a server that keeps or checks credentials: TLS 1.3 and 1.2, the server's name and
//! certificate verified.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls_platform_verifier::BuilderVerifierExt as _;

use super::ClientCertificate;
use crate::error::BoxError;

/// A client that trusts the roots in `ca_file`, or the platform's, and shows a certificate of its
/// own if it has one.
pub fn client_tls(
    ca_file: Option<&Path>,
    client: Option<&ClientCertificate>,
) -> Result<ClientConfig, TlsError> {
    let failed = |source: rustls::Error| TlsError::Setup(source.into());
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(failed)?;
    let builder = match ca_file {
        Some(path) => builder.with_root_certificates(roots(path)?),
        None => builder.with_platform_verifier().map_err(failed)?,
    };
    let Some(ClientCertificate { certificate, private_key }) = client else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(private_key)
        .map_err(|source| unusable(private_key, source))?;
    builder.with_client_auth_cert(chain, key).map_err(|source| unusable(certificate, source))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate).map_err(|source| unusable(path, source))?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<_, _>>)
        .map_err(|source| unusable(path, source))?;
    if certificates.is_empty() {
        return Err(unusable(path, "there is no certificate in it"));
    }
    Ok(certificates)
}

fn unusable(path: &Path, source: impl Into<BoxError>) -> TlsError {
    TlsError::File { path: path.to_owned(), source: source.into() }
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A certificate or key file cannot be used.
    #[error("cannot use {path}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: BoxError,
    },
    /// Something else.
    #[error("cannot set up TLS")]
    Setup(#[source] BoxError),
}
