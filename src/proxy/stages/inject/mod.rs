//! The steps of injection.
//!
//! [`resolve()`] takes one credential set, once, for all attempts of a request. [`rotate()`] learns whether
//! Pigello took it, and changes to another version where that saves the call. [`apply()`] writes its
//! seven values last, on each attempt, after every field that is or looks like one of Pigello's own
//! is gone, so no copy that waits for a retry holds a secret, and nothing behind it can change them.

mod apply;
mod resolve;
mod rotate;

pub use apply::{Apply, ApplyLayer, apply};
pub use resolve::{Resolve, ResolveLayer, resolve};
pub use rotate::{Rotate, RotateLayer, rotate};
