//! The checks' common ground: the configuration, and how to report a problem.

use std::collections::BTreeSet;

use crate::{
    config::{
        key::KeyPath,
        problem::{Problem, suggestion},
        read::Locations,
        types::Config,
    },
    domain::{ByteSize, Span},
};

pub(super) struct Checker<'a> {
    pub(super) config: &'a Config,
    pub(super) locations: &'a Locations,
    /// Keys with a problem of their structure. Their values are stand-ins or defaults.
    reported: BTreeSet<KeyPath>,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<Problem>,
}

impl<'a> Checker<'a> {
    pub(super) fn new(
        config: &'a Config,
        locations: &'a Locations,
        problems: &'a mut Vec<Problem>,
        warnings: &'a mut Vec<Problem>,
    ) -> Self {
        let keys = problems.iter().map(Problem::key).filter(|key| **key != KeyPath::root());
        Self { config, locations, reported: keys.cloned().collect(), problems, warnings }
    }

    /// Reports a problem, unless the key or a table above it has been reported already.
    pub(super) fn problem(
        &mut self,
        key: &KeyPath,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        if self.is_usable(key) {
            self.problems.push(self.at(key, message).hint(hint));
        }
    }

    pub(super) fn warning(
        &mut self,
        key: &KeyPath,
        message: impl Into<String>,
        hint: impl Into<String>,
    ) {
        self.warnings.push(self.at(key, message).hint(hint));
    }

    /// Whether the value of a key is what the configuration says, and not a stand-in.
    pub(super) fn is_usable(&self, key: &KeyPath) -> bool {
        !self.reported.iter().any(|reported| key.is_within(reported))
    }

    fn at(&self, key: &KeyPath, message: impl Into<String>) -> Problem {
        Problem::new(self.locations.of(key), key.clone(), message)
    }

    /// Reports a name that leads to no entry of a table.
    pub(super) fn dangling(
        &mut self,
        key: &KeyPath,
        name: &str,
        known: &[&str],
        what: &str,
        table: &str,
    ) {
        let hint = suggestion(name, known, "there are")
            .unwrap_or_else(|| format!("add a [{table}.{name}] table, or name one that is there"));
        self.problem(key, format!("no {what} is named `{name}`"), hint);
    }

    pub(super) fn above_zero(&mut self, key: &KeyPath, span: Span) {
        if span.is_zero() {
            self.problem(key, "must be longer than zero", "write a duration like \"30s\"");
        }
    }

    /// `example` is a size for the hint.
    pub(super) fn more_than_none(&mut self, key: &KeyPath, size: ByteSize, example: &str) {
        if size == ByteSize(0) {
            let hint = format!("write a size like \"{example}\"");
            self.problem(key, "must be more than zero", hint);
        }
    }
}
