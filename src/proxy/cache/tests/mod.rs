//! Tests of the whole stage over an upstream in process.

mod basics;
mod bodies;
mod conformance;
#[cfg(feature = "count-allocations")]
mod cost;
mod flights;
pub(crate) mod harness;
mod ranges;
mod reuse;
mod scopes;
mod stale;
mod tables;
pub(crate) mod upstream;
mod workers;
