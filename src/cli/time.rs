//! Moments, periods and time zones as people write them: one grammar for every command.
//!
//! `docs/src/reference/commands.md` documents it for users. Durations are those of the configuration.

use std::str::FromStr;

use jiff::{
    SignedDuration, Timestamp, ToSpan as _,
    civil::{Date, DateTime},
    tz::TimeZone,
};

use crate::domain::Span;

/// A moment: `now`, `2w` (that long ago), `2026-03`, `2026-03-14`, `2026-03-14T08:00`, or with an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long before now.
    Ago(Span),
    /// A time of a clock on the wall.
    Civil(DateTime),
    /// A time with an offset (RFC 3339).
    Exact(Timestamp),
}

impl Moment {
    /// The instant, with the time zone of texts that have no offset.
    pub(super) fn at(self, zone: &Zone, now: Timestamp) -> Timestamp {
        match self {
            Self::Ago(span) => SignedDuration::try_from(span.0)
                .ok()
                .and_then(|span| now.checked_sub(span).ok())
                .unwrap_or(Timestamp::MIN),
            Self::Civil(time) => zone.instant(time),
            Self::Exact(instant) => instant,
        }
    }
}

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "now" {
            return Ok(Self::Ago(Span::from_secs(0)));
        }
        if let Ok(Period { first, .. }) = text.parse() {
            return Ok(Self::Civil(first.into()));
        }
        if let Ok(instant) = text.parse() {
            return Ok(Self::Exact(instant));
        }
        if let Ok(time) = text.parse() {
            return Ok(Self::Civil(time));
        }
        text.parse().map(Self::Ago).map_err(|_| MOMENT_HINT)
    }
}

/// A month or a day: `2026-03`, `2026-03-14`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Period {
    first: Date,
    /// The first day after it.
    next: Date,
}

impl Period {
    /// Its beginning, and the beginning of the next one.
    pub(super) fn range(self, zone: &Zone) -> (Timestamp, Timestamp) {
        (zone.instant(self.first.into()), zone.instant(self.next.into()))
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parts: Vec<_> = text.split('-').collect();
        let is_number = |part: &&str| part.bytes().all(|byte| byte.is_ascii_digit());
        let lengths: Vec<_> =
            parts.iter().filter(|part| is_number(part)).map(|p| p.len()).collect();
        let (first, length) = match *lengths {
            [4, 2] if parts.len() == 2 => (format!("{text}-01").parse::<Date>(), 1.month()),
            [4, 2, 2] if parts.len() == 3 => (text.parse::<Date>(), 1.day()),
            _ => return Err(PERIOD_HINT),
        };
        let first = first.map_err(|_| PERIOD_HINT)?;
        let next = first.checked_add(length).map_err(|_| PERIOD_HINT)?;
        Ok(Self { first, next })
    }
}

/// The time zone of moments without an offset, and of the times that people read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Zone(TimeZone);

impl Zone {
    /// A clock on the wall can show a time twice, or leave it out: then it is the first instant, or the
    /// one after the jump.
    fn instant(&self, time: DateTime) -> Timestamp {
        self.0.to_timestamp(time).unwrap_or(Timestamp::MAX)
    }

    /// A time of the trail (RFC 3339, UTC) in this zone, with its offset. In UTC it stays as it is.
    pub(super) fn show(&self, time: &str) -> String {
        match time.parse::<Timestamp>() {
            Ok(instant) if self.0 != TimeZone::UTC => instant
                .to_zoned_datetime(self.0.clone())
                .strftime("%Y-%m-%dT%H:%M:%S%.6f%:z")
                .to_string(),
            _ => time.to_owned(),
        }
    }

    /// `2026-03-14 08:15:00 +01:00`, or `UTC` in place of the offset.
    pub(super) fn show_seconds(&self, instant: Timestamp) -> String {
        let offset = if self.0 == TimeZone::UTC { "UTC" } else { "%:z" };
        let format = format!("%Y-%m-%d %H:%M:%S {offset}");
        instant.to_zoned_datetime(self.0.clone()).strftime(&format).to_string()
    }

    /// The name of the zone, such as `UTC` or `Europe/Stockholm`.
    pub(super) fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("local time")
    }
}

impl Default for Zone {
    fn default() -> Self {
        Self(TimeZone::UTC)
    }
}

impl FromStr for Zone {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        let zone = match name {
            "local" => TimeZone::try_system(),
            _ if name.eq_ignore_ascii_case("utc") => Ok(TimeZone::UTC),
            _ => TimeZone::get(name),
        };
        zone.map(Self).map_err(|_| {
            "not a time zone; write Europe/Stockholm, UTC, or local for this machine's".to_owned()
        })
    }
}

const MOMENT_HINT: &str = "not a time; write now, how long ago (30m, 2h30m, 90d, 2w), 2026-03, 2026-03-14, \
                           2026-03-14T08:00 or 2026-03-14T08:00:00+01:00";
const PERIOD_HINT: &str = "not a month or a day; write 2026-03 or 2026-03-14";

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, zone: &str) -> String {
        let now = "2026-11-29T12:00:00Z".parse().unwrap();
        text.parse::<Moment>().unwrap().at(&zone.parse().unwrap(), now).to_string()
    }

    #[test]
    fn a_moment_has_many_forms() {
        for (text, utc) in [
            ("now", "2026-11-29T12:00:00Z"),
            ("0s", "2026-11-29T12:00:00Z"),
            ("30m", "2026-11-29T11:30:00Z"),
            ("2h30m", "2026-11-29T09:30:00Z"),
            ("90d", "2026-08-31T12:00:00Z"),
            ("2w", "2026-11-15T12:00:00Z"),
            ("2026-03", "2026-03-01T00:00:00Z"),
            ("2026-03-14", "2026-03-14T00:00:00Z"),
            ("2026-03-14T08:00", "2026-03-14T08:00:00Z"),
            ("2026-03-14 08:00:30", "2026-03-14T08:00:30Z"),
            ("2026-03-14T08:00:00Z", "2026-03-14T08:00:00Z"),
            ("2026-03-14T08:00:00+01:00", "2026-03-14T07:00:00Z"),
        ] {
            assert_eq!(at(text, "UTC"), utc, "{text}");
        }
        for text in
            ["", "soon", "2026", "2026-3", "2026-13", "2026-02-30", "+2026-03", "3 March", "-5m"]
        {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_without_an_offset_is_of_the_zone() {
        for (text, utc) in [
            ("2026-03-14T08:00", "2026-03-14T07:00:00Z"),
            ("2026-07", "2026-06-30T22:00:00Z"),
            ("2026-03-14T08:00:00Z", "2026-03-14T08:00:00Z"),
            // The clock jumps from 2 to 3, and in autumn shows 2 to 3 twice.
            ("2026-03-29T02:30", "2026-03-29T01:30:00Z"),
            ("2026-10-25T02:30", "2026-10-25T00:30:00Z"),
        ] {
            assert_eq!(at(text, "Europe/Stockholm"), utc, "{text}");
        }
        let stockholm: Zone = "Europe/Stockholm".parse().unwrap();
        assert_eq!(
            stockholm.show("2026-07-01T22:00:00.000001Z"),
            "2026-07-02T00:00:00.000001+02:00"
        );
        assert_eq!(
            Zone::default().show("2026-07-01T22:00:00.000001Z"),
            "2026-07-01T22:00:00.000001Z"
        );
        assert!("Stockholm".parse::<Zone>().unwrap_err().contains("Europe/Stockholm"));
        assert!("local".parse::<Zone>().is_ok());
    }

    #[test]
    fn a_period_is_a_whole_month_or_day() {
        let range = |text: &str, zone: &str| {
            let (from, to) = text.parse::<Period>().unwrap().range(&zone.parse().unwrap());
            format!("{from} {to}")
        };
        assert_eq!(range("2026-03", "UTC"), "2026-03-01T00:00:00Z 2026-04-01T00:00:00Z");
        assert_eq!(range("2026-12-31", "UTC"), "2026-12-31T00:00:00Z 2027-01-01T00:00:00Z");
        // 23 hours, because summer begins.
        assert_eq!(
            range("2026-03-29", "Europe/Stockholm"),
            "2026-03-28T23:00:00Z 2026-03-29T22:00:00Z"
        );
        for text in ["", "2026", "2026-3", "2026-03-14T08:00", "90d", "now", "2026-03-"] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }
}
