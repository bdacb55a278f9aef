//! The `Date` of answers (RFC 9110 §6.6.1).

use std::{
    cell::RefCell,
    time::{Duration, SystemTime},
};

use http::HeaderValue;

/// The present time as a field value. It is written once a second.
pub(super) fn now() -> HeaderValue {
    let now = SystemTime::now();
    WRITTEN.with_borrow_mut(|written| match written {
        // A clock that was set back gives an error here.
        Some((time, value))
            if now.duration_since(*time).is_ok_and(|age| age < Duration::from_secs(1)) =>
        {
            value.clone()
        }
        _ => {
            let second = now
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(now, |since| SystemTime::UNIX_EPOCH + Duration::from_secs(since.as_secs()));
            let text = httpdate::fmt_http_date(second);
            let value = HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
            written.insert((second, value)).1.clone()
        }
    })
}

thread_local! {
    /// The last second that was written, and its text.
    static WRITTEN: RefCell<Option<(SystemTime, HeaderValue)>> = const { RefCell::new(None) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_present_second() {
        let before = SystemTime::now() - Duration::from_secs(1);
        for _ in 0..2 {
            let written = httpdate::parse_http_date(now().to_str().unwrap()).unwrap();
            assert!(written > before && written <= SystemTime::now());
        }
    }
}
