//! For all sources: a secret is found only where it is used.

mod leaks;
mod memory;
