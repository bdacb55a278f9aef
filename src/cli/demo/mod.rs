//! `demo`: the whole gateway at work on one machine, with nothing set up before.
//!
//! Everything is real: a mock of Pigello over TLS, a sealed store written by the `credentials`
//! command, a configuration file, the gateway, calls over sockets, and the audit trail. It all
//! lives in a temporary folder.

mod set_up;
mod story;

use tokio_util::sync::CancellationToken;

use super::{
    Failure,
    admin::relayed_page,
    block_on, quiet_logs,
    signals::{EndSignals, survive, unheard},
};

/// Show the gateway at work, on this machine alone, with nothing set up before.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Leave everything running until Ctrl-C, to try calls of your own.
    #[arg(long)]
    keep_running: bool,
}

/// Sets everything up, makes a few calls, and shows the results.
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    quiet_logs()?;
    block_on(async {
        let stage = set_up::Stage::build().await?;
        let mut out = anstream::stdout();
        story::opening(&mut out, &stage)?;
        story::calls(&mut out, &stage).await?;
        if args.keep_running {
            survive().map_err(|error| unheard(&error))?;
            let end = EndSignals::listen().and_then(EndSignals::and_hangup);
            let mut end = end.map_err(|error| unheard(&error))?;
            let page = relayed_page(&stage.admin).await?;
            story::keep_running(&mut out, &stage, &page.url())?;
            tokio::select! {
                served = page.relay.serve(CancellationToken::new()) => served?,
                _ = end.next() => {}
            }
        }
        let curtain = stage.end().await?;
        story::trail(&mut out, &curtain)?;
        curtain.remove()
    })?
}
