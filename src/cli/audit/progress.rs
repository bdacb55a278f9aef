//! Shows the progress of a long read on a terminal.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use bytesize::ByteSize;

use crate::audit::TrailSegment;

/// Appears once the work has taken [`DELAY`], and disappears at its end.
#[derive(Debug)]
pub(super) struct ProgressLine {
    total: u64,
    done: u64,
    current: u64,
    next: Option<Instant>,
    shown: bool,
}

impl ProgressLine {
    pub(super) fn over<'a>(files: impl IntoIterator<Item = &'a TrailSegment>) -> Self {
        let total = files.into_iter().map(size).sum();
        let next = io::stderr().is_terminal().then(|| Instant::now() + DELAY);
        Self { total, done: 0, current: 0, next, shown: false }
    }

    /// The next file begins.
    pub(super) fn file(&mut self, file: &TrailSegment) {
        self.done += std::mem::replace(&mut self.current, size(file));
        if self.next.is_some_and(|next| next <= Instant::now()) {
            self.next = Some(Instant::now() + INTERVAL);
            self.shown = true;
            let (done, total) = (ByteSize(self.done), ByteSize(self.total));
            // A failure to show the progress does not matter.
            drop(write!(io::stderr(), "\r\x1b[Kreading the trail: {done} of {total}"));
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if self.shown {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

fn size(file: &TrailSegment) -> u64 {
    file.path.metadata().map_or(0, |data| data.len())
}

const DELAY: Duration = Duration::from_secs(1);
const INTERVAL: Duration = Duration::from_millis(200);
