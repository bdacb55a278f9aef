//! What people meet on the command line: configurations, good and bad, and what is said of them.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails by panicking"
)]

mod admin;
mod bao;
mod book;
mod callers;
mod clients;
mod config;
mod config_commands;
mod config_layers;
mod config_mutations;
mod docs;
mod doctor;
mod explain;
mod files;
mod init;
mod leak;
mod log;
mod memory;
mod messages;
mod namespace;
mod operations;
mod profiles;
mod program;
mod prompts;
mod questions;
mod reload;
mod rules;
mod signals;
mod sources;
mod systemd;
mod terminal;
mod trail;
mod verify;
