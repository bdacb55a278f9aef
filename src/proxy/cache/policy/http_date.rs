//! Dates of HTTP (RFC 9110 §5.6.7).

use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};

/// The date in a field that must stand once. Two of them, or one that is no date, are `None`.
pub(in crate::proxy::cache) fn read(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => parse(value.as_bytes()),
        _ => None,
    }
}

/// Reads one of the three forms.
///
/// Their words are case-sensitive by the letter, but there are servers that shout, and the weekday
/// says nothing that the date does not, so case and a wrong weekday are let pass. Everything else is
/// taken as strictly as it is written.
pub(in crate::proxy::cache) fn parse(value: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(value).ok().filter(|text| text.is_ascii())?;
    let (weekday, rest) = text.split_once(' ')?;
    let (date, time) = match weekday.strip_suffix(',') {
        Some(weekday) if is_short(weekday) => imf_fixdate(rest)?,
        Some(weekday) if is_long(weekday) => rfc850(rest)?,
        None if is_short(weekday) => asctime(rest)?,
        _ => return None,
    };
    let ((day, month, year), (hour, minute, second)) = (date, clock(time)?);
    let date = jiff::civil::DateTime::new(
        year,
        month,
        i8::try_from(day).ok()?,
        i8::try_from(hour).ok()?,
        i8::try_from(minute).ok()?,
        i8::try_from(second).ok()?,
        0,
    );
    let instant = jiff::tz::TimeZone::UTC.to_timestamp(date.ok()?).ok()?;
    SystemTime::try_from(instant).ok()
}

/// Day, month and year, and the time of day as it is written.
type Written<'a> = ((i16, i8, i16), &'a str);

/// `06 Nov 1994 08:49:37 GMT`
fn imf_fixdate(text: &str) -> Option<Written<'_>> {
    let (day, rest) = text.split_once(' ')?;
    let (month, rest) = rest.split_once(' ')?;
    let (year, time) = rest.split_once(' ')?;
    Some(((two(day)?, month_of(month)?, four(year)?), in_gmt(time)?))
}

/// `06-Nov-94 08:49:37 GMT`
fn rfc850(text: &str) -> Option<Written<'_>> {
    let (date, time) = text.split_once(' ')?;
    let (day, rest) = date.split_once('-')?;
    let (month, year) = rest.split_once('-')?;
    // The form was retired in 1995: what it shows today is this century or the end of the last.
    let year = two(year)? + if two(year)? < 70 { 2000 } else { 1900 };
    Some(((two(day)?, month_of(month)?, year), in_gmt(time)?))
}

/// `Nov  6 08:49:37 1994`
fn asctime(text: &str) -> Option<Written<'_>> {
    let (month, rest) = text.split_once(' ')?;
    let (day, rest) = rest.split_at_checked(2)?;
    let (time, year) = rest.strip_prefix(' ')?.split_once(' ')?;
    let day = day.strip_prefix(' ').map_or_else(|| two(day), one)?;
    Some(((day, month_of(month)?, four(year)?), time))
}

fn in_gmt(time: &str) -> Option<&str> {
    let (time, zone) = time.split_once(' ')?;
    zone.eq_ignore_ascii_case("GMT").then_some(time)
}

fn clock(text: &str) -> Option<(i16, i16, i16)> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) = rest.split_once(':')?;
    Some((two(hour)?, two(minute)?, two(second)?))
}

fn is_short(weekday: &str) -> bool {
    WEEKDAYS
        .iter()
        .filter_map(|known| known.get(..3))
        .any(|known| known.eq_ignore_ascii_case(weekday))
}

fn is_long(weekday: &str) -> bool {
    WEEKDAYS.iter().any(|known| known.eq_ignore_ascii_case(weekday))
}

fn month_of(name: &str) -> Option<i8> {
    let at = MONTHS.iter().position(|known| known.eq_ignore_ascii_case(name))?;
    i8::try_from(at + 1).ok()
}

fn one(text: &str) -> Option<i16> {
    digits(text, 1)
}

fn two(text: &str) -> Option<i16> {
    digits(text, 2)
}

fn four(text: &str) -> Option<i16> {
    digits(text, 4)
}

fn digits(text: &str, count: usize) -> Option<i16> {
    let plain = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

const WEEKDAYS: [&str; 7] =
    ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Writes a date. A time before the year 0 or after 9999 is not one that a clock shows.
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
    fn the_three_forms_in_any_case() {
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
    fn what_is_no_date() {
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
    fn two_dates_are_none() {
        let mut headers = HeaderMap::new();
        let date = HeaderValue::from_static("Thu, 18 Aug 2050 02:01:18 GMT");
        headers.append(http::header::EXPIRES, date.clone());
        assert!(read(&headers, &http::header::EXPIRES).is_some());
        headers.append(http::header::EXPIRES, date);
        assert!(read(&headers, &http::header::EXPIRES).is_none());
    }

    proptest::proptest! {
        #[test]
        fn nothing_panics(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..60)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn what_is_written_is_read(seconds in 0u64..253_402_300_800) {
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
            proptest::prop_assert_eq!(parse(format(time).unwrap().as_bytes()), Some(time));
        }
    }
}
