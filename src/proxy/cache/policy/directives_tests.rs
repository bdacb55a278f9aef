//! How directives are read, as tables.

use proptest::prelude::*;

use super::*;

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(HeaderName::from_static(name), value.parse().unwrap());
    }
    headers
}

fn response(lines: &[&str]) -> ResponseDirectives {
    ResponseDirectives::read(&headers(
        &lines.iter().map(|line| ("cache-control", *line)).collect::<Vec<_>>(),
    ))
}

#[expect(clippy::unnecessary_wraps, reason = "every directive is optional")]
fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration::from_secs(seconds))
}

#[test]
fn a_number_is_digits_only() {
    for (line, max_age) in [
        ("max-age=3600", seconds(3600)),
        ("max-age=\"3600\"", seconds(3600)),
        ("MaX-aGe=3600", seconds(3600)),
        ("foobar, max-age=3600", seconds(3600)),
        ("max-age=003600", seconds(3600)),
        ("max-age=2147483648", seconds(2_147_483_648)),
        ("max-age=99999999999", Some(FOREVER)),
        ("max-age=99999999999999999999999999999999", Some(FOREVER)),
        // An invalid number makes a response stale.
        ("max-age='3600'", seconds(0)),
        ("max-age=-3600", seconds(0)),
        ("max-age=3600.5", seconds(0)),
        ("max-age=a3600", seconds(0)),
        ("max-age=3600a", seconds(0)),
        ("max-age =3600", seconds(0)),
        ("max-age= 3600", seconds(0)),
        ("max-age", seconds(0)),
        // A quoted string holds no directive.
        ("extension=\"max-age=3600\", max-age=1", seconds(1)),
        ("max-age=1, extension=\"max-age=3600\"", seconds(1)),
        ("extension=\"a\\\", max-age=3600\", max-age=1", seconds(1)),
        ("extension=\"unfinished, max-age=3600", None),
        // The first of two counts.
        ("max-age=1800, max-age=1", seconds(1800)),
        ("&&&, ,=,, max-age=5", seconds(5)),
        ("x-max-age=5", None),
    ] {
        assert_eq!(response(&[line]).max_age, max_age, "{line}");
    }
    assert_eq!(response(&["max-age=1", "max-age=1800"]).max_age, seconds(1));
    assert_eq!(response(&["max-age=3600", "s-maxage=1"]).s_maxage, seconds(1));
}

#[test]
fn flags_in_any_case_and_line() {
    let all = response(&["No-StOrE, PUBLIC", "must-revalidate,proxy-revalidate , must-understand"]);
    assert!(all.no_store && all.public && all.must_revalidate);
    assert!(all.proxy_revalidate && all.must_understand);
    assert!(!all.private && !all.no_cache);
    assert!(response(&["private"]).private && response(&["no-cache"]).no_cache);
}

#[test]
fn a_directive_with_field_names_is_about_those_fields_alone() {
    for line in ["no-cache=\"a, B\"", "private=\"a,b\"", "no-cache=a, private=\"b\""] {
        let directives = response(&[line]);
        assert!(!directives.no_cache && !directives.private, "{line}");
        assert_eq!(directives.not_stored, ["a", "b"], "{line}");
    }
}

#[test]
fn directives_that_forbid_serving_stale() {
    for line in ["must-revalidate", "proxy-revalidate", "no-cache", "s-maxage=2"] {
        assert!(response(&[line]).never_stale(), "{line}");
    }
    assert!(!response(&["max-age=2, stale-if-error=60"]).never_stale());
}

#[test]
fn a_targeted_field_replaces_cache_control() {
    let read = |cdn: &str| {
        ResponseDirectives::read(&headers(&[
            ("cache-control", "no-store"),
            ("cdn-cache-control", cdn),
        ]))
    };
    let directives = read("foobar, max-age=3600");
    assert!(directives.targeted && !directives.no_store);
    assert_eq!(directives.max_age, seconds(3600));
    assert_eq!(read("max-age=99999999999").max_age, Some(FOREVER));
    assert_eq!(read("max-age=-5").max_age, seconds(0));
    assert!(read("no-store").no_store && read("private").private && read("no-cache").no_cache);
    assert!(!read("private=?0").private);
    // The whole field is ignored: an invalid dictionary, an invalid number, an empty field.
    for cdn in
        ["max-age=10000, &&&&&", "max-age=\"10000\"", "MaX-aGe=1", "max-age =1", "max-age= 1", ""]
    {
        let directives = read(cdn);
        assert!(
            !directives.targeted && directives.no_store && directives.max_age.is_none(),
            "{cdn}"
        );
    }
}

#[test]
fn what_callers_request() {
    let request = |line: &str| RequestDirectives::read(&headers(&[("cache-control", line)]));
    assert_eq!(request("nothing-to-see-here"), RequestDirectives::default());
    assert!(request("no-cache").no_cache && request("No-Store").no_store);
    assert!(request("only-if-cached").only_if_cached);
    assert_eq!(request("max-age=0").max_age, seconds(0));
    assert_eq!(request("min-fresh=20").min_fresh, seconds(20));
    assert_eq!(request("max-stale").max_stale, Some(FOREVER));
    assert_eq!(request("max-stale=10").max_stale, seconds(10));
    assert_eq!(request("stale-if-error=10").stale_if_error, seconds(10));
}

proptest! {
    /// Any bytes in the field can be read.
    #[test]
    fn any_field_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
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
        let expected = response(&["public, max-age=60, must-revalidate, s-maxage=5"]);
        parts.insert(count, "");
        let line = parts.join(" ,\t");
        let line = if upper { line.to_ascii_uppercase() } else { line };
        prop_assert_eq!(response(&[&line]), expected);
    }
}
