//! RFC 9111 and RFC 9110 for a shared cache: conditions, validation, variants and invalidation.

use http::{Method, StatusCode};

use super::{
    harness::Bench,
    tables::{dated, get, pause},
    upstream::reply,
};
use crate::{audit::CacheResult, body::Body};

#[tokio::test(start_paused = true)]
async fn the_cache_evaluates_conditional_requests() {
    const FRESH: (&str, &str) = ("cache-control", "max-age=100000");
    for (status, stored, asked) in [
        (304, &[FRESH, ("etag", "\"a\"")][..], &[("if-none-match", "\"a\"")][..]),
        (304, &[FRESH, ("etag", "W/\"a\"")], &[("if-none-match", "W/\"a\"")]),
        (304, &[FRESH, ("etag", "\"a\"")], &[("if-none-match", "\"1\", \"a\", \"5\"")]),
        (200, &[FRESH, ("etag", "\"a\"")], &[("if-none-match", "\"b\"")]),
        (
            304,
            &[FRESH, ("etag", "\"a\""), ("last-modified", "@-5000")],
            &[("if-none-match", "\"a\""), ("if-modified-since", "@-9000")],
        ),
        (
            304,
            &[FRESH, ("last-modified", "@-3000"), ("date", "@0")],
            &[("if-modified-since", "@-3000")],
        ),
        (
            304,
            &[FRESH, ("last-modified", "@-3000"), ("date", "@0")],
            &[("if-modified-since", "@-2000")],
        ),
        (
            200,
            &[FRESH, ("last-modified", "@-3000"), ("date", "@0")],
            &[("if-modified-since", "@-4000")],
        ),
    ] {
        let bench = Bench::free();
        // Dates are written before the clock advances.
        let request = asked.iter().fold(bench.get("/object"), |request, (name, value)| match value
            .strip_prefix('@')
        {
            Some(seconds) => request.header(name, bench.date(seconds.parse().unwrap())),
            None => request.header(name, value),
        });
        bench.upstream.then(dated(&bench, 200, stored).header("content-type", "text/plain"));
        get(&bench, &[]).await;
        pause().await;
        let answer = request.send().await;
        assert_eq!(answer.status, status, "{stored:?} {asked:?}");
        assert_eq!(answer.result, Some(CacheResult::Hit));
        assert_eq!(answer.field("age"), "3");
        if status == 304 {
            assert!(answer.body.is_empty() && answer.field("content-type").is_empty());
            assert_eq!(answer.field("content-length"), "");
            if let Some((_, etag)) = stored.iter().find(|(name, _)| *name == "etag") {
                assert_eq!(answer.field("etag"), *etag);
            }
        }
        assert_eq!(bench.upstream.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_condition_is_forwarded_without_a_stored_response() {
    let bench = Bench::free();
    bench.upstream.then(reply(304).header("etag", "\"a\"").body(Body::empty()));
    let answer = get(&bench, &[("if-none-match", "\"a\"")]).await;
    assert_eq!(bench.upstream.last().field("if-none-match"), "\"a\"");
    assert_eq!(answer.status, 304);
    // The cache does not evaluate a condition that only the upstream may.
    bench.upstream.then(reply(200).cache_control("max-age=60").header("etag", "\"a\""));
    get(&bench, &[]).await;
    let answer = get(&bench, &[("if-match", "\"b\"")]).await;
    assert_eq!((answer.result, answer.number()), (Some(CacheResult::Bypass), 3));
}

#[tokio::test(start_paused = true)]
async fn a_stale_response_is_validated() {
    for (validator, value, question) in [
        ("etag", "\"abcdef\"", "if-none-match"),
        ("etag", "W/\"abcdef\"", "if-none-match"),
        ("last-modified", "Wed, 01 Jan 2020 00:00:00 GMT", "if-modified-since"),
    ] {
        let bench = Bench::free();
        let stored = reply(200).cache_control("max-age=2").header("test", "A").header("left", "A");
        bench.upstream.then(stored.header(validator, value).header("content-length", "4"));
        let first = get(&bench, &[("abc", "1")]).await;
        pause().await;
        let confirmed = reply(304).header("test", "B").header(validator, value);
        let confirmed = confirmed.header("content-length", "99").header("date", bench.date(0));
        bench.upstream.then(confirmed.body(Body::empty()));
        let second = get(&bench, &[("abc", "1")]).await;
        assert_eq!(bench.upstream.last().field(question), value);
        assert_eq!(bench.upstream.last().field("abc"), "1");
        assert_eq!((second.status, &second.body[..]), (StatusCode::OK, &b"body"[..]));
        assert_eq!((second.field("test"), second.field("left")), ("B".into(), "A".into()));
        assert_eq!(second.field("content-length"), "4");
        assert_eq!(second.result, Some(CacheResult::Revalidated));
        assert_eq!(second.source, Some(first.id));
        assert_eq!(
            second.field("cache-status"),
            "pigello-gateway; fwd=stale; fwd-status=304; stored; ttl=2"
        );
        let third = get(&bench, &[]).await;
        assert_eq!((third.field("test"), third.source), ("B".into(), Some(first.id)));
        assert_eq!(third.result, Some(CacheResult::Hit));
        assert_eq!(bench.upstream.count(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_may_have_the_validated_response() {
    let bench = Bench::free();
    let changed = bench.date(-3000);
    let stored = reply(200).cache_control("max-age=2").header("last-modified", &changed);
    bench.upstream.then(stored.header("date", bench.date(0)));
    get(&bench, &[]).await;
    pause().await;
    bench.upstream.then(reply(304).body(Body::empty()));
    let answer = bench.get("/object").header("if-modified-since", &changed).send().await;
    assert_eq!(answer.status, 304);
    assert_eq!(bench.upstream.last().field("if-modified-since"), changed);
}

#[tokio::test(start_paused = true)]
async fn a_no_cache_response_is_validated_each_time() {
    let bench = Bench::free();
    let stored = || reply(200).cache_control("no-cache, max-age=1000").header("etag", "\"a\"");
    bench.upstream.then(stored());
    get(&bench, &[]).await;
    for _ in 0..2 {
        bench.upstream.then(reply(304).header("etag", "\"a\"").body(Body::empty()));
        let answer = get(&bench, &[]).await;
        assert_eq!(answer.result, Some(CacheResult::Revalidated));
        assert_eq!(bench.upstream.last().field("if-none-match"), "\"a\"");
    }
    // So is a fresh response for a request with no-cache.
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=1000").header("etag", "\"a\""));
    get(&bench, &[]).await;
    bench.upstream.then(reply(304).body(Body::empty()));
    let answer = get(&bench, &[("cache-control", "no-cache")]).await;
    assert!(answer.field("cache-status").contains("fwd=request; fwd-status=304"));
}

#[tokio::test(start_paused = true)]
async fn a_304_about_another_response_is_followed_by_a_full_fetch() {
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=2").header("etag", "\"a\""));
    get(&bench, &[]).await;
    pause().await;
    bench.upstream.then(reply(304).header("etag", "\"b\"").body(Body::empty()));
    let answer = get(&bench, &[]).await;
    assert_eq!((answer.status, answer.number()), (StatusCode::OK, 3));
    assert_eq!(bench.upstream.last().field("if-none-match"), "");
}

#[tokio::test(start_paused = true)]
async fn hop_by_hop_fields_and_named_fields_are_not_stored() {
    let bench = Bench::free();
    let stored = reply(200)
        .cache_control("max-age=60, no-cache=\"x-mine, x-yours\"")
        .header("connection", "x-hop, close")
        .header("x-hop", "1")
        .header("proxy-authenticate", "Basic")
        .header("proxy-authentication-info", "x")
        .header("x-mine", "1")
        .header("x-yours", "2")
        .header("x-all", "3")
        .header("x-twice", "a=b")
        .header("x-twice", "c=d");
    bench.upstream.then(stored);
    let first = get(&bench, &[]).await;
    assert_eq!((first.field("x-hop"), first.field("x-mine")), (String::new(), "1".into()));
    let again = get(&bench, &[]).await;
    assert_eq!(again.result, Some(CacheResult::Hit));
    for name in [
        "connection",
        "x-hop",
        "proxy-authenticate",
        "proxy-authentication-info",
        "x-mine",
        "x-yours",
    ] {
        assert_eq!(again.field(name), "", "{name}");
    }
    assert_eq!((again.field("x-all"), again.field("x-twice")), ("3".into(), "a=b, c=d".into()));
}

#[tokio::test(start_paused = true)]
async fn a_stored_response_has_age_and_date() {
    let bench = Bench::free();
    let (date, expires) = (bench.date(0), bench.date(2_592_000));
    let stored = reply(200).header("date", &date).header("expires", &expires).header("age", "30");
    bench.upstream.then(stored);
    get(&bench, &[]).await;
    pause().await;
    let again = get(&bench, &[]).await;
    assert_eq!(again.field("age"), "33");
    assert_eq!((again.field("date"), again.field("expires")), (date, expires));
    // Without a date it gets the date of its arrival.
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=60"));
    let date = bench.date(0);
    get(&bench, &[]).await;
    pause().await;
    assert_eq!(get(&bench, &[]).await.field("date"), date);
}

#[tokio::test(start_paused = true)]
async fn each_variant_is_stored_up_to_a_bound() {
    let bench = Bench::free();
    let stored = || reply(200).cache_control("max-age=5000").header("vary", "Foo");
    bench.upstream.then(stored()).then(stored());
    assert_eq!(get(&bench, &[("foo", "1")]).await.number(), 1);
    assert_eq!(get(&bench, &[("foo", "2"), ("bar", "x")]).await.number(), 2);
    assert_eq!(get(&bench, &[("foo", "1"), ("bar", "y")]).await.number(), 1);
    assert_eq!(get(&bench, &[("foo", "2")]).await.number(), 2);
    bench.upstream.then(stored());
    assert_eq!(get(&bench, &[]).await.number(), 3);
    // Beyond the bound the oldest is removed.
    for number in 3..=8 {
        bench.upstream.then(stored());
        get(&bench, &[("foo", &number.to_string())]).await;
    }
    assert_eq!(bench.cache.stats().responses, 8);
    assert_eq!(get(&bench, &[("foo", "2")]).await.result, Some(CacheResult::Hit));
    assert_eq!(get(&bench, &[("foo", "1")]).await.result, Some(CacheResult::Miss));
}

#[tokio::test(start_paused = true)]
async fn the_response_to_a_head_freshens_or_removes_the_stored_response() {
    // The response to HEAD, and whether the stored response is freshened, removed or left alone.
    for (status, told, freshened) in [
        (200, &[("test", "B"), ("cache-control", "max-age=60")][..], Some(true)),
        (200, &[("cache-control", "max-age=60"), ("content-length", "4")], Some(true)),
        (200, &[("cache-control", "max-age=60"), ("etag", "W/\"a\"")], Some(true)),
        (200, &[("cache-control", "max-age=60"), ("content-length", "5")], Some(false)),
        (200, &[("cache-control", "max-age=60"), ("etag", "\"b\"")], Some(false)),
        (200, &[("cache-control", "no-store")], Some(false)),
        (410, &[("cache-control", "max-age=60")], None),
    ] {
        let bench = Bench::free();
        let stored = reply(200).cache_control("max-age=2").header("etag", "\"a\"");
        bench.upstream.then(stored.header("test", "A").header("left", "A"));
        get(&bench, &[]).await;
        pause().await;
        bench.upstream.then(dated(&bench, status, told).body(Body::empty()));
        let head = bench.request(Method::HEAD, "/object").send().await;
        assert_eq!((head.status.as_u16(), head.number()), (status, 2), "{told:?}");
        assert_eq!(head.result, Some(CacheResult::Miss));
        let stored = if freshened == Some(true) { "; stored; ttl=60" } else { "" };
        assert_eq!(head.field("cache-status"), format!("pigello-gateway; fwd=stale{stored}"));
        let responses = u64::from(freshened != Some(false));
        bench.maintain().await;
        assert_eq!(bench.cache.stats().responses, responses, "{told:?}");
        let after = get(&bench, &[]).await;
        if freshened == Some(true) {
            assert_eq!(after.result, Some(CacheResult::Hit), "{told:?}");
            let test = if told[0].0 == "test" { "B" } else { "A" };
            assert_eq!((after.field("test"), after.field("left")), (test.into(), "A".into()));
            assert_eq!(after.body, "body");
        } else {
            assert_eq!(after.number(), 3, "{told:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_query_is_part_of_the_target() {
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=60"));
    bench.get("/object?a=1").send().await;
    assert_eq!(bench.upstream.last().target, "/object?a=1");
    assert_eq!(bench.get("/object?a=1").send().await.result, Some(CacheResult::Hit));
    assert_eq!(bench.get("/object?a=2").send().await.result, Some(CacheResult::Miss));
}

#[tokio::test(start_paused = true)]
async fn a_successful_unsafe_request_invalidates_its_targets() {
    let methods = [Method::POST, Method::PUT, Method::DELETE, "M-SEARCH".parse().unwrap()];
    for method in methods {
        for (status, location, goes) in [
            (200, None, true),
            (302, None, true),
            (500, None, false),
            (404, None, false),
            (201, Some(("location", "/dir/object")), true),
            (200, Some(("content-location", "https://api.pigello.io/dir/object?x")), true),
            (200, Some(("location", "https://elsewhere.example/dir/object")), false),
            (500, Some(("location", "/dir/object")), false),
        ] {
            let bench = Bench::free();
            bench.upstream.then(reply(200).cache_control("max-age=100000"));
            bench.get("/dir/object").send().await;
            let target = if location.is_some() { "/elsewhere" } else { "/dir/object" };
            bench.upstream.then(dated(&bench, status, location.as_slice()));
            bench.request(method.clone(), target).body("abc").send().await;
            let hit = bench.get("/dir/object").send().await.result == Some(CacheResult::Hit);
            assert_eq!(hit, !goes, "{method} {status} {location:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_response_to_a_post_is_stored_if_a_get_would_get_it() {
    for (kept, lines) in [
        (true, &[("content-location", "/form"), ("expires", "@1000"), ("date", "@0")][..]),
        (
            true,
            &[("content-location", "https://api.pigello.io/form"), ("cache-control", "max-age=9")],
        ),
        (false, &[("content-location", "/other"), ("cache-control", "max-age=9")]),
        (false, &[("content-location", "/form")]),
        (false, &[("cache-control", "max-age=9")]),
    ] {
        let bench = Bench::free();
        bench.upstream.then(dated(&bench, 200, lines));
        let posted = bench.request(Method::POST, "/form").body("12345").send().await;
        assert_eq!((posted.status, &posted.body[..]), (StatusCode::OK, &b"body"[..]));
        assert_eq!(bench.get("/form").send().await.number() == 1, kept, "{lines:?}");
    }
}
