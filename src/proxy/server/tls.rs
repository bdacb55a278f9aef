//! TLS towards callers, with their certificates.
//!
//! With a `client_ca` every caller must have a certificate of one of its authorities, and is known by
//! the URI and DNS names in it. A handshake that fails is a refusal, never a caller without a name.
//! Files are read again while the gateway runs: a certificate that is renewed is used from the next
//! connection on, other authorities for callers end the connections that the old ones let in, and files
//! that cannot be used change nothing.

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

/// How one listener speaks TLS; shared by its workers.
pub struct ServerTls {
    files: TlsFiles,
    terms: ArcSwap<Terms>,
    /// What the files held when they were last used.
    read: parking_lot::Mutex<Contents>,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({})", self.files.certificate.display())
    }
}

/// What a connection is let in by.
struct Terms {
    config: Arc<ServerConfig>,
    /// Cancelled when callers' certificates are judged by other authorities.
    over: CancellationToken,
}

/// A connection whose handshake is done.
pub(super) struct Accepted<S> {
    pub(super) stream: TlsStream<S>,
    /// Cancelled when what let it in is no longer what the listener asks for.
    pub(super) over: CancellationToken,
    /// The URI and DNS names in the caller's certificate, exactly as they stand there.
    pub(super) names: Vec<Arc<str>>,
    pub(super) protocol: Protocol,
}

/// What was agreed on (RFC 7301).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protocol {
    Http2,
    Http1,
    /// Nothing: the first bytes tell.
    Unknown,
}

impl ServerTls {
    /// Reads the files.
    pub fn open(files: TlsFiles) -> Result<Self, ServerTlsError> {
        let contents = Contents::read(&files)?;
        let config = Arc::new(contents.config(&files)?);
        let terms = Terms { config, over: CancellationToken::new() };
        Ok(Self {
            files,
            terms: ArcSwap::from_pointee(terms),
            read: parking_lot::Mutex::new(contents),
        })
    }

    /// The files.
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// Reads the files again; whether something changed. What cannot be used changes nothing.
    pub fn reload(&self) -> Result<bool, ServerTlsError> {
        let contents = Contents::read(&self.files)?;
        let mut read = self.read.lock();
        if *read == contents {
            return Ok(false);
        }
        let config = Arc::new(contents.config(&self.files)?);
        let before = self.terms.load_full();
        if read.client_ca == contents.client_ca {
            self.terms.store(Arc::new(Terms { config, over: before.over.clone() }));
        } else {
            self.terms.store(Arc::new(Terms { config, over: CancellationToken::new() }));
            before.over.cancel();
        }
        *read = contents;
        Ok(true)
    }

    /// Reads the files again and again, until it is dropped.
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
                    // Once, not every few seconds: the old ones stay in use.
                    warned = true;
                    tracing::warn!(error = %Chain(&error), "the listener's certificates cannot be used; the old ones stay");
                }
                Err(_) => {}
            }
        }
    }

    /// Shakes hands.
    pub(super) async fn accept<S>(&self, stream: S) -> Result<Accepted<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let terms = self.terms.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&terms.config));
        let stream = acceptor.accept(stream).await.map_err(HandshakeError::from_io)?;
        let connection = stream.get_ref().1;
        let protocol = match connection.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            Some(_) => Protocol::Http1,
            None => Protocol::Unknown,
        };
        let names = names(connection).ok_or(HandshakeError::Certificate(None))?;
        Ok(Accepted { stream, over: terms.over.clone(), names, protocol })
    }
}

/// The names in a verified certificate. A common name is none (RFC 9525 §2), nor is an address.
fn names(connection: &ServerConnection) -> Option<Vec<Arc<str>>> {
    let Some(certificate) = connection.peer_certificates().and_then(<[_]>::first) else {
        return Some(Vec::new());
    };
    let certificate = webpki::EndEntityCert::try_from(certificate).ok()?;
    let uris = certificate.valid_uri_names();
    Some(uris.chain(certificate.valid_dns_names()).map(Arc::from).collect())
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeError {
    /// The caller's certificate is missing or not valid.
    #[error("the caller's certificate was refused")]
    Certificate(#[source] Option<rustls::Error>),
    /// The handshake failed otherwise.
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

    /// What it is on the audit trail; a handshake that is no TLS at all is not.
    pub(super) fn kind(&self) -> Option<Kind> {
        match self {
            Self::Certificate(_) => Some(Kind::CertificateRefused),
            Self::Other(_) => None,
        }
    }
}

#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    private_key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
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
            // A resumed session would skip the look at the certificate.
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

/// Why a listener cannot speak TLS. Never shows what a file holds.
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
    /// A file is no PEM, or holds no such thing.
    #[error("{} does not hold what it should in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file holds no certificate.
    #[error("{} holds no certificate", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the file cannot be an authority.
    #[error("{} holds a certificate that cannot be an authority", path.display())]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// Certificate and key do not belong together, or cannot be used.
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

/// How often files are read again: a renewed certificate has days, a withdrawn authority seconds.
const REREAD: Duration = Duration::from_secs(5);
