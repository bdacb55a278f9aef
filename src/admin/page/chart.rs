//! Activity as charts over time, and as a table.

use maud::{Markup, html};

use super::format::{clock, thousands, took};
use crate::telemetry::{
    Counts, Stretch,
    chart::{self, OutcomeCounts},
};

/// One column per period, divided by outcome.
pub(super) fn calls(stretches: &[Stretch]) -> Markup {
    let columns: Vec<_> = stretches
        .iter()
        .map(|Stretch { began, counts }| {
            let Counts { forwarded, cached, refused, failed, .. } = *counts;
            (clock(*began), OutcomeCounts { forwarded, cached, refused, failed })
        })
        .collect();
    chart::columns(&columns, "now")
}

/// The median and the 95th percentile of the times per period.
pub(super) fn times(stretches: &[Stretch]) -> Markup {
    let mut sum = Counts::default();
    for stretch in stretches {
        sum.merge(&stretch.counts);
    }
    let label = format!(
        "Time of calls: the median is {}, 95 per cent took at most {}",
        took(sum.times.percentile(50.0)),
        took(sum.times.percentile(95.0)),
    );
    let line = |percent| stretches.iter().map(|s| s.counts.times.percentile(percent)).collect();
    let clocks: Vec<_> = stretches.iter().map(|stretch| clock(stretch.began)).collect();
    let labels: Vec<_> = clocks.iter().map(String::as_str).collect();
    chart::lines(&label, &[("p95", line(95.0)), ("p50", line(50.0))], &labels, "now")
}

/// The same figures as text.
pub(super) fn table(stretches: &[Stretch]) -> Markup {
    html! {
        table {
            thead {
                tr {
                    th scope="col" { "From (UTC)" } th scope="col" { "Calls" } th scope="col" { "Forwarded" }
                    th scope="col" { "Cached" } th scope="col" { "Refused" } th scope="col" { "Failed" }
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
