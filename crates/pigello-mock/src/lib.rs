//! A mock of Pigello's Accounts API, for development, the gateway's demo and tests.
//!
//! The mock serves all 63 operations over a few made-up people in memory. Like Pigello, it wants
//! seven headers on every call and speaks TLS; its certificate comes from an authority that lives
//! as long as the process. The mock knows Pigello's API from the reference alone and depends on
//! nothing of the gateway, so tests can check one against the other.
//!
//! A mock serves one activation of a service, or many ([`Options::activations`]). Each has seven
//! values and people of its own, and can be rotated, revoked and limited ([`ActivationHandle`]).
//!
//! Every write is a row of the activation's event log, and goes to the webhooks that were asked for
//! ([`Webhook`]). Both can misbehave ([`EventLogFaults`], [`WebhookFaults`]), and reads can come from
//! a replica that is behind ([`ActivationHandle::lag`]).
//!
//! Where the reference is silent, the mock takes the simplest behaviour and says so in a comment.
//! It sends no cache headers. It records the requests that arrive ([`Handle::requests`]) and
//! injects faults ([`Fault`]). In the same process a [`Handle`] controls both; other processes use
//! the paths below `/__mock__/` and the header `X-Mock-Fault`.
//!
//! ```no_run
//! use pigello_mock::{Fault, MockPigello, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pigello = MockPigello::start(Options::new()).await?;
//! pigello.handle().fault(Fault::new().status(http::StatusCode::SERVICE_UNAVAILABLE).times(2));
//! // … call https://127.0.0.1:{pigello.address().port()}/, trusting pigello.ca_pem() …
//! assert_eq!(pigello.handle().requests().len(), 2);
//! pigello.stop().await?;
//! # Ok(())
//! # }
//! ```
//!
//! A request passes `server` (sockets, TLS, HTTP), `handler` (credentials, recording, faults) and
//! `operations` or `event_list` (the API), which work on the `world` of one of the `activations`. A module imports only modules that stand
//! below it in this list.

mod mock;
mod handle;
mod server;
mod handler;
mod control;
mod event_list;
mod operations;
mod state;
mod options;
mod error;
mod webhooks;
mod activations;
mod world;
mod objects;
mod faults;
mod recording;
mod connection;
mod response;
mod body;
mod authority;
mod clock;
mod dice;
mod credentials;
mod api;

#[cfg(test)]
mod tests;

pub use activations::{Activation, ActivationCounts, OldSecret, RateLimit};
pub use api::{Operation, operations};
pub use authority::{Authority, AuthorityError, CertifiedKey};
pub use credentials::{Accepted, Credentials, CredentialsError, MADE_UP_VALUES, SecurityScheme};
pub use error::MockError;
pub use faults::{Echo, FAULT_HEADER, Fault, FaultError, Interruption};
pub use handle::{ActivationHandle, Handle, WebhookHandle};
pub use handler::MAX_BODY_BYTES;
pub use mock::MockPigello;
pub use objects::EXAMPLE_SUBTENANT;
pub use options::Options;
pub use recording::RecordedRequest;
pub use webhooks::{Webhook, WebhookCounts, WebhookError, WebhookFaults};
pub use world::{Change, EventLogFaults, LogAnswer};
