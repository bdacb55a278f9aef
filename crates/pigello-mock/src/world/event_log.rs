//! The event log of one activation: a row for each change of an object.
//!
//! The reference names the fields. How `event_identifier` begins and that a row has an `id` are
//! guesses.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    api::{Entity, entity_named},
    clock::Now,
    credentials::derived_id,
    dice::{Chance, Dice},
    objects::{INTEGRATION_USER_AGENT, ListQuery, ORGANIZATION_USER, Object},
};

use super::{EventKind, Writer};

/// How the event log misbehaves. The default: not at all.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EventLogFaults {
    /// How it answers.
    pub answer: LogAnswer,
    /// Decides which rows are late and doubled; with the same seed it is the same ones each time.
    pub seed: u64,
    /// The share of rows from now on, from 0 to 1, that are shown only when they are
    /// [`late_by`](Self::late_by) old. `created_at` does not tell.
    pub late: f64,
    /// How late those are.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub late_by: Duration,
    /// The share of rows from now on, from 0 to 1, that are shown twice.
    pub double: f64,
    /// The step of Pigello's clock in `created_at`, for rows from now on: within a step they tie.
    /// Zero for microseconds.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub tick: Duration,
    /// The most rows of one answer, whatever `_page_size` asks for.
    pub page_size: Option<usize>,
}

/// How the event log answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogAnswer {
    /// With its rows, like other lists.
    #[default]
    Rows,
    /// With 403.
    Forbidden,
    /// With 404.
    Missing,
    /// With 500.
    Failing,
    /// With 200 and the beginning of a JSON text.
    Garbage,
    /// With its rows in an object, as Django REST framework pages lists.
    Envelope,
    /// With rows whose fields have other names.
    Renamed,
}

#[derive(Debug)]
pub(super) struct EventLog {
    pub(super) faults: EventLogFaults,
    rows: VecDeque<Row>,
    appended: u64,
    /// The upper half of the identifiers of rows.
    prefix: u64,
}

#[derive(Debug)]
struct Row {
    change: Change,
    event: Object,
}

/// A write, and from when on it can be seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its number among the writes of the activation, from 1.
    pub number: u64,
    /// The `id` of the object.
    pub id: String,
    /// When it was made.
    pub made: Instant,
    /// When reads show it, unless the replica's lag changes meanwhile.
    pub readable: Instant,
    /// When the event log shows it.
    pub logged: Instant,
    /// Whether the event log shows it twice.
    pub doubled: bool,
    /// The time that the event log says.
    pub created_at: Timestamp,
}

impl EventLog {
    pub(super) fn new(activation: &str) -> Self {
        Self {
            faults: EventLogFaults::default(),
            rows: VecDeque::new(),
            appended: 0,
            prefix: derived_id(activation, "events").as_u64_pair().0,
        }
    }

    /// Appends a row for a write that reads show after `lag`, and returns it.
    pub(super) fn append(
        &mut self,
        now: Now,
        lag: Duration,
        writer: Writer,
        entity: &str,
        id: &str,
        kind: EventKind,
    ) -> Object {
        self.appended += 1;
        let number = self.appended;
        let content_type = entity_named(entity).map(Entity::content_type).unwrap_or_default();
        let what = match kind {
            EventKind::Created => "instancecreated",
            EventKind::Updated => "instanceupdated",
            EventKind::Deleted => "instancedeleted",
        };
        let by = |other: Writer, id: &str| {
            if writer == other { json!({ "id": id }) } else { Value::Null }
        };
        let row_id = Uuid::from_u64_pair(self.prefix, 0x8000_0000_0000_0000 | number);
        let created_at = truncated(now.shown, self.faults.tick);
        let event: Object = [
            ("id", json!(row_id.to_string())),
            ("object_id", json!(id)),
            ("content_type", json!(content_type)),
            ("event_identifier", json!(format!("{content_type}.{what}"))),
            ("created_at", json!(created_at.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())),
            ("event_context", json!({})),
            ("triggered_by_tenant", Value::Null),
            ("triggered_by_sub_tenant", Value::Null),
            ("triggered_by_organization_user", by(Writer::OrganizationUser, ORGANIZATION_USER)),
            ("triggered_by_integration", by(Writer::Integration, INTEGRATION_USER_AGENT)),
        ]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value))
        .collect();
        let dice = Dice::new(self.faults.seed, number);
        let is_late = dice.falls(Chance::LateRow, self.faults.late);
        let change = Change {
            number,
            id: id.to_owned(),
            made: now.instant,
            readable: now.instant + lag,
            logged: now.instant + if is_late { self.faults.late_by } else { Duration::ZERO },
            doubled: dice.falls(Chance::DoubleRow, self.faults.double),
            created_at,
        };
        self.rows.push_back(Row { change, event: event.clone() });
        if self.rows.len() > KEPT_ROWS {
            self.rows.pop_front();
        }
        event
    }

    /// The rows that a query selects and that are shown at this time.
    pub(super) fn select(&self, mut query: ListQuery, now: Instant) -> Vec<Value> {
        if let Some(most) = self.faults.page_size {
            query.limit_pages(most);
        }
        let shown = self.rows.iter().filter(|row| row.change.logged <= now);
        let times = |row: &Row| 1 + usize::from(row.change.doubled);
        query.select(shown.flat_map(|row| std::iter::repeat_n(&row.event, times(row))))
    }

    /// The writes after that number.
    pub(super) fn changes(&self, after: u64) -> Vec<Change> {
        let changes = self.rows.iter().map(|row| &row.change);
        changes.filter(|change| change.number > after).cloned().collect()
    }
}

/// The moment at the start of its step.
fn truncated(moment: Timestamp, step: Duration) -> Timestamp {
    let step = i128::try_from(step.as_nanos()).unwrap_or(i128::MAX);
    let nanos = moment.as_nanosecond();
    let start = nanos.checked_rem_euclid(step).map_or(nanos, |since| nanos - since);
    Timestamp::from_nanosecond(start).unwrap_or(moment)
}

/// How many rows are kept: a mock that runs for weeks must not grow.
pub(super) const KEPT_ROWS: usize = 10_000;
