//! Iterates over the calls of a trail that match a filter, and over its markers.

use std::{ops::ControlFlow, path::Path};

use super::{error::AuditError, filter::CallFilter, progress::ProgressLine};
use crate::audit::{self, CallLine, LineHead, ReadItem};

/// A parsed line of the trail.
#[derive(Clone, Copy)]
pub(super) enum TrailLine<'l, 'a> {
    /// A call that matches the filter.
    Call(&'l CallLine<'a>),
    /// A marker in the filter's time range.
    Marker(LineHead<'a>),
}

/// Passes every matching call and its line to `visit`, until that breaks.
pub(super) fn for_each(
    directory: &Path,
    filter: &CallFilter,
    mut visit: impl FnMut(&CallLine<'_>, &[u8]) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    for_each_line(directory, filter, |parsed, line| match parsed {
        TrailLine::Call(call) => visit(call, line),
        TrailLine::Marker(_) => Ok(ControlFlow::Continue(())),
    })
}

/// Passes every matching call and every marker to `visit`, with the line itself, until that breaks.
pub(super) fn for_each_line(
    directory: &Path,
    filter: &CallFilter,
    mut visit: impl FnMut(TrailLine<'_, '_>, &[u8]) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    let (since, until) = filter.range();
    let files = audit::files_between(directory, since, until)?;
    let mut progress = ProgressLine::over(&files);
    let filter = filter.prepare(directory)?;
    audit::read_through(&files, |item| match item {
        ReadItem::File(file) => {
            progress.file(file);
            Ok(ControlFlow::Continue(()))
        }
        ReadItem::Line(line) => match (filter.matching(line), filter.marker(line)) {
            (Some(call), _) => visit(TrailLine::Call(&call), line),
            (None, Some(head)) => visit(TrailLine::Marker(head), line),
            (None, None) => Ok(ControlFlow::Continue(())),
        },
    })
}
