//! An upstream that sends the secret back: no caller sees it, and neither does the trail.

use std::io::Write as _;

use flate2::{Compression, write::GzEncoder};
use pigello_mock::MADE_UP_VALUES;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{Gateway, Recorder, Setup, Waiting};

const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n";

fn secret() -> &'static str {
    MADE_UP_VALUES[6].1
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_never_comes_down() {
    let body = |text: &str| format!("{HEAD}content-length: {}\r\n\r\n{text}", text.len());
    let (left, right) = secret().split_at(11);
    for response in [
        body(&format!("{{\"x-pigello-client-secret\": \"{}\"}}", secret())),
        format!("{HEAD}x-debug: {}\r\ncontent-length: 2\r\n\r\nok", secret()),
        format!("{HEAD}location: https://x.test/?s={}\r\ncontent-length: 2\r\n\r\nok", secret()),
        format!("HTTP/1.1 200 {}\r\nx-pigello-client-secret: {0}\r\n\r\n", secret()),
        format!(
            "{HEAD}transfer-encoding: chunked\r\n\r\nb\r\n{left}\r\n1c\r\n{right}\r\n0\r\n\r\n"
        ),
    ] {
        let recorder = Recorder::answering(response.clone().into_bytes()).await;
        let gateway = Setup::plain(&recorder.origin())
            .with("[policy]\nunmatched = \"forward\"\n")
            .start()
            .await;
        let raw = "GET /a/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = crate::support::raw(gateway.caller().address(), raw.as_bytes()).await;
        assert!(!answer.contains(left) && !answer.contains("x-pigello"), "{response}: {answer}");
        let (stopped, _) = gateway.stop().await;
        let record = &stopped.records()[0];
        assert_eq!(record["error"], "upstream_echoed_secret", "{response}: {record}");
        assert!(!stopped.trail_text().contains(left), "{response}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_under_pigellos_names_are_removed_and_counted() {
    let response = format!("{HEAD}X-Pigello-Client-Ct: a\r\ncontent-length: 2\r\n\r\nok");
    let recorder = Recorder::answering(response.into_bytes()).await;
    let gateway =
        Setup::plain(&recorder.origin()).with("[policy]\nunmatched = \"forward\"\n").start().await;
    let answer = gateway.caller().get("/a/").await;
    assert_eq!((answer.status.as_u16(), answer.header("x-pigello-client-ct")), (200, ""));
    assert_eq!(gateway.into_records().await[0]["masked_fields"], 1);
}

/// A gateway before an upstream that answers so.
async fn before(response: Vec<u8>) -> (Gateway, Recorder) {
    let recorder = Recorder::answering(response).await;
    let setup = Setup::plain(&recorder.origin()).with("[policy]\nunmatched = \"forward\"\n");
    (setup.start().await, recorder)
}

/// A response of one piece.
fn whole(fields: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}content-length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

/// A response in chunks.
fn chunked(fields: &str, pieces: &[Vec<u8>]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n");
    let mut response = head.into_bytes();
    for piece in pieces.iter().filter(|piece| !piece.is_empty()) {
        write!(response, "{:x}\r\n", piece.len()).unwrap();
        response.extend_from_slice(&[piece, &b"\r\n"[..]].concat());
    }
    response.extend_from_slice(b"0\r\n\r\n");
    response
}

/// What a caller gets, to the end of its connection.
async fn raw(gateway: &Gateway, fields: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let request =
        format!("GET /a/ HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    // An answer that breaks off ends in a reset.
    while let Ok(1..) = stream.read_buf(&mut answer).await {}
    answer
}

/// The body of an answer in chunks, as far as it came.
fn unchunked(answer: &[u8]) -> Vec<u8> {
    let head = answer.windows(4).position(|part| part == b"\r\n\r\n");
    let (mut rest, mut body) = (head.map_or(&[][..], |at| &answer[at + 4..]), Vec::new());
    while let Ok(httparse::Status::Complete((used, length @ 1..))) =
        httparse::parse_chunk_size(rest)
    {
        let chunk = &rest[used..];
        let length = usize::try_from(length).unwrap();
        body.extend_from_slice(&chunk[..length.min(chunk.len())]);
        rest = chunk.get(length + 2..).unwrap_or_default();
    }
    body
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(text, 0).unwrap()
}

fn gzip(text: &[u8]) -> Vec<u8> {
    flushed_gzip(text, text.len().max(1)).concat()
}

/// Flushed after so many bytes each.
fn flushed_gzip(text: &[u8], length: usize) -> Vec<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let mut pieces = Vec::new();
    for piece in text.chunks(length) {
        encoder.write_all(piece).unwrap();
        encoder.flush().unwrap();
        pieces.push(std::mem::take(encoder.get_mut()));
    }
    pieces.push(encoder.finish().unwrap());
    pieces
}

/// Text that does not compress well.
fn noise(length: u32) -> Vec<u8> {
    let words = (0..length / 9).map(|n| format!("{:08x}|", n.wrapping_mul(2_654_435_761)));
    words.flat_map(String::into_bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_secret_never_comes_down_compressed() {
    let (text, secret) = (noise(80_000), secret().as_bytes());
    let (zstd_field, gzip_field) = ("content-encoding: zstd\r\n", "content-encoding: gzip\r\n");
    let frame = zstd(&[secret, &text[..200]].concat());
    let (left, right) = frame.split_at(frame.len() - 10);
    for (name, response) in [
        ("two frames", whole(zstd_field, &[zstd(&text), zstd(secret)].concat())),
        ("two frames in chunks", chunked(zstd_field, &[zstd(b"nothing"), zstd(secret)])),
        ("a frame in two chunks", chunked(zstd_field, &[left.to_vec(), right.to_vec()])),
        ("80 KB, secret first", whole(zstd_field, &zstd(&[secret, &text].concat()))),
        ("a member behind another", whole(gzip_field, &[gzip(&text), gzip(secret)].concat())),
        ("no coding named", whole("", &gzip(&[&text[..], secret].concat()))),
        ("no coding named, short", whole("", &gzip(secret))),
        ("gzip in gzip", whole(gzip_field, &gzip(&gzip(secret)))),
    ] {
        let (gateway, _recorder) = before(response).await;
        let answer = raw(&gateway, "Accept-Encoding: gzip, zstd\r\n").await;
        assert!(!answer.windows(8).any(|part| part == &secret[..8]), "{name}");
        let decoded = ::zstd::decode_all(&unchunked(&answer)[..]).unwrap_or_default();
        assert!(!decoded.windows(8).any(|part| part == &secret[..8]), "{name}");
        let records = gateway.into_records().await;
        assert_eq!(records[0]["error"], "upstream_echoed_secret", "{name}: {}", records[0]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_byte_of_the_secret_comes_down_in_flushed_pieces() {
    let text = format!("before {} behind", secret());
    for length in [1, 4, 9, 18] {
        let pieces = flushed_gzip(text.as_bytes(), length);
        let (gateway, _recorder) = before(chunked("content-encoding: gzip\r\n", &pieces)).await;
        let coded = unchunked(&raw(&gateway, "").await);
        let mut decoder = flate2::write::GzDecoder::new(Vec::new());
        decoder.write_all(&coded).unwrap();
        decoder.flush().unwrap();
        let came = decoder.get_ref();
        assert!(b"before ".starts_with(came), "by {length}: {:?}", String::from_utf8_lossy(came));
        let records = gateway.into_records().await;
        assert_eq!(records[0]["error"], "upstream_echoed_secret", "by {length}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_compressed_answer_passes_unchanged() {
    for frames in [zstd(&noise(4 << 20)), noise(4 << 20).chunks(50_000).flat_map(zstd).collect()] {
        assert!(frames.len() > 1 << 20);
        let (gateway, _recorder) = before(whole("content-encoding: zstd\r\n", &frames)).await;
        let answer = raw(&gateway, "").await;
        let records = gateway.into_records().await;
        assert_eq!(records[0]["error"], serde_json::Value::Null, "{}", records[0]);
        assert!(answer.ends_with(&frames));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_bomb_is_refused() {
    let mut encoder = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    let zeros = vec![0; 8 << 20];
    for _ in 0..10 {
        encoder.write_all(&zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    let (gateway, _recorder) = before(whole("content-encoding: zstd\r\n", &bomb)).await;
    let answer = gateway.caller().get("/a/").await;
    assert_eq!((answer.status.as_u16(), answer.problem()), (502, "upstream_protocol".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transfer_coding_that_nobody_asked_for_is_refused() {
    let gzip = gzip(format!("a{}", secret()).as_bytes());
    for codings in [
        "gzip, chunked",
        "deflate,chunked",
        "chunked, chunked",
        "gzip\r\ntransfer-encoding: chunked",
    ] {
        let head =
            format!("HTTP/1.1 200 OK\r\ntransfer-encoding: {codings}\r\n\r\n{:x}\r\n", gzip.len());
        let response = [head.as_bytes(), &gzip, b"\r\n0\r\n\r\n"].concat();
        let (gateway, _recorder) = before(response).await;
        let answer = gateway.caller().get_with("/a/", &[("te", "gzip")]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (502, "upstream_protocol".to_owned()),
            "{codings}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ranges_cannot_split_the_secret() {
    let part = format!(
        "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes 0-10/37\r\ncontent-length: 11\r\n\r\n{}",
        &secret()[..11]
    );
    let (gateway, recorder) = before(part.into_bytes()).await;
    for (name, value) in [
        ("range", "bytes=0-10"),
        ("if-range", "\"a\""),
        ("request-range", "bytes=0-10"),
        ("a-im", "range"),
    ] {
        let answer = gateway.caller().get_with("/a/", &[(name, value)]).await;
        assert_eq!(
            (answer.status.as_u16(), answer.problem()),
            (502, "upstream_protocol".to_owned())
        );
        let request = recorder.take().to_ascii_lowercase();
        assert!(!request.contains(name), "{request}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compressed_event_comes_down_when_it_is_flushed() {
    let upstream = Waiting::listen().await;
    let gateway = upstream.setup().start().await;
    let mut caller = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let request = "GET /a/ HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\n\r\n";
    let mut answering = upstream.ask(&mut caller, request).await;
    let fields = "content-type: text/event-stream\r\ncontent-encoding: gzip\r\n";
    let head = format!("HTTP/1.1 200 OK\r\n{fields}transfer-encoding: chunked\r\n\r\n");
    answering.write_all(head.as_bytes()).await.unwrap();
    let events = b"data: 0\n\ndata: 1\n\ndata: 2\n\ndata: 3\n\n";
    let mut got = Vec::new();
    for event in flushed_gzip(events, 9).iter().take(4) {
        answering.write_all(format!("{:x}\r\n", event.len()).as_bytes()).await.unwrap();
        answering.write_all(&[event, &b"\r\n"[..]].concat()).await.unwrap();
        // Before the next one is sent.
        while !got.windows(event.len()).any(|part| part == event) {
            assert_ne!(caller.read_buf(&mut got).await.unwrap(), 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_form_of_the_secret_is_refused_in_fields_and_body() {
    let secret = secret();
    let hex = secret.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
    let entities = secret.bytes().fold(String::new(), |all, byte| all + &format!("&#{byte};"));
    let twice = secret.bytes().fold(String::new(), |all, byte| all + &format!("%25{byte:02X}"));
    let unicode = secret.bytes().fold(String::new(), |all, byte| all + &format!("\\u{byte:04X}"));
    for form in [hex, entities, twice, unicode] {
        for response in [
            whole("", form.as_bytes()),
            whole(&format!("location: /?s={form}\r\n"), b""),
            whole(&format!("x-debug: {form}\r\n"), b"ok"),
            chunked("", &form.as_bytes().chunks(5).map(<[u8]>::to_vec).collect::<Vec<_>>()),
        ] {
            let (gateway, _recorder) = before(response).await;
            let answer = String::from_utf8_lossy(&raw(&gateway, "").await).into_owned();
            assert!(!answer.contains(&form), "{form}");
            assert_eq!(
                gateway.into_records().await[0]["error"],
                "upstream_echoed_secret",
                "{form}"
            );
        }
    }
}
