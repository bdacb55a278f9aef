//! Configurations that must load, and configurations whose every mistake must be told.
//!
//! `config/good/*.toml` load without a problem. Beside each `config/bad/*.toml` stands a `.txt`
//! with all that must be said of it; `UPDATE_EXPECTED=1` writes these files anew.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use pigello_gateway::{
    cli::{Failure, check},
    config::{self, Loaded, Problems},
};

/// Stands for a secret in every bad configuration that has one. No output may hold it.
pub(crate) const CANARY: &str = "canary-made-up-0042";

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

fn load(path: &Path) -> Result<Loaded, Problems> {
    config::load(&[path.to_owned()], std::iter::empty())
}

pub(crate) fn toml_files(folder: &str) -> Vec<PathBuf> {
    let folder = root().join(folder);
    let entries = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|ext| ext == "toml")).collect();
    files.sort();
    assert!(!files.is_empty(), "no configuration in {}", folder.display());
    files
}

#[test]
fn every_example_loads_without_a_warning() {
    for path in toml_files("config/examples") {
        let loaded = load(&path).and_then(Loaded::for_serving);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(warnings, Vec::<String>::new(), "{}", path.display());
    }
}

#[test]
fn good_configurations_load() {
    for path in toml_files("tests/cli/config/good") {
        if let Err(problems) = load(&path) {
            panic!("{problems}");
        }
    }
}

#[test]
fn every_mistake_is_told_with_what_to_do() {
    let mut wrong = Vec::new();
    for path in toml_files("tests/cli/config/bad") {
        let problems = load(&path).and_then(Loaded::for_serving).err();
        let problems = problems.unwrap_or_else(|| panic!("{} loads", path.display()));
        let folder = format!("{}/", path.parent().unwrap().display());
        let told = format!("{problems}\n").replace(&folder, "");
        assert!(!told.contains(CANARY), "{} lets a value out", path.display());
        let expected = path.with_extension("txt");
        if env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        if fs::read_to_string(&expected).ok().as_deref() != Some(told.as_str()) {
            wrong.push(format!("--- {}\n{told}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "told otherwise than expected:\n{}", wrong.join("\n"));
}

#[test]
fn five_mistakes_get_five_messages_and_exit_code_2() {
    let path = root().join("tests/cli/config/bad/five-mistakes.toml");
    let problems = load(&path).unwrap_err();
    assert_eq!(problems.len(), 5, "{problems}");
    assert_eq!(Failure::from(problems).code(), 2);
}

/// The annotated default says of every key what the code says.
#[test]
fn the_annotated_default_has_every_key_with_its_default() {
    let path = root().join("config/gateway.toml");
    let text = fs::read_to_string(&path).unwrap();
    let schema = config::schema();
    let mut missing = Vec::new();
    keys(&schema, &mut |key| {
        let written = |line: &str| {
            let line = line.trim_start_matches(['#', ' ', '[']);
            line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', ']']))
                || line.contains(&format!(".{key}]"))
        };
        if !text.lines().any(written) {
            missing.push(key.to_owned());
        }
    });
    assert_eq!(missing, Vec::<String>::new());

    let written = load(&path).unwrap().effective.to_json();
    let empty = tempfile::NamedTempFile::new().unwrap();
    let built_in = load(empty.path()).unwrap().effective.to_json();
    for table in [
        "admin",
        "metrics",
        "policy",
        "cache",
        "audit",
        "timeouts",
        "limits",
        "retry",
        "runtime",
        "telemetry",
    ] {
        assert_eq!(
            written["configuration"][table], built_in["configuration"][table],
            "[{table}] in config/gateway.toml"
        );
    }
}

fn keys(schema: &serde_json::Value, visit: &mut impl FnMut(&str)) {
    if let Some(object) = schema.as_object() {
        if let Some(properties) = object.get("properties").and_then(|value| value.as_object()) {
            properties.keys().for_each(|key| visit(key));
        }
        object.values().for_each(|inner| keys(inner, visit));
    }
}

#[test]
fn what_check_says_of_a_sidecar() {
    let loaded = load(&root().join("config/examples/sidecar-vault.toml")).unwrap();
    insta::assert_snapshot!(explained(&loaded), @r"
    config/examples/sidecar-vault.toml is in order.

    Listeners
      sidecar             127.0.0.1:8080, calls go to `production`
                          for every process on this machine; each is `billing`

    Profiles
      production          https://api.pigello.io, trusting this machine's roots
                          with the credentials `production`

    Credentials
      production          secret/pigello/production in the vault at https://vault.internal:8200 (KV version 2, login: kubernetes)
                          read again every 1m; used for up to 24h without it

    Who may do what
      billing             known by the listener `sidecar`
                          may use 8 of 63 operations: subtenant.* (7), tenant.get
      everyone else       is refused
      other requests      are refused if they match no operation

    Answered from memory
      subtenant.get       fresh for 1m unless the answer says otherwise; 10m more if Pigello fails
      protectedidentity   never

    Audit trail
      every call          /var/lib/pigello-gateway/audit, on disk within a second
      not writable        calls are refused

    Admin
      unix:/var/lib/pigello-gateway/audit/admin.sock
                          health, metrics, status, the page, purge and refresh
                          for the gateway's user and root
    ");
}

#[test]
fn what_check_says_of_a_shared_gateway() {
    let loaded = load(&root().join("config/examples/shared-mtls.toml")).unwrap();
    insta::assert_snapshot!(explained(&loaded), @r"
    config/examples/shared-mtls.toml is in order.

    Listeners
      shared              0.0.0.0:8443, calls go to `production`
                          for machines that reach it, with a certificate from `client_ca`
                          also served as pigello-gateway.internal

    Profiles
      production          https://api.pigello.io, trusting this machine's roots
                          with the credentials `production`

    Credentials
      production          secret/pigello/production in the vault at https://vault.internal:8200 (KV version 2, login: approle)
                          read again every 1m; kept while the source cannot be reached

    Who may do what
      billing             known by certificate of spiffe://corp/billing
                          may use 14 of 63 operations: subtenant.* (7), tenant.* (7)
      directory-sync      known by certificate of directory-sync.internal
                          may use 20 of 63 operations: *.list (10), *.get (10)
      everyone else       is refused
      other requests      are refused if they match no operation

    Answered from memory
      subtenant.get       fresh for 1m unless the answer says otherwise; 10m more if Pigello fails
      protectedidentity   never

    Audit trail
      every call          /var/lib/pigello-gateway/audit, on disk before the answer leaves
      not writable        calls are refused

    Admin
      unix:/var/lib/pigello-gateway/audit/admin.sock
                          health, metrics, status, the page, purge and refresh
                          for the gateway's user and root
    ");
}

fn explained(loaded: &Loaded) -> String {
    let mut out = anstream::StripStream::new(Vec::new());
    check::explain(loaded, &mut out).unwrap();
    let text = String::from_utf8(out.into_inner()).unwrap();
    text.replace(&format!("{}/", root().display()), "")
}
