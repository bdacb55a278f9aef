//! One fetch for many callers, whatever becomes of the callers.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tokio::time::advance;

use super::harness::{Bench, failure, free_rule, reply, settle};
use crate::{audit::CacheResult, error::Kind, proxy::cache::Settings};

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_make_one_call() {
    let bench = Bench::free();
    let (turn, gate) = reply(200).cache_control("max-age=60").gated();
    bench.upstream.then(turn);
    let callers: Vec<_> = (0..1000).map(|_| tokio::spawn(bench.get("/object").begin())).collect();
    settle().await;
    assert_eq!((bench.upstream.count(), bench.store.stats().in_flight), (1, 1));
    drop(gate);
    let mut leader = None;
    let mut collapsed = 0;
    for answer in join_all(callers).await {
        let answer = answer.unwrap().unwrap().finish().await;
        assert_eq!((answer.body.as_ref(), answer.number()), (&b"body"[..], 1));
        match answer.result {
            Some(CacheResult::Miss) => assert!(leader.replace(answer.id).is_none()),
            Some(CacheResult::Collapsed) => {
                collapsed += 1;
                assert_eq!(answer.source, leader, "it names the call that fetched");
                assert_eq!(
                    answer.field("cache-status"),
                    "pigello-gateway; fwd=miss; collapsed; ttl=60"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((collapsed, bench.upstream.count()), (999, 1));
    assert_eq!(bench.store.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stale_object_is_confirmed_once() {
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=1").header("etag", "\"a\""));
    bench.get("/object").send().await;
    advance(Duration::from_secs(2)).await;
    let (turn, gate) = reply(304).header("etag", "\"a\"").body(crate::body::Body::empty()).gated();
    bench.upstream.then(turn);
    let callers: Vec<_> = (0..10).map(|_| tokio::spawn(bench.get("/object").begin())).collect();
    settle().await;
    drop(gate);
    for answer in join_all(callers).await {
        assert_eq!(answer.unwrap().unwrap().finish().await.body, "body");
    }
    assert_eq!(bench.upstream.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_fetch_survives_the_caller_that_began_it() {
    let bench = Bench::free();
    let (turn, gate) = reply(200).cache_control("max-age=60").gated();
    bench.upstream.then(turn);
    let leader = tokio::spawn(bench.get("/object").begin());
    settle().await;
    let follower = tokio::spawn(bench.get("/object").begin());
    settle().await;
    leader.abort();
    settle().await;
    drop(gate);
    let answer = follower.await.unwrap().unwrap().finish().await;
    assert_eq!((answer.result, answer.number()), (Some(CacheResult::Collapsed), 1));
    assert_eq!(bench.get("/object").send().await.result, Some(CacheResult::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_leaves_disturbs_nobody() {
    let bench = Bench::free();
    let (turn, gate) = reply(200).cache_control("max-age=60").gated();
    bench.upstream.then(turn);
    let leader = tokio::spawn(bench.get("/object").begin());
    settle().await;
    let follower = tokio::spawn(bench.get("/object").begin());
    settle().await;
    follower.abort();
    drop(gate);
    assert_eq!(leader.await.unwrap().unwrap().finish().await.result, Some(CacheResult::Miss));
}

#[tokio::test(start_paused = true)]
async fn an_answer_for_one_caller_does_not_hold_up_the_others() {
    let bench = Bench::free();
    let (first, gate) = reply(200).cache_control("no-store").gated();
    bench.upstream.then(first);
    let leader = tokio::spawn(bench.get("/object").begin());
    settle().await;
    // Each of these answers comes only when all have been asked for: they go side by side.
    let gates: Vec<_> = (0..10)
        .map(|_| {
            let (turn, gate) = reply(200).cache_control("no-store").gated();
            bench.upstream.then(turn);
            gate
        })
        .collect();
    let callers: Vec<_> = (0..10).map(|_| tokio::spawn(bench.get("/object").begin())).collect();
    settle().await;
    assert_eq!(bench.upstream.count(), 1);
    drop(gate);
    settle().await;
    assert_eq!(bench.upstream.count(), 11);
    // Nor does anybody wait for such an answer again.
    let (turn, gate) = reply(200).cache_control("no-store").gated();
    bench.upstream.then(turn);
    let one = tokio::spawn(bench.get("/object").begin());
    let two = tokio::spawn(bench.get("/object").begin());
    settle().await;
    assert_eq!(bench.upstream.count(), 13);
    drop((gates, gate));
    for answer in join_all(callers.into_iter().chain([leader, one, two])).await {
        assert_eq!(answer.unwrap().unwrap().finish().await.result, Some(CacheResult::Miss));
    }
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_shared() {
    let bench = Bench::free();
    let (turn, gate) = failure(Kind::UpstreamConnectTimeout).gated();
    bench.upstream.then(turn);
    let callers: Vec<_> = (0..10).map(|_| tokio::spawn(bench.get("/object").begin())).collect();
    settle().await;
    drop(gate);
    for answer in join_all(callers).await {
        assert_eq!(answer.unwrap().unwrap_err().kind(), Kind::UpstreamConnectTimeout);
    }
    assert_eq!(bench.upstream.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn waiting_is_bounded() {
    let settings = Settings {
        collapse_wait: Duration::from_secs(5),
        rules: vec![free_rule()],
        ..Settings::default()
    };
    let bench = Bench::new(settings);
    let (turn, gate) = reply(200).cache_control("max-age=60").gated();
    bench.upstream.then(turn);
    let leader = tokio::spawn(bench.get("/object").begin());
    settle().await;
    let begun = tokio::time::Instant::now();
    let answer = bench.get("/object").send().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!((answer.result, answer.number()), (Some(CacheResult::Miss), 2));
    drop(gate);
    leader.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_variant_is_fetched_for_itself() {
    let bench = Bench::free();
    let stored = || reply(200).cache_control("max-age=60").header("vary", "foo");
    let (turn, gate) = stored().gated();
    bench.upstream.then(turn).then(stored());
    let one = tokio::spawn(bench.get("/object").header("foo", "1").begin());
    settle().await;
    let two = tokio::spawn(bench.get("/object").header("foo", "2").begin());
    let same = tokio::spawn(bench.get("/object").header("foo", "1").begin());
    settle().await;
    drop(gate);
    assert_eq!(one.await.unwrap().unwrap().finish().await.number(), 1);
    assert_eq!(two.await.unwrap().unwrap().finish().await.number(), 2);
    assert_eq!(same.await.unwrap().unwrap().finish().await.number(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_parts_those_before_it_from_those_behind_it() {
    let bench = Bench::free();
    let (turn, gate) = reply(200).cache_control("max-age=60").gated();
    bench.upstream.then(turn);
    let before = tokio::spawn(bench.get("/object").begin());
    settle().await;
    bench.upstream.then(reply(204));
    bench.request(Method::PATCH, "/object").body("{}").send().await;
    bench.upstream.then(reply(200).cache_control("max-age=60"));
    let behind = bench.get("/object").send().await;
    assert_eq!((behind.result, behind.number()), (Some(CacheResult::Miss), 3));
    drop(gate);
    assert_eq!(before.await.unwrap().unwrap().finish().await.number(), 1);
    // The answer from before the write came last and is not what is stored.
    assert_eq!(bench.get("/object").send().await.number(), 3);
    assert_eq!(bench.store.stats().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_purge_and_new_credentials_overtake_a_fetch() {
    let bench = Bench::free();
    for is_purge in [true, false] {
        let before = bench.upstream.count() as u64;
        let (turn, gate) = reply(200).cache_control("max-age=60").gated();
        bench.upstream.then(turn);
        let fetching = tokio::spawn(bench.get("/object").begin());
        settle().await;
        if is_purge {
            bench.store.purge_all();
        } else {
            bench.generation.rotate();
        }
        drop(gate);
        assert_eq!(fetching.await.unwrap().unwrap().finish().await.number(), before + 1);
        assert_eq!(bench.store.stats().responses, 0);
        assert_eq!(bench.get("/object").send().await.number(), before + 2);
        bench.store.purge_all();
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_end_is_not_known_counts_as_done() {
    let bench = Bench::free();
    let stored = || reply(200).cache_control("max-age=60");
    // Its caller leaves.
    bench.upstream.then(stored());
    bench.get("/object").send().await;
    let (turn, gate) = reply(200).gated();
    bench.upstream.then(turn);
    let write = tokio::spawn(bench.request(Method::PATCH, "/object").body("{}").begin());
    settle().await;
    assert_eq!(bench.get("/object").send().await.result, Some(CacheResult::Hit));
    write.abort();
    settle().await;
    drop(gate);
    bench.upstream.then(stored());
    assert_eq!(bench.get("/object").send().await.result, Some(CacheResult::Miss));
    // The upstream breaks off; then the gateway itself refuses, and nothing was sent.
    for (kind, hit) in [(Kind::UpstreamClosed, false), (Kind::CredentialsUnavailable, true)] {
        bench.upstream.then(failure(kind));
        assert!(bench.request(Method::DELETE, "/object").begin().await.is_err());
        bench.upstream.then(stored());
        let again = bench.get("/object").send().await;
        assert_eq!(again.result == Some(CacheResult::Hit), hit, "{kind:?}");
    }
}
