use std::{fmt::Write as _, io::Write as _, time::SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;

use super::*;
use crate::{
    domain::{RequestId, TraceContext},
    error::BoxError,
    proxy::http_policy::content_coding::Decoder,
};

const SECRET: &str = "made-up/secret that \"nobody\" has";

fn lease() -> Arc<Lease> {
    Arc::new(Lease::made_up(SECRET))
}

fn context() -> CallContext {
    let id = RequestId::fresh();
    CallContext::begin(SystemTime::now(), id, TraceContext::continue_or_begin(None, id), false)
}

fn response(body: Body, fields: &[(&str, &str)]) -> Response<Body> {
    let mut response = Response::new(body);
    for (name, value) in fields {
        let name = HeaderName::try_from(*name).unwrap();
        response.headers_mut().append(name, HeaderValue::from_str(value).unwrap());
    }
    response
}

fn streamed(bytes: &[u8], chunk: usize) -> Body {
    let frames: Vec<Result<_, BoxError>> =
        bytes.chunks(chunk).map(|chunk| Ok(Frame::data(Bytes::copy_from_slice(chunk)))).collect();
    Body::wrap(StreamBody::new(stream::iter(frames)))
}

/// What becomes of an answer.
async fn inspect(
    response: Response<Body>,
    lease: Arc<Lease>,
    context: &CallContext,
) -> Result<Response<Body>, Error> {
    let response = std::future::ready(Ok(response));
    InspectFuture { state: InspectState::Waiting { response, lease, context: context.clone() } }
        .await
}

/// The whole answer, or why there is none.
async fn pass(response: Response<Body>) -> Result<(HeaderMap, Bytes), Kind> {
    let response = inspect(response, lease(), &context()).await.map_err(|error| error.kind())?;
    let (parts, body) = response.into_parts();
    let body = collect_limited(body, 1 << 24).await.map_err(|error| match error {
        CollectError::Broken(error) => find_kind(error.as_ref()).unwrap(),
        CollectError::TooLarge => panic!("too large"),
    })?;
    Ok((parts.headers, body))
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn raw_deflate(text: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn zstd(text: &[u8]) -> Vec<u8> {
    ::zstd::encode_all(text, 0).unwrap()
}

/// Brotli's uncompressed meta-blocks (RFC 7932 §9.2): window of 16 bits, one block, the end.
fn brotli(text: &[u8]) -> Vec<u8> {
    let length = u32::try_from(text.len() - 1).unwrap();
    // WBITS 0 · ISLAST 0 · MNIBBLES 00 · MLEN-1 in 16 bits · ISUNCOMPRESSED 1
    let header = length << 4 | 1 << 20;
    let mut bytes = header.to_le_bytes()[..3].to_vec();
    bytes.extend_from_slice(text);
    bytes.push(3);
    bytes
}

#[tokio::test]
async fn a_response_without_the_secret_passes_unchanged() {
    let text = format!("{{\"made-up/\": \"{}\"}}", "made-up/secret that ".repeat(5000));
    for (coding, bytes) in [
        ("identity", text.clone().into_bytes()),
        ("gzip", gzip(text.as_bytes())),
        ("deflate", deflate(text.as_bytes())),
        ("deflate", raw_deflate(text.as_bytes())),
        ("zstd", zstd(text.as_bytes())),
        ("br", brotli(&text.as_bytes()[..60_000])),
    ] {
        for chunk in [7, 4096, bytes.len()] {
            let answer = response(streamed(&bytes, chunk), &[("content-encoding", coding)]);
            assert_eq!(pass(answer).await.unwrap().1, bytes, "{coding} by {chunk}");
        }
        if bytes.len() <= SMALL_BODY {
            let answer = response(Body::full(bytes.clone()), &[("content-encoding", coding)]);
            assert_eq!(pass(answer).await.unwrap().1, bytes, "{coding}");
        }
    }
}

#[tokio::test]
async fn the_secret_is_refused_in_every_form_and_coding() {
    let base64 = |text: String| base64::prelude::BASE64_STANDARD.encode(text);
    let forms = [
        format!("<pre>X-Pigello-Client-Secret: {SECRET}</pre>"),
        serde_json::to_string(&[("secret", SECRET)]).unwrap(),
        base64(SECRET.to_owned()),
        base64(format!("a{SECRET}")),
        base64(format!("ab{SECRET}c")),
        form_urlencoded::byte_serialize(SECRET.as_bytes()).collect(),
    ];
    for form in forms {
        let text = format!("{}{form}{}", "x".repeat(300), "y".repeat(300));
        for (coding, bytes) in [
            ("identity", text.clone().into_bytes()),
            ("gzip", gzip(text.as_bytes())),
            ("deflate", deflate(text.as_bytes())),
            ("zstd", zstd(text.as_bytes())),
            ("br", brotli(text.as_bytes())),
        ] {
            let fields = [("content-encoding", coding)];
            let refused = pass(response(Body::full(bytes.clone()), &fields)).await;
            assert_eq!(refused.unwrap_err(), Kind::UpstreamEchoedSecret, "{coding}: {form}");
            for chunk in [1, 5, 100] {
                let refused = pass(response(streamed(&bytes, chunk), &fields)).await;
                assert_eq!(
                    refused.unwrap_err(),
                    Kind::UpstreamEchoedSecret,
                    "{coding} by {chunk}: {form}"
                );
            }
        }
        let refused = pass(response(Body::full(text), &[])).await;
        assert_eq!(refused.unwrap_err(), Kind::UpstreamEchoedSecret, "{form}");
        if HeaderValue::from_str(&form).is_ok() {
            let refused = pass(response(Body::empty(), &[("x-debug", &form)])).await;
            assert_eq!(refused.unwrap_err(), Kind::UpstreamEchoedSecret, "{form}");
        }
    }
}

#[tokio::test]
async fn no_byte_of_the_secret_is_sent_before_it_is_found() {
    let text = format!("before {SECRET} behind");
    let answer = response(streamed(text.as_bytes(), 3), &[]);
    let mut body = inspect(answer, lease(), &context()).await.unwrap().into_body();
    let mut passed = Vec::new();
    while let Some(Ok(frame)) = http_body_util::BodyExt::frame(&mut body).await {
        passed.extend_from_slice(frame.data_ref().unwrap());
    }
    assert_eq!(passed, b"before ");
}

#[tokio::test]
async fn a_trailer_with_the_secret_is_refused() {
    for (name, value, passes) in
        [("x-debug", SECRET, false), ("x-checksum", "abc", true), ("x-pigello-x", "abc", true)]
    {
        let mut trailers = HeaderMap::new();
        trailers.insert(HeaderName::try_from(name).unwrap(), HeaderValue::from_static(value));
        let frames: [Result<_, BoxError>; 2] =
            [Ok(Frame::data(Bytes::from("text"))), Ok(Frame::trailers(trailers))];
        let body = Body::wrap(StreamBody::new(stream::iter(frames)));
        assert_eq!(pass(response(body, &[])).await.is_ok(), passes, "{name}");
    }
}

#[tokio::test]
async fn pigellos_own_fields_are_dropped_and_counted() {
    let fields = [("X-Pigello-Client-Ct", "organization.company"), ("x-theirs", "1")];
    let context = context();
    let passed = inspect(response(Body::full("text"), &fields), lease(), &context).await.unwrap();
    assert_eq!(passed.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(), ["x-theirs"]);
    context.note(|facts| assert_eq!(facts.masked_fields, 1));
}

#[tokio::test]
async fn a_response_that_cannot_be_decoded_is_refused() {
    for fields in [
        &[("content-encoding", "compress")][..],
        &[("content-encoding", "gzip, gzip")],
        &[("content-encoding", "gzip"), ("content-encoding", "br")],
        &[("content-encoding", "gzip")],
        &[("content-encoding", "zstd")],
    ] {
        let refused = pass(response(Body::full("no such thing"), fields)).await;
        assert_eq!(refused.unwrap_err(), Kind::UpstreamProtocol, "{fields:?}");
    }
    let head = response(Body::empty(), &[(header::CONTENT_ENCODING.as_str(), "compress")]);
    assert!(pass(head).await.is_ok(), "there is nothing to look into");
}

/// A coding whose encoder can be flushed.
type Flushing = (&'static str, fn() -> Box<dyn Encoder>);

trait Encoder: std::io::Write {
    fn take(&mut self) -> Vec<u8>;
    fn end(self: Box<Self>) -> Vec<u8>;
}

macro_rules! encoder {
    ($type:ty) => {
        impl Encoder for $type {
            fn take(&mut self) -> Vec<u8> {
                self.flush().unwrap();
                std::mem::take(self.get_mut())
            }
            fn end(self: Box<Self>) -> Vec<u8> {
                self.finish().unwrap()
            }
        }
    };
}

encoder!(flate2::write::GzEncoder<Vec<u8>>);
encoder!(flate2::write::ZlibEncoder<Vec<u8>>);
encoder!(flate2::write::DeflateEncoder<Vec<u8>>);
encoder!(::zstd::stream::write::Encoder<'static, Vec<u8>>);

const FLUSHING: [Flushing; 4] = [
    ("gzip", || Box::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best()))),
    ("deflate", || {
        Box::new(flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best()))
    }),
    ("deflate", || {
        Box::new(flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best()))
    }),
    ("zstd", || Box::new(::zstd::stream::write::Encoder::new(Vec::new(), 0).unwrap())),
];

/// The text in pieces that are flushed, and the end.
fn flushed<'a>(
    new: fn() -> Box<dyn Encoder>,
    pieces: impl Iterator<Item = &'a [u8]>,
) -> Vec<Vec<u8>> {
    let mut encoder = new();
    let mut coded: Vec<_> = pieces
        .map(|piece| {
            encoder.write_all(piece).unwrap();
            encoder.take()
        })
        .collect();
    coded.push(encoder.end());
    coded
}

/// A body of these frames.
fn frames(frames: impl IntoIterator<Item = Vec<u8>>) -> Body {
    let frames: Vec<Result<_, BoxError>> =
        frames.into_iter().map(|frame| Ok(Frame::data(frame.into()))).collect();
    Body::wrap(StreamBody::new(stream::iter(frames)))
}

/// What was passed on before the body broke off.
async fn passed_before_the_end(body: Body, fields: &[(&str, &str)]) -> (Vec<u8>, Option<Kind>) {
    let inspected = inspect(response(body, fields), lease(), &context()).await;
    let mut body = match inspected {
        Ok(response) => response.into_body(),
        Err(error) => return (Vec::new(), Some(error.kind())),
    };
    let mut passed = Vec::new();
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        match frame {
            Ok(frame) => passed.extend_from_slice(frame.data_ref().unwrap()),
            Err(error) => return (passed, find_kind(error.as_ref())),
        }
    }
    (passed, None)
}

/// As much as there is to decode.
fn decoded(coding: &str, coded: &[u8]) -> Vec<u8> {
    let coding = match coding {
        "gzip" => Coding::Gzip,
        "deflate" => Coding::Deflate,
        _ => Coding::Zstd,
    };
    let mut decoder = Decoder::new(coding).unwrap();
    let (mut input, mut text) = (Bytes::copy_from_slice(coded), Vec::new());
    let mut buffer = [0; 1000];
    while decoder.has_more() || !input.is_empty() {
        let length = decoder.decode(&mut input, &mut buffer).unwrap();
        text.extend_from_slice(&buffer[..length]);
    }
    text
}

#[tokio::test]
async fn no_byte_of_the_secret_leaves_however_small_the_flushed_pieces_are() {
    let text = format!("before {SECRET} behind {}", "x".repeat(300));
    for (coding, new) in FLUSHING {
        for length in [1, 2, 4, 9, 18, 100] {
            let coded = flushed(new, text.as_bytes().chunks(length));
            let (passed, kind) =
                passed_before_the_end(frames(coded), &[("content-encoding", coding)]).await;
            assert_eq!(kind, Some(Kind::UpstreamEchoedSecret), "{coding} by {length}");
            let passed = decoded(coding, &passed);
            assert!(b"before ".starts_with(&passed[..]), "{coding} by {length}: {passed:?}");
        }
    }
}

#[tokio::test]
async fn each_flushed_event_of_a_coded_stream_goes_on_at_once() {
    let events: Vec<_> = (0..50).map(|n| format!("data: {{\"n\": {n}}}\n\n")).collect();
    for (coding, new) in FLUSHING {
        let pieces = flushed(new, events.iter().map(String::as_bytes));
        let fields = [("content-encoding", coding)];
        let answer = response(frames(pieces.clone()), &fields);
        let mut body = inspect(answer, lease(), &context()).await.unwrap().into_body();
        // Each frame that is taken has one event, so none waits for the next.
        for piece in pieces {
            let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), piece, "{coding}");
        }
    }
}

#[tokio::test]
async fn a_plain_piece_goes_on_at_once() {
    for piece in
        ["tick 1", "data: word\n\n", "{\"n\": 1}\n", "a=", "aGVsbG8=", "550e8400-e29b", "<p>&amp;"]
    {
        let body = frames([piece.into(), b"more".to_vec()]);
        let mut body = inspect(response(body, &[]), lease(), &context()).await.unwrap().into_body();
        let frame = http_body_util::BodyExt::frame(&mut body).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), piece);
    }
}

#[tokio::test]
async fn each_frame_and_each_member_is_looked_into() {
    let (plain, secret) = (b"nothing here, ".repeat(20), SECRET.as_bytes());
    let skippable = |text: &[u8]| {
        let length = u32::try_from(text.len()).unwrap().to_le_bytes();
        [&[0x5a, 0x2a, 0x4d, 0x18], &length[..], text].concat()
    };
    let comment = |text: &[u8]| {
        let mut gzip = gzip(&plain);
        gzip[3] |= 0x10;
        let (head, rest) = gzip.split_at(10);
        [head, text, &[0], rest].concat()
    };
    for (coding, bytes) in [
        ("zstd", [zstd(&plain), zstd(secret)].concat()),
        ("zstd", [zstd(&plain), skippable(b"skipped"), zstd(secret)].concat()),
        ("zstd", [skippable(secret), zstd(&plain)].concat()),
        ("gzip", [gzip(&plain), gzip(b""), gzip(secret)].concat()),
        ("gzip", comment(secret)),
        // A compressed file that is compressed again.
        ("gzip", gzip(&gzip(secret))),
        ("br", brotli(&zstd(secret))),
        // No coding is named, or none that counts.
        ("", gzip(secret)),
        ("", zstd(secret)),
        ("", [skippable(b"skipped"), zstd(secret)].concat()),
        ("identity", deflate(secret)),
        ("", zstd(&gzip(secret))),
    ] {
        let fields = [("content-encoding", coding)];
        let fields = if coding.is_empty() { &[][..] } else { &fields };
        let whole = pass(response(Body::full(bytes.clone()), fields)).await;
        assert_eq!(whole.unwrap_err(), Kind::UpstreamEchoedSecret, "{coding}: {bytes:?}");
        for chunk in [1, 7, 60] {
            let (passed, kind) = passed_before_the_end(streamed(&bytes, chunk), fields).await;
            assert_eq!(kind, Some(Kind::UpstreamEchoedSecret), "{coding} by {chunk}: {bytes:?}");
            assert!(
                !passed.windows(5).any(|part| part == b"made-"),
                "{coding} by {chunk}: {bytes:?}"
            );
        }
    }
}

#[tokio::test]
async fn what_only_begins_like_a_coding_is_searched_as_it_is() {
    let bytes = |text: &[u8]| text.to_vec();
    let innocent = [
        bytes(b"x^2 + y^2"),
        bytes(b"x\x9c is no zlib"),
        bytes(b"\x1f\x8b"),
        bytes(b"\x1f\x8b\x08\x00 is no gzip"),
        bytes(b"\x28\xb5\x2f\xfd is no zstd"),
        [&gzip(b"a file")[..], b"and more"].concat(),
        gzip(b"a file")[..20].to_vec(),
    ];
    for text in innocent {
        let echo = [&text[..], SECRET.as_bytes()].concat();
        for chunk in [1, 3, 100] {
            let passed = pass(response(streamed(&text, chunk), &[])).await;
            assert_eq!(passed.unwrap().1, text, "{text:?} by {chunk}");
            let refused = pass(response(streamed(&echo, chunk), &[])).await;
            assert_eq!(refused.unwrap_err(), Kind::UpstreamEchoedSecret, "{text:?} by {chunk}");
        }
    }
}

#[tokio::test]
async fn a_coded_block_is_held_until_it_can_be_read() {
    // zstd does not compress what is this short, so the block has the secret as it is.
    let block = zstd(format!("{SECRET}{}", "0123456789".repeat(3)).as_bytes());
    let cut = block.len() - 4;
    assert!(block[..cut].windows(8).any(|part| part == &SECRET.as_bytes()[..8]), "as it is");
    let (passed, kind) = passed_before_the_end(
        frames([block[..cut].to_vec(), block[cut..].to_vec()]),
        &[("content-encoding", "zstd")],
    )
    .await;
    assert_eq!((passed.len(), kind), (0, Some(Kind::UpstreamEchoedSecret)));
    let text: Vec<u8> =
        (0..80_000_u32).flat_map(|n| n.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let echo = [SECRET.as_bytes(), &text].concat();
    for chunk in [1000, 16_384] {
        let fields = [("content-encoding", "zstd")];
        let (passed, kind) = passed_before_the_end(streamed(&zstd(&echo), chunk), &fields).await;
        assert_eq!((passed.len(), kind), (0, Some(Kind::UpstreamEchoedSecret)));
    }
}

#[tokio::test]
async fn what_is_held_back_is_bounded() {
    // A frame that stands for nothing, and says that it goes on.
    let frame = [&[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 1][..], &vec![b'.'; 2 << 20]].concat();
    let fields = [("content-encoding", "zstd")];
    let (passed, kind) = passed_before_the_end(streamed(&frame, 16_384), &fields).await;
    assert_eq!((passed.len(), kind), (0, Some(Kind::UpstreamProtocol)));
}

#[tokio::test]
async fn a_long_honest_answer_passes_in_each_coding() {
    // 6 MB, of which no part repeats exactly.
    let mut text = String::new();
    for n in 0..100_000_u32 {
        let hash = n.wrapping_mul(2_654_435_761);
        writeln!(text, "{{\"id\": {n}, \"hash\": \"{hash:08x}\", \"name\": \"made-up/name\"}},")
            .unwrap();
    }
    let text = text.as_bytes();
    for (coding, bytes) in [
        ("gzip", gzip(text)),
        ("deflate", deflate(text)),
        ("deflate", raw_deflate(text)),
        ("zstd", zstd(text)),
        ("zstd", text.chunks(100_000).flat_map(zstd).collect()),
        ("", zstd(text)),
    ] {
        let fields = [("content-encoding", coding)];
        let fields = if coding.is_empty() { &[][..] } else { &fields };
        let (passed, kind) = passed_before_the_end(streamed(&bytes, 16_000), fields).await;
        assert_eq!(kind, None, "{coding}");
        assert!(passed == bytes, "{coding}");
    }
}

/// 96 MiB of zeros, by the `brotli` program.
const BROTLI_BOMB: &str = "y///PwAkAOKxQHLv//j//weABEAcFoDu/R////8AkACIwwLQvf/j//8fABIAcVgAuvd//P//A0ACIA4LQPf+j///fwBIAMRhAeje//H//w8ACYA4LADd+z/+//8BIAEQhwWge//H//8/ACQA4rAAdO//+P//B4AEQBwWgO79H////wCQAIjDAtC9/+P//x8AEgBxWAC6938D";

#[tokio::test]
async fn a_bomb_is_refused_and_others_are_served_meanwhile() {
    let zeros = vec![0; 8 << 20];
    let mut zstd_bomb = ::zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..12 {
        zstd_bomb.write_all(&zeros).unwrap();
    }
    let bombs = [
        ("br", base64::prelude::BASE64_STANDARD.decode(BROTLI_BOMB).unwrap()),
        ("zstd", zstd_bomb.finish().unwrap()),
        // A bomb inside an innocent one.
        ("gzip", gzip(&gzip(&zeros.repeat(9)))),
    ];
    for (coding, bomb) in bombs {
        let others = std::cell::Cell::new(0);
        let others_work = async {
            loop {
                others.set(others.get() + 1);
                tokio::task::yield_now().await;
            }
        };
        let answer = response(Body::full(bomb), &[("content-encoding", coding)]);
        tokio::select! {
            biased;
            refused = pass(answer) => assert_eq!(refused.unwrap_err(), Kind::UpstreamProtocol, "{coding}"),
            () = others_work => {}
        }
        assert!(others.get() > 500, "{coding}: {}", others.get());
    }
}

#[tokio::test]
async fn a_coding_that_does_not_end_or_is_followed_by_more_is_refused() {
    let text = b"some text that is long enough to be cut".repeat(10);
    for (coding, bytes) in [
        ("gzip", gzip(&text)),
        ("deflate", deflate(&text)),
        ("deflate", raw_deflate(&text)),
        ("zstd", zstd(&text)),
        ("br", brotli(&text)),
    ] {
        let fields = [("content-encoding", coding)];
        let cut = bytes[..bytes.len() - 1].to_vec();
        let more = [&bytes[..], b"more"].concat();
        for bytes in [cut, more] {
            for chunk in [1, 1000] {
                let refused = pass(response(streamed(&bytes, chunk), &fields)).await;
                assert_eq!(refused.unwrap_err(), Kind::UpstreamProtocol, "{coding} by {chunk}");
            }
        }
        assert!(
            pass(response(frames([]), &fields)).await.is_ok(),
            "{coding}: an empty body has none"
        );
    }
}

#[tokio::test]
async fn a_part_of_a_response_is_refused() {
    for (status, content_type) in
        [(206, "application/json"), (206, "multipart/byteranges; boundary=x"), (226, "text/plain")]
    {
        let mut part = response(Body::full("a part"), &[("content-type", content_type)]);
        *part.status_mut() = StatusCode::from_u16(status).unwrap();
        assert_eq!(pass(part).await.unwrap_err(), Kind::UpstreamProtocol, "{status}");
    }
}

#[tokio::test]
async fn trailers_follow_what_was_held() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("abc"));
    let frames: [Result<_, BoxError>; 2] =
        [Ok(Frame::data(Bytes::from("ends like it: made-up"))), Ok(Frame::trailers(trailers))];
    let body = Body::wrap(StreamBody::new(stream::iter(frames)));
    let body = inspect(response(body, &[]), lease(), &context()).await.unwrap().into_body();
    let mut body = std::pin::pin!(body);
    let mut data = Vec::new();
    while let Some(frame) = http_body_util::BodyExt::frame(&mut body).await {
        match frame.unwrap().into_data() {
            Ok(piece) => data.extend_from_slice(&piece),
            Err(frame) => {
                assert_eq!(data, b"ends like it: made-up");
                assert_eq!(frame.into_trailers().unwrap()["x-checksum"], "abc");
                return;
            }
        }
    }
    panic!("no trailers");
}

#[tokio::test]
async fn a_field_name_with_the_secret_is_refused() {
    let lease = Arc::new(Lease::made_up("Made-Up-Secret-42"));
    let answer = response(Body::full("text"), &[("x-made-up-secret-42", "1")]);
    assert!(inspect(answer, lease, &context()).await.is_err());
}

#[path = "../../../../fuzz/src/response_guard.rs"]
#[expect(unreachable_pub, reason = "the fuzzer's package uses it too")]
mod law;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// The law of `fuzz/src/response_guard.rs`.
    #[test]
    fn what_passes_never_has_the_secret(mut bytes in prop::collection::vec(any::<u8>(), 4..200), at in any::<u8>()) {
        let at = 4 + usize::from(at) % (bytes.len() - 3).max(1);
        law::holds(&bytes, fuzzing::SECRET, fuzzing::pass);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = law::SECRET_HERE;
        }
        law::holds(&bytes, fuzzing::SECRET, fuzzing::pass);
    }
}
