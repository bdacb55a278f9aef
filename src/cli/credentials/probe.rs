//! Tries a staged credential set against Pigello before it is put into use.

use std::{path::PathBuf, time::Duration};

use clap::Args;
use http::{Request, StatusCode, Uri, uri::PathAndQuery};
use tokio::time;

use super::Failure;
use crate::{
    body::Body,
    cli::block_on,
    credentials::CredentialSet,
    domain::{Origin, Span},
    error::Chain,
    outbound::{Resolver, Trust},
    proxy::client::{self, ConnectTimeouts, HttpVersions, KeepLimits, upstream_tls},
};

/// A safe request: one page with one entry. The body is ignored.
pub(in crate::cli) const SAFE_READ: &str =
    "/accounts/users/customer/subtenant/list/?_page=1&_page_size=1";
const TIMEOUT: Duration = Duration::from_secs(15);

/// How to try a set.
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
    /// Refuses an invalid probe before anything is staged.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.probe.is_some() {
            self.target()?;
        }
        match &self.probe {
            Some(upstream) if !upstream.is_tls() && !upstream.is_loopback() => {
                Err(Failure::usage(format!("{upstream} is not https, and not on this host")))
            }
            _ => Ok(()),
        }
    }

    /// Sends one read with the set. Any response but a 401 or a server error means that Pigello
    /// accepts the set, whatever its permissions.
    pub(super) fn run(
        &self,
        upstream: &Origin,
        set: &CredentialSet,
    ) -> Result<StatusCode, Failure> {
        let status = block_on(self.ask(upstream, set))??;
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
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.target()?;
        set.write_to(request.headers_mut());
        match time::timeout(TIMEOUT, client::ask(self.settings(upstream)?, request)).await {
            Ok(Ok(response)) => Ok(response.status()),
            Ok(Err(error)) => {
                Err(Failure::failed(format!("cannot reach {upstream}: {}", Chain(&error))))
            }
            Err(_) => {
                Err(Failure::failed(format!("{upstream} did not answer within {}", Span(TIMEOUT))))
            }
        }
    }

    fn target(&self) -> Result<Uri, Failure> {
        let path = self.probe_path.parse::<PathAndQuery>().ok();
        let path = path.filter(|_| self.probe_path.starts_with('/')).map(Uri::from);
        path.ok_or_else(|| Failure::usage("`--probe-path` is no path: it begins with a /"))
    }

    /// Reaches the upstream as calls do, but also at private addresses, since the operator typed
    /// this one.
    fn settings(&self, upstream: &Origin) -> Result<client::Settings, Failure> {
        let tls = upstream
            .is_tls()
            .then(|| upstream_tls(Trust::Roots(self.probe_ca_file.as_deref()), HttpVersions::Auto))
            .transpose();
        Ok(client::Settings {
            origin: upstream.clone(),
            connect_to: None,
            allow_private: true,
            proxy: None,
            local_address: None,
            resolver: Resolver::system(),
            connect: ConnectTimeouts { resolve: TIMEOUT, connect: TIMEOUT },
            keep: KeepLimits { idle: TIMEOUT, age: TIMEOUT },
            adaptive_concurrency: false,
            http: HttpVersions::Auto,
            tls: tls.map_err(|error| Failure::usage(Chain(&error).to_string()))?,
            revocation: None,
        })
    }
}
