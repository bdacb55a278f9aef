//! The files of a listener's TLS, and the rustls configuration that is made of them.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    ServerConfig,
    crypto::CryptoProvider,
    pki_types::{CertificateRevocationListDer, PrivateKeyDer, pem::PemObject},
    server::{NoServerSessionStorage, WebPkiClientVerifier},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::refusal::NotingVerifier;
use crate::{
    domain::Text,
    outbound::{NoRoots, RevocationListError, Roots, revocation_lists, without_mark},
    process::files::{WritableByOthers, keep_writers_out, read_named},
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
    /// Revocation lists (RFC 5280) of the authorities in `client_ca` and of those below them, PEM files
    /// that may have several lists each. A revoked certificate is refused, and so is one whose issuer
    /// has no list here or only one whose `nextUpdate` has passed.
    #[serde(default)]
    #[schemars(with = "Vec<Text<PathBuf>>")]
    pub client_crl: Vec<PathBuf>,
}

/// The contents of the files.
#[derive(PartialEq, Eq)]
pub(super) struct TlsContents {
    certificate: Vec<u8>,
    private_key: zeroize::Zeroizing<Vec<u8>>,
    client_ca: Option<Vec<u8>>,
    client_crl: Vec<Vec<u8>>,
}

impl TlsContents {
    pub(super) fn read(files: &TlsFiles) -> Result<Self, ServerTlsError> {
        let read = |path: &PathBuf| {
            keep_writers_out(path)?;
            read_named(path).map_err(|source| ServerTlsError::Read { path: path.clone(), source })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            private_key: zeroize::Zeroizing::new(read(&files.private_key)?),
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
            client_crl: files.client_crl.iter().map(read).collect::<Result<_, _>>()?,
        })
    }

    /// Whether both accept the same certificates of callers.
    pub(super) fn accepts_as(&self, other: &Self) -> bool {
        self.client_ca == other.client_ca && self.client_crl == other.client_crl
    }

    /// Warns of authorities that cannot be used. At a start, loading the configuration does.
    pub(super) fn warn_of_unusable_authorities(&self, files: &TlsFiles) {
        let Some((path, pem)) = files.client_ca.as_ref().zip(self.client_ca.as_ref()) else {
            return;
        };
        for left_out in Roots::parse(pem).map(|roots| roots.left_out).unwrap_or_default() {
            tracing::warn!(file = %path.display(), %left_out, "an authority is left out");
        }
    }

    pub(super) fn config(&self, files: &TlsFiles) -> Result<ServerConfig, ServerTlsError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let chain = every(&files.certificate, &self.certificate, CERTIFICATE)?;
        let key = PrivateKeyDer::from_pem_slice(without_mark(&self.private_key))
            .map_err(|source| ServerTlsError::Pem { path: files.private_key.clone(), source })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|source| ServerTlsError::pair(files, source))?;
        let builder = match (&files.client_ca, &self.client_ca) {
            (Some(path), Some(pem)) => {
                let revoked = self.revocation_lists(files)?;
                builder.with_client_cert_verifier(verifier(path, pem, revoked, provider)?)
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

    fn revocation_lists(
        &self,
        files: &TlsFiles,
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, ServerTlsError> {
        let mut all = Vec::new();
        for (path, pem) in files.client_crl.iter().zip(&self.client_crl) {
            let lists = revocation_lists(pem);
            all.extend(lists.map_err(|source| ServerTlsError::Crl { path: path.clone(), source })?);
        }
        Ok(all)
    }
}

fn verifier(
    path: &Path,
    pem: &[u8],
    revoked: Vec<CertificateRevocationListDer<'static>>,
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, ServerTlsError> {
    let roots = Roots::parse(pem)
        .map_err(|why| ServerTlsError::Authorities { path: path.to_owned(), why })?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots.store), provider)
        .with_crls(revoked)
        // As OpenSSL does: an old list says nothing about what was revoked since.
        .enforce_revocation_expiration()
        .build()
        .map(|inner| Arc::new(NotingVerifier { inner }) as Arc<_>)
        .map_err(|_| ServerTlsError::Empty { path: path.to_owned(), what: CERTIFICATE })
}

/// Everything of one kind in a PEM file, and at least one.
fn every<T: PemObject>(
    path: &Path,
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<T>, ServerTlsError> {
    let found: Vec<_> = T::pem_slice_iter(without_mark(pem))
        .collect::<Result<_, _>>()
        .map_err(|source| ServerTlsError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(ServerTlsError::Empty { path: path.to_owned(), what });
    }
    Ok(found)
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
    /// Others may write a file.
    #[error(transparent)]
    Writable(#[from] WritableByOthers),
    /// A file is not PEM, or has not what it should.
    #[error("{} does not hold what it should in PEM", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// A file has nothing of what it is for.
    #[error("{} holds no {what}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What it is for.
        what: &'static str,
    },
    /// No certificate in the file can be an authority.
    #[error("{} {why}", path.display())]
    Authorities {
        /// The file.
        path: PathBuf,
        /// What is wrong with those in it.
        why: NoRoots,
    },
    /// The file gives no revocation lists.
    #[error("cannot use {}", path.display())]
    Crl {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: RevocationListError,
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
    /// What to do.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Writable(_) => {
                "whoever may write it decides who is let in and what callers see: `chmod go-w` it"
            }
            Self::Read { .. } => {
                "[listeners.tls] names it; give the gateway's user the right to read it (`namei -l FILE` shows \
                 every folder's mode on the way). The listener would not be what callers were told it is, so it \
                 is not opened"
            }
            Self::Pem { .. } | Self::Empty { .. } => {
                "[listeners.tls] wants PEM: `-----BEGIN CERTIFICATE-----` in `certificate` and `client_ca`, \
                 `-----BEGIN PRIVATE KEY-----` without a passphrase in `private_key`"
            }
            Self::Crl { .. } => {
                "`client_crl` holds version 2 revocation lists of the authorities in `client_ca` or below them, in \
                 PEM, `-----BEGIN X509 CRL-----`: `openssl crl -noout -text -in FILE` shows one"
            }
            Self::Authorities { .. } => {
                "`client_ca` holds the authorities that sign callers' certificates, not the callers' own"
            }
            Self::Pair { .. } => {
                "the key has to be that of the first certificate in the file: `openssl x509 -noout -pubkey -in \
                 CERTIFICATE` and `openssl pkey -pubout -in KEY` print the same if it is"
            }
        }
    }

    fn pair(files: &TlsFiles, source: rustls::Error) -> Self {
        let (certificate, private_key) = (files.certificate.clone(), files.private_key.clone());
        Self::Pair { certificate, private_key, source }
    }
}

const CERTIFICATE: &str = "certificate";
