//! Calls of a period: charts, and figures by caller and operation.

use std::{cmp::Reverse, collections::BTreeMap};

use maud::{Markup, html};

use super::{
    PageData, chart,
    format::{many, share, thousands, took},
};
use crate::{
    domain::UNIDENTIFIED,
    telemetry::{Counts, Period, chart::legend},
};

pub(super) fn render(data: &PageData<'_>) -> Markup {
    let summary = &data.summary;
    html! {
        div class="heading" {
            h2 { "Calls" }
            nav aria-label="Period" {
                @for (period, word, name) in PERIODS {
                    @let current = (data.period == period).then_some("true");
                    a href=(format!("/?over={word}")) aria-current=[current] { (name) }
                }
            }
        }
        (cards(&summary.total))
        @if summary.total.calls() == 0 {
            p class="empty" {
                "No calls in this time."
                @if let Some(listener) = data.view.listeners.first() {
                    " Callers are served on " code { (listener.address) } "."
                }
            }
        } @else {
            div class="charts" {
                figure {
                    figcaption {
                        (each(data.period))
                        span class="legend" { (legend()) }
                    }
                    (chart::calls(&summary.stretches))
                }
                figure {
                    figcaption {
                        "Time to the last byte"
                        span class="legend" {
                            span class="p50" { "median" } span class="p95" { "95 % within" }
                        }
                    }
                    (chart::times(&summary.stretches))
                }
            }
            details id="figures" {
                summary { "The same as a table" }
                div class="wide" tabindex="0" role="region" aria-label="Calls over time" {
                    (chart::table(&summary.stretches))
                }
            }
            (pairs(data))
        }
    }
}

fn cards(total: &Counts) -> Markup {
    let card = |name: &str, value: String, note: String| {
        html! { div { dt { (name) } dd { (value) span { (note) } } } }
    };
    html! {
        dl class="cards" {
            (card("Calls", thousands(total.calls()), many(total.refused, "refusal")))
            (card("Errors", share(total.errors, total.calls()), many(total.errors, "call")))
            (card(
                "From memory",
                share(total.from_memory, total.cacheable),
                format!("of {}", many(total.cacheable, "call")),
            ))
            (card(
                "Median time",
                took(total.times.percentile(50.0)),
                format!("95 % within {}", took(total.times.percentile(95.0))),
            ))
        }
    }
}

/// One caller's calls: in total, and by operation.
#[derive(Default)]
struct CallerRows<'a> {
    sum: Counts,
    operations: Vec<(Option<&'a str>, &'a Counts)>,
}

/// One table body a caller: its totals, then its operations.
fn pairs(data: &PageData<'_>) -> Markup {
    let mut callers: BTreeMap<Option<&str>, CallerRows<'_>> = BTreeMap::new();
    let mut counted = Counts::default();
    for (pair, counts) in &data.summary.pairs {
        let caller = callers.entry(pair.caller.as_deref()).or_default();
        caller.sum.merge(counts);
        counted.merge(counts);
        caller.operations.push((pair.operation.as_deref(), counts));
    }
    let mut callers: Vec<_> = callers.into_iter().collect();
    callers.sort_by_key(|(_, caller)| Reverse(caller.sum.calls()));
    for (_, caller) in &mut callers {
        caller.operations.sort_by_key(|(_, counts)| Reverse(counts.calls()));
    }
    let without_room = data.summary.total.calls().saturating_sub(counted.calls());
    html! {
        div class="wide" tabindex="0" role="region" aria-labelledby="who" {
            table class="who" {
                caption id="who" { "Who calls what" }
                thead {
                    tr {
                        @for name in COLUMNS { th scope="col" { (name) } }
                    }
                }
                @for (name, CallerRows { sum, operations }) in callers {
                    tbody {
                        (row(name.unwrap_or(UNIDENTIFIED), "caller", sum_of(&sum)))
                        @for (operation, counts) in operations.iter().take(MOST_ROWS) {
                            (row(operation.unwrap_or("no operation"), "operation", sum_of(counts)))
                        }
                        @if operations.len() > MOST_ROWS {
                            tr class="operation" {
                                th scope="row" { "and " (operations.len() - MOST_ROWS) " more" }
                                td colspan="6" {}
                            }
                        }
                    }
                }
            }
        }
        @if without_room > 0 {
            p class="quiet" {
                (many(without_room, "call")) " of further callers and operations are in the totals only."
            }
        }
    }
}

fn sum_of(counts: &Counts) -> [(String, bool); 6] {
    [
        (thousands(counts.calls()), false),
        (thousands(counts.refused), counts.refused > 0),
        (thousands(counts.errors), counts.errors > 0),
        (share(counts.from_memory, counts.cacheable), false),
        (took(counts.times.percentile(50.0)), false),
        (took(counts.times.percentile(95.0)), false),
    ]
}

fn row(name: &str, class: &str, cells: [(String, bool); 6]) -> Markup {
    html! {
        tr class=(class) {
            th scope="row" { (name) }
            @for (cell, stands_out) in cells {
                td class=[stands_out.then_some("strong")] { (cell) }
            }
        }
    }
}

fn each(period: Period) -> &'static str {
    match period {
        Period::Hour => "Calls a minute",
        Period::Day => "Calls in 15 min",
    }
}

const PERIODS: [(Period, &str, &str); 2] =
    [(Period::Hour, "hour", "Last hour"), (Period::Day, "day", "Last day")];
const COLUMNS: [&str; 7] =
    ["Caller, operation", "Calls", "Refused", "Errors", "From memory", "Median", "95 % within"];
/// The most operations listed for one caller.
const MOST_ROWS: usize = 12;
