//! The commands that ask a running gateway: `health`, `status`, `purge`, `refresh`, `reload`, `page`,
//! `support-bundle`.

mod client;
mod health;
mod page;
mod purge;
mod refresh;
mod reload;
mod status;
mod support_bundle;

pub(super) use client::announce;
use client::{AdminClient, AdminTarget};
pub(super) use page::relayed_page;

pub use self::{
    health::{HealthArgs, health},
    page::{PageArgs, page},
    purge::{PurgeArgs, purge},
    refresh::{RefreshArgs, refresh},
    reload::{ReloadArgs, reload},
    status::{StatusArgs, status},
    support_bundle::{SupportBundleArgs, support_bundle},
};
