//! What callers see of every fault on the way to Pigello, in one table; and a name that leads
//! elsewhere while the gateway runs.

use std::{fmt::Write as _, fs, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::Full;
use pigello_mock::{Authority, Fault, Interruption, MADE_UP_VALUES, MockPigello, Options};

use crate::support::{BreakingProxy, Caller, Gateway, Process, Setup, Weather, skip};

const READ: &str = "/accounts/users/customer/tenant/list/";
const WRITE: &str = "/accounts/users/auth/invite/customer/subtenant/";

/// One way for things to go wrong. Each lasts for one connection, or one request, and then the way is
/// clear; those of the place itself last.
#[derive(Clone)]
enum Trouble {
    None,
    /// On the way to the mock's TLS.
    Tls(Weather),
    /// At the mock, which speaks plain HTTP/1.1.
    Mock(Fault),
    /// Every connection, as slow as that.
    Drip,
    /// A kept connection breaks before the call.
    Stale,
    Expired,
    Refused,
    NoName,
}

impl Trouble {
    /// A gateway in front of it, and what must stay alive meanwhile.
    async fn arrange(self) -> (Gateway, impl Sized) {
        let authority = Arc::new(Authority::new("test").unwrap());
        let names = ["127.0.0.1"];
        let certificate = match self {
            Self::Expired => authority.expired_server(&names),
            _ => authority.server(&names),
        };
        let mock = match self {
            Self::Mock(_) | Self::Drip => Options::new().plain(),
            _ => Options::new().certificate(authority, certificate.unwrap()),
        };
        let pigello = MockPigello::start(mock).await.unwrap();
        let proxy = BreakingProxy::start(pigello.address()).await;
        let setup = match self {
            Self::Mock(_) | Self::Drip => Setup::plain(&pigello.origin()),
            // RFC 6761 §6.4: never resolves.
            Self::NoName => Setup::new(&pigello).upstream("https://pigello.invalid"),
            Self::Refused => {
                let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr();
                Setup::new(&pigello).upstream(format!("https://{}", gone.unwrap()))
            }
            _ => Setup::new(&pigello),
        };
        let setup = match self {
            Self::NoName | Self::Refused => setup,
            _ => setup.profile(&format!("connect_to = \"{}\"\n", proxy.address())),
        };
        let gateway = setup.with(TIMEOUTS).start().await;
        match self {
            Self::Tls(weather) => proxy.forecast([weather]),
            Self::Drip => proxy.forecast([Weather::Drip(Duration::from_millis(200)); 8]),
            Self::Mock(fault) => pigello.handle().fault(fault),
            Self::Stale => {
                assert_eq!(gateway.caller().get(READ).await.status, StatusCode::OK);
                proxy.storm();
            }
            Self::None | Self::Expired | Self::Refused | Self::NoName => {}
        }
        (gateway, (pigello, proxy))
    }

    /// What one call sees: the status with the problem's name, and what the trail says of it.
    async fn seen_by(self, method: Method, target: &str) -> String {
        // Its end is seen before the call is sent, or by sending it: the moment decides.
        let is_stale = matches!(self, Self::Stale);
        let (gateway, _alive) = self.arrange().await;
        let body: &[u8] = if method == Method::GET { b"" } else { b"{}" };
        let request = Request::builder().method(method).uri(target);
        let request =
            request.header("host", "localhost").header("content-type", "application/json");
        let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
        let seen = match gateway.caller().request(request).await {
            Ok(answer) if answer.header("proxy-status").is_empty() => {
                answer.status.as_u16().to_string()
            }
            Ok(answer) => format!("{} {}", answer.status.as_u16(), answer.problem()),
            Err(_) => "broken off".to_owned(),
        };
        let records = gateway.into_records().await;
        let attempts = records.last().unwrap()["attempts"].as_u64().unwrap();
        if is_stale && attempts <= 2 {
            format!("{seen} (1 or 2)")
        } else {
            format!("{seen} ({attempts})")
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_callers_see_call_by_call() {
    let interrupt = |interruption| Trouble::Mock(Fault::new().interrupt(interruption));
    let status = |status, after: Option<&str>| {
        let fault = Fault::new().status(status);
        Trouble::Mock(match after {
            Some(after) => fault.header(header::RETRY_AFTER, after.parse().unwrap()),
            None => fault,
        })
    };
    let rows = [
        ("nothing", Trouble::None),
        ("reset in the handshake", Trouble::Tls(Weather::Reset)),
        ("silence in the handshake", Trouble::Tls(Weather::Silence)),
        ("an expired certificate", Trouble::Expired),
        ("nobody listens", Trouble::Refused),
        ("a name that is none", Trouble::NoName),
        ("a kept connection was reset", Trouble::Stale),
        ("closed after the request", interrupt(Interruption::CloseUnanswered)),
        ("closed in the head", interrupt(Interruption::CutHead)),
        ("closed in the body", interrupt(Interruption::CutBody)),
        ("stalled before the head", interrupt(Interruption::StallHead)),
        ("stalled in the body", interrupt(Interruption::StallBody)),
        ("a byte every 200 ms", Trouble::Drip),
        ("500", status(StatusCode::INTERNAL_SERVER_ERROR, None)),
        ("503", status(StatusCode::SERVICE_UNAVAILABLE, None)),
        ("503, Retry-After: 60", status(StatusCode::SERVICE_UNAVAILABLE, Some("60"))),
        ("429, Retry-After: 60", status(StatusCode::TOO_MANY_REQUESTS, Some("60"))),
    ];
    let rows: Vec<_> = rows
        .into_iter()
        .map(|(name, trouble)| {
            let read = trouble.clone().seen_by(Method::GET, READ);
            let write = trouble.seen_by(Method::POST, WRITE);
            (name, tokio::spawn(read), tokio::spawn(write))
        })
        .collect();
    let mut table = String::new();
    writeln!(table, "{:<28}  {:<36}  a write", "", "a read (attempts)").unwrap();
    for (name, read, write) in rows {
        let (read, write) = (read.await.unwrap(), write.await.unwrap());
        writeln!(table, "{name:<28}  {read:<36}  {write}").unwrap();
    }
    insta::assert_snapshot!(table, @"
                                  a read (attempts)                     a write
    nothing                       200 (1)                               201 (1)
    reset in the handshake        200 (2)                               201 (2)
    silence in the handshake      200 (2)                               201 (2)
    an expired certificate        502 upstream_certificate (1)          502 upstream_certificate (1)
    nobody listens                502 upstream_refused (4)              502 upstream_refused (4)
    a name that is none           502 upstream_dns (4)                  502 upstream_dns (4)
    a kept connection was reset   200 (1 or 2)                          201 (1 or 2)
    closed after the request      200 (2)                               502 upstream_closed (1)
    closed in the head            200 (2)                               502 upstream_closed (1)
    closed in the body            502 upstream_incomplete (1)           502 upstream_incomplete (1)
    stalled before the head       504 upstream_first_byte_timeout (1)   504 upstream_first_byte_timeout (1)
    stalled in the body           504 upstream_stalled (1)              504 upstream_stalled (1)
    a byte every 200 ms           504 upstream_first_byte_timeout (1)   504 upstream_first_byte_timeout (1)
    500                           500 (1)                               500 (1)
    503                           503 (1)                               503 (1)
    503, Retry-After: 60          503 (1)                               503 (1)
    429, Retry-After: 60          429 (1)                               429 (1)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_elsewhere_is_followed_without_a_failed_read() {
    let authority = Arc::new(Authority::new("test").unwrap());
    let start = async |address: &str| {
        let certificate = authority.server(&["pigello.test"]).unwrap();
        let options = Options::new().certificate(Arc::clone(&authority), certificate);
        MockPigello::start(options.listen(address.parse().unwrap())).await.unwrap()
    };
    let old = start("127.0.0.1:0").await;
    let port = old.address().port();
    let new = start(&format!("127.0.0.2:{port}")).await;

    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("credentials")).unwrap();
    for (name, value) in MADE_UP_VALUES {
        fs::write(path("credentials").join(name.key()), value).unwrap();
    }
    fs::write(path("ca.pem"), authority.pem()).unwrap();
    fs::write(path("hosts"), "127.0.0.1 localhost\n127.0.0.1 pigello.test\n").unwrap();
    let text = format!(
        r#"
        [[listeners]]
        name = "main"
        address = "127.0.0.1:0"
        profile = "test"
        [admin]
        address = "127.0.0.1:0"
        [profiles.test]
        upstream = "https://pigello.test:{port}"
        ca_file = "ca.pem"
        credentials = "test"
        allow_private = true
        [credentials.test]
        source = "directory"
        path = "credentials"
        [audit]
        directory = "audit"
        "#
    );
    fs::write(path("gateway.toml"), text).unwrap();
    let Some(process) = Process::serve_with_hosts(&path("gateway.toml"), &path("hosts")) else {
        skip("a name that leads elsewhere: no mount namespace of its own is allowed here");
        return;
    };
    let caller = Caller::tcp(process.address("main"));
    for _ in 0..5 {
        assert_eq!(caller.get(READ).await.status, StatusCode::OK);
    }
    assert_eq!((old.handle().request_count(), new.handle().request_count()), (5, 0));
    // Over the same file, because that is what is mounted.
    fs::write(path("hosts"), "127.0.0.1 localhost\n127.0.0.2 pigello.test\n").unwrap();
    let calls = tokio::spawn(async move {
        let mut seen = Vec::new();
        for _ in 0..40 {
            seen.push(caller.get(READ).await.status);
        }
        seen
    });
    old.handle().wait_for_requests(8).await;
    old.stop().await.unwrap();
    let seen = calls.await.unwrap();
    assert!(seen.iter().all(|status| *status == StatusCode::OK), "{seen:?}");
    assert!(new.handle().request_count() > 0, "the name was looked up again");
    let (status, log) = process.terminate();
    assert!(status.success(), "{log}");
}

/// Long enough for a machine that is busy with other tests; the rows wait side by side.
const TIMEOUTS: &str = "[timeouts]\nconnect = \"2s\"\nfirst_byte = \"3s\"\n\
    upstream_read = \"2s\"\nrequest = \"10s\"\n";
