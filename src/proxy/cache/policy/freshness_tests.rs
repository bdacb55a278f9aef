//! Freshness compared with a model of RFC 9111 §4.2 in whole seconds.

use http::{HeaderName, HeaderValue};
use proptest::prelude::*;

use super::*;
use crate::domain::Span;

fn at(seconds: i64) -> SystemTime {
    let base = SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000);
    match u64::try_from(seconds) {
        Ok(later) => base + Duration::from_secs(later),
        Err(_) => base - Duration::from_secs(seconds.unsigned_abs()),
    }
}

fn dated(fields: &[(&HeaderName, Option<i64>)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, seconds) in fields {
        if let Some(seconds) = seconds {
            headers.append(*name, http_date::format(at(*seconds)).unwrap());
        }
    }
    headers
}

fn rule(ttl: u64, heuristic: bool) -> Rule {
    Rule { ttl: Span::from_secs(ttl), heuristic: Some(heuristic), ..Rule::default() }
}

fn lifetime_of(status: u16, headers: &HeaderMap, rule: &Rule) -> Lifetime {
    let status = StatusCode::from_u16(status).unwrap();
    lifetime(status, headers, &ResponseDirectives::read(headers), rule, at(0))
}

#[tokio::test(start_paused = true)]
async fn age_fields() {
    let now = Instant::now();
    let times = ResponseTimes { request: now, response: now, wall: at(0) };
    for (lines, age) in [
        (&["30"][..], 30),
        (&["abc"], 0),
        (&["-7200"], 0),
        (&["7200.0"], 0),
        (&["7200, 0"], 7200),
        (&["0, 7200"], 0),
        (&["7200", "0"], 7200),
        (&["0", "7200"], 0),
        (&["7200;foo=bar"], 0),
        (&["", "7200"], 0),
        (&["2147483648"], 1 << 31),
        (&["99999999999999999999999"], 1 << 31),
        (&[], 0),
    ] {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::AGE, HeaderValue::from_static(line));
        }
        assert_eq!(initial_age(&headers, times).as_secs(), age, "{lines:?}");
    }
}

#[test]
fn a_stated_lifetime_comes_before_the_rule_and_the_rule_before_the_heuristic() {
    let second = Duration::from_secs;
    let mut headers = dated(&[(&header::DATE, Some(0)), (&header::LAST_MODIFIED, Some(-100_000))]);
    assert_eq!(lifetime_of(200, &headers, &rule(0, false)), Lifetime::Unknown);
    assert_eq!(lifetime_of(200, &headers, &rule(0, true)), Lifetime::Heuristic(second(10_000)));
    assert_eq!(lifetime_of(404, &headers, &rule(0, true)), Lifetime::Heuristic(second(10_000)));
    assert_eq!(lifetime_of(403, &headers, &rule(0, true)), Lifetime::Unknown);
    assert_eq!(lifetime_of(200, &headers, &rule(60, true)), Lifetime::FromRule(second(60)));
    assert_eq!(lifetime_of(500, &headers, &rule(60, false)), Lifetime::Unknown);
    headers.insert(header::EXPIRES, http_date::format(at(300)).unwrap());
    assert_eq!(lifetime_of(500, &headers, &rule(60, true)), Lifetime::Stated(second(300)));
    headers.insert(header::EXPIRES, HeaderValue::from_static("0"));
    assert_eq!(lifetime_of(200, &headers, &rule(60, true)), Lifetime::Stated(second(0)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=7"));
    assert_eq!(lifetime_of(200, &headers, &rule(60, true)), Lifetime::Stated(second(7)));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=7, s-maxage=9"));
    assert_eq!(lifetime_of(200, &headers, &rule(60, true)), Lifetime::Stated(second(9)));
    headers.insert("cdn-cache-control", HeaderValue::from_static("foo"));
    assert_eq!(lifetime_of(200, &headers, &rule(60, true)), Lifetime::FromRule(second(60)));
}

#[test]
fn a_heuristic_lifetime_is_bounded() {
    let headers = dated(&[(&header::LAST_MODIFIED, Some(-1_000_000_000))]);
    assert_eq!(lifetime_of(200, &headers, &rule(0, true)), Lifetime::Heuristic(LONGEST_HEURISTIC));
    let future = dated(&[(&header::LAST_MODIFIED, Some(1_000))]);
    assert_eq!(lifetime_of(200, &future, &rule(0, true)), Lifetime::Unknown);
}

proptest! {
    /// Age, remaining freshness and staleness equal the model's, whatever both clocks show.
    #[test]
    fn freshness_equals_the_model(
        date in proptest::option::of(-5_000i64..5_000),
        expires in proptest::option::of(-5_000i64..5_000),
        max_age in proptest::option::of(0u64..5_000),
        age in proptest::option::of(0u64..5_000),
        delay in 0u64..50,
        resident in 0u64..10_000,
    ) {
        let mut headers = dated(&[(&header::DATE, date), (&header::EXPIRES, expires)]);
        if let Some(age) = age {
            headers.insert(header::AGE, age.into());
        }
        if let Some(max_age) = max_age {
            let value = format!("max-age={max_age}");
            headers.insert(header::CACHE_CONTROL, value.parse().unwrap());
        }
        // The model: RFC 9111 §4.2, in seconds, with the response received at 0.
        let lifetime_model = match (max_age, expires) {
            (Some(max_age), _) => Some(i64::try_from(max_age).unwrap()),
            (None, Some(expires)) => Some((expires - date.unwrap_or(0)).max(0)),
            (None, None) => None,
        };
        let apparent = date.map_or(0, |date| (0 - date).max(0));
        let corrected = i64::try_from(age.unwrap_or(0) + delay).unwrap();
        let age_model = apparent.max(corrected) + i64::try_from(resident).unwrap();

        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let request = Instant::now();
        let response = request + Duration::from_secs(delay);
        let times = ResponseTimes { request, response, wall: at(0) };
        let lifetime = match lifetime_of(200, &headers, &rule(0, false)) {
            Lifetime::Stated(lifetime) => Some(lifetime),
            _ => None,
        };
        prop_assert_eq!(lifetime.map(|l| i64::try_from(l.as_secs()).unwrap()), lifetime_model);
        if let (Some(lifetime), Some(model)) = (lifetime, lifetime_model) {
            let freshness = Freshness::new(lifetime, initial_age(&headers, times), response);
            let now = response + Duration::from_secs(resident);
            let seconds = |d: Duration| i64::try_from(d.as_secs()).unwrap();
            prop_assert_eq!(seconds(freshness.age(now)), age_model);
            prop_assert_eq!(freshness.left(now).is_some(), age_model < model);
            prop_assert_eq!(seconds(freshness.left(now).unwrap_or_default()), (model - age_model).max(0));
            prop_assert_eq!(seconds(freshness.stale_for(now)), (age_model - model).max(0));
        }
    }
}
