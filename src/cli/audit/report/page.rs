//! The report as one self-contained HTML file: no script, no font, no request.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    figures::{Figures, Group},
    table::by_count,
};
use crate::telemetry::chart::{self, OutcomeCounts, thousands, took};

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
    let (unit, periods) = periods(&figures.by_hour);
    let end = periods.last().map_or("", |(label, _)| label);
    html! {
        (cards(&figures.total))
        section {
            h2 { "Calls by " (unit) }
            p class="legend" { (chart::legend()) }
            (chart::columns(&periods, end))
        }
        section {
            h2 { "Time by operation" }
            p class="legend" {
                span class="p50" { "half of the calls" } span class="p95" { "95 %" } span class="p99" { "99 %" }
            }
            (chart::bars("Times by operation", &slowest(&figures.by_operation)))
        }
        (groups("Callers", "Caller", &figures.by_caller))
        (groups("Operations", "Operation", &figures.by_operation))
        (groups("Days", "Day (UTC)", &figures.by_day))
        (counts("Errors and refusals", ["Reason", "Calls"], &figures.errors))
        (counts("The gateway's own calls", ["Cause", "Calls"], &figures.own))
        (counts("Markers", ["Kind", "Lines"], &figures.markers))
    }
}

fn counts(title: &str, [of, number]: [&str; 2], counts: &BTreeMap<String, u64>) -> Markup {
    html! {
        @if !counts.is_empty() {
            section {
                h2 { (title) }
                table class="narrow" {
                    thead { tr { th { (of) } th { (number) } } }
                    tbody {
                        @for (label, count) in by_count(counts) {
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
                "Cache hits",
                percent(total.cache_share()),
                format!("{} of {} cacheable calls", thousands(total.from_memory), thousands(total.cacheable)),
            ))
            (card(
                "Time, half of the calls",
                took(Some(total.percentile(50.0))),
                format!("95 %: {} · 99 %: {}", took(Some(total.percentile(95.0))), took(Some(total.percentile(99.0)))),
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
                            th { (column) } th { "Calls" } th { "Refused" } th { "Errors" } th { "Cache hits" }
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
                                td { (share(group.cache_share())) }
                                td { (took(Some(group.percentile(50.0)))) }
                                td { (took(Some(group.percentile(95.0)))) }
                                td { (took(Some(group.percentile(99.0)))) }
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

/// A percentage with a bar.
fn share(percent: Option<f64>) -> Markup {
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

/// The calls by hour, or by day if they span more than four days, with the empty periods in between.
fn periods(
    by_hour: &BTreeMap<String, OutcomeCounts>,
) -> (&'static str, Vec<(String, OutcomeCounts)>) {
    let hours = by_hour.iter().filter_map(|(hour, counts)| {
        Some((format!("{hour}:00:00Z").parse::<Timestamp>().ok()?.as_second(), *counts))
    });
    let hours: BTreeMap<i64, OutcomeCounts> = hours.collect();
    let (Some((first, _)), Some((last, _))) = (hours.first_key_value(), hours.last_key_value())
    else {
        return ("hour", Vec::new());
    };
    let (unit, length) = if last - first < 96 * HOUR { ("hour", HOUR) } else { ("day", 24 * HOUR) };
    let mut sums: BTreeMap<i64, OutcomeCounts> = BTreeMap::new();
    for (hour, counts) in &hours {
        sums.entry(hour.div_euclid(length)).or_default().merge(*counts);
    }
    let label = |period: i64| {
        let begin = Timestamp::from_second(period * length).unwrap_or_default();
        begin.strftime(if length == HOUR { "%d %b %H:%M" } else { "%d %b" }).to_string()
    };
    let range = first.div_euclid(length)..=last.div_euclid(length);
    let filled = range.map(|at| (label(at), sums.get(&at).copied().unwrap_or_default()));
    (unit, filled.collect())
}

/// The operations with the longest 99th percentiles, at most [`MAX_BARS`].
fn slowest(operations: &BTreeMap<String, Group>) -> Vec<(&str, [Duration; 3])> {
    let mut rows: Vec<_> = operations
        .iter()
        .map(|(name, group)| (name.as_str(), [50.0, 95.0, 99.0].map(|p| group.percentile(p))))
        .collect();
    rows.sort_by_key(|(_, [.., p99])| Reverse(*p99));
    rows.truncate(MAX_BARS);
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

const HOUR: i64 = 3_600;
const MAX_BARS: usize = 16;

/// The charts' styles come first, so that the page's own win.
const STYLE: &str = concat!(include_str!("../../../telemetry/chart.css"), include_str!("page.css"));
