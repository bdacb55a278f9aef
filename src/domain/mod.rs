//! What the gateway talks about: callers, operations, targets, identifiers.
//!
//! Plain values with their invariants. Nothing here knows tokio, serde or does I/O, so every stage
//! of the path and every command may use it.

mod address;
mod caller;
mod catalog;
mod duration;
pub mod hex;
mod label;
mod names;
mod operation;
mod origin;
mod path_pattern;
mod pattern;
mod problem_base;
mod request_id;
mod target;
mod uuid;

pub use address::{Address, AddressError};
pub use caller::{Caller, CallerLimits, CallerRule, Proof, Rate};
pub use catalog::{Catalog, CatalogError, OperationMatch};
pub use duration::Span;
pub use label::LabelValue;
pub use names::{CredentialsName, ListenerName, ProfileName};
pub use operation::{Action, Entity, Operation, builtin_operations};
pub use origin::{Origin, OriginError};
pub use path_pattern::{PathPattern, PathPatternError};
pub use pattern::{OperationPattern, PatternError};
pub use problem_base::{ProblemBase, ProblemBaseError};
pub use request_id::{RequestId, TraceContext};
pub use target::{CanonicalTarget, TargetError};
pub use uuid::{UUID_LENGTH, is_uuid};
