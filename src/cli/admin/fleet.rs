//! `fleet`: what a running gateway knows of its fleet, and what it has all of it do.
//!
//! `fleet wait` is in [`wait`](super::wait).

use std::io::{self, Write};

use comfy_table::{ContentArrangement, Table, presets};
use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::{
    AdminTarget,
    purge::What,
    rotate_cache_key::{RotateCacheKeyArgs, rotate_cache_key},
    wait::{FleetWaitArgs, wait},
};
use crate::{cli::Failure, domain::visible, fleet::Members};

/// Shows the fleet of a running gateway, or drops cached responses of all its members.
#[derive(Debug, clap::Args)]
pub struct FleetArgs {
    #[command(subcommand)]
    command: FleetCommand,
}

#[derive(Debug, clap::Subcommand)]
enum FleetCommand {
    /// Show the connection to the store, what is told and heard over it, and the members
    ///
    /// What more than half of the members do not have has a `≠`. A hub also says which audit trails are not as they
    /// were. The exit code is 1 while not everything is heard, and while there is such a trail.
    Status(FleetStatusArgs),
    /// Wait until every member uses a version of credentials
    ///
    /// Then nobody needs the old secret. Members that have not loaded the profile do not count, and at least one must
    /// have it. A member whose record cannot be read counts as one that does not use the version. The exit code is 1 if
    /// the time is over first.
    Wait(FleetWaitArgs),
    /// Drop cached responses of all members
    Purge(FleetPurgeArgs),
    /// Make a new version of the key of a profile's responses in the shared cache
    RotateCacheKey(RotateCacheKeyArgs),
    /// Tell a hub that you know what it finds wrong with audit trails
    Acknowledge(AcknowledgeArgs),
}

/// Tells a running hub that you know what it finds wrong with the audit trails of its fleet.
///
/// The findings go away. They stay in the fleet log, with the time of this; who it was is in the hub's audit trail. What
/// the trail has from now on counts.
#[derive(Debug, clap::Args)]
struct AcknowledgeArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// The chains of the trails, as `fleet status` shows them.
    #[arg(required = true, value_name = "CHAIN", value_parser = chain)]
    chains: Vec<String>,
}

/// Shows the connection of a running gateway to the fleet's store, what is told and heard over it, and the members.
#[derive(Debug, clap::Args)]
struct FleetStatusArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// Print JSON: `fleet` and `cache_keys` of `/status`, with the `members` and the number of `unreadable` records of
    /// `/fleet`.
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
        FleetCommand::Wait(args) => wait(args, out).await,
        FleetCommand::Purge(args) => purge(args, out).await,
        FleetCommand::RotateCacheKey(args) => rotate_cache_key(args, out).await,
        FleetCommand::Acknowledge(args) => acknowledge(args, out).await,
    }
}

async fn status(args: &FleetStatusArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = args.target.admin()?;
    let (_, mut status): (_, Map<String, Value>) = admin.json(Method::GET, "/status").await?;
    let Some(Value::Object(mut fleet)) = status.remove("fleet") else {
        return Err(Failure::failed("the gateway has no fleet: there is no [fleet]"));
    };
    let log = status.remove("fleet_log");
    let findings = log.as_ref().and_then(|log| log["findings"].as_array()).map_or(0, Vec::len);
    fleet.extend(status.remove("cache_keys").map(|keys| ("cache_keys".to_owned(), keys)));
    let is_hearing = fleet.get("hearing") == Some(&Value::Bool(true));
    let members = admin.ask(Method::GET, "/fleet").await?;
    let listed: Option<Members> = serde_json::from_str(&members.text).ok();
    if args.json {
        if let Some(Members { members, unreadable }) = listed {
            // The list takes the place of its length.
            fleet.insert("members".to_owned(), json!(members));
            fleet.insert("unreadable".to_owned(), unreadable.into());
        }
        fleet.extend(log.map(|log| ("log".to_owned(), log)));
        writeln!(out, "{:#}", Value::Object(fleet))?;
    } else {
        tell(&Value::Object(fleet), out)?;
        match listed {
            Some(members) => list(&members, out)?,
            None => writeln!(out, "members      not known: {}", visible(members.text.trim_end()))?,
        }
        if let Some(log) = &log {
            tell_of_trails(log, out)?;
        }
    }
    if !is_hearing {
        return Err(Failure::failed(
            "not every change of the fleet is heard; answers live for `ttl`",
        ));
    }
    if findings > 0 {
        return Err(Failure::failed("audit trails of the fleet are not as they were").hint(
            "compare them with `audit verify --fleet-log`; `fleet acknowledge` says that you know",
        ));
    }
    Ok(())
}

/// What a hub knows of the members' audit trails.
fn tell_of_trails(log: &Value, out: &mut impl Write) -> io::Result<()> {
    writeln!(
        out,
        "\ntrails       {}, in {} lines of the fleet log",
        log["chains"], log["last_seq"]
    )?;
    for finding in log["findings"].as_array().into_iter().flatten() {
        let text = |name: &str| visible(finding[name].as_str().unwrap_or("?"));
        writeln!(
            out,
            "not as it was  {}: {}, chain {} up to record {}, since {}",
            text("instance"),
            text("finding"),
            text("chain"),
            finding["last_seq"],
            text("since")
        )?;
    }
    Ok(())
}

/// The gateway's answer.
#[derive(Deserialize)]
struct Acknowledged {
    acknowledged: u64,
}

async fn acknowledge(args: &AcknowledgeArgs, out: &mut impl Write) -> Result<(), Failure> {
    let admin = args.target.admin()?;
    for chain in &args.chains {
        let path = format!("/fleet/acknowledge?chain={chain}");
        let (_, Acknowledged { acknowledged }) = admin.json(Method::POST, &path).await?;
        writeln!(out, "{chain}  {acknowledged} acknowledged")?;
    }
    Ok(())
}

fn chain(text: &str) -> Result<String, &'static str> {
    let is_name = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_name { Ok(text.to_owned()) } else { Err("is no chain: it has 32 hexadecimal digits") }
}

fn tell(fleet: &Value, out: &mut impl Write) -> io::Result<()> {
    let text = |name: &str| fleet[name].as_str().unwrap_or("?");
    let server = fleet["server"].as_str();
    writeln!(out, "fleet        {}, as a {}", text("name"), text("role"))?;
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
    tell_of_key("the fleet", &fleet["key"], out)?;
    for key in fleet["cache_keys"].as_array().into_iter().flatten() {
        tell_of_key(key["profile"].as_str().unwrap_or("?"), key, out)?;
    }
    Ok(())
}

/// The key of the notices, or of a profile's part of the shared cache.
fn tell_of_key(of: &str, key: &Value, out: &mut impl Write) -> io::Result<()> {
    let used = match (&key["seals"], &key["age_seconds"]) {
        (Value::Number(version), Value::Number(age)) => {
            format!("version {version}, in use for {age} s")
        }
        _ => "none".to_owned(),
    };
    let of = visible(of);
    match key["last_error"].as_str() {
        Some(error) => {
            writeln!(out, "key          of {of}: {used}; last read failed: {}", visible(error))
        }
        None => writeln!(out, "key          of {of}: {used}"),
    }
}

/// The members, a line each.
fn list(Members { members, unreadable }: &Members, out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "members      {}", members.len())?;
    if *unreadable > 0 {
        writeln!(out, "unreadable   {unreadable} records; their members have another key")?;
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "MEMBER",
        "ROLE",
        "VERSION",
        "CONFIGURATION",
        "CREDENTIALS",
        "EVENT LOG",
        "SEEN",
    ]);
    for seen in members {
        let record = &seen.record;
        let cell = |what: &str, text: &str| {
            let differs = seen.differs.iter().any(|known| known == what);
            format!("{}{}", if differs { "≠ " } else { "" }, visible(text))
        };
        table.add_row([
            visible(&record.instance).into_owned(),
            record.role.label().to_owned(),
            cell("version", &record.version),
            cell("configuration", &record.configuration),
            cell("credentials", &record.credentials_in_words()),
            cell("event_log", &record.event_log),
            format!("{} s ago", seen.seen_seconds),
        ]);
    }
    writeln!(out, "\n{}", table.trim_fmt())
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
