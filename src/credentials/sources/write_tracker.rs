//! Values that are being written: files that were changed and not closed since.
//!
//! A file that is truncated and then written holds an empty value, then half a value, then the whole
//! value. Its content does not tell half a value from a whole one, but the kernel tells a watch when
//! the writer closes the file. Without a watch nothing is known here, and a read relies on the quiet
//! time alone.

use std::{collections::BTreeSet, path::Path, time::Duration};

use tokio::{sync::watch, time};

use crate::credentials::set::ValueName;

/// How long a read waits for a writer. A writer that takes longer forgot to close the file, or changed
/// it without opening it, so that no close follows.
const WRITER_TIMEOUT: Duration = Duration::from_secs(5);

/// The values that are being written. Clones share it.
#[derive(Clone, Debug, Default)]
pub(in crate::credentials) struct WriteTracker(watch::Sender<BTreeSet<ValueName>>);

impl WriteTracker {
    /// A writer changed a file, and has it open.
    pub(super) fn begun(&self, path: &Path) {
        let Some(name) = value_of(path) else { return };
        self.0.send_if_modified(|open| open.insert(name));
    }

    /// The writer of a file is done.
    pub(super) fn ended(&self, path: &Path) {
        let Some(name) = value_of(path) else { return };
        self.0.send_if_modified(|open| open.remove(&name));
    }

    /// Forgets all writers.
    pub(super) fn forget(&self) {
        self.0.send_if_modified(|open| !std::mem::take(open).is_empty());
    }

    /// Waits until nobody writes. A writer that takes too long is forgotten until its next change.
    pub(super) async fn done(&self) {
        let mut open = self.0.subscribe();
        if time::timeout(WRITER_TIMEOUT, open.wait_for(BTreeSet::is_empty)).await.is_err() {
            tracing::warn!("a credential file is held open by its writer; it is read as it is");
            self.forget();
        }
    }

    /// Waits until a writer is noticed.
    #[cfg(test)]
    pub(in crate::credentials) async fn busy(&self) {
        let mut open = self.0.subscribe();
        time::timeout(WRITER_TIMEOUT, open.wait_for(|open| !open.is_empty()))
            .await
            .unwrap()
            .unwrap();
    }
}

/// The value in a file; the writers of other files do not matter.
fn value_of(path: &Path) -> Option<ValueName> {
    path.file_name().and_then(|name| name.to_str()).and_then(ValueName::from_key)
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_writer_that_never_lets_go_is_waited_for_once() {
        let (writers, file) = (WriteTracker::default(), Path::new("/secrets/client_secret"));
        let waited = async || {
            let before = Instant::now();
            writers.done().await;
            before.elapsed()
        };
        assert_eq!(waited().await, Duration::ZERO);
        for _ in 0..2 {
            writers.begun(file);
            assert!(waited().await >= WRITER_TIMEOUT);
            assert_eq!(waited().await, Duration::ZERO);
        }
        writers.begun(file);
        writers.ended(file);
        assert_eq!(waited().await, Duration::ZERO);
    }
}
