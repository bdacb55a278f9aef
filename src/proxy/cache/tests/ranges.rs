//! Ranges of stored responses, and stored 206 responses (RFC 9110 §14, RFC 9111 §3.3).

use http::{Method, StatusCode};

use super::{harness::Bench, tables::get, upstream::reply};
use crate::{audit::CacheResult, body::Body};

#[tokio::test(start_paused = true)]
async fn a_whole_stored_response_answers_ranges() {
    let bench = Bench::free();
    let stored = reply(200).cache_control("max-age=3600").header("etag", "\"a\"");
    bench.upstream.then(stored.body(Body::full("0123456789A")).header("x-a", "1"));
    get(&bench, &[]).await;
    for (asked, status, text, content_range) in [
        (&[("range", "bytes=0-1")][..], 206, "01", "bytes 0-1/11"),
        (&[("range", "bytes=1-")], 206, "123456789A", "bytes 1-10/11"),
        (&[("range", "bytes=-1")], 206, "A", "bytes 10-10/11"),
        (&[("range", "bytes=20-")], 416, "", "bytes */11"),
        (&[("range", "bytes=0-1,3-4")], 200, "0123456789A", ""),
        (&[("range", "bytes=0-1"), ("if-range", "\"a\"")], 206, "01", "bytes 0-1/11"),
        (&[("range", "bytes=0-1"), ("if-range", "\"b\"")], 200, "0123456789A", ""),
    ] {
        let answer = get(&bench, asked).await;
        assert_eq!(answer.status, status, "{asked:?}");
        assert_eq!(answer.body, text, "{asked:?}");
        assert_eq!(answer.field("content-range"), content_range, "{asked:?}");
        assert_eq!(answer.field("content-length"), text.len().to_string(), "{asked:?}");
        assert_eq!(answer.field("x-a"), "1");
        assert_eq!(answer.result, Some(CacheResult::Hit));
    }
    let head = bench.request(Method::HEAD, "/object").header("range", "bytes=0-1").send().await;
    assert_eq!((head.status, head.field("content-length")), (StatusCode::OK, "11".into()));
}

#[tokio::test(start_paused = true)]
async fn a_stored_range_does_not_answer_for_the_whole() {
    let bench = Bench::free();
    let part = reply(206).cache_control("max-age=3600").header("content-range", "bytes 0-3/10");
    bench.upstream.then(part);
    let answer = get(&bench, &[("range", "bytes=0-3")]).await;
    assert_eq!(
        (answer.status, answer.result),
        (StatusCode::PARTIAL_CONTENT, Some(CacheResult::Miss))
    );
    assert_eq!(bench.upstream.last().field("range"), "bytes=0-3");
    let whole = get(&bench, &[]).await;
    assert_eq!((whole.status, whole.number()), (StatusCode::OK, 2));
}

#[tokio::test(start_paused = true)]
async fn a_stored_range_answers_for_its_bytes() {
    let bench = Bench::free();
    let part = reply(206).cache_control("max-age=3600").header("content-range", "bytes 5-9/10");
    bench.upstream.then(part.header("etag", "\"a\"").body(Body::full("56789")));
    get(&bench, &[("range", "bytes=-5")]).await;
    for (text, content_range, asked) in [
        ("56789", "bytes 5-9/10", &[("range", "bytes=-5")][..]),
        ("678", "bytes 6-8/10", &[("range", "bytes=6-8")]),
        ("6789", "bytes 6-9/10", &[("range", "bytes=6-"), ("if-range", "\"a\"")]),
    ] {
        let answer = get(&bench, asked).await;
        assert_eq!(
            (answer.status, answer.body.as_ref()),
            (StatusCode::PARTIAL_CONTENT, text.as_bytes())
        );
        assert_eq!(answer.field("content-range"), content_range);
        assert_eq!(answer.result, Some(CacheResult::Hit));
    }
    // It has the end of the complete response.
    let last = get(&bench, &[("range", "bytes=-2")]).await;
    assert_eq!((&last.body[..], last.field("content-range")), (&b"89"[..], "bytes 8-9/10".into()));
    assert_eq!(last.result, Some(CacheResult::Hit));
    for asked in
        [&[("range", "bytes=4-8")][..], &[("range", "bytes=6-8"), ("if-range", "\"b\"")], &[]]
    {
        assert_eq!(get(&bench, asked).await.result, Some(CacheResult::Miss), "{asked:?}");
    }
    let head = bench.request(Method::HEAD, "/object").header("range", "bytes=-5").send().await;
    assert_ne!(head.result, Some(CacheResult::Hit));
}
