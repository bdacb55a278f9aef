//! HTTP dates (RFC 9110 §5.6.7).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The date in a field. `None` if the field is missing, repeated or not a date.
pub(in crate::proxy::cache) fn read(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.as_bytes()),
        _ => None,
    }
}

/// Reads one of the three forms.
///
/// `httpdate` insists on case and on the right weekday. Some servers get them wrong, and neither
/// changes the date, so a date that fails is tried again with both corrected.
pub(in crate::proxy::cache) fn parse(value: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(value).ok()?;
    httpdate::parse_http_date(text).ok().or_else(|| corrected(&text.to_ascii_lowercase()))
}

fn corrected(text: &str) -> Option<SystemTime> {
    let (weekday, rest) = text.split_at_checked(text.find([',', ' '])?)?;
    let name = |long: &'static str| long.get(..3).filter(|_| weekday.len() == 3).unwrap_or(long);
    if !WEEKDAYS.iter().any(|long| name(long).eq_ignore_ascii_case(weekday)) {
        return None;
    }
    let rest = ["GMT"]
        .iter()
        .chain(&MONTHS)
        .fold(rest.to_owned(), |rest, word| rest.replace(&word.to_ascii_lowercase(), word));
    WEEKDAYS.iter().find_map(|long| httpdate::parse_http_date(&[name(long), &rest].concat()).ok())
}

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes a date. `None` outside the years 0 to 9999.
pub(in crate::proxy::cache) fn format(time: SystemTime) -> Option<HeaderValue> {
    let time = jiff::Timestamp::try_from(time).ok()?;
    let text =
        jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time).ok()?;
    HeaderValue::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_three_forms_in_any_case_and_with_a_wrong_weekday() {
        let date = SystemTime::UNIX_EPOCH + Duration::from_secs(2_544_400_878);
        for text in [
            "Thu, 18 Aug 2050 02:01:18 GMT",
            "THU, 18 Aug 2050 02:01:18 GMT",
            "Thu, 18 AUG 2050 02:01:18 gMT",
            "Thursday, 18-Aug-50 02:01:18 GMT",
            "Thu Aug 18 02:01:18 2050",
            "Mon, 18 Aug 2050 02:01:18 GMT",
        ] {
            assert_eq!(parse(text.as_bytes()), Some(date), "{text}");
        }
        assert_eq!(format(date).unwrap(), "Thu, 18 Aug 2050 02:01:18 GMT");
    }

    #[test]
    fn texts_that_are_not_dates() {
        for text in [
            "",
            "0",
            "-1",
            "soon",
            "Thu, 18 Aug 2050 02:01:18 UTC",
            "Thu, 18 Aug 2050 02:01:18 AEST",
            "Thu, 18 Aug 50 02:01:18 GMT",
            "Thu 18 Aug 2050 02:01:18 GMT",
            "Thu, 18  Aug  2050 02:01:18 GMT",
            "Thu, 18-Aug-2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 02.01.18 GMT",
            "Thu, 18 Aug 2050 2:01:18 GMT",
            "Thu, 32 Aug 2050 02:01:18 GMT",
            "Thu, 18 Aug 2050 24:01:18 GMT",
            "Thursday, 18 Aug 2050 02:01:18 GMT",
            "Someday, 18-Aug-50 02:01:18 GMT",
            "Thu Aug  18 02:01:18 2050",
            "Thu, 18 Aug 2050 02:01:18 GMT and so on and on and on",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
        assert_eq!(format(SystemTime::UNIX_EPOCH - Duration::from_secs(1 << 40)), None);
        assert_eq!(format(SystemTime::UNIX_EPOCH + Duration::from_secs(u64::MAX >> 8)), None);
    }

    #[test]
    fn a_repeated_field_has_no_date() {
        let mut headers = HeaderMap::new();
        let date = HeaderValue::from_static("Thu, 18 Aug 2050 02:01:18 GMT");
        headers.append(http::header::EXPIRES, date.clone());
        assert!(read(&headers, &http::header::EXPIRES).is_some());
        headers.append(http::header::EXPIRES, date);
        assert!(read(&headers, &http::header::EXPIRES).is_none());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn a_written_date_is_read_again(seconds in 0u64..253_402_300_800) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            proptest::prop_assert_eq!(parse(format(time).unwrap().as_bytes()), Some(time));
        }
    }
}
