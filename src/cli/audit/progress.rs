//! Says on a terminal how far a long read has come.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::{Duration, Instant},
};

use bytesize::ByteSize;

use crate::audit::Segment;

/// Shows itself only when the work takes long enough to wonder, and goes away when it is done.
#[derive(Debug)]
pub(super) struct ReadProgress {
    total: u64,
    done: u64,
    current: u64,
    next: Option<Instant>,
    shown: bool,
}

impl ReadProgress {
    pub(super) fn over(files: &[Segment]) -> Self {
        let total = files.iter().map(size).sum();
        let next = io::stderr().is_terminal().then(|| Instant::now() + PATIENCE);
        Self { total, done: 0, current: 0, next, shown: false }
    }

    /// The next file begins.
    pub(super) fn file(&mut self, file: &Segment) {
        self.done += std::mem::replace(&mut self.current, size(file));
        if self.next.is_some_and(|next| next <= Instant::now()) {
            self.next = Some(Instant::now() + STEP);
            self.shown = true;
            let (done, total) = (ByteSize(self.done), ByteSize(self.total));
            // Nobody depends on this being seen.
            drop(write!(io::stderr(), "\r\x1b[Kreading the trail: {done} of {total}"));
        }
    }
}

impl Drop for ReadProgress {
    fn drop(&mut self) {
        if self.shown {
            drop(write!(io::stderr(), "\r\x1b[K"));
        }
    }
}

fn size(file: &Segment) -> u64 {
    file.path.metadata().map_or(0, |data| data.len())
}

const PATIENCE: Duration = Duration::from_secs(1);
const STEP: Duration = Duration::from_millis(200);
