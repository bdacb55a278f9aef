//! A canary instead of the secret, driven through the program from every source and into every
//! failure: it is found in nothing that leaves the process.

use std::{
    fmt::Write as _,
    fs,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Command,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use pigello_mock::EXAMPLE_SUBTENANT;
use rustix::process::Signal;

use crate::{
    admin::unpack,
    program::{Place, Running, exchange, get, output},
    sources::Source,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pigello-gateway");
const CANARY: &str = "canary-41c7e09b5d/made+up=secret";
const ROTATED: &str = "canary-8f02d6a17e/made+up=secret";

/// The forms in which a secret could turn up: as it is, and as pages, logs and URLs would write it.
fn forms(secret: &str) -> Vec<Vec<u8>> {
    let bytes = secret.as_bytes();
    let mut hex = String::new();
    bytes.iter().try_for_each(|byte| write!(hex, "{byte:02x}")).unwrap();
    let percent: String = bytes
        .iter()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' => char::from(*byte).to_string(),
            byte => format!("%{byte:02X}"),
        })
        .collect();
    let unpadded = BASE64_STANDARD.encode(bytes);
    let (_, tail) = secret.split_at(secret.len() / 2);
    // Bytes as `{:?}` of a list of numbers prints them.
    let numbers = format!("{bytes:?}");
    [
        secret,
        &hex,
        &percent,
        unpadded.trim_end_matches('='),
        &secret.replace('/', "\\/"),
        numbers.trim_matches(['[', ']']),
        tail,
    ]
    .iter()
    .map(|form| form.as_bytes().to_vec())
    .collect()
}

#[track_caller]
fn assert_clean(what: &str, bytes: &[u8]) {
    for secret in [CANARY, ROTATED] {
        for form in forms(secret) {
            let found = memchr::memmem::find(bytes, &form).is_some();
            assert!(!found, "{what} holds {:?}", String::from_utf8_lossy(&form));
        }
    }
}

fn assert_folder_is_clean(folder: &Path) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            assert_folder_is_clean(&path);
        } else {
            assert_clean(&path.display().to_string(), &fs::read(&path).unwrap());
        }
    }
}

/// The program with this configuration, at its most talkative.
fn serve(place: &Place, variables: &[(String, String)]) -> Running {
    let log = fs::File::create(place.path("log")).unwrap();
    let mut command = Command::new(PROGRAM);
    command.args(["serve", "--config", &place.config()]);
    command.envs(variables.iter().cloned()).stderr(log);
    Running::of(&mut command)
}

fn talkative() -> Place {
    Place::accepting_anything("[telemetry]\nlog_level = \"trace\"\n")
}

fn log_of(place: &Place) -> String {
    let log = fs::read(place.path("log")).unwrap();
    assert_clean("the log", &log);
    String::from_utf8(log).unwrap()
}

/// Asks until it is so, with a bound that only a failure reaches.
#[track_caller]
fn wait_for(what: &str, mut is_so: impl FnMut() -> bool) {
    let before = Instant::now();
    while !is_so() {
        assert!(before.elapsed() < Duration::from_mins(1), "never: {what}");
    }
}

/// How often the source could not be read.
fn failures(admin: &str) -> u64 {
    let status = exchange(admin, &get("/status"));
    let (_, count) = status.split_once("\"failures\":").unwrap();
    count.split(',').next().unwrap().parse().unwrap()
}

/// Everything that a caller and an operator may ask for.
fn everything(address: &str, admin: &str) -> Vec<String> {
    let subtenant = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    let with = |field: &str| {
        format!(
            "GET {subtenant} HTTP/1.1\r\nHost: localhost\r\n{field}\r\nConnection: close\r\n\r\n"
        )
    };
    let mut answers = vec![exchange(address, &get(&subtenant))];
    // Upstreams that echo what they got, fail, and break off; callers that probe.
    for fault in ["echo=everything", "status=401", "status=500", "cut-body", "close-unanswered"] {
        let fault = format!("X-Mock-Fault: {fault}\r\nCache-Control: no-cache");
        answers.push(exchange(address, &with(&fault)));
    }
    answers.push(exchange(address, &with("X-PIGELLO-CLIENT-SECRET: forged")));
    answers.push(exchange(address, &get("/nowhere/")));
    answers.push(exchange(address, "NONSENSE\r\n\r\n"));
    for page in ["/", "/status", "/metrics", "/readyz", "/livez", "/nothing"] {
        answers.push(exchange(admin, &get(page)));
    }
    answers
}

fn leaves_nothing(source: &Source) {
    let (place, name) = (talkative(), source.name());
    source.configure(&place, "");
    source.write(&place, CANARY);
    let variables = source.variables(CANARY);
    let mut gateway = serve(&place, &variables);
    let (address, admin) = (gateway.address_of("tcp"), gateway.address_of("admin"));
    wait_for("ready", || exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 "));
    for answer in everything(&address, &admin) {
        assert_clean(&format!("{name}: an answer"), answer.as_bytes());
    }
    for command in ["check", "check --online", "config show"] {
        let mut program = Command::new(PROGRAM);
        program.args(command.split(' ')).args(["--config", &place.config()]);
        let output = program.envs(variables.iter().cloned()).output().unwrap();
        assert!(output.status.success(), "{name}: {command}: {output:?}");
        assert_clean(&format!("{name}: {command}"), &output.stdout);
        assert_clean(&format!("{name}: {command}"), &output.stderr);
    }
    let mut program = Command::new(PROGRAM);
    program.args(["support-bundle", "--online", "--force", "--config", &place.config(), "--out"]);
    program.arg(place.path("help.tar.gz")).envs(variables.iter().cloned());
    assert!(program.status().unwrap().success(), "{name}: support-bundle");
    let parts = unpack(&place.path("help.tar.gz"));
    assert!(parts["log.txt"].contains("TRACE") && parts.len() == 9, "{:?}", parts.keys());
    for (part, text) in parts {
        assert_clean(&format!("{name}: {part} of the support bundle"), text.as_bytes());
    }
    let process = format!("/proc/{}", gateway.id());
    assert_clean("cmdline", &fs::read(format!("{process}/cmdline")).unwrap());
    if let Ok(environment) = fs::read(format!("{process}/environ"))
        && variables.is_empty()
    {
        assert_clean("environ", &environment);
    }
    if source.rotates() {
        source.write(&place, ROTATED);
        gateway.signal(Signal::HUP);
        let rotated = || exchange(&admin, &get("/status")).contains("\"rotations\":1");
        wait_for("rotated", rotated);
        for answer in everything(&address, &admin) {
            assert_clean(&format!("{name}: an answer after the rotation"), answer.as_bytes());
        }
    }
    assert_eq!(gateway.end().0, Some(0), "{name}");
    let log = log_of(&place);
    assert!(log.contains("TRACE") && log.contains("ended"), "the log is at its most talkative");
    assert_folder_is_clean(&place.path("audit"));
}

#[test]
fn the_secret_is_in_nothing_that_leaves_the_process_whatever_its_source() {
    for source in Source::all() {
        leaves_nothing(&source);
    }
}

#[test]
fn a_broken_credential_file_is_told_without_its_text() {
    let broken = [
        format!("{CANARY}\n{ROTATED}\n"),
        format!("{CANARY}\0{ROTATED}"),
        format!("{CANARY}å"),
        format!(" {CANARY}"),
        CANARY.repeat(1000),
        format!("{{\"client_secret\": \"{CANARY}\"}}\n\n"),
    ];
    let place = talkative();
    let mut gateway = serve(&place, &[]);
    let (address, admin) = (gateway.address_of("tcp"), gateway.address_of("admin"));
    wait_for("ready", || exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 "));
    for (failures, text) in (1..).zip(broken) {
        Source::Directory.write(&place, &text);
        let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
        assert_eq!(code, Some(1), "{out}{errors}");
        assert!(out.contains("client_secret"), "{out}");
        assert_clean("the output", (out + &errors).as_bytes());
        let before = format!("\"failures\":{},", failures - 1);
        let failed = |page: &str| !page.contains(&before);
        wait_for("a failed read", || failed(&exchange(&admin, &get("/status"))));
        for answer in everything(&address, &admin) {
            assert_clean("an answer", answer.as_bytes());
        }
    }
    assert_eq!(gateway.end().0, Some(0));
    assert!(log_of(&place).contains("`client_secret`"), "it is said which value is wrong");
}

#[test]
fn a_broken_sealed_store_is_told_without_its_text() {
    let place = talkative();
    let source = Source::Sealed;
    source.configure(&place, "");
    source.write(&place, CANARY);
    let (store, key) = (place.path("made-up.sealed"), place.path("made-up.key"));
    let (sealed, identity) = (fs::read(&store).unwrap(), fs::read(&key).unwrap());
    // Plain text in place of either, a store that was cut off, one with a changed byte.
    let mut changed = sealed.clone();
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    let cut = sealed.split_last_chunk::<20>().unwrap().0.to_vec();
    let plain = format!("{{\"client_secret\": \"{CANARY}\"}}").into_bytes();
    for (store_holds, key_holds) in [
        (plain.clone(), identity.clone()),
        (sealed.clone(), plain),
        (cut, identity.clone()),
        (changed, identity),
    ] {
        fs::write(&store, store_holds).unwrap();
        fs::write(&key, &key_holds).unwrap();
        let (code, out, errors) = output(&["check", "--online", "--config", &place.config()]);
        assert_eq!(code, Some(1), "{out}{errors}");
        assert_clean("the output", (out + &errors).as_bytes());
    }
}

/// A vault that answers whatever it is told to, to every request.
struct Liar {
    address: String,
    says: mpsc::Sender<String>,
}

impl Liar {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (says, told) = mpsc::channel();
        thread::spawn(move || {
            let mut answer = String::new();
            for stream in listener.incoming().map_while(Result::ok) {
                answer = told.try_iter().last().unwrap_or(answer);
                // A client that breaks off is no concern of ours.
                drop(answer_once(&stream, &answer));
            }
        });
        Self { address, says }
    }
}

fn answer_once(mut stream: &TcpStream, answer: &str) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(bytes) = line.strip_prefix("content-length: ") {
            length = bytes.trim().parse().unwrap_or_default();
        }
        line.clear();
    }
    reader.read_exact(&mut vec![0; length])?;
    stream.write_all(answer.as_bytes())
}

#[test]
fn a_vault_that_answers_nonsense_is_told_without_what_it_said() {
    let liar = Liar::start();
    let place = talkative();
    fs::write(place.path("secret-id"), CANARY).unwrap();
    let text = fs::read_to_string(place.path("gateway.toml")).unwrap();
    let text = text.replace("source = \"directory\"", "source = \"vault\"").replace(
        "path = \"credentials\"",
        &format!(
            "path = \"pigello\"\n[vault]\naddress = \"{}\"\n[vault.auth]\nmethod = \"approle\"\n\
             role_id = \"made-up\"\nsecret_id_file = \"secret-id\"",
            liar.address
        ),
    );
    fs::write(place.path("gateway.toml"), text).unwrap();
    let errors = format!(r#"{{"errors":["{CANARY}"],"{CANARY}":1}}"#);
    let token = format!(r#"{{"auth":{{"client_token":"{CANARY}","lease_duration":1}}}}"#);
    let token_of_two = format!(r#"{{"auth":{{"client_token":"{CANARY}\n{CANARY}"}}}}"#);
    let answers = ["400 Bad Request", "403 Forbidden", "404 Not Found", "418 I'm a teapot"]
        .into_iter()
        .chain(["429 Too Many Requests", "500 Internal Server Error", "200 OK"])
        .map(|status| (status, "", errors.as_str()))
        .chain([
            ("200 OK", "", CANARY),
            ("200 OK", "", token.as_str()),
            ("200 OK", "", token_of_two.as_str()),
            ("200 OK", "X-Canary: \0\r\n", CANARY),
            (CANARY, "", CANARY),
            ("307 Temporary Redirect", "Location: http://canary-41c7e09b5d/made+up=secret\r\n", ""),
        ]);
    let mut gateway = serve(&place, &[]);
    let admin = gateway.address_of("admin");
    let mut seen = 0;
    for (status, field, body) in answers {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{field}\r\n{body}"
        );
        liar.says.send(answer).unwrap();
        let (code, out, problems) = output(&["check", "--online", "--config", &place.config()]);
        assert_eq!(code, Some(1), "{status}: {out}{problems}");
        assert!(out.contains("credentials test"), "{out}");
        assert_clean(status, (out + &problems).as_bytes());
        let before = failures(&admin);
        gateway.signal(Signal::HUP);
        wait_for("a read", || failures(&admin) > before);
        assert_clean(status, exchange(&admin, &get("/status")).as_bytes());
        assert_clean(status, exchange(&admin, &get("/readyz")).as_bytes());
        seen += 1;
    }
    assert_eq!(seen, 13);
    assert_eq!(gateway.end().0, Some(0));
    assert!(log_of(&place).contains("credential source failed"));
}
