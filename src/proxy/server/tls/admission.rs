//! What a caller's verified certificate says, and for how long it is accepted.

use std::{
    future::pending,
    sync::Arc,
    time::{Duration, SystemTime},
};

use rustls::ServerConnection;
use tokio_util::sync::CancellationToken;
use x509_parser::{certificate::X509Certificate, parse_x509_certificate};

use crate::proxy::call::PeerCertificate;

/// A caller's verified certificate.
pub(super) struct CallerCertificate {
    /// What it says. Common names (RFC 9525 §2) and addresses are no names of a caller.
    pub(super) certificate: PeerCertificate,
    /// Its end, the second behind `notAfter` (RFC 5280 §4.1.2.5); `None` without a certificate.
    pub(super) end: Option<SystemTime>,
}

impl CallerCertificate {
    /// The certificate of a connection; `None` if it cannot be read.
    pub(super) fn of(connection: &ServerConnection) -> Option<Self> {
        let Some(certificate) = connection.peer_certificates().and_then(<[_]>::first) else {
            return Some(Self { certificate: PeerCertificate::default(), end: None });
        };
        let names = webpki::EndEntityCert::try_from(certificate).ok()?;
        let names = names.valid_uri_names().chain(names.valid_dns_names()).map(Arc::from).collect();
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        let end =
            u64::try_from(certificate.validity().not_after.timestamp()).ok()?.saturating_add(1);
        let described = Some(describe(&certificate).into());
        let end = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(end));
        Some(Self { certificate: PeerCertificate { names, described }, end })
    }
}

/// `serial=0a:1b subject=CN=app`, as short as a record can hold.
fn describe(certificate: &X509Certificate<'_>) -> String {
    let (serial, subject) = (certificate.raw_serial_as_string(), certificate.subject().to_string());
    let subject: String = subject.chars().take(MAX_SUBJECT).collect();
    format!("serial={serial} subject={subject}")
}

/// The characters of a subject that a record holds.
const MAX_SUBJECT: usize = 200;

/// Until when a connection may go on.
#[derive(Debug)]
pub(in super::super) struct Admission {
    /// Cancelled when the listener would not accept the certificate any more.
    revoked: CancellationToken,
    end: Option<SystemTime>,
}

impl Admission {
    pub(super) fn new(revoked: CancellationToken, end: Option<SystemTime>) -> Self {
        Self { revoked, end }
    }

    /// Returns when the certificate has ended or is not accepted any more.
    pub(in super::super) async fn ended(&self) {
        tokio::select! {
            () = self.revoked.cancelled() => {}
            () = until(self.end, SystemTime::now) => {}
        }
    }
}

/// Waits for a time of the wall clock, which is set now and then, and goes on while the machine sleeps.
async fn until(end: Option<SystemTime>, now: impl Fn() -> SystemTime) {
    let Some(end) = end else { return pending().await };
    while let Ok(left) = end.duration_since(now())
        && !left.is_zero()
    {
        tokio::time::sleep(left.min(CLOCK_CHECK)).await;
    }
}

/// The interval at which the wall clock is looked at.
const CLOCK_CHECK: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use tokio::time::{Instant, timeout};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_certificate_ends_by_the_wall_clock() {
        let (began, start) = (Instant::now(), SystemTime::now());
        let hour = Duration::from_hours(1);
        until(Some(start + hour), || start + began.elapsed()).await;
        assert_eq!(began.elapsed(), hour);
        until(Some(start), || start).await;
        assert_eq!(began.elapsed(), hour);
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_put_forward_is_noticed_within_a_minute() {
        let (began, start) = (Instant::now(), SystemTime::now());
        let day = Duration::from_hours(24);
        let jumped = || if began.elapsed().is_zero() { start } else { start + day };
        until(Some(start + day), jumped).await;
        assert_eq!(began.elapsed(), CLOCK_CHECK);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_certificate_there_is_no_end() {
        let waited = timeout(Duration::from_secs(1 << 20), until(None, SystemTime::now)).await;
        assert!(waited.is_err());
        let revoked = CancellationToken::new();
        revoked.cancel();
        Admission::new(revoked, None).ended().await;
    }
}
