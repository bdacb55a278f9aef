//! What the hand-written synchronisation of the client is built from. `crates/pigello-loom` compiles
//! `exchange_waker` and `in_flight` with a `sync` of its own, whose interleavings loom explores.

pub(super) use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};

pub(super) use futures_util::task::AtomicWaker;
pub(super) use tokio::sync::{Notify, Semaphore, SemaphorePermit};
