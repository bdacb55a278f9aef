//! What `explain` says of single requests.

use std::fs;

use clap::Parser;
use pigello_gateway::cli::explain::{self, Args};

const CONFIG: &str = r#"
[[listeners]]
name = "edge"
address = "127.0.0.1:0"
profile = "production"
caller = "billing"
[[listeners]]
name = "anyone"
address = "127.0.0.1:0"
profile = "production"
[profiles.production]
upstream = "https://api.pigello.test"
credentials = "production"
[credentials.production]
source = "directory"
path = "/nowhere"
[[callers]]
name = "billing"
allow = ["subtenant.*"]
[audit]
directory = "/nowhere/audit"
"#;

const SUBTENANT: &str = "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/";

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn explain(arguments: &[&str]) -> Result<String, String> {
    explain_with(CONFIG, arguments)
}

/// What it prints; a failure is its text and hint.
fn explain_with(config: &str, arguments: &[&str]) -> Result<String, String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, config).unwrap();
    let file = file.display().to_string();
    let arguments = ["explain", "--config", &file].into_iter().chain(arguments.iter().copied());
    let command = Command::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    explain::run(&command.args, &mut out).map_err(|failure| {
        let (text, hint) = failure.text();
        [&*text].into_iter().chain(hint).collect::<Vec<_>>().join(" ")
    })?;
    Ok(anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string())
}

#[test]
fn an_allowed_read_is_explained_to_its_cache_rule() {
    let target = format!("{SUBTENANT}?_slim=true&q=secret");
    let said = explain(&[
        "--caller",
        "billing",
        "-H",
        "Connection: close, X-Hop",
        "-H",
        "X-Hop: 1",
        "-H",
        "X_Pigello_Client_Secret: forged",
        "-H",
        "X.Forwarded.Host: forged",
        "-H",
        "Cookie: forged",
        "-H",
        "Accept: */*",
        "GET",
        &target,
    ])
    .unwrap();
    for line in [
        "allowed: `subtenant.*` in `allow` of the caller `billing`",
        &format!("path         {SUBTENANT}"),
        "query        _slim, q",
        "operation    subtenant.get",
        "listener     edge",
        "sent to      https://api.pigello.test (profile `production`)",
        "credentials  production",
        "not sent     connection: it is for this hop alone",
        "not sent     x-hop: `Connection` names it",
        "not sent     x_pigello_client_secret: it is, or could be taken for, one of Pigello's own",
        "not sent     x.forwarded.host: it could change who calls",
        "not sent     cookie: it is the caller's own credential, and `forward` of [[callers]] does not list it",
        "cacheable    yes: [[cache.rules]] number 1, fresh for",
    ] {
        assert!(said.contains(line), "{line}\n{said}");
    }
    assert!(!said.contains("forged") && !said.contains("=secret") && !said.contains("accept"));
}

#[test]
fn a_refusal_names_what_decided() {
    for (arguments, error, why) in [
        (
            vec!["GET", "/accounts/users/customer/tenant/list/"],
            "operation_not_allowed",
            "`allow` of the caller `billing` lists `subtenant.*`; `tenant.list` is not among them",
        ),
        (vec!["GET", "/admin/"], "operation_unknown", "`[[operations]]` can add it"),
        (
            vec!["GET", "/accounts/users/customer/subtenant/list"],
            "operation_unknown",
            "did you mean `/accounts/users/customer/subtenant/list/` (`subtenant.list`)? The last `/` counts",
        ),
        (vec!["PUT", SUBTENANT], "operation_unknown", "this path takes `GET` (`subtenant.get`), "),
        (vec!["get", SUBTENANT], "not_implemented", "methods are upper case: `GET`"),
        (vec!["Delete", SUBTENANT], "not_implemented", "methods are upper case: `DELETE`"),
        (vec!["FETCH", SUBTENANT], "not_implemented", "nobody has defined this method"),
        (vec!["GET", "//a/"], "target_not_canonical", "write one `/`"),
        (vec!["GET", "/a/%2e%2e/b"], "target_not_canonical", "must stand as it is"),
        (vec!["GET", "/a/#b"], "malformed_request", "`#` at byte 3; write it as `%23`"),
        (vec!["GET", "/?name=Åkesson"], "malformed_request", "`Å` at byte 7; write it as `%C3%85`"),
        (vec!["GET", "/?q=a b"], "malformed_request", "a space at byte 5; write it as `%20`"),
        (vec!["GET", "/?q=\"x\""], "malformed_request", "`\"` at byte 4; write it as `%22`"),
        (vec!["GET", "/?q=100%"], "target_not_canonical", "write it as `%25`"),
        (vec!["-H", "Host: evil.test", "GET", SUBTENANT], "host_forbidden", "allowed_hosts"),
        (vec!["-H", "Expect: 200-ok", "GET", SUBTENANT], "expectation_failed", "100-continue"),
        (
            vec!["-H", "Content_Length: 5", "GET", SUBTENANT],
            "malformed_request",
            "frames a message",
        ),
        (vec!["-H", "Sec-Fetch-Dest: document", "GET", SUBTENANT], "cross_site", "browser"),
        // Of two wrong fields the first decides.
        (
            vec![
                "-H",
                "Content-Length: 05",
                "-H",
                "Transfer-Encoding: gzip, chunked",
                "POST",
                SUBTENANT,
            ],
            "malformed_request",
            "`Content-Length`",
        ),
        (
            vec![
                "-H",
                "Transfer-Encoding: gzip, chunked",
                "-H",
                "Content-Length: 05",
                "POST",
                SUBTENANT,
            ],
            "not_implemented",
            "transfer coding",
        ),
        (
            vec!["-H", "Content-Length: 9000000", "POST", "/accounts/users/customer/subtenant/"],
            "body_too_large",
            "at most 8 MiB (`limits.request_body`)",
        ),
        (vec!["-H", "Content-Length: 5", "GET", SUBTENANT], "malformed_request", "takes no body"),
        (vec!["-H", "Origin: https://x.test", "GET", SUBTENANT], "cross_site", "browser"),
        (
            vec!["--listener", "anyone", "GET", SUBTENANT],
            "caller_unidentified",
            "the connection shows nothing of the caller",
        ),
    ] {
        let json = explain(&[vec!["--json"], arguments.clone()].concat()).unwrap();
        let said: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(said["error"], error, "{arguments:?}: {json}");
        assert_eq!(said["verdict"], "refused");
        assert_eq!(said["cacheable"], false);
        let told = said["why"].as_str().unwrap();
        assert!(told.contains(why), "{arguments:?}: {told}");
    }
}

#[test]
fn an_upgrade_is_not_sent_and_refuses_nothing() {
    let said = explain(&["-H", "Connection: Upgrade", "-H", "Upgrade: TLS/1.2", "GET", SUBTENANT]);
    let said = said.unwrap();
    assert!(said.contains("allowed:") && said.contains("not sent     upgrade:"), "{said}");
}

#[test]
fn what_does_not_exist_is_bad_usage() {
    for (arguments, message) in [
        (vec!["--listener", "anyone", "--caller", "nobody", "GET", "/"], "no such caller"),
        (vec!["--listener", "nowhere", "GET", "/"], "no such listener"),
        (vec!["-H", "no colon", "GET", "/"], "a header is not one"),
        (vec!["-H", "X: a\r\nb", "GET", "/"], "a header is not one"),
        (vec!["G@T", "/"], "no method"),
        (vec!["--expect", "allow", "GET", "/"], "did you mean `allowed`?"),
        (
            vec!["--expect", "operation_not_alowed", "GET", "/"],
            "did you mean `operation_not_allowed`?",
        ),
        (vec!["--expect", "rate_limited", "GET", "/"], "never decided by the request alone"),
        (vec!["--expect", "upstream_timeout", "GET", "/"], "never decided by the request alone"),
    ] {
        let said = explain(&arguments).unwrap_err();
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}

/// The path is shown whenever it has one reading, whatever else is wrong.
#[test]
fn the_path_is_blamed_only_for_itself() {
    let shown = format!("path         {SUBTENANT}");
    for (arguments, line) in [
        (vec!["-H", "Origin: https://x.test", "GET", SUBTENANT], &*shown),
        (vec!["-H", "Transfer-Encoding: gzip", "POST", SUBTENANT], &shown),
        (vec!["get", SUBTENANT], &shown),
        (vec!["GET", "/a/../b"], "path         has no canonical reading"),
        (vec!["GET", "/a\r\nX: b"], "path         has no canonical reading"),
    ] {
        let said = explain(&arguments).unwrap();
        assert!(said.starts_with("refused: ") && said.contains(line), "{arguments:?}: {said}");
    }
}

#[test]
fn a_whole_url_is_read_as_the_gateway_reads_it_with_advice() {
    let hint = format!("hint: give the path only: `{SUBTENANT}`");
    for (target, verdict) in [
        (format!("http://127.0.0.1:8080{SUBTENANT}?a=b"), "allowed: "),
        (format!("https://api.pigello.test{SUBTENANT}"), "refused: call the gateway by "),
        (format!("localhost:8080{SUBTENANT}"), "refused: the request target is not a path"),
    ] {
        let said = explain(&["GET", &target]).unwrap();
        assert!(said.starts_with(verdict) && said.contains(&hint), "{target}: {said}");
    }
    let said = explain(&["GET", "accounts/users/"]).unwrap();
    assert!(said.contains("hint: give the path, which begins with `/`"), "{said}");
}

#[test]
fn a_request_about_the_server_is_answered() {
    let said = explain(&["OPTIONS", "*"]).unwrap();
    assert!(said.starts_with("answered: ") && said.contains("path         *"), "{said}");
}

#[test]
fn cacheability_is_what_the_cache_says() {
    let protected = "/accounts/users/customer/subtenant/list/";
    for (arguments, reason) in [
        (vec!["GET", SUBTENANT], "yes: [[cache.rules]] number 1"),
        (vec!["-H", "Range: bytes=0-1", "GET", SUBTENANT], "yes: [[cache.rules]] number 1"),
        (
            vec!["-H", "Cache-Control: no-store", "GET", SUBTENANT],
            "no: the request says `no-store`",
        ),
        (vec!["-H", "If-Match: \"a\"", "GET", SUBTENANT], "no: Pigello has to evaluate"),
        (vec!["-H", "Cookie: a=b", "GET", SUBTENANT], "yes: "),
        (vec!["PATCH", SUBTENANT], "no: only GET and HEAD"),
        (vec!["GET", protected], "no: no [[cache.rules]] is for it"),
    ] {
        let said = explain(&arguments).unwrap();
        assert!(said.contains(&format!("cacheable    {reason}")), "{arguments:?}: {said}");
    }
}

#[test]
fn an_expectation_is_met_or_the_command_fails() {
    let refused = "/accounts/users/customer/tenant/list/";
    for (expected, target, failure) in [
        ("allowed", SUBTENANT, None),
        ("refused", refused, None),
        ("operation_not_allowed", refused, None),
        ("refused", SUBTENANT, Some("expected `refused`, and the request is allowed")),
        (
            "allowed",
            refused,
            Some("expected `allowed`, and the request is refused (`operation_not_allowed`)"),
        ),
        (
            "operation_unknown",
            refused,
            Some(
                "expected `operation_unknown`, and the request is refused (`operation_not_allowed`)",
            ),
        ),
        (
            "reported",
            refused,
            Some("expected `reported`, and the request is refused (`operation_not_allowed`)"),
        ),
    ] {
        let said = explain(&["--expect", expected, "GET", target]);
        assert_eq!(said.err().as_deref(), failure, "{expected} {target}");
    }
}

const PLACES: &str = r#"
[[listeners]]
name = "app"
address = "127.0.0.1:0"
profile = "production"
caller = "app"
[[listeners]]
name = "sock"
address = "unix:/nowhere/gateway.sock"
profile = "production"
[[callers]]
name = "app"
allow = ["*"]
[[callers]]
name = "rootapp"
unix_uids = [0]
allow = ["*.list"]
[[callers]]
name = "edge"
tls_names = ["spiffe://corp/edge"]
allow = ["*"]
"#;

/// Everyone on a bound listener is its caller, so another one cannot be asked about there.
#[test]
fn a_caller_is_explained_where_it_can_be_proved() {
    let (_, rest) = CONFIG.split_once("[profiles.production]").unwrap();
    let (rest, audit) = rest.split_once("[[callers]]").unwrap();
    let (_, audit) = audit.split_once("[audit]").unwrap();
    let config = format!("[profiles.production]{rest}\n[audit]{audit}\n{PLACES}");
    let explain = |arguments: &[&str]| explain_with(&config, arguments);
    let ask = |more: &[&str]| explain(&[more, &["--json", "GET", SUBTENANT]].concat());
    for (more, listener, caller, verdict) in [
        (&["--caller", "rootapp"][..], "sock", "rootapp", "refused"),
        (&["--caller", "rootapp", "--listener", "sock"], "sock", "rootapp", "refused"),
        (&["--caller", "app"], "app", "app", "allowed"),
        (&["--listener", "app"], "app", "app", "allowed"),
        (&[], "app", "app", "allowed"),
    ] {
        let said: serde_json::Value = serde_json::from_str(&ask(more).unwrap()).unwrap();
        assert_eq!(
            (&said["listener"], &said["caller"], &said["verdict"]),
            (&listener.into(), &caller.into(), &verdict.into()),
            "{more:?}"
        );
    }
    for (more, told) in [
        (
            &["--caller", "rootapp", "--listener", "app"][..],
            "listener `app` makes everyone `app`; `rootapp` comes in on `sock`",
        ),
        (
            &["--caller", "app", "--listener", "sock"],
            "listener `sock` cannot tell that a caller is `app`; `app` comes in on `app`",
        ),
        (
            &["--caller", "edge"],
            "no listener can tell that a caller is `edge` `tls_names` need a listener with `client_ca`; \
             a listener with `caller = \"edge\"` makes everyone `edge`",
        ),
        (
            &["--caller", "edge", "--listener", "app"],
            "listener `app` makes everyone `app` `tls_names` need",
        ),
        (
            &["--caller", "rootaap"],
            "the configuration has no such caller: `rootaap` did you mean `rootapp`? its callers are: app, \
             rootapp, edge",
        ),
        (&["--caller", "nobody"], "no such caller: `nobody` its callers are: app, rootapp, edge"),
        (&["--listener", "socks"], "no such listener: `socks` did you mean `sock`?"),
    ] {
        let said = ask(more).unwrap_err();
        assert!(said.contains(told), "{more:?}: {said}");
    }
}
