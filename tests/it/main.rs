//! The path, stage by stage, over real sockets.
//!
//! One binary, a file a stage: the gateway runs in the process with its upstream, both on ports the
//! kernel chose, and the mock of Pigello records what arrived.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    reason = "a test that cannot go on ends"
)]
#![expect(unreachable_pub, reason = "the binary has no outside")]

mod activations;
mod admin;
mod admin_access;
mod admin_trail;
mod architecture;
mod attacks;
mod audit;
mod audit_kill;
#[path = "../cli/bao.rs"]
mod bao;
mod browser;
mod claims;
mod cache;
mod corpora;
mod echo;
mod explain;
mod fault_table;
mod faults;
mod fleet;
mod fleet_budget;
mod fleet_bus;
mod fleet_feed;
mod fleet_keys;
mod fleet_members;
mod fleet_rotation;
mod fleet_shared;
mod fleet_trails;
mod foresight;
mod forward_proxy;
mod full_disk;
mod identity;
mod judging;
mod leaving;
mod list_ids;
mod lifecycle;
mod log;
mod networks;
mod notices;
mod page;
mod path;
mod refusals;
mod requests;
mod revocation;
mod rotation;
mod permission;
mod service;
mod shared_connection;
mod shares;
mod sockets;
mod support;
mod telemetry;
mod upstream_http2;
mod upward;
mod upstream_tls;
mod witness;
