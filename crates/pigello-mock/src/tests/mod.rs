//! The mock over real sockets: TLS, both versions of HTTP, every operation and every fault.

mod activations;
mod client;
mod event_log;
mod faults;
mod operations;
mod tls;
mod webhooks;
