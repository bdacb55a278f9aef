//! `pigello-gateway`: an authenticating reverse proxy in front of Pigello's Core API.

pub mod body;
pub mod cli;
pub mod config;
pub mod credentials;
pub mod domain;
pub mod error;
pub mod secret;
