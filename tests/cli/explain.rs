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
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, CONFIG).unwrap();
    let file = file.display().to_string();
    let arguments = ["explain", "--config", &file].into_iter().chain(arguments.iter().copied());
    let command = Command::try_parse_from(arguments).map_err(|error| error.to_string())?;
    let mut out = Vec::new();
    explain::run(&command.args, &mut out).map_err(|failure| failure.text().0)?;
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
            "`allow` of the caller `billing` does not list this operation",
        ),
        (vec!["GET", "/admin/"], "operation_unknown", "no operation has this path"),
        (vec!["PUT", SUBTENANT], "operation_unknown", "no operation has this method"),
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
        (vec!["-H", "Origin: https://x.test", "GET", SUBTENANT], "cross_site", "browser"),
        (
            vec!["--listener", "anyone", "GET", SUBTENANT],
            "caller_unidentified",
            "only the callers named",
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
        (vec!["G@T", "/"], "no method"),
    ] {
        let said = explain(&arguments).unwrap_err();
        assert!(said.contains(message), "{arguments:?}: {said}");
    }
}
