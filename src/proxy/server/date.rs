//! The `Date` of responses (RFC 9110 §6.6.1).

use std::{
    cell::RefCell,
    time::{Duration, SystemTime},
};

use http::HeaderValue;

/// Uses the present time as a field value, whose text is made once a second.
pub(super) fn with_now<T>(act: impl FnOnce(&HeaderValue) -> T) -> T {
    thread_local! {
        static DATE: RefCell<(u64, HeaderValue)> =
            const { RefCell::new((0, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    DATE.with_borrow_mut(|(at, text)| {
        if *at != second
            && let Ok(date) = HeaderValue::try_from(httpdate::HttpDate::from(now).to_string())
        {
            (*at, *text) = (second, date);
        }
        act(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_present_second() {
        let before = SystemTime::now() - Duration::from_secs(1);
        for _ in 0..2 {
            let date = with_now(HeaderValue::clone);
            let date = httpdate::parse_http_date(date.to_str().unwrap()).unwrap();
            assert!(date > before && date <= SystemTime::now());
        }
    }
}
