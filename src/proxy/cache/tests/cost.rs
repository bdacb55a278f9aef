//! The allocations of a hit, and the bytes of a stored response.

use std::hint::black_box;

use futures_util::FutureExt as _;

use super::{harness::Bench, upstream::reply};
use crate::body::Body;

#[tokio::test]
async fn a_hit_allocates_its_header_and_nothing_else() {
    let bench = Bench::free();
    let stored = reply(200)
        .cache_control("max-age=3600")
        .header("content-type", "application/json")
        .header("vary", "accept-language")
        .header("etag", "\"a\"")
        .header("x-frame-options", "DENY")
        .body(Body::full(vec![b'x'; 2000]));
    bench.upstream.then(stored);
    bench.get("/object").header("accept-language", "sv").send().await;
    // The first two format the values that a thread keeps, and the clock may tick.
    let counts: Vec<_> = (0..5)
        .map(|_| {
            let request = bench.get("/object").header("accept-language", "sv").recorded();
            let mut stage = bench.stage.clone();
            let mut answer = None;
            let counted = allocation_counter::measure(|| {
                use tower::Service as _;
                let response = stage.call(request).now_or_never();
                answer = Some(black_box(response));
            });
            let response = answer.unwrap().unwrap().unwrap();
            assert!(response.headers()["cache-status"].to_str().unwrap().contains("; hit"));
            counted.count_total
        })
        .collect();
    // Two tables of a header map.
    assert_eq!(counts.iter().min(), Some(&2), "{counts:?}");
}

/// The counted weight equals the bytes taken, for small and large bodies.
#[test]
fn a_stored_response_takes_its_counted_weight() {
    for (body, count) in [(100, 2000), (2900, 2000), (50_000, 800)] {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let bench = runtime.block_on(async { Bench::free() });
        let mut counted = 0;
        let measured = allocation_counter::measure(|| {
            runtime.block_on(async {
                for number in 0..count {
                    let stored = reply(200)
                        .cache_control("max-age=3600")
                        .header("content-type", "application/json")
                        .header("vary", "accept")
                        .header("etag", format!("\"{number}\""))
                        .header("allow", "GET, PUT, PATCH, DELETE, HEAD, OPTIONS")
                        .header("x-frame-options", "DENY")
                        .header("server", "nginx");
                    bench.upstream.then(stored.body(Body::full(vec![b'x'; body])));
                    let target = format!("/accounts/users/customer/subtenant/{number:036}/");
                    bench.get(&target).header("accept", "application/json").send().await;
                }
            });
            bench.upstream.forget_all();
            counted = bench.cache.stats().bytes;
        });
        let taken = u64::try_from(measured.bytes_current).unwrap();
        let percent = taken * 100 / counted;
        // The weight includes the allocator's overhead, which is not measured here.
        assert!((85..=100).contains(&percent), "{body}: {taken} of {counted}");
    }
}
