//! Tries a staged credential set against Pigello before it is put into use.

use std::{path::PathBuf, sync::Arc, time::Duration};

use clap::Args;

use super::Failure;
use crate::{
    cli::{
        ConfigFiles, block_on,
        probe::{NOBODY, Probe, ProbeError, Verdict, profile_of},
    },
    config::Settings,
    credentials::CredentialSet,
    domain::{CredentialsName, Origin},
    error::Chain,
    outbound::{Resolver, Trust},
    proxy::client::{self, ConnectTimeouts, HttpVersions, KeepLimits, upstream_tls},
};

const TIMEOUT: Duration = Duration::from_secs(15);

/// How to try a set.
#[derive(Clone, Debug, Default, Args)]
pub(super) struct ProbeArgs {
    /// Try the staged version at this address of Pigello, and promote it only if it works
    ///
    /// The call asks for a subtenant that cannot be there, so that it reads nobody's data. It is put on the
    /// audit trail of the configuration before it is made.
    #[arg(long, value_name = "URL")]
    pub(super) probe: Option<Origin>,
    /// Trust the roots in this file instead of the platform's
    #[arg(long, value_name = "FILE", requires = "probe")]
    probe_ca_file: Option<PathBuf>,
}

/// A probe that can be made.
pub(super) struct Ready<'a> {
    upstream: &'a Origin,
    /// The configuration, with the audit trail.
    settings: Settings,
    client: client::Settings,
}

impl ProbeArgs {
    /// Reads all that the probe needs, if one is asked for: a mistake is told before anything is staged.
    pub(super) fn ready(&self, config: &ConfigFiles) -> Result<Option<Ready<'_>>, Failure> {
        let Some(upstream) = &self.probe else { return Ok(None) };
        if !upstream.is_tls() && !upstream.is_loopback() {
            return Err(Failure::usage(format!("{upstream} is not https, and not on this host")));
        }
        let client = self.client(upstream)?;
        let loaded = config.load().map_err(|problems| {
            Failure::usage(format!(
                "`--probe` puts its call on the audit trail of the configuration, which cannot be \
                 used:\n{problems}"
            ))
            .hint("nothing was changed; name the configuration with `--config FILE`")
        })?;
        Ok(Some(Ready { upstream, settings: loaded.settings, client }))
    }

    /// Reaches the upstream as calls do, but also at private addresses, since the operator typed
    /// this one.
    fn client(&self, upstream: &Origin) -> Result<client::Settings, Failure> {
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
            observed: Arc::default(),
        })
    }
}

impl<'a> Ready<'a> {
    /// Where the set is tried.
    pub(super) const fn upstream(&self) -> &'a Origin {
        self.upstream
    }

    /// Tries the set.
    pub(super) fn run(self, name: &str, set: &CredentialSet) -> Result<(), Failure> {
        let Self { upstream, settings, client } = self;
        let probe = Probe {
            settings: &settings,
            profile: profile_of(&settings, name),
            credentials: CredentialsName::new(name),
            set,
            target: NOBODY,
            upstream: client,
            limit: TIMEOUT,
        };
        let status = match block_on(probe.make())? {
            Ok(answer) => answer.status,
            Err(ProbeError::NotRecorded(failure)) => return Err(failure),
            Err(ProbeError::Failed(reason)) => {
                return Err(Failure::failed(format!("cannot reach {upstream}: {reason}")));
            }
        };
        let code = status.as_u16();
        match Verdict::of(status) {
            Verdict::Accepted => Ok(()),
            Verdict::Refused => {
                Err(Failure::failed(format!("{upstream} refuses the staged version ({code})"))
                    .hint("check the values; the version in use stays in use"))
            }
            Verdict::Broken | Verdict::Odd => Err(Failure::failed(format!(
                "{upstream} answers {code}, which says nothing about the staged version"
            ))
            .hint(
                "try again later, or promote it without `--probe`; the version in use stays in use",
            )),
        }
    }
}
