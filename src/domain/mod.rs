//! The values that all parts of the gateway share: callers, operations, targets, identifiers.
//!
//! Each type upholds its own invariants. Nothing here uses tokio or does I/O, so every stage of the
//! path and every command may use it.

mod address;
mod byte_size;
mod caller;
mod catalog;
mod catalog_page;
mod duration;
pub mod hex;
mod host;
mod label;
mod log_origin;
mod names;
mod nearest;
mod network;
mod operation;
mod origin;
mod path_pattern;
mod pattern;
mod peer;
mod policy_id;
mod problem_base;
mod profile_pattern;
mod proxy_choice;
mod request_id;
mod store_address;
mod target;
mod target_bytes;
mod text;
mod uuid;
mod verifier_key;
mod witness_url;
mod visible;

pub use address::{Address, AddressError};
pub use byte_size::{ByteSize, ByteSizeError};
pub use caller::{Caller, CallerCredential, CallerLimits, CallerRule, Proof, Rate, UNIDENTIFIED};
pub use catalog::{Catalog, CatalogError, OperationMatch};
pub use catalog_page::operations_page;
pub use duration::{Span, SpanError};
pub use host::Host;
pub use label::LabelValue;
pub use log_origin::{LogOrigin, LogOriginError};
pub use names::{CredentialsName, ListenerName, ProfileName};
pub use network::{Network, NetworkError};
pub use operation::{Action, Entity, Operation, OperationError, builtin_operations, defines_body};
pub use origin::{Origin, OriginError};
pub use path_pattern::{PathPattern, PathPatternError};
pub use pattern::{OperationPattern, PatternError};
pub use peer::Peer;
pub use policy_id::PolicyId;
pub use problem_base::{ProblemBase, ProblemBaseError};
pub use profile_pattern::{PROFILE_PLACE, ProfilePattern, ProfilePatternError};
pub use proxy_choice::{ProxyChoice, is_excluded};
pub use request_id::{RequestId, TraceContext};
pub use store_address::{StoreAddress, StoreAddressError};
pub use target::{CanonicalTarget, TargetError, check_target_bytes};
pub use target_bytes::{Unencoded, escaped_target};
pub use text::{Name, Text, TextForm};
pub use uuid::{UUID_LENGTH, is_uuid};
pub use verifier_key::{SignatureKind, VerifierKey, VerifierKeyError};
pub use visible::{is_visible, visible};
pub use witness_url::{WitnessUrl, WitnessUrlError};
