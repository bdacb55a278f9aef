//! The retention thread: compresses ended files, and deletes the oldest if the settings say so.
//!
//! A `retention` line announces each deletion before it happens. So a trail that begins in the middle
//! without such a line was cut.

use std::{
    fs::{self, File},
    io::{self, Read, Write as _},
    path::Path,
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, RecvTimeoutError, Sender, TryRecvError, channel},
    },
    thread,
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    directory::TrailSegment, encode::Removal, export::ExportProgress, recover, settings::Settings,
};
use crate::process::files::create_anew;

/// When files are compressed and deleted.
#[derive(Clone, Debug)]
pub(super) struct RetentionRules {
    pub(super) compress_after: Option<Duration>,
    pub(super) retain_for: Option<Duration>,
    pub(super) retain_bytes: Option<u64>,
    /// The progress of the export, if there is one: a file stays until it is exported.
    pub(super) exported: Option<Arc<ExportProgress>>,
}

impl RetentionRules {
    fn is_exported(&self, seq: u64) -> bool {
        self.exported.as_ref().is_none_or(|exported| exported.seq.load(Ordering::Relaxed) >= seq)
    }
}

impl From<&Settings> for RetentionRules {
    fn from(settings: &Settings) -> Self {
        Self {
            compress_after: settings.compress_after.map(Into::into),
            retain_for: settings.retain_for.map(Into::into),
            retain_bytes: settings.retain_bytes.map(|bytes| bytes.0),
            exported: None,
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub(super) struct Retention {
    stop: Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Retention {
    /// `announce` writes the `retention` line, and returns whether it is in stable storage.
    pub(super) fn start(
        directory: &Path,
        rules: RetentionRules,
        announce: impl Fn(Removal) -> bool + Send + 'static,
    ) -> io::Result<Self> {
        let directory = directory.to_owned();
        let (stop, stopped) = channel();
        let thread =
            thread::Builder::new().name("audit-retention".to_owned()).spawn(move || {
                loop {
                    run_once(&directory, &rules, Timestamp::now(), &announce, &stopped);
                    if stopped.recv_timeout(INTERVAL) != Err(RecvTimeoutError::Timeout) {
                        return;
                    }
                }
            })?;
        Ok(Self { stop, thread })
    }

    /// Stops the thread and waits for it. A file that it was compressing stays uncompressed.
    pub(super) fn stop(self) {
        drop(self.stop);
        // A thread that panicked has released the files too.
        drop(self.thread.join());
    }
}

fn is_stopped(stopped: &Receiver<()>) -> bool {
    stopped.try_recv() == Err(TryRecvError::Disconnected)
}

fn run_once(
    directory: &Path,
    rules: &RetentionRules,
    now: Timestamp,
    announce: &impl Fn(Removal) -> bool,
    stopped: &Receiver<()>,
) {
    let done = compress_ended(directory, rules, now, stopped)
        .and_then(|()| delete_old(directory, rules, now, announce));
    if let Err(error) = done {
        tracing::warn!(%error, "old audit files could not be compressed or deleted; they stay as they are");
    }
}

/// A file that is complete.
#[derive(Debug)]
struct EndedSegment {
    segment: TrailSegment,
    end: Timestamp,
    last_seq: u64,
}

/// Every file but the last, which is still being written.
fn ended_segments(directory: &Path) -> io::Result<Vec<EndedSegment>> {
    let segments = TrailSegment::list(directory)?;
    let ends = TrailSegment::ends(&segments).flatten();
    let ended = segments.iter().zip(segments.iter().skip(1)).zip(ends);
    Ok(ended
        .map(|((segment, next), end)| EndedSegment {
            segment: segment.clone(),
            end,
            last_seq: next.first_seq.saturating_sub(1),
        })
        .collect())
}

fn compress_ended(
    directory: &Path,
    rules: &RetentionRules,
    now: Timestamp,
    stopped: &Receiver<()>,
) -> io::Result<()> {
    let Some(after) = rules.compress_after else { return Ok(()) };
    for EndedSegment { segment, end, .. } in ended_segments(directory)? {
        if !segment.compressed && is_past(end, after, now) {
            compress(&segment, stopped)?;
        }
    }
    Ok(())
}

/// Removes the original only after the copy has been read back and compared.
fn compress(segment: &TrailSegment, stopped: &Receiver<()>) -> io::Result<()> {
    let target = segment.compressed().path;
    let new = target.with_extension("zst.new");
    let mut original = File::open(&segment.path)?;
    let file = create_anew(&new)?;
    let mut encoder = zstd::Encoder::new(file, zstd::DEFAULT_COMPRESSION_LEVEL)?;
    encoder.include_checksum(true)?;
    let mut chunk = Vec::new();
    while fill(&mut original, &mut chunk)? > 0 {
        encoder.write_all(&chunk)?;
        if is_stopped(stopped) {
            return fs::remove_file(&new);
        }
    }
    encoder.finish()?.sync_all()?;
    if !same_content(File::open(&segment.path)?, zstd::Decoder::new(File::open(&new)?)?)? {
        fs::remove_file(&new)?;
        return Err(io::Error::other("a compressed file differs from its original"));
    }
    fs::rename(&new, &target)?;
    File::open(target.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    fs::remove_file(&segment.path)
}

fn same_content(mut a: impl Read, mut b: impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (vec![0; CHUNK], vec![0; CHUNK]);
    loop {
        let (n, m) = (fill(&mut a, &mut left)?, fill(&mut b, &mut right)?);
        if left.get(..n) != right.get(..m) {
            return Ok(false);
        }
        if n == 0 {
            return Ok(true);
        }
    }
}

fn fill(from: &mut impl Read, buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.clear();
    Read::take(from, CHUNK as u64).read_to_end(buffer)
}

fn delete_old(
    directory: &Path,
    rules: &RetentionRules,
    now: Timestamp,
    announce: &impl Fn(Removal) -> bool,
) -> io::Result<()> {
    let ended = ended_segments(directory)?;
    let mut total: u64 = 0;
    for segment in TrailSegment::list(directory)? {
        total += segment.path.metadata()?.len();
    }
    let mut expired = Vec::new();
    for EndedSegment { segment, end, last_seq } in ended {
        let too_old = rules.retain_for.is_some_and(|time| is_past(end, time, now));
        let too_much = rules.retain_bytes.is_some_and(|bound| total > bound);
        if (!too_old && !too_much) || !rules.is_exported(last_seq) {
            break;
        }
        total -= segment.path.metadata()?.len();
        expired.push(segment);
    }
    let (Some(first), Some(last)) = (expired.first(), expired.last()) else { return Ok(()) };
    let tip = recover::tip_of_ended(last).map_err(io::Error::other)?;
    let removal = Removal { from: first.first_seq, to: tip.seq, last_hash: tip.hash };
    if !announce(removal) {
        // No file is deleted without its announcement.
        return Ok(());
    }
    tracing::info!(
        from = removal.from,
        to = removal.to,
        files = expired.len(),
        "audit files are deleted, as the settings ask"
    );
    expired.iter().try_for_each(|segment| fs::remove_file(&segment.path))
}

fn is_past(ended: Timestamp, after: Duration, now: Timestamp) -> bool {
    let after = SignedDuration::try_from(after).unwrap_or(SignedDuration::MAX);
    ended.checked_add(after).is_ok_and(|due| due <= now)
}

/// How often the thread runs.
const INTERVAL: Duration = Duration::from_secs(30);
const CHUNK: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::{
        audit::{
            Trail,
            testing::{check, record},
        },
        domain::ByteSize,
    };

    const NONE: RetentionRules = RetentionRules {
        compress_after: None,
        retain_for: None,
        retain_bytes: None,
        exported: None,
    };
    const NOW: Duration = Duration::ZERO;

    /// A trail of several files.
    fn trail(home: &Path) -> Trail {
        let settings =
            Settings { segment_bytes: ByteSize(1), compress_after: None, ..Settings::new(home) };
        let trail = Trail::open(&settings).unwrap();
        for _ in 0..4 {
            let queued = trail.submit_synced(record());
            futures_util::FutureExt::now_or_never(queued);
            while trail.stats().queued > 0 {
                thread::yield_now();
            }
        }
        trail
    }

    fn run(home: &Path, rules: &RetentionRules) -> Vec<Removal> {
        let said = Mutex::new(Vec::new());
        let (_sender, receiver) = channel();
        let announce = |removal| {
            said.lock().unwrap().push(removal);
            true
        };
        run_once(home, rules, Timestamp::now(), &announce, &receiver);
        said.into_inner().unwrap()
    }

    #[test]
    fn compressed_files_read_as_before() {
        let home = tempfile::tempdir().unwrap();
        trail(home.path()).close().unwrap();
        let before = check(home.path());
        run(home.path(), &RetentionRules { compress_after: Some(Duration::from_hours(1)), ..NONE });
        assert!(TrailSegment::list(home.path()).unwrap().iter().all(|segment| !segment.compressed));

        run(home.path(), &RetentionRules { compress_after: Some(NOW), ..NONE });
        let segments = TrailSegment::list(home.path()).unwrap();
        let compressed: Vec<_> = segments.iter().map(|segment| segment.compressed).collect();
        let (last, ended) = compressed.split_last().unwrap();
        assert!(ended.len() >= 3 && ended.iter().all(|c| *c) && !last, "{compressed:?}");
        assert_eq!(check(home.path()), before);
    }

    #[test]
    fn the_oldest_files_are_deleted_first_after_an_announcement() {
        let home = tempfile::tempdir().unwrap();
        trail(home.path()).close().unwrap();
        assert_eq!(run(home.path(), &NONE), []);
        let segments = TrailSegment::list(home.path()).unwrap();
        let size = |segments: &[TrailSegment]| -> u64 {
            segments.iter().map(|segment| segment.path.metadata().unwrap().len()).sum()
        };
        let bound = size(&segments[2..]);
        let removals = run(home.path(), &RetentionRules { retain_bytes: Some(bound), ..NONE });
        let [removal] = removals[..] else { panic!("{removals:?}") };
        assert_eq!((removal.from, removal.to + 1), (1, segments[2].first_seq));
        assert_eq!(TrailSegment::list(home.path()).unwrap(), segments[2..]);

        run(home.path(), &RetentionRules { retain_for: Some(NOW), ..NONE });
        let left = TrailSegment::list(home.path()).unwrap();
        assert_eq!(left, segments[segments.len() - 1..], "the last file always stays");
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_file_old() {
        let home = tempfile::tempdir().unwrap();
        trail(home.path()).close().unwrap();
        let segments = TrailSegment::list(home.path()).unwrap();
        let second = segments[1].path.file_name().unwrap().to_str().unwrap();
        let (name, _) = second.rsplit_once('-').unwrap();
        fs::rename(&segments[1].path, home.path().join(format!("{name}-20200101T000000Z.jsonl")))
            .unwrap();
        let old = Duration::from_hours(24);
        let rules = RetentionRules { retain_for: Some(old), compress_after: Some(old), ..NONE };
        assert_eq!(run(home.path(), &rules), []);
        assert!(TrailSegment::list(home.path()).unwrap().iter().all(|segment| !segment.compressed));
    }

    #[test]
    fn nothing_is_deleted_without_an_announcement() {
        let home = tempfile::tempdir().unwrap();
        trail(home.path()).close().unwrap();
        let before = TrailSegment::list(home.path()).unwrap();
        let (_sender, receiver) = channel();
        let rules = RetentionRules { retain_for: Some(NOW), ..NONE };
        run_once(home.path(), &rules, Timestamp::now(), &|_| false, &receiver);
        assert_eq!(TrailSegment::list(home.path()).unwrap(), before);
    }
}
