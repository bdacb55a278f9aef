//! The stages of credential injection.
//!
//! - [`resolve()`] takes one credential set for all attempts of a call.
//! - [`rotate()`] learns from the response whether Pigello accepted the set, and sends the call again
//!   with another version if that can save it.
//! - [`apply()`] writes the seven values into each attempt, as the last stage, after every field that is
//!   or looks like one of Pigello's own is removed. So no copy that waits for a retry has a secret, and
//!   no stage can change the values.

mod apply;
mod resolve;
mod rotate;

pub use self::{
    apply::apply,
    resolve::resolve,
    rotate::{Rotate, rotate},
};
