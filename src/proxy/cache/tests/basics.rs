//! The default rule, invalidation, purges and partitions.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::advance;

use super::{harness::Bench, upstream::reply};
use crate::{audit::CacheResult, proxy::cache::Settings};

const PK: &str = "/accounts/users/customer/subtenant/6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55/";
const ID: &str = "6b7d1c1e-0a63-4b2f-9d8e-3f6f0c9a1e55";
const OTHER: &str = "/accounts/users/customer/subtenant/0d3c2b1a-0a63-4b2f-9d8e-3f6f0c9a1e55/";
const BASE: &str = "/accounts/users/customer/subtenant/";
const LIST: &str = "/accounts/users/customer/subtenant/list/";

fn default_bench() -> Bench {
    Bench::new(Settings::default())
}

/// Caches gets and lists of subtenants.
fn lists_too() -> Bench {
    let mut settings = Settings::default();
    settings.rules[0].operations.push("*.list".parse().unwrap());
    Bench::new(settings)
}

#[tokio::test(start_paused = true)]
async fn a_subtenant_is_fetched_once_a_minute() {
    let bench = default_bench();
    let first = bench.get(PK).send().await;
    assert_eq!(first.field("cache-status"), "pigello-gateway; fwd=miss; stored; ttl=60");
    assert_eq!((first.result, first.source), (Some(CacheResult::Miss), None));
    advance(Duration::from_secs(20)).await;
    let second = bench.get(PK).send().await;
    assert_eq!(second.body, "body");
    assert_eq!(second.number(), 1);
    assert_eq!(second.field("cache-status"), "pigello-gateway; hit; ttl=40");
    assert_eq!(second.field("age"), "20");
    assert_eq!((second.result, second.source), (Some(CacheResult::Hit), Some(first.id)));
    assert_eq!(bench.upstream.count(), 1);
    advance(Duration::from_secs(40)).await;
    let third = bench.get(PK).send().await;
    assert_eq!(third.number(), 2);
    assert_eq!(third.field("cache-status"), "pigello-gateway; fwd=stale; stored; ttl=60");
}

#[tokio::test(start_paused = true)]
async fn no_other_operation_is_cached_by_default() {
    let bench = default_bench();
    let protected = PK.replace("subtenant", "protectedidentity");
    for target in [LIST, &protected, "/free/path"] {
        for _ in 0..2 {
            let answer = bench.get(target).send().await;
            assert_eq!((answer.result, answer.field("cache-status").as_str()), (None, ""));
        }
    }
    assert_eq!(bench.upstream.count(), 6);
    for status in [404, 403, 500] {
        bench.upstream.then(reply(status));
        assert_eq!(bench.get(PK).send().await.status, status);
    }
    for said in ["no-store", "private"] {
        bench.upstream.then(reply(200).cache_control(said));
        let answer = bench.get(PK).send().await;
        let expected = format!("pigello-gateway; fwd=miss; detail={said}");
        assert_eq!(answer.field("cache-status"), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn a_disabled_cache_passes_everything_through() {
    let bench = Bench::new(Settings { enabled: false, ..Settings::default() });
    for number in 1..3 {
        let answer = bench.get(PK).send().await;
        assert_eq!((answer.number(), answer.field("cache-status").as_str()), (number, ""));
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_belongs_to_its_profile_and_its_credentials() {
    let bench = default_bench();
    let test = bench.other_profile("test", &bench.upstream.clone());
    assert_eq!(bench.get(PK).send().await.number(), 1);
    assert_eq!(test.get(PK).send().await.number(), 2);
    assert_eq!(bench.get(PK).send().await.number(), 1);
    bench.generation.rotate();
    assert_eq!(bench.get(PK).send().await.number(), 3);
    assert_eq!(test.get(PK).send().await.number(), 2);
    assert_eq!(bench.cache.stats().responses, 3);
    bench.cache.maintain([&bench.profile.partition, &test.profile.partition]).await;
    assert_eq!(bench.cache.stats().responses, 2);
}

#[tokio::test(start_paused = true)]
async fn each_of_two_profiles_of_a_name_has_its_own() {
    // While a reload replaces a profile, the calls in flight use the one before.
    let bench = default_bench();
    let before = bench.other_profile("production", &bench.upstream.clone());
    before.generation.rotate();
    assert_eq!(before.get(PK).send().await.number(), 1);
    assert_eq!(bench.get(PK).send().await.number(), 2);
    bench.cache.maintain([&bench.profile.partition, &before.profile.partition]).await;
    assert_eq!((before.get(PK).send().await.number(), bench.upstream.count()), (1, 2));
    // The one before is gone.
    bench.maintain().await;
    assert_eq!(bench.get(PK).send().await.number(), 2);
    assert_eq!(bench.cache.stats().responses, 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_of_a_member_invalidates_its_own_responses_alone() {
    let bench = default_bench();
    let upstream = bench.upstream.clone();
    let [acme, nordic] = ["acme", "nordic"].map(|name| bench.other_member(name, &upstream));
    let profiles = [&acme, &nordic, &bench];
    for writer in 0..profiles.len() {
        for profile in profiles {
            profile.get(PK).send().await;
        }
        upstream.then(reply(200));
        profiles[writer].request(Method::PATCH, PK).body("{}").send().await;
        for (reader, profile) in profiles.iter().enumerate() {
            let result = profile.get(PK).send().await.result;
            assert_eq!(result == Some(CacheResult::Miss), reader == writer, "{writer} {reader}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_write_invalidates_what_it_changes() {
    for (method, target, object_goes, other_goes, list_goes) in [
        (Method::PATCH, PK, true, false, true),
        (Method::DELETE, PK, true, false, true),
        (Method::POST, BASE, false, false, true),
        (Method::POST, LIST, true, true, true),
        (Method::POST, "/accounts/users/auth/invite/customer/subtenant/", true, true, true),
        (Method::PATCH, &PK.replace("subtenant", "tenant"), false, false, false),
    ] {
        let bench = lists_too();
        let listener_of_another_profile = bench.other_profile("test", &bench.upstream.clone());
        for bench in [&bench, &listener_of_another_profile] {
            for target in [PK, OTHER, LIST] {
                bench.get(target).send().await;
                let again = bench.get(target).send().await;
                assert_eq!(again.result, Some(CacheResult::Hit), "{target}");
            }
        }
        let write = bench.request(method.clone(), target).body("{}").send().await;
        assert_eq!(write.result, None);
        for bench in [&bench, &listener_of_another_profile] {
            for (target, goes) in [(PK, object_goes), (OTHER, other_goes), (LIST, list_goes)] {
                let hit = bench.get(target).send().await.result == Some(CacheResult::Hit);
                assert_eq!(hit, !goes, "{method} {target}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_object_has_one_name_in_either_case() {
    let upper = PK.replace(ID, &ID.to_uppercase());
    for (read, write) in [(PK, &*upper), (&*upper, PK)] {
        for method in [Method::DELETE, Method::PATCH] {
            let bench = lists_too();
            bench.get(read).send().await;
            bench.get(LIST).send().await;
            // Both spellings share one response.
            for spelling in [read, write] {
                assert_eq!(bench.get(spelling).send().await.result, Some(CacheResult::Hit));
            }
            bench.request(method.clone(), write).send().await;
            for target in [read, write, LIST] {
                let answer = bench.get(target).send().await;
                assert!(answer.number() > 2, "{method} {write} {target}");
            }
        }
    }
    let bench = default_bench();
    bench.get(&upper).send().await;
    assert_eq!(bench.cache.purge(None, Some(ID), None, None), 1);
    // A `Location` is in the upstream's own spelling.
    bench.get(PK).send().await;
    bench.upstream.then(reply(201).header("location", &upper));
    bench.request(Method::POST, BASE).send().await;
    assert_eq!(bench.get(PK).send().await.result, Some(CacheResult::Miss));
}

#[tokio::test(start_paused = true)]
async fn what_an_upstream_says_of_another_spelling_is_not_said_of_the_object() {
    let upper = PK.replace(ID, &ID.to_uppercase());
    let bench = default_bench();
    for status in [301, 404] {
        let other = reply(status).cache_control("max-age=60").header("location", PK);
        bench.upstream.then(other);
        let answer = bench.get(&upper).send().await;
        assert_eq!(answer.field("cache-status"), "pigello-gateway; fwd=miss; detail=spelling");
        assert_eq!(bench.get(PK).send().await.status, 200, "{status}");
        bench.cache.purge_all();
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_invalidates_nothing() {
    let bench = default_bench();
    bench.get(PK).send().await;
    for status in [400, 404, 409, 500] {
        bench.upstream.then(reply(status));
        bench.request(Method::PATCH, PK).send().await;
        assert_eq!(bench.get(PK).send().await.result, Some(CacheResult::Hit), "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_purge_removes_an_operation_an_object_or_both() {
    let bench = lists_too();
    let fill = async || {
        for target in [PK, OTHER, LIST, &LIST.replace("subtenant", "tenant")] {
            bench.get(target).send().await;
        }
    };
    fill().await;
    assert_eq!(bench.cache.purge(Some("subtenant.get"), Some(ID), None, None), 1);
    assert_ne!(bench.get(PK).send().await.result, Some(CacheResult::Hit));
    assert_eq!(bench.get(OTHER).send().await.result, Some(CacheResult::Hit));
    assert_eq!(bench.cache.purge(Some("subtenant.get"), None, None, None), 2);
    assert_eq!(bench.cache.purge(Some("subtenant.get"), None, None, None), 0);
    fill().await;
    // The object, and both lists, which may hold it.
    assert_eq!(bench.cache.purge(None, Some(&ID.to_uppercase()), None, None), 3);
    assert_eq!(bench.cache.purge_all(), 1);
    assert_eq!(bench.cache.stats().purged, 7);
    assert_eq!(bench.cache.stats().responses, 0);
}

#[tokio::test(start_paused = true)]
async fn expired_responses_leave_memory() {
    let bench = default_bench();
    bench.get(PK).send().await;
    let stats = bench.cache.stats();
    assert_eq!(stats.responses, 1);
    assert_eq!(stats.by_operation.keys().next().map(|name| &**name), Some("subtenant.get"));
    // Fresh for a minute, and served instead of errors for ten.
    advance(Duration::from_secs(659)).await;
    bench.maintain().await;
    assert_eq!(bench.cache.stats().responses, 1);
    advance(Duration::from_secs(1)).await;
    bench.maintain().await;
    let stats = bench.cache.stats();
    assert_eq!((stats.responses, stats.bytes), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn other_tasks_run_while_a_large_cache_is_looked_through() {
    let bench = default_bench();
    for number in 0..600 {
        bench.get(&PK.replace("6b7d1c1e", &format!("{number:08}"))).send().await;
    }
    assert_eq!(bench.cache.stats().responses, 600);
    advance(Duration::from_mins(11)).await;
    let mut maintenance = std::pin::pin!(bench.maintain());
    assert!(futures_util::poll!(maintenance.as_mut()).is_pending());
    maintenance.await;
    assert_eq!(bench.cache.stats().responses, 0);
}

#[tokio::test(start_paused = true)]
async fn head_is_answered_from_a_stored_get() {
    let bench = default_bench();
    let head = bench.request(Method::HEAD, PK).send().await;
    assert_eq!(head.field("cache-status"), "pigello-gateway; fwd=miss");
    assert_eq!(bench.upstream.last().method, Method::HEAD);
    bench.get(PK).send().await;
    let head = bench.request(Method::HEAD, PK).send().await;
    assert_eq!((head.status, head.number()), (StatusCode::OK, 2));
    assert_eq!(head.field("content-length"), "4");
    assert!(head.body.is_empty());
    assert_eq!(head.result, Some(CacheResult::Hit));
}
