//! What holds for all sources together: a secret is found nowhere but where it is used.

mod leaks;
mod memory;
