//! The authority: rustls accepts valid certificates and rejects the others.

use std::{error::Error as _, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, ServerConfig, pki_types::ServerName,
    server::WebPkiClientVerifier,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::{Authority, CertifiedKey, MockPigello, Options, body::BoxError};

use super::client::connect;

/// Why rustls rejects the certificate for `api.pigello.test`, if it does.
async fn rejection(
    certificate: impl FnOnce(&Authority) -> CertifiedKey,
) -> Option<CertificateError> {
    let authority = Arc::new(Authority::new("test").unwrap());
    let certificate = certificate(&authority);
    let options = Options::new().certificate(Arc::clone(&authority), certificate);
    let mock = MockPigello::start(options).await.unwrap();
    let outcome = connect(&mock, authority.roots(), "api.pigello.test", &[b"h2"]).await;
    mock.stop().await.unwrap();
    outcome.err().map(|error| certificate_error(&error))
}

fn certificate_error(error: &BoxError) -> CertificateError {
    let io = error.downcast_ref::<std::io::Error>().unwrap();
    let inner = io.get_ref().unwrap().downcast_ref::<rustls::Error>().unwrap();
    match inner {
        rustls::Error::InvalidCertificate(problem) => problem.clone(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_valid_certificate_is_accepted() {
    assert_eq!(rejection(|authority| authority.server(&["api.pigello.test"]).unwrap()).await, None);
}

#[tokio::test]
async fn a_wrong_name_is_rejected() {
    let problem = rejection(|authority| authority.server(&["other.test"]).unwrap()).await;
    assert!(matches!(problem, Some(CertificateError::NotValidForNameContext { .. })));
}

#[tokio::test]
async fn an_expired_certificate_is_rejected() {
    let expired = |authority: &Authority| authority.expired_server(&["api.pigello.test"]).unwrap();
    assert!(matches!(rejection(expired).await, Some(CertificateError::ExpiredContext { .. })));
}

#[tokio::test]
async fn another_authority_is_rejected() {
    let problem = rejection(|_| {
        let other = Authority::new("other").unwrap();
        other.server(&["api.pigello.test"]).unwrap()
    });
    assert!(matches!(problem.await, Some(CertificateError::UnknownIssuer)));
}

#[tokio::test]
async fn a_client_certificate_is_no_server_certificate() {
    let problem = rejection(|authority| authority.client(&["api.pigello.test"]).unwrap()).await;
    assert!(matches!(problem, Some(CertificateError::InvalidPurposeContext { .. })));
}

#[tokio::test]
async fn the_default_names_are_valid_and_alpn_negotiates() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    assert!(mock.ca_pem().unwrap().starts_with("-----BEGIN CERTIFICATE-----"));
    let authority = Arc::clone(mock.authority().unwrap());
    for name in Options::DEFAULT_NAMES {
        for (offered, chosen) in [
            (&[&b"h2"[..], b"http/1.1"][..], Some(&b"h2"[..])),
            (&[&b"http/1.1"[..]][..], Some(&b"http/1.1"[..])),
            (&[][..], None),
        ] {
            let stream = connect(&mock, authority.roots(), name, offered).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), chosen, "{name}");
        }
    }
    mock.stop().await.unwrap();
}

/// Whether a server that requires certificates of `authority` accepts this one.
async fn client_is_accepted(authority: &Authority, client: &CertifiedKey) -> bool {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let server = authority.server(&["localhost"]).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(
        Arc::new(authority.roots()),
        Arc::clone(&provider),
    );
    let server_config = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(server.chain(), server.private_key())
        .unwrap();
    let client_config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(authority.roots())
        .with_client_auth_cert(client.chain(), client.private_key())
        .unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let serve = async {
        let mut stream = TlsAcceptor::from(Arc::new(server_config)).accept(far).await?;
        stream.write_all(b"!").await?;
        stream.flush().await
    };
    let call = async {
        let name = ServerName::try_from("localhost").unwrap();
        let mut stream = TlsConnector::from(Arc::new(client_config)).connect(name, near).await?;
        stream.read_u8().await
    };
    let (served, called) = tokio::join!(serve, call);
    served.is_ok() && called.is_ok()
}

#[tokio::test]
async fn client_certificates_work_for_mutual_tls() {
    let authority = Authority::new("test").unwrap();
    let other = Authority::new("other").unwrap();
    let names = ["spiffe://corp.example/billing", "billing.example"];
    assert!(client_is_accepted(&authority, &authority.client(&names).unwrap()).await);
    assert!(!client_is_accepted(&authority, &authority.expired_client(&names).unwrap()).await);
    assert!(
        !client_is_accepted(&authority, &authority.server(&["billing.example"]).unwrap()).await
    );
    assert!(!client_is_accepted(&authority, &other.client(&names).unwrap()).await);
}

#[tokio::test]
async fn an_invalid_name_is_an_error() {
    let error = MockPigello::start(Options::new().names(["å.test"])).await.unwrap_err();
    assert!(error.source().is_some());
}

#[test]
fn keys_are_not_printed() {
    let authority = Authority::new("test").unwrap();
    let issued = authority.server(&["localhost"]).unwrap();
    assert!(issued.private_key_pem().contains("PRIVATE KEY"));
    assert!(issued.certificate_pem().contains("CERTIFICATE"));
    assert!(!format!("{issued:?} {authority:?}").contains("PRIVATE"));
}
