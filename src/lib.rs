//! `pigello-gateway`: an authenticating reverse proxy that keeps Pigello's client secret off
//! application hosts.
//!
//! The modules, from the outside in:
//!
//! - [`cli`]: the commands
//! - [`app`]: the composition root, from settings to serving to the end of a drain
//! - [`admin`]: health, metrics, status, on a listener of its own
//! - [`config`]: from files and environment to checked settings
//! - [`notices`]: what changes in Pigello, so that the cache drops it
//! - [`proxy`]: THE PATH of a request, one folder a stage
//! - [`credentials`]: the seven values, where they come from and which version is used
//! - [`audit`]: the audit trail on disk
//! - [`telemetry`]: metrics and logs
//! - [`process`]: what the process as a whole needs
//! - [`build_info`]: how this program was built
//! - [`outbound`]: calls beside the path, to a vault and to a collector
//! - [`domain`], [`error`], [`body`], [`secret`]: what everything above talks about
//!
//! A module imports only from those below it; a test holds that.

pub mod cli;
pub mod app;
pub mod admin;
pub mod config;
pub mod notices;
pub mod proxy;
pub mod credentials;
pub mod audit;
pub mod telemetry;
pub mod process;
pub mod build_info;
pub mod fleet;
pub mod outbound;
pub mod domain;
pub mod error;
pub mod body;
pub mod secret;
