//! The fleet: gateways that share a store.
//!
//! The store is one primary of Valkey or Redis. Nothing rests on it: a gateway that has none, or has lost it, serves
//! its calls as one that is alone.
//!
//! | module | |
//! | --- | --- |
//! | [`settings`] | `[fleet]` |
//! | `connect` | one connection: sentinels, TLS, login |
//! | `look` | what `check --online` finds out |
//! | `member` | stays connected, and says whether it is |
//! | [`error`] | why there is no store, without a word of the server's |

mod connect;
pub mod error;
mod look;
mod member;
pub mod settings;

pub use connect::Server;
pub use error::StoreError;
pub use look::{Findings, acl, look};
pub use member::{FleetStatus, Member};
pub use settings::{Settings, StoreSettings};
