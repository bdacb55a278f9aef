//! What will fail if nobody acts: certificates that end, and clocks that differ.

use jiff::Timestamp;
use serde::Serialize;

use super::GatewayView;
use crate::outbound::{CertificateEnd, CertificateFile, CertificateUse, TOLERABLE_OFFSET};

/// Every certificate that the gateway depends on, as far as it is known.
pub(super) fn certificates(view: &GatewayView) -> Vec<CertificateEnd> {
    let shown = |usage, name: String, not_after: Option<Timestamp>| {
        Some(CertificateEnd { usage, name, not_after: not_after? })
    };
    let files = view.certificates.iter().filter_map(CertificateFile::end);
    let upstreams = view.observed.iter().filter_map(|(profile, observed)| {
        shown(CertificateUse::Upstream, profile.to_string(), observed.certificate_end())
    });
    let vaults = view.managers.iter().filter_map(|(set, manager)| {
        let end = manager.observed()?.certificate_end();
        shown(CertificateUse::Vault, set.to_string(), end)
    });
    files.chain(upstreams).chain(vaults).collect()
}

/// The difference of this machine's clock to another one.
#[derive(Clone, Debug, Serialize)]
pub(super) struct ClockOffset {
    /// `upstream` or `vault`.
    pub(super) server: &'static str,
    /// The profile or credential set.
    pub(super) name: String,
    /// How far this clock is ahead, in seconds; negative if it is behind.
    pub(super) offset_seconds: i64,
}

impl ClockOffset {
    /// Whether somebody must act.
    pub(super) fn is_off(&self) -> bool {
        self.offset_seconds.unsigned_abs() > TOLERABLE_OFFSET.as_secs()
    }
}

/// The clocks of the servers that were called.
pub(super) fn clocks(view: &GatewayView) -> Vec<ClockOffset> {
    let told = |server, name: String, offset: Option<i64>| {
        Some(ClockOffset { server, name, offset_seconds: offset? })
    };
    let upstreams = view.observed.iter().filter_map(|(profile, observed)| {
        told("upstream", profile.to_string(), observed.clock_offset())
    });
    let vaults = view.managers.iter().filter_map(|(set, manager)| {
        told("vault", set.to_string(), manager.observed()?.clock_offset())
    });
    upstreams.chain(vaults).collect()
}
