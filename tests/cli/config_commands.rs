//! `config schema`, `config show` and `check` as commands, and what a person reads when they fail.

use std::{fs, path::PathBuf};

use clap::Parser as _;
use pigello_gateway::{
    cli::{ConfigFiles, Failure, check, config},
    config as configuration,
};
use serde_json::Value;

use crate::config::root;

#[derive(clap::Parser)]
struct ConfigCommand {
    #[command(flatten)]
    args: config::Args,
}

fn config_command(arguments: &[&str]) -> Result<String, Failure> {
    let arguments = ["config"].iter().chain(arguments);
    let command = ConfigCommand::try_parse_from(arguments).unwrap();
    let mut out = Vec::new();
    config::run(&command.args, &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

fn reported(failure: &Failure) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    failure.report(&mut out).unwrap();
    let text = String::from_utf8(out.into_inner()).unwrap();
    text.replace(&format!("{}/", root().display()), "")
}

/// The schema is what editors and the manual show, so every key says what it means.
#[test]
fn the_schema_describes_every_key() {
    let schema: Value = serde_json::from_str(&config_command(&["schema"]).unwrap()).unwrap();
    assert_eq!(schema["$schema"], "https://json-schema.org/draft/2020-12/schema");
    let mut silent = Vec::new();
    each_table(&schema, &mut |table| {
        assert_eq!(table["additionalProperties"], false, "{table}");
        for (key, property) in table["properties"].as_object().unwrap() {
            if property["description"].as_str().is_none_or(str::is_empty) {
                silent.push(key.clone());
            }
        }
        for key in table["required"].as_array().into_iter().flatten() {
            assert!(table["properties"].get(key.as_str().unwrap()).is_some(), "{key} in {table}");
        }
    });
    assert_eq!(silent, Vec::<String>::new());
    let connect = &schema["$defs"]["Timeouts"]["properties"]["connect"];
    assert_eq!(connect["default"], "3s");
    assert_eq!(connect["x-kind"], "duration");
    let text = schema.to_string();
    assert!(!text.contains("\"null\"") && !text.contains(":null"), "TOML has no null");
    assert!(!text.contains("client_secret\":"), "there is no key for the secret");
}

fn each_table(schema: &Value, visit: &mut impl FnMut(&Value)) {
    match schema {
        Value::Object(object) => {
            if object
                .get("properties")
                .is_some_and(|it| it.is_object() && schema["type"] == "object")
            {
                visit(schema);
            }
            object.values().for_each(|inner| each_table(inner, visit));
        }
        Value::Array(list) => list.iter().for_each(|inner| each_table(inner, visit)),
        _ => {}
    }
}

#[test]
fn show_prints_toml_or_json() {
    let path = root().join("config/gateway.toml");
    let path = path.to_str().unwrap();
    let toml = config_command(&["show", "--config", path]).unwrap();
    assert!(toml.contains("connect = \"3s\"  # "), "{toml}");
    let json = config_command(&["show", "--json", "--config", path]).unwrap();
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["configuration"]["listeners"][0]["name"], "sidecar");
}

#[test]
fn a_failure_tells_every_problem_and_ends_with_2() {
    let path = root().join("tests/cli/config/bad/dangling-names.toml");
    let failure = config_command(&["show", "--config", path.to_str().unwrap()]).unwrap_err();
    assert_eq!(failure.code(), 2);
    insta::assert_snapshot!(reported(&failure), @r"
    error: tests/cli/config/bad/dangling-names.toml:4: listeners[0].profile: no profile is named `producton`
      hint: did you mean `production`?
    error: tests/cli/config/bad/dangling-names.toml:5: listeners[0].caller: no [[callers]] entry is named `biling`
      hint: did you mean `billing`?
    error: tests/cli/config/bad/dangling-names.toml:10: listeners[1].profile: no profile is named `zebra`
      hint: there are: `production`
    error: tests/cli/config/bad/dangling-names.toml:14: profiles.production.credentials: no credential set is named `prod`
      hint: did you mean `production`?
    error: tests/cli/config/bad/dangling-names.toml:22: callers[0].allow: `*.fetch` stands for no operation
      hint: did you mean `*.get`?
    error: tests/cli/config/bad/dangling-names.toml:22: callers[0].allow: `subtenant.gat` stands for no operation
      hint: did you mean `subtenant.get`?
    error: tests/cli/config/bad/dangling-names.toml:22: callers[0].allow: `subtenants.*` stands for no operation
      hint: did you mean `subtenant.*`?
    error: tests/cli/config/bad/dangling-names.toml:25: cache.rules[0].operations: `subtenantt.get` stands for no operation
      hint: did you mean `subtenant.get`?
    8 problems
    ");
}

#[test]
fn check_asks_for_a_listener() {
    let files = |path: PathBuf| check::Args {
        files: ConfigFiles { named: vec![path] },
        ..Default::default()
    };
    let credentials_only = root().join("tests/cli/config/good/only-credentials.toml");
    let failure = check::run(&files(credentials_only), &mut Vec::new()).unwrap_err();
    insta::assert_snapshot!(reported(&failure), @r"
    error: tests/cli/config/good/only-credentials.toml: listeners: there is no listener, so nothing can be served
      hint: add a [[listeners]] entry with `name`, `address` and `profile`
    ");
}

#[test]
fn check_says_what_it_understood_and_what_looks_wrong() {
    let text = r#"
        [[listeners]]
        name = "open"
        address = "0.0.0.0:8080"
        profile = "p"
        allow_remote = true
        [profiles]
        p = { upstream = "https://api.pigello.io", credentials = "c" }
        unused = { upstream = "https://api.pigello.io", credentials = "c" }
        [credentials]
        c = { source = "environment", customer_id = "made-up-customer" }
        unused = { source = "environment" }
        [vault]
        address = "https://vault.internal:8200"
        [[callers]]
        name = "nobody"
        allow = []
        [[callers]]
        name = "billing"
        unix_uids = [1001]
        tls_names = ["billing.internal"]
        allow = ["*"]
        [policy]
        unidentified = "allow"
        mode = "report"
        [[cache.rules]]
        paths = ["/documents/*"]
        stale_while_revalidate = "5s"
        negative_ttl = "1s"
        [timeouts]
        connect = "1m"
    "#;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gateway.toml");
    fs::write(&path, text).unwrap();
    let loaded = configuration::load(&[path], std::iter::empty()).unwrap();
    let mut out = anstream::StripStream::new(Vec::new());
    check::explain(&loaded, &mut out).unwrap();
    let told = String::from_utf8(out.into_inner()).unwrap();
    assert!(!told.contains("made-up-customer"), "{told}");
    insta::assert_snapshot!(told.replace(&format!("{}/", folder.path().display()), ""), @r#"
    gateway.toml is in order.

    Listeners
      open                0.0.0.0:8080, calls go to `p`
                          for every machine that reaches it

    Profiles
      p                   https://api.pigello.io, trusting this machine's roots
                          with the credentials `c`
      unused              https://api.pigello.io, trusting this machine's roots
                          with the credentials `c`

    Credentials
      c                   variables PIGELLO_…
                          read again every 1m; kept while the source cannot be reached
                          from the configuration: customer_id
      unused              variables PIGELLO_…
                          read again every 1m; kept while the source cannot be reached

    Who may do what
      nobody              known by nothing
                          may use nothing
      billing             known by user id 1001, certificate of billing.internal
                          may use all 63 operations: * (63)
      everyone else       may use every operation
      other requests      are refused if they match no operation
      report only         what would be refused goes through, and is written down

    Answered from memory
      /documents/*        fresh for 1m unless the answer says otherwise; 5s more while it is renewed; 10m more if Pigello fails; 1s for a 404 or 410
      protectedidentity   never

    Audit trail
      every call          /var/lib/pigello-gateway/audit, on disk within a second
      not writable        calls are refused

    Admin
      unix:/var/lib/pigello-gateway/audit/admin.sock
                          health, metrics, status, the page, purge and refresh
                          for the gateway's user and root

    Worth a second look
    warning: gateway.toml:6: listeners[0].allow_remote: every machine that reaches this address uses Pigello with the gateway's secret
      hint: ask for client certificates: [listeners.tls] with `client_ca`
    warning: gateway.toml:9: profiles.unused: no listener uses this profile
      hint: remove it if it is not needed
    warning: gateway.toml:12: credentials.unused: no profile uses these credentials
      hint: remove them if they are not needed
    warning: gateway.toml:13: vault: no credentials have `source = "vault"`, so the vault is never asked
      hint: remove [vault], or change the source
    warning: gateway.toml:15: callers[0]: nothing proves this caller, so it never calls
      hint: give it `unix_uids` or `tls_names`, or name it as a listener's `caller`
    warning: gateway.toml:20: callers[1].unix_uids: no listener is a Unix socket, so no user id is ever seen
      hint: add a listener with `address = "unix:/…"`
    warning: gateway.toml:21: callers[1].tls_names: no listener asks for client certificates, so no name is ever seen
      hint: add [listeners.tls] with `client_ca`
    warning: gateway.toml:24: policy.unidentified: callers that nobody knows may do more than those in [[callers]]
      hint: write "deny" once every caller has its entry
    warning: gateway.toml:25: policy.mode: nothing is refused for want of permission; the trail says what would be
      hint: write "enforce" once the trail shows no `would_refuse`
    warning: gateway.toml:27: cache.rules[0].paths: requests that match no operation are refused, so the rule never applies
      hint: name them with [[operations]], or write `unmatched = "forward"` in [policy]
    warning: gateway.toml:31: timeouts.connect: is longer than `timeouts.request`, so it never ends first
      hint: make it shorter
    "#);
}
