//! Rules as code: `policy test`, `policy replay` and `config diff`.

use std::{fs, path::PathBuf};

use pigello_mock::EXAMPLE_SUBTENANT;
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Place, Running, exchange, get, output};

const CONFIG: &str = r#"
[[listeners]]
name = "edge"
address = "127.0.0.1:0"
profile = "production"
caller = "billing"
[[listeners]]
name = "host"
address = "unix:/nowhere/gateway.sock"
profile = "production"
[profiles.production]
upstream = "https://api.pigello.test"
credentials = "production"
[credentials.production]
source = "directory"
path = "credentials"
customer_id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab"
[[callers]]
name = "billing"
allow = ["subtenant.*"]
[[callers]]
name = "audit"
unix_uids = [1002]
allow = ["*.list", "protectedidentity.*"]
"#;

/// A folder with files in it.
struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path: PathBuf = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// Tests expectations on a configuration.
    fn test(&self, config: &str, expectations: &str) -> (Option<i32>, String, String) {
        let config = self.write("gateway.toml", config);
        let file = self.write("expectations.toml", expectations);
        output(&["policy", "test", "--config", &config, &file])
    }

    fn diff(&self, old: &str, new: &str) -> String {
        let (old, new) = (self.write("old.toml", old), self.write("new.toml", new));
        let (code, out, errors) = output(&["config", "diff", &old, &new]);
        assert_eq!(code, Some(0), "{errors}");
        out
    }
}

const MET: &str = r#"
[[expect]]
caller = "billing"
request = "GET /accounts/users/customer/subtenant/list/?_page=1"
verdict = "allowed"

[[expect]]
caller = "billing"
operation = "tenant.*"
verdict = "operation_not_allowed"

[[expect]]
listener = "edge"
method = "DELETE"
path = "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/"
headers = ["X-Extra: 1"]
verdict = "allowed"

[[expect]]
operation = "*"
verdict = "caller_unidentified"

[[expect]]
operation = "protectedidentity.*"
only = ["audit"]

[[expect]]
operation = "tenant.delete"
only = []
"#;

#[test]
fn expectations_that_are_met_end_with_0() {
    let (code, out, errors) = Files::new().test(CONFIG, MET);
    assert_eq!((code, out.as_str()), (Some(0), "6 expectations, all met\n"), "{errors}");
}

#[test]
fn what_is_not_met_is_told_with_its_line_and_the_rule() {
    let files = Files::new();
    let config = CONFIG.replace("\"subtenant.*\"", "\"*\"");
    let (code, out, _) = files.test(&config, MET);
    assert_eq!(code, Some(1));
    let place =
        |line: u32| format!("{}:{line}: ", files.0.path().join("expectations.toml").display());
    for (line, found) in [
        (7, "expected `operation_not_allowed`, and `DELETE /accounts/users/customer/tenant/"),
        (
            7,
            "(`tenant.delete`) of `billing` on `edge` is allowed: `*` in `allow` of the caller `billing`",
        ),
        (
            23,
            "expected that only `audit` may use `protectedidentity.*`, and `billing` may use protectedidentity.get",
        ),
        (
            27,
            "expected that nobody may use `tenant.delete`, and `billing` may use tenant.delete: `*` in `allow`",
        ),
    ] {
        let is_told = |told: &str| told.starts_with(&place(line)) && told.contains(found);
        assert!(out.lines().any(is_told), "{line}: {found} in\n{out}");
    }
    assert!(out.ends_with("6 expectations: 3 met, 3 not met\n"), "{out}");

    // Nobody is kept out by a policy that only reports.
    let reports = format!("{CONFIG}[policy]\nmode = \"report\"\n");
    let (code, out, _) = files.test(&reports, MET);
    assert_eq!(code, Some(1));
    assert!(out.contains("is reported (`operation_not_allowed`)"), "{out}");
    assert!(out.contains("and `billing` may use protectedidentity.get"), "{out}");
    assert!(out.contains("`policy.mode` only reports"), "{out}");

    let without =
        CONFIG.replace(", \"protectedidentity.*\"", "").replace("\"*.list\"", "\"tenant.get\"");
    let (_, out, _) = files.test(&without, MET);
    assert!(out.contains("and `audit` may use none of it"), "{out}");
}

#[test]
fn an_error_that_no_request_decides_is_a_mistake_of_the_file() {
    let files = Files::new();
    for error in
        ["rate_limited", "upstream_timeout", "credentials_unavailable", "version_unsupported"]
    {
        let (code, out, errors) = files.test(CONFIG, &MET.replace("caller_unidentified", error));
        assert_eq!((code, out.as_str()), (Some(2), ""), "{errors}");
        let told = format!("verdict: `{error}` is never decided by the request alone");
        assert!(errors.contains(&told), "{errors}");
    }
}

#[test]
fn a_refusal_that_has_nothing_to_do_with_the_caller_is_noted() {
    let files = Files::new();
    for (request, error) in [
        ("GET /accounts/users/customer/subtenant/list", "operation_unknown"),
        ("get /accounts/users/customer/subtenant/list/", "not_implemented"),
        ("GET /accounts//users/", "target_not_canonical"),
    ] {
        let text = format!(
            "[[expect]]\ncaller = \"audit\"\nrequest = \"{request}\"\nverdict = \"refused\"\n"
        );
        let (code, out, _) = files.test(CONFIG, &text);
        assert_eq!(code, Some(0), "{out}");
        let note = format!("is refused (`{error}`) for any caller: ");
        assert!(out.starts_with("note: ") && out.contains(&note), "{out}");
    }
    let tenant = "[[expect]]\ncaller = \"audit\"\nrequest = \"GET   /accounts/users/customer/subtenant/list/ \"\n";
    let (code, out, errors) = files.test(CONFIG, &format!("{tenant}verdict = \"allowed\"\n"));
    assert_eq!((code, out.as_str()), (Some(0), "1 expectation, all met\n"), "{errors}");
}

#[test]
fn json_has_every_expectation() {
    let files = Files::new();
    let (config, file) = (files.write("gateway.toml", CONFIG), files.write("e.toml", MET));
    let (code, out, _) = output(&["policy", "test", "--json", "--config", &config, &file, &file]);
    assert_eq!(code, Some(0));
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((&json["met"], &json["unmet"]), (&12.into(), &0.into()));
    assert_eq!(json["expectations"][1]["place"], format!("{file}:7"));
}

#[test]
fn every_mistake_in_the_file_is_told_and_nothing_is_tested() {
    let files = Files::new();
    let file = files.0.path().join("expectations.toml").display().to_string();
    for (text, told) in [
        ("", vec![": there is no [[expect]], so nothing is tested"]),
        ("[[expect]]\nverdict = ", vec![":2: not TOML: "]),
        ("expect = 1", vec![":1: expect: write each one as a table"]),
        (
            "[[expect]]\ncaller = \"biling\"\nrequest = \"GET\"\nverdict = \"alowed\"\n[other]\n",
            vec![
                ":2: caller: the configuration has no such caller: `biling`",
                "did you mean `billing`?",
                ":3: request: write the method, a space and the path",
                ":4: verdict: it is neither ",
                ":5: other: there is no such key",
            ],
        ),
        (
            "[[expect]]\noperatoin = \"x\"\nverdict = \"allowed\"\n",
            vec![
                ":2: operatoin: there is no such key",
                "did you mean `operation`?",
                ":1: give one of",
            ],
        ),
        (
            "[[expect]]\noperation = \"subtenant.gett\"\nonly = [\"adit\"]\n",
            vec![
                ":2: operation: there is no operation",
                "did you mean `subtenant.get`?",
                ":3: only: ",
                "did you mean `audit`?",
            ],
        ),
        (
            "[[expect]]\noperation = \"*\"\nonly = []\nverdict = \"allowed\"\n",
            vec![":3: `verdict` and `only` exclude"],
        ),
        ("[[expect]]\noperation = \"*\"\n", vec![":1: the table says nothing that is expected"]),
        (
            "[[expect]]\noperation = \"*\"\nonly = []\ncaller = \"audit\"\n",
            vec![":4: caller: `only` is about"],
        ),
        ("[[expect]]\nonly = []\n", vec![":1: `only` needs an `operation`"]),
        (
            "[[expect]]\noperation = 1\nverdict = 2\nheaders = 3\n",
            vec![":3: verdict: expected a text", ":4: headers: expected a list"],
        ),
        (
            "[[expect]]\nrequest = \"G(T /\"\nverdict = \"allowed\"\nheaders = [\"canary-made-up\"]\n",
            vec![":4: headers: one of them is no header"],
        ),
        (
            "[[expect]]\nrequest = \"G(T /\"\nverdict = \"allowed\"\n",
            vec![":2: request: `G(T` is no method"],
        ),
        ("[[expect]]\nmethod = \"GET\"\nverdict = \"allowed\"\n", vec![":1: give one of"]),
        (
            "[[expect]]\nlistener = \"host\"\ncaller = \"billing\"\noperation = \"*\"\nverdict = \"allowed\"\n",
            vec![":3: caller: listener `host` cannot tell that a caller is `billing`"],
        ),
    ] {
        let (code, out, errors) = files.test(CONFIG, text);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{text}\n{errors}");
        for part in told {
            let part =
                if part.starts_with(':') { format!("{file}{part}") } else { part.to_owned() };
            assert!(errors.contains(&part), "{part} in\n{errors}");
        }
        assert!(errors.ends_with("nothing was tested\n") && !errors.contains("canary"), "{errors}");
    }
    let config = files.write("gateway.toml", CONFIG);
    for path in ["/nowhere/e.toml", "/"] {
        let (code, _, errors) = output(&["policy", "test", "--config", &config, path]);
        assert_eq!(code, Some(2), "{errors}");
    }
    let (code, _, errors) = files.test(&CONFIG.replace("allow =", "alow ="), MET);
    assert_eq!(code, Some(2));
    assert!(errors.contains("did you mean `allow`"), "{errors}");
}

#[test]
fn a_diff_is_told_by_who_may_do_what_now() {
    let files = Files::new();
    let new = CONFIG
        .replace("\"subtenant.*\"", "\"subtenant.get\", \"tenant.delete\"")
        .replace("[1002]", "[1002, 1003]")
        + "[[callers]]\nname = \"new\"\nunix_uids = [1004]\nallow = [\"*\"]\nrate = 5\n";
    let told = files.diff(CONFIG, &new);
    for line in [
        "Who may do what\n  `audit` is known by user id 1002, user id 1003 (it was known by user id 1002)\n",
        "  `billing` may now delete tenant objects (`tenant.delete`)\n",
        "  `billing` may no longer write many subtenant objects (`subtenant.bulk_write`); create subtenant objects",
        "  `new` is new, known by user id 1004; it may use every operation (`*`, 63)\n",
        "  callers[new] is new: rate = 5\n",
        "A reload applies it.\n",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let back = files.diff(&new, CONFIG);
    assert!(back.contains("`new` is gone; it could use every operation (`*`, 63)\n"), "{back}");
    assert!(
        back.contains("`billing` may no longer delete tenant objects (`tenant.delete`)\n"),
        "{back}"
    );

    // The same in other words.
    let spelt = "\"subtenant.get\", \"subtenant.list\", \"subtenant.create\", \"subtenant.update\", \
                 \"subtenant.delete\", \"subtenant.bulk_write\", \"subtenant.invite\"";
    let told = files.diff(CONFIG, &CONFIG.replace("\"subtenant.*\"", spelt));
    let same = "callers[billing]: `allow` is written in another way, and allows the same";
    assert_eq!(told, format!("Who may do what\n  {same}\nA reload applies it.\n"));

    // A rule that no listener leads to gives no access.
    let unbound = CONFIG.replace("caller = \"billing\"\n", "");
    let told = files.diff(CONFIG, &unbound);
    assert!(
        told.contains(
            "`billing` may no longer do everything with subtenant objects (`subtenant.*`, 7)"
        ),
        "{told}"
    );
    assert!(told.contains("`billing` may use nothing now"), "{told}");

    let open = format!("{CONFIG}[policy]\nunidentified = \"allow\"\nunmatched = \"forward\"\n");
    let told = files.diff(CONFIG, &open);
    let anything = "callers without a name may now use every operation (`*`, 63); send requests that match no operation";
    assert!(told.contains(anything), "{told}");
    let told = files.diff(&open, CONFIG);
    assert!(told.contains("callers without a name may use nothing now"), "{told}");

    let own =
        "[[operations]]\nname = \"realestate.get\"\nmethod = \"GET\"\npath = \"/objects/{pk}/\"\n";
    let told =
        files.diff(CONFIG, &(CONFIG.replace("\"*.list\"", "\"*.list\", \"realestate.get\"") + own));
    assert!(
        told.contains("`audit` may now read single realestate objects (`realestate.get`)"),
        "{told}"
    );
    assert!(told.contains("operations[realestate.get] is new: method = \"GET\""), "{told}");
    let told = files.diff(CONFIG, &format!("{CONFIG}[policy]\nmode = \"report\"\n"));
    assert!(told.contains("policy.mode: \"report\": what the rules refuse goes through"), "{told}");
}

#[test]
fn a_diff_has_old_and_new_of_everything_else_and_no_identifier() {
    let files = Files::new();
    let new = CONFIG
        .replace("1234567890ab", "1234567890ff")
        .replace("api.pigello.test", "eu.pigello.test")
        + "[limits]\nrequest_body = \"1MiB\"\n[audit]\ndurability = \"synced\"\n[cache]\nenabled = false\n\
           [[listeners]]\nname = \"third\"\naddress = \"127.0.0.1:0\"\nprofile = \"production\"\n";
    let told = files.diff(CONFIG, &new);
    for line in [
        "listeners[third] is new: address = \"127.0.0.1:0\", profile = \"production\"",
        "profiles.production.upstream: \"https://api.pigello.test\" → \"https://eu.pigello.test\"",
        "credentials.production.customer_id: another value",
        "cache.enabled: true → false",
        "limits.request_body: \"8MiB\" → \"1MiB\"",
        "audit.durability: \"batched\" → \"synced\"",
        "A reload refuses it: audit.durability can only change with a restart.",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    assert!(!told.contains("0190d1c2") && !told.contains("1234567890"), "{told}");

    // The same file in another folder is no difference.
    let (old, same) =
        (files.write("a/gateway.toml", CONFIG), files.write("b/gateway.toml", CONFIG));
    let (code, out, _) = output(&["config", "diff", "--exit-code", &old, &same]);
    assert_eq!((code, out.as_str()), (Some(0), "no difference\n"));
    let limits = files.write("b/limits.toml", "[limits]\nrequest_body = \"1MiB\"\n");
    let several = [
        "config",
        "diff",
        "--exit-code",
        "--json",
        "--old",
        &old,
        "--new",
        &same,
        "--new",
        &limits,
    ];
    let (code, out, _) = output(&several);
    let json: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, Some(1));
    assert_eq!(json["keys"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!(json["keys"][0]["key"], "limits.request_body");
    for usage in [
        &["config", "diff", &old][..],
        &["config", "diff", "--old", &old, &same],
        &["config", "diff", "--old", &old],
        &["config", "diff", &old, "/nowhere/gateway.toml"],
    ] {
        assert_eq!(output(usage).0, Some(2), "{usage:?}");
    }
    // The mistakes of both are told.
    let (one, two) = (files.write("one.toml", "alow = 1"), files.write("two.toml", "alow = 1"));
    let (code, _, errors) = output(&["config", "diff", &one, &two]);
    assert_eq!(code, Some(2));
    assert!(errors.contains("one.toml:1: alow") && errors.contains("two.toml:1: alow"), "{errors}");
}

/// A trail of six calls: of a caller by its uid, of nobody, and one that the rules refused.
fn trail(more: &str) -> Place {
    let uid = rustix::process::geteuid().as_raw();
    let place = Place::new(&format!(
        "{more}\n[policy]\nunidentified = \"allow\"\n[[callers]]\nname = \"me\"\nunix_uids = [{uid}]\n\
         allow = [\"subtenant.*\", \"tenant.list\"]\n"
    ));
    let log = fs::File::create(place.path("log")).unwrap();
    let mut gateway = Running::start_logging(&["serve", "--config", &place.config()], log.into());
    let (tcp, unix, admin) =
        (gateway.address_of("tcp"), gateway.address_of("unix"), gateway.address_of("admin"));
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let object = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    for (address, target, status) in [
        (&unix, &*object, 200),
        (&unix, &object, 200),
        (&unix, "/accounts/users/customer/tenant/list/", 200),
        (&unix, "/accounts/users/organization/organizationuser/list/", 404),
        (&unix, "/accounts//users/", 400),
        (&tcp, &object, 200),
    ] {
        let answer = exchange(address, &get(target));
        let expected = if target.contains("organizationuser") { 403 } else { status };
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{target}: {answer}");
    }
    assert_eq!(gateway.end().0, Some(0));
    place
}

#[test]
fn a_replay_says_what_would_be_refused_and_what_let_through() {
    // Hashed objects are matched as well.
    for more in ["", "object_ids = \"hashed\"\n"] {
        let place = trail(more);
        let config = place.config();
        let (code, out, errors) = output(&["policy", "replay", "--config", &config]);
        assert_eq!(code, Some(0), "{out}{errors}");
        assert!(
            out.starts_with("would refuse 0 calls of 0 callers, of 5 that can be judged"),
            "{out}"
        );
        assert!(
            errors.contains("1 calls were refused for another reason than the rules"),
            "{errors}"
        );
        assert!(errors.contains("6 of 6 calls in the period fit"), "{errors}");
        assert!(errors.contains("of a certificate one name"), "{errors}");

        let text = fs::read_to_string(&config).unwrap();
        let stricter = text
            .replace("unidentified = \"allow\"", "unidentified = \"deny\"")
            .replace("\"subtenant.*\", \"tenant.list\"", "\"organizationuser.*\", \"tenant.list\"");
        let new = place.path("new.toml").to_str().unwrap().to_owned();
        fs::write(&new, stricter).unwrap();
        let (code, out, errors) = output(&["policy", "replay", "--config", &new]);
        assert_eq!(code, Some(1), "{out}{errors}");
        assert!(
            out.starts_with("would refuse 3 calls of 2 callers, of 5 that can be judged"),
            "{out}"
        );
        assert!(
            out.contains("would let through, and they were refused: 1 call of 1 caller"),
            "{out}"
        );
        let row = |words: &[&str]| {
            let is_row = |line: &str| words.iter().all(|word| line.contains(word));
            assert!(out.lines().any(is_row), "{words:?} in\n{out}");
        };
        row(&["refused", "(unidentified)", "subtenant.get", " 1 ", "nothing of the caller"]);
        row(&["refused", "me", "subtenant.get", " 2 ", "`subtenant.get` is not among them"]);
        row(&["allowed", "me", "organizationuser.list", " 1 ", "`organizationuser.*` in `allow`"]);

        let audit = place.path("audit").to_str().unwrap().to_owned();
        let (code, out, _) = output(&[
            "policy",
            "replay",
            "--json",
            "--config",
            &new,
            "--directory",
            &audit,
            "--caller",
            "me",
        ]);
        let json: Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (code, &json["would_refuse"], &json["would_allow"]),
            (Some(1), &2.into(), &1.into())
        );
        assert_eq!(json["changes"][0]["change"], "refused");
        let (code, out, errors) =
            output(&["policy", "replay", "--config", &new, "--during", "2020-01"]);
        assert_eq!(code, Some(1), "the trail does not cover it: {out}{errors}");
        assert!(out.starts_with("would refuse 0 calls"), "{out}");

        // Without the listener nobody comes in.
        let text = fs::read_to_string(&config).unwrap();
        fs::write(&new, text.replacen("name = \"tcp\"", "name = \"other\"", 1)).unwrap();
        let (code, out, _) = output(&["policy", "replay", "--config", &new]);
        assert_eq!(code, Some(1));
        assert!(out.contains("there is no listener `tcp`"), "{out}");
    }
}

#[test]
fn a_replay_of_nothing_is_no_yes() {
    let place = trail("");
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().to_str().unwrap();
    let replay = ["policy", "replay", "--config", &place.config()];
    for (more, code, says) in [
        (&["--directory", folder][..], 1, "no call was judged"),
        (&["--since", "2999-01-01"], 1, "no call was judged"),
        (&["--since", "2026-02-01", "--until", "2026-01-01"], 2, "ends before it begins"),
    ] {
        let (got, out, errors) = output(&[&replay[..], more].concat());
        assert_eq!(got, Some(code), "{more:?}: {out}{errors}");
        assert!(errors.contains(says), "{errors}");
    }
}
