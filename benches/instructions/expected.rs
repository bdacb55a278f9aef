//! What is expected of each kind of call: expected.toml.

use std::{collections::BTreeMap, fmt, fs, ops::RangeInclusive, path::Path};

use serde::Deserialize;

use super::{
    caller::Call,
    failure::{During as _, Failure},
};

/// The numbers of expected.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// The version of Rust that compiled what was counted.
    rust: String,
    /// By which part a count may differ.
    margin: f64,
    /// Instructions of one call, by its kind.
    instructions: BTreeMap<String, u64>,
}

impl Expected {
    /// Reads the file.
    pub fn read() -> Result<Self, Failure> {
        let text = fs::read_to_string(FILE).during(format_args!("cannot read {FILE}"))?;
        toml_edit::de::from_str(&text).during(format_args!("cannot understand {FILE}"))
    }

    /// What was counted of what that version of Rust compiled, to be expected from now on.
    pub fn of(rust: String, counted: &[(Call, u64)]) -> Self {
        let instructions = counted.iter().map(|(call, count)| (call.name().to_owned(), *count));
        Self { rust, margin: MARGIN, instructions: instructions.collect() }
    }

    /// The version of Rust whose program this is about.
    pub fn rust(&self) -> &str {
        &self.rust
    }

    /// Writes the file.
    pub fn write(&self) -> Result<(), Failure> {
        fs::write(Path::new(FILE), self.to_string()).during(format_args!("cannot write {FILE}"))
    }

    /// Compares one count with what is expected of what that version of Rust compiles. Another one
    /// than the last does not find the profile, and calls cost more.
    pub fn compare(&self, rust: &str, call: Call, counted: u64) -> Verdict {
        let expected = self.instructions.get(call.name()).copied();
        let more = if rust == self.rust { self.margin } else { MARGIN_WITHOUT_PROFILE };
        Verdict { call, counted, expected, margin: -self.margin..=more }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions that one call costs the gateway, as callgrind counts them on x86-64."
        )?;
        writeln!(
            f,
            "# Written by `cargo bench --bench instructions -- --update`; see main.rs beside it."
        )?;
        writeln!(f)?;
        writeln!(f, "rust = \"{}\"  # which compiled the program", self.rust)?;
        writeln!(f, "margin = {}  # by which part a count may differ, up or down", self.margin)?;
        writeln!(f)?;
        writeln!(f, "[instructions]")?;
        for (call, instructions) in &self.instructions {
            writeln!(f, "{call} = {instructions}")?;
        }
        Ok(())
    }
}

/// A count beside what was expected.
#[derive(Debug)]
pub struct Verdict {
    call: Call,
    counted: u64,
    expected: Option<u64>,
    margin: RangeInclusive<f64>,
}

impl Verdict {
    /// Whether the two are the same within the margin. Cheaper is not the same: the number has to
    /// follow, or the next dearer change goes unnoticed.
    pub fn holds(&self) -> bool {
        self.difference().is_some_and(|difference| self.margin.contains(&difference))
    }

    /// By which part more was counted than expected.
    fn difference(&self) -> Option<f64> {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        self.expected.map(|expected| self.counted as f64 / expected as f64 - 1.0)
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} instructions, ", self.call, self.counted)?;
        match (self.expected, self.difference()) {
            (Some(expected), Some(difference)) => {
                write!(f, "{:+.1} % of the expected {expected}", difference * 100.0)?;
                if !self.holds() {
                    let (less, more) = (self.margin.start() * 100.0, self.margin.end() * 100.0);
                    write!(f, ": not within {less:+} to {more:+} %")?;
                }
                Ok(())
            }
            _ => f.write_str("and none are expected yet"),
        }
    }
}

/// Where the numbers are.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/expected.toml");
/// What differs from one processor to another (the C library picks its copying loops by it) and with
/// how many records the trail finds at a time.
const MARGIN: f64 = 0.08;
/// By which part more may be counted where the profile of the program is not found: each kind of call
/// costs 8 to 14 % more without it.
const MARGIN_WITHOUT_PROFILE: f64 = 0.25;
