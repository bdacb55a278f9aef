//! What a person reads who made one of the likely mistakes: what happened, where, why it matters, what
//! to do. One file a mistake in `messages/`; `UPDATE_EXPECTED=1` writes them anew.
//!
//! Mistakes in the configuration's text are in `config/bad`.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _, path::PathBuf};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    docs::is_as_made,
    program::{Running, exchange, get, output},
};

/// A folder with a configuration that starts, until something in it is broken.
struct Place {
    folder: TempDir,
    listener: String,
    profile: String,
    credentials: String,
    more: String,
    /// What differs from run to run, and what it is called in the expectation.
    stands_for: Vec<(String, String)>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("credentials")).unwrap();
        for (name, value) in pigello_mock::MADE_UP_VALUES {
            fs::write(folder.path().join("credentials").join(name.key()), value).unwrap();
        }
        Self {
            folder,
            listener: "address = \"127.0.0.1:0\"".to_owned(),
            profile: String::new(),
            credentials: "source = \"directory\"\npath = \"credentials\"".to_owned(),
            more: String::new(),
            stands_for: Vec::new(),
        }
    }

    fn listener(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.listener);
        self
    }

    fn profile(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.profile);
        self
    }

    fn credentials(mut self, keys: &str) -> Self {
        keys.clone_into(&mut self.credentials);
        self
    }

    fn more(mut self, tables: &str) -> Self {
        tables.clone_into(&mut self.more);
        self
    }

    fn standing_for(mut self, this: &str, that: &str) -> Self {
        self.stands_for.push((this.to_owned(), that.to_owned()));
        self
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn config(&self) -> String {
        let Self { listener, profile, credentials, more, .. } = self;
        let text = format!(
            "[[listeners]]\nname = \"main\"\nprofile = \"test\"\n{listener}\n\
             [admin]\naddress = \"unix:{}\"\n\
             [profiles.test]\nupstream = \"https://api.pigello.test\"\ncredentials = \"test\"\n{profile}\n\
             [credentials.test]\n{credentials}\n\
             [audit]\ndirectory = \"audit\"\n{more}\n",
            self.path("admin.sock").display(),
        );
        let file = self.path("gateway.toml");
        fs::write(&file, text).unwrap();
        file.to_str().unwrap().to_owned()
    }

    /// What `serve` says when it does not start.
    fn refuses_as(&self, name: &str) {
        let (code, _, errors) = output(&["serve", "--config", &self.config()]);
        let message: Vec<_> = errors.lines().filter(|line| !line.starts_with('{')).collect();
        let told = format!("exit code {}\n{}\n", code.unwrap(), message.join("\n"));
        is_as_expected(name, &self.plain(&told));
    }

    /// What a gateway that runs without credentials tells callers, and what it tells whoever runs it.
    fn has_no_credentials_as(&self, name: &str) {
        let mut gateway = Running::start(&["serve", "--config", &self.config()]);
        let admin = gateway.address_of("admin");
        let ask = |path: &str| -> Value {
            let answer = exchange(&admin, &get(path));
            let (_, body) = answer.split_once("\r\n\r\n").unwrap();
            serde_json::from_str(body).unwrap()
        };
        // Nothing is wrong before the first read has failed.
        let told = loop {
            if let Some(error) =
                ask("/status").pointer("/credentials/0/last_error").and_then(Value::as_str)
            {
                break error.to_owned();
            }
        };
        let readiness = ask("/readyz");
        let callers = readiness.pointer("/reasons/0/reason").and_then(Value::as_str).unwrap();
        is_as_expected(name, &self.plain(&format!("callers: {callers}\noperators: {told}\n")));
        gateway.end();
    }

    /// Without what differs from run to run.
    fn plain(&self, text: &str) -> String {
        let text = text.replace(self.folder.path().to_str().unwrap(), "/etc/pigello-gateway");
        self.stands_for.iter().fold(text, |text, (this, that)| text.replace(this, that))
    }
}

#[track_caller]
fn is_as_expected(name: &str, told: &str) {
    is_as_made(&format!("tests/cli/messages/{name}.txt"), told);
}

#[test]
fn a_port_that_is_taken() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let place = Place::new().listener(&format!("address = \"{address}\""));
    place.standing_for(&address, "127.0.0.1:8080").refuses_as("port-taken");
}

#[test]
fn an_address_of_another_machine() {
    let place = Place::new().listener("address = \"192.0.2.1:8080\"\nallow_remote = true");
    place.refuses_as("address-of-another-machine");
}

#[test]
fn a_socket_in_a_folder_that_is_not_there() {
    let place = Place::new();
    let socket = place.path("run/gateway.sock");
    place.listener(&format!("address = \"unix:{}\"", socket.display())).refuses_as("socket-folder");
}

#[test]
fn a_file_where_the_trail_should_be() {
    let place = Place::new();
    fs::write(place.path("audit"), "in the way").unwrap();
    place.refuses_as("audit-is-a-file");
}

#[test]
fn a_trail_that_another_gateway_writes() {
    let place = Place::new();
    let mut first = Running::start(&["serve", "--config", &place.config()]);
    first.address_of("admin");
    place.refuses_as("audit-in-use");
    first.end();
}

#[test]
fn roots_that_are_not_there_or_none() {
    let place = Place::new().profile("ca_file = \"ca.pem\"");
    place.refuses_as("roots-missing");
    fs::write(place.path("ca.pem"), "no PEM").unwrap();
    place.refuses_as("roots-empty");
}

#[test]
fn revocation_lists_that_are_not_there_or_none() {
    let place = Place::new().profile("crl_file = \"crl.pem\"");
    place.refuses_as("revocation-list-missing");
    fs::write(place.path("crl.pem"), "no PEM").unwrap();
    place.refuses_as("revocation-list-empty");
    let vault = "[vault]\naddress = \"https://vault.test\"\ncrl_file = \"crl.pem\"\n\
                 [vault.auth]\nmethod = \"token\"\ntoken_file = \"token\"";
    let place = Place::new().credentials("source = \"vault\"\npath = \"pigello\"").more(vault);
    place.refuses_as("revocation-list-of-the-vault-missing");
}

#[test]
fn the_credentials_of_a_proxy_that_are_not_there_or_open_to_others() {
    let proxy = "proxy = \"http://proxy.test:3128\"\nproxy_authorization_file = \"password\"";
    let vault = format!(
        "[vault]\naddress = \"https://vault.test\"\n{proxy}\n\
         [vault.auth]\nmethod = \"token\"\ntoken_file = \"token\""
    );
    let of_vault = Place::new().credentials("source = \"vault\"\npath = \"pigello\"").more(&vault);
    of_vault.refuses_as("proxy-credentials-of-the-vault-missing");
    let collector = format!("[telemetry]\notlp_endpoint = \"https://collector.test\"\n{proxy}");
    let of_collector = Place::new().more(&collector);
    of_collector.refuses_as("proxy-credentials-of-the-collector-missing");
    fs::write(of_collector.path("password"), "made-up-user:made-up-password").unwrap();
    fs::set_permissions(of_collector.path("password"), fs::Permissions::from_mode(0o644)).unwrap();
    of_collector.refuses_as("proxy-credentials-open-to-others");
}

#[test]
fn a_listeners_certificate_that_cannot_be_used() {
    let tls = "[listeners.tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"";
    let place = Place::new().listener(&format!("address = \"127.0.0.1:0\"\n{tls}"));
    place.refuses_as("certificate-missing");
    let made = || rcgen::generate_simple_self_signed(["gateway.test".to_owned()]).unwrap();
    fs::write(place.path("cert.pem"), made().cert.pem()).unwrap();
    fs::write(place.path("key.pem"), "no key").unwrap();
    place.refuses_as("certificate-without-key");
    fs::write(place.path("key.pem"), made().signing_key.serialize_pem()).unwrap();
    place.refuses_as("certificate-of-another-key");
}

#[test]
fn seven_values_minus_one() {
    let place = Place::new();
    fs::remove_file(place.path("credentials/service_id")).unwrap();
    place.has_no_credentials_as("six-values");
}

#[test]
fn a_folder_of_credentials_that_is_not_there() {
    let place = Place::new().credentials("source = \"directory\"\npath = \"elsewhere\"");
    place.has_no_credentials_as("credentials-folder");
}

#[test]
fn a_sealed_store_without_its_key() {
    let sealed =
        "source = \"sealed\"\nfile = \"credentials.sealed\"\nkey_file = \"credentials.key\"";
    Place::new().credentials(sealed).has_no_credentials_as("sealed-without-key");
}

#[test]
fn a_vault_that_is_away() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let vault = format!(
        "[vault]\naddress = \"http://{address}\"\n[vault.auth]\nmethod = \"token\"\ntoken_file = \"token\"\n"
    );
    let place = Place::new().credentials("source = \"vault\"\npath = \"pigello\"").more(&vault);
    fs::write(place.path("token"), "made-up-token").unwrap();
    place.standing_for(&address, "127.0.0.1:8200").has_no_credentials_as("vault-away");
}
