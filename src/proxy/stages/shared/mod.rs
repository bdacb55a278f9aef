//! What several stages are made of.

pub(super) mod read_timer;
pub(super) mod transition;
