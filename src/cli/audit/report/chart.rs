//! Charts as SVG, drawn here so that the page needs nothing from anywhere.

use maud::{Markup, html};

use super::figures::Outcomes;

/// One column a stretch of time, split by what became of the calls.
pub(super) fn columns(stretches: &[(String, Outcomes)]) -> Markup {
    let highest = stretches.iter().map(|(_, outcomes)| outcomes.total()).max().unwrap_or(0).max(1);
    let top = round_up(highest);
    let step = PLOT_WIDTH / size(stretches.len().max(1));
    let width = (step * 0.82).min(46.0);
    let label_every = stretches.len().div_ceil(10).max(1);
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {HEIGHT}")) role="img" aria-label="Calls over time" {
            @for line in 0..=4_u64 {
                @let value = top * line / 4;
                @let y = BASE - height_of(value, top);
                line class="grid" x1=(LEFT) x2=(LEFT + PLOT_WIDTH) y1=(px(y)) y2=(px(y)) {}
                text class="tick" x=(LEFT - 8.0) y=(px(y + 4.0)) text-anchor="end" { (short(value)) }
            }
            @for (place, (label, outcomes)) in stretches.iter().enumerate() {
                @let x = LEFT + step * size(place) + (step - width) / 2.0;
                g {
                    title {
                        (label) ": " (outcomes.total()) " calls, " (outcomes.forwarded) " forwarded, "
                        (outcomes.cached) " cached, " (outcomes.refused) " refused, "
                        (outcomes.failed) " failed"
                    }
                    @for (class, from, count) in stacked(outcomes) {
                        @if count > 0 {
                            rect class=(class) x=(px(x)) width=(px(width))
                                y=(px(BASE - height_of(from + count, top)))
                                height=(px(height_of(count, top))) {}
                        }
                    }
                }
                @if place % label_every == 0 && x + width / 2.0 < WIDTH - 40.0 {
                    text class="tick" x=(px(x + width / 2.0)) y=(px(BASE + 18.0)) text-anchor="middle" {
                        (label)
                    }
                }
            }
        }
    }
}

/// One row a name, with three marks: half, 95 % and 99 % of the calls took at most so long. The scale
/// is logarithmic: an answer from memory and one from far away are a thousand times apart.
pub(super) fn spreads(rows: &[(&str, [f64; 3])]) -> Markup {
    let all = || rows.iter().flat_map(|(_, times)| times.iter().copied()).filter(|t| *t > 0.0);
    let lowest = all().fold(f64::INFINITY, f64::min).min(10.0).log10().floor();
    let highest = all().fold(0.01, f64::max).log10().ceil().max(lowest + 1.0);
    let from = 210.0;
    let scale = (WIDTH - from - 80.0) / (highest - lowest);
    let length = |time: f64| ((time.max(1e-3).log10() - lowest) * scale).max(1.0);
    let base = 26.0 * size(rows.len()) + 10.0;
    let decades =
        std::iter::successors(Some(lowest), |at| (at + 1.0 <= highest).then_some(at + 1.0));
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {}", base + 24.0)) role="img" aria-label="Times by operation" {
            @for decade in decades {
                @let x = from + (decade - lowest) * scale;
                line class="grid" x1=(px(x)) x2=(px(x)) y1="4" y2=(px(base)) {}
                text class="tick" x=(px(x)) y=(px(base + 18.0)) text-anchor="middle" { (ms(10_f64.powf(decade))) }
            }
            @for (place, (name, [p50, p95, p99])) in rows.iter().enumerate() {
                @let y = 20.0 + 26.0 * size(place);
                text class="label" x="202" y=(px(y + 4.0)) text-anchor="end" { (name) }
                g {
                    title { (name) ": p50 " (ms(*p50)) ", p95 " (ms(*p95)) ", p99 " (ms(*p99)) }
                    @for (class, time) in [("p99", p99), ("p95", p95), ("p50", p50)] {
                        rect class=(class) x=(px(from)) y=(px(y - 7.0)) height="14" width=(px(length(*time))) {}
                    }
                }
                text class="tick" x=(px(from + length(*p99) + 6.0)) y=(px(y + 4.0)) { (ms(*p99)) }
            }
        }
    }
}

/// A bar that shows a share of the whole.
pub(super) fn share(percent: Option<f64>) -> Markup {
    html! {
        @match percent {
            Some(percent) => {
                span class="share" { span style=(format!("width:{:.1}%", percent.clamp(0.0, 100.0))) {} }
                (format!("{percent:.1} %"))
            }
            None => { "–" }
        }
    }
}

/// Milliseconds, with as many digits as one reads.
pub(super) fn ms(millis: f64) -> String {
    match millis {
        m if m >= 10_000.0 => format!("{:.1} s", m / 1000.0),
        m if m >= 100.0 => format!("{m:.0} ms"),
        m if m >= 1.0 => format!("{m:.1} ms"),
        m => format!("{m:.2} ms"),
    }
}

/// A number as one reads it: 950, 12.3k, 4.5M.
pub(super) fn short(number: u64) -> String {
    match number {
        0..10_000 => number.to_string(),
        10_000..1_000_000 => format!("{:.1}k", float(number) / 1e3),
        _ => format!("{:.1}M", float(number) / 1e6),
    }
}

fn stacked(outcomes: &Outcomes) -> [(&'static str, u64, u64); 4] {
    let Outcomes { forwarded, cached, refused, failed } = *outcomes;
    [
        ("forwarded", 0, forwarded),
        ("cached", forwarded, cached),
        ("refused", forwarded + cached, refused),
        ("failed", forwarded + cached + refused, failed),
    ]
}

/// The next number that four lines divide well.
fn round_up(number: u64) -> u64 {
    let mut unit = 1;
    while unit * 40 < number {
        unit *= 10;
    }
    [4, 8, 12, 16, 20, 24, 32, 40]
        .into_iter()
        .map(|steps| steps * unit)
        .find(|top| *top >= number)
        .unwrap_or(number)
}

fn height_of(count: u64, top: u64) -> f64 {
    float(count) / float(top) * (BASE - TOP)
}

fn px(length: f64) -> String {
    format!("{length:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is coarser")]
fn float(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "a pixel is coarser")]
fn size(number: usize) -> f64 {
    number as f64
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 56.0;
const PLOT_WIDTH: f64 = WIDTH - LEFT - 12.0;
const TOP: f64 = 14.0;
const BASE: f64 = HEIGHT - 30.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scale_ends_at_a_round_number_above() {
        for (number, top) in [(1, 4), (4, 4), (5, 8), (41, 80), (399, 400), (1_001, 1_200)] {
            assert_eq!(round_up(number), top, "{number}");
        }
        assert!(round_up(123_456_789) >= 123_456_789);
    }

    #[test]
    fn numbers_are_as_short_as_one_reads_them() {
        assert_eq!([short(950), short(12_345), short(4_500_000)], ["950", "12.3k", "4.5M"]);
        assert_eq!(
            [ms(0.123), ms(1.26), ms(123.4), ms(12_345.0)],
            ["0.12 ms", "1.3 ms", "123 ms", "12.3 s"]
        );
    }
}
