//! `health`: asks a running gateway whether it is alive and ready.
//!
//! It is for probes inside the container, where there is no shell and no `curl`. A probe from outside
//! cannot reach the admin listener, which serves this machine only.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};

use super::{ConfigFiles, Failure};
use crate::{
    domain::Address,
    error::Chain,
    outbound::{CallLimits, Client, ClientError},
};

/// Asks a running gateway how it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Only asks whether the process answers, not whether it can serve calls.
    #[arg(long)]
    pub live: bool,
}

/// Asks; any answer but 200 is a failure with the reasons.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let admin = args.files.load()?.settings.admin;
    let Some(admin) = admin else {
        let failure = Failure::usage("there is no admin listener to ask");
        return Err(failure.hint("set `admin.enabled = true`"));
    };
    let path = if args.live { "/livez" } else { "/readyz" };
    match ask(&admin.address, path).await {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((_, reasons)) => Err(Failure::failed(format!("not ready: {reasons}"))),
        Err(error) => {
            let error = Chain(&error);
            let text = format!("the gateway cannot be asked at {}: {error}", admin.address);
            let hint = "is it running, with this configuration? `serve` says the addresses it has";
            Err(Failure::failed(text).hint(hint))
        }
    }
}

async fn ask(address: &Address, path: &'static str) -> Result<(StatusCode, String), ClientError> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = http::Uri::from_static(path);
    let client = Client::local(address, LIMITS);
    let answer = client.send(request).await?;
    let status = answer.status;
    Ok((status, String::from_utf8_lossy(&answer.body().await?).into_owned()))
}

/// Probes have a second or more.
const LIMITS: CallLimits = CallLimits { time: Duration::from_millis(900), body: 64 * 1024 };
