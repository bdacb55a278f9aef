//! What the configuration tells people: the effective values with their origins, and the manual.

mod effective;
mod manual;

pub use effective::Effective;
pub use manual::manual;
