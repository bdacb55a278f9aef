//! `health`: asks a running gateway whether it is alive and ready.
//!
//! For probes that run inside the container, where there is no shell and no `curl`: the admin listener
//! is for this machine alone, so a probe from outside cannot reach it.

use std::{io, time::Duration};

use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

use super::{ConfigFiles, Failure};
use crate::{
    body::{CollectError, collect_limited},
    domain::Address,
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

/// Asks; anything but "yes" is a failure with the reasons.
pub async fn run(args: &Args) -> Result<(), Failure> {
    let admin = args.files.load()?.settings.admin;
    let Some(admin) = admin else {
        let failure = Failure::usage("there is no admin listener to ask");
        return Err(failure.hint("set `admin.enabled = true`"));
    };
    let path = if args.live { "/livez" } else { "/readyz" };
    let asked = match tokio::time::timeout(PATIENCE, ask(&admin.address, path)).await {
        Ok(asked) => asked,
        Err(_) => Err(AskError::Timeout),
    };
    match asked {
        Ok((StatusCode::OK, _)) => Ok(()),
        Ok((_, told)) => Err(Failure::failed(format!("not ready: {told}"))),
        Err(error) => {
            let text = format!("the gateway cannot be asked at {}: {error}", admin.address);
            let hint = "is it running, with this configuration? `serve` says the addresses it has";
            Err(Failure::failed(text).hint(hint))
        }
    }
}

async fn ask(address: &Address, path: &str) -> Result<(StatusCode, String), AskError> {
    match address {
        Address::Tcp(address) => exchange(TcpStream::connect(address).await?, path).await,
        Address::Unix(socket) => exchange(UnixStream::connect(socket).await?, path).await,
    }
}

async fn exchange<S>(stream: S, path: &str) -> Result<(StatusCode, String), AskError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let asking = async {
        let request = Request::get(path).header("host", "localhost");
        let request = request.body(Empty::<bytes::Bytes>::new()).map_err(|_| AskError::Odd)?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = collect_limited(response.into_body(), MOST_REASONS).await?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    };
    tokio::select! {
        answer = asking => answer,
        // It ends first only if it breaks.
        broken = connection => Err(broken.err().map_or(AskError::Odd, AskError::Http)),
    }
}

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error("it does not answer")]
    Timeout,
    #[error("{0}")]
    Connect(#[from] io::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("{0}")]
    Body(#[from] CollectError),
    #[error("what answers is no gateway")]
    Odd,
}

/// Probes have a second or more.
const PATIENCE: Duration = Duration::from_millis(900);
const MOST_REASONS: usize = 64 * 1024;
