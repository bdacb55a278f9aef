//! Someone who looks on as records are written.

use std::fmt;

use super::Record;

/// Sees every record once, on the trail's own thread, a batch at a time and in the order of the trail.
///
/// It must not wait for anything: the records behind those it is shown wait for it.
pub trait Watch: fmt::Debug + Send + Sync {
    /// These calls have ended.
    fn saw(&self, records: &mut dyn Iterator<Item = &Record>);
}
