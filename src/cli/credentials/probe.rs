//! Tries a staged credential set against Pigello, before anything depends on it.

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode};
use http_body_util::Empty;
use hyper_rustls::HttpsConnectorBuilder;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::time;

use super::Failure;
use crate::{
    credentials::{CredentialSet, client_tls},
    domain::{Origin, Span},
    error::Chain,
};

/// A call that changes nothing: one page of one entry. What comes back is not read.
pub(in crate::cli) const SAFE_READ: &str =
    "/accounts/users/customer/subtenant/list/?_page=1&_page_size=1";
const TIMEOUT: Duration = Duration::from_secs(15);

/// Where and how to try a set.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ProbeArgs {
    /// Try the staged version at this address of Pigello, and promote it only if it works
    #[arg(long, value_name = "URL")]
    pub(super) probe: Option<Origin>,
    /// What to ask for
    #[arg(long, value_name = "PATH", default_value = SAFE_READ, requires = "probe")]
    probe_path: String,
    /// Trust the roots in this file instead of the platform's
    #[arg(long, value_name = "FILE", requires = "probe")]
    probe_ca_file: Option<PathBuf>,
}

impl ProbeArgs {
    /// Refuses what cannot be probed, before anything is staged for it.
    pub(super) fn check(&self) -> Result<(), Failure> {
        match &self.probe {
            Some(upstream) if !upstream.is_tls() && !upstream.is_loopback() => {
                Err(Failure::usage(format!("{upstream} is not https, and not on this host")))
            }
            _ => Ok(()),
        }
    }

    /// Sends one read with the set. Anything but a 401 or an error of Pigello's own means that
    /// the set is taken; what it may do is another matter.
    pub(super) fn run(
        &self,
        upstream: &Origin,
        set: &CredentialSet,
    ) -> Result<StatusCode, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Failure::failed(format!("cannot start: {error}")))?;
        let status = runtime.block_on(self.ask(upstream, set))?;
        match status {
            StatusCode::UNAUTHORIZED => {
                Err(Failure::failed(format!("{upstream} refuses the staged version (401)"))
                    .hint("check the values; the version in use stays in use"))
            }
            status if status.is_server_error() => Err(Failure::failed(format!(
                "{upstream} answers {status}, which says nothing about the staged version"
            ))
            .hint("try again later; the version in use stays in use")),
            status => Ok(status),
        }
    }

    async fn ask(&self, upstream: &Origin, set: &CredentialSet) -> Result<StatusCode, Failure> {
        let tls = client_tls(self.probe_ca_file.as_deref(), None)
            .map_err(|error| Failure::usage(Chain(&error).to_string()))?;
        let mut connector = HttpConnector::new();
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        let client: Client<_, Empty<Bytes>> =
            Client::builder(TokioExecutor::new()).build(connector);
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(format!("{upstream}{}", self.probe_path))
            .body(Empty::new())
            .map_err(|_| Failure::usage("`--probe-path` is no path"))?;
        set.write_to(request.headers_mut());
        match time::timeout(TIMEOUT, client.request(request)).await {
            Ok(Ok(response)) => Ok(response.status()),
            Ok(Err(error)) => {
                Err(Failure::failed(format!("cannot reach {upstream}: {}", Chain(&error))))
            }
            Err(_) => {
                Err(Failure::failed(format!("{upstream} did not answer within {}", Span(TIMEOUT))))
            }
        }
    }
}
