//! `health`: asks a running gateway whether it is alive and ready.
//!
//! It is for probes inside the container, where there is no shell and no `curl`.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::{Instant, sleep};

use super::{AdminClient, AdminTarget};
use crate::{cli::Failure, domain::Span};

/// Asks a running gateway how it is.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// Only asks whether the process answers, not whether it can serve calls.
    #[arg(long)]
    live: bool,
    /// Asks again until the answer is yes, for at most this long: `30s`.
    #[arg(long, value_name = "DURATION")]
    wait: Option<Span>,
}

/// Asks; any answer but 200 is a failure with the reasons.
pub async fn health(args: &HealthArgs) -> Result<(), Failure> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let admin = args.target.health()?;
    let began = Instant::now();
    let wait = args.wait.map_or(Duration::ZERO, |Span(wait)| wait);
    loop {
        match ask(&admin, path).await {
            Err(_) if began.elapsed() < wait => sleep(PAUSE).await,
            done => return done,
        }
    }
}

async fn ask(admin: &AdminClient, path: &str) -> Result<(), Failure> {
    let answer = admin.ask(Method::GET, path).await?;
    match answer.status {
        StatusCode::OK => Ok(()),
        _ => Err(Failure::failed(format!("not ready: {}", answer.text))),
    }
}

/// A start takes some tenths of a second.
const PAUSE: Duration = Duration::from_millis(100);
