//! The append-only files that the writer thread writes to.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, MetadataExt as _},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::directory::{TrailDirectory, TrailSegment};
use crate::process::files::own;

/// The disk, as the writer sees it. Tests have one that fails on demand.
pub(super) trait Storage: Send + fmt::Debug {
    /// Appends some of the bytes and returns how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// The current file. Its sync makes durable what was appended to it so far.
    fn syncable(&self) -> Arc<dyn Syncable>;

    /// Begins a new file if one is due, and returns the old one, which still needs a sync.
    fn rotate(&mut self, next_seq: u64, now: SystemTime) -> Option<Arc<dyn Syncable>>;

    /// If the current file was removed or replaced, restores it and returns its name.
    fn restore_if_missing(&mut self) -> io::Result<Option<String>>;
}

/// A file with appended lines.
pub(super) trait Syncable: Send + Sync + fmt::Debug {
    /// Returns once the file's content is in stable storage.
    fn sync(&self) -> io::Result<()>;
}

/// Files in the trail's directory.
#[derive(Debug)]
pub(super) struct FileStorage {
    directory: TrailDirectory,
    segment: TrailSegment,
    file: Arc<SegmentFile>,
    length: u64,
    limit: u64,
    day: i64,
    rotation_failed: bool,
    /// Whether it was said that the numbers of files are not steady.
    is_unsteady: bool,
}

impl FileStorage {
    pub(super) fn open(
        directory: TrailDirectory,
        segment: TrailSegment,
        limit: u64,
    ) -> io::Result<Self> {
        let file = SegmentFile::open(&segment)?;
        let length = file.file.metadata()?.len();
        let mut files = Self {
            directory,
            day: day_of(segment.begun),
            segment,
            file: Arc::new(file),
            length,
            limit,
            rotation_failed: false,
            is_unsteady: false,
        };
        files.is_in_place()?;
        Ok(files)
    }

    /// Whether the current file is where its path says.
    ///
    /// Some network and FUSE file systems give a file another inode number at each look. So another number
    /// alone proves nothing: what was just appended must be missing at the path as well.
    fn is_in_place(&mut self) -> io::Result<bool> {
        if (self.directory.is_same)(&self.segment.path, &self.file.file) {
            return Ok(true);
        }
        if !self.file.is_seen_at_its_path()? {
            return Ok(false);
        }
        if !std::mem::replace(&mut self.is_unsteady, true) {
            tracing::warn!(
                "the inode numbers of the audit directory's file system are not steady; its content tells \
                 whether a file was replaced, and a second gateway in it may go unnoticed"
            );
        }
        Ok(true)
    }

    /// Makes a segment the current one and returns the old file.
    fn switch_to(&mut self, segment: TrailSegment) -> io::Result<Arc<SegmentFile>> {
        let file = Arc::new(SegmentFile::open(&segment)?);
        self.length = 0;
        self.day = day_of(segment.begun);
        self.segment = segment;
        Ok(std::mem::replace(&mut self.file, file))
    }

    /// Copies the open file, which still has all its content, to its path.
    fn restore(&mut self) -> io::Result<()> {
        self.directory.restore()?;
        let path = &self.segment.path;
        if path.try_exists()? {
            std::fs::rename(path, self.directory.foreign_path())?;
        }
        let mut copy = own().create_new(true).open(path)?;
        self.directory.readers().admit(&copy)?;
        let mut chunk = vec![0; 1 << 20];
        let mut at = 0;
        loop {
            let read = self.file.file.read_at(&mut chunk, at)?;
            if read == 0 {
                break;
            }
            copy.write_all(chunk.get(..read).unwrap_or_default())?;
            at += read as u64;
        }
        copy.sync_all()?;
        self.directory.sync()?;
        let file = Arc::new(SegmentFile::open(&self.segment)?);
        let old = std::mem::replace(&mut self.file, file);
        old.is_copied.store(true, Ordering::Release);
        Ok(())
    }
}

impl Storage for FileStorage {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = (&self.file.file).write(bytes)?;
        self.length += taken as u64;
        Ok(taken)
    }

    fn syncable(&self) -> Arc<dyn Syncable> {
        Arc::<SegmentFile>::clone(&self.file)
    }

    fn rotate(&mut self, next_seq: u64, now: SystemTime) -> Option<Arc<dyn Syncable>> {
        let today = day_of(Timestamp::try_from(now).unwrap_or_default());
        if self.length == 0 || (self.length < self.limit && self.day == today) {
            return None;
        }
        let rotated =
            self.directory.create_segment(next_seq).and_then(|segment| self.switch_to(segment));
        match rotated {
            Ok(old) => {
                self.rotation_failed = false;
                Some(old)
            }
            Err(error) => {
                // A file over the limit is better than lost records.
                if !std::mem::replace(&mut self.rotation_failed, true) {
                    tracing::warn!(%error, "no new audit file can be created; writing continues in the old one");
                }
                None
            }
        }
    }

    fn restore_if_missing(&mut self) -> io::Result<Option<String>> {
        if self.is_in_place()? {
            return Ok(None);
        }
        self.restore()?;
        let name = self.segment.path.file_name().unwrap_or_default().to_string_lossy();
        tracing::error!(
            file = %name,
            "the audit trail's file was removed or replaced; it has been restored"
        );
        Ok(Some(name.into_owned()))
    }
}

/// An open file of the trail.
#[derive(Debug)]
struct SegmentFile {
    path: PathBuf,
    file: File,
    synced: Mutex<SyncState>,
    /// The content is in stable storage elsewhere. A sync is not needed and may be impossible.
    is_copied: AtomicBool,
}

#[derive(Debug)]
struct SyncState {
    /// How many bytes the last successful sync covered.
    length: u64,
    /// The last sync failed, and the kernel has marked the pages it could not write as clean.
    needs_rewrite: bool,
}

impl SegmentFile {
    fn open(segment: &TrailSegment) -> io::Result<Self> {
        let file = segment.append()?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: segment.path.clone(),
            file,
            synced: Mutex::new(SyncState { length, needs_rewrite: false }),
            is_copied: AtomicBool::new(false),
        })
    }

    /// Whether the file at the path is on the same disk as the open one, as long, and ends with the same bytes.
    fn is_seen_at_its_path(&self) -> io::Result<bool> {
        // A link is not followed, and what cannot be opened is not the file.
        let Ok(named) = own().open(&self.path) else { return Ok(false) };
        let (at_path, open) = (named.metadata()?, self.file.metadata()?);
        let length = open.len();
        if length == 0 || (at_path.dev(), at_path.len()) != (open.dev(), length) {
            return Ok(false);
        }
        let from = length.saturating_sub(COMPARED);
        let mut end = vec![0; usize::try_from(length - from).unwrap_or_default()];
        let mut own_end = end.clone();
        named.read_exact_at(&mut end, from)?;
        self.file.read_exact_at(&mut own_end, from)?;
        Ok(end == own_end)
    }

    /// Writes bytes over themselves to make their pages dirty again. Without that, the kernel reports
    /// success for the sync after a failed one although it has written nothing.
    fn rewrite(&self, from: u64, to: u64) -> io::Result<()> {
        let over = own().open(&self.path)?;
        let mut chunk = vec![0; 1 << 20];
        let mut at = from;
        while at < to {
            let room = usize::try_from(to - at).unwrap_or(usize::MAX).min(chunk.len());
            let read = self.file.read_at(chunk.get_mut(..room).unwrap_or_default(), at)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            over.write_all_at(chunk.get(..read).unwrap_or_default(), at)?;
            at += read as u64;
        }
        Ok(())
    }
}

impl Syncable for SegmentFile {
    fn sync(&self) -> io::Result<()> {
        if self.is_copied.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut synced = self.synced.lock();
        let length = self.file.metadata()?.len();
        if synced.needs_rewrite {
            self.rewrite(synced.length, length)?;
        }
        synced.needs_rewrite = true;
        self.file.sync_data()?;
        *synced = SyncState { length, needs_rewrite: false };
        Ok(())
    }
}

/// How many bytes at the end of a file tell it from another: several lines, each with a hash.
const COMPARED: u64 = 4096;

/// Days since 1970, UTC.
fn day_of(time: Timestamp) -> i64 {
    time.as_second().div_euclid(24 * 60 * 60)
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;
    use crate::audit::readers::Readers;

    fn files(home: &std::path::Path, limit: u64) -> FileStorage {
        let directory = TrailDirectory::lock(home, Readers::default()).unwrap();
        let segment = directory.create_segment(1).unwrap();
        FileStorage::open(directory, segment, limit).unwrap()
    }

    #[test]
    fn a_file_ends_when_it_is_full_or_the_day_is_over() {
        let home = tempfile::tempdir().unwrap();
        let mut files = files(home.path(), 10);
        let now = SystemTime::now();
        assert!(files.rotate(1, now).is_none(), "nothing in it");
        files.append(b"123456789").unwrap();
        assert!(files.rotate(2, now).is_none(), "room left");
        assert!(files.rotate(2, now + Duration::from_hours(24)).is_some(), "another day");
        files.append(b"1234567890").unwrap();
        assert!(files.rotate(3, now).is_some(), "full");
        let numbers: Vec<_> =
            TrailSegment::list(home.path()).unwrap().into_iter().map(|s| s.first_seq).collect();
        assert_eq!(numbers, [1, 2, 3]);
    }

    #[test]
    fn without_room_for_a_new_file_the_old_one_goes_on() {
        let home = tempfile::tempdir().unwrap();
        let mut files = files(home.path(), 1);
        files.append(b"1").unwrap();
        fs::remove_dir_all(home.path()).unwrap();
        assert!(files.rotate(2, SystemTime::now()).is_none());
        assert_eq!(files.append(b"2").unwrap(), 1);
    }

    #[test]
    fn a_file_that_is_taken_away_is_put_back_with_all_it_had() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("audit");
        let mut files = files(&directory, 1000);
        let path = files.segment.path.clone();
        files.append(b"one\n").unwrap();
        assert_eq!(files.restore_if_missing().unwrap(), None);

        fs::remove_file(&path).unwrap();
        files.append(b"two\n").unwrap();
        assert!(files.restore_if_missing().unwrap().is_some());
        fs::remove_dir_all(&directory).unwrap();
        assert!(files.restore_if_missing().unwrap().is_some());
        fs::rename(&path, directory.join("elsewhere")).unwrap();
        fs::write(&path, "forged\n").unwrap();
        assert!(files.restore_if_missing().unwrap().is_some());
        files.append(b"three\n").unwrap();
        files.syncable().sync().unwrap();
        assert_eq!(files.restore_if_missing().unwrap(), None);

        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        let foreign = fs::read_dir(&directory)
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("foreign-"));
        assert!(foreign, "what stood in its place is kept");
        assert!(
            TrailDirectory::lock(&directory, Readers::default()).is_err(),
            "the lock is held again"
        );
    }

    #[test]
    fn a_file_that_was_copied_need_not_be_synced_where_it_was() {
        let home = tempfile::tempdir().unwrap();
        let mut files = files(home.path(), 1000);
        // Reads as empty, and a sync fails.
        let dead = fs::OpenOptions::new().read(true).append(true).open("/dev/null").unwrap();
        files.file = Arc::new(SegmentFile {
            path: files.segment.path.clone(),
            file: dead,
            synced: Mutex::new(SyncState { length: 0, needs_rewrite: false }),
            is_copied: AtomicBool::new(false),
        });
        let stable = files.syncable();
        assert!(stable.sync().is_err());
        assert!(files.restore_if_missing().unwrap().is_some());
        stable.sync().unwrap();
        files.append(b"one\n").unwrap();
        files.syncable().sync().unwrap();
        assert_eq!(fs::read(&files.segment.path).unwrap(), b"one\n");
    }

    /// As a network file system may give a file another number at each look.
    #[test]
    fn on_unsteady_numbers_nothing_is_put_back_that_is_there_and_the_lock_is_ones_own() {
        let home = tempfile::tempdir().unwrap();
        let directory = home.path().join("audit");
        let mut files = files(&directory, 1000);
        files.directory.is_same = |_, _| false;
        for _ in 0..10 {
            files.append(b"one\n").unwrap();
            assert_eq!(files.restore_if_missing().unwrap(), None);
        }
        assert!(files.is_unsteady);
        files.directory.restore().unwrap();
        assert_eq!(fs::read_dir(&directory).unwrap().count(), 2, "the file and the lock");

        let path = files.segment.path.clone();
        let copy = directory.join("copy");
        fs::copy(&path, &copy).unwrap();
        fs::rename(copy, &path).unwrap();
        files.append(b"two\n").unwrap();
        assert!(files.restore_if_missing().unwrap().is_some(), "a copy does not get the next line");
        fs::remove_file(&path).unwrap();
        assert!(files.restore_if_missing().unwrap().is_some());
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}two\n", "one\n".repeat(10)));
    }

    #[test]
    fn a_rewrite_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let mut files = files(home.path(), 1000);
        files.append(b"0123456789").unwrap();
        files.file.synced.lock().needs_rewrite = true;
        files.file.sync().unwrap();
        assert_eq!(fs::read(&files.segment.path).unwrap(), b"0123456789");
        assert_eq!(files.file.synced.lock().length, 10);
    }
}
