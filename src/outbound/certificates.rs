//! When certificates end: those in files that the gateway uses.
//!
//! A chain is good until the first certificate in it ends, and a file of authorities until the last one: while
//! an authority is replaced, the file has the old one and its successor.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, pem::PemObject as _};
use serde::Serialize;
use x509_parser::parse_x509_certificate;

use super::roots::without_mark;
use crate::process::files::read_named;

/// What a certificate is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CertificateUse {
    /// A listener shows it to callers.
    Listener,
    /// Callers' certificates come from these authorities.
    ClientCa,
    /// The upstream showed it in the last handshake.
    Upstream,
    /// The upstream's certificate comes from these authorities.
    UpstreamCa,
    /// The vault showed it in the last handshake.
    Vault,
    /// The vault's certificate comes from these authorities.
    VaultCa,
    /// The gateway shows it to the vault.
    VaultClient,
    /// The certificate of the fleet's store comes from these authorities.
    StoreCa,
    /// The gateway shows it to the fleet's store.
    StoreClient,
    /// The collector's certificate comes from these authorities.
    CollectorCa,
}

impl CertificateUse {
    /// The word in metrics and in `/status`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::ClientCa => "client_ca",
            Self::Upstream => "upstream",
            Self::UpstreamCa => "upstream_ca",
            Self::Vault => "vault",
            Self::VaultCa => "vault_ca",
            Self::VaultClient => "vault_client",
            Self::StoreCa => "store_ca",
            Self::StoreClient => "store_client",
            Self::CollectorCa => "collector_ca",
        }
    }

    fn is_authority(self) -> bool {
        matches!(
            self,
            Self::ClientCa | Self::UpstreamCa | Self::VaultCa | Self::StoreCa | Self::CollectorCa
        )
    }
}

/// A file of certificates that the gateway depends on.
#[derive(Debug)]
pub struct CertificateFile {
    /// What they are for.
    pub usage: CertificateUse,
    /// The listener, profile or credential set.
    pub name: String,
    path: PathBuf,
    /// What was found there, and when.
    found: Mutex<Option<(Instant, Option<Timestamp>)>>,
}

impl CertificateFile {
    /// A file that is not read yet.
    pub fn new(usage: CertificateUse, name: impl Into<String>, path: &Path) -> Self {
        Self { usage, name: name.into(), path: path.to_owned(), found: Mutex::default() }
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// When they end; `None` if the file cannot be read or holds none. It is read at most every few seconds.
    pub fn end(&self) -> Option<CertificateEnd> {
        let mut found = self.found.lock();
        let not_after = match *found {
            Some((read_at, known)) if read_at.elapsed() < READ_AGAIN => known,
            _ => {
                let pem = read_named(&self.path).unwrap_or_default();
                let not_after = end_of_file(&pem, self.usage.is_authority());
                *found = Some((Instant::now(), not_after));
                not_after
            }
        };
        let (usage, name) = (self.usage, self.name.clone());
        Some(CertificateEnd { usage, name, not_after: not_after? })
    }
}

/// When a chain of certificates in PEM ends.
pub fn chain_end(pem: &[u8]) -> Option<Timestamp> {
    end_of_file(pem, false)
}

/// When the last of some authorities in PEM ends.
pub fn authorities_end(pem: &[u8]) -> Option<Timestamp> {
    end_of_file(pem, true)
}

fn end_of_file(pem: &[u8], is_authority: bool) -> Option<Timestamp> {
    // What is no certificate is told where the file is used.
    let certificates = CertificateDer::pem_slice_iter(without_mark(pem)).filter_map(Result::ok);
    let ends = certificates.filter_map(|certificate| not_after(&certificate));
    if is_authority { ends.max() } else { ends.min() }
}

/// When a certificate ends.
pub(super) fn not_after(certificate: &CertificateDer<'_>) -> Option<Timestamp> {
    let (_, certificate) = parse_x509_certificate(certificate).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// When something ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CertificateEnd {
    /// What it is for.
    #[serde(rename = "use")]
    pub usage: CertificateUse,
    /// The listener, profile or credential set.
    pub name: String,
    /// The end of its validity.
    pub not_after: Timestamp,
}

impl CertificateEnd {
    /// How near the end is.
    pub fn nearness(&self, now: Timestamp) -> Nearness {
        Nearness::of(self.not_after, now)
    }
}

/// How near the end of a certificate is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Nearness {
    /// It has passed.
    Ended,
    /// It comes within two weeks.
    Soon,
    /// It is further away.
    Far,
}

impl Nearness {
    /// For an end and the present time.
    pub fn of(not_after: Timestamp, now: Timestamp) -> Self {
        match not_after.duration_since(now) {
            left if !left.is_positive() => Self::Ended,
            left if left < SOON => Self::Soon,
            _ => Self::Far,
        }
    }
}

/// The end of a validity in words: `valid until 2026-12-24 (25 days)`, `expired on 2026-11-24 (5 days ago)`.
#[derive(Clone, Copy, Debug)]
pub struct Until {
    /// The end.
    pub not_after: Timestamp,
    /// The present time.
    pub now: Timestamp,
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = self.not_after.strftime("%Y-%m-%d");
        let left = self.not_after.duration_since(self.now);
        let days = left.as_hours().abs() / 24;
        if left.is_positive() {
            write!(f, "valid until {day} ({days} days)")
        } else {
            write!(f, "expired on {day} ({days} days ago)")
        }
    }
}

/// Two weeks to renew a certificate.
const SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// A scrape and a page read no file of a moment ago again.
const READ_AGAIN: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    fn until(year: i32, month: u8, day: u8) -> String {
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(year, month, day);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn a_chain_ends_with_its_first_and_authorities_with_their_last() {
        let pem = format!("\u{feff}{}text\n{}", until(2031, 5, 1), until(2027, 2, 3));
        let day = |end: Option<Timestamp>| end.unwrap().strftime("%Y-%m-%d").to_string();
        assert_eq!(day(chain_end(pem.as_bytes())), "2027-02-03");
        assert_eq!(day(authorities_end(pem.as_bytes())), "2031-05-01");
        for none in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "\0"] {
            assert_eq!(chain_end(none.as_bytes()), None);
        }
    }

    #[test]
    fn two_weeks_are_soon() {
        let end: Timestamp = "2027-03-15T00:00:00Z".parse().unwrap();
        for (now, nearness, words) in [
            ("2027-02-01T00:00:00Z", Nearness::Far, "valid until 2027-03-15 (42 days)"),
            ("2027-03-01T00:00:01Z", Nearness::Soon, "valid until 2027-03-15 (13 days)"),
            ("2027-03-15T00:00:00Z", Nearness::Ended, "expired on 2027-03-15 (0 days ago)"),
            ("2027-03-20T00:00:00Z", Nearness::Ended, "expired on 2027-03-15 (5 days ago)"),
        ] {
            let now = now.parse().unwrap();
            assert_eq!(Nearness::of(end, now), nearness);
            assert_eq!(Until { not_after: end, now }.to_string(), words);
        }
    }
}
