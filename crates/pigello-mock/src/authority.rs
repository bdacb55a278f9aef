//! A certificate authority that lives as long as the process, for the mock, the demo and tests.
//!
//! It issues valid certificates and expired ones. Its key is in memory alone: once the process has
//! ended, nobody can issue another certificate that its clients would trust.

use std::{fmt, net::IpAddr, sync::Arc};

use jiff::{Span, Timestamp, civil::Date, tz::Offset};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::{
    RootCertStore, ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
};

/// A throw-away certificate authority.
pub struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// Makes an authority with a new key. `name` is the common name of its certificate.
    pub fn new(name: &str) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = distinguished_name(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Validity::Current.apply(&mut params);
        let issuer = CertifiedIssuer::self_signed(params, key).map_err(AuthorityError)?;
        let pem = issuer.pem();
        Ok(Self { issuer, pem })
    }

    /// The authority's certificate, which clients must trust, as PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A store that trusts this authority and no other.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        // rustls cannot refuse a certificate that rcgen just made.
        roots.add_parsable_certificates([self.issuer.der().clone()]);
        roots
    }

    /// A server's certificate for DNS names and IP addresses.
    pub fn server(&self, names: &[impl AsRef<str>]) -> Result<CertifiedKey, AuthorityError> {
        self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, Validity::Current)
    }

    /// An expired certificate of a server.
    pub fn expired_server(
        &self,
        names: &[impl AsRef<str>],
    ) -> Result<CertifiedKey, AuthorityError> {
        self.issue(names, ExtendedKeyUsagePurpose::ServerAuth, Validity::Expired)
    }

    /// A client's certificate. A name that contains `://` is a URI (`spiffe://corp/billing`), any
    /// other a DNS name.
    pub fn client(&self, names: &[impl AsRef<str>]) -> Result<CertifiedKey, AuthorityError> {
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth, Validity::Current)
    }

    /// An expired certificate of a client.
    pub fn expired_client(
        &self,
        names: &[impl AsRef<str>],
    ) -> Result<CertifiedKey, AuthorityError> {
        self.issue(names, ExtendedKeyUsagePurpose::ClientAuth, Validity::Expired)
    }

    fn issue(
        &self,
        names: &[impl AsRef<str>],
        purpose: ExtendedKeyUsagePurpose,
        validity: Validity,
    ) -> Result<CertifiedKey, AuthorityError> {
        let key = KeyPair::generate().map_err(AuthorityError)?;
        let mut params = CertificateParams::default();
        params.distinguished_name =
            distinguished_name(names.first().map_or("pigello-gateway mock", AsRef::as_ref));
        for name in names {
            params.subject_alt_names.push(alternative_name(name.as_ref())?);
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![purpose];
        params.use_authority_key_identifier_extension = true;
        validity.apply(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).map_err(AuthorityError)?;
        Ok(CertifiedKey {
            certificate_pem: certificate.pem(),
            certificate: certificate.into(),
            key_pem: key.serialize_pem(),
            key: key.serialize_der(),
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority(…)")
    }
}

fn distinguished_name(name: &str) -> DistinguishedName {
    let mut distinguished = DistinguishedName::new();
    distinguished.push(DnType::CommonName, name);
    distinguished
}

fn alternative_name(name: &str) -> Result<SanType, AuthorityError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    let text = name.try_into().map_err(AuthorityError)?;
    Ok(if name.contains("://") { SanType::URI(text) } else { SanType::DnsName(text) })
}

#[derive(Clone, Copy)]
enum Validity {
    /// For three months from yesterday, so that a clock that is slightly behind does not matter.
    Current,
    /// January 2020.
    Expired,
}

impl Validity {
    fn apply(self, params: &mut CertificateParams) {
        let today = Offset::UTC.to_datetime(Timestamp::now()).date();
        let (from, to) = match self {
            Self::Current => (
                today.saturating_sub(Span::new().days(1)),
                today.saturating_add(Span::new().days(90)),
            ),
            Self::Expired => (jiff::civil::date(2020, 1, 1), jiff::civil::date(2020, 1, 31)),
        };
        let midnight = |day: Date| {
            date_time_ymd(day.year().into(), day.month().unsigned_abs(), day.day().unsigned_abs())
        };
        params.not_before = midnight(from);
        params.not_after = midnight(to);
    }
}

/// A certificate and its private key.
pub struct CertifiedKey {
    certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: Vec<u8>,
    key_pem: String,
}

impl CertifiedKey {
    /// The certificate as PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key as PEM.
    pub fn private_key_pem(&self) -> &str {
        &self.key_pem
    }

    /// The certificate chain for a rustls configuration.
    pub fn chain(&self) -> Vec<CertificateDer<'static>> {
        vec![self.certificate.clone()]
    }

    /// The private key for a rustls configuration.
    pub fn private_key(&self) -> PrivateKeyDer<'static> {
        PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()))
    }

    /// A server that presents this certificate, requests none, and speaks HTTP/2 and HTTP/1.1.
    pub fn server_config(&self) -> Result<ServerConfig, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(self.chain(), self.private_key())?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(config)
    }
}

impl fmt::Debug for CertifiedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CertifiedKey(…)")
    }
}

/// The certificate cannot be made, because it cannot hold one of the names.
#[derive(Debug, thiserror::Error)]
#[error("the certificate cannot be made")]
pub struct AuthorityError(#[source] rcgen::Error);
