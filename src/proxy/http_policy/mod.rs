//! Rules of HTTP that stages, the admin listener and `explain` share.

mod browser;
mod host;
pub(in crate::proxy) mod hop_by_hop;
mod method;

pub use browser::refuse_browsers;
pub use host::HostRules;
pub use method::refuse_methods;
