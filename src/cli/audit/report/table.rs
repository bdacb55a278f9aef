//! The report as tables for a terminal.

use std::{collections::BTreeMap, io};

use bytesize::ByteSize;
use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

use super::{
    By,
    figures::{Figures, Group},
};
use crate::{cli::time::Zone, domain::visible};

pub(super) fn print(
    figures: &Figures,
    by: Option<By>,
    zone: &Zone,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    match (&figures.first, &figures.last) {
        (Some(first), Some(last)) => {
            calls(figures, by, &zone.show(first), &zone.show(last), out)?;
        }
        _ => writeln!(out, "no calls\n")?,
    }
    for (heading, counts) in [
        (["ERROR", "CALLS"], &figures.errors),
        (["THE GATEWAY'S OWN", "CALLS"], &figures.own),
        (["MARKER", "LINES"], &figures.markers),
    ] {
        if counts.is_empty() {
            continue;
        }
        let mut table = plain(&heading);
        for (label, count) in by_count(counts) {
            table.add_row([visible(label).into_owned(), count.to_string()]);
        }
        align(&mut table);
        writeln!(out, "{table}\n")?;
    }
    Ok(())
}

fn calls(
    figures: &Figures,
    by: Option<By>,
    first: &str,
    last: &str,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let total = &figures.total;
    writeln!(out, "{} calls from {first} to {last}", total.calls())?;
    writeln!(
        out,
        "{} forwarded, {} cached, {} refused, {} failed\n",
        total.outcomes.forwarded,
        total.outcomes.cached,
        total.outcomes.refused,
        total.outcomes.failed
    )?;
    for (of, heading, groups) in [
        (By::Caller, "CALLER", &figures.by_caller),
        (By::Operation, "OPERATION", &figures.by_operation),
        (By::Profile, "PROFILE", &figures.by_profile),
        (By::Trail, "TRAIL", &figures.by_trail),
        (By::Day, "DAY", &figures.by_day),
    ] {
        // There may be hundreds of profiles, so they are shown only to who asks.
        let is_wanted = by.map_or(of != By::Profile, |by| by == of);
        if groups.is_empty() || !is_wanted {
            continue;
        }
        writeln!(out, "{}\n", groups_table(heading, groups))?;
    }
    Ok(())
}

fn groups_table(heading: &str, groups: &BTreeMap<String, Group>) -> Table {
    let mut table = plain(&[
        heading, "CALLS", "REFUSED", "ERRORS", "ERR %", "CACHE %", "P50 MS", "P95 MS", "P99 MS",
        "SENT", "RECEIVED",
    ]);
    for (name, group) in groups {
        let percent = |share: Option<f64>| share.map_or("-".to_owned(), |s| format!("{s:.1}"));
        table.add_row([
            visible(name).into_owned(),
            group.calls().to_string(),
            group.outcomes.refused.to_string(),
            group.errors.to_string(),
            percent(group.error_share()),
            percent(group.cache_share()),
            format!("{:.1}", group.percentile_ms(50.0)),
            format!("{:.1}", group.percentile_ms(95.0)),
            format!("{:.1}", group.percentile_ms(99.0)),
            ByteSize(group.request_bytes).to_string(),
            ByteSize(group.response_bytes).to_string(),
        ]);
    }
    align(&mut table);
    table
}

fn plain(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    table
}

fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// The most frequent first.
pub(super) fn by_count(counts: &BTreeMap<String, u64>) -> Vec<(&str, u64)> {
    let mut counts: Vec<_> = counts.iter().map(|(name, count)| (name.as_str(), *count)).collect();
    counts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    counts
}
