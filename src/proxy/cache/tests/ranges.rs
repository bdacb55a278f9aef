//! Ranges of stored responses (RFC 9110 §14).

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
async fn a_miss_is_answered_and_stored_whole() {
    let bench = Bench::free();
    let stored = reply(200).cache_control("max-age=3600");
    bench.upstream.then(stored.body(Body::full("0123456789A")));
    let range = [("range", "bytes=0-1")];
    let miss = get(&bench, &range).await;
    assert_eq!((miss.status, miss.result), (StatusCode::OK, Some(CacheResult::Miss)));
    assert_eq!(miss.body, "0123456789A");
    let hit = get(&bench, &range).await;
    assert_eq!((hit.status, hit.result), (StatusCode::PARTIAL_CONTENT, Some(CacheResult::Hit)));
    assert_eq!(hit.body, "01");
}
