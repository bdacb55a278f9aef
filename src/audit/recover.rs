//! Finds the end of an existing trail, and repairs it after a crash.
//!
//! A killed process can leave half a line, and a power cut can leave more damage. The recovery removes
//! both from the file, so that every line of it is valid, but keeps the bytes: half a line goes into a
//! `torn` marker, anything else into a `damaged-*.bin` file that a `damaged` marker names.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
};

use jiff::{SignedDuration, Timestamp};

use super::{
    beginning::Beginning,
    chain::{ChainFields, Hash, Tip},
    checkpoint::{Checkpoint, Latest},
    directory::{TrailDirectory, TrailSegment},
    emptied::emptied,
    keys::PublicKey,
    line,
    lines::{Lines, TrailReadError},
    mismatch::Mismatch,
};
use crate::process::files::open_own;

/// The end of a trail that can be continued.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) tip: Tip,
    /// The file to continue; `None` if a new one is needed.
    pub(super) segment: Option<TrailSegment>,
    pub(super) repair: Option<Repair>,
    /// The last published checkpoint, if this gateway's key signed it.
    pub(super) checkpoint: Option<Checkpoint>,
    /// Why the last published checkpoint does not fit the trail, if so.
    pub(super) mismatch: Option<Mismatch>,
    /// Calls that had a credential when the last process was killed, and have no record.
    pub(super) unknown: Vec<String>,
    /// Deletions that the last process may have announced and not done.
    pub(super) announced: Vec<(u64, u64)>,
}

/// The bytes that were removed from the last file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repair {
    Torn(Vec<u8>),
    Damaged {
        bytes: u64,
        /// How many records begin in these bytes. A power cut leaves zeros, and so none.
        records: u64,
        sha256: Hash,
        file: String,
    },
}

/// Finds the end of the trail, and makes the last file end with a complete line.
pub(super) fn recover(
    directory: &TrailDirectory,
    key: &PublicKey,
) -> Result<Recovered, RecoverError> {
    let at = |path: PathBuf| move |source| RecoverError::Unreadable { path, source };
    let segments = TrailSegment::list(directory.path()).map_err(at(directory.path().to_owned()))?;
    let latest = Latest::read(directory.path());
    let (end, repair) = match segments.split_last() {
        Some((last, earlier)) => end_of(directory, last, earlier)?,
        None => (ValidEnd { tip: Tip::START, length: 0, torn: false, stopped: true }, None),
    };
    let unknown = if end.stopped { Vec::new() } else { calls_without_record(&segments)? };
    // A compressed file cannot be continued, nor an empty one, whose name says when a write failed.
    let segment = segments.last().filter(|last| !last.compressed && end.length > 0).cloned();
    let mismatch = Mismatch::find(&latest, key, end.tip, &segments)?;
    let checkpoint = match latest {
        Latest::Found(checkpoint) if checkpoint.is_signed_by(key) => Some(checkpoint),
        _ => None,
    };
    let emptied = emptied(directory.path()).map_err(at(directory.path().to_owned()))?;
    let was_deleting = !end.stopped || !emptied.is_empty();
    let announced = if was_deleting { announced_deletions(&segments)? } else { Vec::new() };
    // It would stand in the way of a new one.
    if let Some(empty) = segments
        .last()
        .filter(|last| !last.compressed && end.length == 0 && last.first_seq == end.tip.seq + 1)
    {
        fs::remove_file(&empty.path).map_err(at(empty.path.clone()))?;
    }
    Ok(Recovered { tip: end.tip, segment, repair, checkpoint, mismatch, unknown, announced })
}

/// Finds the end of the last file, and makes it end with a complete line.
fn end_of(
    directory: &TrailDirectory,
    last: &TrailSegment,
    earlier: &[TrailSegment],
) -> Result<(ValidEnd, Option<Repair>), RecoverError> {
    let at = |source| RecoverError::Unreadable { path: last.path.clone(), source };
    let before = || match earlier.last() {
        Some(segment) => tip_of_ended(segment),
        None if last.first_seq <= 1 => Ok(Tip::START),
        None => tip_before(last),
    };
    if last.compressed {
        let tip = tip_of_ended(last)?;
        return Ok((ValidEnd { tip, length: 0, torn: false, stopped: false }, None));
    }
    let mut file = last.append().map_err(at)?;
    let mut end = find_end(&file, last, before)?;
    let repair = repair_end(directory, &mut file, &mut end).map_err(at)?;
    Ok((end, repair))
}

/// The last line of a file that is complete.
pub(super) fn tip_of_ended(segment: &TrailSegment) -> Result<Tip, RecoverError> {
    let broken = || RecoverError::Broken { path: segment.path.clone() };
    if segment.compressed {
        let mut lines = Lines::open(segment, 0)?;
        let mut last = Vec::new();
        while let Some(line) = lines.next()? {
            last.clear();
            last.extend_from_slice(line);
        }
        return parse_tip(&last).map(|(_, tip)| tip).ok_or_else(broken);
    }
    let read = || read_tail(&open_own(&segment.path)?);
    let tail =
        read().map_err(|source| RecoverError::Unreadable { path: segment.path.clone(), source })?;
    tail.tip.filter(|_| tail.fragment == 0).ok_or_else(broken)
}

/// The end of the chain before the first line of a file, if the retention has deleted earlier files.
pub(super) fn tip_before(segment: &TrailSegment) -> Result<Tip, RecoverError> {
    let mut lines = Lines::open(segment, 0)?;
    let fields = lines.next()?.and_then(ChainFields::read).filter(ChainFields::is_intact);
    fields
        .map(|fields| Tip { seq: segment.first_seq - 1, hash: fields.prev })
        .ok_or_else(|| RecoverError::Broken { path: segment.path.clone() })
}

/// The calls of the last process that have an intent but no record.
///
/// A record can come before the intent of its call: a call that got a stale response may revalidate it
/// in the background afterwards.
fn calls_without_record(segments: &[TrailSegment]) -> Result<Vec<String>, RecoverError> {
    let recent = recent_segments(segments)?;
    let mut open: HashSet<String> = HashSet::new();
    for_each_line(recent, |line| {
        if open.is_empty() && !line.starts_with(INTENT) {
            return;
        }
        match line::request(line) {
            Some((kind, id)) if kind == "intent" => drop(open.insert(id.into_owned())),
            Some((_, id)) => drop(open.remove(&*id)),
            None => {}
        }
    })?;
    if !open.is_empty() {
        for_each_line(recent, |line| match line::request(line) {
            Some((kind, id)) if kind != "intent" => drop(open.remove(&*id)),
            _ => {}
        })?;
    }
    let mut open: Vec<_> = open.into_iter().collect();
    open.sort_unstable();
    Ok(open)
}

/// The first and the last line of each deletion that recent lines announce.
fn announced_deletions(segments: &[TrailSegment]) -> Result<Vec<(u64, u64)>, RecoverError> {
    let mut announced = Vec::new();
    for_each_line(recent_segments(segments)?, |line| {
        if line.starts_with(RETENTION) {
            announced.extend(line::range(line));
        }
    })?;
    Ok(announced)
}

/// The time of the trail's last line. Reads the end of the last file that has one.
pub(super) fn last_time(directory: &Path) -> Option<Timestamp> {
    let time_of = |line: &[u8]| line::line_head(line)?.time.parse().ok();
    for segment in TrailSegment::list(directory).ok()?.iter().rev() {
        let mut last = None;
        if segment.compressed {
            let mut lines = Lines::open(segment, 0).ok()?;
            while let Some(line) = lines.next().ok()? {
                last = time_of(line).or(last);
            }
        } else {
            let mut file = open_own(&segment.path).ok()?;
            let length = file.metadata().ok()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(2 * LONGEST_LINE as u64))).ok()?;
            let mut bytes = Vec::new();
            Read::take(&mut file, length).read_to_end(&mut bytes).ok()?;
            last = bytes.rsplit(|byte| *byte == b'\n').find_map(time_of);
        }
        if last.is_some() {
            return last;
        }
    }
    None
}

/// The files that can hold the intent of a call that was in progress at the end: the last two, and
/// those before them within [`LONGEST_CALL`] and [`MAX_EARLIER_BYTES`].
fn recent_segments(segments: &[TrailSegment]) -> Result<&[TrailSegment], RecoverError> {
    let (mut from, mut bytes) = (segments.len().saturating_sub(2), 0);
    while let Some(before) = from.checked_sub(1)
        && let (Some(earlier), Some(next), Some(last)) =
            (segments.get(before), segments.get(from), segments.last())
        && is_recent(next, last)
    {
        let unreadable = |source| RecoverError::Unreadable { path: earlier.path.clone(), source };
        bytes += earlier.path.metadata().map_err(unreadable)?.len();
        if bytes > MAX_EARLIER_BYTES {
            break;
        }
        from = before;
    }
    Ok(segments.get(from..).unwrap_or_default())
}

/// Whether two files began within the length of a call. One that does not say when is read.
fn is_recent(file: &TrailSegment, last: &TrailSegment) -> bool {
    let begun = |file| Some(Beginning::of(file).ok()??.time);
    begun(last)
        .zip(begun(file))
        .is_none_or(|(last, begun)| last.duration_since(begun) <= LONGEST_CALL)
}

fn for_each_line(
    segments: &[TrailSegment],
    mut visit: impl FnMut(&[u8]),
) -> Result<(), RecoverError> {
    for segment in segments {
        let mut lines = Lines::open(segment, 0)?;
        while let Some(line) = lines.next()? {
            visit(line);
        }
    }
    Ok(())
}

/// Longer than any call lasts.
const LONGEST_CALL: SignedDuration = SignedDuration::from_mins(10);
/// Takes a second or two to read, during which the gateway does not serve.
const MAX_EARLIER_BYTES: u64 = 1 << 30;

const INTENT: &[u8] = b"{\"kind\":\"intent\"";
const RETENTION: &[u8] = b"{\"kind\":\"retention\"";
/// How every line begins.
const LINE: &[u8] = b"{\"kind\":\"";

/// The end of the valid part of a file.
struct ValidEnd {
    tip: Tip,
    /// The length of the valid part, in bytes.
    length: u64,
    /// The rest is one line without its newline.
    torn: bool,
    /// The last process closed the trail.
    stopped: bool,
}

fn find_end(
    file: &File,
    segment: &TrailSegment,
    before: impl FnOnce() -> Result<Tip, RecoverError>,
) -> Result<ValidEnd, RecoverError> {
    let unreadable = |source| RecoverError::Unreadable { path: segment.path.clone(), source };
    // Usually the last line is enough: its hash covers everything before it.
    let tail = read_tail(file).map_err(unreadable)?;
    if let Some(tip) = tail.tip {
        return Ok(ValidEnd { tip, length: tail.length, torn: true, stopped: tail.stopped });
    }
    // Otherwise scan from the front, as far as the chain is intact.
    let tip = before()?;
    let mut end = ValidEnd { tip, length: 0, torn: true, stopped: false };
    let mut reader = BufReader::new(file);
    reader.rewind().map_err(unreadable)?;
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).map_err(unreadable)? > 0 {
        let Some(line) = bytes.strip_suffix(b"\n") else { break };
        let follows = |prev: Hash, seq| prev == end.tip.hash && seq == end.tip.seq + 1;
        let Some((_, tip)) = parse_tip(line).filter(|(prev, tip)| follows(*prev, tip.seq)) else {
            end.torn = false;
            break;
        };
        end.tip = tip;
        end.length += bytes.len() as u64;
        bytes.clear();
    }
    Ok(end)
}

/// Removes everything after the valid part from the file.
fn repair_end(
    directory: &TrailDirectory,
    file: &mut File,
    end: &mut ValidEnd,
) -> io::Result<Option<Repair>> {
    let rest = file.metadata()?.len().saturating_sub(end.length);
    if rest == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(end.length))?;
    let mut bytes = Vec::new();
    Read::take(&mut *file, rest).read_to_end(&mut bytes)?;
    if let Some((_, tip)) = parse_tip(&bytes).filter(|(prev, _)| *prev == end.tip.hash) {
        // The line is complete except for its newline.
        file.write_all(b"\n")?;
        file.sync_all()?;
        *end = ValidEnd { tip, length: end.length + rest + 1, torn: false, stopped: false };
        return Ok(None);
    }
    let repair = if end.torn && bytes.len() <= LONGEST_LINE && !bytes.contains(&0) {
        Repair::Torn(bytes)
    } else {
        let (name, mut damaged) = directory.create_damaged(end.tip.seq + 1)?;
        damaged.write_all(&bytes)?;
        damaged.sync_all()?;
        let records = memchr::memmem::find_iter(&bytes, LINE).count() as u64;
        Repair::Damaged { bytes: rest, records, sha256: Hash::of(&bytes), file: name }
    };
    file.set_len(end.length)?;
    file.sync_all()?;
    Ok(Some(repair))
}

/// The end of a file, read backwards.
struct Tail {
    /// The last complete line, if it is a valid line of the trail.
    tip: Option<Tip>,
    /// The length of the file up to the last newline.
    length: u64,
    /// How many bytes follow.
    fragment: usize,
    /// The last line is a `stop`, or the checkpoint after it.
    stopped: bool,
}

fn read_tail(mut file: &File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LONGEST_LINE as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    Read::take(&mut file, length - from).read_to_end(&mut bytes)?;
    let Some(newline) = memchr::memrchr(b'\n', &bytes) else {
        return Ok(Tail { tip: None, length: 0, fragment: bytes.len(), stopped: false });
    };
    let fragment = bytes.len() - newline - 1;
    let complete = bytes.get(..newline).unwrap_or_default();
    let mut lines = complete.rsplit(|byte| *byte == b'\n');
    let last = lines.next().unwrap_or_default();
    let mut kinds =
        std::iter::once(last).chain(lines).filter_map(line::line_head).map(|head| head.kind);
    let stopped = kinds.find(|kind| *kind != "checkpoint") == Some("stop");
    let tip = parse_tip(last).map(|(_, tip)| tip);
    Ok(Tail { tip, length: from + newline as u64 + 1, fragment, stopped })
}

/// The `prev` of a valid line, and the end of the chain after it.
fn parse_tip(line: &[u8]) -> Option<(Hash, Tip)> {
    let fields = ChainFields::read(line).filter(ChainFields::is_intact)?;
    let head = line::line_head(line)?;
    Some((fields.prev, Tip { seq: head.seq, hash: fields.stated }))
}

/// Above the sum of the limits of a line's fields.
const LONGEST_LINE: usize = 256 * 1024;

/// Why an existing trail cannot be continued.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A file cannot be read or repaired.
    #[error("the audit trail's file {} cannot be read and written", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] TrailReadError),
    /// The chain is broken, and a continuation would hide that.
    #[error(
        "the audit trail ends in {}, which is damaged; examine it with `audit verify`, then move the \
         directory away to begin a new trail",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
    },
}
