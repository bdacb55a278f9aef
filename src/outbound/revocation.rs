//! Revocation lists (RFC 5280 §5): their PEM files, and a verifier of servers' certificates that looks into
//! them.
//!
//! A list is read again while the gateway runs. Handshakes after that use the new one; whoever keeps
//! connections open learns of the change from [`RevocationVerifier::changes`]. A file that cannot be used
//! changes nothing.

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rustls::{
    DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        VerifierBuilderError, WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::aws_lc_rs,
};
use rustls_pki_types::{
    CertificateDer, CertificateRevocationListDer, ServerName, UnixTime,
    pem::{self, PemObject as _},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use x509_parser::parse_x509_crl;

use super::roots::{Roots, RootsError, without_mark};
use crate::process::{
    files::{WritableByOthers, keep_writers_out, read_named},
    reread::{RereadLog, at_intervals},
};

/// The lists of a server's authorities, and what they decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationSettings {
    /// A PEM file with one list or several.
    pub file: PathBuf,
    /// What becomes of a certificate that no valid list is about.
    pub policy: RevocationPolicy,
}

/// What becomes of a certificate whose issuer has no list, or only one whose `nextUpdate` has passed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RevocationPolicy {
    /// It is refused.
    #[default]
    Require,
    /// It is accepted, unless an old list names it.
    IfPresent,
}

/// Verifies a server's certificate, and that no list of its authorities revokes it.
pub struct RevocationVerifier {
    settings: RevocationSettings,
    roots: Arc<RootCertStore>,
    current: ArcSwap<WebPkiServerVerifier>,
    /// The file that `current` was made of.
    pem: Mutex<Vec<u8>>,
    /// The number of changes.
    changes: watch::Sender<u64>,
    log: RereadLog,
}

impl RevocationVerifier {
    /// Reads the lists, and the roots in `ca_file` or the platform's.
    pub fn open(
        ca_file: Option<&Path>,
        settings: RevocationSettings,
    ) -> Result<Arc<Self>, RevocationError> {
        let roots = Arc::new(match ca_file {
            Some(path) => Roots::read(path)?.store,
            None => platform_roots(),
        });
        let pem = settings.read()?;
        let current = settings.verifier(&roots, &pem)?;
        Ok(Arc::new(Self {
            log: RereadLog::new("the revocation lists of a server", &settings.file),
            settings,
            roots,
            current: ArcSwap::new(current),
            pem: Mutex::new(pem),
            changes: watch::Sender::new(0),
        }))
    }

    /// Reads the lists again. Returns whether they changed.
    pub fn reload(&self) -> Result<bool, RevocationError> {
        let pem = self.settings.read()?;
        let mut known = self.pem.lock();
        if *known == pem {
            return Ok(false);
        }
        self.current.store(self.settings.verifier(&self.roots, &pem)?);
        *known = pem;
        self.changes.send_modify(|number| *number += 1);
        Ok(true)
    }

    /// The same, and logs what comes of it. Returns whether they changed.
    pub fn reload_and_log(&self) -> bool {
        let outcome = self.reload();
        self.log.note(&outcome);
        outcome.unwrap_or(false)
    }

    /// Reads the lists again at intervals, until it is dropped.
    pub async fn watch(self: Arc<Self>) {
        at_intervals(move || {
            self.reload_and_log();
        })
        .await;
    }

    /// Increases with each change: connections from before it were accepted by older lists.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

impl fmt::Display for RevocationSettings {
    /// As a condition: `not revoked by /etc/crl.pem`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not revoked by {}", self.file.display())?;
        match self.policy {
            RevocationPolicy::Require => f.write_str(", which must be about each certificate"),
            RevocationPolicy::IfPresent => Ok(()),
        }
    }
}

impl RevocationSettings {
    /// Whether the lists can be used.
    pub fn check(&self) -> Result<(), RevocationError> {
        self.lists(&self.read()?).map(drop)
    }

    fn read(&self) -> Result<Vec<u8>, RevocationError> {
        keep_writers_out(&self.file)?;
        read_named(&self.file)
            .map_err(|source| RevocationError::Read { path: self.file.clone(), source })
    }

    fn lists(
        &self,
        pem: &[u8],
    ) -> Result<Vec<CertificateRevocationListDer<'static>>, RevocationError> {
        revocation_lists(pem)
            .map_err(|source| RevocationError::Lists { path: self.file.clone(), source })
    }

    fn verifier(
        &self,
        roots: &Arc<RootCertStore>,
        pem: &[u8],
    ) -> Result<Arc<WebPkiServerVerifier>, RevocationError> {
        let lists = self.lists(pem)?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), provider)
            .with_crls(lists);
        let builder = match self.policy {
            // As OpenSSL does: an old list says nothing about what was revoked since.
            RevocationPolicy::Require => builder.enforce_revocation_expiration(),
            RevocationPolicy::IfPresent => builder.allow_unknown_revocation_status(),
        };
        builder.build().map_err(RevocationError::Verifier)
    }
}

/// The roots of this machine, from where rustls's verifier of the platform has them as well.
fn platform_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // Without any, no verifier can be made.
    let (_used, _unusable) = store.add_parsable_certificates(found.certs);
    store
}

/// Every list in a PEM file, and at least one. Each can be used.
pub fn revocation_lists(
    pem: &[u8],
) -> Result<Vec<CertificateRevocationListDer<'static>>, RevocationListError> {
    let lists: Vec<_> = CertificateRevocationListDer::pem_slice_iter(without_mark(pem))
        .collect::<Result<_, _>>()
        .map_err(RevocationListError::Pem)?;
    if lists.is_empty() {
        return Err(RevocationListError::Empty);
    }
    for list in &lists {
        webpki::BorrowedCertRevocationList::from_der(list)
            .map_err(RevocationListError::Unusable)?;
    }
    Ok(lists)
}

/// When a revocation list says nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevocationListEnd {
    issuer: String,
    next_update: Timestamp,
}

/// The ends of the lists in a PEM file, all of which can be used.
pub fn list_ends(pem: &[u8]) -> Result<Vec<RevocationListEnd>, RevocationListError> {
    let lists = revocation_lists(pem)?;
    let ends = lists.iter().filter_map(|list| {
        let (_, list) = parse_x509_crl(list).ok()?;
        let next_update = Timestamp::from_second(list.next_update()?.timestamp()).ok()?;
        Some(RevocationListEnd { issuer: list.issuer().to_string(), next_update })
    });
    Ok(ends.collect())
}

impl RevocationListEnd {
    /// What an operator should know of it at that time: that it has passed, or will within a day.
    pub fn finding(&self, now: Timestamp) -> Option<String> {
        let Self { issuer, next_update } = self;
        let verb = match next_update.duration_since(now) {
            left if left.is_positive() && left > SOON => return None,
            left if left.is_positive() => "ends",
            _ => "ended",
        };
        let issuer = issuer.escape_debug();
        Some(format!("the revocation list of {issuer} {verb} at {next_update} (its `nextUpdate`)"))
    }
}

/// An authority that publishes daily has a successor by then.
const SOON: SignedDuration = SignedDuration::from_hours(24);

// The decisions are webpki's, by the lists of the moment.
impl ServerCertVerifier for RevocationVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.current.load().verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.current.load().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.current.load().supported_verify_schemes()
    }
}

impl fmt::Debug for RevocationVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RevocationVerifier({})", self.settings.file.display())
    }
}

/// Why there is no verifier with revocation lists.
#[derive(Debug, thiserror::Error)]
pub enum RevocationError {
    /// The file cannot be read.
    #[error("cannot read revocation lists from {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// Others may write the file.
    #[error(transparent)]
    Writable(#[from] WritableByOthers),
    /// What is in the file cannot be used.
    #[error("cannot use {}", path.display())]
    Lists {
        /// The file.
        path: PathBuf,
        /// The reason.
        #[source]
        source: RevocationListError,
    },
    /// There are no roots.
    #[error(transparent)]
    Roots(#[from] RootsError),
    /// rustls makes no verifier of it, for example because the platform has no roots.
    #[error("certificates cannot be verified")]
    Verifier(#[source] VerifierBuilderError),
}

/// Why a file gives no revocation lists.
#[derive(Debug, thiserror::Error)]
pub enum RevocationListError {
    /// It is not PEM.
    #[error("it is not PEM")]
    Pem(#[source] pem::Error),
    /// There is no list in it.
    #[error("it holds no revocation list")]
    Empty,
    /// A list cannot be used.
    #[error("a revocation list in it cannot be used")]
    Unusable(#[source] webpki::Error),
}

#[cfg(test)]
mod tests {
    use rcgen::{
        CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod, KeyPair,
        SerialNumber, date_time_ymd,
    };

    use super::*;

    fn list(next_update: i32) -> String {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let issuer = Issuer::new(params, KeyPair::generate().unwrap());
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(next_update, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&issuer).unwrap().pem().unwrap()
    }

    #[test]
    fn a_list_that_has_ended_or_ends_soon_is_told() {
        let pem = format!("\u{FEFF}{}{}", list(2030), list(2031));
        let ends = list_ends(pem.as_bytes()).unwrap();
        let told = |time: &str| -> Vec<_> {
            let now = time.parse().unwrap();
            ends.iter().map(|end| end.finding(now)).collect()
        };
        assert_eq!(told("2029-12-30T23:59:59Z"), [None, None]);
        let soon = "the revocation list of CN=rcgen self signed cert ends at 2030-01-01T00:00:00Z (its `nextUpdate`)";
        assert_eq!(told("2029-12-31T00:00:01Z"), [Some(soon.to_owned()), None]);
        let over = soon.replace("ends", "ended");
        assert_eq!(told("2030-01-01T00:00:01Z"), [Some(over), None]);
    }

    #[test]
    fn a_file_without_usable_lists_is_refused() {
        let good = list(2030);
        let (cut, _) = good.split_at(good.len() / 2);
        let empty = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n";
        for (text, told) in [
            ("", "holds no revocation list"),
            (
                "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
                "holds no revocation list",
            ),
            (cut, "not PEM"),
            (empty, "cannot be used"),
            (&format!("{good}{empty}"), "cannot be used"),
        ] {
            let error = revocation_lists(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
