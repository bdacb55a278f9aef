//! The stage as a whole, against an upstream in process.

mod basics;
mod conformance;
mod harness;
