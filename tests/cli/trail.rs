//! What the trail of a real process says of its rules, and of the call that a command makes by itself.

use std::fs;

use serde_json::Value;

use crate::program::{Place, Running, exchange, get, output};

/// The markers of these kinds, by the command.
fn markers(place: &Place, kinds: &str) -> Vec<Value> {
    // Not by the configuration, which may be wrong at the moment.
    let audit = place.path("audit").to_str().unwrap().to_owned();
    let (code, out, errors) =
        output(&["audit", "query", "--kind", kinds, "--format", "json", "--directory", &audit]);
    assert_eq!(code, Some(0), "{errors}");
    out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn serve(place: &Place) -> (Running, String) {
    let mut gateway = Running::start(&["serve", "--config", &place.config()]);
    let (_, admin) = (gateway.address_of("tcp"), gateway.address_of("admin"));
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    (gateway, admin)
}

fn change(place: &Place, from: &str, to: &str) {
    let text = fs::read_to_string(place.config()).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(place.config(), text.replace(from, to)).unwrap();
}

#[test]
fn who_changed_allow_and_when_is_answered_by_a_command() {
    let place = Place::new("[[callers]]\nname = \"billing\"\nallow = [\"tenant.*\"]\n");
    let (gateway, _) = serve(&place);
    assert_eq!(gateway.end().0, Some(0));
    // Also while no gateway runs.
    change(&place, "[\"tenant.*\"]", "[\"*\"]");
    let (gateway, _) = serve(&place);
    change(&place, "[\"*\"]", "[\"*.get\"]");
    while markers(&place, "configuration").len() < 3 {}
    change(&place, "profile = \"test\"", "profile = \"tset\"");
    while markers(&place, "configuration").len() < 4 {}
    assert_eq!(gateway.end().0, Some(0));

    let told = markers(&place, "configuration");
    let of = |name: &str| told.iter().map(|marker| marker[name].clone()).collect::<Vec<_>>();
    assert_eq!(of("cause"), ["start", "start", "file", "file"]);
    assert_eq!(of("result"), ["applied", "applied", "applied", "refused"]);
    for (marker, old, new) in [(&told[1], "tenant.*", "*"), (&told[2], "*", "*.get")] {
        let changed = &marker["changes"][0];
        assert_eq!(changed["key"], "callers[billing].allow");
        assert_eq!(changed["old"], format!("[\"{old}\"]"));
        assert_eq!(changed["new"], format!("[\"{new}\"]"));
        assert_eq!(marker["changes"].as_array().unwrap().len(), 1);
    }
    for (earlier, later) in told.iter().zip(&told[1..]) {
        assert_eq!(earlier["configuration"], later["previous"]);
    }
    assert!(told[3]["reason"].as_str().unwrap().contains("tset"), "{}", told[3]);
    assert_eq!(told[3]["configuration"], told[2]["configuration"]);

    let ends = markers(&place, "start,stop");
    let kinds: Vec<_> = ends.iter().map(|end| end["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["start", "stop", "start", "stop"]);
    assert_eq!((&ends[1]["reason"], &ends[3]["reason"]), (&"SIGTERM".into(), &"SIGTERM".into()));
    assert_eq!(ends[3]["configuration"], told[2]["configuration"]);
    assert!(ends.iter().all(|end| end["gateway"].is_string() && end["commit"].is_string()));
    let credentials = markers(&place, "credentials");
    assert_eq!(credentials.len(), 2, "{credentials:?}");
    assert_eq!((&credentials[0]["cause"], &credentials[0]["from"]), (&"read".into(), &Value::Null));

    let audit = place.path("audit").to_str().unwrap().to_owned();
    let (_, table, _) =
        output(&["audit", "query", "--kind", "configuration", "--directory", &audit]);
    assert!(table.contains("callers[billing].allow") && table.contains("KIND"), "{table}");
    let (_, report, _) = output(&["audit", "report", "--directory", &audit]);
    assert!(report.contains("no calls") && report.contains("configuration"), "{report}");
}

#[test]
fn the_call_of_a_check_is_on_the_trail_before_it_is_made() {
    let place = Place::new("");
    let config = place.config();
    // No gateway runs: it is a record of the command's own.
    let (code, out, errors) = output(&["check", "--online", "--config", &config]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("404 as expected"), "{out}");
    let (_, calls, _) = output(&["audit", "query", "--format", "json", "--config", &config]);
    let call: Value = serde_json::from_str(calls.trim()).unwrap();
    assert_eq!((&call["cause"], &call["caller"]), (&"check".into(), &Value::Null));
    assert_eq!((&call["upstream_status"], &call["attempts"]), (&404.into(), &1.into()));
    assert_eq!(
        (&call["operation"], &call["outcome"]),
        (&"subtenant.get".into(), &"forwarded".into())
    );
    assert!(call["credential_version"].is_string(), "{call}");
    let intents = markers(&place, "intent");
    assert_eq!(intents[0]["request_id"], call["request_id"]);

    // A gateway runs: it is told.
    let (gateway, _) = serve(&place);
    let (code, out, errors) = output(&["check", "--online", "--config", &config]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("404 as expected"), "{out}");
    assert_eq!(gateway.end().0, Some(0));
    let told = markers(&place, "admin");
    assert_eq!((&told[0]["action"], &told[0]["credentials"]), (&"probe".into(), &"test".into()));
    assert!(told[0]["who"].as_str().unwrap().starts_with("uid="), "{}", told[0]);
    assert!(told[0]["result"].as_str().unwrap().starts_with("announced request_id="));
    let (code, out, errors) = output(&["audit", "verify", "--config", &config]);
    assert_eq!(code, Some(0), "{out}{errors}");

    // Neither can be: it is not made.
    let audit = place.path("audit");
    fs::rename(&audit, place.path("elsewhere")).unwrap();
    fs::write(&audit, "no folder").unwrap();
    let (_, out, _) = output(&["check", "--online", "--config", &config]);
    assert!(out.contains("not made, because it would not be on the audit trail"), "{out}");
    assert!(out.contains("--no-call"), "{out}");
}
