//! `[profiles.….budget]`: the calls a second of all gateways together.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::domain::Span;

/// The calls to the upstream that all gateways of a fleet make together; without `[fleet]`, this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Budget")]
pub struct BudgetSettings {
    /// Calls a second. Without it, there is no budget, and a rate is learnt from `429` responses alone (`[quota]`). Of a
    /// template, each member has as many.
    #[schemars(range(min = 1))]
    pub rate: Option<u32>,
    /// Calls that may be made at once after a time with few. Default: twice the `rate`.
    #[schemars(range(min = 1))]
    pub burst: Option<u32>,
    /// How long the calls are good that a gateway has from the store.
    pub lease: Span,
    /// What a gateway may do when the store has not answered for as long as `lease`.
    pub without_store: WithoutStore,
}

impl Default for BudgetSettings {
    fn default() -> Self {
        Self {
            rate: None,
            burst: None,
            lease: Span::from_secs(2),
            without_store: WithoutStore::default(),
        }
    }
}

/// What a gateway may do while the store is away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WithoutStore {
    /// Its part of the rate: that of all members which were there when it was last told. One that was never told takes a
    /// twentieth.
    #[default]
    Share,
    /// All calls.
    Unlimited,
    /// No calls.
    Deny,
}
