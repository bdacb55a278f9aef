//! What was measured: a table for people (Markdown), a file for programs (JSON).

use std::{collections::BTreeMap, fmt::Write as _, fs, iter, path::Path};

use comfy_table::{Table, presets::ASCII_MARKDOWN};
use serde::Serialize;

use super::{
    contestant::Contestant,
    failure::{During as _, Failure},
    machine,
    measure::Measurement,
    workload::Workload,
};

/// Everything that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: String,
    rounds: u32,
    seconds: u64,
    contestants: BTreeMap<String, String>,
    measurements: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    round: u32,
    workload: String,
    contestant: String,
    #[serde(flatten)]
    measured: Measurement,
}

impl Report {
    /// Nothing measured yet.
    pub fn new(rounds: u32, seconds: u64, contestants: &[Contestant]) -> Self {
        Self {
            machine: machine::description(),
            rounds,
            seconds,
            contestants: contestants
                .iter()
                .map(|contestant| (contestant.to_string(), contestant.described().to_owned()))
                .collect(),
            measurements: Vec::new(),
        }
    }

    /// One more measurement.
    pub fn add(
        &mut self,
        round: u32,
        workload: Workload,
        contestant: &Contestant,
        measured: Measurement,
    ) {
        let (workload, contestant) = (workload.to_string(), contestant.to_string());
        self.measurements.push(Row { round, workload, contestant, measured });
    }

    /// Writes the JSON file.
    pub fn write(&self, file: &Path) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self).during("cannot make JSON of the figures")?;
        fs::write(file, text).during(format_args!("cannot write {}", file.display()))
    }

    /// Prints the tables.
    pub fn print(&self) {
        let mut text = format!(
            "{}; {} rounds of {} s; medians [min–max]\n",
            self.machine, self.rounds, self.seconds
        );
        for (name, version) in &self.contestants {
            let _written = writeln!(text, "- {name}: {version}");
        }
        for workload in Workload::ALL {
            let rows: Vec<_> = self
                .measurements
                .iter()
                .filter(|row| row.workload == workload.to_string())
                .collect();
            if !rows.is_empty() {
                let _written =
                    write!(text, "\n#### {workload}\n\n{}\n", self.table(workload, &rows));
            }
        }
        anstream::println!("{text}");
    }

    fn table(&self, workload: Workload, rows: &[&Row]) -> Table {
        let columns = columns(workload);
        let titles = columns.iter().map(|(title, _)| (*title).to_owned());
        let (first, last) = ("contestant".to_owned(), format!("÷ {BASE}, same round"));
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN).set_header(iter::once(first).chain(titles).chain([last]));
        for name in self.contestants.keys() {
            let own: Vec<_> = rows.iter().filter(|row| row.contestant == *name).collect();
            if own.is_empty() {
                continue;
            }
            let figures = columns
                .iter()
                .map(|(_, figure)| spread(own.iter().map(|row| figure(&row.measured)), 1));
            let headline = if workload == Workload::Start { start } else { cpu };
            let ratios = own.iter().filter_map(|row| {
                let base =
                    rows.iter().find(|base| base.contestant == BASE && base.round == row.round)?;
                Some(headline(&row.measured) / headline(&base.measured))
            });
            let ratios = spread(ratios, 2);
            table.add_row(iter::once(name.clone()).chain(figures).chain([ratios]));
        }
        table
    }
}

type Column = (&'static str, fn(&Measurement) -> f64);

fn columns(workload: Workload) -> Vec<Column> {
    #[expect(clippy::cast_precision_loss, reason = "memory is not that large")]
    let memory: [Column; 2] = [
        ("RSS MiB", |measured| measured.rss_kib as f64 / 1024.0),
        ("PSS MiB", |measured| measured.pss_kib as f64 / 1024.0),
    ];
    let foreign: Column = ("foreign %", |measured| measured.foreign * 100.0);
    if workload == Workload::Start {
        return [("exec to first answer, ms", start as fn(&Measurement) -> f64)]
            .into_iter()
            .chain(memory)
            .chain([foreign])
            .collect();
    }
    let mut columns: Vec<Column> = vec![
        ("CPU µs/call", cpu),
        ("user", |measured| measured.user_us),
        ("system", |measured| measured.system_us),
        ("calls/s", |measured| measured.rate),
        ("p50 µs", |measured| measured.p50_us),
        ("p99 µs", |measured| measured.p99_us),
        ("p99.9 µs", |measured| measured.p999_us),
    ];
    if workload == Workload::Stalled {
        columns.push(("p99.9 µs without the stall", |measured| {
            measured.calm_p999_us.unwrap_or_default()
        }));
    }
    #[expect(clippy::cast_precision_loss, reason = "there are not 2^52 calls")]
    columns.push(("errors", |measured| measured.errors as f64));
    columns.push(("upstream/call %", |measured| measured.upstream * 100.0));
    columns.push(("core %", |measured| measured.core * 100.0));
    columns.extend(memory);
    columns.push(foreign);
    columns
}

fn cpu(measured: &Measurement) -> f64 {
    measured.cpu_us
}

fn start(measured: &Measurement) -> f64 {
    measured.start_ms.unwrap_or_default()
}

/// The median, with the least and the most.
fn spread(figures: impl Iterator<Item = f64>, digits: usize) -> String {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    let (Some(least), Some(most)) = (figures.first(), figures.last()) else {
        return "–".to_owned();
    };
    let upper = figures.get(figures.len() / 2).copied().unwrap_or_default();
    let lower = figures.get((figures.len() - 1) / 2).copied().unwrap_or_default();
    let median = f64::midpoint(lower, upper);
    let digits = if median < 100.0 { digits } else { 0 };
    if figures.len() == 1 {
        return format!("{median:.digits$}");
    }
    format!("{median:.digits$} [{least:.digits$}–{most:.digits$}]")
}

/// Whom the others are compared with.
const BASE: &str = "nginx";
