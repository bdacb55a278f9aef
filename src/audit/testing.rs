//! Records and checks for tests.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use http::{Method, StatusCode};

use parking_lot::Mutex;

use super::{
    CacheResult, Outcome, Record, RecordObserver, UpstreamTls, VerifyOptions, VerifyReport, verify,
};
use crate::domain::{ListenerName, Peer, PolicyId, ProfileName, Proof, RequestId};

pub(super) const OBJECT: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";

/// A forwarded call; its query holds a value that must not appear in the trail.
pub(crate) fn record() -> Record {
    let target = format!("/accounts/users/customer/subtenant/{OBJECT}/?ssn=201701272394&_slim=1");
    Record {
        time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_000_001),
        request_id: RequestId::fresh(),
        trace_id: 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736,
        own: None,
        peer: Some(Peer::Unix { uid: 1001, gid: 1001, pid: Some(42) }),
        listener: ListenerName::new("sidecar"),
        caller: Some("billing".into()),
        caller_proof: Some(Proof::UnixPeer { uid: 1001, gid: 1001, pid: Some(42) }),
        refused_certificate: None,
        policy: PolicyId([0x1f; 8]),
        profile: Some(ProfileName::new("production")),
        operation: Some("subtenant.get".into()),
        method: Method::GET,
        target: Some(target.parse().unwrap()),
        status: Some(StatusCode::OK),
        outcome: Outcome::Forwarded,
        cache: Some(CacheResult::Miss),
        source_request_id: None,
        source_chain: None,
        upstream_status: Some(StatusCode::OK),
        upstream_tls: Some(Arc::new(UpstreamTls { version: "TLSv1.3", certificate: [0xab; 32] })),
        attempts: 2,
        retries: vec!["upstream_refused"],
        credential_version: Some("7".into()),
        duration: Duration::from_micros(12_345),
        queue_time: Duration::ZERO,
        upstream_time: Some(Duration::from_millis(11)),
        request_bytes: 0,
        response_bytes: 2_048,
        error: None,
        would_refuse: None,
        masked_fields: 0,
        list_ids: None,
    }
}

/// Checks the trail without outside evidence.
pub(super) fn check(directory: &Path) -> VerifyReport {
    verify(directory, VerifyOptions::default(), |_| {}).unwrap()
}

/// Waits up to ten seconds for another thread.
pub(super) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !happened() {
        assert!(Instant::now() < end, "{what}");
        std::thread::yield_now();
    }
}

/// Remembers the observed calls.
#[derive(Debug, Default)]
pub(super) struct Seen(pub(super) Mutex<Vec<RequestId>>);

impl RecordObserver for Seen {
    fn observe(&self, records: &mut dyn Iterator<Item = &Record>) {
        self.0.lock().extend(records.map(|record| record.request_id));
    }
}
