use std::{io::Write as _, time::SystemTime};

use base64::Engine as _;
use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use http_body::Frame;
use http_body_util::StreamBody;

use super::*;
use crate::{
    credentials,
    domain::{RequestId, TraceContext},
    error::BoxError,
};

const SECRET: &str = "made-up/secret that \"nobody\" has";

fn lease() -> Arc<Lease> {
    credentials::testing::lease(SECRET)
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
