//! Bodies stream while they are stored, up to the limit, and only whole ones are stored.

use std::{pin::Pin, sync::Arc, task::Poll};

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tokio::sync::mpsc;

use super::{
    harness::{Bench, free_rule, settle},
    upstream::reply,
};
use crate::{
    audit::CacheResult,
    body::{Body, collect_limited},
    domain::ByteSize,
    error::{BoxError, Error, Kind},
    proxy::cache::Settings,
};

/// A body that a test writes frame by frame.
fn pipe() -> (mpsc::UnboundedSender<Result<Frame<Bytes>, BoxError>>, Body) {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let frames = stream::poll_fn(move |cx| receiver.poll_recv(cx));
    (sender, Body::wrap(StreamBody::new(frames)))
}

#[expect(clippy::unnecessary_wraps, reason = "it is one of what a body yields")]
fn data(text: &'static str) -> Result<Frame<Bytes>, BoxError> {
    Ok(Frame::data(Bytes::from_static(text.as_bytes())))
}

fn broken() -> Result<Frame<Bytes>, BoxError> {
    Err(Error::new(Kind::UpstreamIncomplete, "it broke off").into())
}

fn small() -> Bench {
    let rules = vec![free_rule()];
    Bench::new(Settings { max_entry_bytes: ByteSize(10), rules, ..Settings::default() })
}

/// A buffer that shows whether any slice of it is alive.
struct Buffer {
    text: &'static str,
    #[expect(dead_code, reason = "only its references are counted")]
    held: Arc<()>,
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self.text.as_bytes()
    }
}

#[tokio::test(start_paused = true)]
async fn a_stored_response_keeps_no_read_buffer_alive() {
    let bench = Bench::free();
    let held = Arc::new(());
    let buffer = |text| Bytes::from_owner(Buffer { text, held: Arc::clone(&held) });
    let mut turn = reply(200).body(Body::full(buffer("the body")));
    for (name, value) in [
        ("cache-control", "max-age=60"),
        ("etag", "\"a\""),
        ("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT"),
        ("vary", "accept-language"),
        ("content-language", "sv"),
        ("content-type", "application/json"),
        ("x-other", "other"),
    ] {
        turn = turn.value(name, HeaderValue::from_maybe_shared(buffer(value)).unwrap());
    }
    bench.upstream.then(turn);
    let target = "/object";
    let mut request = bench.get(target).recorded();
    let language = HeaderValue::from_maybe_shared(buffer("sv")).unwrap();
    Arc::make_mut(&mut request.head).headers.insert("accept-language", language);
    let answer = tower::Service::call(&mut bench.stage.clone(), request).await.unwrap();
    assert_eq!(collect_limited(answer.into_body(), 100).await.unwrap(), "the body");
    settle().await;
    bench.upstream.forget_all();
    let hit = bench.get(target).header("accept-language", "sv").send().await;
    assert_eq!((hit.result, hit.field("etag")), (Some(CacheResult::Hit), "\"a\"".into()));
    assert_eq!(Arc::strong_count(&held), 1);
}

#[tokio::test(start_paused = true)]
async fn a_body_streams_while_it_is_stored() {
    let bench = Bench::free();
    let (upstream, body) = pipe();
    bench.upstream.then(reply(200).cache_control("max-age=60").body(body));
    let mut open = bench.get("/object").begin().await.unwrap();
    for text in ["one", "two"] {
        upstream.send(data(text)).unwrap();
        let frame = open.response.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), text);
    }
    // No call is answered with half of the body.
    let waiter = tokio::spawn(bench.get("/object").begin());
    settle().await;
    assert!(!waiter.is_finished());
    drop(upstream);
    assert!(open.response.body_mut().frame().await.is_none());
    // A caller that has the end finds the response stored.
    assert_eq!(bench.get("/object").send().await.body, "onetwo");
    let waited = waiter.await.unwrap().unwrap().finish().await;
    assert_eq!((waited.body.as_ref(), bench.upstream.count()), (&b"onetwo"[..], 1));
    assert_eq!(waited.field("content-length"), "6");
}

#[tokio::test(start_paused = true)]
async fn an_incomplete_body_is_not_stored() {
    for frames in [vec![data("half"), broken()], vec![broken()]] {
        let bench = Bench::free();
        let body = Body::wrap(StreamBody::new(stream::iter(frames)));
        bench.upstream.then(reply(200).cache_control("max-age=60").body(body));
        let broken = bench.get("/object").begin().await.unwrap().try_finish().await;
        assert!(broken.is_err());
        bench.upstream.then(reply(200));
        let again = bench.get("/object").send().await;
        assert_eq!((again.result, again.number()), (Some(CacheResult::Miss), 2));
    }
}

#[tokio::test(start_paused = true)]
async fn calls_that_wait_for_an_incomplete_body_fetch_themselves() {
    let bench = Bench::free();
    let (upstream, body) = pipe();
    bench.upstream.then(reply(200).cache_control("max-age=60").body(body));
    let leader = bench.get("/object").begin().await.unwrap();
    let waiter = tokio::spawn(bench.get("/object").begin());
    settle().await;
    upstream.send(data("half")).unwrap();
    upstream.send(broken()).unwrap();
    let answer = waiter.await.unwrap().unwrap().finish().await;
    assert_eq!((answer.body.as_ref(), answer.number()), (&b"body"[..], 2));
    assert!(leader.try_finish().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_response_is_stored_although_its_caller_leaves() {
    let bench = Bench::free();
    let (upstream, body) = pipe();
    bench.upstream.then(reply(200).cache_control("max-age=60").body(body));
    let open = bench.get("/object").begin().await.unwrap();
    upstream.send(data("one")).unwrap();
    drop(open);
    settle().await;
    upstream.send(data("two")).unwrap();
    drop(upstream);
    settle().await;
    let answer = bench.get("/object").send().await;
    assert_eq!((answer.body.as_ref(), answer.result), (&b"onetwo"[..], Some(CacheResult::Hit)));
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_goes_to_its_caller_alone() {
    let bench = small();
    // With an announced length nothing is copied.
    let announced = reply(200).cache_control("max-age=60").body(Body::full("0123456789A"));
    bench.upstream.then(announced);
    let answer = bench.get("/object").send().await;
    assert_eq!(answer.field("cache-status"), "pigello-gateway; fwd=miss; detail=too-large");
    assert_eq!((answer.body.as_ref(), bench.cache.stats().responses), (&b"0123456789A"[..], 0));
    // Without one the rest passes through from where it exceeds the limit.
    let frames = ["01234", "56789", "A", "BCD"].map(data);
    let body = Body::wrap(StreamBody::new(stream::iter(frames)));
    bench.upstream.then(reply(200).cache_control("max-age=60").body(body));
    let answer = bench.get("/other").send().await;
    assert_eq!((answer.body.as_ref(), bench.cache.stats().responses), (&b"0123456789ABCD"[..], 0));
    // At the limit it is stored.
    bench.upstream.then(reply(200).cache_control("max-age=60").body(Body::full("0123456789")));
    bench.get("/third").send().await;
    assert_eq!(bench.get("/third").send().await.result, Some(CacheResult::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_body_over_the_limit_is_read_as_fast_as_its_caller_reads() {
    let bench = small();
    let read = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&read);
    let endless: Pin<Box<dyn Stream<Item = _> + Send>> = Box::pin(stream::poll_fn(move |_| {
        counted.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Poll::Ready(Some(data("0123")))
    }));
    let body = Body::wrap(StreamBody::new(endless.take(1000)));
    bench.upstream.then(reply(200).cache_control("max-age=60").body(body));
    let mut open = bench.get("/object").begin().await.unwrap();
    settle().await;
    assert_eq!(read.load(std::sync::atomic::Ordering::SeqCst), 3, "two fit, the third does not");
    for _ in 0..5 {
        open.response.body_mut().frame().await.unwrap().unwrap();
    }
    assert!(read.load(std::sync::atomic::Ordering::SeqCst) <= 6);
    drop(open);
    settle().await;
    assert!(read.load(std::sync::atomic::Ordering::SeqCst) <= 6, "a caller that leaves ends it");
}

#[tokio::test(start_paused = true)]
async fn trailers_reach_the_caller_that_fetched() {
    for at_once in [true, false] {
        let bench = Bench::free();
        let (upstream, body) = pipe();
        bench.upstream.then(reply(200).cache_control("max-age=60").body(body));
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        let frames = [data("body"), Ok(Frame::trailers(trailers.clone()))];
        if at_once {
            for frame in frames {
                upstream.send(frame).unwrap();
            }
            let open = bench.get("/object").begin().await.unwrap();
            let mut body = open.response.into_body();
            let mut seen = None;
            while let Some(frame) = body.frame().await {
                seen = frame.unwrap().into_trailers().ok().or(seen);
            }
            assert_eq!(seen, Some(trailers));
        } else {
            let mut open = bench.get("/object").begin().await.unwrap();
            for frame in frames {
                upstream.send(frame).unwrap();
            }
            open.response.body_mut().frame().await.unwrap().unwrap();
            let frame = open.response.body_mut().frame().await.unwrap().unwrap();
            assert_eq!(frame.into_trailers().unwrap(), trailers);
        }
        let again = bench.get("/object").send().await;
        assert_eq!((again.body.as_ref(), again.result), (&b"body"[..], Some(CacheResult::Hit)));
    }
}

#[tokio::test(start_paused = true)]
async fn an_empty_body_is_stored() {
    let bench = Bench::free();
    for status in [200, 204] {
        let target = if status == 204 { "/none" } else { "/empty" };
        bench.upstream.then(reply(status).cache_control("max-age=60").body(Body::empty()));
        bench.get(target).send().await;
        let again = bench.get(target).send().await;
        assert_eq!((again.status.as_u16(), again.result), (status, Some(CacheResult::Hit)));
        let length = if status == 204 { "" } else { "0" };
        assert_eq!(again.field("content-length"), length);
    }
}
