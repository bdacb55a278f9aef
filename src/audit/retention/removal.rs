//! Deletes files of the trail, each with one `retention` line.
//!
//! Usually the line is in stable storage before the file goes. On a full disk the line has no room until the
//! file has gone. Then the file is renamed first, so that its name tells what the line will tell, and emptied;
//! the name goes when the line is in stable storage, if need be after a restart. So there are as many lines as
//! deletions, and none of either without the other.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::due::EndedSegment;
use crate::{
    audit::{
        emptied::emptied_path,
        encode::{Notice, Removal},
        queue::{LineNumber, RecordQueue},
    },
    process::files::own,
};

/// The deletions, with those whose line is on its way.
#[derive(Debug)]
pub(in crate::audit) struct Removals {
    queue: Arc<RecordQueue>,
    pending: Vec<PendingRemoval>,
}

/// A file that goes when its line is in stable storage.
#[derive(Clone, Debug)]
pub(in crate::audit) struct PendingRemoval {
    pub(in crate::audit) path: PathBuf,
    pub(in crate::audit) line: LineNumber,
}

impl Removals {
    pub(super) fn new(queue: Arc<RecordQueue>, pending: Vec<PendingRemoval>) -> Self {
        Self { queue, pending }
    }

    /// Deletes a file. `false` if its line is not in stable storage yet; the file takes no more room then.
    pub(super) fn remove(&mut self, file: &EndedSegment) -> io::Result<bool> {
        let path = &file.segment.path;
        let removal = file.removal()?;
        if !self.pending.iter().any(|pending| pending.path == *path) {
            let (line, synced) = self.queue.announce(Notice::Removal(removal));
            self.pending.push(PendingRemoval { path: path.clone(), line });
            // Only the number of the line tells for certain; this saves asking for it all the time.
            drop(synced.blocking_recv());
        }
        self.finish();
        let Some(pending) = self.pending.iter_mut().find(|pending| pending.path == *path) else {
            tracing::info!(
                from = removal.from,
                to = removal.to,
                "an audit file is deleted, as the settings ask"
            );
            return Ok(true);
        };
        pending.path = empty(path, &removal)?;
        tracing::warn!(
            from = removal.from,
            to = removal.to,
            "an audit file is deleted before its line is written, as the settings ask, because the trail cannot be written"
        );
        Ok(false)
    }

    /// Deletes the files whose line is in stable storage.
    pub(in crate::audit) fn finish(&mut self) {
        self.pending.retain(|pending| {
            if !self.queue.is_stable(&pending.line) {
                return true;
            }
            match fs::remove_file(&pending.path) {
                Ok(()) => false,
                Err(error) if error.kind() == io::ErrorKind::NotFound => false,
                Err(error) => {
                    tracing::warn!(%error, "an audit file cannot be deleted");
                    true
                }
            }
        });
    }
}

/// Takes the content of a file away, and leaves a name that tells of it. Needs no room.
fn empty(path: &Path, removal: &Removal) -> io::Result<PathBuf> {
    let emptied = emptied_path(path, removal);
    fs::rename(path, &emptied)?;
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    own().open(&emptied)?.set_len(0)?;
    Ok(emptied)
}
