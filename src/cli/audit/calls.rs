//! Goes through the calls of a trail that fit.

use std::{ops::ControlFlow, path::Path};

use super::{AuditError, filter::CallFilter, progress::ReadProgress};
use crate::audit::{self, CallLine, ReadItem};

/// Hands every call that fits, and its line, to `use_call`, until that breaks.
pub(super) fn for_each(
    directory: &Path,
    filter: &CallFilter,
    mut use_call: impl FnMut(&CallLine<'_>, &[u8]) -> Result<ControlFlow<()>, AuditError>,
) -> Result<(), AuditError> {
    let (since, until) = filter.range();
    let files = audit::files_between(directory, since, until)?;
    let mut progress = ReadProgress::over(&files);
    let filter = filter.prepare(directory)?;
    audit::read_through(&files, |found| match found {
        ReadItem::File(file) => {
            progress.file(file);
            Ok(ControlFlow::Continue(()))
        }
        ReadItem::Line(line) => match filter.matching(line) {
            Some(call) => use_call(&call, line),
            None => Ok(ControlFlow::Continue(())),
        },
    })
}
