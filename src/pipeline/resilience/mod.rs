//! Bounds what a call may cost, and what a failing upstream may cost everyone.
//!
//! [`deadline()`] stands first: one deadline over all attempts, up to the last byte. [`retry()`] makes the
//! attempts and gives each its time for a first byte. [`gate()`] stands before each attempt: a breaker
//! for an upstream that fails, a quota for one that has asked for a pause.
//!
//! Which limit ended a call is told by the error's kind and in the sentence for the caller, with the
//! configuration's key:
//!
//! | limit | key | kind | status |
//! | --- | --- | --- | --- |
//! | resolving, TCP, TLS | `timeouts.connect` | `upstream_connect_timeout` | 504 |
//! | the answer's first byte, once the request is sent | `timeouts.first_byte` | `upstream_first_byte_timeout` | 504 |
//! | the next piece of the answer | `timeouts.upstream_read` | `upstream_stalled` | the answer breaks off |
//! | the next piece of the caller's body | `timeouts.body_read` | `body_timeout` | 408 |
//! | the whole call | `timeouts.request` | `upstream_timeout` | 504 |

mod breaker;
mod budget;
mod deadline;
mod gate;
mod quota;
mod replay;
mod retry;
mod stall;

use std::sync::Arc;

pub use breaker::{Breaker, BreakerSettings, BreakerState};
pub use budget::Budget;
pub use deadline::{Deadline, DeadlineLayer, deadline};
pub use gate::{Gate, GateLayer, gate};
pub use quota::Quota;
pub use retry::{Retry, RetryLayer, RetrySettings, retry};
pub use stall::{Stall, StallLayer, stall};

/// What is known of one profile's upstream: shared by all workers, kept over a reload.
#[derive(Debug)]
pub struct Health {
    /// Whether it is left alone.
    pub breaker: Arc<Breaker>,
    /// How often it wants to be called.
    pub quota: Quota,
    /// How many repeats are left.
    pub budget: Budget,
}

impl Health {
    /// Nothing is known yet. Repeats may add `retry_share` to the load, 0 to 1.
    pub fn new(breaker: BreakerSettings, retry_share: f64) -> Arc<Self> {
        Arc::new(Self {
            breaker: Arc::new(Breaker::new(breaker)),
            quota: Quota::new(),
            budget: Budget::new(retry_share),
        })
    }
}
