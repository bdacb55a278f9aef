//! Single flight: one fetch for many callers, also if callers leave.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use tokio::{sync::oneshot, task::JoinHandle, time::advance};

use super::{
    harness::{Answer, Bench, Open, free_rule, settle},
    upstream::{Turn, failure, reply},
};
use crate::{
    audit::CacheResult,
    error::{Error, Kind},
    proxy::cache::Settings,
};

type Call = JoinHandle<Result<Open, Error>>;

/// Starts a call whose response waits until the gate is dropped.
async fn held_back(bench: &Bench, turn: Turn) -> (Call, oneshot::Sender<()>) {
    let (turn, gate) = turn.gated();
    bench.upstream.then(turn);
    (waiting(bench).await, gate)
}

/// Starts a call and lets it wait.
async fn waiting(bench: &Bench) -> Call {
    let call = tokio::spawn(bench.get("/object").begin());
    settle().await;
    call
}

async fn finished(call: Call) -> Answer {
    call.await.unwrap().unwrap().finish().await
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_make_one_call() {
    let bench = Bench::free();
    let (turn, gate) = reply(200).cache_control("max-age=60").gated();
    bench.upstream.then(turn);
    let callers: Vec<_> = (0..1000).map(|_| tokio::spawn(bench.get("/object").begin())).collect();
    settle().await;
    assert_eq!((bench.upstream.count(), bench.cache.stats().in_flight), (1, 1));
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
                assert_eq!(answer.source, leader, "the record names the call that fetched");
                assert_eq!(
                    answer.field("cache-status"),
                    "pigello-gateway; fwd=miss; collapsed; ttl=60"
                );
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((collapsed, bench.upstream.count()), (999, 1));
    assert_eq!(bench.cache.stats().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn many_callers_make_one_validation() {
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
async fn a_fetch_survives_the_caller_that_began_it() {
    let bench = Bench::free();
    let (leader, gate) = held_back(&bench, reply(200).cache_control("max-age=60")).await;
    let waiter = waiting(&bench).await;
    leader.abort();
    settle().await;
    drop(gate);
    let answer = finished(waiter).await;
    assert_eq!((answer.result, answer.number()), (Some(CacheResult::Collapsed), 1));
    assert_eq!(bench.get("/object").send().await.result, Some(CacheResult::Hit));
}

#[tokio::test(start_paused = true)]
async fn a_waiting_caller_that_leaves_changes_nothing() {
    let bench = Bench::free();
    let (leader, gate) = held_back(&bench, reply(200).cache_control("max-age=60")).await;
    let waiter = waiting(&bench).await;
    waiter.abort();
    drop(gate);
    assert_eq!(finished(leader).await.result, Some(CacheResult::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_response_for_one_caller_releases_the_others_to_fetch_in_parallel() {
    let bench = Bench::free();
    let (leader, gate) = held_back(&bench, reply(200).cache_control("no-store")).await;
    // Each response comes only after all requests: they are in flight together.
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
    // Later calls do not wait for such a response either.
    let (turn, gate) = reply(200).cache_control("no-store").gated();
    bench.upstream.then(turn);
    let one = tokio::spawn(bench.get("/object").begin());
    let two = waiting(&bench).await;
    assert_eq!(bench.upstream.count(), 13);
    drop((gates, gate));
    for answer in join_all(callers.into_iter().chain([leader, one, two])).await {
        assert_eq!(answer.unwrap().unwrap().finish().await.result, Some(CacheResult::Miss));
    }
}

#[tokio::test(start_paused = true)]
async fn all_waiting_callers_get_the_failure_of_a_connection() {
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
async fn waiting_callers_fetch_for_themselves_after_another_failure() {
    let bench = Bench::free();
    let (turn, gate) = failure(Kind::UpstreamFirstByteTimeout).gated();
    bench.upstream.then(turn);
    let leader = tokio::spawn(bench.get("/object").begin());
    settle().await;
    let waiter = waiting(&bench).await;
    bench.upstream.then(reply(200).cache_control("max-age=60"));
    drop(gate);
    assert_eq!(leader.await.unwrap().unwrap_err().kind(), Kind::UpstreamFirstByteTimeout);
    assert_eq!(finished(waiter).await.result, Some(CacheResult::Miss));
    assert_eq!(bench.upstream.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_caller_waits_for_a_bounded_time() {
    let settings = Settings {
        collapse_wait: Duration::from_secs(5),
        rules: vec![free_rule()],
        ..Settings::default()
    };
    let bench = Bench::new(settings);
    let (leader, gate) = held_back(&bench, reply(200).cache_control("max-age=60")).await;
    let begun = tokio::time::Instant::now();
    let answer = bench.get("/object").send().await;
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
    assert_eq!((answer.result, answer.number()), (Some(CacheResult::Miss), 2));
    drop(gate);
    leader.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn another_variant_has_its_own_fetch() {
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
    assert_eq!(finished(one).await.number(), 1);
    assert_eq!(finished(two).await.number(), 2);
    assert_eq!(finished(same).await.number(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_after_a_write_does_not_join_a_fetch_before_it() {
    let bench = Bench::free();
    let (before, gate) = held_back(&bench, reply(200).cache_control("max-age=60")).await;
    bench.upstream.then(reply(204));
    bench.request(Method::PATCH, "/object").body("{}").send().await;
    bench.upstream.then(reply(200).cache_control("max-age=60"));
    let behind = bench.get("/object").send().await;
    assert_eq!((behind.result, behind.number()), (Some(CacheResult::Miss), 3));
    drop(gate);
    assert_eq!(finished(before).await.number(), 1);
    // The response from before the write came last and is not stored.
    assert_eq!(bench.get("/object").send().await.number(), 3);
    assert_eq!(bench.cache.stats().refused, 1);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_overtaken_by_a_purge_or_a_rotation_is_not_stored() {
    let bench = Bench::free();
    for is_purge in [true, false] {
        let before = bench.upstream.count() as u64;
        let (fetching, gate) = held_back(&bench, reply(200).cache_control("max-age=60")).await;
        if is_purge {
            bench.cache.purge_all();
        } else {
            bench.generation.rotate();
        }
        drop(gate);
        assert_eq!(finished(fetching).await.number(), before + 1);
        assert_eq!(bench.cache.stats().responses, 0);
        assert_eq!(bench.get("/object").send().await.number(), before + 2);
        bench.cache.purge_all();
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_with_an_unknown_end_invalidates() {
    let bench = Bench::free();
    let stored = || reply(200).cache_control("max-age=60");
    // The caller leaves.
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
    // The upstream closes the connection; then the gateway refuses, and nothing was sent.
    for (kind, hit) in [(Kind::UpstreamClosed, false), (Kind::CredentialsUnavailable, true)] {
        bench.upstream.then(failure(kind));
        assert!(bench.request(Method::DELETE, "/object").begin().await.is_err());
        bench.upstream.then(stored());
        let again = bench.get("/object").send().await;
        assert_eq!(again.result == Some(CacheResult::Hit), hit, "{kind:?}");
    }
}
