//! The fleet: gateways that tell each other what changes, over a store that they share.
//!
//! ```text
//!  a write ───────┐                 ┌── outbox ── seal ──▶ stream and channel ──▶ other members
//!  an event ──────┼─▶ Member::tell ─┘                          of the store
//!  an operator ───┘
//!                    Hearing ◀── open ◀── position ◀── channel, or stream where it has a hole
//! ```
//!
//! The store is one primary of Valkey or Redis. Nothing rests on it: a gateway that has none, or has lost it, serves
//! its calls as one that is alone, and keeps what it has in memory for `ttl`.
//!
//! | module | |
//! | --- | --- |
//! | [`settings`] | `[fleet]` |
//! | `connect` | one connection: sentinels, TLS, login |
//! | `member` | stays connected, and has the bus tell and hear |
//! | `record`, `members` | what a member says of itself, and who is there |
//! | [`budget`] | the calls that all members have together |
//! | `lease` | which member reads an event log for all |
//! | `breaker` | whether a call may wait for the store |
//! | [`change`] | what members tell each other |
//! | `outbox` | what is still to be told |
//! | `exchange` | what passes between the bus and the rest of the gateway |
//! | `bus` | stream and channel; finds what the channel loses |
//! | [`keys`] | the keys that members share, with their versions |
//! | `sealed` | what the fleet's key seals |
//! | `horizon` | how old an entry of the shared cache may be |
//! | `entry`, `tier` | names and sealing of its entries, and the way to them |
//! | `look` | what `check --online` finds out |
//! | [`error`] | why there is no store, without a word of the server's |

mod breaker;
pub mod budget;
mod bus;
pub mod change;
mod connect;
mod entry;
pub mod error;
mod exchange;
mod horizon;
#[cfg(test)]
mod horizon_model_tests;
pub mod keys;
mod lease;
mod look;
mod member;
mod members;
mod outbox;
mod record;
mod sealed;
pub mod settings;
#[cfg(test)]
pub(crate) mod testing;
mod tier;

pub use budget::{BudgetSettings, BudgetStatus, Purse, WithoutStore};
pub use change::{Change, Noted, Pause, Tick, VersionOfSet, Written};
pub use connect::Server;
pub use entry::{EntryKey, EntryPlace, EntrySubject, Identity, Opened};
pub use error::StoreError;
pub use exchange::{Break, Hearing};
pub use horizon::{Horizon, Position};
pub use keys::{
    Key, KeyError, KeyRing, KeySource, KeySourceKind, KeyStatus, Keys, path_for_member,
};
pub use look::{Findings, Persistence, acl, look};
pub use member::{BreakCount, FleetStatus, Member};
pub use members::{Members, Seen};
pub use record::{Describe, InUse, MOST_PROFILES, Record, TrailHead};
pub use settings::{Role, Settings, StoreSettings};
pub use tier::{Away, Found, Tier};
