//! Stored responses: their keys, their objects, the store that bounds them, and their invalidation
//! by epoch.

pub(super) mod epochs;
pub(super) mod key;
pub(super) mod object;
pub(super) mod store;
