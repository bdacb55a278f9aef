//! When a stored response is reused by RFC 9111, RFC 9213 and the request, as tables: a response, a
//! pause of three seconds, and whether the next request is a hit.

use http::StatusCode;

use super::{
    harness::{Bench, free_rule},
    tables::{Lines, dated, get, pause},
    upstream::reply,
};
use crate::{audit::CacheResult, proxy::cache::Rule};

/// Stores a response, waits, and returns whether the next request is a hit.
async fn is_reused(status: u16, lines: Lines<'_>) -> bool {
    let bench = Bench::free();
    bench.upstream.then(dated(&bench, status, lines));
    assert_eq!(get(&bench, &[]).await.status, status);
    pause().await;
    let again = get(&bench, &[]).await;
    let hit = again.result == Some(CacheResult::Hit);
    assert_eq!(hit, again.number() == 1, "{status} {lines:?}");
    assert_eq!(hit, again.field("cache-status").contains("; hit"), "{status} {lines:?}");
    hit
}

#[tokio::test(start_paused = true)]
async fn freshness_by_cache_control() {
    const PAST: (&str, &str) = ("expires", "@-7200");
    const NOW: (&str, &str) = ("date", "@0");
    for (reused, lines) in [
        (false, &[][..]),
        (true, &[("cache-control", "max-age=3600")]),
        (false, &[("cache-control", "max-age=2")]),
        (false, &[("cache-control", "max-age=0")]),
        (true, &[("cache-control", "max-age=2147483649")]),
        (true, &[("cache-control", "max-age=99999999999")]),
        (false, &[("cache-control", "max-age=3600"), ("age", "7200"), NOW]),
        (true, &[("cache-control", "max-age=3600"), ("age", "abc"), NOW]),
        (true, &[("cache-control", "max-age=3600"), ("age", "-7200"), NOW]),
        (false, &[("cache-control", "max-age=3600"), ("age", "2147483648"), NOW]),
        (false, &[("cache-control", "max-age=3600"), ("age", "7200, 0"), NOW]),
        (true, &[("cache-control", "max-age=3600"), ("age", "0"), ("age", "7200"), NOW]),
        (false, &[("cache-control", "max-age=3600"), ("date", "@-7200")]),
        (true, &[("cache-control", "max-age=3600"), ("date", "@7200")]),
        (true, &[("cache-control", "max-age=3600"), PAST, NOW]),
        (true, &[("cache-control", "max-age=3600"), ("expires", "0"), NOW]),
        (false, &[("cache-control", "max-age=0"), ("expires", "@3600"), NOW]),
        (true, &[("cache-control", "s-maxage=3600")]),
        (false, &[("cache-control", "max-age=3600, s-maxage=1")]),
        (false, &[("cache-control", "s-maxage=1, max-age=3600")]),
        (false, &[("cache-control", "max-age=3600"), ("cache-control", "s-maxage=1")]),
        (true, &[("cache-control", "max-age=1, s-maxage=3600")]),
        (true, &[("cache-control", "max-age=0, s-maxage=3600"), ("expires", "@-10")]),
        (true, &[("cache-control", "max-age=10000, must-revalidate"), ("etag", "\"a\"")]),
        (false, &[("cache-control", "private, max-age=3600")]),
        (false, &[("cache-control", "No-StOrE, max-age=3600"), ("expires", "@3600"), NOW]),
        (false, &[("cache-control", "No-CaChE, max-age=3600"), ("expires", "@3600"), NOW]),
        (true, &[("cache-control", "max-age=3600, no-store, must-understand")]),
        (false, &[("cache-control", "max-age=3600"), ("set-cookie", "a=b")]),
        (true, &[("cache-control", "max-age=3600"), ("pragma", "no-cache")]),
    ] {
        assert_eq!(is_reused(200, lines).await, reused, "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn freshness_by_expires() {
    const NOW: (&str, &str) = ("date", "@0");
    for (reused, lines) in [
        (true, &[("expires", "@2592000"), NOW][..]),
        (false, &[("expires", "@-2592000"), NOW]),
        (false, &[("expires", "@0"), NOW]),
        (false, &[("expires", "@300"), ("date", "@400")]),
        (false, &[("expires", "0"), NOW]),
        (true, &[("expires", "@10"), ("date", "foo")]),
        (false, &[("expires", "@10"), ("date", "@-10"), ("age", "25")]),
        (false, &[("expires", "@20"), ("date", "@10"), ("age", "15")]),
        (true, &[("expires", "THU, 18 Aug 2050 02:01:18 gMT"), NOW]),
        (true, &[("expires", "Thursday, 18-Aug-50 02:01:18 GMT"), NOW]),
        (true, &[("expires", "Thu Aug  8 02:01:18 2050"), NOW]),
        (true, &[("expires", "Sun, 21 Nov 2286 04:46:39 GMT"), NOW]),
        (false, &[("expires", "Thu, 18 Aug 2050 02:01:18 UTC"), NOW]),
        (false, &[("expires", "Thu, 18 Aug 2050 2:01:18 GMT"), NOW]),
        (false, &[("expires", "@3600"), ("expires", "@3600"), NOW]),
    ] {
        assert_eq!(is_reused(200, lines).await, reused, "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn any_status_with_a_stated_lifetime_is_reused() {
    for status in [
        200, 203, 204, 299, 301, 302, 303, 307, 308, 400, 404, 405, 410, 414, 499, 500, 501, 502,
        503, 504, 599,
    ] {
        let fresh = [("cache-control", "max-age=100000"), ("last-modified", "@0"), ("date", "@0")];
        assert!(is_reused(status, &fresh).await, "{status}");
        let stale = [("expires", "@-5000"), ("last-modified", "@-100000"), ("date", "@0")];
        assert!(!is_reused(status, &stale).await, "{status}");
    }
    let unknown = [("cache-control", "max-age=3600, no-store, must-understand")];
    assert!(!is_reused(599, &unknown).await);
}

#[tokio::test(start_paused = true)]
async fn a_heuristic_lifetime_is_a_tenth_of_the_time_since_last_modified() {
    const LINES: Lines<'_> = &[("last-modified", "@-86400"), ("date", "@0")];
    for status in [200, 203, 204, 404, 405, 410, 414, 501] {
        assert!(is_reused(status, LINES).await, "{status}");
    }
    for status in [201, 202, 403, 502, 503, 504, 599] {
        assert!(!is_reused(status, LINES).await, "{status}");
    }
    let public = [LINES[0], LINES[1], ("cache-control", "public")];
    assert!(is_reused(599, &public).await);
    // Only with a rule that allows it.
    let bench = Bench::with_rule(Rule { heuristic: Some(false), ..free_rule() });
    bench.upstream.then(dated(&bench, 200, LINES));
    get(&bench, &[]).await;
    assert_eq!(get(&bench, &[]).await.number(), 2);
}

#[tokio::test(start_paused = true)]
async fn freshness_by_targeted_cache_control() {
    for (reused, cdn, lines) in [
        (true, "max-age=3600", &[][..]),
        (true, "max-age=99999999999", &[]),
        (true, "foobar, max-age=3600", &[]),
        (false, "max-age=3600", &[("age", "7200"), ("date", "@0")]),
        (false, "max-age=0", &[]),
        (false, "max-age=0", &[("expires", "@10000"), ("date", "@0")]),
        (true, "max-age=3600", &[("expires", "@-10000"), ("date", "@0")]),
        (true, "max-age=3600", &[("cache-control", "max-age=1")]),
        (false, "max-age=1", &[("cache-control", "max-age=3600")]),
        (false, "private", &[("cache-control", "max-age=3600")]),
        (false, "no-cache", &[("cache-control", "max-age=3600")]),
        (false, "no-store", &[("cache-control", "max-age=3600")]),
        (true, "max-age=10000", &[("cache-control", "no-store")]),
        (false, "max-age=10000, &&&&&", &[("cache-control", "no-store")]),
        (false, "max-age=\"10000\"", &[("cache-control", "no-store")]),
    ] {
        let lines: Vec<_> = [("cdn-cache-control", cdn)].iter().chain(lines).copied().collect();
        assert_eq!(is_reused(200, &lines).await, reused, "{lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_with_a_credential_of_its_own_goes_past_the_cache() {
    for field in ["authorization", "cookie"] {
        for value in ["max-age=3600", "public, s-maxage=3600", "max-age=3600, must-revalidate"] {
            let bench = Bench::free();
            bench.upstream.then(reply(200).cache_control(value));
            let first = get(&bench, &[(field, "FOO")]).await;
            assert_eq!(bench.upstream.last().field(field), "FOO");
            assert_eq!(first.result, Some(CacheResult::Bypass), "{field} {value}");
            bench.upstream.then(reply(200).cache_control(value));
            assert_eq!(get(&bench, &[]).await.number(), 2, "{field} {value}");
            // What others got does not answer it either.
            assert_eq!(get(&bench, &[(field, "FOO")]).await.number(), 3, "{field} {value}");
            assert_eq!(get(&bench, &[]).await.number(), 2, "{field} {value}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn no_stored_response_has_a_cookie() {
    let cookie = |value: &str| reply(200).cache_control(value).header("set-cookie", "sessionid=A");
    for value in ["max-age=60", "public, max-age=60", "s-maxage=60"] {
        let bench = Bench::free();
        bench.upstream.then(cookie(value));
        assert_eq!(get(&bench, &[]).await.field("set-cookie"), "sessionid=A");
        let again = get(&bench, &[]).await;
        assert_eq!((again.number(), again.field("set-cookie")), (2, String::new()), "{value}");
    }
    // The upstream may say that the response is the same without it.
    let bench = Bench::free();
    bench.upstream.then(cookie("max-age=60, no-cache=\"Set-Cookie\""));
    get(&bench, &[]).await;
    let again = get(&bench, &[]).await;
    assert_eq!((again.number(), again.field("set-cookie")), (1, String::new()));
    // A validation that sets one does not hand it on to the next caller.
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=1").header("etag", "\"a\""));
    get(&bench, &[]).await;
    pause().await;
    bench.upstream.then(reply(304).header("etag", "\"a\"").header("set-cookie", "sessionid=A"));
    get(&bench, &[]).await;
    assert_eq!(get(&bench, &[]).await.field("set-cookie"), "");
}

#[tokio::test(start_paused = true)]
async fn what_is_said_of_one_request_is_not_stored() {
    for status in [401, 407, 416, 425, 428, 429, 431, 511] {
        let bench = Bench::free();
        bench.upstream.then(reply(status).cache_control("public, max-age=60"));
        assert_eq!(get(&bench, &[]).await.status, status);
        assert_eq!(get(&bench, &[]).await.status, 200, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn directives_of_the_request() {
    for (result, stored, asked) in [
        (CacheResult::Miss, &[("cache-control", "max-age=3600")][..], "max-age=0"),
        (CacheResult::Miss, &[("cache-control", "max-age=3600"), ("age", "1800")], "max-age=600"),
        (CacheResult::Hit, &[("cache-control", "max-age=3600")], "max-age=600"),
        (CacheResult::Stale, &[("cache-control", "max-age=1")], "max-stale=1000"),
        (CacheResult::Stale, &[("cache-control", "max-age=1500"), ("age", "2000")], "max-stale"),
        (CacheResult::Miss, &[("cache-control", "max-age=1500"), ("age", "2000")], "max-stale=9"),
        (CacheResult::Miss, &[("cache-control", "max-age=1, must-revalidate")], "max-stale=1000"),
        (CacheResult::Miss, &[("cache-control", "max-age=1500")], "min-fresh=2000"),
        (CacheResult::Hit, &[("cache-control", "max-age=1500")], "min-fresh=1000"),
        (CacheResult::Miss, &[("cache-control", "max-age=3600")], "no-cache"),
        (CacheResult::Bypass, &[("cache-control", "max-age=3600")], "no-store"),
        (CacheResult::Hit, &[("cache-control", "max-age=3600")], "nothing-to-see-here"),
        (CacheResult::Hit, &[("cache-control", "max-age=3600")], "only-if-cached"),
    ] {
        let bench = Bench::free();
        bench.upstream.then(dated(&bench, 200, stored));
        get(&bench, &[]).await;
        pause().await;
        let again = get(&bench, &[("cache-control", asked)]).await;
        assert_eq!(again.result, Some(result), "{stored:?} {asked}");
        let forwarded = matches!(result, CacheResult::Miss | CacheResult::Bypass);
        assert_eq!(again.number() == 2, forwarded, "{stored:?} {asked}");
    }
}

#[tokio::test(start_paused = true)]
async fn only_if_cached_is_never_forwarded() {
    let bench = Bench::free();
    let refused = bench.get("/object").header("cache-control", "only-if-cached").begin().await;
    let error = refused.unwrap_err();
    assert_eq!(error.kind().status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(bench.upstream.count(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_request_with_no_store_stores_nothing() {
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=3600"));
    let answer = get(&bench, &[("cache-control", "no-store")]).await;
    assert_eq!(answer.field("cache-status"), "pigello-gateway; fwd=bypass");
    assert_eq!(get(&bench, &[]).await.number(), 2);
}
