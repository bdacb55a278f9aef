//! The questions that people ask of a trail, to the program itself: its exit code and what it says.

use crate::program::{Place, output};

/// What a command says and how it ends: code, output, errors.
fn ask(place: &Place, args: &[&str]) -> (Option<i32>, String, String) {
    output(&[&["audit"], args, &["--config", &place.config()]].concat())
}

#[test]
fn an_answer_says_what_it_is_worth() {
    let place = Place::new("[[callers]]\nname = \"billing\"\nallow = [\"tenant.*\"]\n");
    // It is on the trail as a call of the gateway's own.
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(0), "{out}{errors}");

    let (code, out, told) = ask(&place, &["query", "--format", "json"]);
    assert_eq!((code, out.lines().count()), (Some(0), 1), "{told}");
    assert!(told.contains("1 of 1 calls in the period fit"), "{told}");
    assert!(told.contains("has records 1 to "), "{told}");

    for period in [&["--during", "2020-03"][..], &["--since", "90d"], &["--since", "2w"]] {
        for command in ["query", "report", "suggest-policy", "tail"] {
            let (code, _, told) = ask(&place, &[&[command], period].concat());
            assert_eq!(code, Some(1), "{command} {period:?}: {told}");
            assert!(told.contains("NOT COVERED") && told.contains("begins at"), "{told}");
        }
    }
    let (code, _, told) = ask(&place, &["query", "--until", "2999-01-01"]);
    assert_eq!(code, Some(0), "{told}");

    for (args, wrong) in [
        (&["--caller", "biling"][..], "did you mean `billing`?"),
        (&["--operation", "subtenent.get"], "did you mean `subtenant.get`?"),
        (&["--object", "abc"], "not an object; write its UUID"),
        (&["--since", "yesterday"], "not a time; write now"),
        (&["--during", "March"], "not a month or a day"),
        (&["--timezone", "Stockholm"], "not a time zone"),
    ] {
        let (code, _, told) = ask(&place, &[&["query"], args].concat());
        assert_eq!(code, Some(2), "{args:?}: {told}");
        assert!(told.contains(wrong), "{args:?}: {told}");
    }
    // The configuration has the caller, and nothing of it is on the trail.
    let (code, _, told) = ask(&place, &["query", "--caller", "billing"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("0 of 1 calls"), "{told}");
}
