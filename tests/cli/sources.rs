//! A credential set in each of the four sources, and how it is rotated there from outside.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use pigello_mock::{Authority, MADE_UP_VALUES};

use crate::{bao::Bao, program::Place};

/// Where the seven values are, for one test.
pub(crate) enum Source {
    Directory,
    Environment,
    Sealed,
    Vault(Bao),
}

impl Source {
    /// All that can be tried here. Without an OpenBao server the vault is missing, loudly.
    pub(crate) fn all() -> Vec<Self> {
        let vault = Bao::start().map(Self::Vault);
        [Self::Directory, Self::Environment, Self::Sealed].into_iter().chain(vault).collect()
    }

    /// Whether a process that runs can get another secret.
    pub(crate) fn rotates(&self) -> bool {
        !matches!(self, Self::Environment)
    }

    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::Environment => "environment",
            Self::Sealed => "sealed",
            Self::Vault(_) => "vault",
        }
    }

    /// Makes the place's configuration read from here, with more keys for the set.
    pub(crate) fn configure(&self, place: &Place, more: &str) {
        let keys = match self {
            Self::Directory => "source = \"directory\"\npath = \"credentials\"\n".to_owned(),
            Self::Environment => "source = \"environment\"\nprefix = \"LEAK_\"\n".to_owned(),
            Self::Sealed => {
                "source = \"sealed\"\nfile = \"made-up.sealed\"\nkey_file = \"made-up.key\"\n"
                    .to_owned()
            }
            Self::Vault(_) => "source = \"vault\"\npath = \"pigello\"\n".to_owned(),
        };
        let text = fs::read_to_string(place.path("gateway.toml")).unwrap();
        let (head, rest) = text.split_once("[credentials.test]").unwrap();
        let (_, tail) = rest.split_once("[audit]").unwrap();
        let vault = match self {
            Self::Vault(bao) => bao.tables(),
            _ => String::new(),
        };
        let text = format!("{head}[credentials.test]\n{keys}{more}{vault}\n[audit]{tail}");
        fs::write(place.path("gateway.toml"), text).unwrap();
    }

    /// Puts a set with this secret in.
    pub(crate) fn write(&self, place: &Place, secret: &str) {
        match self {
            // The environment is given at the start.
            Self::Environment => {}
            Self::Directory => {
                // Written aside and moved into place, as whoever renders secrets does it.
                fs::write(place.path("aside"), secret).unwrap();
                fs::rename(place.path("aside"), place.path("credentials/client_secret")).unwrap();
            }
            Self::Sealed => {
                let tool = |arguments: &[&str], input: &str| {
                    let mut command = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
                    command.args(["credentials", "--name", "test", "--file"]);
                    command.arg(place.path("made-up.sealed")).args(arguments);
                    fed(&mut command, input);
                };
                if !place.path("made-up.sealed").exists() {
                    tool(&["init"], "");
                    let folder = place.path("credentials");
                    tool(&["set", "--from-directory", folder.to_str().unwrap()], "");
                }
                tool(&["set", "client_secret"], secret);
            }
            Self::Vault(bao) => {
                let values = MADE_UP_VALUES.map(|(name, value)| {
                    let value = if name.is_secret() { secret } else { value };
                    (name.key().to_owned(), value.into())
                });
                let values = serde_json::Value::Object(values.into_iter().collect());
                let mut command = bao.command(&["kv", "put", "-mount=secret", "pigello", "-"]);
                fed(&mut command, &values.to_string());
            }
        }
    }

    /// Variables for the program.
    pub(crate) fn variables(&self, secret: &str) -> Vec<(String, String)> {
        if !matches!(self, Self::Environment) {
            return Vec::new();
        }
        let values = MADE_UP_VALUES.iter().map(|(name, value)| (name.key(), *value));
        let values = values.map(|(key, value)| {
            let value = if key == "client_secret" { secret } else { value };
            (format!("LEAK_{}", key.to_uppercase()), value.to_owned())
        });
        values.collect()
    }
}

/// Runs a command with that on standard input; it must work.
fn fed(command: &mut Command, input: &str) {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Over TLS, with roots of one's own; where they are not trusted, the version in use stays in use.
#[test]
fn a_rotation_is_tried_over_tls_first() {
    let place = Place::accepting_anything("");
    Source::Sealed.write(&place, "made-up-first");
    let path = |name: &str| place.path(name).to_str().unwrap().to_owned();
    let config = fs::read_to_string(place.config()).unwrap();
    let (_, rest) = config.split_once("upstream = \"").unwrap();
    let (origin, _) = rest.split_once('"').unwrap();
    fs::write(place.path("other.pem"), Authority::new("other").unwrap().pem()).unwrap();
    let (file, gateway) = (path("made-up.sealed"), path("gateway.toml"));
    let store = ["credentials", "--name", "test", "--file", &file, "--config", &gateway];
    let store = store.map(str::to_owned);
    let mut stage = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
    fed(stage.args(&store).args(["rotate", "client_secret"]), "made-up-second");
    for (roots, tells) in [("other.pem", Err("cannot reach")), ("ca.pem", Ok("takes version"))] {
        let roots = path(roots);
        let arguments = ["rotate", "--promote", "--probe", origin, "--probe-ca-file", &roots];
        let arguments: Vec<_> = store.iter().map(String::as_str).chain(arguments).collect();
        let (code, out, errors) = crate::program::output(&arguments);
        let (expected, told, text) = match tells {
            Ok(text) => (0, &out, text),
            Err(text) => (1, &errors, text),
        };
        assert_eq!(code, Some(expected), "{out}{errors}");
        assert!(told.contains(text), "{out}{errors}");
        assert_eq!(out.contains("is in use"), tells.is_ok(), "{out}{errors}");
    }
}

/// Typed as an argument, a secret is refused, and not said again on standard error.
#[test]
fn what_is_typed_in_the_wrong_place_is_not_repeated() {
    for arguments in [
        &["credentials", "set", "client_secret", "typed-secret"][..],
        &["credentials", "set", "typed-secret"],
        &["credentials", "set", "--client-secret", "typed-secret"],
        &["credentials", "set", "--client-secret=typed-secret"],
        &["credentials", "typed-secret"],
        &["credentials", "rotate", "client_secret", "typed-secret"],
    ] {
        let (code, out, errors) = crate::program::output(arguments);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}: {errors}");
        assert!(!errors.contains("typed-secret"), "{arguments:?}: {errors}");
        assert!(errors.contains("Usage:") || errors.contains("--help"), "{errors}");
    }
}
