//! Callers' own HTTP clients, at the edges where a server's manners decide: uploads that are refused
//! early (RFC 9112 §9.6), and requests at the end of the idle time.

use std::{path::PathBuf, process::Command};

use crate::{
    clients::is_there,
    program::{Place, Running, exchange, get},
};

const LIST: &str = "/accounts/users/customer/subtenant/list/";

/// A gateway with a listener of each kind.
struct Gateway {
    place: Place,
    addresses: Vec<String>,
    _running: Running,
}

impl Gateway {
    fn start(more: &str) -> Self {
        let place = Place::new(&format!(
            "{more}\n[[listeners]]\nname = \"tls\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
             [listeners.tls]\ncertificate = \"cert.pem\"\nprivate_key = \"key.pem\"\n"
        ));
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(place.path("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(place.path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let mut running = Running::start(&["serve", "--config", &place.config()]);
        let tcp = running.address_of("tcp");
        let tls = running.address_of("tls").replace("127.0.0.1", "localhost");
        let admin = running.address_of("admin");
        while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
        let unix = format!("unix:{}", place.path("gateway.sock").display());
        let addresses = vec![format!("http://{tcp}"), unix, format!("https://{tls}")];
        Self { place, addresses, _running: running }
    }
}

fn peer(file: &str) -> PathBuf {
    crate::config::root().join("tests/cli/peers").join(file)
}

/// The clients: a program, its arguments before the file, the file, and how to ask whether it works.
const CLIENTS: &[(&str, &[&str], &str, &str)] = &[
    ("python3", &[], "calls.py", "--version"),
    ("node", &[], "calls.mjs", "--version"),
    ("go", &["run"], "calls.go", "version"),
    ("java", &[], "Calls.java", "--version"),
];

fn calls(client: &(&str, &[&str], &str, &str), arguments: &[&str]) -> String {
    let (program, before, file, _) = client;
    let output =
        Command::new(program).args(*before).arg(peer(file)).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    assert!(output.status.success(), "{program}: {}", text(&output.stderr));
    text(&output.stdout)
}

#[test]
fn a_refused_upload_is_answered_with_its_status() {
    let refused = "[[callers]]\nname = \"other\"\nunix_uids = [4242]\nallow = []\n";
    let (open, closed) = (Gateway::start(""), Gateway::start(refused));
    for client @ (program, .., version) in CLIENTS {
        if !is_there(program, &[version]) {
            continue;
        }
        for (gateway, status, length) in [(&open, "413", 20 << 20), (&closed, "403", 6 << 20)] {
            for address in &gateway.addresses {
                if *program == "java" && address.starts_with("unix:") {
                    // The JDK's client knows no Unix sockets.
                    continue;
                }
                let length = length.to_string();
                let seen = calls(client, &[address, "POST", LIST, &length, "20", "-1"]);
                assert_eq!(seen, format!("{status}: 20"), "{program} to {address}");
            }
        }
    }
    drop((open.place, closed.place));
}

/// Each client uses its connections again when their idle time ends. None of these POSTs may be lost:
/// a client cannot know whether it may send one again.
#[test]
fn a_post_at_the_edge_of_the_idle_time_is_answered() {
    let gateway = Gateway::start("[timeouts]\nidle = \"2s\"\n");
    let path = "/accounts/users/customer/subtenant/";
    for client in CLIENTS.iter().filter(|(program, ..)| matches!(*program, "node" | "go")) {
        if !is_there(client.0, &[client.3]) {
            continue;
        }
        let seen = calls(client, &[&gateway.addresses[0], "POST", path, "2", "500", "2000"]);
        // A slow machine may answer with another status, but it answers.
        let answered = seen.split(", ").map(|part| part.split_once(": ").unwrap());
        let answered = answered.filter(|(what, _)| what.parse::<u16>().is_ok());
        let count: u32 = answered.map(|(_, times)| times.parse::<u32>().unwrap()).sum();
        assert_eq!(count, 500, "{}: {seen}", client.0);
    }
}

#[test]
fn curl_has_the_status_of_a_refused_upload_over_http2() {
    if !is_there("curl", &["--version"]) {
        return;
    }
    let gateway = Gateway::start("");
    let body = gateway.place.path("body");
    std::fs::write(&body, vec![b'x'; 20 << 20]).unwrap();
    let url = format!("{}{LIST}", gateway.addresses[0]);
    for _ in 0..5 {
        let output = Command::new("curl")
            .args(["--silent", "--http2-prior-knowledge", "--output", "/dev/null"])
            .args(["--write-out", "%{http_code}", "--data-binary"])
            .arg(format!("@{}", body.display()))
            .args(["--header", "content-type: application/json", &url])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "413");
    }
}
