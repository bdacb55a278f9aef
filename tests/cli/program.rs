//! The program itself, started and ended as a person or a supervisor does.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    os::unix::net::UnixStream,
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::{self, JoinHandle},
};

use pigello_mock::{EXAMPLE_SUBTENANT, MADE_UP_VALUES};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub(crate) fn program() -> Command {
    let mut program = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"));
    program.env_remove("PIGELLO_GATEWAY_CONFIG").stdin(Stdio::null());
    program
}

pub(crate) fn output(arguments: &[&str]) -> (Option<i32>, String, String) {
    told(program().args(arguments).output().unwrap())
}

pub(crate) fn told(output: Output) -> (Option<i32>, String, String) {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A program that runs until it is told to end; killed with the test.
pub(crate) struct Running {
    child: Child,
    lines: BufReader<std::process::ChildStdout>,
    /// Reads standard error, because a pipe that nobody reads fills up and stops the program.
    errors: Option<JoinHandle<String>>,
}

impl Running {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Self::start_logging(arguments, Stdio::piped())
    }

    /// With standard error where it is wanted.
    pub(crate) fn start_logging(arguments: &[&str], log: Stdio) -> Self {
        Self::of(program().args(arguments).stderr(log))
    }

    /// Another command that runs the program, with standard error where it is wanted.
    pub(crate) fn of(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        let errors = child.stderr.take().map(|mut stderr| {
            thread::spawn(move || {
                let mut errors = String::new();
                stderr.read_to_string(&mut errors).unwrap();
                errors
            })
        });
        Self { child, lines, errors }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The first line of standard output that holds `text`.
    pub(crate) fn line_with(&mut self, text: &str) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if line.contains(text) {
                return line;
            }
            line.clear();
        }
        panic!("it ended without saying {text:?}: {}", self.errors());
    }

    /// What was on standard error until its end.
    fn errors(&mut self) -> String {
        self.errors.take().map(|errors| errors.join().unwrap()).unwrap_or_default()
    }

    /// The address that `mock-upstream` announces.
    pub(crate) fn origin(&mut self) -> String {
        let line = self.line_with("https://");
        let origin = line.split_whitespace().find(|word| word.starts_with("https://")).unwrap();
        origin.trim_end_matches(['/', '.', ',']).to_owned()
    }

    /// The address that `serve` announces for a listener.
    pub(crate) fn address_of(&mut self, listener: &str) -> String {
        let line = self.line_with(&format!("listener={listener} "));
        line.trim_end().rsplit("address=").next().unwrap().to_owned()
    }

    /// Waits until it ends by itself, or by a signal.
    pub(crate) fn wait(mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Sends SIGTERM, and returns the exit code and what was on standard error.
    pub(crate) fn end(mut self) -> (Option<i32>, String) {
        self.signal(Signal::TERM);
        (self.child.wait().unwrap().code(), self.errors())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A mock and a gateway's configuration in front of it, in a folder of their own.
pub(crate) struct Place {
    folder: TempDir,
    pigello: Running,
}

impl Place {
    pub(crate) fn new(more: &str) -> Self {
        Self::with_mock(more, &[])
    }

    /// In front of a mock that takes any credentials.
    pub(crate) fn accepting_anything(more: &str) -> Self {
        Self::with_mock(more, &["--accept-any-values"])
    }

    /// In front of a mock with these options.
    pub(crate) fn with_mock(more: &str, mock: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let ca = path("ca.pem");
        let arguments =
            ["mock-upstream", "--listen", "127.0.0.1:0", "--ca-out", ca.to_str().unwrap()];
        let mut pigello = Running::start(&[&arguments[..], mock].concat());
        let origin = pigello.origin();
        fs::create_dir(path("credentials")).unwrap();
        for (name, value) in MADE_UP_VALUES {
            fs::write(path("credentials").join(name.key()), value).unwrap();
        }
        let configuration = format!(
            r#"
            [[listeners]]
            name = "tcp"
            address = "127.0.0.1:0"
            profile = "test"
            [[listeners]]
            name = "unix"
            address = "unix:{socket}"
            profile = "test"
            [admin]
            address = "unix:{admin}"
            [profiles.test]
            upstream = "{origin}"
            credentials = "test"
            ca_file = "ca.pem"
            [credentials.test]
            source = "directory"
            path = "credentials"
            [audit]
            directory = "audit"
            {more}
            "#,
            socket = path("gateway.sock").display(),
            admin = path("admin.sock").display(),
        );
        fs::write(path("gateway.toml"), configuration).unwrap();
        Self { folder, pigello }
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("gateway.toml").to_str().unwrap().to_owned()
    }
}

pub(crate) fn get(target: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
}

/// Sends a request to an address as `serve` says it, and returns the answer.
pub(crate) fn exchange(address: &str, request: &str) -> String {
    let mut answer = String::new();
    if let Some(path) = address.strip_prefix("unix:") {
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
    } else {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        stream.read_to_string(&mut answer).unwrap();
    }
    answer
}

#[test]
fn serve_announces_its_addresses_serves_and_drains_on_sigterm() {
    let place = Place::new("");
    let mut gateway = Running::start(&["serve", "--config", &place.config()]);
    let address = gateway.address_of("tcp");
    let admin = gateway.address_of("admin");
    // The credentials are read in the background; readiness tells when they are there.
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let target = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    for answer in [
        exchange(&address, &get(&target)),
        exchange(&format!("unix:{}", place.path("gateway.sock").display()), &get(&target)),
    ] {
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        assert!(answer.contains(EXAMPLE_SUBTENANT));
    }
    gateway.signal(Signal::HUP);
    let (code, errors) = gateway.end();
    assert_eq!(code, Some(0), "{errors}");
    assert!(errors.contains("ended") && errors.contains("last_seq"), "{errors}");
    assert!(!place.path("gateway.sock").exists(), "the socket's file is removed");

    let config = place.config();
    let (code, out, errors) = output(&["audit", "verify", "--config", &config]);
    assert_eq!(code, Some(0), "{out}{errors}");
    let (code, out, _) = output(&["audit", "query", "--config", &config]);
    assert_eq!(code, Some(0));
    assert_eq!(out.matches("subtenant.get").count(), 2, "{out}");
    let (code, errors) = place.pigello.end();
    assert_eq!(code, Some(0), "{errors}");
}

#[test]
fn what_was_answered_is_on_a_synced_trail_after_a_kill() {
    let place = Place::new("durability = \"synced\"");
    let config = place.config();
    let mut gateway = Running::start(&["serve", "--config", &config]);
    let address = gateway.address_of("tcp");
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let (answered, answers) = std::sync::mpsc::channel();
    let caller = thread::spawn(move || {
        let list = get("/accounts/users/customer/tenant/list/");
        while let Some(id) = id_of(&address, &list) {
            answered.send(id).unwrap();
        }
    });
    // In the middle of a call, as far as anybody can tell.
    let mut ids: Vec<String> = answers.iter().take(5).collect();
    gateway.signal(Signal::KILL);
    caller.join().unwrap();
    drop(gateway);
    ids.extend(answers.iter());

    let (code, out, errors) = output(&["audit", "verify", "--config", &config]);
    assert_eq!(code, Some(0), "{out}{errors}");
    let (_, trail, _) = output(&["audit", "query", "--format", "json", "--config", &config]);
    for id in &ids {
        assert!(trail.contains(id.as_str()), "{id} in\n{trail}");
    }
    // The next one goes on with it.
    let mut gateway = Running::start(&["serve", "--config", &config]);
    gateway.address_of("tcp");
    assert_eq!(gateway.end().0, Some(0));
    let (code, out, errors) = output(&["audit", "verify", "--config", &config]);
    assert_eq!(code, Some(0), "{out}{errors}");
}

/// The identifier of a call that was answered in full; `None` once nobody answers.
fn id_of(address: &str, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let body = answer.split_once("\r\n\r\n")?.1;
    // Half an answer may end with the process; half a page is no JSON.
    serde_json::from_str::<serde_json::Value>(body).ok()?;
    let line = answer.lines().find(|line| line.starts_with("x-request-id: "))?;
    line.split_once(": ").map(|(_, id)| id.to_owned())
}

#[test]
fn a_bad_configuration_stops_it_before_any_socket_is_opened() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    let socket = folder.path().join("gateway.sock");
    let text = format!(
        r#"
        [[listeners]]
        name = "main"
        adress = "127.0.0.1:8080"
        address = "unix:{}"
        profile = "productoin"
        [profiles.production]
        upstream = "http://api.pigello.io"
        credentials = "production"
        [credentials.production]
        source = "directory"
        path = "values"
        client_secret = "canary-made-up-0042"
        [timeouts]
        connect = "soon"
        "#,
        socket.display()
    );
    fs::write(&file, text).unwrap();
    let (code, out, errors) = output(&["serve", "--config", file.to_str().unwrap()]);
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert_eq!(errors.matches("error: ").count(), 5, "{errors}");
    for key in [
        "listeners[0].adress",
        "did you mean `address`",
        "listeners[0].profile",
        "production",
        "profiles.production.upstream",
        "credentials.production.client_secret",
        "timeouts.connect",
        file.to_str().unwrap(),
    ] {
        assert!(errors.contains(key), "{key} in\n{errors}");
    }
    assert!(!errors.contains("canary"), "{errors}");
    assert!(!socket.exists());
}

#[test]
fn what_the_machine_refuses_is_exit_code_1() {
    let place = Place::new("");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = fs::read_to_string(place.config()).unwrap();
    let text = text.replacen("\"127.0.0.1:0\"", &format!("\"{address}\""), 1);
    fs::write(place.config(), text).unwrap();
    let (code, _, errors) = output(&["serve", "--config", &place.config()]);
    assert_eq!(code, Some(1), "{errors}");
    assert!(errors.contains(&format!("cannot listen on {address}")), "{errors}");
}

#[test]
fn a_proxy_that_is_set_and_not_used_is_named_without_its_password() {
    let config = crate::config::root().join("config/examples/sidecar-directory.toml");
    let mut check = program();
    check.args(["check", "--config"]).arg(&config);
    check.env("HTTPS_PROXY", "http://made-up:password@proxy.test:3128");
    let (code, out, err) = told(check.output().unwrap());
    assert_eq!(code, Some(0), "{err}");
    let told = format!("{out}{err}");
    assert!(told.contains("the variable HTTPS_PROXY is set and not used"), "{told}");
    assert!(!told.contains("password@"), "{told}");
}

#[test]
fn too_few_open_files_are_a_warning() {
    let config = crate::config::root().join("config/examples/sidecar-directory.toml");
    let told_with = |files: &str, connections: &str| {
        let mut check = Command::new("prlimit");
        check
            .arg(format!("--nofile={files}"))
            .arg(program().get_program())
            .args(["check", "--config"])
            .arg(&config);
        check.env("PIGELLO_GATEWAY_LIMITS__CONNECTIONS", connections);
        let (code, out, err) = told(check.output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        out
    };
    let few = told_with("512", "200");
    assert!(few.contains("there are open files for 192 connections only"), "{few}");
    assert!(few.contains("`LimitNOFILE`"), "{few}");
    let enough = told_with("528", "200");
    assert!(!enough.contains("open files"), "{enough}");
}

#[test]
fn the_proxy_of_the_environment_is_used_where_the_configuration_says_so() {
    let config = crate::config::root().join("config/examples/sidecar-directory.toml");
    let check = |proxy: &str, excluded: &str| {
        let mut check = program();
        check.args(["check", "--config"]).arg(&config);
        check.env("PIGELLO_GATEWAY_PROFILES__PRODUCTION__PROXY", "environment");
        check.env("HTTPS_PROXY", proxy).env("NO_PROXY", excluded);
        told(check.output().unwrap())
    };
    let through = "through the proxy http://proxy.test:3128";
    let (code, out, err) = check("http://proxy.test:3128", "");
    assert!(code == Some(0) && out.contains(through) && !err.contains("not used"), "{out}{err}");
    let (code, out, _) = check("http://proxy.test:3128", "localhost,pigello.io");
    assert!(code == Some(0) && !out.contains(through), "{out}");
    let (code, _, err) = check("http://made-up:password@proxy.test:3128", "");
    assert!(code == Some(2) && err.contains("proxy_authorization_file"), "{err}");
    assert!(!err.contains("password@"), "{err}");
}

#[test]
fn the_proxy_of_the_environment_is_not_for_this_machine() {
    let config = crate::config::root().join("config/examples/sidecar-directory.toml");
    for endpoint in ["http://127.0.0.1:4318", "http://localhost:4318", "https://[::1]:4318"] {
        let mut check = program();
        check.args(["check", "--config"]).arg(&config);
        check.env("PIGELLO_GATEWAY_PROFILES__PRODUCTION__PROXY", "environment");
        check.env("PIGELLO_GATEWAY_TELEMETRY__PROXY", "environment");
        check.env("PIGELLO_GATEWAY_TELEMETRY__OTLP_ENDPOINT", endpoint);
        check.env("HTTPS_PROXY", "http://proxy.test:3128");
        let (code, out, err) = told(check.output().unwrap());
        assert_eq!(code, Some(0), "{err}");
        assert!(out.contains("https://api.pigello.io, through the proxy"), "{out}");
        assert!(out.contains(&format!("{endpoint}\n")), "{out}");
    }
}

#[test]
fn a_missing_certificate_file_is_a_mistake_in_the_configuration() {
    let place = Place::new("");
    fs::remove_file(place.path("ca.pem")).unwrap();
    let (code, _, errors) = output(&["serve", "--config", &place.config()]);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("ca.pem"), "{errors}");
    assert!(!place.path("gateway.sock").exists());
}

#[test]
fn the_demo_shows_what_it_promises_and_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, errors) =
        told(program().arg("demo").env("TMPDIR", folder.path()).output().unwrap());
    assert_eq!(code, Some(0), "{out}\n{errors}");
    for shown in [
        "forged-by-the-caller",
        "x-pigello-client-secret",
        "fwd=miss",
        "hit",
        "403 Forbidden",
        "operation_not_allowed",
        "subtenant.update",
        "cached",
        "refused",
    ] {
        assert!(out.contains(shown), "{shown} in\n{out}");
    }
    let (_, secret) = MADE_UP_VALUES.iter().find(|(name, _)| name.is_secret()).unwrap();
    assert!(!out.contains(secret) && !errors.contains(secret));
    assert!(!out.contains('\u{1b}'), "no colours where there is no terminal");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn the_demo_stays_for_calls_of_ones_own_until_it_is_interrupted() {
    for end in [Signal::INT, Signal::TERM] {
        let folder = tempfile::tempdir().unwrap();
        let mut demo = program();
        demo.args(["demo", "--keep-running"]).env("TMPDIR", folder.path()).stderr(Stdio::null());
        let mut demo = Running::of(&mut demo);
        // The page comes first, and the link opens it.
        let link = demo.line_with("/session/enter?");
        let (address, target) =
            link.trim().strip_prefix("http://").unwrap().split_once('/').unwrap();
        let entered = exchange(address, &get(&format!("/{target}")));
        assert!(entered.starts_with("HTTP/1.1 303 "), "{entered}");
        let line = demo.line_with("curl -i http://");
        let (_, url) = line.trim_end().split_once("http://").unwrap();
        let (address, target) = url.split_once('/').unwrap();
        let answer = exchange(address, &get(&format!("/{target}")));
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let tail = demo.line_with("pigello-gateway audit tail --follow --directory ");
        let (_, directory) = tail.trim_end().split_once("--directory ").unwrap();
        assert!(fs::metadata(directory).unwrap().is_dir(), "{tail}");
        demo.signal(end);
        demo.line_with("Everything is removed again");
        assert!(demo.wait().success());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn health_tells_a_probe_whether_it_lives_and_whether_it_is_ready() {
    let place = Place::new("");
    let secret = place.path("credentials/client_secret");
    let kept = fs::read(&secret).unwrap();
    fs::remove_file(&secret).unwrap();
    let config = place.config();
    let mut gateway = Running::start(&["serve", "--config", &config]);
    let admin = gateway.address_of("admin");
    let ask = |arguments: &[&str]| {
        let mut health = program();
        health.args(["health", "--config", &config]).args(arguments);
        told(health.env("PIGELLO_GATEWAY_ADMIN__ADDRESS", &admin).output().unwrap())
    };
    let (code, _, errors) = ask(&[]);
    assert_eq!(code, Some(1), "{errors}");
    let sentence = "not ready: credentials `test`: ";
    assert!(errors.contains(sentence) && errors.contains("`client_secret` is missing"), "{errors}");
    assert!(errors.contains(", next try in ") && !errors.contains('{'), "{errors}");
    assert_eq!(ask(&["--live", "--wait", "30s"]).0, Some(0));
    let (code, _, errors) = ask(&["--wait", "600ms"]);
    assert_eq!(code, Some(1), "{errors}");
    assert_eq!(errors.matches(sentence).count(), 2, "on the way and at the end: {errors}");
    assert!(errors.contains("waiting for up to 600ms"), "{errors}");
    fs::write(&secret, kept).unwrap();
    let (code, _, errors) = ask(&["--wait", "1m"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(gateway.end().0, Some(0));
    let (code, _, errors) = ask(&["--live"]);
    assert_eq!(code, Some(1));
    assert!(errors.contains("cannot be asked") && errors.contains("hint: "), "{errors}");
}

#[test]
fn health_waits_for_a_gateway_that_is_about_to_start() {
    let place = Place::new("");
    let (config, admin) = (place.config(), format!("unix:{}", place.path("admin.sock").display()));
    let health = |wait: &str| {
        let mut health = program();
        health.args(["health", "--config", &config, "--wait", wait]);
        health.env("PIGELLO_GATEWAY_ADMIN__ADDRESS", &admin).stderr(Stdio::piped());
        health
    };
    let (code, _, errors) = told(health("150ms").output().unwrap());
    assert!(code == Some(1) && errors.contains("cannot be asked"), "{errors}");
    let mut waiting = health("60s").spawn().unwrap();
    let mut serve = program();
    serve.args(["serve", "--config", &config]).env("PIGELLO_GATEWAY_ADMIN__ADDRESS", &admin);
    let gateway = Running::of(&mut serve);
    assert!(waiting.wait().unwrap().success());
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn a_tail_goes_on_with_calls_as_they_come() {
    let place = Place::new("");
    let config = place.config();
    let mut gateway = Running::start(&["serve", "--config", &config]);
    let address = gateway.address_of("tcp");
    let list = get("/accounts/users/customer/tenant/list/");
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let before = id_of(&address, &list).unwrap();
    let query = ["audit", "query", "--format", "csv", "--config", &config];
    while !output(&query).1.contains(&before) {}
    let tail = ["audit", "tail", "--follow", "--lines", "0", "--format", "csv"];
    let mut tail = Running::start(&[&tail[..], &["--config", &config]].concat());
    tail.line_with("request_id");
    let after = id_of(&address, &list).unwrap();
    let line = tail.line_with("");
    assert!(line.contains(&after), "{line}");
}

/// The variables that Kubernetes sets about a service, whoever installed it.
#[test]
fn service_links_stop_no_command() {
    let place = Place::new("");
    let config = place.config();
    let commands: [&[&str]; 6] = [
        &["check", "--config", &config],
        &["config", "show", "--config", &config],
        &["explain", "GET", "/accounts/users/customer/subtenant/list/", "--config", &config],
        &["audit", "query", "--config", &config],
        &["health", "--live", "--config", &config],
        &["status", "--config", &config],
    ];
    let mut gateway = program();
    let services = [
        "PIGELLO_GATEWAY",
        "PIGELLO_GATEWAY_BILLING",
        "PIGELLO_GATEWAY_LIMITS",
        "PIGELLO_GATEWAY_2",
    ];
    let links: Vec<_> = services
        .iter()
        .flat_map(|service| {
            [
                ("SERVICE_HOST", "10.0.0.1"),
                ("SERVICE_PORT", "443"),
                ("SERVICE_PORT_HTTPS", "443"),
                ("PORT", "tcp://10.0.0.1:443"),
                ("PORT_443_TCP", "tcp://10.0.0.1:443"),
                ("PORT_443_TCP_PROTO", "tcp"),
                ("PORT_443_TCP_PORT", "443"),
                ("PORT_443_TCP_ADDR", "10.0.0.1"),
            ]
            .map(|(name, value)| (format!("{service}_{name}"), value))
        })
        .collect();
    gateway.args(["serve", "--config", &config]).envs(links.clone()).stderr(Stdio::null());
    let mut gateway = Running::of(&mut gateway);
    gateway.address_of("admin");
    for command in commands {
        let (code, _, errors) = told(program().args(command).envs(links.clone()).output().unwrap());
        assert_eq!(code, Some(0), "{command:?}: {errors}");
        assert!(!errors.contains("PIGELLO_GATEWAY_"), "{command:?}: {errors}");
    }
    // A key that is spelled wrong stays one.
    for (name, value) in [("TIMEOUT__CONNECT", "3s"), ("METRICS_PORT", "9902")] {
        let mut check = program();
        check.args(["check", "--config", &config]).env(format!("PIGELLO_GATEWAY_{name}"), value);
        let (code, _, errors) = told(check.envs(links.clone()).output().unwrap());
        assert_eq!(code, Some(2), "{errors}");
        assert!(
            errors.contains(name) && errors.contains("1 problem") || errors.lines().count() < 4,
            "{errors}"
        );
    }
}

#[test]
fn sockets_with_relative_paths_are_beside_the_configuration() {
    let place = Place::new("");
    let text = fs::read_to_string(place.config()).unwrap();
    let folder = format!("unix:{}/", place.path("").display()).replace("//", "/");
    assert_eq!(text.matches(&folder).count(), 2, "{text}");
    fs::write(place.config(), text.replace(&folder, "unix:")).unwrap();
    let config = place.config();
    let mut gateway = program();
    gateway.args(["serve", "--config", &config]).current_dir("/").stderr(Stdio::null());
    let mut gateway = Running::of(&mut gateway);
    let socket = format!("unix:{}", place.path("gateway.sock").display());
    assert_eq!(gateway.address_of("unix"), socket);
    gateway.address_of("admin");
    assert!(place.path("admin.sock").exists());
    while output(&["health", "--config", &config]).0 != Some(0) {}
    let answer = exchange(&socket, &get("/accounts/users/customer/subtenant/list/"));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(gateway.end().0, Some(0));
    // A path that no socket can have is told with its length, which the file's folder is a part of.
    fs::write(
        &config,
        text.replace(&format!("{folder}gateway"), &format!("unix:{}", "a".repeat(90))),
    )
    .unwrap();
    let (code, _, errors) = output(&["check", "--config", &config]);
    let length =
        place.path("").display().to_string().trim_end_matches('/').len() + 1 + 90 + ".sock".len();
    assert_eq!(code, Some(if length > 107 { 2 } else { 0 }), "{errors}");
    assert!(length <= 107 || errors.contains(&format!("the path has {length} bytes")), "{errors}");
}

#[test]
fn every_command_explains_itself() {
    let (code, out, _) = output(&["--help"]);
    assert_eq!(code, Some(0));
    let commands = ["serve", "check", "demo", "mock-upstream", "credentials", "audit", "config"];
    for command in commands {
        assert!(out.contains(command), "{command} in\n{out}");
        let (code, help, _) = output(&[command, "--help"]);
        assert_eq!(code, Some(0));
        assert!(help.contains("Usage: pigello-gateway"), "{help}");
    }
    for shell in ["bash", "zsh", "fish"] {
        let (code, script, errors) = output(&["completions", shell]);
        assert_eq!(code, Some(0), "{errors}");
        assert!(script.contains("mock-upstream") && script.contains("no-call"), "{shell}");
    }
    assert_eq!(output(&["completions", "nonsense"]).0, Some(2));
    let (code, page, errors) = output(&["man"]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(page.starts_with(".ie") || page.contains(".TH pigello-gateway 1"), "{page}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    assert_eq!(output(&["man", "--directory", path]).0, Some(0));
    for (name, sections) in [
        ("pigello-gateway.1", &["EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS", "EXAMPLES"][..]),
        (
            "pigello-gateway-serve.1",
            &["EXIT STATUS", "ENVIRONMENT", "FILES", "SIGNALS", "EXAMPLES"],
        ),
        ("pigello-gateway-audit-verify.1", &["EXIT STATUS", "EXAMPLES"]),
        ("pigello-gateway-completions.1", &["EXIT STATUS"]),
    ] {
        let page = fs::read_to_string(folder.path().join(name)).unwrap();
        for section in sections {
            let heading = [format!(".SH {section}\n"), format!(".SH \"{section}\"\n")];
            assert!(
                heading.iter().any(|heading| page.contains(heading)),
                "{section} in {name}:\n{page}"
            );
        }
    }
    let (code, _, errors) = output(&["man", "--directory", &format!("{path}/none")]);
    assert_eq!(code, Some(2), "{errors}");
    assert_eq!(output(&["serve", "--nonsense"]).0, Some(2));
    assert_eq!(output(&["nonsense"]).0, Some(2));
}

#[test]
fn the_version_is_one_line_and_in_long_says_how_the_program_was_built() {
    let version = concat!("pigello-gateway ", env!("CARGO_PKG_VERSION"));
    assert_eq!(output(&["-V"]), (Some(0), format!("{version}\n"), String::new()));
    let (code, out, _) = output(&["--version"]);
    let (first, facts) = out.split_once('\n').unwrap();
    assert_eq!((code, first), (Some(0), version));
    let facts: Vec<_> = facts.lines().map(|line| line.split_once(": ").unwrap()).collect();
    let names: Vec<_> = facts.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, ["commit", "target", "features", "profile", "pgo"]);
    let fact = |wanted| facts.iter().find(|(name, _)| *name == wanted).unwrap().1;
    assert!(fact("target").starts_with(std::env::consts::ARCH), "{out}");
    assert_eq!(fact("features").contains("wipe-memory"), cfg!(feature = "wipe-memory"), "{out}");
    assert_eq!(fact("profile"), if cfg!(debug_assertions) { "debug" } else { "release" });
    // Of a commit or of a packager's own name for it.
    assert!(!fact("commit").contains(char::is_whitespace), "{out}");
    assert_eq!(fact("pgo"), "no", "tests are built without a profile");
    let (_, page, _) = output(&["man"]);
    assert!(!page.contains("commit: "), "the manual page is the same for all builds: {page}");
}

/// The three commands at the head of `config/examples/laptop.toml`, run as they stand there.
#[test]
fn the_laptop_example_works_as_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (ca, values) = (path("mock-ca.pem"), path("values.json"));
    let mut pigello = Running::start(&[
        "mock-upstream",
        "--listen",
        "127.0.0.1:0",
        "--ca-out",
        &ca,
        "--values-out",
        &values,
    ]);
    let origin = pigello.origin();
    let example = fs::read_to_string(crate::config::root().join("config/examples/laptop.toml"));
    let config = example
        .unwrap()
        .replace("https://localhost:8443", &origin)
        .replace("127.0.0.1:8080", "127.0.0.1:0")
        + "\n[admin]\naddress = \"127.0.0.1:0\"\n";
    fs::write(path("laptop.toml"), config).unwrap();
    let file = path("laptop.toml");
    let store = ["credentials", "--config", &file, "--name", "mock"];
    for arguments in [&["init"][..], &["set", "--from-json", &values]] {
        let (code, _, errors) = output(&[&store[..], arguments].concat());
        assert_eq!(code, Some(0), "{errors}");
    }
    let mut gateway = Running::start(&["serve", "--config", &file]);
    let address = gateway.address_of("laptop");
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let list = "/accounts/users/customer/subtenant/list/?_page=1&_page_size=10";
    let answer = exchange(&address, &get(list));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn check_online_reports_each_step_and_no_secret() {
    let place = Place::new("");
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("✓ all seven values"), "{out}");
    assert!(out.contains("with a valid certificate, HTTP/2"), "{out}");
    fs::remove_file(place.path("credentials/client_secret")).unwrap();
    fs::write(place.path("ca.pem"), pigello_mock::Authority::new("other").unwrap().pem()).unwrap();
    let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
    assert_eq!(code, Some(1), "{out}{errors}");
    assert!(out.contains("client_secret") && errors.contains("2 steps failed"), "{out}{errors}");
    for (name, value) in MADE_UP_VALUES {
        assert!(!name.is_secret() || !format!("{out}{errors}").contains(value));
    }
}
