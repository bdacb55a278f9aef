//! Reads the lines of a trail in order, also while a gateway writes them.

use std::{
    collections::VecDeque,
    io::{self, Read as _},
    ops::{ControlFlow, Range},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, SyncSender, sync_channel},
    thread,
};

use jiff::{SignedDuration, Timestamp};

use super::{
    beginning::Beginning,
    directory::TrailSegment,
    line::line_head,
    lines::{BUFFER, Lines, TrailReadError},
};

/// The files of a trail, in the order of writing.
pub fn files(directory: &Path) -> Result<Vec<TrailSegment>, TrailReadError> {
    TrailSegment::list(directory)
        .map_err(|source| TrailReadError { path: directory.to_owned(), source })
}

/// The files that can hold calls that arrived from `since` to `until`.
///
/// A call gets its line when it ends, so its file may be newer than its arrival. One day covers the
/// longest call, the longest outage of a disk and small corrections of a clock. The first lines of the files
/// tell when they were written, not their names. If a first line does not, every file is read. A clock that went
/// back hides nothing: a file that shows a later time than one after it is read, and it counts as ended when the
/// clock has caught up.
pub fn files_between(
    directory: &Path,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<TrailSegment>, TrailReadError> {
    let files = files(directory)?;
    let plus = |time: Timestamp, by| time.checked_add(by).unwrap_or(Timestamp::MAX);
    let begun = |file| {
        let beginning = Beginning::of(file).ok()??;
        (beginning.seq == file.first_seq).then_some(beginning.time)
    };
    let is_limited = since.is_some() || until.is_some();
    let begun: Option<Vec<_>> = is_limited.then(|| files.iter().map(begun).collect()).flatten();
    let Some(begun) = begun else { return Ok(files) };
    // For each file, the earliest time at which a later one began.
    let mut later: Vec<_> = begun
        .iter()
        .rev()
        .scan(Timestamp::MAX, |earliest, begun| {
            let later = *earliest;
            *earliest = later.min(*begun);
            Some(later)
        })
        .collect();
    later.reverse();
    let mut latest = Timestamp::MIN;
    let mut next = begun.iter().skip(1);
    let mut wanted = Vec::new();
    for ((file, begun), later) in files.into_iter().zip(&begun).zip(later) {
        latest = latest.max(*begun);
        // The last file has not ended, and its clock may have been ahead when it began.
        let Some(next) = next.next() else {
            wanted.push(file);
            break;
        };
        let is_too_early = since.is_some_and(|since| plus(latest.max(*next), DAY) < since);
        let is_too_late = *begun <= later && until.is_some_and(|until| plus(until, DAY) < *begun);
        if !is_too_early && !is_too_late {
            wanted.push(file);
        }
    }
    Ok(wanted)
}

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// One step of [`read_through`].
#[derive(Debug)]
pub enum ReadItem<'a> {
    /// The next file begins.
    File(&'a TrailSegment),
    /// A complete line, without its newline.
    Line(&'a [u8]),
}

/// Reads the files in order, and ends early when `visit` breaks. A thread reads and decompresses
/// ahead.
pub fn read_through<E: From<TrailReadError>>(
    files: &[TrailSegment],
    mut visit: impl FnMut(ReadItem<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    read_merged(&[files], |_, item| visit(item))
}

/// Reads the files of several trails at once, and says of each item which trail it is from.
///
/// The lines of one trail stay in their order. Of the trails, the one whose next line is the earliest comes
/// first.
pub fn read_merged<E: From<TrailReadError>>(
    trails: &[&[TrailSegment]],
    mut visit: impl FnMut(usize, ReadItem<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let mut readers = Vec::new();
        for (trail, files) in trails.iter().enumerate() {
            let (sender, chunks) = sync_channel(AHEAD);
            scope.spawn(move || {
                for file in *files {
                    if send_file(file, &sender).is_err() {
                        return;
                    }
                }
            });
            let mut reader =
                AheadReader { chunks, lines: Vec::new(), line: 0..0, next: 0, file: None };
            if reader.advance()? {
                readers.push((trail, reader));
            }
        }
        loop {
            let earliest = match &*readers {
                [] => return Ok(()),
                [_] => Some(0),
                several => {
                    (0..several.len()).min_by_key(|at| several.get(*at).map(|(_, r)| r.time()))
                }
            };
            let Some(at) = earliest else { return Ok(()) };
            let Some((trail, reader)) = readers.get_mut(at) else { return Ok(()) };
            if visit(*trail, reader.item())?.is_break() {
                return Ok(());
            }
            if !reader.advance()? {
                readers.remove(at);
            }
        }
    })
}

/// The items of one trail, from the thread that reads it ahead.
struct AheadReader<'a> {
    chunks: Receiver<Chunk<'a>>,
    lines: Vec<u8>,
    /// The current line in `lines`.
    line: Range<usize>,
    /// Where the next one begins.
    next: usize,
    /// The file that begins, in place of a line.
    file: Option<&'a TrailSegment>,
}

impl AheadReader<'_> {
    /// Goes to the next item. Returns whether there is one.
    fn advance(&mut self) -> Result<bool, TrailReadError> {
        loop {
            let rest = self.lines.get(self.next..).unwrap_or_default();
            if let Some(length) = memchr::memchr(b'\n', rest) {
                self.line = self.next..self.next + length;
                self.next = self.line.end + 1;
                self.file = None;
                return Ok(true);
            }
            match self.chunks.recv() {
                Ok(Chunk::File(file)) => {
                    self.file = Some(file);
                    return Ok(true);
                }
                Ok(Chunk::Lines(lines)) => {
                    self.lines = lines;
                    self.next = 0;
                }
                Ok(Chunk::Failed(error)) => return Err(error),
                Err(_) => return Ok(false),
            }
        }
    }

    fn item(&self) -> ReadItem<'_> {
        match self.file {
            Some(file) => ReadItem::File(file),
            None => ReadItem::Line(self.lines.get(self.line.clone()).unwrap_or_default()),
        }
    }

    /// The time of the current line; nothing for what has none, so that it comes first.
    fn time(&self) -> &str {
        match self.item() {
            ReadItem::File(_) => "",
            ReadItem::Line(line) => line_head(line).map_or("", |head| head.time),
        }
    }
}

enum Chunk<'a> {
    File(&'a TrailSegment),
    Lines(Vec<u8>),
    Failed(TrailReadError),
}

/// Fails when the receiver has gone.
fn send_file<'a>(
    file: &'a TrailSegment,
    to: &SyncSender<Chunk<'a>>,
) -> Result<(), std::sync::mpsc::SendError<Chunk<'a>>> {
    to.send(Chunk::File(file))?;
    let failed = |source| Chunk::Failed(TrailReadError { path: file.path.clone(), source });
    let mut reader = match Lines::open(file, 0) {
        Ok(lines) => lines.into_reader(),
        Err(error) => return to.send(Chunk::Failed(error)),
    };
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let mut chunk = Vec::with_capacity(BUFFER + rest.len());
        chunk.append(&mut rest);
        match io::Read::take(&mut reader, BUFFER as u64).read_to_end(&mut chunk) {
            // The rest is a line that the gateway has not finished.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => {
                // What comes before the damage.
                let complete = memchr::memrchr(b'\n', &chunk).map_or(0, |end| end + 1);
                chunk.truncate(complete);
                to.send(Chunk::Lines(chunk))?;
                return to.send(failed(error));
            }
        }
        let complete = memchr::memrchr(b'\n', &chunk).map_or(0, |end| end + 1);
        rest = chunk.split_off(complete);
        to.send(Chunk::Lines(chunk))?;
    }
}

/// How many chunks the thread reads ahead.
const AHEAD: usize = 8;

/// Reads new lines of a trail as the gateway writes them.
#[derive(Debug)]
pub struct TrailFollower {
    directory: PathBuf,
    current: Option<TrailSegment>,
    position: u64,
}

impl TrailFollower {
    /// Begins with the first line of the trail.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), current: None, position: 0 }
    }

    /// Begins at the end of the trail, and returns the last `limit` lines that `fits` accepts, in order.
    pub fn from_end(
        directory: &Path,
        limit: usize,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Result<(Self, Vec<Vec<u8>>), TrailReadError> {
        let mut follower = Self::new(directory);
        let mut found: VecDeque<Vec<u8>> = VecDeque::new();
        for segment in files(directory)?.into_iter().rev() {
            let mut lines = Lines::open(&segment, 0)?;
            let mut of_this = VecDeque::new();
            while let Some(line) = lines.next()? {
                if limit > 0 && fits(line) {
                    of_this.push_back(line.to_owned());
                    if of_this.len() > limit - found.len() {
                        of_this.pop_front();
                    }
                }
            }
            if follower.current.is_none() {
                follower.position = lines.position();
                follower.current = Some(segment);
            }
            of_this.append(&mut found);
            found = of_this;
            if found.len() >= limit {
                break;
            }
        }
        Ok((follower, found.into()))
    }

    /// Visits every line since the last call.
    pub fn read<E: From<TrailReadError>>(
        &mut self,
        mut visit: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for segment in files(&self.directory)? {
            let position = match &self.current {
                Some(current) if segment.first_seq < current.first_seq => continue,
                Some(current) if segment.first_seq == current.first_seq => self.position,
                _ => 0,
            };
            let mut lines = Lines::open(&segment, position)?;
            while let Some(line) = lines.next()? {
                visit(line)?;
            }
            self.position = lines.position();
            self.current = Some(segment);
        }
        Ok(())
    }
}
