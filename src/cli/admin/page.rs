//! `page`: the way into the status page. It prints a link that works once; where the admin listener is a Unix
//! socket, it also serves the page on a loopback port.

use std::io::Write;

use http::Method;
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::{AdminClient, AdminTarget};
use crate::{
    admin::Relay,
    cli::{
        Failure,
        signals::{EndSignals, unheard},
    },
    domain::Address,
    error::Chain,
};

/// Prints a link that opens the status page in a browser.
///
/// The link works once, within a minute. The browser then has a session of eight hours at most. If the admin
/// listener is a Unix socket, this command serves the page on a loopback port until it is ended.
#[derive(Debug, clap::Args)]
pub struct PageArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// The loopback port to serve on, if the admin listener is a Unix socket; 0 takes a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

/// Prints the link; serves the page if there is no TCP address to open it at.
pub async fn page(args: &PageArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = args.target.admin()?;
    if let Address::Tcp(address) = admin.address() {
        return print(&link(&admin).await?, &address.to_string(), out);
    }
    let signals = EndSignals::listen().and_then(EndSignals::and_hangup);
    let mut signals = signals.map_err(|error| unheard(&error))?;
    let RelayedPage { relay, link } = relayed(&admin, args.port).await?;
    print(&link, &relay.address().to_string(), out)?;
    writeln!(out, "The page is served until Ctrl-C.")?;
    out.flush()?;
    let ending = CancellationToken::new();
    tokio::select! {
        served = relay.serve(ending) => Ok(served?),
        _ = signals.next() => Ok(()),
    }
}

/// The page of an admin listener on a Unix socket, on a loopback port.
pub(in crate::cli) struct RelayedPage {
    /// Serves it.
    pub(in crate::cli) relay: Relay,
    link: String,
}

impl RelayedPage {
    /// What opens it in a browser, once and within a minute.
    pub(in crate::cli) fn url(&self) -> String {
        format!("http://{}{}", self.relay.address(), self.link)
    }
}

/// Opens the port, for the page of the gateway that this admin listener belongs to.
pub(in crate::cli) async fn relayed_page(address: &Address) -> Result<RelayedPage, Failure> {
    relayed(&AdminClient::of(address), 0).await
}

async fn relayed(admin: &AdminClient, port: u16) -> Result<RelayedPage, Failure> {
    // Before the port is open: without a gateway there is nothing to serve.
    let link = link(admin).await?;
    let relay = Relay::open(port, admin.address().clone()).map_err(|error| {
        Failure::failed(Chain(&error).to_string()).hint("name another with --port")
    })?;
    Ok(RelayedPage { relay, link })
}

/// The gateway's answer.
#[derive(Deserialize)]
struct Link {
    path: String,
}

/// Path and query of a link.
async fn link(admin: &AdminClient) -> Result<String, Failure> {
    let (_, Link { path }) = admin.json(Method::POST, "/session/link").await?;
    Ok(path)
}

fn print(link: &str, host: &str, out: &mut impl Write) -> Result<(), Failure> {
    writeln!(out, "Open this link within a minute; it works once:")?;
    writeln!(out, "  http://{host}{link}")?;
    Ok(out.flush()?)
}
