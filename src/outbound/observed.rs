//! What a server shows of itself while it is called: when its certificate ends, and how its clock differs.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, header};
use jiff::Timestamp;
use rustls::pki_types::CertificateDer;

use super::certificates::not_after;

/// What a server has shown. The last handshake and the last response count.
#[derive(Debug)]
pub struct Observed {
    /// In seconds since 1970.
    certificate_end: AtomicI64,
    /// In seconds.
    clock_offset: AtomicI64,
}

impl Default for Observed {
    fn default() -> Self {
        Self { certificate_end: AtomicI64::new(UNSEEN), clock_offset: AtomicI64::new(UNSEEN) }
    }
}

impl Observed {
    /// Notes the chain of a handshake that was accepted. A certificate in it that had ended did not matter.
    pub fn handshake(&self, chain: Option<&[CertificateDer<'_>]>) {
        let now = Timestamp::now();
        let ends = chain.unwrap_or_default().iter().filter_map(not_after);
        if let Some(end) = ends.filter(|end| *end > now).min() {
            self.certificate_end.store(end.as_second(), Ordering::Relaxed);
        }
    }

    /// Notes the `Date` (RFC 9110 §6.6.1) of a response whose request was sent that long ago. A response with an
    /// `Age` was made earlier, and does not count.
    pub fn response(&self, headers: &HeaderMap, took: Duration) {
        if headers.contains_key(header::AGE) {
            return;
        }
        let date = headers.get(header::DATE).and_then(|date| date.to_str().ok());
        if let Some(date) = date.and_then(|date| httpdate::parse_http_date(date).ok()) {
            let offset = offset(date, SystemTime::now(), took);
            self.clock_offset.store(offset, Ordering::Relaxed);
        }
    }

    /// When the server's certificate ends, if it has shown one.
    pub fn certificate_end(&self) -> Option<Timestamp> {
        Timestamp::from_second(seen(&self.certificate_end)?).ok()
    }

    /// By how many seconds this machine's clock is ahead of the server's; negative if it is behind.
    pub fn clock_offset(&self) -> Option<i64> {
        seen(&self.clock_offset)
    }
}

fn seen(value: &AtomicI64) -> Option<i64> {
    Some(value.load(Ordering::Relaxed)).filter(|value| *value != UNSEEN)
}

/// The date was made in whole seconds between sending and now. Within that, the clocks agree.
fn offset(date: SystemTime, now: SystemTime, took: Duration) -> i64 {
    let seconds = |time: SystemTime| {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        i64::try_from(since).unwrap_or(i64::MAX)
    };
    let (date, now) = (seconds(date), seconds(now));
    let sent = now.saturating_sub_unsigned(took.as_secs().saturating_add(1));
    if date < sent { sent.saturating_sub(date) } else { now.saturating_sub(date).min(0) }
}

/// More than any clock is off.
pub const TOLERABLE_OFFSET: Duration = Duration::from_secs(30);
const UNSEEN: i64 = i64::MIN;

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn a_clock_is_off_by_what_the_time_of_the_call_does_not_explain() {
        let at = |seconds| UNIX_EPOCH + Duration::from_secs(seconds);
        for (date, took, expected) in [
            (1000, 0, 0),
            (999, 0, 0),
            (990, 10, 0),
            (950, 0, 49),
            (900, 60, 39),
            (1031, 0, -31),
            (1031, 60, -31),
            (0, 0, 999),
        ] {
            assert_eq!(offset(at(date), at(1000), Duration::from_secs(took)), expected, "{date}");
        }
    }

    #[test]
    fn only_a_date_of_this_response_counts() {
        let observed = Observed::default();
        let mut headers = HeaderMap::new();
        let respond = |headers: &HeaderMap| observed.response(headers, Duration::ZERO);
        respond(&headers);
        headers.insert(header::DATE, HeaderValue::from_static("no date"));
        respond(&headers);
        headers.insert(header::DATE, HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"));
        headers.insert(header::AGE, HeaderValue::from_static("1"));
        respond(&headers);
        assert_eq!((observed.clock_offset(), observed.certificate_end()), (None, None));
        headers.remove(header::AGE);
        respond(&headers);
        assert!(observed.clock_offset().unwrap() > 1_000_000_000);
    }
}
