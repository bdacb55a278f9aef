//! What must hold for any bytes from outside. One function a fuzz target; a stable test of the
//! gateway runs the same functions over `tests/corpora`.

pub mod laws;
pub mod connection;
pub mod response_guard;
