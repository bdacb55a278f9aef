//! Reads a trail from its first line to its last, also while a gateway writes it.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io::{self, BufRead, BufReader, Read as _, Seek as _, SeekFrom},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::mpsc::{SyncSender, sync_channel},
    thread,
};

use jiff::{SignedDuration, Timestamp};

use super::directory::Segment;

/// Why a trail cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the audit trail cannot be read: {}", path.display())]
pub struct ReadError {
    /// The file or directory.
    pub path: PathBuf,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

/// The files of a trail.
pub fn files(directory: &Path) -> Result<Vec<Segment>, ReadError> {
    Segment::list(directory).map_err(|source| ReadError { path: directory.to_owned(), source })
}

/// The files that can hold calls that came in between two moments.
///
/// A call is written when it is over, so its line may stand in a file that was begun after it came
/// in; a day covers the longest call and the longest time a disk was full. Clocks are set back by
/// less than an hour.
pub fn files_between(
    directory: &Path,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
) -> Result<Vec<Segment>, ReadError> {
    let files = files(directory)?;
    let ends: Vec<_> = files.iter().skip(1).map(|next| Some(next.begun)).chain([None]).collect();
    let late = |moment: Timestamp, by| moment.checked_add(by).unwrap_or(Timestamp::MAX);
    let wanted = files.into_iter().zip(ends).filter(|(file, end)| {
        let too_early = since.zip(*end).is_some_and(|(since, end)| late(end, HOUR) < since);
        let too_late = until.is_some_and(|until| late(until, DAY) < file.begun);
        !too_early && !too_late
    });
    Ok(wanted.map(|(file, _)| file).collect())
}

const HOUR: SignedDuration = SignedDuration::from_hours(1);
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// The whole lines of one file.
pub(super) struct Lines {
    path: PathBuf,
    reader: Box<dyn BufRead + Send>,
    bytes: Vec<u8>,
    position: u64,
}

impl Lines {
    /// Begins at a position in the file's text. If the file has been compressed in the meantime,
    /// reads it as that.
    pub(super) fn open(file: &Segment, position: u64) -> Result<Self, ReadError> {
        let opened = match Self::reader(file, position) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !file.compressed => {
                Self::reader(&file.compressed(), position)
            }
            opened => opened,
        };
        match opened {
            Ok(reader) => Ok(Self { path: file.path.clone(), reader, bytes: Vec::new(), position }),
            Err(source) => Err(ReadError { path: file.path.clone(), source }),
        }
    }

    fn reader(file: &Segment, position: u64) -> io::Result<Box<dyn BufRead + Send>> {
        let mut open = File::open(&file.path)?;
        if file.compressed {
            let decoder = zstd::Decoder::new(open)?;
            let mut reader = BufReader::with_capacity(BUFFER, decoder);
            io::copy(&mut io::Read::take(&mut reader, position), &mut io::sink())?;
            Ok(Box::new(reader))
        } else {
            open.seek(SeekFrom::Start(position))?;
            Ok(Box::new(BufReader::with_capacity(BUFFER, open)))
        }
    }

    /// The next line, without its end. The last line of a trail that is being written may be on its
    /// way: it is left out until it is whole.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, ReadError> {
        self.bytes.clear();
        let read = self
            .reader
            .read_until(b'\n', &mut self.bytes)
            .map_err(|source| ReadError { path: self.path.clone(), source })?;
        let whole = self.bytes.strip_suffix(b"\n");
        if whole.is_some() {
            self.position += read as u64;
        }
        Ok(whole)
    }

    /// How far the file's text has been read.
    pub(super) fn position(&self) -> u64 {
        self.position
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Lines({} at {})", self.path.display(), self.position)
    }
}

/// What reading a trail comes upon.
#[derive(Debug)]
pub enum Found<'a> {
    /// The next file begins.
    File(&'a Segment),
    /// A whole line, without its end.
    Line(&'a [u8]),
}

/// Reads files from the first line to the last, on a thread of its own that reads and decompresses
/// ahead. Ends early where `use_it` breaks.
pub fn read_through<E: From<ReadError>>(
    files: &[Segment],
    mut use_it: impl FnMut(Found<'_>) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    thread::scope(|scope| {
        let (sender, chunks) = sync_channel(AHEAD);
        scope.spawn(move || {
            for file in files {
                if send_file(file, &sender).is_err() {
                    return;
                }
            }
        });
        for chunk in chunks {
            match chunk {
                Chunk::File(file) => {
                    if use_it(Found::File(file))?.is_break() {
                        return Ok(());
                    }
                }
                Chunk::Lines(lines) => {
                    let mut rest = lines.as_slice();
                    while let Some(end) = memchr::memchr(b'\n', rest) {
                        let (line, after) = rest.split_at(end);
                        rest = after.get(1..).unwrap_or_default();
                        if use_it(Found::Line(line))?.is_break() {
                            return Ok(());
                        }
                    }
                }
                Chunk::Failed(error) => return Err(error.into()),
            }
        }
        Ok(())
    })
}

enum Chunk<'a> {
    File(&'a Segment),
    Lines(Vec<u8>),
    Failed(ReadError),
}

/// Fails where nobody listens any more.
fn send_file<'a>(
    file: &'a Segment,
    to: &SyncSender<Chunk<'a>>,
) -> Result<(), std::sync::mpsc::SendError<Chunk<'a>>> {
    to.send(Chunk::File(file))?;
    let failed = |source| Chunk::Failed(ReadError { path: file.path.clone(), source });
    let mut reader = match Lines::open(file, 0) {
        Ok(lines) => lines.reader,
        Err(error) => return to.send(Chunk::Failed(error)),
    };
    let mut rest: Vec<u8> = Vec::new();
    loop {
        let mut chunk = Vec::with_capacity(BUFFER + rest.len());
        chunk.append(&mut rest);
        match io::Read::take(&mut reader, BUFFER as u64).read_to_end(&mut chunk) {
            // What has no end yet is on its way.
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) => return to.send(failed(error)),
        }
        let whole = memchr::memrchr(b'\n', &chunk).map_or(0, |end| end + 1);
        rest = chunk.split_off(whole);
        to.send(Chunk::Lines(chunk))?;
    }
}

/// How many chunks are read ahead.
const AHEAD: usize = 8;

/// Reads a trail as it grows.
#[derive(Debug)]
pub struct Follow {
    directory: PathBuf,
    current: Option<Segment>,
    position: u64,
}

impl Follow {
    /// Begins with the first line that is there.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned(), current: None, position: 0 }
    }

    /// Begins at the end, and returns the last lines that fit, at most so many, in their order.
    pub fn from_the_end(
        directory: &Path,
        most: usize,
        fits: impl Fn(&[u8]) -> bool,
    ) -> Result<(Self, Vec<Vec<u8>>), ReadError> {
        let mut follow = Self::new(directory);
        let mut found: VecDeque<Vec<u8>> = VecDeque::new();
        for segment in files(directory)?.into_iter().rev() {
            let mut lines = Lines::open(&segment, 0)?;
            let mut of_this = VecDeque::new();
            while let Some(line) = lines.next()? {
                if most > 0 && fits(line) {
                    of_this.push_back(line.to_owned());
                    if of_this.len() > most - found.len() {
                        of_this.pop_front();
                    }
                }
            }
            if follow.current.is_none() {
                follow.position = lines.position();
                follow.current = Some(segment);
            }
            of_this.append(&mut found);
            found = of_this;
            if found.len() >= most {
                break;
            }
        }
        Ok((follow, found.into()))
    }

    /// Hands over every line that came since the last time.
    pub fn read<E: From<ReadError>>(
        &mut self,
        mut use_line: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        for segment in files(&self.directory)? {
            let position = match &self.current {
                Some(current) if segment.first_seq < current.first_seq => continue,
                Some(current) if segment.first_seq == current.first_seq => self.position,
                _ => 0,
            };
            let mut lines = Lines::open(&segment, position)?;
            while let Some(line) = lines.next()? {
                use_line(line)?;
            }
            self.position = lines.position();
            self.current = Some(segment);
        }
        Ok(())
    }
}

const BUFFER: usize = 1 << 20;
