//! The stages between a caller's connection and the client, in the order a request passes them.
//!
//! The cache stands between [`buffer_request`] and [`inject`]; it has a folder of its own. A stage
//! imports no other stage. What two of them share is in [`shared`], [`trace`] and
//! [`upstream_health`], or in [`super::call`] and [`super::http_policy`].
//!
//! Several stages bound a call. The error's kind and its detail name the limit that ended it:
//!
//! | limit | key | kind | status |
//! | --- | --- | --- | --- |
//! | DNS, TCP and TLS to the upstream | `timeouts.connect` | `upstream_connect_timeout` | 504 |
//! | first byte of the response, once the request is sent | `timeouts.first_byte` | `upstream_first_byte_timeout` | 504 |
//! | next piece of the response | `timeouts.upstream_read` | `upstream_stalled` | the response is cut off |
//! | next piece of the request body | `timeouts.body_read` | `body_timeout` | 408 |
//! | the whole call | `timeouts.request` | `upstream_timeout` | 504 |

pub mod audit;
pub mod respond;
pub mod receive;
pub mod identify;
pub mod authorize;
pub mod buffer_request;
pub mod detach;
pub mod inject;
pub mod deadline;
pub mod response_guard;
pub mod read_timeout;
pub mod retry;
pub mod circuit_breaker;

mod shared;
pub(in crate::proxy) mod trace;
pub mod upstream_health;
