//! Charts as inline SVG, for the status page and the audit report.
//!
//! Charts over time stretch with the page. Their labels are HTML beside the drawing, so that they keep
//! their size on a phone. Both pages include `chart.css`, and define its colours.

use std::{fmt::Write as _, time::Duration};

use maud::{Markup, html};
use serde::Serialize;

use crate::domain::visible;

/// Calls by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OutcomeCounts {
    /// The caller got the upstream's response.
    pub forwarded: u64,
    /// The caller got a response from the cache.
    pub cached: u64,
    /// The gateway refused the call.
    pub refused: u64,
    /// The call failed.
    pub failed: u64,
}

impl OutcomeCounts {
    /// All calls.
    pub fn total(self) -> u64 {
        self.parts().iter().sum()
    }

    /// Adds other calls to these.
    pub fn merge(&mut self, other: Self) {
        self.forwarded += other.forwarded;
        self.cached += other.cached;
        self.refused += other.refused;
        self.failed += other.failed;
    }

    /// In the order of [`OUTCOMES`].
    fn parts(self) -> [u64; 4] {
        [self.forwarded, self.cached, self.refused, self.failed]
    }
}

/// The style class and the name of each outcome, from the bottom of a column to its top.
const OUTCOMES: [(&str, &str); 4] = [
    ("forwarded", "forwarded"),
    ("cached", "from the cache"),
    ("refused", "refused"),
    ("failed", "failed"),
];

/// The entries of a legend for [`columns`].
pub fn legend() -> Markup {
    html! { @for (class, name) in OUTCOMES { span class=(class) { (name) } } }
}

/// One column per period, divided by outcome. `end` labels the end of the last period.
pub fn columns(periods: &[(String, OutcomeCounts)], end: &str) -> Markup {
    let totals = || periods.iter().map(|(_, counts)| counts.total());
    let (highest, top) = (totals().max().unwrap_or(0), round_up(totals().max().unwrap_or(0)));
    let label = format!(
        "Calls over time: {}, at most {} in one column",
        many(totals().sum(), "call"),
        thousands(highest)
    );
    // With few columns, a full one would look like an area.
    let width = (size(periods.len()) * STEP / 20.0).min(STEP * 0.8);
    let scale = HEIGHT / float(top);
    let labels: Vec<_> = periods.iter().map(|(label, _)| label.as_str()).collect();
    frame(
        &label,
        &[(1.0, thousands(top)), (0.5, thousands(top / 2)), (0.0, "0".to_owned())],
        &labels,
        end,
        &html! {
            @for (index, (label, counts)) in periods.iter().enumerate() {
                @if counts.total() > 0 {
                    g {
                        title { (label) " " (describe(*counts)) }
                        @for (class, from, count) in stacked(*counts) {
                            rect class=(class) x=(px(size(index) * STEP + (STEP - width) / 2.0))
                                y=(px(HEIGHT - float(from + count) * scale))
                                width=(px(width)) height=(px(float(count) * scale)) {}
                        }
                    }
                }
            }
        },
    )
}

/// `3 calls, 2 forwarded, 1 refused`.
fn describe(counts: OutcomeCounts) -> String {
    let mut text = many(counts.total(), "call");
    for ((_, name), count) in OUTCOMES.iter().zip(counts.parts()).filter(|(_, count)| *count > 0) {
        // Writing to a string cannot fail.
        let _infallible = write!(text, ", {} {name}", thousands(count));
    }
    text
}

/// The non-empty parts of a column: class, lower end and height.
fn stacked(counts: OutcomeCounts) -> impl Iterator<Item = (&'static str, u64, u64)> {
    let mut top = 0;
    let parts = OUTCOMES.iter().zip(counts.parts()).map(move |((class, _), count)| {
        let from = top;
        top += count;
        (*class, from, count)
    });
    parts.filter(|(.., count)| *count > 0)
}

/// Lines of times on a logarithmic scale, one per style class, with one value per label.
pub fn lines(
    label: &str,
    lines: &[(&str, Vec<Option<Duration>>)],
    labels: &[&str],
    end: &str,
) -> Markup {
    let scale = LogScale::of(lines.iter().flat_map(|(_, times)| times.iter().copied().flatten()));
    let mut ticks = scale.decades();
    ticks.reverse();
    let height = |time: &Option<Duration>| time.map(|time| HEIGHT * (1.0 - scale.position(time)));
    frame(
        label,
        &ticks,
        labels,
        end,
        &html! {
            @for (class, times) in lines {
                path class=(class) d=(steps(times.iter().map(height))) {}
            }
        },
    )
}

/// A path with a level part for each value, and a gap for each absent one.
fn steps(heights: impl Iterator<Item = Option<f64>>) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (index, height) in heights.enumerate() {
        if let Some(height) = height {
            let (from, to) = (size(index) * STEP, size(index + 1) * STEP);
            let pen = if drawing { 'L' } else { 'M' };
            let _infallible = write!(path, "{pen}{from} {} H{to}", px(height));
        }
        drawing = height.is_some();
    }
    path
}

/// A drawing with a scale at the left, grid lines and labels below.
fn frame(
    label: &str,
    ticks: &[(f64, String)],
    labels: &[&str],
    end: &str,
    drawing: &Markup,
) -> Markup {
    let count = labels.len();
    let width = size(count.max(1)) * STEP;
    let (class, below) = if count <= MAX_LABELS {
        ("below each", labels.to_vec())
    } else {
        let marks = [0, count / 3, count * 2 / 3].into_iter().filter_map(|at| labels.get(at));
        ("below", marks.copied().chain([end]).collect())
    };
    html! {
        div class="chart" {
            div class="scale" aria-hidden="true" {
                @for (_, text) in ticks { span { (text) } }
            }
            svg viewBox=(format!("0 0 {width} {HEIGHT}")) preserveAspectRatio="none"
                role="img" aria-label=(label) {
                @for (height, _) in ticks {
                    @let y = px(HEIGHT - height * HEIGHT);
                    line class="grid" x1="0" x2=(width) y1=(y) y2=(y) {}
                }
                (drawing)
            }
            div class=(class) aria-hidden="true" { @for text in below { span { (text) } } }
        }
    }
}

/// One row per name with three nested bars, the first the shortest, on a logarithmic scale.
pub fn bars(label: &str, rows: &[(&str, [Duration; 3])]) -> Markup {
    let scale = LogScale::of(rows.iter().flat_map(|(_, times)| *times));
    let length = |time| px((scale.position(time) * 100.0).max(0.5));
    html! {
        div class="bars" role="group" aria-label=(label) {
            @for (name, [p50, p95, p99]) in rows {
                @let name = visible(name);
                span class="name" { (name) }
                svg viewBox="0 0 100 14" preserveAspectRatio="none" role="img"
                    aria-label=(format!(
                        "{name}: p50 {}, p95 {}, p99 {}",
                        took(Some(*p50)), took(Some(*p95)), took(Some(*p99))
                    )) {
                    @for (class, time) in [("p99", *p99), ("p95", *p95), ("p50", *p50)] {
                        rect class=(class) x="0" y="0" height="14" width=(length(time)) {}
                    }
                }
                span class="time" aria-hidden="true" { (took(Some(*p99))) }
            }
            div class="ticks" aria-hidden="true" {
                @for (_, text) in scale.decades() { span { (text) } }
            }
        }
    }
}

/// Whole decades around all times. A cache hit and a call to a distant upstream are a factor of a
/// thousand apart.
struct LogScale {
    /// Logarithms of milliseconds.
    lowest: f64,
    highest: f64,
}

impl LogScale {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let (mut lowest, mut highest) = (1.0_f64, f64::NEG_INFINITY);
        for time in times {
            lowest = lowest.min(Self::log(time));
            highest = highest.max(Self::log(time));
        }
        let lowest = lowest.floor();
        Self { lowest, highest: highest.max(lowest + 1.0).ceil() }
    }

    fn log(time: Duration) -> f64 {
        (time.as_secs_f64() * 1e3).max(1e-3).log10()
    }

    /// From 0 to 1.
    fn position(&self, time: Duration) -> f64 {
        (Self::log(time) - self.lowest) / (self.highest - self.lowest)
    }

    /// Position and text of each power of ten, upwards.
    fn decades(&self) -> Vec<(f64, String)> {
        let up = |at: &f64| (*at < self.highest).then_some(*at + 1.0);
        std::iter::successors(Some(self.lowest), up)
            .map(|at| Duration::from_secs_f64(10_f64.powf(at) / 1e3))
            .map(|time| (self.position(time), took(Some(time))))
            .collect()
    }
}

/// `1 234 567`, with no-break spaces.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 call`, `2 calls`.
pub fn many(number: u64, what: &str) -> String {
    format!("{} {what}{}", thousands(number), if number == 1 { "" } else { "s" })
}

/// A duration with two or three significant digits, or a dash.
pub fn took(time: Option<Duration>) -> String {
    let Some(time) = time else { return "–".to_owned() };
    match time.as_secs_f64() * 1e3 {
        ms if ms >= 10_000.0 => format!("{:.0} s", ms / 1e3),
        ms if ms >= 1_000.0 => format!("{:.1} s", ms / 1e3),
        ms if ms >= 10.0 => format!("{ms:.0} ms"),
        ms if ms >= 1.0 => format!("{ms:.1} ms"),
        ms => format!("{ms:.2} ms"),
    }
}

/// The next number at or above this one that is easy to halve.
fn round_up(number: u64) -> u64 {
    let mut unit = 1;
    while unit * 100 < number {
        unit *= 10;
    }
    let steps = [2, 4, 6, 10, 12, 16, 20, 24, 30, 40, 50, 60, 80, 100];
    steps.into_iter().map(|steps| steps * unit).find(|top| *top >= number).unwrap_or(number)
}

fn px(length: f64) -> String {
    format!("{length:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "a share or a pixel needs no more digits")]
pub(crate) fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a pixel needs no more digits")]
fn size(number: usize) -> f64 {
    number as f64
}

/// The width of a period, and the height of the drawing, before the page stretches it.
const STEP: f64 = 10.0;
const HEIGHT: f64 = 100.0;
/// Up to this number, every period has a label.
const MAX_LABELS: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number_above() {
        for (number, top) in
            [(0, 2), (1, 2), (3, 4), (7, 10), (11, 12), (41, 50), (399, 400), (1_050, 1_200)]
        {
            assert_eq!(round_up(number), top, "{number}");
        }
        assert!(round_up(123_456_789) >= 123_456_789);
    }

    #[test]
    fn a_line_has_gaps_where_nothing_happened() {
        let heights = [Some(10.0), Some(20.0), None, Some(30.0)];
        assert_eq!(steps(heights.into_iter()), "M0 10.0 H10L10 20.0 H20M30 30.0 H40");
    }

    #[test]
    fn a_logarithmic_scale_covers_whole_decades() {
        let scale = LogScale::of([3, 4_000].map(Duration::from_millis).into_iter());
        let texts: Vec<_> = scale.decades().into_iter().map(|(_, text)| text).collect();
        assert_eq!(texts, ["1.0 ms", "10 ms", "100 ms", "1.0 s", "10 s"]);
        assert_eq!(LogScale::of(std::iter::empty()).decades().len(), 2);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!(thousands(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!([many(1, "call"), many(0, "call")], ["1 call", "0 calls"]);
        let ms = |micros| took(Some(Duration::from_micros(micros)));
        assert_eq!(
            [ms(123), ms(1_260), ms(123_400), ms(1_234_000), ms(12_345_000), took(None)],
            ["0.12 ms", "1.3 ms", "123 ms", "1.2 s", "12 s", "–"]
        );
    }
}
