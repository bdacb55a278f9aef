//! What honest clients send, although a stricter reading could refuse it: offers of another protocol, hosts in
//! many spellings; and what they get told when they forget to encode a character.

use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpStream, UnixStream},
};

use crate::support::{
    Frames, Gateway, Heard, Recorder, Setup, Waiting, frame, headers, raw, until_blank_line,
};

async fn gateway() -> (Recorder, Gateway) {
    let recorder = Recorder::start().await;
    let gateway = Setup::plain(&recorder.origin())
        .with_unix()
        .listener("allowed_hosts = [\"gw.example.internal\", \"dotted.internal.:81\"]\n")
        .with(
            "[policy]\nunmatched = \"forward\"\n[[operations]]\nname = \"search.get\"\nmethod = \"GET\"\n\
             path = \"/search/\"\nbody = true\n",
        )
        .start()
        .await;
    (recorder, gateway)
}

/// The fields of every common offer to leave HTTP/1.1, or to change something about the connection.
const OFFERS: [&str; 9] = [
    "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "Connection: upgrade\r\nUpgrade:\r\n",
    "Upgrade: h2c\r\n",
    "HTTP2-Settings: AAEAAEAAAAIAAAAA\r\n",
    "Keep-Alive: timeout=5\r\n",
    "Proxy-Connection: keep-alive\r\n",
    "Connection: TE\r\nTE: trailers\r\n",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_is_ignored_and_the_connection_goes_on() {
    let (recorder, gateway) = gateway().await;
    let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    for offer in OFFERS {
        for (method, length, body) in [("GET", "", ""), ("POST", "Content-Length: 5\r\n", "hello")]
        {
            let request =
                format!("{method} /a/ HTTP/1.1\r\nHost: localhost\r\n{length}{offer}\r\n{body}");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            while !answer.ends_with(b"\r\n\r\nok") && !answer.starts_with(b"HTTP/1.1 5") {
                assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{request}");
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 "), "{request}");
            let seen = recorder.take().to_ascii_lowercase();
            assert!(seen.ends_with(&format!("\r\n\r\n{body}")), "{seen}");
            for gone in ["upgrade", "http2-settings", "connection:", "keep-alive", "\r\nte:"] {
                assert!(!seen.contains(gone), "{request}: {gone} in {seen}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_with_one_final_dot_is_the_same_host() {
    let (recorder, gateway) = gateway().await;
    let address = gateway.caller().address();
    let status = async |target: &str, host: &str| {
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        raw(address, request.as_bytes()).await[9..12].to_owned()
    };
    for (target, host, expected) in [
        ("/a/", "gw.example.internal.", "200"),
        ("/a/", "GW.example.internal.:443", "200"),
        ("/a/", "dotted.internal:81", "200"),
        ("/a/", "dotted.internal.:81", "200"),
        ("/a/", "localhost.", "200"),
        ("/a/", "localhost.:8080", "200"),
        ("http://gw.example.internal./a/", "gw.example.internal", "200"),
        ("http://gw.example.internal/a/", "gw.example.internal.", "200"),
        ("/a/", "127.0.0.1.", "400"),
        ("/a/", "localhost..", "400"),
        ("/a/", ".", "400"),
        ("/a/", "", "400"),
        ("/a/", "gw.example.internal.evil.test", "403"),
        ("/a/", "dotted.internal.", "403"),
        ("http://gw.example.internal./a/", "localhost", "400"),
    ] {
        assert_eq!(status(target, host).await, expected, "{target} {host}");
        assert_eq!(recorder.take().is_empty(), expected != "200", "{target} {host}");
    }
    let mut frames = Frames::connect(address).await;
    let get = headers(
        1,
        true,
        &[
            (b":method", b"GET"),
            (b":scheme", b"http"),
            (b":authority", b"gw.example.internal."),
            (b":path", b"/a/"),
        ],
    );
    assert!(frames.send(&get).await);
    assert!(matches!(frames.hear(1).await, Heard::Status(200)));
}

/// Sends a request whose connection ends behind it, over a Unix socket.
async fn over_unix(path: &std::path::Path, request: &str) -> String {
    let mut stream = UnixStream::connect(path).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    drop(stream.read_to_end(&mut answer).await);
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_unix_socket_serves_whatever_its_clients_call_it() {
    let (_recorder, gateway) = gateway().await;
    let socket = gateway.path("gateway.sock");
    for (line, fields, expected) in [
        ("/a/ HTTP/1.1", "Host:\r\n", "200"),
        ("/a/ HTTP/1.1", "Host:  \r\n", "200"),
        ("/a/ HTTP/1.1", "Host: %2Frun%2Fg.sock\r\n", "200"),
        ("/a/ HTTP/1.1", "Host: docker\r\n", "200"),
        ("/a/ HTTP/1.1", "Host: _\r\n", "200"),
        ("/a/ HTTP/1.1", "Host: localhost:80\r\n", "200"),
        ("/a/ HTTP/1.0", "", "200"),
        ("http://docker/a/ HTTP/1.1", "Host: docker\r\n", "200"),
        ("/a/ HTTP/1.1", "", "400"),
        ("/a/ HTTP/1.1", "Host: /run/g.sock\r\n", "400"),
        ("/a/ HTTP/1.1", "Host: docker\r\nHost: docker\r\n", "400"),
        ("http://docker/a/ HTTP/1.1", "Host: podman\r\n", "400"),
        ("/a/ HTTP/1.1", "Host: docker\r\nOrigin: http://docker\r\n", "403"),
        ("/a/ HTTP/1.1", "Host: docker\r\nSec-Fetch-Site: cross-site\r\n", "403"),
    ] {
        let request = format!("GET {line}\r\n{fields}Connection: close\r\n\r\n");
        let answer = over_unix(&socket, &request).await;
        assert_eq!(answer.get(9..12), Some(expected), "{request}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_admin_listener_at_a_unix_socket_serves_the_same_hosts() {
    let recorder = Recorder::start().await;
    let gateway = Setup::plain(&recorder.origin()).start().await;
    let admin = gateway.admin();
    for host in ["", "localhost", "admin", "%2Frun%2Fadmin.sock"] {
        assert_eq!(admin.get_with("/livez", &[("host", host)]).await.status, 200, "{host}");
    }
    let page = [("host", "admin"), ("origin", "http://admin")];
    assert_eq!(admin.get_with("/livez", &page).await.status, 403);
    assert_eq!(admin.get_with("/livez", &[("host", "/run/admin.sock")]).await.status, 400);
}

/// Targets with a character that must be encoded, what the caller is told, and the recorded path.
const UNENCODED: [(&[u8], &str, &str); 9] = [
    ("/l/?n=Åkesson".as_bytes(), "`Å` at byte 6; write it as `%C3%85`", "/l/"),
    ("/Ö/".as_bytes(), "`Ö` at byte 1; write it as `%C3%96`", "/%C3%96/"),
    (b"/l/?n=\xc5kesson", "the byte C5 at byte 6, which is no UTF-8; write it as `%C5`", "/l/"),
    (b"/l/?q=\"x\"", "`\\\"` at byte 6; write it as `%22`", "/l/"),
    (b"/<x>", "`<` at byte 1; write it as `%3C`", "/%3Cx%3E"),
    (b"/l/?q=`", "a backtick at byte 6; write it as `%60`", "/l/"),
    (b"/l/?q=a b", "a space at byte 7; write it as `%20`", "/l/"),
    (b"/l/#top", "`#` at byte 3; write it as `%23`", "/l/%23top"),
    (b"/l/\x01", "the character U+0001 at byte 3; write it as `%01`", "/l/%01"),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_character_that_must_be_encoded_is_named() {
    let (recorder, gateway) = gateway().await;
    let address = gateway.caller().address();
    for (target, told, _) in UNENCODED {
        let request = [&b"GET "[..], target, b" HTTP/1.1\r\nHost: localhost\r\n\r\n"].concat();
        let answer = raw(address, &request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        assert!(answer.contains("malformed_request") && answer.contains(told), "{answer}");
    }
    // Over HTTP/2 the other streams go on.
    let get = |stream, path| {
        headers(
            stream,
            true,
            &[
                (b":method", b"GET"),
                (b":scheme", b"http"),
                (b":authority", b"localhost"),
                (b":path", path),
            ],
        )
    };
    let mut frames = Frames::connect(address).await;
    frames.send(&get(1, "/Ö/".as_bytes())).await;
    assert!(matches!(frames.hear(1).await, Heard::Status(400)));
    assert!(frames.send(&get(3, b"/l/")).await);
    assert!(matches!(frames.hear(3).await, Heard::Status(200)));
    drop(frames);
    assert!(recorder.take().starts_with("GET /l/ "));
    let broken = gateway.caller().get("/l/?q=100%").await;
    assert_eq!(
        (broken.status, broken.problem()),
        (StatusCode::BAD_REQUEST, "target_not_canonical".to_owned())
    );
    assert_eq!(recorder.take(), "");
    let records = gateway.into_records().await;
    assert_eq!(records.len(), UNENCODED.len() + 3);
    assert_eq!(records[UNENCODED.len()]["error"], "malformed_request");
    for (record, (_, _, path)) in records.iter().zip(UNENCODED) {
        assert_eq!((&record["method"], &record["path"]), (&"GET".into(), &path.into()));
        assert_eq!(record["error"], "malformed_request");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_the_method_does_not_define_is_refused_unless_the_operation_takes_it() {
    let (recorder, gateway) = gateway().await;
    for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
        for (fields, body) in [
            ("Content-Length: 5\r\n", "hello"),
            ("Transfer-Encoding: chunked\r\n", "5\r\nhello\r\n0\r\n\r\n"),
        ] {
            let request = format!("{method} /a/ HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n{body}");
            let request = format!(
                "{request}GET /a/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
            );
            let answer = raw(gateway.caller().address(), request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 400 "), "{request}: {answer}");
            assert!(method == "HEAD" || answer.contains("takes no body"), "{answer}");
            assert!(!recorder.take().contains("hello"), "{request}");
        }
        let empty = format!(
            "{method} /a/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let answer = raw(gateway.caller().address(), empty.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{empty}: {answer}");
        recorder.take();
    }
    for method in [Method::GET, Method::HEAD] {
        let answer = gateway.caller().send(method, "/search/", "{}").await;
        assert_eq!(answer.status, StatusCode::OK);
        assert!(recorder.take().ends_with("\r\n\r\n{}"));
    }
    // Over HTTP/2 the body is a DATA frame.
    let mut frames = Frames::connect(gateway.caller().address()).await;
    let fields = [
        (&b":method"[..], &b"DELETE"[..]),
        (b":scheme", b"http"),
        (b":authority", b"localhost"),
        (b":path", b"/a/"),
    ];
    frames.send(&[headers(1, false, &fields), frame(0, 1, 1, b"hello")].concat()).await;
    assert!(matches!(frames.hear(1).await, Heard::Status(400)));
    assert_eq!(recorder.take(), "");
}

/// Reads until the answer ends like that.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{end}");
    }
    String::from_utf8(answer).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn interim_responses_are_passed_on_when_they_come() {
    let upstream = Waiting::listen().await;
    let gateway = upstream.setup().start().await;
    let mut caller = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let request = "GET /a/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut answering = upstream.ask(&mut caller, request).await;
    let secret = pigello_mock::MADE_UP_VALUES
        .iter()
        .find_map(|(name, value)| (name.key() == "client_secret").then_some(*value))
        .unwrap();
    for (interim, passed_on) in [
        ("100 Continue\r\n\r\n".to_owned(), ""),
        ("102 Processing\r\n\r\n".to_owned(), "HTTP/1.1 102 Processing\r\n\r\n"),
        (format!("103 Early Hints\r\nlink: <{secret}>\r\n\r\n"), ""),
        (
            "103 Early Hints\r\nlink: </a>\r\nconnection: x-hop\r\nx-hop: 1\r\nkeep-alive: x\r\n\
             x-pigello-client-secret: x\r\n\r\n"
                .to_owned(),
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
        ),
    ] {
        answering.write_all(format!("HTTP/1.1 {interim}").as_bytes()).await.unwrap();
        // Before the final response is there.
        if !passed_on.is_empty() {
            assert_eq!(read_to(&mut caller, "\r\n\r\n").await, passed_on);
        }
    }
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
    answering.write_all(answer).await.unwrap();
    let read = read_to(&mut caller, "\r\n\r\nok").await;
    assert!(read.starts_with("HTTP/1.1 200 OK\r\n"), "{read}");

    // In one piece with the final response.
    caller.write_all(request.as_bytes()).await.unwrap();
    until_blank_line(&mut answering).await;
    answering.write_all(&[&b"HTTP/1.1 102 Processing\r\n\r\n"[..], answer].concat()).await.unwrap();
    let read = read_to(&mut caller, "\r\n\r\nok").await;
    assert!(read.starts_with("HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\n"), "{read}");

    // HTTP/1.0 has none.
    let mut caller = TcpStream::connect(gateway.caller().address()).await.unwrap();
    caller.write_all(b"GET /a/ HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
    until_blank_line(&mut answering).await;
    answering.write_all(b"HTTP/1.1 103 Early Hints\r\n\r\n").await.unwrap();
    answering.write_all(answer).await.unwrap();
    let read = read_to(&mut caller, "\r\n\r\nok").await;
    assert!(read.starts_with("HTTP/1.1 200 OK\r\n"), "{read}");
    assert!(!format!("{:?}", gateway.into_records().await).contains(secret));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_that_switches_protocols_unasked_has_failed() {
    let response =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\n";
    let recorder = Recorder::answering(response.into()).await;
    let gateway =
        Setup::plain(&recorder.origin()).with("[policy]\nunmatched = \"forward\"\n").start().await;
    let upgrade = [("connection", "upgrade"), ("upgrade", "h2c")];
    let answer = gateway.caller().get_with("/a/", &upgrade).await;
    assert_eq!(
        (answer.status, answer.problem()),
        (StatusCode::BAD_GATEWAY, "upstream_protocol".to_owned())
    );
    let records = gateway.into_records().await;
    assert_eq!((records.len(), &records[0]["error"]), (1, &"upstream_protocol".into()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_of_an_http_1_0_upstream_has_our_version_and_framing() {
    let upstream = Waiting::listen().await;
    let gateway = upstream.setup().start().await;
    let mut caller = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let request = "GET /a/ HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for _ in 0..2 {
        let mut answering = upstream.ask(&mut caller, request).await;
        answering.write_all(b"HTTP/1.0 200 OK\r\n\r\nhello").await.unwrap();
        drop(answering);
        let answer = read_to(&mut caller, "5\r\nhello\r\n0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("transfer-encoding: chunked\r\n"), "{answer}");
    }
}
