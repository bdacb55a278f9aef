//! `reload`: has a running gateway take its configuration anew.

use std::{io::Write, time::Duration};

use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{self, Instant};

use super::AdminTarget;
use crate::{
    cli::{Failure, failure::Message},
    domain::visible,
};

/// Has a running gateway take its configuration anew, and says what changed.
///
/// A configuration with a mistake is refused, with every mistake, and the exit code is 2; calls go on under the
/// one before it. Credentials are read again by `refresh`, or by SIGHUP.
#[derive(Debug, clap::Args)]
pub struct ReloadArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// Change nothing: the gateway reads its files, and says what a reload would change.
    #[arg(long)]
    dry_run: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What the gateway answers.
#[derive(Deserialize)]
#[serde(untagged)]
enum Answered {
    Reloaded { changes: Vec<ChangedKey>, warnings: Vec<Mistake> },
    Problem { detail: String, mistakes: Vec<Mistake> },
}

#[derive(Deserialize)]
struct ChangedKey {
    key: String,
    old: Option<String>,
    new: Option<String>,
}

#[derive(Deserialize)]
struct Mistake {
    message: String,
    hint: Option<String>,
}

/// Reloads, and prints what changed.
pub async fn reload(args: &ReloadArgs, out: &mut impl Write) -> Result<(), Failure> {
    let path = format!("/reload?dry_run={}", args.dry_run);
    let admin = args.target.admin()?;
    let end = Instant::now() + PATIENCE;
    let (answer, answered) = loop {
        let (answer, answered): (_, Answered) = admin.json(Method::POST, &path).await?;
        match answer.retry_after {
            Some(pause) if Instant::now() + pause < end => time::sleep(pause).await,
            _ => break (answer, answered),
        }
    };
    if args.json {
        writeln!(out, "{}", answer.text.trim_end())?;
    }
    let (changes, warnings) = match answered {
        Answered::Reloaded { changes, warnings } => (changes, warnings),
        Answered::Problem { mistakes, .. } if answer.status == StatusCode::UNPROCESSABLE_ENTITY => {
            let mistakes =
                mistakes.into_iter().map(|Mistake { message, hint }| Message::new(message, hint));
            return Err(Failure::Mistakes(
                mistakes.collect(),
                "the gateway keeps the configuration it had",
            ));
        }
        Answered::Problem { detail, .. } => {
            return Err(Failure::failed(format!("the gateway did not reload: {detail}")));
        }
    };
    if args.json {
        return Ok(());
    }
    writeln!(out, "{}", summary(changes.len(), args.dry_run))?;
    for ChangedKey { key, old, new } in &changes {
        match (old, new) {
            (None, None) => writeln!(out, "  {}", visible(key))?,
            (old, new) => {
                let or = |value: &Option<String>| {
                    visible(value.as_deref().unwrap_or("(not set)")).into_owned()
                };
                writeln!(out, "  {}: {} → {}", visible(key), or(old), or(new))?;
            }
        }
    }
    for Mistake { message, hint } in &warnings {
        writeln!(out, "warning: {}", visible(message))?;
        if let Some(hint) = hint {
            writeln!(out, "  hint: {}", visible(hint))?;
        }
    }
    Ok(())
}

fn summary(changes: usize, dry_run: bool) -> String {
    let keys = if changes == 1 { "key" } else { "keys" };
    match (changes, dry_run) {
        (0, false) => "reloaded; nothing has changed".to_owned(),
        (0, true) => "a reload would change nothing".to_owned(),
        (count, false) => format!("reloaded; {count} {keys} changed:"),
        (count, true) => format!("a reload would change {count} {keys}:"),
    }
}

/// How long to ask again while other reloads wait.
const PATIENCE: Duration = Duration::from_secs(15);
