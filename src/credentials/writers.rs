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
pub(super) struct Writers(watch::Sender<BTreeSet<ValueName>>);

impl Writers {
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

    /// Waits until nobody writes, or does for too long.
    pub(super) async fn done(&self) {
        self.until(BTreeSet::is_empty).await;
    }

    async fn until(&self, is_so: impl FnMut(&BTreeSet<ValueName>) -> bool) {
        let mut open = self.0.subscribe();
        let waited = time::timeout(PATIENCE, open.wait_for(is_so)).await;
        if waited.is_err() {
            tracing::warn!("a credential file is held open by who writes it; it is read as it is");
        }
    }

    /// Waits until somebody is seen to write.
    #[cfg(test)]
    pub(super) async fn busy(&self) {
        self.until(|open| !open.is_empty()).await;
    }
}

/// Other files than those of the seven may be written as long as anyone likes.
fn value_of(path: &Path) -> Option<ValueName> {
    path.file_name().and_then(|name| name.to_str()).and_then(ValueName::from_key)
}
