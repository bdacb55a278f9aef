//! HTTP/2: what would become another request when it is written as HTTP/1.1.

use super::{assert_sanitised, gateway};
use crate::support::{Frames, Heard, Recorder, Setup, frame, headers};

type Field = (&'static [u8], &'static [u8]);

const METHOD: Field = (b":method", b"GET");
const SCHEME: Field = (b":scheme", b"http");
const AUTHORITY: Field = (b":authority", b"localhost");
const PATH: Field = (b":path", b"/a/");

/// A request without a body, with those fields behind the usual ones.
fn get(fields: &[Field]) -> Vec<u8> {
    headers(1, true, &[&[METHOD, SCHEME, AUTHORITY, PATH], fields].concat())
}

/// A request with that path.
fn path(path: &'static [u8]) -> Vec<u8> {
    headers(1, true, &[METHOD, SCHEME, AUTHORITY, (b":path", path)])
}

fn method(method: &'static [u8]) -> Vec<u8> {
    headers(1, true, &[(b":method", method), SCHEME, AUTHORITY, PATH])
}

fn authority(authority: &'static [u8]) -> Vec<u8> {
    headers(1, true, &[METHOD, SCHEME, (b":authority", authority), PATH])
}

fn post(fields: &[Field], data: &[u8]) -> Vec<u8> {
    let usual = [(&b":method"[..], &b"POST"[..]), SCHEME, AUTHORITY, PATH];
    [headers(1, false, &[&usual, fields].concat()), frame(0, 1, 1, data)].concat()
}

/// A response with one of these, or an end of the stream or the connection; nothing upstream.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn what_is_malformed_is_not_translated() {
    let (recorder, gateway) = gateway().await;
    let rows: Vec<(&str, Vec<u8>)> = vec![
        ("CR LF in a value", get(&[(b"x", b"a\r\nx-evil: b")])),
        ("LF in a value", get(&[(b"x", b"a\nx-evil: b")])),
        ("CR in a value", get(&[(b"x", b"a\rb")])),
        ("NUL in a value", get(&[(b"x", b"a\0b")])),
        ("a space before a value", get(&[(b"x", b" a")])),
        ("a space behind a value", get(&[(b"x", b"a ")])),
        ("a tab before a value", get(&[(b"x", b"\ta")])),
        ("a name in upper case", get(&[(b"X-Evil", b"a")])),
        ("a name with a colon", get(&[(b"x: evil", b"a")])),
        ("a name with CR LF", get(&[(b"x: a\r\nx-evil", b"a")])),
        ("a name with a space", get(&[(b"x evil", b"a")])),
        ("a name with a NUL", get(&[(b"x\0evil", b"a")])),
        ("no name", get(&[(b"", b"a")])),
        ("connection", get(&[(b"connection", b"close")])),
        ("keep-alive", get(&[(b"keep-alive", b"timeout=5")])),
        ("proxy-connection", get(&[(b"proxy-connection", b"keep-alive")])),
        ("upgrade", get(&[(b"upgrade", b"websocket")])),
        ("transfer-encoding", post(&[(b"transfer-encoding", b"chunked")], b"0\r\n\r\n")),
        (
            "transfer-encoding with an underscore",
            post(&[(b"transfer_encoding", b"chunked")], b"0\r\n\r\n"),
        ),
        ("te that is not trailers", get(&[(b"te", b"gzip")])),
        ("te with more than trailers", get(&[(b"te", b"trailers, gzip")])),
        ("two hosts", get(&[(b"host", b"localhost"), (b"host", b"evil.test")])),
        ("a host that is not the authority", get(&[(b"host", b"evil.test")])),
        ("userinfo in the authority", authority(b"evil@localhost")),
        ("a path in the authority", authority(b"localhost/evil")),
        ("CR LF in the authority", authority(b"localhost\r\nx-evil: a")),
        ("a foreign authority", authority(b"evil.test")),
        ("an empty authority", authority(b"")),
        ("no authority", headers(1, true, &[METHOD, SCHEME, PATH])),
        ("two authorities", get(&[(b":authority", b"localhost")])),
        ("an empty path", path(b"")),
        ("a path without a slash", path(b"a/")),
        ("a path with a space", path(b"/a b/")),
        ("a path with CR LF", path(b"/a/ HTTP/1.1\r\nx-evil: a")),
        ("a path with a tab", path(b"/a\tb/")),
        ("a path with a fragment", path(b"/a/#evil")),
        ("a path with a quote", path(b"/a\"b/")),
        ("a path that is no UTF-8", path(b"/\xe5/")),
        ("a path with a NUL", path(b"/a\0b/")),
        ("a path with raw UTF-8", path("/\u{e5}/".as_bytes())),
        ("a path with dot segments", path(b"/a/../b/")),
        ("a path with an encoded slash", path(b"/a%2fb/")),
        ("an absolute path", path(b"http://evil.test/")),
        ("two paths", get(&[(b":path", b"/evil/")])),
        ("no path", headers(1, true, &[METHOD, SCHEME, AUTHORITY])),
        ("a star with GET", path(b"*")),
        ("a path that is a query alone", path(b"?evil")),
        ("a method with a space", method(b"GET /evil HTTP/1.1")),
        ("a method with CR LF", method(b"GET / HTTP/1.1\r\nx-evil: a")),
        ("an empty method", method(b"")),
        ("no method", headers(1, true, &[SCHEME, AUTHORITY, PATH])),
        ("two methods", get(&[(b":method", b"POST")])),
        ("a method in lower case", method(b"get")),
        ("a method that nobody knows", method(b"XGET")),
        ("TRACE", method(b"TRACE")),
        (
            "CONNECT",
            headers(1, true, &[(b":method", b"CONNECT"), (b":authority", b"evil.test:443")]),
        ),
        ("CONNECT with a protocol", get(&[(b":protocol", b"websocket")])),
        ("no scheme", headers(1, true, &[METHOD, AUTHORITY, PATH])),
        (
            "a scheme with CR LF",
            headers(1, true, &[METHOD, (b":scheme", b"http\r\nx-evil: a"), AUTHORITY, PATH]),
        ),
        (
            "a scheme with a path",
            headers(1, true, &[METHOD, (b":scheme", b"http://evil.test/?"), AUTHORITY, PATH]),
        ),
        ("another scheme", headers(1, true, &[METHOD, (b":scheme", b"ftp"), AUTHORITY, PATH])),
        ("an unknown pseudo-header", get(&[(b":evil", b"a")])),
        ("a response's pseudo-header", get(&[(b":status", b"200")])),
        (
            "a pseudo-header behind a field",
            headers(1, true, &[METHOD, SCHEME, AUTHORITY, (b"x", b"a"), PATH]),
        ),
        ("a length without a body", get(&[(b"content-length", b"5")])),
        ("a length over the body", post(&[(b"content-length", b"10")], b"hello")),
        ("a length under the body", post(&[(b"content-length", b"2")], b"hello")),
        ("two lengths", post(&[(b"content-length", b"5"), (b"content-length", b"6")], b"hello")),
        (
            "two equal lengths",
            post(&[(b"content-length", b"5"), (b"content-length", b"5")], b"hello"),
        ),
        ("a length with zeros in front", post(&[(b"content-length", b"005")], b"hello")),
        ("a list of lengths", post(&[(b"content-length", b"5, 5")], b"hello")),
        ("a length that is no number", post(&[(b"content-length", b"+5")], b"hello")),
        (
            "a length of nothing for a body",
            post(&[(b"content-length", b"0")], b"GET /evil HTTP/1.1\r\n\r\n"),
        ),
        ("an origin", get(&[(b"origin", b"https://evil.test")])),
        (
            "two content types",
            post(&[(b"content-type", b"a/b"), (b"content-type", b"c/d")], b"hello"),
        ),
        ("an expectation", post(&[(b"expect", b"evil")], b"hello")),
    ];
    assert!(rows.len() >= 60);
    for (name, bytes) in &rows {
        let mut connection = Frames::connect(gateway.caller().address()).await;
        assert!(connection.send(bytes).await);
        match connection.hear(1).await {
            Heard::Status(400..=417 | 501) | Heard::Reset | Heard::GoAway => {}
            other => panic!("{name}: {other:?}"),
        }
        assert_eq!(recorder.take(), "", "{name}");
    }
    let records = gateway.into_records().await;
    assert!(records.iter().all(|record| !record["error"].is_null()), "{records:?}");
    assert_eq!(records.len(), rows.len(), "one record a request, also of those that h2 refuses");
}

/// `200`, and exactly the sanitised request upstream.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_formed_is_sanitised() {
    let (recorder, gateway) = gateway().await;
    for (name, bytes, start, end) in [
        ("a plain request", get(&[]), "GET /a/ HTTP/1.1\r\n", "\r\n\r\n"),
        ("te: trailers", get(&[(b"te", b"trailers")]), "GET /a/ HTTP/1.1\r\n", "\r\n\r\n"),
        (
            "a host that is the authority",
            get(&[(b"host", b"localhost")]),
            "GET /a/ HTTP/1.1\r\n",
            "\r\n\r\n",
        ),
        (
            "forged values",
            get(&[
                (b"x-pigello-client-secret", b"forged"),
                (b"x_pigello_client_secret", b"forged"),
            ]),
            "GET /a/ HTTP/1.1\r\n",
            "\r\n\r\n",
        ),
        ("a body", post(&[], b"hello"), "POST /a/ HTTP/1.1\r\n", "\r\n\r\nhello"),
        (
            "a body that looks like chunks",
            post(&[], b"0\r\n\r\nGET / "),
            "POST /a/ HTTP/1.1\r\n",
            "\r\n\r\n0\r\n\r\nGET / ",
        ),
    ] {
        let mut connection = Frames::connect(gateway.caller().address()).await;
        assert!(connection.send(&bytes).await);
        assert_eq!(connection.hear(1).await, Heard::Status(200), "{name}");
        let seen = recorder.take();
        assert!(seen.starts_with(start) && seen.ends_with(end), "{name}: {seen:?}");
        assert_sanitised(name, &seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn crumbs_of_a_cookie_are_joined() {
    let recorder = Recorder::start().await;
    let gateway = Setup::plain(&recorder.origin())
        .listener("caller = \"portal\"\n")
        .with("[policy]\nunmatched = \"forward\"\n")
        .with("[[callers]]\nname = \"portal\"\nallow = [\"*\"]\nforward = [\"cookie\"]\n")
        .start()
        .await;
    let mut connection = Frames::connect(gateway.caller().address()).await;
    connection.send(&get(&[(b"cookie", b"a=1"), (b"cookie", b"b=2")])).await;
    assert_eq!(connection.hear(1).await, Heard::Status(200));
    assert!(recorder.take().contains("cookie: a=1; b=2\r\n"), "crumbs are one field again");
}

/// A request with bytes that no request has is a 400 with a record, and its neighbours live.
#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_request_ends_alone() {
    let (recorder, gateway) = gateway().await;
    let mut connection = Frames::connect(gateway.caller().address()).await;
    let on = |stream, fields: &[Field]| {
        headers(stream, true, &[&[METHOD, SCHEME, AUTHORITY], fields].concat())
    };
    let bad_path = on(3, &[(b":path", "/a \u{e5}\"#b?c=<d>".as_bytes())]);
    let bad_value = on(5, &[PATH, (b"x", b"a\r\nx-evil: b")]);
    let bytes = [get(&[]), bad_path, bad_value, on(7, &[PATH])].concat();
    assert!(connection.send(&bytes).await);
    let mut heard = Vec::new();
    for _ in 0..4 {
        heard.push(connection.answer().await);
    }
    heard.sort_unstable();
    assert_eq!(heard, [(1, 200), (3, 400), (5, 400), (7, 200)]);
    assert_eq!(recorder.take().matches("GET /a/ HTTP/1.1").count(), 2);
    let mut told: Vec<_> = gateway
        .into_records()
        .await
        .iter()
        .map(|record| (record["path"].to_string(), record["error"].to_string()))
        .collect();
    told.sort_unstable();
    let row = |path: &str, error: &str| (format!("\"{path}\""), error.to_owned());
    let malformed = "\"malformed_request\"";
    assert_eq!(
        told,
        [
            row("/a%20%C3%A5%22%23b", malformed),
            row("/a/", malformed),
            row("/a/", "null"),
            row("/a/", "null"),
        ]
    );
}

/// Trailers that would be fields of a request.
#[tokio::test(flavor = "multi_thread")]
async fn trailers_are_dropped() {
    let (recorder, gateway) = gateway().await;
    let usual = [(&b":method"[..], &b"POST"[..]), SCHEME, AUTHORITY, PATH];
    let bytes = [
        headers(1, false, &usual),
        frame(0, 0, 1, b"hello"),
        headers(1, true, &[(b"x-pigello-client-secret", b"forged"), (b"x-evil", b"a")]),
    ]
    .concat();
    let mut connection = Frames::connect(gateway.caller().address()).await;
    assert!(connection.send(&bytes).await);
    assert_eq!(connection.hear(1).await, Heard::Status(200));
    assert_sanitised("trailers", &recorder.take());
}

/// A body that goes on behind its end is an error of the connection (RFC 9113 §5.1).
#[tokio::test(flavor = "multi_thread")]
async fn data_behind_the_end_of_a_stream_ends_the_connection() {
    let (recorder, gateway) = gateway().await;
    for (name, first) in [("a request", get(&[])), ("a body", post(&[], b"hello"))] {
        let mut connection = Frames::connect(gateway.caller().address()).await;
        assert!(connection.send(&first).await);
        assert_eq!(connection.hear(1).await, Heard::Status(200), "{name}");
        recorder.take();
        assert!(connection.send(&frame(0, 1, 1, b"GET /evil HTTP/1.1\r\n\r\n")).await);
        assert!(matches!(connection.hear(1).await, Heard::Closed | Heard::GoAway), "{name}");
        assert_eq!(recorder.take(), "", "{name}");
    }
}
