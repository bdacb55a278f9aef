//! A credential set in each of the four sources, and how it is rotated there from outside.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use pigello_gateway::mock::MADE_UP_VALUES;

use crate::program::Place;

/// Where the seven values are, for one test.
pub(crate) enum Source {
    Directory,
    Environment,
    Sealed,
    Vault(Bao),
}

impl Source {
    /// All that can be tried here, with files in that folder. Without an OpenBao server the vault is
    /// missing, loudly.
    pub(crate) fn all(folder: &Path) -> Vec<Self> {
        let vault = Bao::start(&folder.join("vault")).map(Self::Vault);
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
            Self::Vault(bao) => bao.table(),
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
            Self::Vault(bao) => bao.write(secret),
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

/// A real OpenBao server on loopback, in memory, with TLS; killed with the test.
pub(crate) struct Bao {
    child: Child,
    folder: PathBuf,
    address: String,
}

impl Bao {
    fn start(folder: &Path) -> Option<Self> {
        let program = std::env::var_os("BAO_BIN").map(PathBuf::from).filter(|path| path.is_file());
        let Some(program) = program else {
            let required = std::env::var_os("PIGELLO_TEST_REQUIRE_TOOLS").is_some();
            assert!(!required, "no OpenBao server: BAO_BIN names none");
            say_skipped("the vault: BAO_BIN names no OpenBao server");
            return None;
        };
        fs::create_dir(folder).unwrap();
        // The server ends with the test, however that ends.
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["server", "-dev", "-dev-no-store-token", "-dev-tls"])
            .args(["-dev-listen-address=127.0.0.1:0", "-dev-root-token-id", TOKEN])
            .arg(format!("-dev-tls-cert-dir={}", folder.display()))
            .env_clear()
            .env("HOME", folder)
            .env("PATH", "/usr/bin:/bin")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        // With port 0 it takes a free port and the one after it, and tells only the latter.
        let told = lines.find_map(|line| {
            let (_, rest) = line.split_once("cluster address: \"127.0.0.1:")?;
            rest.split('"').next()?.parse::<u16>().ok()
        });
        let address = format!("https://127.0.0.1:{}", told.unwrap() - 1);
        lines.find(|line| line.contains("Root Token: ")).unwrap();
        // What it says from here on is nobody's concern, and must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        fs::write(folder.join("token"), TOKEN).unwrap();
        Some(Self { child, folder: folder.to_owned(), address })
    }

    fn table(&self) -> String {
        format!(
            "[vault]\naddress = \"{}\"\nca_file = \"{folder}/vault-ca.pem\"\n\
             [vault.auth]\nmethod = \"token\"\ntoken_file = \"{folder}/token\"\n",
            self.address,
            folder = self.folder.display(),
        )
    }

    fn write(&self, secret: &str) {
        let mut values = serde_json::Map::new();
        for (name, value) in MADE_UP_VALUES {
            let value = if name.key() == "client_secret" { secret } else { value };
            values.insert(name.key().to_owned(), value.into());
        }
        let mut command = Command::new(std::env::var_os("BAO_BIN").unwrap());
        command.args(["kv", "put", "-mount=secret", "pigello", "-"]).env_clear();
        command.env("HOME", &self.folder).env("BAO_ADDR", &self.address).env("BAO_TOKEN", TOKEN);
        command.env("BAO_CACERT", self.folder.join("vault-ca.pem"));
        fed(&mut command, &serde_json::Value::from(values).to_string());
    }
}

impl Drop for Bao {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Says loudly what a test leaves out.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn say_skipped(what: &str) {
    eprintln!("\n*** SKIPPED: {what} ***\n");
}

/// A token of a test's own server.
const TOKEN: &str = "made-up-root-token";

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
