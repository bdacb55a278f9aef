//! `health`: asks a running gateway whether it is alive and ready.
//!
//! It is for probes inside the container, where there is no shell and no `curl`.

use http::{Method, StatusCode};

use super::AdminTarget;
use crate::cli::Failure;

/// Asks a running gateway how it is.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// Only asks whether the process answers, not whether it can serve calls.
    #[arg(long)]
    live: bool,
}

/// Asks; any answer but 200 is a failure with the reasons.
pub async fn health(args: &HealthArgs) -> Result<(), Failure> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let answer = args.target.health()?.ask(Method::GET, path).await?;
    match answer.status {
        StatusCode::OK => Ok(()),
        _ => Err(Failure::failed(format!("not ready: {}", answer.text))),
    }
}
