//! The stage as a whole, against an upstream in process.

mod basics;
mod bodies;
mod conformance;
#[cfg(feature = "count-allocations")]
mod cost;
mod flights;
mod harness;
mod reuse;
mod scopes;
mod stale;
mod tables;
mod workers;
