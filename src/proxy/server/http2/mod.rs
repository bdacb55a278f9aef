//! HTTP/2 of a listener.

pub mod frame_budget;
