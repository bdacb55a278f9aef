//! `pigello-gateway`: an authenticating reverse proxy in front of Pigello's Core API.

pub mod body;
pub mod cli;
pub mod credentials;
pub mod domain;
pub mod error;
pub mod mock;
pub mod secret;
pub mod trail;
pub mod cli;
