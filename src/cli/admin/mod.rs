//! The commands that ask a running gateway: `health`, `status`, `purge`, `refresh`, `page`.

mod client;
mod health;
mod page;
mod purge;
mod refresh;
mod status;

use client::{AdminClient, AdminTarget};
pub(super) use client::{announce, is_gateway, status_of};

pub use self::{
    health::{HealthArgs, health},
    page::{PageArgs, page},
    purge::{PurgeArgs, purge},
    refresh::{RefreshArgs, refresh},
    status::{StatusArgs, status},
};
