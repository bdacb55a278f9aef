//! The objects that the operations work on: what fields they have, where they are stored, how a
//! list selects them and how a write checks them.

mod list;
mod filter;
pub(crate) mod write;
mod field_errors;
mod store;
mod schema;
mod subtenant;
mod field;

pub(crate) use field::Object;
pub(crate) use field_errors::FieldErrors;
pub(crate) use list::ListQuery;
pub(crate) use schema::Schema;
pub(crate) use store::{INTEGRATION_USER_AGENT, ORGANIZATION_USER, Store, id_of};
pub use subtenant::EXAMPLE_SUBTENANT;
