use std::time::Duration;

use http::{Method, uri::PathAndQuery};
use jiff::SignedDuration;
use serde_json::{Value, json};

use super::*;
use crate::{
    audit::{
        CallCause, ChainFields, ChangedKey, OwnCall, PresentedCertificate, Target,
        testing::{OBJECT, record},
        tlog::Chain,
    },
    domain::RequestId,
};

fn parse(encoder: &Encoder) -> Vec<Value> {
    encoder
        .lines()
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| {
            let line = line.strip_suffix(b"\n").unwrap();
            assert!(ChainFields::read(line).unwrap().is_intact());
            serde_json::from_slice(line).unwrap()
        })
        .collect()
}

fn hashed(key: ObjectKey) -> ObjectNaming {
    ObjectNaming { objects: Some(key), lists: None }
}

#[test]
fn a_call_has_every_field_and_nothing_else() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    let record = record();
    encoder.call(&record);
    let mut line = parse(&encoder).remove(0);
    let fields = line.as_object_mut().unwrap();
    assert_eq!(fields.remove("prev").unwrap(), json!("0".repeat(64)));
    assert!(fields.remove("hash").is_some());
    assert_eq!(
        line,
        json!({
            "kind": "call", "schema": 1, "seq": 1, "time": "2023-11-14T22:13:20.000001Z",
            "request_id": record.request_id.to_string(),
            "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "cause": null, "caused_by": null,
            "listener": "sidecar", "caller": "billing", "peer": "uid=1001 gid=1001 pid=42",
            "caller_proof": "uid=1001 gid=1001 pid=42", "refused_certificate": null,
            "policy": "1f1f1f1f1f1f1f1f",
            "profile": "production", "operation": "subtenant.get", "method": "GET",
            "path": format!("/accounts/users/customer/subtenant/{OBJECT}/"),
            "object_id": OBJECT, "path_bytes_omitted": 0,
            "query_keys": ["ssn", "_slim"], "query_keys_omitted": 0,
            "status": 200, "outcome": "forwarded", "cache": "miss", "source_request_id": null,
            "upstream_status": 200, "tls_version": "TLSv1.3", "tls_certificate": "ab".repeat(32),
            "attempts": 2, "retries": ["upstream_refused"], "credential_version": "7",
            "duration_us": 12345, "upstream_us": 11000, "queue_us": 0,
            "request_bytes": 0, "response_bytes": 2048, "error": null,
            "would_refuse": null, "masked_fields": 0,
        })
    );
}

#[test]
fn the_list_of_fields_is_what_a_call_has() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    let source_chain = Some("made-up".into());
    encoder.call(&Record { list_ids: Some(Box::default()), source_chain, ..record() });
    let text = String::from_utf8(encoder.lines().to_vec()).unwrap();
    let places: Vec<_> =
        CALL_FIELDS.iter().map(|field| text.find(&format!("\"{field}\":")).unwrap()).collect();
    assert!(places.is_sorted(), "{places:?}");
    let line = parse(&encoder).remove(0);
    let listed: std::collections::BTreeSet<_> = CALL_FIELDS.into_iter().collect();
    let there = line.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(listed, there);
}

#[test]
fn a_call_of_the_gateways_own_names_its_cause() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    let id = RequestId::fresh();
    let own = Some(OwnCall { cause: CallCause::Revalidation, caused_by: Some(id) });
    encoder.call(&Record { own, peer: None, ..record() });
    let line = parse(&encoder).remove(0);
    assert_eq!(line["cause"], "revalidation");
    assert_eq!(line["caused_by"], id.to_string());
    assert_eq!(line["peer"], Value::Null);
}

#[test]
fn a_refused_certificate_is_told_and_its_text_is_bounded() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    let presented = |subject: String| {
        let (issuer, serial) = ("CN=\u{202e}ca\"".to_owned(), "0a:1b".to_owned());
        Some(PresentedCertificate { subject, issuer, serial, sha256: [0xcd; 32] })
    };
    let reason = "certificate expired".to_owned();
    for presented in [presented("CN=app".to_owned()), presented("é".repeat(9000)), None] {
        let refused = RefusedCertificate { reason: reason.clone(), presented };
        encoder.call(&Record { refused_certificate: Some(Box::new(refused)), ..record() });
    }
    assert!(encoder.lines().len() < 3 * 4096, "{}", encoder.lines().len());
    let lines = parse(&encoder);
    assert_eq!(
        lines[0]["refused_certificate"],
        json!({
            "reason": "certificate expired", "subject": "CN=app", "issuer": "CN=\u{202e}ca\"",
            "serial": "0a:1b", "sha256": "cd".repeat(32),
        })
    );
    assert_eq!(lines[2]["refused_certificate"], json!({ "reason": "certificate expired" }));
}

#[test]
fn what_is_not_known_is_null() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    encoder.call(&Record {
        caller: None,
        caller_proof: None,
        operation: None,
        target: None,
        status: None,
        cache: None,
        upstream_status: None,
        upstream_tls: None,
        credential_version: None,
        queue_time: Duration::ZERO,
        upstream_time: None,
        ..record()
    });
    let line = parse(&encoder).remove(0);
    for field in [
        "caller",
        "caller_proof",
        "operation",
        "path",
        "object_id",
        "status",
        "cache",
        "upstream_status",
        "tls_version",
        "tls_certificate",
        "credential_version",
        "upstream_us",
        "error",
        "source_request_id",
    ] {
        assert_eq!(line.get(field), Some(&Value::Null), "{field}");
    }
    assert_eq!(line["query_keys"], json!([]));
}

#[test]
fn nothing_of_a_hostile_target_can_hurt_the_line() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    let target = PathAndQuery::try_from(format!(
        "/a\"b{{}}|{}?201701272394&x=201701272394",
        "é".repeat(9000)
    ));
    encoder.call(&Record {
        target: target.as_ref().ok().map(Target::from),
        method: Method::from_bytes("A".repeat(9000).as_bytes()).unwrap(),
        ..record()
    });
    let line = parse(&encoder).remove(0);
    assert!(encoder.lines().len() < 16_384, "{}", encoder.lines().len());
    assert!(encoder.lines().iter().all(|byte| (b' '..=b'~').contains(byte) || *byte == b'\n'));
    assert!(line["path"].as_str().unwrap().starts_with("/a\"b{}|éé"));
    assert!(!line.to_string().contains("201701272394"));
}

#[test]
fn the_objects_of_a_list_are_named_as_asked() {
    let home = tempfile::tempdir().unwrap();
    let key = ObjectKey::open(&home.path().join("key")).unwrap();
    let list = ListObjects { ids: vec![OBJECT.parse().unwrap(); 2], is_complete: false };
    let record = Record { list_ids: Some(Box::new(list)), ..record() };
    let name = key.name(OBJECT);
    for (naming, name) in [
        (ObjectNaming::default(), OBJECT),
        (ObjectNaming { objects: None, lists: Some(key) }, name.as_str()),
    ] {
        let mut encoder = Encoder::new(Tip::START, naming);
        encoder.call(&record);
        let line = parse(&encoder).remove(0);
        assert_eq!(line["list_ids"], json!([name, name]));
        assert_eq!(line["list_ids_complete"], json!(false));
        assert_eq!(line["object_id"], json!(OBJECT));
    }
}

#[test]
fn objects_can_be_followed_without_being_named() {
    let home = tempfile::tempdir().unwrap();
    let key = ObjectKey::open(&home.path().join("key")).unwrap();
    let mut encoder = Encoder::new(Tip::START, hashed(key.clone()));
    encoder.call(&record());
    let line = parse(&encoder).remove(0);
    let name = key.name(OBJECT);
    assert_eq!(line["object_id"], json!(name));
    assert_eq!(line["path"], json!(format!("/accounts/users/customer/subtenant/{name}/")));
    assert!(!String::from_utf8_lossy(encoder.lines()).contains(OBJECT));
}

fn purge() -> AdminAction {
    AdminAction {
        time: SystemTime::UNIX_EPOCH,
        action: "purge",
        who: "uid=1001 gid=1001 pid=42".to_owned(),
        operation: Some("subtenant.get".to_owned()),
        object: Some(OBJECT.to_owned()),
        credentials: None,
        result: "purged=3".to_owned(),
    }
}

#[test]
fn an_action_says_who_did_what_and_its_object_is_hashed_like_that_of_a_call() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    encoder.admin(&purge());
    let mut line = parse(&encoder).remove(0);
    let fields = line.as_object_mut().unwrap();
    fields.remove("prev");
    fields.remove("hash");
    assert_eq!(
        line,
        json!({
            "kind": "admin", "schema": 1, "seq": 1, "time": "1970-01-01T00:00:00.000000Z",
            "action": "purge", "who": "uid=1001 gid=1001 pid=42", "operation": "subtenant.get",
            "object_id": OBJECT, "credentials": null, "result": "purged=3",
        })
    );
    let home = tempfile::tempdir().unwrap();
    let key = ObjectKey::open(&home.path().join("key")).unwrap();
    let mut encoder = Encoder::new(Tip::START, hashed(key));
    encoder.call(&record());
    encoder.admin(&purge());
    let lines = parse(&encoder);
    assert_eq!(lines[0]["object_id"], lines[1]["object_id"]);
    assert!(!String::from_utf8_lossy(encoder.lines()).contains(OBJECT));
}

fn plan(chain: &Chain) -> CheckpointPlan<'_> {
    CheckpointPlan {
        key: "k",
        records: 50_000,
        interval: Duration::from_mins(1),
        last: None,
        chain,
        instance: "pod-1",
    }
}

fn chain() -> Chain {
    let home = tempfile::tempdir().unwrap();
    Chain::begin(home.path(), 42).unwrap()
}

fn change(changes: Vec<ChangedKey>) -> ConfigurationChange {
    ConfigurationChange {
        time: SystemTime::UNIX_EPOCH,
        cause: "SIGHUP",
        who: None,
        refused: None,
        hash: [0xab; 32],
        previous: Some([0xcd; 32]),
        changes,
    }
}

fn rotation() -> CredentialsChange {
    CredentialsChange {
        time: SystemTime::UNIX_EPOCH,
        credentials: CredentialsName::new("production"),
        from: Some("7".into()),
        to: Some("8".into()),
        state: "probation",
        cause: "read",
    }
}

#[test]
fn notices_are_told_in_numbers_alone() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    encoder.notices(&NoticesTaken {
        time: SystemTime::UNIX_EPOCH,
        profile: ProfileName::new("production"),
        source: "webhook",
        received: 3,
        applied: 2,
        lag: Some(Duration::from_millis(1500)),
        request_id: None,
    });
    let mut line = parse(&encoder).remove(0);
    let fields = line.as_object_mut().unwrap();
    fields.remove("prev");
    fields.remove("hash");
    assert_eq!(
        line,
        json!({
            "kind": "notices", "schema": 1, "seq": 1, "time": "1970-01-01T00:00:00.000000Z",
            "profile": "production", "source": "webhook", "received": 3, "applied": 2, "lag_ms": 1500,
            "request_id": null,
        })
    );
}

#[test]
fn a_configuration_is_told_with_what_changed_up_to_a_limit() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    let text = |text: &str| Some(text.to_owned());
    let (old, new) = (text(r#"["a.get"]"#), text(r#"["*"]"#));
    encoder.configuration(&change(vec![ChangedKey { key: "callers[b].allow".into(), old, new }]));
    let long = ChangedKey { key: "k".repeat(9000), old: text(&"é".repeat(9000)), new: None };
    encoder.configuration(&change(vec![long; 100]));
    let reason = text("no listener");
    encoder.configuration(&ConfigurationChange { refused: reason, ..change(Vec::new()) });
    let lines = parse(&encoder);
    assert_eq!(
        (&lines[0]["cause"], &lines[0]["result"], &lines[0]["policy"], &lines[0]["who"]),
        (&json!("SIGHUP"), &json!("applied"), &json!("ab".repeat(8)), &Value::Null)
    );
    assert_eq!(lines[0]["configuration"], "ab".repeat(32));
    assert_eq!(lines[0]["previous"], "cd".repeat(32));
    let told = json!([{ "key": "callers[b].allow", "old": "[\"a.get\"]", "new": "[\"*\"]" }]);
    assert_eq!((&lines[0]["changes"], &lines[0]["changes_omitted"]), (&told, &json!(0)));
    assert_eq!(lines[1]["changes"].as_array().unwrap().len(), MAX_CHANGES);
    assert_eq!(lines[1]["changes_omitted"], 100 - MAX_CHANGES);
    assert_eq!(
        (&lines[2]["result"], &lines[2]["reason"]),
        (&json!("refused"), &json!("no listener"))
    );
}

#[test]
fn start_and_stop_name_program_and_configuration() {
    let mut encoder = Encoder::new(Tip::START, ObjectNaming::default());
    let now = SystemTime::now();
    encoder.start(now, &plan(&chain()), Some([7; 32]));
    encoder.configuration(&change(Vec::new()));
    encoder.stop(now, Some("SIGTERM"));
    let lines = parse(&encoder);
    for (line, configuration) in [(&lines[0], "07".repeat(32)), (&lines[2], "ab".repeat(32))] {
        assert_eq!(line["gateway"], env!("CARGO_PKG_VERSION"));
        assert_eq!(line["commit"], COMMIT);
        assert_eq!(line["configuration"], configuration);
    }
    assert_eq!(lines[2]["reason"], "SIGTERM");
}

#[test]
fn lines_are_numbered_and_chained_whatever_their_kind() {
    let mut encoder =
        Encoder::new(Tip { seq: 41, hash: Hash::of(b"before") }, ObjectNaming::default());
    let now = SystemTime::now();
    encoder.start(now, &plan(&chain()), Some([7; 32]));
    encoder.call(&record());
    encoder.admin(&purge());
    encoder.gap(now, 3);
    encoder.torn(now, b"{\"kind\":\"ca\xff");
    encoder.damaged(now, 9, 0, Hash::ZERO, "damaged-1.bin");
    encoder.restored(now, "audit-1.jsonl");
    encoder.cut(now, 99);
    encoder.doubt(now, "missing");
    encoder.unknown(now, "id");
    let removal = Removal { from: 1, to: 9, last_hash: Hash::ZERO };
    encoder.notice(now, &Notice::Removal(removal));
    let status = StatusCode::BAD_REQUEST;
    encoder.notice(now, &Notice::Rejection(Rejection { from: 1, to: 9, records: 9, status }));
    let step = SignedDuration::from_hours(-2);
    encoder.notice(now, &Notice::Clock(ClockChange::Doubted { step }));
    encoder.notice(now, &Notice::Clock(ClockChange::Believed));
    encoder.configuration(&change(Vec::new()));
    encoder.credentials(&rotation());
    encoder.stop(now, Some("SIGTERM"));
    let lines = parse(&encoder);
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "start",
            "call",
            "admin",
            "gap",
            "torn",
            "damaged",
            "restored",
            "cut",
            "doubt",
            "unknown",
            "retention",
            "export_rejected",
            "clock",
            "clock",
            "configuration",
            "credentials",
            "stop"
        ]
    );
    let mut prev = Hash::of(b"before").to_string();
    for (line, seq) in lines.iter().zip(42..) {
        assert_eq!((&line["seq"], &line["prev"]), (&json!(seq), &json!(prev)));
        prev = line["hash"].as_str().unwrap().to_owned();
    }
    assert_eq!(encoder.tip().hash.to_string(), prev);
}
