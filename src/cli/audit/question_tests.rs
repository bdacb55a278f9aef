//! The questions that people ask of a trail, on trails that are written by hand.

use std::{fs, path::Path};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{
    AuditError, AuditExit,
    tests::{Said, run_on},
};

const OBJECT: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ab";

/// A trail of files; each is its first number, its time, and its lines.
fn trail(files: &[(u64, &str, &[String])]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    write(home.path(), files);
    home
}

fn write(directory: &Path, files: &[(u64, &str, &[String])]) {
    for (first, begun, lines) in files {
        let begun = begun.replace(['-', ':'], "");
        let text = lines.join("\n") + "\n";
        fs::write(directory.join(format!("audit-{first:020}-{begun}.jsonl")), text).unwrap();
    }
}

fn line(kind: &str, seq: u64, time: &str, own: &str) -> String {
    format!("{{\"kind\":\"{kind}\",\"schema\":1,\"seq\":{seq},\"time\":\"{time}\"{own}}}")
}

fn marker(kind: &str, seq: u64, time: &str, own: &Value) -> String {
    let own = own.to_string();
    let own = own.trim_matches(['{', '}']);
    line(kind, seq, time, &if own.is_empty() { String::new() } else { format!(",{own}") })
}

/// A call of `billing` on an object, or on its list.
fn call(seq: u64, time: &str, caller: &str, object: Option<&str>) -> String {
    let (operation, last) = match object {
        Some(object) => ("subtenant.get", object),
        None => ("subtenant.list", "list"),
    };
    let fields = json!({
        "request_id": format!("r{seq}"), "listener": "main", "caller": caller, "caller_proof": "listener",
        "profile": "p", "operation": operation, "method": "GET",
        "path": format!("/accounts/users/customer/subtenant/{last}/"), "object_id": object,
        "status": 200, "outcome": "forwarded", "cache": null, "upstream_status": 200, "attempts": 1,
        "credential_version": "1", "duration_us": 1000, "upstream_us": 900, "request_bytes": 0,
        "response_bytes": 10, "error": null,
    });
    marker("call", seq, time, &fields)
}

fn ask(home: &TempDir, args: &[&str]) -> Said {
    run_on(&[home.path()], args, None)
}

#[track_caller]
fn is_told(said: &Said, exit: AuditExit, told: &[&str]) {
    assert_eq!(*said.exit.as_ref().unwrap(), exit, "{}", said.notes);
    for text in told {
        assert!(said.notes.contains(text), "{text:?} is not in:\n{}", said.notes);
    }
}

fn rows(said: &Said) -> usize {
    said.out.lines().count()
}

/// Records 742 to 745 after a deletion, with a gap between the calls.
fn retained() -> TempDir {
    trail(&[(
        742,
        "2026-11-29T06:00:00Z",
        &[
            call(742, "2026-11-29T06:47:12.000000Z", "billing", Some(OBJECT)),
            marker(
                "retention",
                743,
                "2026-11-29T06:48:00.000000Z",
                &json!({"from": 700, "to": 741}),
            ),
            call(744, "2026-11-29T07:00:00.000000Z", "billing", None),
            marker("gap", 745, "2026-11-29T07:10:00.000000Z", &json!({"lost": 3})),
            call(746, "2026-11-29T07:20:00.000000Z", "portal", None),
        ],
    )])
}

#[test]
fn a_period_before_the_trail_is_not_covered() {
    let home = retained();
    let object = ["query", "--object", OBJECT];
    for period in
        [&["--since", "2026-03-01", "--until", "2026-04-01"][..], &["--during", "2026-03"]]
    {
        let said = ask(&home, &[&object[..], period].concat());
        is_told(
            &said,
            AuditExit::NotCovered,
            &[
                "0 of 0 calls in the period fit",
                "records 742 to 746, from 2026-11-29 06:47:12 UTC to 2026-11-29 07:20:00 UTC",
                "records 1 to 741 are missing: deleted by the retention, the last on 2026-11-29 06:48:00 UTC",
                "NOT COVERED: 2026-03-01 00:00:00 UTC to 2026-04-01 00:00:00 UTC is asked for",
            ],
        );
        assert_eq!(rows(&said), 1, "{}", said.out);
    }
    // What is covered is answered, also if its end has not come yet.
    let covered = ["query", "--since", "2026-11-29T06:47:12", "--until", "2026-11-29T07:00"];
    is_told(&ask(&home, &covered), AuditExit::Success, &["1 of 1 calls in the period fit"]);
    let later = ["query", "--since", "2026-11-29T07:15", "--until", "2999-01-01"];
    is_told(&ask(&home, &later), AuditExit::Success, &["1 of 1 calls"]);
    for command in ["report", "suggest-policy", "tail"] {
        let said = ask(&home, &[command, "--during", "2026-03"]);
        is_told(&said, AuditExit::NotCovered, &["records 1 to 741 are missing", "NOT COVERED"]);
    }
    let said = ask(&home, &["report", "--during", "2026-03", "--format", "json"]);
    let report: Value = serde_json::from_str(&said.out).unwrap();
    assert_eq!(report["period"]["covered"], false);
    assert_eq!(report["period"]["trails"][0]["coverage"]["missing"][0]["cause"], "retention");
    assert_eq!(report["period"]["trails"][0]["coverage"]["first"]["seq"], 742);
}

#[test]
fn what_is_missing_inside_is_told() {
    let (early, late) = ("2026-11-29T06:00:00.000000Z", "2026-11-29T07:00:00.000000Z");
    for (kind, own, told) in [
        ("gap", json!({"lost": 3}), "3 records are missing: dropped"),
        ("cut", json!({"from": 2, "to": 9}), "records 2 to 9 are missing: cut off"),
        ("damaged", json!({"bytes": 9}), "it is not known how many: in a damaged end"),
        ("torn", json!({"bytes": 9}), "1 record is missing: half-written in a crash"),
        ("unknown", json!({"request_id": "r"}), "1 record is missing: in progress in a crash"),
    ] {
        let start = marker("start", 2, "2026-11-29T06:59:00.000000Z", &json!({}));
        let home = trail(&[(
            1,
            "2026-11-29T06:00:00Z",
            &[
                call(1, early, "a", None),
                start,
                marker(kind, 3, late, &own),
                call(4, late, "a", None),
            ],
        )]);
        // The loss is of the time between the last work and the marker.
        let inside = ["query", "--since", "2026-11-29T06:30", "--until", "2026-11-29T06:40"];
        is_told(&ask(&home, &inside), AuditExit::NotCovered, &[told, "NOT COVERED"]);
        is_told(&ask(&home, &["query"]), AuditExit::NotCovered, &[told]);
        let after = ask(&home, &["query", "--since", "2026-11-29T07:00:00.000001"]);
        assert!(!after.notes.contains("missing"), "{kind}: {}", after.notes);
        is_told(&after, AuditExit::Success, &[]);
    }
    // A file that somebody removed.
    let home = trail(&[
        (1, "2026-11-27T06:00:00Z", &[call(1, "2026-11-27T06:00:00.000000Z", "a", None)]),
        (9, "2026-11-29T06:00:00Z", &[call(9, early, "a", None)]),
    ]);
    let told = ["records 2 to 8 are missing: removed, and nothing on the trail accounts for it"];
    is_told(&ask(&home, &["query", "--during", "2026-11-28"]), AuditExit::NotCovered, &told);
    let after = ["query", "--since", "2026-11-29T06:00:01"];
    is_told(&ask(&home, &after), AuditExit::Success, &[]);
    // A beginning that nothing accounts for.
    let home = trail(&[(9, "2026-11-29T06:00:00Z", &[call(9, early, "a", None)])]);
    let told = ["records 1 to 8 are missing: removed, and nothing on the trail accounts for it"];
    is_told(&ask(&home, &["query"]), AuditExit::Success, &told);
    // No records at all.
    let home = trail(&[]);
    is_told(&ask(&home, &["query", "--since", "1h"]), AuditExit::NotCovered, &["has no records"]);
}

#[test]
fn a_clock_that_went_back_hides_nothing() {
    let calls = |first: u64, time: &str, caller: &str| -> Vec<String> {
        let time = |at: u64| time.replace("SS", &format!("{at:02}.000000"));
        (0..10).map(|at| call(first + at, &time(at), caller, None)).collect()
    };
    let [a, b, c] = [
        calls(1, "2027-03-02T00:05:SSZ", "a"),
        calls(11, "2027-03-01T22:00:SSZ", "b"),
        calls(21, "2027-03-02T03:00:SSZ", "c"),
    ];
    let home = trail(&[
        (1, "2027-03-02T00:05:00Z", &a),
        (11, "2027-03-01T22:00:00Z", &b),
        (21, "2027-03-02T03:00:00Z", &c),
    ]);
    let warning =
        ["the clock was set back before audit-00000000000000000011-20270301T220000Z.jsonl began"];
    for (args, count) in [
        (&["--since", "2027-03-02T00:00", "--until", "2027-03-02T00:30"][..], 10),
        (&["--since", "2027-03-02"], 20),
        (&["--since", "2027-03-01T22:00", "--until", "2027-03-01T23:00"], 10),
        (&["--since", "2027-03-02T02:00"], 10),
        (&[], 30),
    ] {
        let said = ask(&home, &[&["query"], args].concat());
        is_told(&said, AuditExit::Success, &warning);
        assert_eq!(rows(&said), 1 + count, "{args:?}");
    }
    let said = ask(&home, &["report", "--since", "2027-03-02", "--until", "2027-03-02T00:30"]);
    assert!(said.out.starts_with("10 calls from"), "{}", said.out);
    is_told(&said, AuditExit::Success, &warning);
    let said =
        ask(&home, &["suggest-policy", "--since", "2027-03-02", "--until", "2027-03-02T00:30"]);
    assert!(said.out.contains("# 10 calls") && said.out.contains("name = \"a\""), "{}", said.out);
}

#[test]
fn what_is_nowhere_is_an_error_with_what_is_near() {
    let home = retained();
    let error = |args: &[&str]| {
        let said = ask(&home, &[&["query"], args].concat());
        assert!(said.notes.contains("records 742 to 746"), "{}", said.notes);
        said.exit.unwrap_err()
    };
    let unknown = error(&["--caller", "biling"]);
    assert!(unknown.is_usage() && matches!(unknown, AuditError::UnknownCaller { .. }), "{unknown}");
    assert_eq!(unknown.hint(), Some("did you mean `billing`?"));
    assert_eq!(
        error(&["--caller", "nobody"]).hint(),
        Some("the callers are: `billing` and `portal`")
    );
    let unknown = error(&["--operation", "subtenent.get"]);
    assert!(
        unknown.is_usage() && matches!(unknown, AuditError::UnknownOperation { .. }),
        "{unknown}"
    );
    assert_eq!(unknown.hint(), Some("did you mean `subtenant.get`?"));
    error(&["--operation", "nothing.*"]);
    // Known, but not in this period, and known without a record.
    for args in [
        &[
            "query",
            "--caller",
            "portal",
            "--until",
            "2026-11-29T07:00",
            "--since",
            "2026-11-29T06:50",
        ][..],
        &["query", "--operation", "tenant.get", "--until", "2026-11-29T07:00"],
        &["query", "--caller", "(unidentified)", "--until", "2026-11-29T07:00"],
    ] {
        is_told(&ask(&home, args), AuditExit::Success, &["0 of"]);
    }
}

#[test]
fn lists_that_may_have_held_an_object_are_counted() {
    let time = "2026-11-29T07:00:00.000000Z";
    let mut lines: Vec<_> = (2..5).map(|seq| call(seq, time, "billing", None)).collect();
    lines.insert(0, call(1, time, "billing", Some(OBJECT)));
    lines.push(call(5, time, "portal", None));
    // Of other things, without an answer, or no reading.
    for (from, to) in [
        ("subtenant.list", "tenant.list"),
        ("\"status\":200", "\"status\":403"),
        ("\"outcome\":\"forwarded\"", "\"outcome\":\"refused\""),
        ("subtenant.list", "subtenant.bulk_write"),
        ("\"GET\"", "\"HEAD\""),
    ] {
        let seq = lines.len() as u64 + 1;
        let other = call(seq, time, "billing", None).replace(from, to);
        lines.push(if to.ends_with("bulk_write") { other.replace("GET", "POST") } else { other });
    }
    let home = trail(&[(1, "2026-11-29T06:00:00Z", &lines)]);
    let object = ["query", "--object", OBJECT];
    is_told(
        &ask(&home, &object),
        AuditExit::Success,
        &["1 of 10 calls in the period fit", "and 4 list calls that may have held it"],
    );
    let of_caller = [&object[..], &["--caller", "portal"]].concat();
    is_told(&ask(&home, &of_caller), AuditExit::Success, &["0 of 10", "and 1 list call that may"]);
    // Nothing says what this object is: it may be a tenant.
    let other = ["query", "--object", &OBJECT.replace("0190", "0191")];
    is_told(&ask(&home, &other), AuditExit::Success, &["and 5 list calls that may have held it"]);
}

#[test]
fn hashed_objects_without_their_key_are_no_answer() {
    let hashed = "~0123456789abcdef0123456789abcdef";
    let time = "2026-11-29T07:00:00.000000Z";
    let home = trail(&[(1, "2026-11-29T06:00:00Z", &[call(1, time, "a", Some(hashed))])]);
    is_told(&ask(&home, &["query", "--object", OBJECT]), AuditExit::NotCovered, &["--object-key"]);
    let said = ask(&home, &["query", "--object", &hashed.to_uppercase()]);
    is_told(&said, AuditExit::Success, &["1 of 1 calls"]);
}

#[test]
fn trails_of_replicas_are_one_by_time() {
    let home = tempfile::tempdir().unwrap();
    let [one, two] = ["one", "two"].map(|name| home.path().join(name));
    for (directory, name, minutes) in [(&one, "pod-1", [1, 4, 5]), (&two, "", [2, 3, 6])] {
        fs::create_dir(directory).unwrap();
        let begun = "2026-11-29T07:00:00.000000Z";
        let own = if name.is_empty() { json!({}) } else { json!({ "instance": name }) };
        let start = marker("start", 1, begun, &own);
        let calls = minutes.iter().zip(2..);
        let calls = calls.map(|(minute, seq)| {
            call(seq, &format!("2026-11-29T07:0{minute}:00.000000Z"), &format!("c{minute}"), None)
        });
        let lines: Vec<_> = [start].into_iter().chain(calls).collect();
        write(directory, &[(1, "2026-11-29T07:00:00Z", &lines)]);
    }
    let trails = [&*one, &*two];
    let said = run_on(&trails, &["query", "--format", "json"], None);
    let found: Vec<Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |name: &str| found.iter().map(|call| call[name].as_str().unwrap()).collect::<Vec<_>>();
    assert_eq!(of("caller"), ["c1", "c2", "c3", "c4", "c5", "c6"]);
    assert_eq!(of("trail"), ["pod-1", "two", "two", "pod-1", "pod-1", "two"]);
    is_told(
        &said,
        AuditExit::Success,
        &["6 of 6 calls", "/one has records 1 to 4", "/two has records"],
    );
    let said = run_on(&trails, &["query"], None);
    assert!(said.out.lines().next().unwrap().contains("TRAIL"), "{}", said.out);
    let said = run_on(&trails, &["query", "--format", "csv"], None);
    assert!(said.out.lines().nth(1).unwrap().ends_with(",pod-1"), "{}", said.out);
    let said = run_on(&trails, &["tail", "-n", "2"], None);
    let last: Vec<_> = said.out.lines().skip(1).collect();
    assert!(last.len() == 2 && last[0].contains("c5") && last[1].contains("c6"), "{}", said.out);
    let said = run_on(&trails, &["report"], None);
    assert!(said.out.contains("TRAIL") && said.out.contains("pod-1"), "{}", said.out);
    let said = run_on(&trails, &["query", "--kind", "start"], None);
    assert!(said.out.contains("trail=pod-1") && said.out.contains("trail=two"), "{}", said.out);
}

#[test]
fn a_month_is_the_time_zones() {
    let home = trail(&[(
        1,
        "2026-02-01T00:00:00Z",
        &[
            call(1, "2026-02-01T00:00:00.000000Z", "a", None),
            call(2, "2026-02-28T23:30:00.000000Z", "march", None),
            call(3, "2026-03-31T22:30:00.000000Z", "april", None),
        ],
    )]);
    let march = |zone: &str| ask(&home, &["query", "--during", "2026-03", "--timezone", zone]).out;
    let stockholm = march("Europe/Stockholm");
    assert!(stockholm.contains("march") && !stockholm.contains("april"), "{stockholm}");
    assert!(stockholm.contains("2026-03-01T00:30:00.000000+01:00"), "{stockholm}");
    let utc = march("UTC");
    assert!(utc.contains("april") && utc.contains("2026-03-31T22:30:00.000000Z"), "{utc}");
    let report = ask(&home, &["report", "--timezone", "Europe/Stockholm"]).out;
    assert!(report.contains("2026-04-01") && !report.contains("2026-02-28 "), "{report}");
}

#[test]
fn strange_characters_are_escaped_wherever_people_read() {
    let time = "2026-11-29T07:00:00.000000Z";
    let strange = call(1, time, "bil\u{202e}gni\u{2028}l\u{feff}ing\u{e000}", None)
        .replace("subtenant.list", "sub\u{200b}tenant.list");
    let home = trail(&[(1, "2026-11-29T06:00:00Z", &[strange])]);
    let page = home.path().join("report.html");
    let page = page.to_str().unwrap();
    for args in [
        &["query"][..],
        &["query", "--wide"],
        &["query", "--format", "csv"],
        &["tail"],
        &["report"],
        &["report", "--html", page],
        &["suggest-policy"],
    ] {
        let said = ask(&home, args);
        let shown =
            if args.contains(&"--html") { fs::read_to_string(page).unwrap() } else { said.out };
        for hidden in ['\u{202e}', '\u{2028}', '\u{feff}', '\u{e000}', '\u{200b}'] {
            assert!(!shown.contains(hidden), "{args:?}: {hidden:?}");
        }
        assert!(shown.contains("202e") || shown.contains("202E"), "{args:?}: {shown}");
    }
}

#[test]
fn a_table_fits_the_terminal_and_all_of_it_is_reachable() {
    let home = retained();
    for width in [40, 60, 80, 99, 100, 143, 200] {
        for command in ["query", "tail"] {
            let said = run_on(&[home.path()], &[command], Some(width));
            for line in said.out.lines() {
                assert!(line.chars().count() <= width, "{width}: {line}");
            }
        }
    }
    let fitted = run_on(&[home.path()], &["tail"], Some(100)).out;
    assert!(fitted.contains("0190d1c2…") && !fitted.contains(OBJECT), "{fitted}");
    let wide = run_on(&[home.path()], &["tail", "--wide"], Some(100)).out;
    for part in [OBJECT, "r742", "listener", "REQUEST ID", "PROOF"] {
        assert!(wide.contains(part), "{wide}");
    }
    assert!(run_on(&[home.path()], &["tail"], None).out.contains(OBJECT));
}

#[test]
fn a_page_says_what_it_is_about() {
    let home = retained();
    let page = home.path().join("report.html");
    let args = ["report", "--since", "2026-11-29T06:30", "--caller", "billing", "--html"];
    let said = ask(&home, &[&args[..], &[page.to_str().unwrap()]].concat());
    assert_eq!(said.exit.unwrap(), AuditExit::NotCovered);
    let text = fs::read_to_string(&page).unwrap();
    for part in [
        "On the host",
        home.path().to_str().unwrap(),
        "since 2026-11-29 06:30:00 UTC",
        "caller billing",
        "records 742 to 746",
        "3 records are missing",
        "NOT COVERED",
        concat!("pigello-gateway ", env!("CARGO_PKG_VERSION")),
        "Its key",
    ] {
        assert!(text.contains(part), "{part}");
    }
}

#[test]
fn a_list_that_says_what_it_had_is_found_by_its_objects() {
    const OTHER: &str = "0190d1c2-9a4e-7cc3-8f00-1234567890ac";
    let listed = |seq, ids: &[&str], is_complete: bool| {
        let own = format!(",\"list_ids\":{},\"list_ids_complete\":{is_complete}}}", json!(ids));
        call(seq, "2026-11-29T07:00:00.000000Z", "billing", None).replacen('}', &own, 1)
    };
    let lines = [
        listed(1, &[OTHER, OBJECT], true),
        listed(2, &[OTHER], true),
        listed(3, &[OTHER], false),
        call(4, "2026-11-29T07:00:00.000000Z", "billing", None),
    ];
    let home = trail(&[(1, "2026-11-29T07:00:00Z", &lines)]);
    let said = ask(&home, &["query", "--object", OBJECT]);
    is_told(&said, AuditExit::Success, &["1 of 4 calls", "and 2 list calls that may have held it"]);
    assert_eq!(rows(&said), 2, "{}", said.out);
    // Hashed, and the key is elsewhere.
    let hash = format!("~{}", "0".repeat(32));
    let lines = [listed(1, &[&hash], true)];
    let home = trail(&[(1, "2026-11-29T07:00:00Z", &lines)]);
    let said = ask(&home, &["query", "--object", OBJECT]);
    is_told(&said, AuditExit::NotCovered, &["1 calls have hashed objects"]);
    is_told(&ask(&home, &["query", "--object", &hash]), AuditExit::Success, &["1 of 1 calls"]);
}

#[test]
fn a_period_that_ends_before_it_begins_is_bad_usage() {
    let home = retained();
    for command in ["query", "report", "suggest-policy", "tail"] {
        for until in ["2026-11-29", "2026-11-01"] {
            let said = ask(&home, &[command, "--since", "2026-11-29", "--until", until]);
            let error = said.exit.unwrap_err();
            assert!(error.is_usage() && matches!(error, AuditError::EmptyPeriod { .. }), "{error}");
        }
    }
}
