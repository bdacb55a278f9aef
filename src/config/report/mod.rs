//! The effective configuration with its origins, and the reference page.

mod effective;
mod manual;

pub use effective::Effective;
pub use manual::manual;
