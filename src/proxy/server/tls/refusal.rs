//! What is told of a certificate that the handshake refuses.
//!
//! rustls keeps no certificate that it did not accept. So the verifier notes the one that is presented, in a
//! place that belongs to the handshake, before it judges it.

use std::{cell::RefCell, io, sync::Arc};

use rustls::{
    DigitallySignedStruct, DistinguishedName, ServerConnection, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use x509_parser::parse_x509_certificate;

use super::HandshakeError;
use crate::audit::{Hash, PresentedCertificate, RefusedCertificate};

tokio::task_local! {
    /// The certificate that the caller presented in this handshake.
    static PRESENTED: RefCell<Option<CertificateDer<'static>>>;
}

/// Does a handshake, and returns the caller's certificate with its outcome if the handshake failed.
pub(super) async fn noting_certificates<T>(
    handshake: impl Future<Output = io::Result<T>>,
) -> (io::Result<T>, Option<CertificateDer<'static>>) {
    let noted = async {
        let outcome = handshake.await;
        (outcome, PRESENTED.with(RefCell::take))
    };
    PRESENTED.scope(RefCell::default(), noted).await
}

/// Notes each certificate, and has `inner` judge it.
#[derive(Debug)]
pub(super) struct NotingVerifier {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
}

impl ClientCertVerifier for NotingVerifier {
    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.inner.verify_client_cert(end_entity, intermediates, now);
        // Outside a handshake there is no place for it.
        let _noted =
            PRESENTED.try_with(|place| place.replace(Some(end_entity.clone().into_owned())));
        verified
    }

    fn offer_client_auth(&self) -> bool {
        self.inner.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.inner.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

impl HandshakeError {
    /// Why a handshake failed in which the caller presented that certificate.
    pub(super) fn of(error: io::Error, presented: Option<&[u8]>) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(
                tls @ (rustls::Error::InvalidCertificate(_)
                | rustls::Error::NoCertificatesPresented
                | rustls::Error::InvalidCertRevocationList(_)),
            ) => Self::refused(tls.to_string(), presented),
            _ => Self::Other(error),
        }
    }

    /// The certificate of a connection was accepted, and its names cannot be read.
    pub(super) fn unreadable(connection: &ServerConnection) -> Self {
        let presented = connection.peer_certificates().and_then(<[_]>::first);
        Self::refused("the certificate cannot be read".to_owned(), presented.map(AsRef::as_ref))
    }

    fn refused(reason: String, presented: Option<&[u8]>) -> Self {
        let presented = presented.map(describe);
        Self::Certificate(Box::new(RefusedCertificate { reason, presented }))
    }
}

/// What a certificate says. Of one that cannot be parsed only the fingerprint is told.
fn describe(certificate: &[u8]) -> PresentedCertificate {
    let sha256 = Hash::of(certificate).0;
    match parse_x509_certificate(certificate) {
        Ok((_, parsed)) => PresentedCertificate {
            subject: parsed.subject().to_string(),
            issuer: parsed.issuer().to_string(),
            serial: parsed.raw_serial_as_string(),
            sha256,
        },
        Err(_) => PresentedCertificate {
            subject: String::new(),
            issuer: String::new(),
            serial: String::new(),
            sha256,
        },
    }
}
