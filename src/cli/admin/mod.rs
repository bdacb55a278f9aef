//! The commands that ask a running gateway: `health`, `status`, `purge`, `refresh`, `page`,
//! `support-bundle`.

mod client;
mod health;
mod page;
mod purge;
mod refresh;
mod status;
mod support_bundle;

use client::{AdminClient, AdminTarget};
pub(super) use client::{announce, is_gateway, status_of};

pub use self::{
    health::{HealthArgs, health},
    page::{PageArgs, page},
    purge::{PurgeArgs, purge},
    refresh::{RefreshArgs, refresh},
    status::{StatusArgs, status},
    support_bundle::{SupportBundleArgs, support_bundle},
};
