//! Stored responses in memory: their keys, the store that bounds them, and invalidation by epoch.

pub(super) mod epochs;
pub(super) mod key;
pub(super) mod response;
pub(super) mod store;
