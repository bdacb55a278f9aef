//! Charts as inline SVG that stretch with the page; what is to be read of them stands beside them as
//! text, so that it keeps its size on a phone.

use std::{fmt::Write as _, time::Duration};

use maud::{Markup, html};

use super::format::{clock, float, many, thousands, took};
use crate::telemetry::{Counts, Stretch};

/// One column a stretch, split by what became of the calls.
pub(super) fn calls(stretches: &[Stretch]) -> Markup {
    let highest = stretches.iter().map(|stretch| stretch.counts.calls()).max().unwrap_or(0);
    let top = round_up(highest.max(1));
    let total: u64 = stretches.iter().map(|stretch| stretch.counts.calls()).sum();
    let label = format!("Calls over time: {}, at most {highest} at once", many(total, "call"));
    let scale = HEIGHT / float(top);
    frame(
        stretches,
        &label,
        &[(1.0, thousands(top)), (0.5, thousands(top / 2)), (0.0, "0".to_owned())],
        &html! {
            @for (place, stretch) in stretches.iter().enumerate() {
                @if stretch.counts.calls() > 0 {
                    g {
                        title { (clock(stretch.began)) " " (outcomes(&stretch.counts)) }
                        @for (class, from, count) in stacked(&stretch.counts) {
                            @if count > 0 {
                                rect class=(class) x=(place * STEP + 1) width=(STEP - 2)
                                    y=(px(HEIGHT - float(from + count) * scale))
                                    height=(px(float(count) * scale)) {}
                            }
                        }
                    }
                }
            }
        },
    )
}

/// Two lines: what half and what 95 % of the calls took at most. The scale is logarithmic, because an
/// answer from memory and one from far away are a thousand times apart.
pub(super) fn times(stretches: &[Stretch]) -> Markup {
    let at = |stretch: &Stretch, percent| {
        stretch.counts.times.percentile(percent).map(|time| (time.as_secs_f64() * 1e3).log10())
    };
    let all =
        || stretches.iter().flat_map(|stretch| [at(stretch, 50.0), at(stretch, 95.0)]).flatten();
    let lowest = all().fold(f64::INFINITY, f64::min).min(1.0).floor();
    let highest = all().fold(lowest + 1.0, f64::max).ceil();
    let y = |value: f64| HEIGHT - (value - lowest) / (highest - lowest) * HEIGHT;
    let mut sum = Counts::default();
    for stretch in stretches {
        sum.merge(&stretch.counts);
    }
    let label = format!(
        "Time of calls: the median is {}, 95 per cent took at most {}",
        took(sum.times.percentile(50.0)),
        took(sum.times.percentile(95.0)),
    );
    let steps = std::iter::successors(Some(highest), |value| {
        (*value - 1.0 >= lowest).then_some(value - 1.0)
    });
    let ticks: Vec<_> = steps
        .map(|value| {
            let millis = 10_f64.powf(value) / 1e3;
            ((value - lowest) / (highest - lowest), took(Some(Duration::from_secs_f64(millis))))
        })
        .collect();
    frame(
        stretches,
        &label,
        &ticks,
        &html! {
            @for (class, percent) in [("p95", 95.0), ("p50", 50.0)] {
                @let heights = stretches.iter().map(|stretch| at(stretch, percent).map(y));
                path class=(class) d=(line(heights)) {}
            }
        },
    )
}

/// A line with a level part for each stretch, and a gap where there is none.
fn line(heights: impl Iterator<Item = Option<f64>>) -> String {
    let mut path = String::new();
    let mut drawing = false;
    for (place, height) in heights.enumerate() {
        if let Some(height) = height {
            let (from, to, pen) =
                (place * STEP, (place + 1) * STEP, if drawing { 'L' } else { 'M' });
            // Writing to a string cannot fail.
            let _infallible = write!(path, "{pen}{from} {} H{to}", px(height));
        }
        drawing = height.is_some();
    }
    path
}

/// The scale at the left, lines across, and the times below.
fn frame(stretches: &[Stretch], label: &str, ticks: &[(f64, String)], inner: &Markup) -> Markup {
    let width = (stretches.len() * STEP).max(1);
    let marks = [0, stretches.len() / 3, stretches.len() * 2 / 3];
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
                (inner)
            }
            div class="hours" aria-hidden="true" {
                @for stretch in marks.iter().filter_map(|place| stretches.get(*place)) {
                    span { (clock(stretch.began)) }
                }
                span { "now" }
            }
        }
    }
}

/// The columns again, for those who do not see them.
pub(super) fn table(stretches: &[Stretch]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "From (UTC)" } th scope="col" { "Calls" } th scope="col" { "Pigello" }
                    th scope="col" { "Memory" } th scope="col" { "Refused" } th scope="col" { "Failed" }
                    th scope="col" { "Median" } th scope="col" { "95 % within" }
                }
            }
            tbody {
                @for Stretch { began, counts } in stretches.iter().rev().filter(|s| s.counts.calls() > 0) {
                    tr {
                        th scope="row" { (clock(*began)) }
                        td { (thousands(counts.calls())) } td { (thousands(counts.forwarded)) }
                        td { (thousands(counts.cached)) } td { (thousands(counts.refused)) }
                        td { (thousands(counts.failed)) }
                        td { (took(counts.times.percentile(50.0))) }
                        td { (took(counts.times.percentile(95.0))) }
                    }
                }
            }
        }
    }
}

fn outcomes(counts: &Counts) -> String {
    let mut text = many(counts.calls(), "call");
    for (class, _, count) in stacked(counts) {
        if count > 0 {
            let _infallible = write!(text, ", {} {}", thousands(count), name(class));
        }
    }
    text
}

fn stacked(counts: &Counts) -> [(&'static str, u64, u64); 4] {
    let Counts { forwarded, cached, refused, failed, .. } = *counts;
    [
        ("forwarded", 0, forwarded),
        ("cached", forwarded, cached),
        ("refused", forwarded + cached, refused),
        ("failed", forwarded + cached + refused, failed),
    ]
}

/// What a column's parts are called.
pub(super) fn name(class: &str) -> &'static str {
    match class {
        "forwarded" => "by Pigello",
        "cached" => "from memory",
        "refused" => "refused",
        _ => "failed",
    }
}

/// The next number that halves well.
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

/// The width of a stretch in the drawing, which is stretched to that of the page.
const STEP: usize = 10;
const HEIGHT: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number_above() {
        for (number, top) in [(1, 2), (3, 4), (7, 10), (11, 12), (399, 400), (1_050, 1_200)] {
            assert_eq!(round_up(number), top, "{number}");
        }
        assert!(round_up(123_456_789) >= 123_456_789);
    }

    #[test]
    fn a_line_has_gaps_where_nothing_happened() {
        let heights = [Some(10.0), Some(20.0), None, Some(30.0)];
        assert_eq!(line(heights.into_iter()), "M0 10.0 H10L10 20.0 H20M30 30.0 H40");
    }
}
