//! The report as one self-contained HTML file: no script, no font, no request.

use std::{cmp::Reverse, collections::BTreeMap, time::Duration};

use bytesize::ByteSize;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    Verified,
    figures::{Figures, Group},
    table::by_count,
};
use crate::{
    audit::{PublicKey, Verdict},
    cli::audit::{document::document, filter::CallFilter, search::Findings},
    domain::visible,
    telemetry::chart::{self, OutcomeCounts, thousands, took},
};

/// What the report is about: without it, its figures could be anyone's.
pub(super) struct Head {
    /// Names and values. A value that spoils the evidence is bad.
    facts: Vec<(&'static str, String, IsBad)>,
    /// The name of the time zone.
    zone: String,
}

type IsBad = bool;

impl Head {
    pub(super) fn new(filter: &CallFilter, findings: &Findings, verified: &[Verified]) -> Self {
        let period = findings.period();
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let mut facts = vec![
            ("Written", filter.zone().show_seconds(Timestamp::now()), false),
            ("On the host", host, false),
            ("By", concat!("pigello-gateway ", env!("CARGO_PKG_VERSION")).to_owned(), false),
        ];
        for coverage in &findings.coverages {
            facts.push(("Trail", coverage.directory.display().to_string(), false));
            if let Some(instance) = &coverage.instance {
                facts.push(("Instance", instance.clone(), false));
            }
            let key = PublicKey::of_trail(&coverage.directory);
            let key = key.map_or_else(|_| "not readable".to_owned(), |key| key.id().to_owned());
            facts.push(("Its key", key, false));
        }
        facts.push(("Asked for", period.asked(), false));
        let conditions = filter.conditions().into_iter();
        let conditions: Vec<_> =
            conditions.map(|(name, value)| format!("{name} {value}")).collect();
        if !conditions.is_empty() {
            facts.push(("Only", conditions.join(", "), false));
        }
        facts.push(("Found", findings.counted(), false));
        facts.extend(findings.listed().map(|listed| ("", listed, false)));
        for (at, sentence) in period.sentences().into_iter().enumerate() {
            let is_bad = sentence.starts_with("NOT COVERED");
            facts.push((if at == 0 { "Covered" } else { "" }, sentence, is_bad));
        }
        for (at, one) in verified.iter().enumerate() {
            let is_bad = one.report.verdict() != Verdict::Ok;
            facts.push((if at == 0 { "Verified" } else { "" }, one.sentence(), is_bad));
        }
        Self { facts, zone: filter.zone().name().to_owned() }
    }
}

pub(super) fn render(figures: &Figures, head: &Head) -> Markup {
    let content = html! {
        header {
            h1 { "Audit report" }
            dl {
                @for (name, value, is_bad) in &head.facts {
                    @if !name.is_empty() { dt { (name) } }
                    dd class=[is_bad.then_some("bad")] { (visible(value)) }
                }
            }
        }
        @if figures.total.calls() == 0 {
            p { "No calls in this time." }
        } @else {
            (body(figures, &head.zone))
        }
    };
    document("Audit report", STYLE, &content)
}

fn body(figures: &Figures, zone: &str) -> Markup {
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
        @if !figures.by_trail.is_empty() { (groups("Trails", "Trail", &figures.by_trail)) }
        (groups("Days", &format!("Day ({zone})"), &figures.by_day))
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
                            tr { td { code { (visible(label)) } } td { (thousands(count)) } }
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
    let names = [
        column,
        "Calls",
        "Refused",
        "Errors",
        "Cache hits",
        "p50",
        "p95",
        "p99",
        "From callers",
        "To callers",
    ];
    html! {
        section {
            h2 { (heading) }
            table class="groups" {
                thead { tr { @for name in names { th { (name) } } } }
                tbody {
                    @for (name, group) in groups {
                        @let time = |percent| html! { (took(Some(group.percentile(percent)))) };
                        @let values = [
                            html! { (visible(name)) },
                            html! { (thousands(group.calls())) },
                            html! { (thousands(group.outcomes.refused)) },
                            html! {
                                span class=[(group.errors > 0).then_some("bad")] { (thousands(group.errors)) }
                            },
                            share(group.cache_share()),
                            time(50.0),
                            time(95.0),
                            time(99.0),
                            html! { (ByteSize(group.request_bytes)) },
                            html! { (ByteSize(group.response_bytes)) },
                        ];
                        tr {
                            @for (name, value) in names.iter().zip(values) {
                                td data-name=(name) { (value) }
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

const HOUR: i64 = 3_600;
const MAX_BARS: usize = 16;

/// The charts' styles come first, so that the page's own win.
const STYLE: &str = concat!(include_str!("../../../telemetry/chart.css"), include_str!("page.css"));
