//! The programs in `examples/clients`, run as they stand against the gateway and a mock of Pigello.

use std::{path::PathBuf, process::Command};

use crate::{
    bao::skip,
    program::{Place, Running, exchange, get},
};

/// A gateway that lets everybody list, and one more caller that may not.
struct Served {
    place: Place,
    address: String,
    _gateway: Running,
}

impl Served {
    fn start(more: &str) -> Self {
        let place = Place::new(more);
        let mut gateway = Running::start(&["serve", "--config", &place.config()]);
        let address = gateway.address_of("tcp");
        let admin = gateway.address_of("admin");
        while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
        Self { place, address, _gateway: gateway }
    }
}

fn example(path: &str) -> PathBuf {
    crate::config::root().join("examples/clients").join(path)
}

/// Runs a client against the gateway: exit code, standard output, standard error.
fn run(served: &Served, program: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(program)
        .args(arguments)
        .env("PIGELLO_URL", format!("http://{}", served.address))
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

pub(crate) fn is_there(program: &str, arguments: &[&str]) -> bool {
    let there = Command::new(program).args(arguments).output();
    let there = there.is_ok_and(|output| output.status.success());
    if !there {
        skip(&format!("`{program} {}` does not work here", arguments.join(" ")));
    }
    there
}

/// It lists, and tells what the gateway says where it may not.
fn works(command: &[&str], file: &str, check: &[&str]) {
    let (program, arguments) = command.split_first().unwrap();
    if !is_there(program, check) {
        return;
    }
    let path = example(file);
    let arguments = [arguments, &[path.to_str().unwrap()]].concat();
    let (code, out, errors) = run(&Served::start(""), program, &arguments);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("(request "), "{out}");
    assert!(!out.starts_with('0'), "{out}");
    let refusing = Served::start("[[callers]]\nname = \"other\"\nunix_uids = [4242]\nallow = []\n");
    let (code, out, errors) = run(&refusing, program, &arguments);
    assert_eq!((code, out.as_str()), (Some(1), ""), "{errors}");
    assert!(errors.contains("The caller is not known"), "{errors}");
}

#[test]
fn python() {
    works(&["python3"], "python/subtenants.py", &["-c", "import requests"]);
}

#[test]
fn node() {
    works(&["node"], "node/subtenants.mjs", &["-e", "fetch"]);
}

#[test]
fn java() {
    // The program is compiled where it is run.
    if is_there("javac", &["--version"]) {
        works(&["java"], "java/Subtenants.java", &["--version"]);
    }
}

#[test]
fn go() {
    works(&["go", "run"], "go/subtenants.go", &["version"]);
}

#[test]
fn curl_over_the_unix_socket() {
    if !is_there("curl", &["--version"]) {
        return;
    }
    let served = Served::start("");
    let socket = served.place.path("gateway.sock");
    let script = example("curl/subtenants.sh");
    let arguments = [script.to_str().unwrap(), socket.to_str().unwrap()];
    let (code, out, errors) = run(&served, "sh", &arguments);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("\"id\""), "{out}");
}

#[test]
#[ignore = "its dependencies take minutes to build"]
fn rust() {
    let served = Served::start("");
    let manifest = example("rust/Cargo.toml");
    let arguments = ["run", "--quiet", "--manifest-path", manifest.to_str().unwrap()];
    let (code, out, errors) = run(&served, env!("CARGO"), &arguments);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("subtenants (request "), "{out}");
}

/// No client sends one of the seven, and each takes its address from where the README says.
#[test]
fn every_client_leaves_the_seven_to_the_gateway() {
    for file in [
        "python/subtenants.py",
        "node/subtenants.mjs",
        "java/Subtenants.java",
        "go/subtenants.go",
        "csharp/Program.cs",
        "rust/src/main.rs",
    ] {
        let text = std::fs::read_to_string(example(file)).unwrap();
        assert!(!text.to_lowercase().contains("x-pigello"), "{file}");
        assert!(text.contains("PIGELLO_URL"), "{file}");
        assert!(text.lines().count() < 55, "{file} is short");
    }
}
