//! Reads the trails for a filter: the calls that match it, the markers of its time, and what the trails cover.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Write},
    ops::ControlFlow,
    path::PathBuf,
};

use super::{
    AuditExit,
    coverage::Period,
    error::AuditError,
    filter::{CallFilter, ObjectMatch, TimeRange, operation_matches},
    location::Trails,
    progress::ProgressLine,
};
use crate::{
    audit::{self, CallLine, Coverage, LineHead, ReadItem},
    cli::time::Zone,
    config::suggestion,
    domain::visible,
};

/// A line that was found.
#[derive(Clone, Copy)]
pub(in crate::cli) struct FoundLine<'l> {
    /// The name of the trail, if there are several.
    pub(super) trail: Option<&'l str>,
    /// The line itself.
    pub(super) line: &'l [u8],
    pub(in crate::cli) content: FoundContent<'l>,
}

/// What a found line is.
#[derive(Clone, Copy)]
pub(in crate::cli) enum FoundContent<'l> {
    /// A call that matches the filter.
    Call(&'l CallLine<'l>),
    /// A marker in the filter's time range.
    Marker(LineHead<'l>),
}

/// What was found, besides the lines themselves.
#[derive(Debug)]
pub(in crate::cli) struct Findings {
    /// What each trail covers.
    pub(super) coverages: Vec<Coverage>,
    range: TimeRange,
    zone: Zone,
    /// The calls in the time range.
    calls: u64,
    /// The calls that match.
    matching: u64,
    /// The markers that match, if they were asked for in place of calls.
    pub(super) markers: Option<u64>,
    /// The calls that may have had the object in a list, if an object is asked for.
    lists: Option<u64>,
    /// The calls whose hashed objects cannot be compared with the one that is asked for.
    hidden: u64,
    /// The reading ended before the trail did, because enough was found.
    is_partial: bool,
    /// A name that is asked for and that is nowhere.
    unknown: Option<AuditError>,
}

/// Passes every matching call and every marker to `visit`, until that breaks.
pub(in crate::cli) fn search(
    trails: &Trails,
    filter: &CallFilter,
    mut visit: impl FnMut(FoundLine<'_>) -> Result<ControlFlow<()>, AuditError>,
) -> Result<Findings, AuditError> {
    let range = filter.asked_range()?;
    let mut coverages = Vec::new();
    let mut files = Vec::new();
    let mut prepared = Vec::new();
    for directory in trails.directories()? {
        coverages.push(Coverage::of(directory)?);
        files.push(audit::files_between(directory, range.since(), range.until())?);
        prepared.push(filter.prepare(&range, directory)?);
    }
    let names = names(&coverages);
    let mut lists = ListCalls::default();
    let (mut calls, mut matching, mut hidden, mut is_partial) = (0, 0, 0, false);
    let mut progress = ProgressLine::over(files.iter().flatten());
    let sources: Vec<_> = files.iter().map(Vec::as_slice).collect();
    audit::read_merged(&sources, |trail, item| {
        let go_on = Ok(ControlFlow::Continue(()));
        let (Some(coverage), Some(prepared)) = (coverages.get_mut(trail), prepared.get(trail))
        else {
            return go_on;
        };
        let line = match item {
            ReadItem::File(file) => {
                progress.file(file);
                coverage.file(file);
                return go_on;
            }
            ReadItem::Line(line) => line,
        };
        let Some(head) = audit::line_head(line) else { return go_on };
        coverage.line(&head, line);
        if !range.covers(&head) {
            return go_on;
        }
        let trail = names.get(trail).map(String::as_str);
        let step = if head.kind == "call" {
            calls += 1;
            match prepared.call(&head, line) {
                Some((call, ObjectMatch::Same)) => {
                    matching += 1;
                    lists.matched(&call);
                    visit(FoundLine { trail, line, content: FoundContent::Call(&call) })?
                }
                Some((call, object)) => {
                    hidden += u64::from(object == ObjectMatch::Hidden);
                    lists.other(&call, trails);
                    ControlFlow::Continue(())
                }
                None => ControlFlow::Continue(()),
            }
        } else {
            visit(FoundLine { trail, line, content: FoundContent::Marker(head) })?
        };
        is_partial = step.is_break();
        Ok::<_, AuditError>(step)
    })?;
    drop(progress);
    let unknown = if matching == 0 { unknown_name(trails, filter)? } else { None };
    let lists = filter.object().map(|_| lists.count());
    let zone = filter.zone().clone();
    drop(prepared);
    Ok(Findings {
        coverages,
        range,
        zone,
        calls,
        matching,
        markers: None,
        lists,
        hidden,
        is_partial,
        unknown,
    })
}

impl Findings {
    /// What the trails say of the period that is asked for.
    pub(super) fn period(&self) -> Period<'_> {
        Period { coverages: &self.coverages, range: &self.range, zone: &self.zone }
    }

    /// How many calls match, in words.
    pub(super) fn counted(&self) -> String {
        let Self { calls, matching, markers, .. } = self;
        let (count, what) = match markers {
            Some(markers) => (markers, "markers"),
            None => (matching, "calls"),
        };
        if self.is_partial {
            format!("{count} {what} fit so far; there may be more")
        } else if markers.is_some() {
            format!("{count} markers in the period fit")
        } else {
            format!("{count} of {calls} calls in the period fit")
        }
    }

    /// How many other calls may have had the object, in words.
    pub(super) fn listed(&self) -> Option<String> {
        let count = self.lists.filter(|count| *count > 0)?;
        let calls = if count == 1 { "call" } else { "calls" };
        Some(format!("and {count} list {calls} that may have held it"))
    }

    /// Says on `notes` what was counted and what the trails cover. Fails if a name is nowhere.
    pub(in crate::cli) fn conclude(self, notes: &mut dyn Write) -> Result<AuditExit, AuditError> {
        self.tell(notes).map_err(AuditError::Output)?;
        let is_covered = self.hidden == 0 && self.period().is_covered();
        match self.unknown {
            Some(error) => Err(error),
            None if is_covered => Ok(AuditExit::Success),
            None => Ok(AuditExit::NotCovered),
        }
    }

    fn tell(&self, notes: &mut dyn Write) -> io::Result<()> {
        writeln!(notes, "{}", self.counted())?;
        if let Some(listed) = self.listed() {
            writeln!(notes, "{listed}")?;
        }
        if self.hidden > 0 {
            writeln!(
                notes,
                "{} calls have hashed objects, and their key is not in the trail's directory: give it with \
                 --object-key",
                self.hidden
            )?;
        }
        for sentence in self.period().sentences() {
            writeln!(notes, "{}", visible(&sentence))?;
        }
        Ok(())
    }
}

/// The names of the trails, if there are several.
pub(super) fn names(coverages: &[Coverage]) -> Vec<String> {
    if coverages.len() < 2 {
        return Vec::new();
    }
    let names: Vec<_> = coverages.iter().map(Coverage::name).collect();
    let is_alone = |name: &String| names.iter().filter(|other| *other == name).count() == 1;
    let directories = coverages.iter().map(|coverage| coverage.directory.display().to_string());
    let named = names.iter().zip(directories);
    named.map(|(name, directory)| if is_alone(name) { name.clone() } else { directory }).collect()
}

/// The calls whose answers are lists, by entity, and whose records do not say which objects they had.
#[derive(Debug, Default)]
struct ListCalls {
    by_entity: BTreeMap<String, u64>,
    /// The entities of the calls on the object.
    of_object: BTreeSet<String>,
}

impl ListCalls {
    /// A call on the object.
    fn matched(&mut self, call: &CallLine<'_>) {
        if let Some((entity, _)) = call.operation.as_deref().and_then(|name| name.split_once('.'))
            && !self.of_object.contains(entity)
        {
            self.of_object.insert(entity.to_owned());
        }
    }

    /// A call that meets all other conditions.
    fn other(&mut self, call: &CallLine<'_>, trails: &Trails) {
        let Some(name) = call.operation.as_deref() else { return };
        let Some((entity, action)) = name.split_once('.') else { return };
        let is_list = match trails.operations.iter().find(|operation| operation.name() == name) {
            Some(operation) => operation.is_list(),
            None => action == "list",
        };
        let has_answer = matches!(&*call.outcome, "forwarded" | "cached")
            && call.status.is_some_and(|status| (200..300).contains(&status));
        let is_known = call.list_ids_complete == Some(true);
        if is_list && has_answer && !is_known && call.method == "GET" {
            *self.by_entity.entry(entity.to_owned()).or_default() += 1;
        }
    }

    /// Those of the object's own entities; all of them if no call says what the object is.
    fn count(&self) -> u64 {
        let is_wanted =
            |entity: &String| self.of_object.is_empty() || self.of_object.contains(entity);
        self.by_entity.iter().filter(|(entity, _)| is_wanted(entity)).map(|(_, count)| count).sum()
    }
}

/// An error if a name of the filter is neither in the configuration nor anywhere on the trails.
pub(super) fn unknown_name(
    trails: &Trails,
    filter: &CallFilter,
) -> Result<Option<AuditError>, AuditError> {
    let caller = filter.caller().filter(|name| !trails.callers.iter().any(|known| known == name));
    let operation = filter
        .operation()
        .filter(|pattern| !trails.operations.iter().any(|known| pattern.matches(known)));
    if caller.is_none() && operation.is_none() {
        return Ok(None);
    }
    let recorded = RecordedNames::of(trails.directories()?)?;
    if let Some(caller) = caller.filter(|name| !recorded.callers.contains(*name)) {
        let known: BTreeSet<_> = recorded.callers.iter().chain(&trails.callers).collect();
        let known: Vec<_> = known.into_iter().map(String::as_str).collect();
        let hint = suggestion(caller, &known, "the callers are");
        return Ok(Some(AuditError::UnknownCaller { name: caller.to_owned(), hint }));
    }
    let is_recorded =
        |pattern| recorded.operations.iter().any(|name| operation_matches(pattern, name));
    if let Some(pattern) = operation.filter(|pattern| !is_recorded(*pattern)) {
        let known = trails.operations.iter().map(crate::domain::Operation::name);
        let known: Vec<_> = known.chain(recorded.operations.iter().map(String::as_str)).collect();
        let name = pattern.to_string();
        let hint = suggestion(&name, &known, "the operations are");
        return Ok(Some(AuditError::UnknownOperation { name, hint }));
    }
    Ok(None)
}

/// The names in all records of the trails.
#[derive(Debug, Default)]
struct RecordedNames {
    callers: BTreeSet<String>,
    operations: BTreeSet<String>,
}

impl RecordedNames {
    fn of(directories: &[PathBuf]) -> Result<Self, AuditError> {
        let mut names = Self::default();
        for directory in directories {
            audit::read_through(&audit::files(directory)?, |item| {
                if let ReadItem::Line(line) = item
                    && let Some(call) = audit::call_line(line)
                {
                    for (name, to) in
                        [(call.caller, &mut names.callers), (call.operation, &mut names.operations)]
                    {
                        if let Some(name) = name.filter(|name| !to.contains(&**name)) {
                            to.insert(name.into_owned());
                        }
                    }
                }
                Ok::<_, AuditError>(ControlFlow::Continue(()))
            })?;
        }
        Ok(names)
    }
}
