//! The lines between the threads that log and the thread that writes.
//!
//! It holds a bounded number of bytes. A line without room is dropped and counted, so a pipe that nobody reads, a
//! stopped terminal or a full disk costs lines and never a call.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    mem,
    os::fd::AsFd as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};
use tracing_subscriber::fmt::MakeWriter;

use super::repeats::{self, Repeats};

/// Lines that wait to be written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// There is a line.
    filled: Condvar,
    /// All lines are written.
    emptied: Condvar,
    dropped: AtomicU64,
    /// The newest lines, for whoever asks for help.
    recent: Mutex<VecDeque<u8>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    is_writing: bool,
}

impl Queue {
    /// Takes a line, or drops it. Never waits for the reader.
    fn push(&self, line: &[u8]) {
        let mut state = self.state.lock();
        if state.waiting.len() + line.len() > MOST_BYTES {
            drop(state);
            self.drop_lines(1);
            return;
        }
        state.waiting.extend_from_slice(line);
        drop(state);
        self.filled.notify_one();
    }

    fn remember(&self, lines: &[u8]) {
        let mut recent = self.recent.lock();
        let lines = lines.get(lines.len().saturating_sub(RECENT_BYTES)..).unwrap_or_default();
        let excess = (recent.len() + lines.len()).saturating_sub(RECENT_BYTES);
        recent.drain(..excess);
        recent.extend(lines);
    }

    /// The newest lines, without colours.
    pub(super) fn recent(&self) -> String {
        let recent: Vec<u8> = self.recent.lock().iter().copied().collect();
        let text = String::from_utf8_lossy(&anstream::adapter::strip_bytes(&recent).into_vec())
            .into_owned();
        // What is left of the oldest line is not a line.
        match text.split_once('\n') {
            Some((_, rest)) if recent.len() >= RECENT_BYTES => rest.to_owned(),
            _ => text,
        }
    }

    fn drop_lines(&self, count: u64) {
        self.dropped.fetch_add(count, Ordering::Relaxed);
    }

    /// Lines that were dropped.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Writes lines as they come, and tells of repeated ones and of dropped ones. Never returns.
    pub(super) fn write_to(&self, out: impl Write, repeats: &Repeats) {
        let mut output = Output { out, is_torn: false };
        let mut lines = Vec::new();
        let mut told = 0;
        loop {
            self.take(&mut lines, repeats);
            self.remember(&lines);
            let lost = output.write(&lines);
            self.drop_lines(lost);
            let is_read = lost == 0 && !lines.is_empty();
            lines.clear();
            // Room for a flood is not kept.
            lines.shrink_to(KEPT_BYTES);
            let dropped = self.dropped();
            // A line about it needs room, too.
            if dropped > told && is_read && self.has_room() {
                let lines = dropped - told;
                tracing::warn!(
                    lines,
                    "lines of the log were dropped: its reader was too slow or gone"
                );
                told = dropped;
            }
            repeats.tell(Instant::now());
        }
    }

    fn has_room(&self) -> bool {
        self.state.lock().waiting.len() < MOST_BYTES / 2
    }

    /// Exchanges the empty `lines` for those that wait. Returns without one when repeated lines may be due.
    fn take(&self, lines: &mut Vec<u8>, repeats: &Repeats) {
        let mut state = self.state.lock();
        state.is_writing = false;
        if state.waiting.is_empty() {
            self.emptied.notify_all();
            if repeats.is_empty() {
                self.filled.wait(&mut state);
            } else {
                self.filled.wait_for(&mut state, repeats::EVERY);
            }
        }
        state.is_writing = !state.waiting.is_empty();
        mem::swap(&mut state.waiting, lines);
    }

    /// Waits until all lines are written. Returns false if they are not within that time.
    pub(super) fn flush(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        let mut state = self.state.lock();
        while state.is_writing || !state.waiting.is_empty() {
            if self.emptied.wait_until(&mut state, end).timed_out() {
                return false;
            }
        }
        true
    }

    #[cfg(test)]
    pub(super) fn waiting(&self) -> String {
        String::from_utf8(self.state.lock().waiting.clone()).unwrap()
    }
}

/// Standard error, with a lock of its own.
pub(super) fn standard_error() -> io::Result<File> {
    Ok(File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

/// What the lines are written to.
struct Output<W> {
    out: W,
    /// The last line is not complete.
    is_torn: bool,
}

impl<W: Write> Output<W> {
    /// Writes lines; returns how many could not be written.
    fn write(&mut self, lines: &[u8]) -> u64 {
        if lines.is_empty() {
            return 0;
        }
        if mem::take(&mut self.is_torn) && self.all(b"\n") > 0 {
            self.is_torn = true;
            return count(lines);
        }
        let written = lines.len() - self.all(lines);
        let (written, rest) = lines.split_at(written);
        self.is_torn = written.last().is_some_and(|last| *last != b'\n');
        count(rest)
    }

    /// Writes these bytes; returns how many are left after an error.
    fn all(&mut self, mut bytes: &[u8]) -> usize {
        while !bytes.is_empty() {
            match self.out.write(bytes) {
                Ok(0) => break,
                Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Whoever shares the descriptor may have made it non-blocking.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => thread::sleep(NEXT_TRY),
                Err(_) => break,
            }
        }
        bytes.len()
    }
}

fn count(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

/// What may wait, and as much may be in a write: some thousands of lines.
const MOST_BYTES: usize = 1024 * 1024;
const KEPT_BYTES: usize = 16 * 1024;
/// Some hundred lines.
const RECENT_BYTES: usize = 128 * 1024;
const NEXT_TRY: Duration = Duration::from_millis(50);

/// Makes the writer of each line.
#[derive(Clone, Debug)]
pub(super) struct LineWriter(pub(super) Arc<Queue>);

/// Takes one line.
#[derive(Debug)]
pub(super) struct QueuedLine<'a>(&'a Queue);

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = QueuedLine<'a>;

    fn make_writer(&'a self) -> QueuedLine<'a> {
        QueuedLine(&self.0)
    }
}

impl Write for QueuedLine<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_is_full_drops_lines_and_counts_them() {
        let queue = Queue::default();
        let line = [b'x'; 1024];
        for _ in 0..2 * MOST_BYTES / line.len() {
            queue.push(&line);
        }
        assert_eq!(queue.dropped(), (MOST_BYTES / line.len()) as u64);
        assert_eq!(queue.waiting().len(), MOST_BYTES);
        assert!(!queue.flush(Duration::from_millis(1)), "nobody writes");
    }

    #[test]
    fn the_newest_lines_are_kept() {
        let queue = Queue::default();
        queue.remember(b"\x1b[33mfirst\x1b[0m\n");
        assert_eq!(queue.recent(), "first\n");
        let line = format!("{}\n", "x".repeat(99));
        for _ in 0..2 * RECENT_BYTES / line.len() {
            queue.remember(line.as_bytes());
        }
        queue.remember(b"last\n");
        let recent = queue.recent();
        assert!(recent.len() <= RECENT_BYTES && recent.starts_with("xxx"), "{}", recent.len());
        assert!(recent.ends_with("\nlast\n") && recent.lines().all(|one| one.len() > 3));
        queue.remember("y".repeat(3 * RECENT_BYTES).as_bytes());
        assert!(queue.recent().len() <= RECENT_BYTES);
    }

    /// Takes some bytes, then fails, then takes everything.
    struct Failing {
        room: usize,
        written: Vec<u8>,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            self.room -= taken;
            self.written.extend_from_slice(&bytes[..taken]);
            if taken > 0 { Ok(taken) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn after_a_torn_line_the_next_one_begins_a_line() {
        let failing = Failing { room: 6, written: Vec::new() };
        let mut output = Output { out: failing, is_torn: false };
        assert_eq!(output.write(b"one\ntwo\nthree\n"), 2);
        assert_eq!(output.write(b"four\n"), 1);
        output.out.room = 100;
        assert_eq!(output.write(b"five\nsix\n"), 0);
        assert_eq!(output.out.written, b"one\ntw\nfive\nsix\n");
    }
}
