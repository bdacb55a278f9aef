//! The entry point of the fuzzer for header fields. Only the fuzzer's build has it.

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::Instant;

use super::{
    policy::{
        directives::RequestDirectives,
        freshness::ResponseTimes,
        range::RequestedRange,
        storable,
        validation::Validators,
        vary::{Variant, VaryFields},
    },
    settings::Rule,
};

/// Reads lines of `name: value` as the fields of a response and, after an empty line, those of a
/// request, and makes every decision of the cache on them.
pub fn fields(data: &[u8]) {
    let mut lines = data.split(|byte| *byte == b'\n');
    let response = read(&mut lines);
    let request = read(&mut lines);
    let now = Instant::now();
    let times = ResponseTimes { request: now, response: now, wall: SystemTime::UNIX_EPOCH };
    let rule = Rule { heuristic: Some(true), ..Rule::default() };
    for status in [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::MOVED_PERMANENTLY] {
        if let Ok(policy) = storable::decide(status, &response, &rule, times) {
            assert!(!policy.retention.is_zero(), "a stored response is useful");
            assert!(!(policy.never_stale && !policy.stale_if_error.is_zero()));
        }
    }
    let validators = Validators::read(&response);
    let same = validators.match_response(&response);
    assert!(same, "a response matches its own validators");
    std::hint::black_box((
        RequestDirectives::read(&request),
        validators.not_modified_for(&request),
        RequestedRange::of(&request, 1000),
    ));
    if let Some(vary) = VaryFields::read(&response) {
        let variant = Variant::new(vary, &request, &response);
        assert!(variant.answers(&request), "a variant answers its own request");
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
