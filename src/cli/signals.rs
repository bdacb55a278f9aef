//! The signals of commands that run until they are told to end.
//!
//! | signal | |
//! | --- | --- |
//! | SIGTERM, SIGINT, SIGQUIT | end the command; see [`EndSignals`] |
//! | SIGHUP | `serve` reloads; the end of its terminal ends any other command |
//! | SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT, SIGXCPU, SIGRTMIN to SIGRTMAX-1 | survived, and told; see [`survive`] |
//! | SIGXFSZ | survived: a file that may not grow is a failed write |
//! | SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT | stop and continue the process, as everywhere |
//! | SIGPIPE, SIGCHLD, SIGURG, SIGWINCH | ignored, by Rust or by default |

use std::{io, ops::Range};

use futures_util::future::select_all;
use rustix::process::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::Failure;

/// Receives what ends a command; the default action is disabled.
#[derive(Debug)]
pub(super) struct EndSignals(Vec<(&'static str, Signal)>);

impl EndSignals {
    /// Starts to receive SIGINT, from a terminal, SIGTERM and SIGQUIT.
    pub(super) fn listen() -> io::Result<Self> {
        let all = [
            ("SIGINT", SignalKind::interrupt()),
            ("SIGTERM", SignalKind::terminate()),
            ("SIGQUIT", SignalKind::quit()),
        ];
        let open = all.map(|(name, kind)| Ok((name, signal(kind)?)));
        open.into_iter().collect::<io::Result<_>>().map(Self)
    }

    /// Starts to receive SIGHUP as well, for a command that has nothing to reload.
    pub(super) fn and_hangup(mut self) -> io::Result<Self> {
        self.0.push(("SIGHUP", signal(SignalKind::hangup())?));
        Ok(self)
    }

    /// Waits for the next signal, and returns its name.
    pub(super) async fn next(&mut self) -> &'static str {
        let each = self.0.iter_mut().map(|(name, signal)| {
            Box::pin(async {
                signal.recv().await;
                *name
            })
        });
        select_all(each).await.0
    }
}

/// Disables the default action of signals that have no meaning here, and would end the process in the middle of
/// calls: a script sends one by mistake, or because another daemon takes it.
pub(super) fn survive() -> io::Result<()> {
    // The failed write is told where it happens.
    drop(signal(kind(Number::XFSZ))?);
    let named = [
        ("SIGUSR1", Number::USR1),
        ("SIGUSR2", Number::USR2),
        ("SIGALRM", Number::ALARM),
        ("SIGVTALRM", Number::VTALARM),
        ("SIGPROF", Number::PROF),
        ("SIGIO", Number::IO),
        ("SIGPWR", Number::POWER),
        ("SIGSTKFLT", Number::STKFLT),
        ("SIGXCPU", Number::XCPU),
    ];
    let named = named.map(|(name, number)| (name.to_owned(), kind(number)));
    let real_time = REAL_TIME.map(|number| {
        let name = format!("SIGRTMIN+{}", number - REAL_TIME.start);
        (name, SignalKind::from_raw(number))
    });
    for (name, kind) in named.into_iter().chain(real_time) {
        let mut received = signal(kind)?;
        tokio::spawn(async move {
            while received.recv().await.is_some() {
                tracing::info!(signal = %name, "the signal has no meaning here and changes nothing");
            }
        });
    }
    Ok(())
}

/// SIGRTMIN to SIGRTMAX-1 (signal(7)). The C library keeps the two before them, and tokio takes no SIGRTMAX.
const REAL_TIME: Range<i32> = 34..64;

fn kind(number: Number) -> SignalKind {
    SignalKind::from_raw(number.as_raw())
}

/// The failure of a command that cannot receive signals.
pub(super) fn unheard(error: &io::Error) -> Failure {
    Failure::failed(format!("cannot listen for signals: {error}"))
}
