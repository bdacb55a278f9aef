//! Finds the end of an existing trail, and puts it right where the last process was cut off.
//!
//! A process that is killed may leave half a line; a machine that loses power may leave worse. Both
//! are taken out of the file, so that every line of it is a record, but never thrown away: half a
//! line goes into a `torn` marker, anything else into a file beside the trail with a `damaged`
//! marker that names it.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Seek as _, SeekFrom, Write as _},
    path::PathBuf,
};

use super::{
    chain::{Hash, Seal, Tip},
    directory::{Directory, Segment},
    line,
};

/// The end of a trail that can be written on.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) tip: Tip,
    /// The file to go on in; `None` where the trail is new.
    pub(super) segment: Option<Segment>,
    pub(super) repair: Option<Repair>,
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
    let Some((last, earlier)) = segments.split_last() else {
        return Ok(Recovered { tip: Tip::START, segment: None, repair: None });
    };
    let before = || match earlier.last() {
        Some(segment) => tip_of_closed(segment),
        // Older files may be gone by the rules of retention; the name still says where it was.
        None if last.first_seq <= 1 => Ok(Tip::START),
        None => Err(RecoverError::Broken { path: last.path.clone() }),
    };
    let mut file = last.append().map_err(at(last.path.clone()))?;
    let mut end = scan(&file, before).map_err(|problem| problem.in_file(last))?;
    let repair = put_right(directory, &mut file, &mut end).map_err(at(last.path.clone()))?;
    Ok(Recovered { tip: end.tip, segment: Some(last.clone()), repair })
}

/// The last line of a file that is no longer written.
fn tip_of_closed(segment: &Segment) -> Result<Tip, RecoverError> {
    let unreadable = |source| RecoverError::Unreadable { path: segment.path.clone(), source };
    let file = File::open(&segment.path).map_err(unreadable)?;
    match last_line(&file).map_err(unreadable)? {
        Tail { tip: Some(tip), fragment, .. } if fragment.is_empty() => Ok(tip),
        _ => Err(RecoverError::Broken { path: segment.path.clone() }),
    }
}

/// Where the good part of a file ends.
struct End {
    tip: Tip,
    good: u64,
    /// The rest is one line without its end.
    torn: bool,
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
        return Ok(End { tip, good: tail.good, torn: true });
    }
    // Otherwise line by line from the front, as far as the chain holds.
    let mut end = End { tip: before().map_err(ScanError::Before)?, good: 0, torn: true };
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
        end.tip = tip;
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
    fragment: Vec<u8>,
}

fn last_line(mut file: &File) -> io::Result<Tail> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(2 * LONGEST_LINE as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    Read::take(&mut file, length - from).read_to_end(&mut bytes)?;
    let Some(newline) = memchr::memrchr(b'\n', &bytes) else {
        return Ok(Tail { tip: None, good: 0, fragment: bytes });
    };
    let fragment = bytes.split_off(newline + 1);
    let whole = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let start = memchr::memrchr(b'\n', whole).map_or(0, |newline| newline + 1);
    let tip = whole.get(start..).and_then(tip_of).map(|(_, tip)| tip);
    Ok(Tail { tip, good: from + newline as u64 + 1, fragment })
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
