//! When stale responses are served, when never, and their `Cache-Status`.

use std::time::Duration;

use tokio::time::advance;

use super::{
    harness::{Bench, free_rule, settle},
    upstream::{failure, reply},
};
use crate::{audit::CacheResult, body::Body, domain::Span, error::Kind, proxy::cache::Rule};

async fn seconds(count: u64) {
    advance(Duration::from_secs(count)).await;
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_served_instead_of_an_error() {
    for upstream_fails in
        [|| failure(Kind::UpstreamClosed), || failure(Kind::UpstreamTimeout), || reply(503)]
    {
        let bench = Bench::free();
        bench.upstream.then(reply(200).cache_control("max-age=2"));
        let first = bench.get("/object").send().await;
        seconds(5).await;
        bench.upstream.then(upstream_fails());
        let stale = bench.get("/object").send().await;
        assert_eq!((stale.status.as_u16(), stale.number()), (200, 1));
        assert_eq!((stale.result, stale.source), (Some(CacheResult::Stale), Some(first.id)));
        assert_eq!(
            stale.field("cache-status"),
            "pigello-gateway; hit; ttl=-3; detail=upstream-error"
        );
        assert_eq!(stale.field("age"), "5");
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_forbids_it_is_never_served_stale() {
    for said in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"] {
        for validator in [None, Some("\"a\"")] {
            let bench = Bench::free();
            let stored = reply(200).cache_control(&format!("max-age=2, stale-if-error=60, {said}"));
            bench.upstream.then(match validator {
                Some(etag) => stored.header("etag", etag),
                None => stored,
            });
            bench.get("/object").send().await;
            seconds(3).await;
            bench.upstream.then(failure(Kind::UpstreamClosed));
            let error = bench.get("/object").begin().await.unwrap_err();
            assert_eq!(error.kind(), Kind::UpstreamClosed, "{said}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn response_rule_and_request_set_stale_if_error() {
    let none = Rule { stale_if_error: Span::from_secs(0), ..free_rule() };
    for (stale, rule, stored, asked) in [
        (true, free_rule(), "max-age=2", ""),
        (false, none.clone(), "max-age=2", ""),
        (true, none.clone(), "max-age=2, stale-if-error=60", ""),
        (false, none.clone(), "max-age=2, stale-if-error=1", ""),
        (false, free_rule(), "max-age=2, stale-if-error=1", ""),
        (true, none.clone(), "max-age=2", "stale-if-error=60"),
        (false, none, "max-age=2", "stale-if-error=1"),
        (false, free_rule(), "max-age=2", "no-cache"),
    ] {
        let bench = Bench::with_rule(rule);
        // A validator keeps it in memory in every case.
        bench.upstream.then(reply(200).cache_control(stored).header("etag", "\"a\""));
        bench.get("/object").send().await;
        seconds(4).await;
        bench.upstream.then(reply(500));
        let answer = bench.get("/object").header("cache-control", asked).send().await;
        assert_eq!(answer.result == Some(CacheResult::Stale), stale, "{stored} {asked}");
        assert_eq!(answer.status.as_u16(), if stale { 200 } else { 500 }, "{stored} {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_failing_upstream_is_asked_once_a_second_for_ten_minutes() {
    let bench = Bench::with_rule(Rule { ttl: Span::from_secs(60), ..free_rule() });
    bench.get("/object").send().await;
    seconds(60).await;
    let before = bench.upstream.count();
    for second in 0..599 {
        bench.upstream.then(failure(Kind::UpstreamRefused));
        // Only the first caller waits for the upstream's failure.
        let answer = bench.get("/object").send().await;
        assert_eq!((answer.status.as_u16(), answer.number()), (200, 1), "{second}");
        assert_eq!(answer.result, Some(CacheResult::Stale), "{second}");
        tokio::task::yield_now().await;
        seconds(1).await;
    }
    // It was asked once a second, and no more.
    assert!(bench.upstream.count() - before <= 599, "{}", bench.upstream.count());
    // Older responses are not served.
    seconds(1).await;
    bench.upstream.then(failure(Kind::UpstreamRefused));
    assert!(bench.get("/object").begin().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn the_first_success_ends_it() {
    let bench = Bench::with_rule(Rule { ttl: Span::from_secs(60), ..free_rule() });
    bench.get("/object").send().await;
    seconds(60).await;
    bench.upstream.then(failure(Kind::UpstreamRefused));
    assert_eq!(bench.get("/object").send().await.result, Some(CacheResult::Stale));
    seconds(2).await;
    let stale = bench.get("/object").send().await;
    assert_eq!((stale.result, stale.number()), (Some(CacheResult::Stale), 1));
    settle().await;
    let fresh = bench.get("/object").send().await;
    assert_eq!((fresh.result, fresh.number()), (Some(CacheResult::Hit), 3));
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_served_while_it_is_revalidated() {
    let bench = Bench::free();
    let stored = reply(200).cache_control("max-age=1, stale-while-revalidate=4");
    bench.upstream.then(stored.header("etag", "\"abc\""));
    bench.get("/object").send().await;
    seconds(3).await;
    let (confirmed, gate) = reply(304).header("etag", "\"abc\"").body(Body::empty()).gated();
    bench.upstream.then(confirmed);
    for _ in 0..3 {
        let stale = bench.get("/object").send().await;
        assert_eq!(
            stale.field("cache-status"),
            "pigello-gateway; hit; ttl=-2; detail=revalidating"
        );
        assert_eq!((stale.result, stale.number()), (Some(CacheResult::Stale), 1));
        settle().await;
    }
    // One fetch in the background for all three.
    assert_eq!(bench.upstream.count(), 2);
    assert_eq!(bench.upstream.last().field("if-none-match"), "\"abc\"");
    drop(gate);
    settle().await;
    let fresh = bench.get("/object").send().await;
    assert_eq!((fresh.result, fresh.number()), (Some(CacheResult::Hit), 2));
    // Later callers wait.
    seconds(6).await;
    let waited = bench.get("/object").send().await;
    assert_eq!((waited.result, waited.number()), (Some(CacheResult::Miss), 3));
}

#[tokio::test(start_paused = true)]
async fn the_rule_may_set_stale_while_revalidate() {
    let window = Rule { stale_while_revalidate: Span::from_secs(10), ..free_rule() };
    let bench = Bench::with_rule(window);
    bench.upstream.then(reply(200).cache_control("max-age=1"));
    bench.get("/object").send().await;
    seconds(3).await;
    bench.upstream.then(reply(200).cache_control("no-cache").header("etag", "\"def\""));
    assert_eq!(bench.get("/object").send().await.result, Some(CacheResult::Stale));
    settle().await;
    // The response from the background is the stored one now.
    assert_eq!(bench.get("/object").send().await.number(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_in_the_background_changes_no_record() {
    let bench = Bench::free();
    let stored = reply(200).cache_control("max-age=1, stale-while-revalidate=60");
    bench.upstream.then(stored);
    bench.get("/object").send().await;
    seconds(3).await;
    let open = bench.get("/object").begin().await.unwrap();
    settle().await;
    assert_eq!(bench.upstream.count(), 2);
    // The fetch ends before this call's record closes.
    assert_eq!(open.finish().await.result, Some(CacheResult::Stale));
}

#[tokio::test(start_paused = true)]
async fn a_response_that_a_404_replaced_is_not_served_stale() {
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=2"));
    bench.get("/object").send().await;
    seconds(3).await;
    bench.upstream.then(reply(404));
    assert_eq!(bench.get("/object").send().await.status, 404);
    bench.upstream.then(failure(Kind::UpstreamClosed));
    assert!(bench.get("/object").begin().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_failure_of_the_gateway_is_not_hidden() {
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=2"));
    bench.get("/object").send().await;
    seconds(3).await;
    bench.upstream.then(failure(Kind::CredentialsUnavailable));
    let error = bench.get("/object").begin().await.unwrap_err();
    assert_eq!(error.kind(), Kind::CredentialsUnavailable);
}
