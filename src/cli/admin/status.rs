//! `status`: the state of a running gateway, as text or as the JSON of `/status`.

use std::io::{self, Write};

use bytesize::ByteSize;
use http::Method;
use jiff::Timestamp;
use serde_json::Value;

use super::AdminTarget;
use crate::{cli::Failure, domain::Span, outbound::Until};

/// Shows the state of a running gateway.
#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// Print the JSON of `/status`.
    #[arg(long)]
    json: bool,
}

/// Asks, and prints.
pub async fn status(args: &StatusArgs, out: &mut impl Write) -> Result<(), Failure> {
    let (answer, status): (_, Value) = args.target.admin()?.json(Method::GET, "/status").await?;
    if args.json {
        writeln!(out, "{}", answer.text.trim_end())?;
    } else {
        tell(&status, out)?;
    }
    Ok(())
}

/// The keys of the fleet that could not be read the last time.
fn tell_of_keys(status: &Value, out: &mut impl Write) -> io::Result<()> {
    let of_fleet = status.pointer("/fleet/key/last_error").and_then(Value::as_str);
    if let Some(error) = of_fleet {
        writeln!(out, "fleet key    last read failed: {error}")?;
    }
    for key in status["cache_keys"].as_array().into_iter().flatten() {
        if let (Some(profile), Some(error)) = (key["profile"].as_str(), key["last_error"].as_str())
        {
            writeln!(out, "cache key    {profile}  last read failed: {error}")?;
        }
    }
    Ok(())
}

fn tell(status: &Value, out: &mut impl Write) -> io::Result<()> {
    let draining = if status["draining"] == true { ", draining" } else { "" };
    let uptime = seconds(&status["uptime_seconds"]);
    writeln!(out, "pigello-gateway {}, up {uptime}{draining}", text(&status["version"]))?;
    for listener in list(&status["listeners"]) {
        let (name, address) = (text(&listener["name"]), text(&listener["address"]));
        writeln!(
            out,
            "listener     {name}  {address}, calls go to {}",
            text(&listener["profile"])
        )?;
    }
    for profile in list(&status["profiles"]) {
        writeln!(out, "profile      {}  {}", text(&profile["name"]), text(&profile["upstream"]))?;
    }
    for set in list(&status["credentials"]) {
        let (name, state) = (text(&set["name"]), text(&set["state"]));
        write!(out, "credentials  {name}  {state}")?;
        if let Some(version) = set["version"].as_str() {
            write!(out, ", version {version} for {}", seconds(&set["age_seconds"]))?;
        }
        if let Some(error) = set["last_error"].as_str() {
            write!(out, ", last read failed: {error}")?;
        }
        writeln!(out)?;
    }
    for end in list(&status["certificates"]) {
        let (usage, name) = (text(&end["use"]), text(&end["name"]));
        if let Ok(not_after) = text(&end["not_after"]).parse() {
            let until = Until { not_after, now: Timestamp::now() };
            writeln!(out, "certificate  {usage} {name}  {until}")?;
        }
    }
    for clock in list(&status["clocks"]) {
        let (server, name) = (text(&clock["server"]), text(&clock["name"]));
        let offset = clock["offset_seconds"].as_i64().unwrap_or_default();
        let ahead = if offset < 0 { "behind" } else { "ahead" };
        writeln!(out, "clock        {} s {ahead} of {server} {name}", offset.unsigned_abs())?;
    }
    let (cache, audit) = (&status["cache"], &status["audit"]);
    if let Some(free) = audit["disk_free_bytes"].as_u64() {
        write!(out, "disk         {} free", ByteSize(free))?;
        match audit["disk_full_in_seconds"].as_u64() {
            Some(_) => writeln!(out, ", full in {}", seconds(&audit["disk_full_in_seconds"]))?,
            None => writeln!(out)?,
        }
    }
    writeln!(out, "cache        {} answers, {} bytes", cache["responses"], cache["bytes"])?;
    tell_of_keys(status, out)?;
    for feed in list(&status["notices"]) {
        let event_log = text(&feed["event_log"]);
        if event_log != "off" {
            write!(out, "notices      {}  the event log is {event_log}", text(&feed["profile"]))?;
            if let Some(reader) = feed["reader"].as_str() {
                write!(out, ", read by {reader}")?;
            }
            match feed["complete_since"].as_str().or(feed["stopped"].as_str()) {
                Some(more) if event_log == "stopped" => writeln!(out, ": {more}")?,
                Some(since) => writeln!(out, " since {since}")?,
                None => writeln!(out)?,
            }
        }
    }
    let fleet = &status["fleet"];
    if fleet.is_object() {
        let (server, error) = (fleet["server"].as_str(), fleet["last_error"].as_str());
        let state = server.map_or_else(
            || format!("not connected: {}", error.unwrap_or("not yet")),
            |server| format!("connected to {server}"),
        );
        let name = text(&fleet["name"]);
        writeln!(out, "fleet        {name}  {state}, since {}", text(&fleet["since"]))?;
    }
    match audit["reason"].as_str() {
        None => writeln!(out, "audit trail  written, last record {}", audit["last_seq"]),
        Some(reason) => writeln!(out, "audit trail  cannot be written: {reason}"),
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

fn seconds(value: &Value) -> Span {
    Span(std::time::Duration::from_secs(value.as_u64().unwrap_or_default()))
}
