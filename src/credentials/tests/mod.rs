//! For all sources: a secret is found only where it is used.

mod crowd;
mod leaks;
mod memory;
