//! Which layer wins, what a variable becomes, and how `config show` tells of it.

use std::{ffi::OsString, fs, path::PathBuf};

use pigello_gateway::{
    config::{self, Loaded, Problems},
    credentials::{SourceSettings, ValueName},
    domain::{CredentialsName, ProfileName},
};

use crate::config::{CANARY, root, toml_files};

/// A configuration of several files in a folder of its own.
struct Files {
    folder: tempfile::TempDir,
    paths: Vec<PathBuf>,
}

impl Files {
    fn new(texts: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let paths = texts
            .iter()
            .zip(["one.toml", "two.toml", "three.toml"])
            .map(|(text, name)| {
                let path = folder.path().join(name);
                fs::write(&path, text).unwrap();
                path
            })
            .collect();
        Self { folder, paths }
    }

    fn load(&self, variables: &[(&str, &str)]) -> Result<Loaded, Problems> {
        let variables: Vec<(OsString, OsString)> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        config::load(&self.paths, variables.into_iter())
    }

    /// What is told, without the folder.
    fn told(&self, variables: &[(&str, &str)]) -> String {
        self.plain(&self.load(variables).unwrap_err().to_string())
    }

    fn plain(&self, text: &str) -> String {
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

const SIDECAR: &str = r#"
[[listeners]]
name = "sidecar"
address = "127.0.0.1:8080"
profile = "my-profile"

[profiles.my-profile]
upstream = "https://api.pigello.io"
credentials = "production"

[credentials.production]
source = "environment"
"#;

#[test]
fn later_files_win_key_by_key_and_lists_as_a_whole() {
    let over = r#"
        [timeouts]
        connect = "1s"
        [[listeners]]
        name = "other"
        address = "127.0.0.1:8081"
        profile = "my-profile"
    "#;
    let files = Files::new(&[SIDECAR, "[timeouts]\nconnect = \"2s\"\nidle = \"5s\"", over]);
    let settings = files.load(&[]).unwrap().settings;
    assert_eq!(settings.timeouts.connect.as_secs(), 1);
    assert_eq!(settings.timeouts.idle.as_secs(), 5);
    let names: Vec<_> = settings.listeners.iter().map(|it| it.name.to_string()).collect();
    assert_eq!(names, ["other"]);
}

#[test]
fn a_default_that_is_longer_than_a_call_is_no_mistake() {
    let files = Files::new(&[SIDECAR, "[timeouts]\nrequest = \"2s\""]);
    assert_eq!(files.load(&[]).unwrap().warnings, []);
}

#[test]
fn a_problem_names_the_file_it_stands_in() {
    let files = Files::new(&[SIDECAR, "[timeouts]\nconect = \"2s\""]);
    insta::assert_snapshot!(files.told(&[]), @r"
    two.toml:2: timeouts.conect: there is no such key
      hint: did you mean `connect`?
    ");
}

#[test]
fn a_variable_becomes_what_its_key_takes() {
    let files = Files::new(&[SIDECAR]);
    let settings = files
        .load(&[
            ("PIGELLO_GATEWAY_CREDENTIALS__PRODUCTION__CUSTOMER_ID", "0012"),
            ("PIGELLO_GATEWAY_CREDENTIALS__PRODUCTION__CLIENT_CT", "1.5e3"),
            ("PIGELLO_GATEWAY_PROFILES__MY_PROFILE__UPSTREAM", "https://staging.pigello.io"),
            ("PIGELLO_GATEWAY_LISTENERS__0__ADDRESS", "127.0.0.1:9000"),
            ("PIGELLO_GATEWAY_LISTENERS__0__ALLOWED_HOSTS", "a.local, b.local"),
            ("PIGELLO_GATEWAY_LISTENERS__1__NAME", "second"),
            ("PIGELLO_GATEWAY_LISTENERS__1__ADDRESS", "unix:/run/second.sock"),
            ("PIGELLO_GATEWAY_LISTENERS__1__PROFILE", "my-profile"),
            ("PIGELLO_GATEWAY_CALLERS__0__NAME", "billing"),
            ("PIGELLO_GATEWAY_CALLERS__0__UNIX_UIDS", "1001,1002"),
            ("PIGELLO_GATEWAY_CALLERS__0__ALLOW", "subtenant.*,tenant.get"),
            ("PIGELLO_GATEWAY_CACHE__ENABLED", "false"),
            ("PIGELLO_GATEWAY_RETRY__BUDGET", "0.5"),
            ("PIGELLO_GATEWAY_LIMITS__IN_FLIGHT", "7"),
        ])
        .unwrap()
        .settings;
    let fixed = &settings.credentials[&CredentialsName::new("production")].fixed;
    let given: Vec<_> = fixed.names().map(|name| (name, fixed.get(name).unwrap())).collect();
    assert_eq!(given, [(ValueName::CustomerId, "0012"), (ValueName::ClientCt, "1.5e3")]);
    let upstream = &settings.profiles[&ProfileName::new("my-profile")].upstream;
    assert_eq!(upstream.to_string(), "https://staging.pigello.io");
    assert_eq!(settings.profiles.len(), 1);
    let [first, second] = settings.listeners.as_slice() else { panic!("another source or number") };
    assert_eq!(first.name.as_str(), "sidecar");
    assert_eq!(first.address.to_string(), "127.0.0.1:9000");
    assert_eq!(first.allowed_hosts, ["a.local", "b.local"]);
    assert_eq!(second.address.to_string(), "unix:/run/second.sock");
    assert_eq!(settings.callers[0].unix_uids, [1001, 1002]);
    assert_eq!(settings.callers[0].allow.len(), 2);
    assert!(!settings.cache.enabled);
    assert!((settings.retry.budget - 0.5).abs() < f64::EPSILON);
    assert_eq!(settings.limits.in_flight, 7);
}

#[test]
fn a_variable_that_is_wrong_is_told_by_its_name() {
    let files = Files::new(&[SIDECAR]);
    let told = files.told(&[
        ("PIGELLO_GATEWAY_TIMEOUTS_CONNECT", CANARY),
        ("PIGELLO_GATEWAY_TIMEOUTS__CONECT", CANARY),
        ("PIGELLO_GATEWAY_TIMEOUTS__IDLE", "3"),
        ("PIGELLO_GATEWAY_LIMITS__IN_FLIGHT", CANARY),
        ("PIGELLO_GATEWAY_LISTENERS__7__NAME", CANARY),
        ("PIGELLO_GATEWAY_LISTENERS__FIRST__NAME", CANARY),
        ("PIGELLO_GATEWAY_", CANARY),
        ("PIGELLO_GATEWAY_CACHE____ENABLED", CANARY),
    ]);
    assert!(!told.contains(CANARY), "{told}");
    insta::assert_snapshot!(told, @r#"
    PIGELLO_GATEWAY_: the name does not lead to a key: a level is empty
      hint: write the key in upper case, with two underscores between levels
    PIGELLO_GATEWAY_CACHE____ENABLED: the name does not lead to a key: a level is empty
      hint: write the key in upper case, with two underscores between levels
    PIGELLO_GATEWAY_LIMITS__IN_FLIGHT: limits.in_flight: must be a whole number, and text stands there
    PIGELLO_GATEWAY_LISTENERS__7__NAME: listeners[7]: there is no such entry in the list
      hint: entries are counted from 0; 1 begins a new one
    PIGELLO_GATEWAY_LISTENERS__FIRST__NAME: listeners.first: there is no such entry in the list
      hint: entries are counted from 0; 1 begins a new one
    PIGELLO_GATEWAY_TIMEOUTS_CONNECT: timeouts_connect: there is no such key
      hint: levels are separated by two underscores: PIGELLO_GATEWAY_TIMEOUTS__CONNECT
    PIGELLO_GATEWAY_TIMEOUTS__CONECT: timeouts.conect: there is no such key
      hint: did you mean `connect`?
    PIGELLO_GATEWAY_TIMEOUTS__IDLE: timeouts.idle: not a duration; write it with a unit, like "250ms", "30s", "10m", "2h30m", "90d" or "2w"
    "#);
}

#[test]
fn a_secret_in_a_variable_that_sets_a_key_is_refused() {
    let files = Files::new(&[SIDECAR]);
    for name in [
        "PIGELLO_GATEWAY_CREDENTIALS__PRODUCTION__CLIENT_SECRET",
        "PIGELLO_GATEWAY_CREDENTIALS__PRODUCTION__Client_Secret",
        "PIGELLO_GATEWAY_CREDENTIALS_PRODUCTION_CLIENT_SECRET",
        "PIGELLO_GATEWAY_CLIENT_SECRET",
        "PIGELLO_GATEWAY_CREDENTIALS__PRODUCTION__X_PIGELLO_CLIENT_SECRET",
    ] {
        let problems = files.load(&[(name, CANARY)]).unwrap_err();
        assert_eq!(problems.len(), 1, "{problems}");
        let told = problems.to_string();
        assert!(told.starts_with(&format!("{name}: the client secret may not stand")), "{told}");
        assert!(!told.contains(CANARY) && !format!("{problems:?}").contains(CANARY), "{told}");
    }
}

/// `source = "environment"` reads `PIGELLO_CLIENT_SECRET`, which is no key of ours; nor is what
/// names the file, nor what Kubernetes says of a service with the gateway's name.
#[test]
fn variables_of_others_are_left_alone() {
    let files = Files::new(&[SIDECAR]);
    let loaded = files
        .load(&[
            ("PIGELLO_CLIENT_SECRET", CANARY),
            ("PIGELLO_CUSTOMER_ID", "0012"),
            ("PIGELLO_GATEWAY_CONFIG", "/etc/pigello-gateway/gateway.toml"),
            ("PIGELLO_GATEWAY_SERVICE_HOST", "10.0.0.1"),
            ("PIGELLO_GATEWAY_SERVICE_PORT", "8080"),
            ("PIGELLO_GATEWAY_SERVICE_PORT_HTTPS", "8443"),
            ("PIGELLO_GATEWAY_PORT", "tcp://10.0.0.1:8080"),
            ("PIGELLO_GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
            ("PIGELLO_GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
            ("PATH", "/bin"),
        ])
        .unwrap();
    assert!(!format!("{loaded:?}{}", loaded.effective.to_toml()).contains(CANARY));
    assert!(
        loaded
            .effective
            .origins()
            .all(|(_, location)| !matches!(location, config::Location::Variable(_)))
    );
}

#[test]
fn relative_paths_are_relative_to_the_file_they_stand_in() {
    let files = Files::new(&[
        SIDECAR,
        "[audit]\ndirectory = \"trail\"\n[credentials.production]\nsource = \"directory\"\npath = \"seven\"",
    ]);
    let settings = files.load(&[]).unwrap().settings;
    assert_eq!(settings.audit.directory, files.folder.path().join("trail"));
    let SourceSettings::Directory { path } =
        &settings.credentials[&CredentialsName::new("production")].source
    else {
        panic!("another source or number")
    };
    assert_eq!(*path, files.folder.path().join("seven"));
    let settings = files.load(&[("PIGELLO_GATEWAY_AUDIT__DIRECTORY", "here")]).unwrap().settings;
    assert_eq!(settings.audit.directory, PathBuf::from("here"));
}

#[test]
fn a_file_that_cannot_be_read_is_told_alone() {
    let mut files = Files::new(&["[[listeners]]\nprofile = \"elsewhere\""]);
    for (name, bytes) in [
        ("latin.toml", Some(b"# r\xe4kning".to_vec())),
        ("large.toml", Some(vec![b'#'; 2 * 1024 * 1024])),
        ("none.toml", None),
    ] {
        let path = files.folder.path().join(name);
        if let Some(bytes) = bytes {
            fs::write(&path, bytes).unwrap();
        }
        files.paths.push(path);
    }
    let folder = files.folder.path().join("folder");
    fs::create_dir(&folder).unwrap();
    files.paths.push(folder);
    insta::assert_snapshot!(files.told(&[]), @r"
    folder: this is a folder, not a file
      hint: name the configuration with `--config FILE` or PIGELLO_GATEWAY_CONFIG
    large.toml: the file is larger than 1 MiB, which no configuration is
    latin.toml: the file is not UTF-8 text
    none.toml: there is no such file
      hint: name the configuration with `--config FILE` or PIGELLO_GATEWAY_CONFIG
    ");
}

/// The parser's own messages print the line; ours print where it is.
#[test]
fn what_does_not_parse_is_not_quoted() {
    for text in [
        format!("client_secret = {CANARY}"),
        format!("client_secret = \"{CANARY}"),
        format!("client_secret = '''{CANARY}"),
        format!("client_secret = \"{CANARY}\\q\""),
        format!("client_secret = \"{CANARY}\" {CANARY}"),
        format!("client_secret = 0x{CANARY}"),
        format!("client_secret = [\"{CANARY}\""),
        format!("client_secret = {{ a = \"{CANARY}\" "),
        format!("[credentials\nclient_secret = \"{CANARY}\""),
        CANARY.to_owned(),
        format!("\"{CANARY}"),
        format!("a = 1\na.b = \"{CANARY}\""),
        format!("a = \"{CANARY}\"\na = \"{CANARY}\""),
        format!("a = \"{CANARY}\u{1}\""),
    ] {
        let files = Files::new(&[&text]);
        let problems = files.load(&[]).unwrap_err();
        let told = format!("{problems}\n{problems:?}");
        assert!(!told.contains(CANARY), "{text}\n{told}");
        assert!(told.contains("one.toml:"), "{told}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "the snapshot is a whole configuration")]
fn show_tells_where_each_value_came_from() {
    let files = Files::new(&[
        SIDECAR,
        "[credentials.production]\ncustomer_id = \"made-up-customer\"\nclient_ct = \"short\"",
    ]);
    let loaded = files.load(&[("PIGELLO_GATEWAY_TIMEOUTS__CONNECT", "2s")]).unwrap();
    insta::assert_snapshot!(files.plain(&loaded.effective.to_toml()), @r#"
    callers = []  # default
    operations = []  # default

    [[listeners]]
    name = "sidecar"  # one.toml:3
    address = "127.0.0.1:8080"  # one.toml:4
    profile = "my-profile"  # one.toml:5
    allowed_hosts = []  # default
    allow_remote = false  # default

    [admin]
    enabled = true  # default
    address = "unix:/var/lib/pigello-gateway/audit/admin.sock"  # default
    connections = 64  # default

    [metrics]
    connections = 64  # default

    [profiles.my-profile]
    upstream = "https://api.pigello.io"  # one.toml:8
    credentials = "production"  # one.toml:9
    crl_policy = "require"  # default
    no_proxy = []  # default
    http = "auto"  # default
    allow_private = false  # default
    insecure_http = false  # default

    [credentials.production]
    source = "environment"  # one.toml:12
    customer_id = "made****"  # two.toml:2
    client_ct = "****"  # two.toml:3
    prefix = "PIGELLO_"  # default
    refresh = "1m"  # default
    withdrawal_grace = "1m"  # default
    rejection_limit = "5m"  # default
    overlap = "10m"  # default
    adopt = "at-once"  # default
    canary = 0.01  # default
    adopt_after = "10m"  # default

    [policy]
    unidentified = "allow"  # default
    unmatched = "deny"  # default
    mode = "enforce"  # default

    [cache]
    enabled = true  # default
    max_bytes = "64MiB"  # default
    max_entry_bytes = "1MiB"  # default

    [cache.shared]
    enabled = false  # default
    max_entry_bytes = "256KiB"  # default
    fill_wait = "300ms"  # default

    [[cache.rules]]
    operations = ["subtenant.get"]  # default
    paths = []  # default
    ttl = "1m"  # default
    depends_on = []  # default
    stale_while_revalidate = "0s"  # default
    stale_if_error = "10m"  # default
    negative_ttl = "0s"  # default
    shared = false  # default

    [notices]
    event_log = "off"  # default
    path = "/common/eventlog/list/"  # default
    interval = "5s"  # default
    overlap = "2m"  # default
    settle = "2s"  # default

    [audit]
    directory = "/var/lib/pigello-gateway/audit"  # default
    durability = "batched"  # default
    on_failure = "refuse"  # default
    segment_bytes = "128MiB"  # default
    compress_after = "1h"  # default
    checkpoint_records = 50000  # default
    checkpoint_interval = "1m"  # default
    origin = "pigello-gateway"  # default
    witnesses = []  # default
    object_ids = "plain"  # default
    list_ids = "none"  # default

    [timeouts]
    connect = "2s"  # PIGELLO_GATEWAY_TIMEOUTS__CONNECT
    resolve = "10s"  # default
    request = "30s"  # default
    first_byte = "20s"  # default
    upstream_read = "15s"  # default
    idle = "2m"  # default
    write = "30s"  # default
    header_read = "10s"  # default
    body_read = "30s"  # default
    drain = "30s"  # default
    drain_delay = "0s"  # default
    upstream_idle = "30s"  # default
    connection_age = "10m"  # default

    [limits]
    request_body = "8MiB"  # default
    header_bytes = "32KiB"  # default
    header_count = 100  # default
    connections = 10000  # default
    in_flight = 1024  # default
    adaptive_concurrency = true  # default

    [retry]
    attempts = 4  # default
    budget = 0.2  # default
    body_bytes = "64KiB"  # default

    [breaker]
    enabled = true  # default
    failures = 10  # default
    pause = "2s"  # default

    [quota]
    enabled = true  # default
    minimum = 10  # default

    [runtime]
    workers = 0  # default

    [telemetry]
    log_level = "info"  # default
    no_proxy = []  # default
    top_profiles = 20  # default
    "#);
    let json = loaded.effective.to_json();
    assert_eq!(json["configuration"]["timeouts"]["connect"], "2s");
    assert_eq!(json["origins"]["timeouts.connect"], "PIGELLO_GATEWAY_TIMEOUTS__CONNECT");
    assert_eq!(json["origins"]["timeouts.idle"], "default");
    assert_eq!(json["configuration"]["credentials"]["production"]["customer_id"], "made****");
}

/// What `config show` prints is a configuration, and means what it was made from.
#[test]
fn what_is_shown_loads_and_shows_the_same() {
    let all = toml_files("config/examples").into_iter().chain(toml_files("tests/cli/config/good"));
    for path in all.chain([root().join("config/gateway.toml")]) {
        let loaded = config::load(std::slice::from_ref(&path), std::iter::empty()).unwrap();
        let files = Files::new(&[&loaded.effective.to_toml()]);
        let again = files.load(&[]).unwrap_or_else(|told| panic!("{path:?}: {told}"));
        assert_eq!(
            again.effective.to_json()["configuration"],
            loaded.effective.to_json()["configuration"],
            "{}",
            path.display()
        );
    }
}

#[test]
fn the_configuration_is_found_where_it_is_said_to_be() {
    let named = [PathBuf::from("a.toml"), PathBuf::from("b.toml")];
    assert_eq!(config::config_paths(&named, Some("c.toml".into())), named);
    assert_eq!(config::config_paths(&[], Some("c.toml".into())), [PathBuf::from("c.toml")]);
    for variable in [None, Some(OsString::new())] {
        let paths = config::config_paths(&[], variable);
        assert_eq!(paths, [PathBuf::from("/etc/pigello-gateway/gateway.toml")]);
    }
}
