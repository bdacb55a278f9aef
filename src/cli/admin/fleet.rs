//! `fleet`: what a running gateway knows of its fleet, and what it has all of it do.

use std::io::{self, Write};

use http::Method;
use serde::Deserialize;
use serde_json::Value;

use super::{AdminTarget, purge::What};
use crate::cli::Failure;

/// Shows the fleet of a running gateway, or drops cached responses of all its members.
#[derive(Debug, clap::Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, clap::Subcommand)]
enum FleetCommand {
    /// Show the connection to the store, and what is told and heard over it
    Status(FleetStatusArgs),
    /// Drop cached responses of all members
    Purge(FleetPurgeArgs),
}

/// Shows the connection of a running gateway to the fleet's store, and what is told and heard over it. The exit code is
/// 1 while not everything is heard.
#[derive(Debug, clap::Args)]
struct FleetStatusArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// Print JSON: `fleet` of `/status`.
    #[arg(long)]
    json: bool,
}

/// Drops cached responses of a running gateway and of all other members of its fleet.
#[derive(Debug, clap::Args)]
struct FleetPurgeArgs {
    #[command(flatten)]
    target: AdminTarget,
    #[command(flatten)]
    what: What,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Asks, and prints.
pub async fn fleet(args: &FleetArgs, out: &mut impl Write) -> Result<(), Failure> {
    match &args.command {
        FleetCommand::Status(args) => status(args, out).await,
        FleetCommand::Purge(args) => purge(args, out).await,
    }
}

async fn status(args: &FleetStatusArgs, out: &mut impl Write) -> Result<(), Failure> {
    let (_, status): (_, Value) = args.target.admin()?.json(Method::GET, "/status").await?;
    let Some(fleet) = status.get("fleet") else {
        return Err(Failure::failed("the gateway has no fleet: there is no [fleet]"));
    };
    if args.json {
        writeln!(out, "{fleet:#}")?;
    } else {
        tell(fleet, out)?;
    }
    if fleet["hearing"] == true {
        Ok(())
    } else {
        Err(Failure::failed("not every change of the fleet is heard; answers live for `ttl`"))
    }
}

fn tell(fleet: &Value, out: &mut impl Write) -> io::Result<()> {
    let text = |name: &str| fleet[name].as_str().unwrap_or("?");
    let server = fleet["server"].as_str();
    writeln!(out, "fleet        {}", text("name"))?;
    match server {
        Some(server) => writeln!(out, "store        {server}, since {}", text("since"))?,
        None => writeln!(
            out,
            "store        not connected since {}: {}",
            text("since"),
            fleet["last_error"].as_str().unwrap_or("not yet")
        )?,
    }
    writeln!(
        out,
        "told         {} messages, {} changes wait",
        fleet["messages"], fleet["waiting"]
    )?;
    writeln!(out, "heard        {} changes of others", fleet["heard"])?;
    for each in fleet["breaks"].as_array().into_iter().flatten().filter(|it| it["count"] != 0) {
        let reason = each["reason"].as_str().unwrap_or("?");
        writeln!(out, "missed       {} times, because of {reason}", each["count"])?;
    }
    Ok(())
}

/// The gateway's answer.
#[derive(Deserialize)]
struct Purged {
    purged: u64,
    told: bool,
}

async fn purge(args: &FleetPurgeArgs, out: &mut impl Write) -> Result<(), Failure> {
    let path = format!("/fleet/purge?{}", args.what.query());
    let (answer, Purged { purged, told }) = args.target.admin()?.json(Method::POST, &path).await?;
    if args.json {
        writeln!(out, "{}", answer.text.trim_end())?;
        return Ok(());
    }
    writeln!(out, "{purged} cached responses dropped here")?;
    let others = if told {
        "the other members are told"
    } else {
        "the store cannot be reached; the other members are told when it can"
    };
    writeln!(out, "{others}")?;
    Ok(())
}
