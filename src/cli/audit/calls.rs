//! Iterates over the calls of a trail that match a filter.

use std::{ops::ControlFlow, path::Path};

use super::{error::AuditError, filter::CallFilter, progress::ProgressLine};
use crate::audit::{self, CallLine, ReadItem};

/// Passes every matching call and its line to `visit`, until that breaks.
pub(super) fn for_each(
    directory: &Path,
    filter: &CallFilter,
    mut visit: impl FnMut(&CallLine<'_>, &[u8]) -> Result<ControlFlow<()>, AuditError>,
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
        ReadItem::Line(line) => match filter.matching(line) {
            Some(call) => visit(&call, line),
            None => Ok(ControlFlow::Continue(())),
        },
    })
}
