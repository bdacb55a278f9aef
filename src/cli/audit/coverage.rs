//! What trails cover of a period, in sentences: for standard error, the report and its page.

use serde_json::{Value, json};

use super::filter::TimeRange;
use crate::{
    audit::{Coverage, Missing, Shortfall},
    cli::time::Zone,
};

/// The period that is asked for, and the trails that are to answer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period<'a> {
    pub(super) coverages: &'a [Coverage],
    pub(super) range: &'a TimeRange,
    pub(super) zone: &'a Zone,
}

impl Period<'_> {
    /// Whether every trail covers it.
    pub(super) fn is_covered(&self) -> bool {
        self.coverages.iter().all(|coverage| self.shortfalls(coverage).is_empty())
    }

    /// The period itself: `2026-03-01 00:00:00 UTC to 2026-04-01 00:00:00 UTC`.
    pub(super) fn asked(&self) -> String {
        let show = |at| self.zone.show_seconds(at);
        match (self.range.since().map(show), self.range.until().map(show)) {
            (Some(since), Some(until)) => format!("{since} to {until}"),
            (Some(since), None) => format!("since {since}"),
            (None, Some(until)) => format!("until {until}"),
            (None, None) => "all that there is".to_owned(),
        }
    }

    /// What each trail covers, what is missing from it, and why that is not enough.
    pub(super) fn sentences(&self) -> Vec<String> {
        let mut sentences = Vec::new();
        for coverage in self.coverages {
            self.tell(coverage, &mut sentences);
        }
        sentences
    }

    /// For programs.
    pub(super) fn as_json(&self) -> Value {
        json!({
            "since": self.range.since(),
            "until": self.range.until(),
            "covered": self.is_covered(),
            "trails": self.coverages.iter().map(|coverage| json!({
                "coverage": coverage,
                "shortfalls": self.shortfalls(coverage),
            })).collect::<Vec<_>>(),
        })
    }

    fn shortfalls(&self, coverage: &Coverage) -> Vec<Shortfall> {
        coverage.shortfalls(self.range.since(), self.range.until())
    }

    fn tell(&self, coverage: &Coverage, sentences: &mut Vec<String>) {
        let Self { zone, range, .. } = self;
        let trail = coverage.directory.display();
        match (coverage.first, coverage.last) {
            (Some(first), Some(last)) => sentences.push(format!(
                "the trail {trail} has records {} to {}, from {} to {}",
                first.seq,
                last.seq,
                zone.show_seconds(first.time),
                zone.show_seconds(last.time),
            )),
            _ => sentences.push(format!("the trail {trail} has no records")),
        }
        for missing in &coverage.missing {
            let is_beginning = missing.after.is_none();
            if is_beginning || missing.is_in(range.since(), range.until()) {
                sentences.push(self.missing(missing));
            }
        }
        for file in &coverage.clock_set_back {
            sentences.push(format!(
                "the clock was set back before {file} began: times are not in the order of the records"
            ));
        }
        for shortfall in self.shortfalls(coverage) {
            sentences.push(match shortfall {
                Shortfall::Empty => "NOT COVERED: there are no records".to_owned(),
                Shortfall::Before(begins) => format!(
                    "NOT COVERED: {} is asked for, and the trail begins at {}",
                    self.asked(),
                    zone.show_seconds(begins)
                ),
                Shortfall::Missing(why) => {
                    format!("NOT COVERED: records of the period are missing: {why}")
                }
            });
        }
    }

    /// `records 1 to 741 are missing: deleted by the retention, the last on 2026-11-28 00:00:07 UTC`.
    fn missing(&self, missing: &Missing) -> String {
        let Missing { cause, records, count, after, told, .. } = missing;
        let what = match (records, count) {
            (Some((from, to)), _) if from == to => format!("record {from} is missing"),
            (Some((from, to)), _) => format!("records {from} to {to} are missing"),
            (None, Some(1)) => "1 record is missing".to_owned(),
            (None, Some(count)) => format!("{count} records are missing"),
            (None, None) => "records are missing, it is not known how many".to_owned(),
        };
        let when = match (told, after) {
            (Some(told), None) => format!(", the last on {}", self.zone.show_seconds(*told)),
            (Some(told), Some(_)) => {
                format!(", as record of {} says", self.zone.show_seconds(*told))
            }
            (None, _) => String::new(),
        };
        format!("{what}: {}{when}", cause.label())
    }
}
