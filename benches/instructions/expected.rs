//! What is expected of each kind of call: expected.toml.

use std::{collections::BTreeMap, fmt, fs, path::Path};

use serde::Deserialize;

use super::{
    caller::Call,
    failure::{During as _, Failure},
};

/// The numbers of expected.toml.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expected {
    /// By which part a count may be higher.
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

    /// What was counted, to be expected from now on.
    pub fn of(counted: &[(Call, u64)]) -> Self {
        let instructions = counted.iter().map(|(call, count)| (call.name().to_owned(), *count));
        Self { margin: MARGIN, instructions: instructions.collect() }
    }

    /// Writes the file.
    pub fn write(&self) -> Result<(), Failure> {
        fs::write(Path::new(FILE), self.to_string()).during(format_args!("cannot write {FILE}"))
    }

    /// Compares one count with what is expected of it.
    pub fn compare(&self, call: Call, counted: u64) -> Verdict {
        let expected = self.instructions.get(call.name()).copied();
        Verdict { call, counted, expected, margin: self.margin }
    }
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "# Instructions that one call costs a plain build, as callgrind counts them on x86-64."
        )?;
        writeln!(
            f,
            "# Written by `cargo bench --bench instructions -- --update`; see main.rs beside it."
        )?;
        writeln!(f)?;
        writeln!(f, "margin = {}  # by which part a count may be higher", self.margin)?;
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
    margin: f64,
}

impl Verdict {
    /// Whether a call costs no more than the margin allows.
    pub fn holds(&self) -> bool {
        self.difference().is_some_and(|difference| difference <= self.margin)
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
                    write!(f, ": more than {:+} %", self.margin * 100.0)?;
                }
                Ok(())
            }
            _ => f.write_str("and none are expected yet"),
        }
    }
}

/// Where the numbers are.
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/expected.toml");
/// A released build, with its profile, costs 8 to 14 % less than a plain one; other processors and other
/// versions of the compiler and of libraries differ by less than that.
const MARGIN: f64 = 0.25;
