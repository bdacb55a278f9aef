//! HTTP/1.1: line ends, request lines, fields, framing, chunks, hosts, browsers.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{assert_sanitised, gateway};
use crate::support::Gateway;

/// What must become of a row.
#[derive(Clone, Copy)]
enum Want {
    /// This status, the connection ends, the upstream saw nothing.
    Refused(u16),
    /// This status, the upstream saw nothing; the connection may go on.
    Denied(u16),
    /// `200`, and the upstream saw one request that begins and ends like this.
    Sent(&'static str, &'static str),
}
use Want::{Denied, Refused, Sent};

const HOST: &str = "Host: localhost\r\n";

/// A whole request with those fields behind `Host`.
fn get(fields: &str) -> Vec<u8> {
    format!("GET /a/ HTTP/1.1\r\n{HOST}{fields}\r\n").into_bytes()
}

fn post(fields: &str, body: &str) -> Vec<u8> {
    format!("POST /a/ HTTP/1.1\r\n{HOST}{fields}\r\n{body}").into_bytes()
}

fn chunked(body: &str) -> Vec<u8> {
    post("Transfer-Encoding: chunked\r\n", body)
}

fn line(line: &str) -> Vec<u8> {
    format!("{line}\r\n{HOST}\r\n").into_bytes()
}

fn host(host: &str) -> Vec<u8> {
    format!("GET /a/ HTTP/1.1\r\n{host}\r\n").into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn lines_and_request_lines() {
    let long = |length: usize| "a".repeat(length);
    run(vec![
        (
            "bare LF after the request line",
            b"GET /a/ HTTP/1.1\nHost: localhost\r\n\r\n".to_vec(),
            Refused(400),
        ),
        (
            "bare LF after a field",
            b"GET /a/ HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("bare LF everywhere", b"GET /a/ HTTP/1.1\nHost: localhost\n\n".to_vec(), Refused(400)),
        (
            "bare LF as the empty line",
            b"GET /a/ HTTP/1.1\r\nHost: localhost\r\n\n".to_vec(),
            Refused(400),
        ),
        (
            "bare CR after the request line",
            b"GET /a/ HTTP/1.1\rHost: localhost\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("bare CR in a value", get("X: a\rb\r\n"), Refused(400)),
        ("NUL in a value", get("X: a\0b\r\n"), Refused(400)),
        ("control characters in a value", get("X: a\x07\x08\x0bb\r\n"), Refused(400)),
        ("two empty lines in front", [b"\r\n\r\n".to_vec(), get("")].concat(), Refused(400)),
        (
            "one empty line in front",
            [b"\r\n".to_vec(), get("")].concat(),
            Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n"),
        ),
        (
            "white space before the first field",
            b"GET /a/ HTTP/1.1\r\n \r\nHost: localhost\r\n\r\n".to_vec(),
            Refused(400),
        ),
        ("two spaces", line("GET  /a/ HTTP/1.1"), Refused(400)),
        ("a tab for a space", line("GET\t/a/ HTTP/1.1"), Refused(400)),
        ("a space at the end", line("GET /a/ HTTP/1.1 "), Refused(400)),
        ("a space in the target", line("GET /a b/ HTTP/1.1"), Refused(400)),
        ("no target", line("GET HTTP/1.1"), Refused(400)),
        ("no version", b"GET /a/\r\n\r\n".to_vec(), Refused(400)),
        ("HTTP/0.9", b"GET /a/\r\n".to_vec(), Refused(400)),
        ("HTTP/9.9", line("GET /a/ HTTP/9.9"), Refused(505)),
        ("HTTP/1.2", line("GET /a/ HTTP/1.2"), Refused(505)),
        ("HTTP/2.0 in text", line("GET /a/ HTTP/2.0"), Refused(505)),
        ("no minor version", line("GET /a/ HTTP/1"), Refused(400)),
        ("zeros in the version", line("GET /a/ HTTP/01.01"), Refused(400)),
        ("a space in the version", line("GET /a/ HTTP/ 1.1"), Refused(400)),
        ("a version in lower case", line("GET /a/ http/1.1"), Refused(400)),
        ("another protocol", b"INVALID CONNECTION PREFACE\r\n\r\n".to_vec(), Refused(400)),
        ("a name like HTTP", line("GET /a/ HTTQ/1.1"), Refused(400)),
        ("RTSP", line("OPTIONS /a/ RTSP/1.0"), Refused(400)),
        (
            "a TLS hello",
            [&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3][..], &[0x0a; 90]].concat(),
            Refused(400),
        ),
        ("a method that is no token", line("G@T /a/ HTTP/1.1"), Refused(400)),
        ("a method of 100 kB", line(&format!("{} /a/ HTTP/1.1", long(100_000))), Refused(400)),
        ("a target of 100 kB", line(&format!("GET /{} HTTP/1.1", long(100_000))), Refused(414)),
        ("a target of 10 kB", line(&format!("GET /{} HTTP/1.1", long(10_000))), Refused(414)),
        (
            "a target of 7900 bytes",
            line(&format!("GET /{} HTTP/1.1", long(7900))),
            Sent("GET /aaaa", "\r\n\r\n"),
        ),
        ("a value of 100 kB", get(&format!("X: {}\r\n", long(100_000))), Refused(431)),
        ("a name of 100 kB", get(&format!("{}: x\r\n", long(100_000))), Refused(431)),
        ("ten thousand fields", get(&"X: y\r\n".repeat(10_000)), Refused(431)),
        ("more fields than the limit", get(&"X: y\r\n".repeat(101)), Refused(431)),
        ("a target with a fragment", line("GET /a/#b HTTP/1.1"), Refused(400)),
        ("a target with raw UTF-8", line("GET /\u{e5}/ HTTP/1.1"), Refused(400)),
        ("a target with a NUL", line("GET /\0a/ HTTP/1.1"), Refused(400)),
        ("a target with a DEL", line("GET /\x7fa/ HTTP/1.1"), Refused(400)),
        ("an encoded slash", line("GET /a/..%2fb/ HTTP/1.1"), Denied(400)),
        ("an encoded dot segment", line("GET /a/%2e%2e/b/ HTTP/1.1"), Denied(400)),
        ("a dot segment", line("GET /a/../b/ HTTP/1.1"), Denied(400)),
        ("an empty segment", line("GET //a/ HTTP/1.1"), Denied(400)),
        ("a path parameter", line("GET /a/..;/b/ HTTP/1.1"), Denied(400)),
        ("a backslash", line("GET /a\\b/ HTTP/1.1"), Denied(400)),
        ("double encoding", line("GET /a/%252e/ HTTP/1.1"), Denied(400)),
        ("an encoded NUL", line("GET /a/%00/ HTTP/1.1"), Denied(400)),
        ("an overlong slash", line("GET /a/..%c0%afb/ HTTP/1.1"), Denied(400)),
        ("a star with GET", line("GET * HTTP/1.1"), Refused(400)),
        ("a target without a slash", line("GET a/ HTTP/1.1"), Refused(400)),
        ("a target of another scheme", line("GET ftp://localhost/a/ HTTP/1.1"), Refused(400)),
        (
            "an absolute target of another host",
            line("GET http://evil.test/a/ HTTP/1.1"),
            Denied(400),
        ),
        (
            "an absolute target with userinfo",
            line("GET http://localhost@evil.test/a/ HTTP/1.1"),
            Denied(400),
        ),
        (
            "an absolute target of this host",
            line("GET http://localhost/a/ HTTP/1.1"),
            Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n"),
        ),
        (
            "CONNECT",
            b"CONNECT evil.test:443 HTTP/1.1\r\nHost: evil.test:443\r\n\r\n".to_vec(),
            Denied(405),
        ),
        ("TRACE", line("TRACE /a/ HTTP/1.1"), Denied(405)),
        ("TRACK", line("TRACK /a/ HTTP/1.1"), Denied(405)),
        ("a method that nobody knows", line("FOOBAR /a/ HTTP/1.1"), Refused(501)),
        ("a method in lower case", line("get /a/ HTTP/1.1"), Refused(501)),
        ("a method with a byte in front", line("XGET /a/ HTTP/1.1"), Refused(501)),
        ("HTTP/2's method", line("PRI /a/ HTTP/1.1"), Denied(405)),
        (
            "an extension method",
            line("M-SEARCH /a/ HTTP/1.1"),
            Sent("M-SEARCH /a/ HTTP/1.1\r\n", "\r\n\r\n"),
        ),
        ("a star with OPTIONS", line("OPTIONS * HTTP/1.1"), Denied(204)),
        ("nothing but spaces", b"   \r\n\r\n".to_vec(), Refused(400)),
        (
            "binary rubbish",
            [(1..=255).collect::<Vec<u8>>(), b"\r\n\r\n".to_vec()].concat(),
            Refused(400),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_and_hosts() {
    let forged = "X-PIGELLO-CLIENT-SECRET: forged\r\nx_pigello_client_secret: forged\r\n";
    run(vec![
        ("a folded field", get("X: a\r\n b\r\n"), Refused(400)),
        ("a folded field with a tab", get("X: a\r\n\tb\r\n"), Refused(400)),
        ("a space before the colon", get("X : a\r\n"), Refused(400)),
        ("a tab before the colon", get("X\t: a\r\n"), Refused(400)),
        ("no name", get(": a\r\n"), Refused(400)),
        ("no colon", get("X\r\n"), Refused(400)),
        ("brackets in a name", get("Bad[Name: a\r\n"), Refused(400)),
        ("raw UTF-8 in a name", get("X-T\u{e9}st: a\r\n"), Refused(400)),
        ("no host", host(""), Refused(400)),
        ("an empty host", host("Host: \r\n"), Refused(400)),
        ("two hosts", host("Host: localhost\r\nHost: evil.test\r\n"), Refused(400)),
        ("two equal hosts", host("Host: localhost\r\nHost: localhost\r\n"), Refused(400)),
        ("a host with userinfo", host("Host: evil@localhost\r\n"), Refused(400)),
        ("a host with a path", host("Host: localhost/evil\r\n"), Refused(400)),
        ("a list of hosts", host("Host: localhost, evil.test\r\n"), Refused(400)),
        ("a host with a port that is none", host("Host: localhost:evil\r\n"), Refused(400)),
        ("a folded host", host("Host: localhost\r\n evil.test\r\n"), Refused(400)),
        ("a space before the host's colon", host("Host : localhost\r\n"), Refused(400)),
        ("a foreign host", host("Host: evil.test\r\n"), Denied(403)),
        ("a foreign host that ends like ours", host("Host: localhost.evil.test\r\n"), Denied(403)),
        ("Host_ beside Host", host("Host: localhost\r\nX-Forwarded-Host: elsewhere.test\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("a page of another site", get("Origin: https://evil.test\r\n"), Denied(403)),
        ("a sandboxed page", get("Origin: null\r\n"), Denied(403)),
        ("a page by its fetch metadata", get("Sec-Fetch-Site: cross-site\r\n"), Denied(403)),
        ("a page of the same site", get("Sec-Fetch-Site: same-site\r\n"), Denied(403)),
        ("a page of the listener's own origin", get("Sec-Fetch-Site: same-origin\r\n"), Denied(403)),
        ("someone who opens a link", get("Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"), Denied(403)),
        ("someone who opens a link over plain HTTP", get("Upgrade-Insecure-Requests: 1\r\n"), Denied(403)),
        ("Node's fetch", get("Sec-Fetch-Mode: cors\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("a preflight", line("OPTIONS /a/ HTTP/1.1\r\nOrigin: https://evil.test\r\nAccess-Control-Request-Method: PATCH"), Denied(403)),
        ("an upgrade to a WebSocket", get("Connection: Upgrade\r\nUpgrade: websocket\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("an upgrade to HTTP/2", get("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("an expectation", get("Expect: 200-ok\r\n"), Refused(417)),
        ("two content types", post("Content-Length: 5\r\nContent-Type: text/plain\r\nContent-Type: text/html\r\n", "hello"), Refused(400)),
        ("forged values", get(forged), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("a connection that names a value", get("Connection: X-PIGELLO-CLIENT-SECRET, close\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("two connections that name values", get("Connection: x-pigello-client-secret\r\nConnection: keep-alive, X-Evil\r\nX-Evil: 1\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("a proxy's connection", get("Proxy-Connection: keep-alive\r\nProxy-Authorization: evil\r\nKeep-Alive: evil\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("a connection that names Host", get("Connection: Host, Content-Length\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("a method override", get("X-HTTP-Method-Override: EVIL\r\nX-Method-Override: EVIL\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
        ("TE", get("TE: trailers, evil\r\n"), Sent("GET /a/ HTTP/1.1\r\n", "\r\n\r\n")),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn lengths_and_codings() {
    let smuggled = "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let both =
        |te: &str| post(&format!("Content-Length: {}\r\n{te}\r\n", smuggled.len()), smuggled);
    run(vec![
        ("a length that is no number", post("Content-Length: abc\r\n", ""), Refused(400)),
        ("a length with a plus", post("Content-Length: +5\r\n", "hello"), Refused(400)),
        ("a length with a minus", post("Content-Length: -1\r\n", ""), Refused(400)),
        ("minus nothing", post("Content-Length: -0\r\n", ""), Refused(400)),
        ("an empty length", post("Content-Length: \r\n", ""), Refused(400)),
        ("zeros in front", post("Content-Length: 005\r\n", "hello"), Refused(400)),
        ("two zeros", post("Content-Length: 00\r\n", ""), Refused(400)),
        ("a hexadecimal length", post("Content-Length: 0x5\r\n", "hello"), Refused(400)),
        ("an octal length", post("Content-Length: 0o5\r\n", "hello"), Refused(400)),
        (
            "a length with an underscore",
            post("Content-Length: 1_0\r\n", "helloworld"),
            Refused(400),
        ),
        (
            "a length with a space in it",
            post("Content-Length: 1 0\r\n", "helloworld"),
            Refused(400),
        ),
        (
            "a space behind the length",
            post("Content-Length: 5 \r\n", "hello"),
            Sent("POST /a/", "hello"),
        ),
        (
            "two spaces before the length",
            post("Content-Length:  5\r\n", "hello"),
            Sent("POST /a/", "hello"),
        ),
        (
            "a tab before the length",
            post("Content-Length:\t5\r\n", "hello"),
            Sent("POST /a/", "hello"),
        ),
        ("a list of lengths", post("Content-Length: 5, 10\r\n", "hello"), Refused(400)),
        ("a list of equal lengths", post("Content-Length: 5, 5\r\n", "hello"), Refused(400)),
        (
            "two lengths",
            post("Content-Length: 5\r\nContent-Length: 10\r\n", "helloworld"),
            Refused(400),
        ),
        (
            "two equal lengths",
            post("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
            Refused(400),
        ),
        (
            "a length of 20 digits",
            post("Content-Length: 99999999999999999999\r\n", ""),
            Refused(400),
        ),
        ("a length over the limit", post("Content-Length: 99999999\r\n", ""), Refused(413)),
        (
            "a length with an underscore in its name",
            post("Content_Length: 5\r\n", ""),
            Refused(400),
        ),
        (
            "a coding with an underscore in its name",
            post("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", "hello"),
            Refused(400),
        ),
        ("length and coding", both("Transfer-Encoding: chunked"), Refused(400)),
        (
            "coding and length",
            post(
                &format!("Transfer-Encoding: chunked\r\nContent-Length: {}\r\n", smuggled.len()),
                smuggled,
            ),
            Refused(400),
        ),
        ("length and coding in another case", both("Transfer-Encoding: Chunked"), Refused(400)),
        ("length and coding with a tab", both("Transfer-Encoding:\tchunked"), Refused(400)),
        ("length and folded coding", both("Transfer-Encoding:\r\n chunked"), Refused(400)),
        (
            "length and coding with a space before the colon",
            both("Transfer-Encoding : chunked"),
            Refused(400),
        ),
        (
            "length and coding with a vertical tab",
            both("Transfer-Encoding: \x0bchunked"),
            Refused(400),
        ),
        ("length and coding with a NUL", both("Transfer-Encoding: chunked\0"), Refused(400)),
        ("length and identity", both("Transfer-Encoding: identity"), Refused(400)),
        (
            "two codings",
            post("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", smuggled),
            Refused(400),
        ),
        ("chunked twice", post("Transfer-Encoding: chunked, chunked\r\n", smuggled), Refused(400)),
        ("a comma before chunked", post("Transfer-Encoding: ,chunked\r\n", smuggled), Refused(400)),
        ("a comma behind chunked", post("Transfer-Encoding: chunked,\r\n", smuggled), Refused(400)),
        ("an empty coding", post("Transfer-Encoding: \r\n", smuggled), Refused(400)),
        ("xchunked", post("Transfer-Encoding: xchunked\r\n", smuggled), Refused(400)),
        (
            "a coding with a parameter",
            post("Transfer-Encoding: chunked;a=b\r\n", smuggled),
            Refused(400),
        ),
        (
            "chunked is not the last",
            post("Transfer-Encoding: chunked, gzip\r\n", smuggled),
            Refused(400),
        ),
        (
            "gzip before chunked",
            post("Transfer-Encoding: gzip, chunked\r\n", smuggled),
            Refused(501),
        ),
        (
            "a coding on HTTP/1.0",
            format!("POST /a/ HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n{smuggled}")
                .into_bytes(),
            Refused(400),
        ),
        (
            "a body with its length",
            post("Content-Length: 5\r\n", "hello"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\nhello"),
        ),
        (
            "GET with a body",
            [get("Content-Length: 5\r\n"), b"hello".to_vec()].concat(),
            Denied(400),
        ),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn chunks_and_trailers() {
    run(vec![
        (
            "a chunked body",
            chunked("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\nhello world"),
        ),
        (
            "a chunked body of nothing",
            chunked("0\r\n\r\n"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\n"),
        ),
        (
            "an extension",
            chunked("5;ext=value\r\nhello\r\n0\r\n\r\n"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\nhello"),
        ),
        (
            "a size in upper case",
            chunked("A\r\nhelloworld\r\n0\r\n\r\n"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\nhelloworld"),
        ),
        (
            "a trailer is dropped",
            chunked("5\r\nhello\r\n0\r\nX-Evil: forged\r\n\r\n"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\nhello"),
        ),
        (
            "a value in a trailer",
            chunked("5\r\nhello\r\n0\r\nX-PIGELLO-CLIENT-SECRET: forged\r\n\r\n"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\nhello"),
        ),
        ("0x", chunked("0x5\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("a plus", chunked("+5\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("a minus", chunked("-1\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("an underscore", chunked("1_0\r\nhello world!!!!!\r\n0\r\n\r\n"), Refused(400)),
        ("a space before the size", chunked(" 5\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("a space behind the size", chunked("5 \r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("no size", chunked("\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("a size of 16 digits", chunked("FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("a size that overflows", chunked("10000000000000005\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("a semicolon and nothing", chunked("5;\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("an extension that is no token", chunked("5;bad[=x\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("an extension with a NUL", chunked("5;\0ext\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("an extension with a bare CR", chunked("5;a\rX\r\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("an extension with a bare LF", chunked("5;\nhello\r\n0\r\n\r\n"), Refused(400)),
        (
            "an extension of 20 kB",
            chunked(&format!("5;{}\r\nhello\r\n0\r\n\r\n", "a".repeat(20_000))),
            Refused(400),
        ),
        ("a bare LF behind the size", chunked("5\nhello\r\n0\r\n\r\n"), Refused(400)),
        ("a bare CR behind the size", chunked("5\rhello\r\n0\r\n\r\n"), Refused(400)),
        ("a bare LF behind the data", chunked("5\r\nhello\n0\r\n\r\n"), Refused(400)),
        ("no line end behind the data", chunked("5\r\nhello0\r\n\r\n"), Refused(400)),
        ("more data than the size", chunked("5\r\nhello!!\r\n0\r\n\r\n"), Refused(400)),
        ("a bare LF at the end", chunked("5\r\nhello\r\n0\r\n\n"), Refused(400)),
        (
            "a length in a trailer",
            chunked("5\r\nhello\r\n0\r\nContent-Length: 50\r\n\r\n"),
            Refused(400),
        ),
        (
            "a coding in a trailer",
            chunked("5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Refused(400),
        ),
        (
            "a host in a trailer",
            chunked("5\r\nhello\r\n0\r\nHost: evil.test\r\n\r\n"),
            Refused(400),
        ),
        (
            "an authorization in a trailer",
            chunked("5\r\nhello\r\n0\r\nAuthorization: evil\r\n\r\n"),
            Refused(400),
        ),
        ("a folded trailer", chunked("5\r\nhello\r\n0\r\nX: a\r\n b\r\n\r\n"), Refused(400)),
        (
            "a trailer section of 20 kB",
            chunked(&format!("0\r\n{}\r\n", "X-Trailer: value\r\n".repeat(1200))),
            Refused(400),
        ),
        (
            "rubbish behind the body",
            post("Content-Length: 5\r\n", "helloX\r\n\r\n"),
            Sent("POST /a/ HTTP/1.1\r\n", "\r\n\r\nhello"),
        ),
    ])
    .await;
}

/// A body that turns out to be broken later: nothing of it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_breaks_off_never_reaches_the_upstream() {
    let (recorder, gateway) = gateway().await;
    for (first, second) in [
        (chunked("5\r\nhello\r\n"), "x\r\n"),
        (chunked("5\r\nhello\r\n"), "5\r\nhello!!"),
        (chunked("5\r\nhello\r\n0\r\n"), "\n"),
        (chunked("5\r\nhel"), ""),
        (post("Content-Length: 10\r\n", "hello"), ""),
    ] {
        let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
        stream.write_all(&first).await.unwrap();
        // The head and the good part are on their way for sure once the gateway asks for more.
        until_read(&gateway).await;
        stream.write_all(second.as_bytes()).await.unwrap();
        if second.is_empty() {
            stream.shutdown().await.unwrap();
        }
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer).await);
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 400") || second.is_empty(), "{second:?}: {answer}");
        assert_eq!(recorder.take(), "", "{second:?}");
    }
}

/// Another connection's whole call takes longer than the gateway needs to read what lies there.
async fn until_read(gateway: &Gateway) {
    for _ in 0..3 {
        let other = gateway.caller().call(http::Method::TRACE, "/", &[], bytes::Bytes::new()).await;
        assert_eq!(other.status, 405);
    }
}

async fn run(rows: Vec<(&'static str, Vec<u8>, Want)>) {
    let (recorder, gateway) = gateway().await;
    let count = rows.len();
    for (name, bytes, want) in rows {
        let to_the_end = matches!(want, Refused(_));
        let (answer, closed) = exchange(&gateway, &bytes, to_the_end).await;
        let seen = recorder.take();
        let status = answer.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
        match want {
            Refused(expected) => {
                assert_eq!((status, closed), (expected, true), "{name}: {answer}");
                assert!(answer.contains("application/problem+json"), "{name}: {answer}");
            }
            Denied(expected) => assert_eq!(status, expected, "{name}: {answer}"),
            Sent(start, end) => {
                assert_eq!(status, 200, "{name}: {answer}");
                assert!(seen.starts_with(start) && seen.ends_with(end), "{name}: {seen:?}");
                assert_sanitised(name, &seen);
            }
        }
        if !matches!(want, Sent(..)) {
            assert_eq!(seen, "", "{name}: the upstream saw something");
            assert_eq!(answer.matches("HTTP/1.1 ").count(), usize::from(status != 0), "{name}");
        }
        assert!(!answer.to_ascii_lowercase().contains("access-control"), "{name}: {answer}");
    }
    let records = gateway.into_records().await;
    let answered = records.iter().filter(|record| !record["status"].is_null()).count();
    // Only what got no answer at all has no record; a pipelined rest has one of its own.
    assert!(answered + 2 >= count, "{answered} records of {count} rows");
}

/// Sends bytes and reads the answer: to the end of the connection, or of one response.
async fn exchange(gateway: &Gateway, bytes: &[u8], to_the_end: bool) -> (String, bool) {
    let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    // A peer that has refused may have closed before it took everything.
    drop(stream.write_all(bytes).await);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while to_the_end || !is_response(&answer) {
        match timeout(Duration::from_secs(10), stream.read(&mut buffer)).await.expect("an answer") {
            Ok(0) | Err(_) => return (String::from_utf8_lossy(&answer).into_owned(), true),
            Ok(length) => answer.extend_from_slice(&buffer[..length]),
        }
    }
    (String::from_utf8_lossy(&answer).into_owned(), false)
}

fn is_response(answer: &[u8]) -> bool {
    let text = String::from_utf8_lossy(answer);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}
