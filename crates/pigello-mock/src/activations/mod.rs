//! The activations that a mock serves: their credentials, worlds, limits and counts.
//!
//! In Pigello a customer activates a version of a service, and gets seven values that open the data
//! of that activation and no other. `table` tells a request to its activation by those values.

mod table;
mod member;
mod limit;
mod counts;
mod activation;

pub use activation::Activation;
pub use counts::ActivationCounts;
pub use limit::RateLimit;
pub(crate) use member::Member;
pub use member::OldSecret;
pub(crate) use table::Activations;
