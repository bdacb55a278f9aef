//! Finds the end of an existing trail, and puts it right where the last process was cut off.
//!
//! A process that is killed may leave half a line; a machine that loses power may leave worse. Both
//! are taken out of the file, so that every line of it is a record, but never thrown away: half a
//! line goes into a `torn` marker, anything else into a file beside the trail with a `damaged`
//! marker that names it.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use jiff::SignedDuration;

use super::{
    chain::{Hash, Seal, Tip},
    checkpoint,
    directory::{Directory, Segment},
    line,
    read::{Lines, ReadError},
};

/// The end of a trail that can be written on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) tip: Tip,
    /// The file to go on in; `None` where the trail is new.
    pub(super) segment: Option<Segment>,
    pub(super) repair: Option<Repair>,
    /// The number up to which the last checkpoint vouches for lines that are not there.
    pub(super) cut_to: Option<u64>,
    /// Calls that had a credential when the last process was cut off.
    pub(super) unknown: Vec<String>,
}

/// What was taken out of the last file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Repair {
    Torn(Vec<u8>),
    Damaged { bytes: u64, sha256: Hash, file: String },
}

/// Looks at what is there and makes the last file end in a whole line.
pub(super) fn recover(directory: &Directory) -> Result<Recovered, RecoverError> {
    let at = |path: PathBuf| move |source| RecoverError::Unreadable { path, source };
    let segments = Segment::list(directory.path()).map_err(at(directory.path().to_owned()))?;
    let checkpoint = checkpoint::latest(directory.path());
    let cut_to = |tip: Tip| checkpoint.map(|last| last.seq).filter(|seq| *seq > tip.seq);
    let Some((last, earlier)) = segments.split_last() else {
        let cut_to = cut_to(Tip::START);
        let unknown = Vec::new();
        return Ok(Recovered { tip: Tip::START, segment: None, repair: None, cut_to, unknown });
    };
    let before = || match earlier.last() {
        Some(segment) => tip_of_ended(segment),
        None if last.first_seq <= 1 => Ok(Tip::START),
        None => tip_before(last),
    };
    let (mut end, repair) = if last.compressed {
        (End { tip: tip_of_ended(last)?, good: 0, torn: false, in_order: false }, None)
    } else {
        let mut file = last.append().map_err(at(last.path.clone()))?;
        let mut end = scan(&file, before).map_err(|problem| problem.in_file(last))?;
        let repair = put_right(directory, &mut file, &mut end).map_err(at(last.path.clone()))?;
        (end, repair)
    };
    // A compressed file is never gone on with, and one that is empty is named for another line.
    let fits = !last.compressed && (end.good > 0 || last.first_seq == end.tip.seq + 1);
    let unknown = if end.in_order { Vec::new() } else { unfinished(&segments)? };
    let tip = std::mem::replace(&mut end.tip, Tip::START);
    let segment = fits.then(|| last.clone());
    Ok(Recovered { tip, segment, repair, cut_to: cut_to(tip), unknown })
}

/// The last line of a file that is no longer written.
pub(super) fn tip_of_ended(segment: &Segment) -> Result<Tip, RecoverError> {
    let broken = || RecoverError::Broken { path: segment.path.clone() };
    if segment.compressed {
        let mut lines = Lines::open(segment, 0)?;
        let mut last = Vec::new();
        while let Some(line) = lines.next()? {
            last.clear();
            last.extend_from_slice(line);
        }
        return tip_of(&last).map(|(_, tip)| tip).ok_or_else(broken);
    }
    let read = || last_line(&File::open(&segment.path)?);
    let tail =
        read().map_err(|source| RecoverError::Unreadable { path: segment.path.clone(), source })?;
    tail.tip.filter(|_| tail.fragment == 0).ok_or_else(broken)
}

/// What the first line of a file follows from, where the files before it are gone by the rules of
/// retention.
fn tip_before(segment: &Segment) -> Result<Tip, RecoverError> {
    let mut lines = Lines::open(segment, 0)?;
    let seal = lines.next()?.and_then(Seal::read).filter(Seal::holds);
    let hash = seal.map(|seal| seal.prev);
    hash.map(|hash| Tip { seq: segment.first_seq - 1, hash })
        .ok_or_else(|| RecoverError::Broken { path: segment.path.clone() })
}

/// Intents of the last process that no call has a record of. A call that was answered with something
/// stale, which it renews in the background, has its record before the intent.
fn unfinished(segments: &[Segment]) -> Result<Vec<String>, RecoverError> {
    let last = recent(segments)?;
    let mut open: HashSet<String> = HashSet::new();
    each_line(last, |line| {
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
        each_line(last, |line| match line::request(line) {
            Some((kind, id)) if kind != "intent" => drop(open.remove(&*id)),
            _ => {}
        })?;
    }
    let mut open: Vec<_> = open.into_iter().collect();
    open.sort_unstable();
    Ok(open)
}

/// The files that may hold the intent of a call that was under way at the end: the last two, and the
/// files before them as far as a call can have lasted.
fn recent(segments: &[Segment]) -> Result<&[Segment], RecoverError> {
    let (mut from, mut bytes) = (segments.len().saturating_sub(2), 0);
    while let Some(before) = from.checked_sub(1)
        && let (Some(earlier), Some(next), Some(last)) =
            (segments.get(before), segments.get(from), segments.last())
        && last.begun.duration_since(next.begun) <= LONGEST_CALL
    {
        let unreadable = |source| RecoverError::Unreadable { path: earlier.path.clone(), source };
        bytes += earlier.path.metadata().map_err(unreadable)?.len();
        if bytes > MOST_BEFORE {
            break;
        }
        from = before;
    }
    Ok(segments.get(from..).unwrap_or_default())
}

fn each_line(segments: &[Segment], mut see: impl FnMut(&[u8])) -> Result<(), RecoverError> {
    for segment in segments {
        let mut lines = Lines::open(segment, 0)?;
        while let Some(line) = lines.next()? {
            see(line);
        }
    }
    Ok(())
}

/// From the beginning of a file to that of the last one. A call is over long before.
const LONGEST_CALL: SignedDuration = SignedDuration::from_mins(10);
/// As much as is read in a second or two, in bytes: nobody is served meanwhile.
const MOST_BEFORE: u64 = 1 << 30;

const INTENT: &[u8] = b"{\"kind\":\"intent\"";

/// Where the good part of a file ends.
struct End {
    tip: Tip,
    good: u64,
    /// The rest is one line without its end.
    torn: bool,
    /// The last process closed the trail.
    in_order: bool,
}

enum ScanError {
    Io(io::Error),
    Before(RecoverError),
}

impl ScanError {
    fn in_file(self, segment: &Segment) -> RecoverError {
        match self {
            Self::Io(source) => RecoverError::Unreadable { path: segment.path.clone(), source },
            Self::Before(error) => error,
        }
    }
}

fn scan(file: &File, before: impl FnOnce() -> Result<Tip, RecoverError>) -> Result<End, ScanError> {
    // The usual case needs only the last line: its hash vouches for everything before it.
    let tail = last_line(file).map_err(ScanError::Io)?;
    if let Some(tip) = tail.tip {
        return Ok(End { tip, good: tail.good, torn: true, in_order: tail.in_order });
    }
    // Otherwise line by line from the front, as far as the chain holds.
    let tip = before().map_err(ScanError::Before)?;
    let mut end = End { tip, good: 0, torn: true, in_order: false };
    let mut reader = BufReader::new(file);
    reader.rewind().map_err(ScanError::Io)?;
    let mut bytes = Vec::new();
    while reader.read_until(b'\n', &mut bytes).map_err(ScanError::Io)? > 0 {
        let Some(whole) = bytes.strip_suffix(b"\n") else { break };
        let follows = |prev: Hash, seq| prev == end.tip.hash && seq == end.tip.seq + 1;
        let Some((_, tip)) = tip_of(whole).filter(|(prev, tip)| follows(*prev, tip.seq)) else {
            end.torn = false;
            break;
        };
        end.tip = tip;
        end.good += bytes.len() as u64;
        bytes.clear();
    }
    Ok(end)
}

/// Takes everything behind the good part out of the file.
fn put_right(directory: &Directory, file: &mut File, end: &mut End) -> io::Result<Option<Repair>> {
    let rest = file.metadata()?.len().saturating_sub(end.good);
    if rest == 0 {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(end.good))?;
    let mut bytes = Vec::new();
    Read::take(&mut *file, rest).read_to_end(&mut bytes)?;
    if let Some((_, tip)) = tip_of(&bytes).filter(|(prev, _)| *prev == end.tip.hash) {
        // Only the line end is missing: the record itself is whole.
        file.write_all(b"\n")?;
        file.sync_all()?;
        *end = End { tip, good: end.good + rest + 1, torn: false, in_order: false };
        return Ok(None);
    }
    let repair = if end.torn && bytes.len() <= LONGEST_LINE && !bytes.contains(&0) {
        Repair::Torn(bytes)
    } else {
        let (name, mut aside) = directory.create_damaged(end.tip.seq + 1)?;
        aside.write_all(&bytes)?;
        aside.sync_all()?;
        Repair::Damaged { bytes: rest, sha256: Hash::of(&bytes), file: name }
    };
    file.set_len(end.good)?;
    file.sync_all()?;
    Ok(Some(repair))
}

/// The end of a file, read from behind.
struct Tail {
    /// The last whole line's place in the chain, if it is a line of the trail.
    tip: Option<Tip>,
    /// Up to and with the last whole line's end.
    good: u64,
    /// How many bytes stand behind it.
    fragment: usize,
    /// The last thing written was a `stop`, or the checkpoint that follows one.
    in_order: bool,
}

fn last_line(mut file: &File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LONGEST_LINE as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    Read::take(&mut file, length - from).read_to_end(&mut bytes)?;
    let Some(newline) = memchr::memrchr(b'\n', &bytes) else {
        return Ok(Tail { tip: None, good: 0, fragment: bytes.len(), in_order: false });
    };
    let fragment = bytes.len() - newline - 1;
    let whole = bytes.get(..newline).unwrap_or_default();
    let mut lines = whole.rsplit(|byte| *byte == b'\n');
    let last = lines.next().unwrap_or_default();
    let mut kinds = std::iter::once(last).chain(lines).filter_map(line::place).map(|p| p.kind);
    let in_order = kinds.find(|kind| *kind != "checkpoint") == Some("stop");
    let tip = tip_of(last).map(|(_, tip)| tip);
    Ok(Tail { tip, good: from + newline as u64 + 1, fragment, in_order })
}

fn tip_of(whole: &[u8]) -> Option<(Hash, Tip)> {
    let seal = Seal::read(whole).filter(Seal::holds)?;
    let place = line::place(whole)?;
    Some((seal.prev, Tip { seq: place.seq, hash: seal.stated }))
}

/// Above what the bounds on a line's fields allow.
const LONGEST_LINE: usize = 256 * 1024;

/// Why a trail cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// A file cannot be read or put right.
    #[error("the audit trail's file {} cannot be read and written", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The trail does not hang together, and going on would hide that.
    #[error(
        "the audit trail ends in {}, which is damaged; look at it with `audit verify`, then move the \
         directory away to begin a new trail",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
    },
}
