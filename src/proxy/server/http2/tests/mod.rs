//! Callers of every kind on one connection, with a clock that stands still unless everybody waits.

mod answers;
mod lifetimes;
mod refusals;
mod support;
mod tables;
