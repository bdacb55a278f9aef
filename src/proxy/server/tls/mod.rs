//! TLS of a listener, and the certificates of callers.
//!
//! With a `client_ca` each caller must have a certificate from one of its authorities, whose URI and DNS
//! names identify it. A failed handshake is a refusal, never a caller without a name. A connection ends with
//! the certificate that it was accepted with.
//!
//! The files are reread while the gateway runs: a renewed certificate counts from the next connection on, a
//! changed `client_ca` or `client_crl` ends the connections that the old one accepted, and unusable files
//! change nothing.

mod admission;
mod files;
mod refusal;

use std::{fmt, io, sync::Arc};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;

pub(super) use self::admission::Admission;
pub use self::files::{ServerTlsError, TlsFiles};
use self::{admission::CallerCertificate, files::TlsContents, refusal::noting_certificates};
use crate::{
    audit::RefusedCertificate,
    process::reread::{RereadLog, at_intervals},
    proxy::call::PeerCertificate,
};

/// The TLS of one listener, shared by its workers.
pub struct ServerTls {
    files: TlsFiles,
    current: ArcSwap<TlsVersion>,
    /// The files that `current` was made of.
    contents: parking_lot::Mutex<TlsContents>,
    log: RereadLog,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({})", self.files.certificate.display())
    }
}

/// The configuration from one version of the files.
struct TlsVersion {
    config: Arc<ServerConfig>,
    /// Cancelled when `client_ca` or `client_crl` changes.
    revoked: CancellationToken,
}

/// A connection whose handshake is done.
pub(super) struct AcceptedTls<S> {
    pub(super) stream: TlsStream<S>,
    /// Until when its certificate is accepted.
    pub(super) admission: Admission,
    /// The caller's certificate.
    pub(super) certificate: PeerCertificate,
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
            log: RereadLog::new("the listener's certificates", &files.certificate),
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
        contents.warn_of_unusable_authorities(&self.files);
        let before = self.current.load_full();
        if known.accepts_as(&contents) {
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
        at_intervals(move || self.log.note(&self.reload())).await;
    }

    /// Does the handshake.
    pub(super) async fn accept<S>(&self, stream: S) -> Result<AcceptedTls<S>, HandshakeError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let current = self.current.load_full();
        let acceptor = TlsAcceptor::from(Arc::clone(&current.config));
        let (accepted, presented) = noting_certificates(acceptor.accept(stream)).await;
        let stream = accepted.map_err(|error| HandshakeError::of(error, presented.as_deref()))?;
        let connection = stream.get_ref().1;
        let protocol = match connection.alpn_protocol() {
            Some(b"h2") => Protocol::Http2,
            Some(_) => Protocol::Http1,
            None => Protocol::Unknown,
        };
        let CallerCertificate { certificate, end } = CallerCertificate::of(connection)
            .ok_or_else(|| HandshakeError::unreadable(connection))?;
        let admission = Admission::new(current.revoked.clone(), end);
        Ok(AcceptedTls { stream, admission, certificate, protocol })
    }
}

/// Why a handshake failed.
#[derive(Debug)]
pub(super) enum HandshakeError {
    /// The caller's certificate is missing or not valid. Only this has a record.
    Certificate(Box<RefusedCertificate>),
    /// The handshake failed for another reason.
    Other(io::Error),
}
