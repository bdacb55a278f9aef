//! Which responses may be stored, as tables.

use http::HeaderValue;
use tokio::time::Instant;

use super::*;
use crate::domain::Span;

fn decided(
    status: u16,
    rule: &Rule,
    lines: &[(&'static str, &str)],
) -> Result<CachePolicy, &'static str> {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
    }
    let now = Instant::now();
    let times = ResponseTimes { request: now, response: now, wall: SystemTime::UNIX_EPOCH };
    decide(StatusCode::from_u16(status).unwrap(), &headers, rule, times)
}

/// Gives no freshness and allows no staleness.
fn strict() -> Rule {
    Rule { ttl: Span::from_secs(0), stale_if_error: Span::from_secs(0), ..Rule::default() }
}

#[tokio::test(start_paused = true)]
async fn the_upstream_may_forbid_storing() {
    let fresh = ("cache-control", "max-age=60");
    for (status, lines, reason) in [
        (200, &[fresh][..], None),
        (200, &[fresh, ("cache-control", "no-store")], Some("no-store")),
        (200, &[fresh, ("cache-control", "private")], Some("private")),
        (200, &[fresh, ("cache-control", "private=\"a\"")], None),
        (200, &[fresh, ("vary", "*")], Some("vary")),
        (200, &[fresh, ("vary", "cookie")], Some("vary")),
        (200, &[fresh, ("cdn-cache-control", "private")], Some("private")),
        (200, &[("cache-control", "no-store"), ("cdn-cache-control", "max-age=9")], None),
        (206, &[fresh], Some("status")),
        (304, &[fresh], Some("not-modified")),
        // Any status with a stated lifetime.
        (299, &[fresh], None),
        (404, &[fresh], None),
        (500, &[fresh], None),
        (599, &[fresh], None),
        // RFC 9111 §5.2.2.3.
        (200, &[fresh, ("cache-control", "no-store, must-understand")], None),
        (599, &[fresh, ("cache-control", "no-store, must-understand")], Some("not-understood")),
        // Never fresh, and no validator.
        (200, &[], Some("no-freshness")),
        (200, &[("cache-control", "max-age=0")], Some("no-freshness")),
        (200, &[("cache-control", "no-cache, max-age=60")], Some("no-cache")),
        (200, &[("cache-control", "no-cache"), ("etag", "\"a\"")], None),
        (200, &[("etag", "\"a\"")], None),
        (201, &[("etag", "\"a\"")], Some("status")),
        (404, &[("etag", "\"a\"")], Some("no-freshness")),
        // A cookie belongs to one caller, also if the upstream states a lifetime.
        (200, &[fresh, ("set-cookie", "a=b")], Some("set-cookie")),
        (
            200,
            &[("cache-control", "public, s-maxage=60"), ("set-cookie", "a=b")],
            Some("set-cookie"),
        ),
        (200, &[fresh, ("set-cookie", "a=b"), ("cache-control", "no-cache=\"set-cookie\"")], None),
        // So does what is said of one request.
        (401, &[fresh], Some("status")),
        (407, &[fresh], Some("status")),
        (416, &[fresh], Some("status")),
        (428, &[fresh], Some("status")),
        (429, &[("cache-control", "public, s-maxage=60")], Some("status")),
        (431, &[fresh, ("cache-control", "must-understand")], Some("status")),
        (511, &[fresh], Some("status")),
        (403, &[fresh], None),
    ] {
        let result = decided(status, &strict(), lines);
        assert_eq!(result.err(), reason, "{status} {lines:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_rule_gives_a_lifetime_where_the_response_states_none() {
    let rule = Rule { negative_ttl: Span::from_secs(5), ..Rule::default() };
    let left = |status, lines: &[(&'static str, &str)]| {
        let policy = decided(status, &rule, lines)?;
        Ok(policy.freshness.left(Instant::now()).map_or(0, |left| left.as_secs()))
    };
    assert_eq!(left(200, &[]), Ok(60));
    assert_eq!(left(404, &[]), Ok(5));
    assert_eq!(left(410, &[]), Ok(5));
    assert_eq!(left(403, &[]), Err("no-freshness"));
    assert_eq!(left(500, &[]), Err("no-freshness"));
    assert_eq!(left(302, &[]), Err("status"));
    assert_eq!(left(200, &[("cache-control", "max-age=7")]), Ok(7));
    // A session belongs to one caller.
    assert_eq!(left(200, &[("set-cookie", "a=b")]), Err("set-cookie"));
    // The rule counts from the arrival: a slow upstream clock does not cancel it.
    let policy = decided(200, &rule, &[("age", "3600")]).unwrap();
    assert_eq!(policy.freshness.left(Instant::now()), Some(Duration::from_mins(1)));
    assert_eq!(policy.freshness.age(Instant::now()), Duration::from_hours(1));
}

#[tokio::test(start_paused = true)]
async fn retention_covers_freshness_and_every_use_while_stale() {
    let rule = Rule { stale_if_error: Span::from_secs(600), ..Rule::default() };
    let policy = |rule: &Rule, value: &str| {
        let validator = ("etag", "\"a\"");
        let lines = [("cache-control", value), validator];
        let lines = if value.contains("x-bare") { &lines[..1] } else { &lines };
        decided(200, rule, lines).unwrap()
    };
    let of = |rule: &Rule, value: &str| {
        let policy = policy(rule, value);
        let (revalidate, error) = (policy.stale_while_revalidate, policy.stale_if_error);
        (revalidate.as_secs(), error.as_secs(), policy.retention.as_secs())
    };
    assert_eq!(of(&rule, "max-age=60, x-bare"), (0, 600, 660));
    assert_eq!(of(&strict(), "max-age=60, x-bare"), (0, 0, 60));
    assert_eq!(of(&strict(), "max-age=60"), (0, 0, 120));
    assert_eq!(of(&rule, "max-age=60, stale-if-error=5, x-bare"), (0, 5, 65));
    assert_eq!(of(&rule, "max-age=60, stale-while-revalidate=7"), (7, 600, 660));
    for never in ["must-revalidate", "proxy-revalidate", "s-maxage=60", "no-cache"] {
        let policy = policy(&rule, &format!("max-age=60, stale-if-error=99, {never}"));
        let allowed = (policy.stale_while_revalidate, policy.stale_if_error);
        assert_eq!(
            (policy.never_stale, allowed),
            (true, (Duration::ZERO, Duration::ZERO)),
            "{never}"
        );
    }
    // A stored error is not kept beyond its freshness.
    let error = decided(500, &rule, &[("cache-control", "max-age=60"), ("etag", "\"a\"")]);
    assert_eq!(error.unwrap().retention, Duration::from_mins(1));
    assert_eq!(of(&rule, "max-age=99999999999").2, FOREVER.as_secs());
}
