//! Tests of the whole stage over an upstream in process.

mod basics;
mod bodies;
mod conformance;
#[cfg(feature = "count-allocations")]
mod cost;
mod flights;
mod harness;
mod ranges;
mod reuse;
mod scopes;
mod stale;
mod tables;
mod upstream;
mod workers;
