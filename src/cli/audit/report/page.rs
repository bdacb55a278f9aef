//! The report as one HTML file that needs nothing else: no script, no font, no request.

use std::collections::BTreeMap;

use bytesize::ByteSize;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    chart,
    figures::{Figures, Group, Outcomes},
    table::by_count,
};

pub(super) fn render(figures: &Figures, now: Timestamp) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="Content-Security-Policy"
                    content="default-src 'none'; style-src 'unsafe-inline'";
                title { "Audit report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    header {
                        h1 { "Audit report" }
                        p class="quiet" { (range(figures)) " · written " (moment(&format!("{now:.0}"))) }
                    }
                    @if figures.total.calls() == 0 {
                        p { "No calls in this time." }
                    } @else {
                        (body(figures))
                    }
                }
            }
        }
    }
}

fn body(figures: &Figures) -> Markup {
    let (unit, stretches) = stretches(&figures.by_hour);
    html! {
        (cards(&figures.total))
        section {
            h2 { "Calls by " (unit) }
            p class="legend" {
                @for (class, name) in LEGEND {
                    span class=(class) {} (name)
                }
            }
            (chart::columns(&stretches))
        }
        section {
            h2 { "Time by operation" }
            p class="legend" {
                span class="p50" {} "half of the calls" span class="p95" {} "95 %" span class="p99" {} "99 %"
            }
            (chart::spreads(&slowest(&figures.by_operation)))
        }
        (groups("Callers", "Caller", &figures.by_caller))
        (groups("Operations", "Operation", &figures.by_operation))
        (groups("Days", "Day (UTC)", &figures.by_day))
        @if !figures.errors.is_empty() {
            section {
                h2 { "Errors and refusals" }
                table class="narrow" {
                    thead { tr { th { "Reason" } th { "Calls" } } }
                    tbody {
                        @for (label, count) in by_count(&figures.errors) {
                            tr { td { code { (label) } } td { (thousands(count)) } }
                        }
                    }
                }
            }
        }
    }
}

fn cards(total: &Group) -> Markup {
    let card = |name: &str, value: String, note: String| {
        html! { div class="card" { div class="quiet" { (name) } strong { (value) } div class="quiet" { (note) } } }
    };
    let percent = |share: Option<f64>| share.map_or("–".to_owned(), |s| format!("{s:.1} %"));
    html! {
        div class="cards" {
            (card("Calls", thousands(total.calls()), format!("{} refused", thousands(total.outcomes.refused))))
            (card("Errors", percent(total.error_share()), format!("{} calls", thousands(total.errors))))
            (card(
                "Answered from memory",
                percent(total.cache_share()),
                format!("{} of {} that could be", thousands(total.from_memory), thousands(total.cacheable)),
            ))
            (card(
                "Time, half of the calls",
                chart::ms(total.percentile(50.0)),
                format!("95 %: {} · 99 %: {}", chart::ms(total.percentile(95.0)), chart::ms(total.percentile(99.0))),
            ))
            (card(
                "Data to callers",
                ByteSize(total.response_bytes).to_string(),
                format!("{} from callers", ByteSize(total.request_bytes)),
            ))
        }
    }
}

fn groups(heading: &str, column: &str, groups: &BTreeMap<String, Group>) -> Markup {
    html! {
        section {
            h2 { (heading) }
            div class="wide" {
                table {
                    thead {
                        tr {
                            th { (column) } th { "Calls" } th { "Refused" } th { "Errors" } th { "From memory" }
                            th { "p50" } th { "p95" } th { "p99" } th { "From callers" } th { "To callers" }
                        }
                    }
                    tbody {
                        @for (name, group) in groups {
                            tr {
                                td { (name) }
                                td { (thousands(group.calls())) }
                                td { (thousands(group.outcomes.refused)) }
                                td class=[(group.errors > 0).then_some("bad")] { (thousands(group.errors)) }
                                td { (chart::share(group.cache_share())) }
                                td { (chart::ms(group.percentile(50.0))) }
                                td { (chart::ms(group.percentile(95.0))) }
                                td { (chart::ms(group.percentile(99.0))) }
                                td { (ByteSize(group.request_bytes)) }
                                td { (ByteSize(group.response_bytes)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// Hours for a few days, days for more, with those in between in which nothing happened.
fn stretches(by_hour: &BTreeMap<String, Outcomes>) -> (&'static str, Vec<(String, Outcomes)>) {
    let hours = by_hour.iter().filter_map(|(hour, outcomes)| {
        Some((format!("{hour}:00:00Z").parse::<Timestamp>().ok()?.as_second(), *outcomes))
    });
    let hours: BTreeMap<i64, Outcomes> = hours.collect();
    let (Some((first, _)), Some((last, _))) = (hours.first_key_value(), hours.last_key_value())
    else {
        return ("hour", Vec::new());
    };
    let (unit, length) = if last - first < 96 * HOUR { ("hour", HOUR) } else { ("day", 24 * HOUR) };
    let mut counts: BTreeMap<i64, Outcomes> = BTreeMap::new();
    for (hour, outcomes) in &hours {
        let sum = counts.entry(hour.div_euclid(length)).or_default();
        *sum = sum.plus(*outcomes);
    }
    let label = |stretch: i64| {
        let begins = Timestamp::from_second(stretch * length).unwrap_or_default();
        let format = if length == HOUR { "%d %b %H:%M" } else { "%d %b" };
        begins.strftime(format).to_string()
    };
    let range = first.div_euclid(length)..=last.div_euclid(length);
    let filled = range.map(|at| (label(at), counts.get(&at).copied().unwrap_or_default()));
    (unit, filled.collect())
}

/// The operations with the longest waits, at most as many as one looks at.
fn slowest(operations: &BTreeMap<String, Group>) -> Vec<(&str, [f64; 3])> {
    let mut rows: Vec<_> = operations
        .iter()
        .map(|(name, group)| (name.as_str(), [50.0, 95.0, 99.0].map(|p| group.percentile(p))))
        .collect();
    rows.sort_by(|(_, a), (_, b)| b[2].total_cmp(&a[2]));
    rows.truncate(16);
    rows
}

fn range(figures: &Figures) -> String {
    match (&figures.first, &figures.last) {
        (Some(first), Some(last)) => format!("{} to {}", moment(first), moment(last)),
        _ => "nothing".to_owned(),
    }
}

/// `2026-03-01 08:15 UTC`.
fn moment(time: &str) -> String {
    format!("{} UTC", time.get(..16).unwrap_or(time).replace('T', " "))
}

/// `1 234 567`.
fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

const HOUR: i64 = 3_600;
const LEGEND: [(&str, &str); 4] = [
    ("forwarded", "forwarded"),
    ("cached", "from memory"),
    ("refused", "refused"),
    ("failed", "failed"),
];

const STYLE: &str = include_str!("page.css");
