//! Who is in the middle of writing a value: files that were changed and not closed since.
//!
//! A file that is truncated and then written holds an empty value, half a value, and the value, for
//! as long as its writer takes. No look at the file tells the second from the third, but the kernel
//! tells a watch when a writer lets go. Without a watch nothing is known here, and the quiet moment
//! of a read is what remains.

use std::{collections::BTreeSet, path::Path, time::Duration};

use tokio::{sync::watch, time};

use super::ValueName;

/// How long a writer is waited for. One that holds a file open for longer has forgotten it, or the
/// file was changed without being opened, which no close will follow.
const PATIENCE: Duration = Duration::from_secs(5);

/// The values that are being written. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct WriteTracker(watch::Sender<BTreeSet<ValueName>>);

impl WriteTracker {
    /// Somebody changed a file, and has it open.
    pub(super) fn begun(&self, path: &Path) {
        let Some(name) = value_of(path) else { return };
        self.0.send_if_modified(|open| open.insert(name));
    }

    /// Nobody writes that file any more.
    pub(super) fn ended(&self, path: &Path) {
        let Some(name) = value_of(path) else { return };
        self.0.send_if_modified(|open| open.remove(&name));
    }

    /// What was known is void.
    pub(super) fn forget(&self) {
        self.0.send_if_modified(|open| !std::mem::take(open).is_empty());
    }

    /// Waits until nobody writes. Who does for too long is waited for no more, and counts again with
    /// the next change.
    pub(super) async fn done(&self) {
        let mut open = self.0.subscribe();
        if time::timeout(PATIENCE, open.wait_for(BTreeSet::is_empty)).await.is_err() {
            tracing::warn!("a credential file is held open by who writes it; it is read as it is");
            self.forget();
        }
    }

    /// Waits until somebody is seen to write.
    #[cfg(test)]
    pub(super) async fn busy(&self) {
        let mut open = self.0.subscribe();
        time::timeout(PATIENCE, open.wait_for(|open| !open.is_empty())).await.unwrap().unwrap();
    }
}

/// Other files than those of the seven may be written as long as anyone likes.
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
            assert!(waited().await >= PATIENCE);
            assert_eq!(waited().await, Duration::ZERO);
        }
        writers.begun(file);
        writers.ended(file);
        assert_eq!(waited().await, Duration::ZERO);
    }
}
