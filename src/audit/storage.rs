//! Where lines go: files that are only ever appended to.

use std::{
    fmt,
    fs::File,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;

use super::directory::{Directory, Segment, private, same_file};

/// What the writer needs of a disk. The tests have one that fails on demand.
pub(super) trait Storage: Send + fmt::Debug {
    /// Appends some of the bytes and says how many.
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// What must be synced for everything appended so far to be in stable storage.
    fn stable(&self) -> Arc<dyn Stable>;

    /// Begins a new file if it is time for one, and returns the old one, which must still be synced.
    fn rotate(&mut self, next_seq: u64, now: SystemTime) -> Option<Arc<dyn Stable>>;

    /// Checks that what is appended can still be found by those who read the trail. If it cannot,
    /// puts the file back and returns its name.
    fn check(&mut self) -> io::Result<Option<String>>;
}

/// Something appended that can be made to last.
pub(super) trait Stable: Send + Sync + fmt::Debug {
    /// Returns when it is in stable storage.
    fn sync(&self) -> io::Result<()>;
}

/// The real one.
#[derive(Debug)]
pub(super) struct Files {
    directory: Directory,
    segment: Segment,
    file: Arc<SegmentFile>,
    length: u64,
    limit: u64,
    day: i64,
    rotation_failed: bool,
}

impl Files {
    pub(super) fn open(directory: Directory, segment: Segment, limit: u64) -> io::Result<Self> {
        let file = SegmentFile::open(&segment)?;
        let length = file.file.metadata()?.len();
        let day = segment.begun.as_second().div_euclid(DAY);
        Ok(Self {
            directory,
            segment,
            file: Arc::new(file),
            length,
            limit,
            day,
            rotation_failed: false,
        })
    }

    fn take_up(&mut self, segment: Segment) -> io::Result<Arc<SegmentFile>> {
        let file = Arc::new(SegmentFile::open(&segment)?);
        self.length = 0;
        self.day = segment.begun.as_second().div_euclid(DAY);
        self.segment = segment;
        Ok(std::mem::replace(&mut self.file, file))
    }

    /// The open file still has everything that was written; only its name is gone.
    fn put_back(&mut self) -> io::Result<()> {
        self.directory.restore()?;
        let path = &self.segment.path;
        if path.try_exists()? {
            std::fs::rename(path, self.directory.name_for_foreign())?;
        }
        let mut copy = private().create_new(true).open(path)?;
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

impl Storage for Files {
    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = (&self.file.file).write(bytes)?;
        self.length += taken as u64;
        Ok(taken)
    }

    fn stable(&self) -> Arc<dyn Stable> {
        Arc::<SegmentFile>::clone(&self.file)
    }

    fn rotate(&mut self, next_seq: u64, now: SystemTime) -> Option<Arc<dyn Stable>> {
        if self.length == 0 || (self.length < self.limit && self.day == day_of(now)) {
            return None;
        }
        let rotated =
            self.directory.create_segment(next_seq).and_then(|segment| self.take_up(segment));
        match rotated {
            Ok(old) => {
                self.rotation_failed = false;
                Some(old)
            }
            Err(error) => {
                // A file that grows too large is better than records that are not written.
                if !std::mem::replace(&mut self.rotation_failed, true) {
                    tracing::warn!(%error, "no new audit file can be begun; the old one goes on");
                }
                None
            }
        }
    }

    fn check(&mut self) -> io::Result<Option<String>> {
        if same_file(&self.segment.path, &self.file.file) {
            return Ok(None);
        }
        self.put_back()?;
        let name = self.segment.path.file_name().unwrap_or_default().to_string_lossy();
        tracing::error!(
            file = %name,
            "the audit trail's file was removed or replaced; it has been put back"
        );
        Ok(Some(name.into_owned()))
    }
}

/// A file of the trail while it is written to.
#[derive(Debug)]
struct SegmentFile {
    path: PathBuf,
    file: File,
    synced: Mutex<Synced>,
    /// All of it is in stable storage elsewhere, and the disk that it is on may never sync again.
    is_copied: AtomicBool,
}

#[derive(Debug)]
struct Synced {
    length: u64,
    /// The last sync failed, and the kernel has marked what it could not write as written.
    doubtful: bool,
}

impl SegmentFile {
    fn open(segment: &Segment) -> io::Result<Self> {
        let file = segment.append()?;
        let length = file.metadata()?.len();
        Ok(Self {
            path: segment.path.clone(),
            file,
            synced: Mutex::new(Synced { length, doubtful: false }),
            is_copied: AtomicBool::new(false),
        })
    }

    /// Writes the same bytes over themselves, so that the kernel takes them for unwritten again:
    /// after a failed sync it would otherwise report success without having written anything.
    fn rewrite(&self, from: u64, to: u64) -> io::Result<()> {
        let over = private().open(&self.path)?;
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

impl Stable for SegmentFile {
    fn sync(&self) -> io::Result<()> {
        if self.is_copied.load(Ordering::Acquire) {
            return Ok(());
        }
        let mut synced = self.synced.lock();
        let length = self.file.metadata()?.len();
        if synced.doubtful {
            self.rewrite(synced.length, length)?;
        }
        synced.doubtful = true;
        self.file.sync_data()?;
        *synced = Synced { length, doubtful: false };
        Ok(())
    }
}

/// Days since 1970, UTC.
fn day_of(moment: SystemTime) -> i64 {
    let moment = jiff::Timestamp::try_from(moment).unwrap_or_default();
    moment.as_second().div_euclid(DAY)
}

const DAY: i64 = 86_400;

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use super::*;

    fn files(home: &std::path::Path, limit: u64) -> Files {
        let directory = Directory::lock(home).unwrap();
        let segment = directory.create_segment(1).unwrap();
        Files::open(directory, segment, limit).unwrap()
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
            Segment::list(home.path()).unwrap().into_iter().map(|s| s.first_seq).collect();
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
        assert_eq!(files.check().unwrap(), None);

        fs::remove_file(&path).unwrap();
        files.append(b"two\n").unwrap();
        assert!(files.check().unwrap().is_some());
        fs::remove_dir_all(&directory).unwrap();
        assert!(files.check().unwrap().is_some());
        fs::rename(&path, directory.join("elsewhere")).unwrap();
        fs::write(&path, "forged\n").unwrap();
        assert!(files.check().unwrap().is_some());
        files.append(b"three\n").unwrap();
        files.stable().sync().unwrap();
        assert_eq!(files.check().unwrap(), None);

        assert_eq!(fs::read_to_string(&path).unwrap(), "one\ntwo\nthree\n");
        let foreign = fs::read_dir(&directory)
            .unwrap()
            .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("foreign-"));
        assert!(foreign, "what stood in its place is kept");
        assert!(Directory::lock(&directory).is_err(), "the lock is held again");
    }

    #[test]
    fn a_file_that_was_copied_need_not_be_synced_where_it_was() {
        let home = tempfile::tempdir().unwrap();
        let mut files = files(home.path(), 1000);
        // Reads as empty, and cannot be synced.
        let dead = fs::OpenOptions::new().read(true).append(true).open("/dev/null").unwrap();
        files.file = Arc::new(SegmentFile {
            path: files.segment.path.clone(),
            file: dead,
            synced: Mutex::new(Synced { length: 0, doubtful: false }),
            is_copied: AtomicBool::new(false),
        });
        let stable = files.stable();
        assert!(stable.sync().is_err());
        assert!(files.check().unwrap().is_some());
        stable.sync().unwrap();
        files.append(b"one\n").unwrap();
        files.stable().sync().unwrap();
        assert_eq!(fs::read(&files.segment.path).unwrap(), b"one\n");
    }

    #[test]
    fn a_rewrite_changes_nothing() {
        let home = tempfile::tempdir().unwrap();
        let mut files = files(home.path(), 1000);
        files.append(b"0123456789").unwrap();
        files.file.synced.lock().doubtful = true;
        files.file.sync().unwrap();
        assert_eq!(fs::read(&files.segment.path).unwrap(), b"0123456789");
        assert_eq!(files.file.synced.lock().length, 10);
    }
}
