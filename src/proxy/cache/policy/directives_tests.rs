//! What directives are taken for, as a table.

use proptest::prelude::*;

use super::*;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

fn allow(lines: &[&str]) -> ResponseDirectives {
    ResponseDirectives::read(&headers(
        &lines.iter().map(|line| ("cache-control", *line)).collect::<Vec<_>>(),
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "every directive is optional")]
fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn a_number_is_digits() {
    for (line, max_age) in [
        ("max-age=3600", seconds(3600)),
        ("max-age=\"3600\"", seconds(3600)),
        ("MaX-aGe=3600", seconds(3600)),
        ("foobar, max-age=3600", seconds(3600)),
        ("max-age=003600", seconds(3600)),
        ("max-age=2147483648", seconds(2_147_483_648)),
        ("max-age=99999999999", Some(FOREVER)),
        ("max-age=99999999999999999999999999999999", Some(FOREVER)),
        // What is no number makes a response stale.
        ("max-age='3600'", seconds(0)),
        ("max-age=-3600", seconds(0)),
        ("max-age=3600.5", seconds(0)),
        ("max-age=a3600", seconds(0)),
        ("max-age=3600a", seconds(0)),
        ("max-age =3600", seconds(0)),
        ("max-age= 3600", seconds(0)),
        ("max-age", seconds(0)),
        // What is quoted is no directive.
        ("extension=\"max-age=3600\", max-age=1", seconds(1)),
        ("max-age=1, extension=\"max-age=3600\"", seconds(1)),
        ("extension=\"a\\\", max-age=3600\", max-age=1", seconds(1)),
        ("extension=\"unfinished, max-age=3600", None),
        // The first of two counts.
        ("max-age=1800, max-age=1", seconds(1800)),
        ("&&&, ,=,, max-age=5", seconds(5)),
        ("x-max-age=5", None),
    ] {
        assert_eq!(allow(&[line]).max_age, max_age, "{line}");
    }
    assert_eq!(allow(&["max-age=1", "max-age=1800"]).max_age, seconds(1));
    assert_eq!(allow(&["max-age=3600", "s-maxage=1"]).s_maxage, seconds(1));
}

#[test]
fn flags_in_any_case_and_line() {
    let all = allow(&["No-StOrE, PUBLIC", "must-revalidate,proxy-revalidate , must-understand"]);
    assert!(all.no_store && all.public && all.must_revalidate);
    assert!(all.proxy_revalidate && all.must_understand);
    assert!(!all.private && !all.no_cache);
    assert!(allow(&["private"]).private && allow(&["no-cache"]).no_cache);
}

#[test]
fn named_fields_are_left_out_instead() {
    for line in ["no-cache=\"a, B\"", "private=\"a,b\"", "no-cache=a, private=\"b\""] {
        let allow = allow(&[line]);
        assert!(!allow.no_cache && !allow.private, "{line}");
        assert_eq!(allow.not_stored, ["a", "b"], "{line}");
    }
}

#[test]
fn what_forbids_stale() {
    for line in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"] {
        assert!(allow(&[line]).never_stale(), "{line}");
    }
    assert!(!allow(&["max-age=2, stale-if-error=60"]).never_stale());
}

#[test]
fn a_targeted_field_stands_alone() {
    let read = |cdn: &str| {
        ResponseDirectives::read(&headers(&[
            ("cache-control", "no-store"),
            ("cdn-cache-control", cdn),
        ]))
    };
    let allow = read("foobar, max-age=3600");
    assert!(allow.targeted && !allow.no_store);
    assert_eq!(allow.max_age, seconds(3600));
    assert_eq!(read("max-age=99999999999").max_age, Some(FOREVER));
    assert_eq!(read("max-age=-5").max_age, seconds(0));
    assert!(read("no-store").no_store && read("private").private && read("no-cache").no_cache);
    assert!(!read("private=?0").private);
    // Ignored as a whole: no dictionary, a number that is none, nothing in it.
    for cdn in
        ["max-age=10000, &&&&&", "max-age=\"10000\"", "MaX-aGe=1", "max-age =1", "max-age= 1", ""]
    {
        let allow = read(cdn);
        assert!(!allow.targeted && allow.no_store && allow.max_age.is_none(), "{cdn}");
    }
}

#[test]
fn what_callers_ask() {
    let ask = |line: &str| RequestDirectives::read(&headers(&[("cache-control", line)]));
    assert_eq!(ask("nothing-to-see-here"), RequestDirectives::default());
    assert!(ask("no-cache").no_cache && ask("No-Store").no_store);
    assert!(ask("only-if-cached").only_if_cached);
    assert_eq!(ask("max-age=0").max_age, seconds(0));
    assert_eq!(ask("min-fresh=20").min_fresh, seconds(20));
    assert_eq!(ask("max-stale").max_stale, Some(FOREVER));
    assert_eq!(ask("max-stale=10").max_stale, seconds(10));
    assert_eq!(ask("stale-if-error=10").stale_if_error, seconds(10));
}

proptest! {
    /// Whatever stands in the field, reading it ends and finds nothing that is not there.
    #[test]
    fn nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
        let Ok(value) = http::HeaderValue::from_bytes(&bytes) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        headers.append(header::CACHE_CONTROL, value.clone());
        headers.append(CDN_CACHE_CONTROL, value);
        drop((ResponseDirectives::read(&headers), RequestDirectives::read(&headers)));
    }

    /// Directives mean the same in any order, case and spacing between them.
    #[test]
    fn order_and_case_do_not_matter(
        mut parts in Just(vec!["public", "max-age=60", "must-revalidate", "s-maxage=5", "x=\"a,b\""])
            .prop_shuffle(),
        upper in any::<bool>(),
        count in 0usize..5,
    ) {
        let expected = allow(&["public, max-age=60, must-revalidate, s-maxage=5"]);
        parts.insert(count, "");
        let line = parts.join(" ,\t");
        let line = if upper { line.to_ascii_uppercase() } else { line };
        prop_assert_eq!(allow(&[&line]), expected);
    }
}
