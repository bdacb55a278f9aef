//! The commands as a user types them, over real files.

use std::fs;

use clap::Parser;
use tempfile::TempDir;

use super::*;

#[derive(Parser)]
struct Cli {
    #[command(flatten)]
    credentials: CredentialsArgs,
}

/// The result of a command.
struct Ran {
    result: Result<(), Failure>,
    out: String,
    notes: String,
}

impl Ran {
    fn failure(self) -> (u8, String) {
        let failure = self.result.unwrap_err();
        let (message, hint) = failure.text();
        let hint = hint.map(|hint| format!(" | {hint}")).unwrap_or_default();
        (failure.code(), format!("{message}{hint}"))
    }

    fn ok(self) -> String {
        self.result.unwrap();
        self.out
    }
}

fn run_in(root: &Path, arguments: &[&str], input: &str) -> Ran {
    let file = root.join("made-up.sealed");
    let words = ["credentials"].into_iter().chain(arguments.iter().copied());
    let config = root.join("gateway.toml");
    let audit = root.join("audit");
    fs::write(&config, format!("[audit]\ndirectory = {audit:?}\n")).unwrap();
    let words =
        words.chain(["--file", file.to_str().unwrap(), "--config", config.to_str().unwrap()]);
    let cli = Cli::try_parse_from(words).unwrap();
    let (mut out, mut notes) = (Vec::new(), Vec::new());
    let mut console = Console::new(input.as_bytes(), &mut out, &mut notes);
    let result = run(&cli.credentials, &mut console, &|_, _| Err("not asked".to_owned()));
    drop(console);
    let text =
        |bytes: Vec<u8>| String::from_utf8(bytes).unwrap().replace(root.to_str().unwrap(), "ROOT");
    Ran { result, out: text(out), notes: text(notes) }
}

fn identifiers() -> [&'static str; 12] {
    [
        "--customer-id",
        "canary-1",
        "--application-id",
        "canary-2",
        "--service-id",
        "canary-3",
        "--service-version-id",
        "canary-4",
        "--client-ct",
        "canary-5",
        "--client-object-id",
        "canary-6",
    ]
}

fn filled() -> TempDir {
    let root = TempDir::new().unwrap();
    run_in(root.path(), &["init"], "").ok();
    let words: Vec<_> = ["set", "client_secret"].into_iter().chain(identifiers()).collect();
    assert_eq!(
        run_in(root.path(), &words, "canary-secret\n").ok(),
        "production: version 1 is in use\n"
    );
    root
}

fn show(root: &TempDir) -> serde_json::Value {
    serde_json::from_str(&run_in(root.path(), &["show", "--json"], "").ok()).unwrap()
}

#[test]
fn init_says_what_it_made_and_what_comes_next() {
    let root = TempDir::new().unwrap();
    let ran = run_in(root.path(), &["init"], "");
    assert!(ran.notes.contains("credentials set --file"), "{}", ran.notes);
    assert_eq!(
        ran.ok(),
        "made the store   ROOT/made-up.sealed\nmade its key     ROOT/made-up.key\n"
    );
    let (code, message) = run_in(root.path(), &["init"], "").failure();
    assert_eq!(code, 1);
    assert!(message.ends_with("exists already"), "{message}");
}

#[test]
fn show_tells_names_versions_and_fingerprints_and_no_value() {
    let root = filled();
    let ran = run_in(root.path(), &["show"], "");
    assert!(!ran.out.contains("canary"), "{}", ran.out);
    let text = ran.ok();
    assert!(text.contains("production\n  version 1 (current), written 20"), "{text}");
    assert!(text.contains("    client_secret       "), "{text}");
    let json = show(&root).to_string();
    assert!(json.contains("client_secret") && !json.contains("canary"), "{json}");
}

#[test]
fn two_hosts_compare_their_fingerprints_under_one_salt() {
    let (a, b) = (filled(), filled());
    let fingerprints = |root: &TempDir, salt: &[&str]| {
        let words: Vec<_> = ["show", "--json"].iter().chain(salt).copied().collect();
        let view: serde_json::Value =
            serde_json::from_str(&run_in(root.path(), &words, "").ok()).unwrap();
        view["sets"][0]["versions"][0]["values"].clone()
    };
    assert_ne!(fingerprints(&a, &[]), fingerprints(&b, &[]));
    assert_eq!(fingerprints(&a, &["--salt", "made-up"]), fingerprints(&b, &["--salt", "made-up"]));
}

#[test]
fn setting_one_value_keeps_the_others_and_the_previous_version() {
    let root = filled();
    let same = run_in(root.path(), &["set", "client_secret"], "canary-secret").ok();
    assert_eq!(same, "production: unchanged, these values are in use already\n");
    let ran = run_in(root.path(), &["set", "client_secret"], "canary-next\n").ok();
    assert_eq!(ran, "production: version 2 is in use\n");
    let view = show(&root);
    let versions = view["sets"][0]["versions"].as_array().unwrap();
    assert_eq!(
        (&versions[0]["state"], &versions[1]["state"]),
        (&"previous".into(), &"current".into())
    );
    assert_eq!(versions[0]["values"][0], versions[1]["values"][0]);
    assert_ne!(versions[0]["values"][6], versions[1]["values"][6]);
}

#[test]
fn values_come_from_a_folder_and_from_json() {
    let root = TempDir::new().unwrap();
    run_in(root.path(), &["init"], "").ok();
    let folder = root.path().join("folder");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("client_secret"), "canary\n").unwrap();
    fs::write(folder.join("README"), "not a value").unwrap();
    let ran = run_in(root.path(), &["set", "--from-directory", folder.to_str().unwrap()], "");
    assert!(ran.notes.contains("not in the store: `customer_id`"), "{}", ran.notes);
    ran.ok();
    let json = r#"{"customer_id":"canary","application_id":"canary"}"#;
    run_in(root.path(), &["set", "--from-json", "-"], json).ok();
    let view = show(&root);
    assert_eq!(view["sets"][0]["versions"][1]["values"].as_array().unwrap().len(), 3);
}

#[test]
fn bad_values_are_refused_without_being_shown_and_nothing_changes() {
    let root = filled();
    let before = fs::read(root.path().join("made-up.sealed")).unwrap();
    let cases: [(&[&str], &str, u8, &str); 9] = [
        (&["set"], "", 2, "no values are given"),
        (&["set", "client_secret"], "", 1, "`client_secret` on standard input is empty"),
        (&["set", "client_secret"], "canary\ncanary\n", 1, "not printable ASCII"),
        (&["set", "--customer-id", " canary"], "", 2, "`customer_id` begins or ends with a space"),
        (
            &["set", "--from-json", "-"],
            r#"{"client_secret": 839201}"#,
            1,
            "`client_secret` is not text",
        ),
        (
            &["set", "--from-json", "-"],
            r#"{"client_secrt": "canary"}"#,
            1,
            "none of the seven values has the name `client_secrt`; they are customer_id, ",
        ),
        (&["set", "--from-json", "-"], r#""canary"#, 1, "line 1, column 7: not a JSON object"),
        (&["set", "--from-json", "-"], "{}", 1, "holds none of the seven"),
        (&["remove"], "", 2, "say what to remove"),
    ];
    for (arguments, input, code, expected) in cases {
        let (found, message) = run_in(root.path(), arguments, input).failure();
        assert_eq!(found, code, "{message}");
        assert!(message.contains(expected), "{message}");
        assert!(!message.contains("canary") && !message.contains("839201"), "{message}");
    }
    assert_eq!(fs::read(root.path().join("made-up.sealed")).unwrap(), before);
}

#[test]
fn a_rotation_is_staged_then_promoted_then_cleaned_up() {
    let root = filled();
    let states = |root: &TempDir| {
        let view = show(root);
        let versions = view["sets"][0]["versions"].as_array().unwrap().clone();
        versions
            .iter()
            .map(|v| format!("{} {}", v["version"], v["state"].as_str().unwrap()))
            .collect::<Vec<_>>()
    };
    let rotate = |words: &[&str], input| {
        let words: Vec<_> = ["rotate"].iter().chain(words).copied().collect();
        run_in(root.path(), &words, input)
    };
    assert_eq!(
        rotate(&["client_secret"], "canary-next").ok(),
        "production: version 2 is staged, and not in use yet\n"
    );
    assert_eq!(states(&root), ["1 current", "2 staged"]);
    assert_eq!(rotate(&["--discard"], "").ok(), "production: version 2 is forgotten\n");
    let (code, message) = rotate(&["--promote"], "").failure();
    assert_eq!(code, 1);
    assert!(message.starts_with("production: no version is staged"), "{message}");
    rotate(&["client_secret"], "canary-next").ok();
    assert_eq!(rotate(&["--promote"], "").ok(), "production: version 3 is in use\n");
    assert_eq!(states(&root), ["1 previous", "3 current"]);
    let ran = run_in(root.path(), &["remove", "--previous"], "").ok();
    assert_eq!(ran, "production: version 1 is removed\n");
    assert_eq!(states(&root), ["3 current"]);
    run_in(root.path(), &["remove", "--all"], "").ok();
    let (code, message) = rotate(&["client_secret"], "canary").failure();
    assert_eq!(code, 1);
    assert!(message.starts_with("the store holds no set `production`"), "{message}");
}

#[test]
fn a_secret_is_never_an_argument_and_a_mistyped_name_is_not_repeated() {
    let parse = |words: &[&str]| {
        let words = ["credentials", "--file", "x"].iter().chain(words);
        Cli::try_parse_from(words).map(|_| ()).unwrap_err().to_string()
    };
    assert!(parse(&["set", "--client-secret", "made-up"]).contains("--client-secret"));
    assert!(parse(&["set", "client_secrt"]).contains("did you mean `client_secret`?"));
}

#[test]
fn the_store_is_found_through_a_configuration() {
    let root = filled();
    let place = StorePlace {
        file: root.path().join("made-up.sealed"),
        key_file: root.path().join("made-up.key"),
    };
    let cli =
        Cli::try_parse_from(["credentials", "show", "--config", "a.toml", "--config", "b.toml"]);
    let mut out = Vec::new();
    let mut console = Console::new(&b""[..], &mut out, std::io::sink());
    let locate = |files: &[PathBuf], name: &str| {
        assert_eq!((files.len(), name), (2, "production"));
        Ok(place.clone())
    };
    run(&cli.unwrap().credentials, &mut console, &locate).unwrap();
    let cli = Cli::try_parse_from(["credentials", "show"]).unwrap();
    let none = |_: &[PathBuf], _: &str| Err("no configuration names a sealed store".to_owned());
    let failure = run(&cli.credentials, &mut console, &none).unwrap_err();
    assert_eq!(failure.code(), 2);
}

/// Pigello for one probe: answers with a status and records the request.
fn pigello(status: &'static str) -> (String, std::thread::JoinHandle<String>) {
    use std::io::{BufRead as _, Write as _};

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let served = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head: Vec<_> = std::io::BufReader::new(stream.try_clone().unwrap())
            .lines()
            .map_while(Result::ok)
            .take_while(|line| !line.is_empty())
            .collect();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n").unwrap();
        head.join("\n")
    });
    (address, served)
}

#[test]
fn a_rotation_with_a_probe_promotes_what_pigello_takes_and_nothing_else() {
    let root = filled();
    let (address, served) = pigello("401 Unauthorized");
    let words = ["rotate", "client_secret", "--probe", &address];
    let (code, message) = run_in(root.path(), &words, "canary-wrong").failure();
    assert_eq!(code, 1);
    assert!(message.contains("refuses the staged version (401)"), "{message}");
    let head = served.join().unwrap();
    assert!(head.starts_with(&format!("GET {} ", crate::cli::probe::NOBODY)), "{head}");
    assert!(head.contains("x-pigello-client-secret: canary-wrong"), "{head}");
    let states = || show(&root)["sets"][0]["versions"].to_string();
    assert!(
        states().contains("\"staged\"") && states().contains("\"state\":\"current\",\"values\"")
    );
    let (address, served) = pigello("503 Service Unavailable");
    let words = ["rotate", "--promote", "--probe", &address];
    let (_, message) = run_in(root.path(), &words, "").failure();
    assert!(message.contains("says nothing about the staged version"), "{message}");
    served.join().unwrap();
    let (address, served) = pigello("404 Not Found");
    let words = ["rotate", "client_secret", "--probe", &address];
    let text = run_in(root.path(), &words, "canary-right").ok();
    served.join().unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "production: version 3 is staged, and not in use yet");
    assert_eq!(lines[1], format!("production: {address} takes version 3"));
    assert_eq!(lines[2], "production: version 3 is in use");
    let words = ["rotate", "client_secret", "--probe", "http://pigello.test"];
    let (code, message) = run_in(root.path(), &words, "canary-next").failure();
    assert_eq!(code, 2, "{message}");
    assert!(!states().contains("\"staged\""));
    // Each probe is on the trail.
    let trail = fs::read_dir(root.path().join("audit")).unwrap().map(|file| file.unwrap().path());
    let trail = trail.filter(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    let lines: String = trail.map(|file| fs::read_to_string(file).unwrap()).collect();
    let calls: Vec<_> = lines.lines().filter(|line| line.contains("\"kind\":\"call\"")).collect();
    let statuses = ["401", "503", "404"].map(|status| format!("\"upstream_status\":{status},"));
    assert_eq!(calls.len(), statuses.len());
    for (call, status) in calls.iter().zip(&statuses) {
        assert!(call.contains(status) && call.contains("\"cause\":\"check\""), "{call}");
    }
    let intents = lines.lines().filter(|line| line.contains("\"kind\":\"intent\""));
    assert_eq!(intents.count(), calls.len());
}

#[test]
fn going_back_returns_to_the_version_before_and_again() {
    let root = filled();
    let back = || run_in(root.path(), &["rotate", "--back"], "");
    let (code, message) = back().failure();
    assert!(code == 1 && message.contains("no previous version"), "{message}");
    run_in(root.path(), &["set", "client_secret"], "canary-next\n").ok();
    let fingerprint = |state: &str| {
        let view = show(&root);
        let versions = view["sets"][0]["versions"].as_array().unwrap();
        let version = versions.iter().find(|version| version["state"] == state).unwrap();
        version["values"][6].clone()
    };
    let (old, new) = (fingerprint("previous"), fingerprint("current"));
    assert_eq!(back().ok(), "production: version 1 is in use again\n");
    assert_eq!((fingerprint("current"), fingerprint("previous")), (old.clone(), new.clone()));
    assert_eq!(back().ok(), "production: version 2 is in use again\n");
    assert_eq!((fingerprint("previous"), fingerprint("current")), (old, new));
    // A new version has a number of its own.
    back().ok();
    let third = run_in(root.path(), &["set", "client_secret"], "canary-third\n").ok();
    assert_eq!(third, "production: version 3 is in use\n");
}

#[test]
fn a_probe_that_cannot_be_made_changes_nothing() {
    let root = filled();
    let store = || fs::read(root.path().join("made-up.sealed")).unwrap();
    let before = store();
    let stage = ["rotate", "client_secret", "--probe", "https://127.0.0.1:1"];
    for (more, said) in [
        (["--config", "/nonexistent/gateway.toml"], "audit trail of the configuration"),
        (["--probe-ca-file", "/nonexistent/roots.pem"], "/nonexistent/roots.pem"),
    ] {
        let ran = run_in(root.path(), &[&stage[..], &more].concat(), "canary-next");
        assert!(!ran.out.contains("staged"), "{}", ran.out);
        let (code, message) = ran.failure();
        assert!(code == 2 && message.contains(said), "{message}");
        assert_eq!(store(), before, "{more:?}");
    }
    // A version without all values cannot be tried either.
    let root = TempDir::new().unwrap();
    run_in(root.path(), &["init"], "").ok();
    run_in(root.path(), &["set", "client_secret"], "canary-secret").ok();
    let before = fs::read(root.path().join("made-up.sealed")).unwrap();
    let (_, message) = run_in(root.path(), &stage, "canary-next").failure();
    assert!(message.contains("the staged version cannot be tried"), "{message}");
    assert_eq!(fs::read(root.path().join("made-up.sealed")).unwrap(), before);
}

#[test]
fn init_that_fails_leaves_no_key_behind() {
    let root = TempDir::new().unwrap();
    let path = |name: &str| root.path().join(name).to_str().unwrap().to_owned();
    for words in [
        &["--file", &path("k.key")][..],
        &["--file", &path("k.sealed"), "--key-file", &path("./k.sealed")],
        &["--file", &path("none/k.sealed"), "--key-file", &path("k.key")],
    ] {
        let cli = Cli::try_parse_from([&["credentials", "init"], words].concat()).unwrap();
        let mut console = Console::new(&b""[..], std::io::sink(), std::io::sink());
        let failure = run(&cli.credentials, &mut console, &|_, _| Err("not asked".to_owned()));
        assert!(failure.is_err(), "{words:?}");
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0, "{words:?}");
    }
}

#[test]
fn a_new_set_has_a_name_that_a_configuration_can_have() {
    let root = filled();
    for name in ["", "a/b", "_a", "a b", "å", &"a".repeat(65)] {
        let words = ["set", "client_secret", "--name", name];
        let (code, message) = run_in(root.path(), &words, "canary-secret").failure();
        assert!(code == 2 && message.contains("not a name"), "{name}: {message}");
    }
    assert_eq!(show(&root)["sets"].as_array().unwrap().len(), 1);
    run_in(root.path(), &["set", "client_secret", "--name", "a.b-c_d"], "canary-secret").ok();
}

#[test]
fn a_value_that_stands_twice_in_json_is_refused() {
    let root = filled();
    for name in ["client_secret", "customer_id"] {
        let json = format!("{{\"{name}\": \"canary-a\", \"{name}\": \"canary-b\"}}");
        let ran = run_in(root.path(), &["set", "--from-json", "-"], &json);
        let (_, message) = ran.failure();
        assert!(message.contains(name) && message.contains("twice"), "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
}

#[test]
fn a_staged_version_that_another_one_replaces_is_told() {
    let root = filled();
    let stage = |input| run_in(root.path(), &["rotate", "client_secret"], input);
    assert!(!stage("canary-second").notes.contains("forgotten"));
    let notes = stage("canary-third").notes;
    assert!(notes.contains("version 2 was staged before, and is forgotten"), "{notes}");
}
