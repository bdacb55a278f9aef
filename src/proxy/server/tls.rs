//! TLS of a listener, and the certificates of callers.
//!
//! With a `client_ca` each caller must have a certificate from one of its authorities, whose URI and DNS
//! names identify it. A failed handshake is a refusal, never a caller without a name. The files are
//! reread while the gateway runs: a renewed certificate counts from the next connection on, a changed
//! `client_ca` ends the connections that the old one accepted, and unusable files change nothing.

use std::{fmt, fs, io, path::PathBuf, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig, ServerConnection,
    crypto::CryptoProvider,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{
    domain::Text,
    error::{Chain, Kind},
};

/// TLS of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "ListenerTls")]
pub struct TlsFiles {
    /// The certificate chain shown to callers, a PEM file.
    #[schemars(with = "Text<PathBuf>")]
    pub certificate: PathBuf,
    /// Its private key, a PEM file.
    #[schemars(with = "Text<PathBuf>")]
    pub private_key: PathBuf,
    /// Authorities that callers' certificates must come from, a PEM file. With it, every caller
    /// must show a certificate.
    #[schemars(with = "Option<Text<PathBuf>>")]
    pub client_ca: Option<PathBuf>,
}

/// The TLS of one listener, shared by its workers.
pub struct ServerTls {
    files: TlsFiles,
    current: ArcSwap<TlsVersion>,
    /// The files that `current` was made of.
    contents: parking_lot::Mutex<TlsContents>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({})", self.files.certificate.display())
    }
}

/// The configuration from one version of the files.
struct TlsVersion {
    config: Arc<ServerConfig>,
    /// Cancelled when `client_ca` changes.
    revoked: CancellationToken,
}

/// A connection whose handshake is done.
pub(super) struct AcceptedTls<S> {
    pub(super) stream: TlsStream<S>,
    /// Cancelled when the listener would not accept its certificate any more.
    pub(super) revoked: CancellationToken,
    /// The URI and DNS names in the caller's certificate, unchanged.
    pub(super) names: Vec<Arc<str>>,
    pub(super) protocol: Protocol,
}

/// The protocol that ALPN chose (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http2,
    Http1,
    /// None. The first bytes tell it.
    Unknown,
}

impl ServerTls {
    /// Reads the files.
    pub fn open(files: TlsFiles) -> Result<Self, ServerTlsError> {
        let contents = TlsContents::read(&files)?;
        let config = Arc::new(contents.config(&files)?);
        let first = TlsVersion { config, revoked: CancellationToken::new() };
        Ok(Self {
            files,
            current: ArcSwap::from_pointee(first),
            contents: parking_lot::Mutex::new(contents),
        })
    }

    /// The files.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Rereads the files. Returns whether they changed. Unusable files change nothing.
    pub fn reload(&self) -> Result<bool, ServerTlsError> {
        let contents = TlsContents::read(&self.files)?;
        let mut known = self.contents.lock();
        if *known == contents {
            return Ok(false);
        }
        let config = Arc::new(contents.config(&self.files)?);
        let before = self.current.load_full();
        if known.client_ca == contents.client_ca {
            let revoked = before.revoked.clone();
            self.current.store(Arc::new(TlsVersion { config, revoked }));
        } else {
            let revoked = CancellationToken::new();
            self.current.store(Arc::new(TlsVersion { config, revoked }));
            before.revoked.cancel();
        }
        *known = contents;
        Ok(true)
    }

    /// Rereads the files at intervals, until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        let mut warned = false;
        loop {
            tokio::time::sleep(REREAD).await;
            let tls = Arc::clone(&self);
            let Ok(reloaded) = tokio::task::spawn_blocking(move || tls.reload()).await else {
                continue;
            };
            match reloaded {
                Ok(true) => {
                    warned = false;
                    let certificate = self.files.certificate.display();
                    tracing::info!(%certificate, "the listener's certificates are read again");
                }
                Ok(false) => warned = false,
                Err(error) if !warned => {
                    // Once, and not at each interval.
                    warned = true;
                    tracing::warn!(error = %Chain(&error), "the listener's certificates cannot be used; the old ones stay");
                }
                Err(_) => {}
            }
        }
    }

    /// Does the handshake.
    pub(super) async fn accept<S>(&self, stream: S) -> Result<AcceptedTls<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&current.config));
        let stream = acceptor.accept(stream).await.map_err(HandshakeError::from_io)?;
        let connection = stream.get_ref().1;
        let protocol = match connection.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            Some(_) => Protocol::Http1,
            None => Protocol::Unknown,
        };
        let names = names(connection).ok_or(HandshakeError::Certificate(None))?;
        Ok(AcceptedTls { stream, revoked: current.revoked.clone(), names, protocol })
    }
}

/// The names in a verified certificate. Common names (RFC 9525 §2) and addresses do not count.
fn names(connection: &ServerConnection) -> Option<Vec<Arc<str>>> {
    let Some(certificate) = connection.peer_certificates().and_then(<[_]>::first) else {
        return Some(Vec::new());
    };
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let uris = certificate.valid_uri_names();
    Some(uris.chain(certificate.valid_dns_names()).map(Arc::from).collect())
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The caller's certificate is missing or not valid.
    #[error("the caller's certificate was refused")]
    Certificate(#[source] Option<rustls::Error>),
    /// The handshake failed for another reason.
    #[error("the handshake failed")]
    Other(#[source] io::Error),
}

impl HandshakeError {
    fn from_io(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(
                tls @ (rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidCertRevocationList(_)),
            ) => Self::Certificate(Some(tls.clone())),
            _ => Self::Other(error),
        }
    }

    /// Its kind in the record. Only a refused certificate has a record.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Certificate(_) => Some(Kind::CertificateRefused),
            Self::Other(_) => None,
        }
    }
}

#[derive(PartialEq, Eq)]
struct TlsContents {
    certificate: Vec<u8>,
    private_key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl TlsContents {
    fn read(files: &TlsFiles) -> Result<Self, ServerTlsError> {
        let read = |path: &PathBuf| {
            fs::read(path).map_err(|source| ServerTlsError::Read { path: path.clone(), source })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            private_key: zeroize::Zeroizing::new(read(&files.private_key)?),
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, ServerTlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = certificates(&files.certificate, &self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.private_key)
            .map_err(|source| ServerTlsError::Pem { path: files.private_key.clone(), source })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| ServerTlsError::pair(files, source))?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                builder.with_client_cert_verifier(verifier(path, pem, provider)?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder
            .with_single_cert(chain, key)
            .map_err(|source| ServerTlsError::pair(files, source))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        if self.client_ca.is_some() {
            // A resumed session would skip the check of the certificate.
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
        }
        Ok(config)
    }
}

fn verifier(
    path: &std::path::Path,
    pem: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ServerTlsError> {
    let path = path.to_owned();
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&path, pem)? {
        roots
            .add(certificate)
            .map_err(|source| ServerTlsError::Root { path: path.clone(), source })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|_| ServerTlsError::Empty { path })
}

fn certificates(
    path: &std::path::Path,
    pem: &[u8],
) -> Result<Vec<CertificateDer<'static>>, ServerTlsError> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| ServerTlsError::Pem { path: path.to_owned(), source })?;
    if certificates.is_empty() {
        return Err(ServerTlsError::Empty { path: path.to_owned() });
    }
    Ok(certificates)
}

/// Why a listener has no TLS. It never shows the contents of a file.
#[derive(Debug, thiserror::Error)]
pub enum ServerTlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not PEM, or has not what it should.
    #[error("{} does not hold what it should in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file has no certificate.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate in the file cannot be an authority.
    #[error("{} holds a certificate that cannot be an authority", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Certificate and key do not match, or cannot be used.
    #[error("{} and {} cannot be used together", certificate.display(), private_key.display())]
    Pair {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's.
        private_key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

impl ServerTlsError {
    fn pair(files: &TlsFiles, source: rustls::Error) -> Self {
        let (certificate, private_key) = (files.certificate.clone(), files.private_key.clone());
        Self::Pair { certificate, private_key, source }
    }
}

/// The interval: a renewed certificate can wait for days, a removed authority only for seconds.
const REREAD: Duration = Duration::from_secs(5);
