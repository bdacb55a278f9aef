//! `[profiles.….budget]`: the calls a second that all gateways of a fleet have together.
//!
//! A gateway takes a call from its [`Purse`], which never waits. In the background it asks the store for more
//! ([`lease`]), and returns what it does not need:
//!
//! ```text
//!  a call ──▶ Purse ── is low, or half a second is over ──▶ lease ──▶ script in the store
//!               ▲                                             │        shares the rate by what each wants
//!               └────────────────── calls ◀───────────────────┘
//! ```
//!
//! A gateway without calls asks for nothing. One that has had none has a small credit for its first ones, which it owes.
//! When the store does not answer, the calls that were leased end with the lease, and `without_store` says what then.
//! Without a fleet a gateway has the whole rate.
//!
//! | module | |
//! | --- | --- |
//! | [`settings`] | `[profiles.….budget]` |
//! | `wallet` | what is in a purse, by the clock |
//! | `purse` | the purse of one profile, and those that want more |
//! | `lease` | asks the store for all purses |

mod lease;
mod purse;
pub mod settings;
#[cfg(test)]
mod tests;
mod wallet;

pub(super) use lease::Budgets;
pub(super) use purse::Feed;
pub use purse::{BudgetStatus, Purse};
pub use settings::{BudgetSettings, WithoutStore};
