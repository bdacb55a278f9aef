//! Formats numbers, times and texts for people.

use std::time::SystemTime;

use jiff::Timestamp;
use maud::{Markup, Render, html};

use crate::telemetry::chart::float;
pub(super) use crate::telemetry::chart::{many, thousands, took};

/// A share in per cent; a dash when the total is zero.
pub(super) fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "–".to_owned();
    }
    let percent = float(part) * 100.0 / float(whole);
    match percent {
        p if p > 0.0 && p < 0.1 => "< 0.1 %".to_owned(),
        p if (10.0..100.0).contains(&p) && p > 99.9 => "> 99.9 %".to_owned(),
        p if p >= 10.0 || p == 0.0 => format!("{p:.0} %"),
        p => format!("{p:.1} %"),
    }
}

/// A length of time or an age, in its largest useful unit.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A time of day, with the date when it is not today; the tooltip has the full timestamp.
pub(super) fn moment(time: impl TryInto<Timestamp>) -> Markup {
    let stamp = time.try_into().unwrap_or_default();
    let is_today = stamp.as_second() / DAY == Timestamp::now().as_second() / DAY;
    let format = if is_today { "%H:%M:%S" } else { "%d %b %H:%M" };
    html! {
        time datetime=(stamp.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(stamp.strftime("%Y-%m-%d %H:%M:%S UTC")) {
            (stamp.strftime(format))
        }
    }
}

/// `14:05`.
pub(super) fn clock(time: SystemTime) -> String {
    Timestamp::try_from(time).unwrap_or_default().strftime("%H:%M").to_string()
}

/// A sentence; text in backticks becomes code.
pub(super) fn prose(text: &str) -> Markup {
    html! {
        @for (place, part) in text.split('`').enumerate() {
            @if place % 2 == 1 { code { (part) } } @else { (part) }
        }
    }
}

/// One row of a list of names and values.
pub(super) fn item(name: &str, value: impl Render) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}

/// Seconds.
const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn numbers_are_as_one_reads_them() {
        assert_eq!(
            [share(0, 0), share(0, 9), share(1, 2000), share(1, 200), share(1, 3), share(9, 9)],
            ["–", "0 %", "< 0.1 %", "0.5 %", "33 %", "100 %"]
        );
        assert_eq!(share(99_999, 100_000), "> 99.9 %");
        assert_eq!(
            [span(119), span(120), span(7_200), span(200_000)],
            ["119 s", "2 min", "2 h", "2 days"]
        );
    }

    #[test]
    fn backticks_become_code_and_everything_is_escaped() {
        assert_eq!(prose("set `a < b` now").into_string(), "set <code>a &lt; b</code> now");
        assert_eq!(clock(SystemTime::UNIX_EPOCH + Duration::from_mins(845)), "14:05");
    }
}
