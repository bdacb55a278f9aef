//! Notices of changes in Pigello, so that the cache drops what has changed, whoever changed it.
//!
//! ```text
//! Pigello's event log ◀── poller ──┐               ┌── at once
//!                        (cursor)  ├── feed ── drop ┤
//! Pigello's webhooks ──▶ webhook ──┤  (relations)  └── again after `settle`
//!                   fleet ─ heard ─┘
//! ```
//!
//! In a fleet one gateway reads the log of a profile for all. The others hear of its events, and of each reading.
//!
//! | module | |
//! | --- | --- |
//! | [`settings`] | `[notices]` |
//! | [`event`] | what an event says, and all that may be wrong with one |
//! | `cursor`, [`poller`] | reads the event log: from where, and how often |
//! | [`tokens`], [`webhook`] | the listener for webhooks |
//! | `relations`, `changes`, [`feed`] | from an event to what is dropped |
//! | `chain` | how far the log is known, by own readings and by those of other gateways |
//! | `heard`, `told` | what other gateways tell, and what they know |
//! | `history` | the last events, for `explain --cache` |
//!
//! A notice is no command and carries no data: the cache drops, and the next caller fetches the truth. So one that
//! comes twice, late or in another order does no harm, and one that is forged costs a fetch. How long a stored
//! response may live, and what that rests on, is in [`Coherence`](crate::proxy::profile::Coherence).

mod chain;
mod changes;
mod cursor;
#[cfg(test)]
mod day_tests;
pub mod event;
pub mod feed;
#[cfg(test)]
mod fleet_model_tests;
mod heard;
mod history;
#[cfg(test)]
mod model_tests;
pub mod poller;
mod relations;
pub mod settings;
mod stopped;
mod told;
pub mod tokens;
pub mod webhook;

pub use feed::{FeedStatus, Notices, NoticesState, SourceStatus};
pub use history::DroppedBy;
pub use poller::poll;
pub use settings::{EventLogChoice, Settings, Webhook};
pub use stopped::Stopped;
pub use tokens::{HookTokens, HookTokensError};
pub use webhook::Receiver;

/// Where an event comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The event log.
    EventLog,
    /// A webhook.
    Webhook,
    /// Another member of the fleet, which has it from one of these.
    Fleet,
}

impl Source {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::EventLog, Self::Webhook, Self::Fleet];

    /// The value of the label `source`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::EventLog => "event_log",
            Self::Webhook => "webhook",
            Self::Fleet => "fleet",
        }
    }
}
