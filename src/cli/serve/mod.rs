//! `serve`: runs the gateway until it is told to stop.
//!
//! SIGTERM, SIGINT and SIGQUIT drain; a second one stops at once. SIGHUP, a changed configuration file, or an
//! order over the admin listener reloads the configuration. An invalid one is refused with every mistake in the
//! log, and the old one stays. SIGHUP also reloads the credentials and the listeners' certificates. Under systemd
//! the sockets may come from socket units, and the service manager is notified of the state.

mod manager;
mod reads;
mod watch;

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    thread,
    time::Duration,
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time,
};

use self::{
    reads::Reads,
    watch::{Contents, Watch},
};
use super::{
    ConfigFiles, Failure, block_on,
    signals::{EndSignals, survive, unheard},
    start_log,
};
use crate::{
    admin::{Mistake, NotReloaded, ReloadOrder, Reloaded},
    app::{Ending, Gateway, ReloadCause, ReloadError, Reloader, StartError},
    config::{Loaded, Problem, types::LogLevel},
    domain::Span,
    error::Chain,
    process::open_files,
    proxy::server::Inherited,
    telemetry::LogFormat,
};

/// Runs the gateway.
pub(super) fn run(files: &ConfigFiles) -> Result<(), Failure> {
    // Before the runtime opens files of its own.
    let inherited = Inherited::from_environment();
    block_on(async {
        // First of all: what comes meanwhile waits.
        survive().map_err(|error| unheard(&error))?;
        let hangup = signal(SignalKind::hangup()).map_err(|error| unheard(&error))?;
        let loaded = files.load().and_then(Loaded::for_serving).map_err(|problems| {
            if files.log_format() == Some(LogFormat::Json)
                && let Err(failure) = start_log(Some(LogFormat::Json), LogLevel::Info.to_string())
            {
                return failure;
            }
            Failure::from(problems)
        })?;
        let telemetry = &loaded.settings.telemetry;
        let format = telemetry.log_format;
        start_log(format, telemetry.log_level.to_string())?;
        warn(&loaded.warnings);
        let inherited = inherited.map_err(|error| {
            Failure::failed(format!("a socket that was handed over cannot be used: {error}"))
        })?;
        open_files::raise_limit();
        let watch = Watch::begin(files.paths()).await;
        let mut gateway =
            Gateway::open_with(loaded.settings, inherited).map_err(|error| cannot_start(&error))?;
        // From here on there is something to drain.
        let signals = EndSignals::listen().map_err(|error| unheard(&error))?;
        let (orders, reloader) = (gateway.reload_orders(), gateway.reloader());
        let ending = Ending::default();
        let reads = Reads::at_most(MOST_READS);
        let reloads =
            Reloads { files, reads, watch, hangup, orders, reloader, ending: ending.clone() };
        announce(&gateway, format);
        let alive = manager::watchdog(gateway.reloader());
        let serving = gateway.serve(ending.clone());
        tokio::pin!(serving);
        manager::ready();
        let summary = tokio::select! {
            summary = &mut serving => summary,
            () = obey(signals, &ending) => (&mut serving).await,
            () = reloads.carry_out() => (&mut serving).await,
            () = alive => (&mut serving).await,
        };
        match summary {
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::failed(Chain(&error).to_string())),
        }
    })?
}

fn cannot_start(error: &StartError) -> Failure {
    let message = Chain(error).to_string();
    let failure =
        if error.is_configuration() { Failure::usage(message) } else { Failure::failed(message) };
    match error.remedy() {
        Some(remedy) => failure.hint(remedy),
        None => failure,
    }
}

/// Reports the listeners' addresses: in the log, and for scripts on standard output, unless the configuration asks
/// for JSON and nothing else.
fn announce(gateway: &Gateway, format: Option<LogFormat>) {
    let own = [
        ("admin", gateway.admin_address()),
        ("metrics", gateway.metrics_address()),
        ("webhook", gateway.webhook_address()),
    ];
    let own = own.into_iter().filter_map(|(name, address)| Some((name, address?)));
    let callers = gateway.addresses().map(|(name, address)| (name.as_str(), address));
    let mut text = String::new();
    for (listener, address) in callers.chain(own) {
        tracing::info!(listener, %address, "listening");
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "listening listener={listener} address={address}");
    }
    if format != Some(LogFormat::Json) {
        // Nobody may read it, or it may be closed, and neither is a reason to wait or to stop.
        let print = move || io::stdout().lock().write_all(text.as_bytes()).is_ok();
        drop(thread::Builder::new().name("announce".to_owned()).spawn(print));
    }
}

/// The first signal drains; the second makes this return, which stops at once.
async fn obey(mut signals: EndSignals, ending: &Ending) {
    loop {
        let signal = signals.next().await;
        // The first one stays.
        let _known = ending.cause.set(signal);
        if ending.drain.is_cancelled() {
            ending.now.cancel();
            return;
        }
        manager::stopping();
        ending.drain.cancel();
    }
}

/// The triggers of a reload.
struct Reloads<'a> {
    files: &'a ConfigFiles,
    reads: Reads,
    watch: Watch,
    hangup: Signal,
    orders: mpsc::Receiver<ReloadOrder>,
    reloader: Reloader,
    ending: Ending,
}

impl Reloads<'_> {
    /// Reloads at every trigger, one after the other. Never returns.
    async fn carry_out(mut self) {
        loop {
            tokio::select! {
                _ = self.hangup.recv() => {
                    let result = self.reload(ReloadCause::Hangup).await;
                    self.reread().await;
                    tell_manager(&result);
                }
                () = self.watch.changed() => {
                    tell_manager(&self.reload(ReloadCause::FileChanged).await);
                }
                Some(order) = self.orders.recv() => self.obey(order).await,
            }
        }
    }

    async fn obey(&mut self, ReloadOrder { who, dry_run, done }: ReloadOrder) {
        let result = if dry_run {
            self.try_out().await
        } else {
            let result = self.reload(ReloadCause::Admin { who }).await;
            tell_manager(&result);
            result
        };
        // Whoever asked may be gone.
        let _not_awaited = done.send(result);
    }

    async fn try_out(&self) -> Result<Reloaded, NotReloaded> {
        let (_, loaded) = self.load().await;
        let Loaded { settings, warnings, .. } = loaded.map_err(NotReloaded::Refused)?;
        let changes = self.reloader.try_out(settings).await.map_err(|error| not_applied(&error))?;
        Ok(Reloaded { changes, warnings: mistakes(&warnings) })
    }

    async fn reload(&mut self, by: ReloadCause) -> Result<Reloaded, NotReloaded> {
        let cause = by.label();
        let result = self.replace(by).await;
        match &result {
            Ok(_) => tracing::info!(cause, "configuration reloaded"),
            Err(NotReloaded::Refused(mistakes)) => {
                for Mistake { message: problem, hint } in mistakes {
                    tracing::error!(
                        cause, %problem, hint,
                        "configuration refused; the old one stays in use"
                    );
                }
            }
            Err(NotReloaded::Ending) => {
                tracing::info!(cause, "the configuration is not reloaded: the gateway is ending");
            }
        }
        result
    }

    async fn replace(&mut self, by: ReloadCause) -> Result<Reloaded, NotReloaded> {
        if self.ending.drain.is_cancelled() {
            return Err(NotReloaded::Ending);
        }
        manager::reloading();
        let (contents, loaded) = self.load().await;
        if let Some(contents) = contents {
            self.watch.take(contents);
        }
        let Loaded { settings, warnings, .. } = match loaded {
            Ok(loaded) => loaded,
            Err(mistakes) => {
                let all: Vec<_> = mistakes.iter().map(ToString::to_string).collect();
                self.reloader.unreadable(by, all.join("\n")).await;
                return Err(NotReloaded::Refused(mistakes));
            }
        };
        warn(&warnings);
        match self.reloader.reload(settings, by).await {
            Ok(changes) => Ok(Reloaded { changes, warnings: mistakes(&warnings) }),
            Err(error) => Err(not_applied(&error)),
        }
    }

    /// Reads the files, and returns what is in them, and the configuration or every mistake.
    async fn load(&self) -> (Option<Contents>, Result<Loaded, Vec<Mistake>>) {
        let files = self.files.clone();
        let read =
            move || (watch::read(&files.paths()), files.load().and_then(Loaded::for_serving));
        match self.reads.run(read).await {
            Some((contents, loaded)) => {
                (Some(contents), loaded.map_err(|problems| mistakes(problems.iter())))
            }
            None => (None, Err(vec![no_answer()])),
        }
    }

    async fn reread(&self) {
        match time::timeout(LONGEST_REREAD, self.reloader.reread()).await {
            // Of an end, the reload has told.
            Ok(Ok(()) | Err(ReloadError::Ending)) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %Chain(&error), "the old certificates stay in use");
            }
            Err(_) => tracing::warn!("credentials or certificates are still being read"),
        }
    }
}

fn warn(warnings: &[Problem]) {
    for warning in warnings {
        let (warning, hint) = warning.words();
        tracing::warn!(%warning, hint, "configuration");
    }
}

fn no_answer() -> Mistake {
    let limit = Span(reads::LONGEST);
    let message =
        format!("the configuration, or a file that it names, does not answer within {limit}");
    let hint = "look at the mounts that they are on".to_owned();
    Mistake { message, hint: Some(hint) }
}

fn not_applied(error: &ReloadError) -> NotReloaded {
    match error {
        ReloadError::Ending => NotReloaded::Ending,
        error => {
            let (message, hint) = (Chain(error).to_string(), error.remedy().map(str::to_owned));
            NotReloaded::Refused(vec![Mistake { message, hint }])
        }
    }
}

fn mistakes<'p>(problems: impl IntoIterator<Item = &'p Problem>) -> Vec<Mistake> {
    let mistake = |problem: &Problem| {
        let (message, hint) = problem.words();
        Mistake { message, hint }
    };
    problems.into_iter().map(mistake).collect()
}

fn tell_manager(result: &Result<Reloaded, NotReloaded>) {
    match result {
        Ok(_) => manager::ready(),
        Err(NotReloaded::Refused(mistakes)) => {
            let first = mistakes.first().map_or("", |mistake| &*mistake.message);
            match mistakes.len() {
                0 | 1 => manager::refused(first),
                count => manager::refused(&format!("{count} mistakes, first: {first}")),
            }
        }
        // The manager knows.
        Err(NotReloaded::Ending) => {}
    }
}

/// Reads of the configuration without an answer, before a further one is refused at once.
const MOST_READS: usize = 8;
/// How long a reload waits for credentials and certificates; their sources have limits of their own.
const LONGEST_REREAD: Duration = Duration::from_secs(30);
