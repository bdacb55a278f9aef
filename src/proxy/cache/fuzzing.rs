//! The cache's reading of header fields, for the fuzzer. It is in no build but the fuzzer's.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::{
    policy::{
        directives::RequestDirectives,
        freshness::Times,
        range::Part,
        storable,
        validation::Validators,
        vary::{Variant, Varies},
    },
    settings::Rule,
};

/// Takes lines of `name: value` for the fields of a response, and behind an empty line for those of a
/// request, and does everything the cache does with them.
pub fn fields(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let response = read(&mut lines);
    let request = read(&mut lines);
    let now = Instant::now();
    let times = Times { asked: now, answered: now, wall: SystemTime::UNIX_EPOCH };
    let rule = Rule { heuristic: Some(true), ..Rule::default() };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::MOVED_PERMANENTLY] {
        if let Ok(terms) = storable::terms(status, &response, false, &rule, times) {
            assert!(!terms.keep.is_zero(), "what is stored is of use");
            assert!(!(terms.never_stale && !terms.stale_if_error.is_zero()));
        }
    }
    let validators = Validators::read(&response);
    let same = validators.confirmed_by(&response);
    assert!(same, "an object is confirmed by its own validators");
    std::hint::black_box((
        RequestDirectives::read(&request),
        validators.not_modified_for(&request),
        Part::of(&request, 1000),
    ));
    if let Some(varies) = Varies::read(&response) {
        let variant = Variant::new(varies, &request, &response);
        assert!(variant.answers(&request), "a variant answers the request it was made for");
    }
}

fn read<'a>(lines: &mut impl Iterator<Item = &'a [u8]>) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines.take_while(|line| !line.is_empty()).take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        let name = HeaderName::from_bytes(name.trim_ascii());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    headers
}
