//! The stages that find the profile of a call.
//!
//! - [`select()`] follows `receive`: it finds out which profile the call is for.
//! - [`load()`] follows the permission: it loads a member of a template at its first call. Nobody who is refused
//!   has a source of credentials asked.

mod load;
mod select;

pub use self::{
    load::{Load, load, no_such_profile},
    select::{Select, select},
};
