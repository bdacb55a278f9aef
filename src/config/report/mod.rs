//! The effective configuration with its origins, and the reference page.

mod effective;
mod manual;
mod revision;

pub use effective::Effective;
pub use manual::manual;
pub use revision::Revision;
