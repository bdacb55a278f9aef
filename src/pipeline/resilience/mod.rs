//! Bounds what a call may cost: one deadline over all attempts, up to the last byte.

mod deadline;

pub use deadline::{Deadline, DeadlineLayer, deadline};
