//! The stages between a caller's connection and the client, in the order in which a request passes them.
//!
//! The cache stands between [`audit::admit`] and [`audit::intend`]; it has a folder of its own. No stage imports
//! another. `shared` has what stages are made of, and `trace` puts spans around them.
//!
//! Several stages limit a wait. The kind of the error and its detail name the limit:
//!
//! | wait for | key | kind | status |
//! | --- | --- | --- | --- |
//! | DNS, TCP and TLS to the upstream | `timeouts.connect` | `upstream_connect_timeout` | 504 |
//! | the first byte of the response, after the request | `timeouts.first_byte` | `upstream_first_byte_timeout` | 504 |
//! | the next frame of the response | `timeouts.upstream_read` | `upstream_stalled` | an incomplete response |
//! | the next frame of the request body | `timeouts.body_read` | `body_timeout` | 408 |
//! | the whole call | `timeouts.request` | `upstream_timeout` | 504 |

pub mod audit;
pub mod respond;
pub mod receive;
pub mod identify;
pub mod profile;
pub mod authorize;
pub mod buffer_request;
pub mod inject;
pub mod deadline;
pub mod response_guard;
pub mod read_timeout;
pub mod retry;
pub mod circuit_breaker;

mod shared;
pub(in crate::proxy) mod trace;
