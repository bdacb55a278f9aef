//! `serve`: runs the gateway until it is told to end.

use std::io::Write as _;

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{ConfigFiles, Failure, block_on};
use crate::{
    app::{Certificates, Ending, Gateway, StartError},
    config::settings::LogFormat as ConfiguredFormat,
    credentials::Keeper,
    error::Chain,
    telemetry::{LogFormat, LogSettings, init_logs},
};

/// Runs the gateway.
pub(super) fn run(files: &ConfigFiles) -> Result<(), Failure> {
    let loaded = files.load()?.for_serving()?;
    let telemetry = &loaded.settings.telemetry;
    init_logs(&LogSettings {
        format: match telemetry.log_format {
            ConfiguredFormat::Json => LogFormat::Json,
            ConfiguredFormat::Pretty => LogFormat::Pretty,
        },
        level: telemetry.log_level.to_string(),
    });
    for warning in &loaded.warnings {
        tracing::warn!(%warning, "configuration");
    }
    block_on(async {
        let gateway = Gateway::open(loaded.settings).map_err(|error| cannot_start(&error))?;
        let signals = Signals::new()?;
        announce(&gateway);
        let ending = Ending::default();
        let keepers: Vec<Keeper> = gateway.keepers().values().cloned().collect();
        let certificates = gateway.certificates();
        let serving = gateway.serve(ending.clone());
        tokio::pin!(serving);
        let summary = tokio::select! {
            summary = &mut serving => summary,
            () = signals.obey(&ending, &keepers, &certificates) => (&mut serving).await,
        };
        match summary {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::failed(Chain(&error).to_string())),
        }
    })?
}

fn cannot_start(error: &StartError) -> Failure {
    let message = Chain(error).to_string();
    if error.is_configuration() { Failure::usage(message) } else { Failure::failed(message) }
}

/// Says where the gateway listens: on standard output for scripts, in the log for people.
fn announce(gateway: &Gateway) {
    let mut out = anstream::stdout().lock();
    for (name, address) in gateway.addresses() {
        tracing::info!(listener = %name, %address, "listening");
        // A closed standard output is no reason not to serve.
        let _closed = writeln!(out, "listening listener={name} address={address}");
    }
    if let Some(address) = gateway.admin_address() {
        tracing::info!(listener = "admin", %address, "listening");
        let _closed = writeln!(out, "listening listener=admin address={address}");
    }
    let _closed = out.flush();
}

/// The signals of the process.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind)
                .map_err(|error| Failure::failed(format!("cannot listen for signals: {error}")))
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// The first SIGTERM or SIGINT drains, the second ends at once; SIGHUP reads the credentials
    /// and the listeners' certificates again. Returns with the second.
    async fn obey(mut self, ending: &Ending, keepers: &[Keeper], certificates: &Certificates) {
        loop {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
                _ = self.hangup.recv() => {
                    refresh(keepers).await;
                    if let Err(error) = certificates.reload() {
                        tracing::warn!(error = %Chain(&error), "the old certificates stay in use");
                    }
                    continue;
                }
            }
            if ending.drain.is_cancelled() {
                ending.now.cancel();
                return;
            }
            ending.drain.cancel();
        }
    }
}

async fn refresh(keepers: &[Keeper]) {
    for keeper in keepers {
        if let Err(error) = keeper.refresh().await {
            tracing::warn!(error = %Chain(&*error), "credentials could not be read again");
        }
    }
}
