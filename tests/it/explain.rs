//! `explain` and a running gateway agree: on verdict, error, operation and caller of each request, over TCP
//! with a bound listener, on a Unix socket by uid, and over TLS by the name in a certificate.

use std::{collections::HashMap, fmt::Write as _, fs, path::Path, time::Duration};

use clap::Parser;
use pigello_gateway::{
    cli::explain::{self, Args},
    error::Kind,
};
use proptest::{
    prelude::*,
    sample::{Selector, select},
    strategy::ValueTree as _,
    test_runner::TestRunner,
};
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use crate::support::{Authority, Gateway, SPIFFE, Setup, connect_tls, dns, pigello, uri};

const OBJECT: &str = "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/";

/// A request as a client sends it, over HTTP/1.1 and without a `Host` of its own if it has none.
#[derive(Clone, Debug)]
struct Request {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
}

impl Request {
    /// The request of a head in the corpus; `None` for one that no option of the command expresses.
    fn of_head(head: &[u8]) -> Option<Self> {
        let head = std::str::from_utf8(head).ok()?.strip_suffix("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let line = lines.next()?.strip_suffix(" HTTP/1.1")?;
        let (method, target) = line.split_once(' ')?;
        let field = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_owned(), value.trim().to_owned()))
        };
        let fields = lines.map(field).collect::<Option<_>>()?;
        Some(Self { method: method.to_owned(), target: target.to_owned(), fields })
    }

    fn get(target: impl Into<String>) -> Self {
        Self { method: "GET".to_owned(), target: target.into(), fields: Vec::new() }
    }

    fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = self.fields.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str())
    }

    /// Its bytes, with the body that it announces.
    fn bytes(&self) -> String {
        let Self { method, target, .. } = self;
        let mut text = format!("{method} {target} HTTP/1.1\r\nConnection: close\r\n");
        if self.values("host").next().is_none() {
            let authority = target.split_once("://").map(|(_, rest)| rest.split(['/', '?']).next());
            let host = authority.flatten().unwrap_or("localhost");
            write!(text, "Host: {host}\r\n").unwrap();
        }
        for (name, value) in &self.fields {
            write!(text, "{name}: {value}\r\n").unwrap();
        }
        text += "\r\n";
        let announced: Vec<_> =
            self.values("content-length").chain(self.values("transfer-encoding")).collect();
        match announced.as_slice() {
            ["5"] => text + "hello",
            ["chunked"] => text + "5\r\nhello\r\n0\r\n\r\n",
            _ => text,
        }
    }
}

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// What the command says; `None` if it cannot be asked.
fn explained(config: &Path, caller: &str, request: &Request) -> Option<Value> {
    let mut arguments = vec!["explain".into(), "--config".into(), config.display().to_string()];
    arguments.extend(["--json", "--caller", caller, "-HConnection: close"].map(str::to_owned));
    arguments.extend(request.fields.iter().map(|(name, value)| format!("-H{name}: {value}")));
    arguments.extend(["--".to_owned(), request.method.clone(), request.target.clone()]);
    let command = Command::try_parse_from(arguments).ok()?;
    let mut out = Vec::new();
    explain::run(&command.args, &mut out).ok()?;
    Some(serde_json::from_slice(&out).unwrap())
}

/// The answer to those bytes.
async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, bytes: &str) -> String {
    // The gateway may have answered and closed before the last byte.
    drop(stream.write_all(bytes.as_bytes()).await);
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

/// Asks both about every request and compares.
async fn agree(
    gateway: Gateway,
    caller: &str,
    requests: impl Iterator<Item = Request>,
    send: impl AsyncFn(&Gateway, String) -> String,
) {
    let config = gateway.path("gateway.toml");
    let mut asked = Vec::new();
    for request in requests {
        let Some(said) = explained(&config, caller, &request) else { continue };
        let answer = send(&gateway, request.bytes());
        let answer = tokio::time::timeout(Duration::from_secs(20), answer).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer to {request:?}"));
        let id = answer.split_once("x-request-id: ").and_then(|(_, rest)| rest.get(..36));
        let id = id.unwrap_or_else(|| panic!("{request:?}: {answer}")).to_owned();
        asked.push((request, said, answer, id));
    }
    assert!(asked.len() > 80, "{}", asked.len());
    let records = gateway.into_records().await;
    let records: HashMap<_, _> =
        records.iter().map(|record| (record["request_id"].as_str().unwrap(), record)).collect();
    let mut seen = HashMap::<_, u32>::new();
    for (request, said, answer, id) in &asked {
        let record = records[id.as_str()];
        let (error, would_refuse) = (record["error"].as_str(), record["would_refuse"].as_str());
        let verdict = match (error, would_refuse, record["outcome"].as_str().unwrap()) {
            (Some(_), ..) => "refused",
            (None, Some(_), _) => "reported",
            (None, None, "refused") => "answered",
            (None, None, _) => "allowed",
        };
        let told = |name: &str| said[name].as_str();
        let is = (
            verdict,
            error.or(would_refuse),
            record["operation"].as_str(),
            record["caller"].as_str(),
        );
        let explained =
            (told("verdict").unwrap(), told("error"), told("operation"), told("caller"));
        assert_eq!(explained, is, "{request:?}\n{said}\n{record}");
        let is_considered = record["cache"].as_str().is_some_and(|result| result != "bypass");
        assert_eq!(said["cacheable"], is_considered, "{request:?}\n{said}\n{record}");
        if let Some(kind) = error.and_then(Kind::by_label) {
            let status = format!("HTTP/1.1 {} ", kind.status().as_u16());
            assert!(answer.starts_with(&status), "{request:?}: {answer}");
            assert!(
                !answer.contains("\"detail\"")
                    || answer.contains(&format!("\"detail\":{}", said["why"])),
                "{request:?}: {answer}\n{said}"
            );
        }
        *seen.entry(error.or(would_refuse).unwrap_or(verdict)).or_default() += 1;
    }
    assert!(seen.len() > 8, "the requests are of many kinds: {seen:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_agrees_with_a_bound_listener() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .listener("caller = \"app\"\n")
        .with("[[callers]]\nname = \"app\"\nallow = [\"subtenant.*\", \"*.list\"]\n")
        .start()
        .await;
    agree(gateway, "app", requests().into_iter(), async |gateway, bytes| {
        exchange(TcpStream::connect(gateway.caller().address()).await.unwrap(), &bytes).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_agrees_with_a_unix_socket() {
    let pigello = pigello().await;
    let uid = rustix::process::geteuid().as_raw();
    let gateway = Setup::new(&pigello)
        .listener("caller = \"other\"\n")
        .with_unix()
        .with(&format!(
            "[policy]\nunmatched = \"forward\"\n\
             [[callers]]\nname = \"other\"\nallow = []\n\
             [[callers]]\nname = \"me\"\nunix_uids = [{uid}]\nallow = [\"*\"]\n"
        ))
        .start()
        .await;
    agree(gateway, "me", requests().into_iter(), async |gateway, bytes| {
        let socket = gateway.path("gateway.sock");
        exchange(UnixStream::connect(socket).await.unwrap(), &bytes).await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_agrees_with_a_listener_that_asks_for_certificates() {
    let pigello = pigello().await;
    let (authority, files) = (Authority::new(), tempfile::tempdir().unwrap());
    let write = |name: &str, text: &str| {
        let path = files.path().join(name);
        fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let server = authority.issue(dns("localhost"), false);
    let tls = format!(
        "[listeners.tls]\ncertificate = \"{}\"\nprivate_key = \"{}\"\nclient_ca = \"{}\"\n",
        write("tls.pem", &server.certificate),
        write("tls.key", &server.key),
        write("ca.pem", &authority.pem)
    );
    let gateway = Setup::new(&pigello)
        .listener(&tls)
        .with(&format!(
            "[policy]\nmode = \"report\"\n\
             [[callers]]\nname = \"billing\"\ntls_names = [\"{SPIFFE}\"]\nallow = [\"subtenant.get\"]\n"
        ))
        .start()
        .await;
    let pair = authority.issue(uri(SPIFFE), false);
    // Fewer, because each has a handshake of its own.
    agree(gateway, "billing", requests().into_iter().step_by(4), async |gateway, bytes| {
        let address = gateway.caller().address();
        exchange(connect_tls(address, &authority.pem, Some(&pair)).await.unwrap(), &bytes).await
    })
    .await;
}

/// The corpora, each field alone, each method alone, and what proptest makes of all of them.
fn requests() -> Vec<Request> {
    let mut requests: Vec<_> =
        corpus("request_head").iter().filter_map(|head| Request::of_head(head)).collect();
    let mut targets: Vec<String> =
        corpus("target").into_iter().filter_map(|target| String::from_utf8(target).ok()).collect();
    targets.extend(TARGETS.iter().map(|target| (*target).to_owned()));
    requests.extend(targets.iter().map(Request::get));
    for method in METHODS {
        for target in [OBJECT, "*", "/unknown/"] {
            requests.push(Request { method: (*method).to_owned(), ..Request::get(target) });
        }
    }
    let fields: Vec<_> =
        FIELDS.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    for field in &fields {
        for method in ["GET", "POST"] {
            let target =
                if method == "GET" { OBJECT } else { "/accounts/users/customer/subtenant/" };
            let method = method.to_owned();
            requests.push(Request { method, fields: vec![field.clone()], ..Request::get(target) });
        }
    }
    let method = select(METHODS).prop_map(str::to_owned);
    let odd =
        (select(targets.clone()), any::<(Selector, char)>()).prop_map(|(target, (at, odd))| {
            let ends: Vec<_> =
                (0..=target.len()).filter(|at| target.is_char_boundary(*at)).collect();
            let (before, after) = target.split_at(*at.select(&ends));
            // No client sends a line in a target.
            let odd = if matches!(odd, '\r' | '\n') { ' ' } else { odd };
            format!("{before}{odd}{after}")
        });
    let target = prop_oneof![3 => select(targets), 1 => odd];
    let any = (method, target, prop::collection::vec(select(fields), 0..4));
    let any = any.prop_map(|(method, target, fields)| Request { method, target, fields });
    let mut runner = TestRunner::default();
    requests.extend((0..200).map(|_| any.new_tree(&mut runner).unwrap().current()));
    requests
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora").join(name);
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| fs::read(file).unwrap()).collect()
}

const METHODS: &[&str] = &[
    "GET",
    "HEAD",
    "POST",
    "PUT",
    "PATCH",
    "DELETE",
    "OPTIONS",
    "TRACE",
    "TRACK",
    "CONNECT",
    "PURGE",
    "PROPFIND",
    "QUERY",
    "get",
    "Post",
    "FETCH",
    "X-LONGER-THAN-ANY-METHOD-OF-ANY-STANDARD",
];

const TARGETS: &[&str] = &[
    OBJECT,
    "/accounts/users/customer/subtenant/6B7D1C1E-0A63-4B2F-9D8E-3F6F0C9A1E55/",
    "/accounts/users/customer/subtenant/list/",
    "/accounts/users/customer/subtenant/list/?_page=1&_page_size=10",
    "/accounts/users/customer/subtenant/list",
    "/accounts/users/customer/subtenant/",
    "/accounts/users/customer/subtenant/4711/",
    "/accounts/users/customer/Subtenant/list/",
    "/accounts/users/customer/tenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/",
    "/accounts/users/customer/tenant/list/",
    "/accounts/users/customer/protectedidentity/list/",
    "/accounts/users/auth/invite/customer/subtenant/",
    "/unknown/",
    "/",
    "",
    "accounts",
    "?a=b",
    "*",
    "//",
    "/a//b/",
    "/a/..%2fb",
    "/?q=100%",
    "/a b",
    "/Åkesson",
    "/a#b",
    "http://localhost/accounts/users/customer/subtenant/list/",
    "http://127.0.0.1:8080/accounts/users/customer/subtenant/list/",
    "http://evil.test/accounts/users/customer/subtenant/list/",
    "http://localhost",
    "http://localhost?a=b",
    "https://localhost/a/",
    "ftp://localhost/a/",
    "localhost:80",
];

const FIELDS: &[(&str, &str)] = &[
    ("Accept", "*/*"),
    ("Host", "localhost"),
    ("Host", "LOCALHOST:80"),
    ("Host", "evil.test"),
    ("Host", ""),
    ("Origin", "https://evil.test"),
    ("Origin", "null"),
    ("Access-Control-Request-Method", "GET"),
    ("Sec-Fetch-Site", "cross-site"),
    ("Sec-Fetch-Site", "none"),
    ("Sec-Fetch-Mode", "cors"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Dest", "document"),
    ("Upgrade-Insecure-Requests", "1"),
    ("Upgrade", "h2c"),
    ("Upgrade", "websocket"),
    ("HTTP2-Settings", "AAMAAABkAAQAAP__"),
    ("Expect", "100-continue"),
    ("Expect", "200-ok"),
    ("Content-Length", "0"),
    ("Content-Length", "5"),
    ("Content-Length", "05"),
    ("Content-Length", "-1"),
    ("Content-Length", "5, 5"),
    ("Content-Length", "9000000"),
    ("Content_Length", "5"),
    ("Transfer-Encoding", "chunked"),
    ("Transfer-Encoding", "gzip, chunked"),
    ("Transfer-Encoding", "identity"),
    ("Transfer_Encoding", "chunked"),
    ("Connection", "X-Hop, Authorization"),
    ("Content-Type", "application/json"),
    ("Authorization", "Bearer made-up"),
    ("Cookie", "made=up"),
    ("X-HTTP-Method-Override", "DELETE"),
    ("X-Original-URL", "/accounts/users/customer/tenant/list/"),
    ("X-Forwarded-For", "192.0.2.1"),
    ("X-PIGELLO-CLIENT-SECRET", "made-up"),
    ("X_Pigello_Client_Secret", "made-up"),
    ("Range", "bytes=0-1"),
    ("If-Match", "\"a\""),
    ("Cache-Control", "no-store"),
    ("X-Empty", ""),
    ("X-Obs", "å"),
];
