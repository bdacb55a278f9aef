//! What a scenario found: figures, and promises that held or broke.

use std::{fmt::Display, time::Instant};

use comfy_table::{ContentArrangement, Table, presets::UTF8_FULL_CONDENSED};
use hdrhistogram::Histogram;
use serde_json::{Map, Value, json};

/// A scenario's outcome.
#[derive(Debug)]
pub struct Report {
    scenario: &'static str,
    begun: Instant,
    figures: Vec<(String, Value)>,
    promises: Vec<Promise>,
}

#[derive(Debug)]
struct Promise {
    text: String,
    held: bool,
    measured: String,
}

impl Report {
    pub fn new(scenario: &'static str) -> Self {
        Self { scenario, begun: Instant::now(), figures: Vec::new(), promises: Vec::new() }
    }

    /// A figure that nobody promised.
    pub fn figure(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.figures.push((name.into(), value.into()));
    }

    /// The percentiles of latencies in microseconds.
    pub fn latencies(&mut self, name: &str, latencies: &Histogram<u64>) {
        self.figure(format!("{name} p50 (µs)"), latencies.value_at_quantile(0.5));
        self.figure(format!("{name} p99 (µs)"), latencies.value_at_quantile(0.99));
        self.figure(format!("{name} p99.9 (µs)"), latencies.value_at_quantile(0.999));
        self.figure(format!("{name} max (µs)"), latencies.max());
    }

    /// Something that must be so, and what was measured.
    pub fn promise(&mut self, text: impl Into<String>, held: bool, measured: impl Display) {
        self.promises.push(Promise { text: text.into(), held, measured: measured.to_string() });
    }

    /// Whether every promise held.
    pub fn holds(&self) -> bool {
        self.promises.iter().all(|promise| promise.held)
    }

    /// The figures as JSON.
    pub fn json(&self) -> String {
        let figures: Map<_, _> = self.figures.iter().cloned().collect();
        let promises = self.promises.iter().map(|promise| {
            json!({ "promise": promise.text, "held": promise.held, "measured": promise.measured })
        });
        let report = json!({
            "scenario": self.scenario,
            "seconds": self.begun.elapsed().as_secs(),
            "holds": self.holds(),
            "figures": figures,
            "promises": promises.collect::<Vec<_>>(),
        });
        report.to_string()
    }

    /// A table for people, then the JSON in one line.
    pub fn print(&self) {
        let mut table = Table::new();
        table
            .load_style(UTF8_FULL_CONDENSED)
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(118)
            .set_header([self.scenario, ""]);
        for (name, value) in &self.figures {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            table.add_row([name.clone(), value]);
        }
        for promise in &self.promises {
            let verdict = if promise.held { "held" } else { "BROKEN" };
            table.add_row([promise.text.clone(), format!("{verdict}: {}", promise.measured)]);
        }
        println!("{table}");
        println!("{}", self.json());
    }
}

/// Says on standard error how far a scenario is.
pub fn progress(text: impl Display) {
    eprintln!("endurance: {text}");
}

/// An empty histogram of microseconds, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).unwrap()
}

/// The one in the middle; 0 of none.
pub fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or_default()
}
