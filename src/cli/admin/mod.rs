//! The commands that ask a running gateway: `health`, `status`, `purge`, `fleet`, `refresh`, `reload`, `page`.

mod client;
mod fleet;
mod health;
mod page;
mod purge;
mod refresh;
mod reload;
mod rotate_cache_key;
mod status;
mod wait;

use client::AdminClient;
pub(super) use client::{AdminTarget, announce, is_gateway, profiles_of, status_of};
pub(super) use page::relayed_page;

pub use self::{
    fleet::{FleetArgs, fleet},
    health::{HealthArgs, health},
    page::{PageArgs, page},
    purge::{PurgeArgs, purge},
    refresh::{RefreshArgs, refresh},
    reload::{ReloadArgs, reload},
    status::{StatusArgs, status},
};
