//! Observers of written records, such as the status page's recent activity.

use std::fmt;

use super::record::Record;

/// Sees every record once, in batches, on the writer thread and in the order of the trail.
///
/// It must not block: the records behind a batch wait for it.
pub trait RecordObserver: fmt::Debug + Send + Sync {
    /// These calls have ended.
    fn observe(&self, records: &mut dyn Iterator<Item = &Record>);
}
