//! `refresh`: has a running gateway read its credentials now.

use std::io::Write;

use http::{Method, StatusCode};
use serde::Deserialize;

use super::AdminTarget;
use crate::cli::Failure;

/// Has a running gateway read its credentials now.
#[derive(Debug, clap::Args)]
pub struct RefreshArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// The credential set; without a name, those of all tables.
    #[arg(value_name = "NAME")]
    name: Option<String>,
    /// The credential set of this profile, which may be a member of a template.
    #[arg(long, value_name = "NAME", conflicts_with = "name")]
    profile: Option<String>,
    /// Use the source's version even if it is older than the one in use.
    #[arg(long)]
    accept_older: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// The gateway's answer about one set.
#[derive(Deserialize)]
struct Refreshed {
    name: String,
    changed: bool,
    version: Option<String>,
    error: Option<String>,
    #[serde(default)]
    older: bool,
    retry_after: Option<u64>,
}

/// Refreshes, and prints what came of it.
pub async fn refresh(args: &RefreshArgs, out: &mut impl Write) -> Result<(), Failure> {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if let Some(name) = &args.name {
        query.append_pair("name", name);
    }
    if let Some(profile) = &args.profile {
        query.append_pair("profile", profile);
    }
    if args.accept_older {
        query.append_pair("accept_older", "true");
    }
    let path = format!("/credentials/refresh?{}", query.finish());
    let (answer, sets): (_, Vec<Refreshed>) =
        args.target.admin()?.json(Method::POST, &path).await?;
    if args.json {
        writeln!(out, "{}", answer.text.trim_end())?;
    } else {
        for set in &sets {
            let (name, version) = (&set.name, set.version.as_deref().unwrap_or("none"));
            match (&set.error, set.changed) {
                (Some(error), _) => {
                    writeln!(out, "{name}: not refreshed, version {version}: {error}")?;
                }
                (None, true) => writeln!(out, "{name}: refreshed, version {version}")?,
                (None, false) => writeln!(out, "{name}: read, and still version {version}")?,
            }
        }
    }
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    let failure = Failure::failed("not every credential set was refreshed");
    let seconds = sets.iter().filter_map(|set| set.retry_after).max();
    Err(match seconds {
        _ if sets.iter().any(|set| set.older) => {
            failure.hint("`--accept-older` uses the older version of the source")
        }
        Some(seconds) => failure.hint(format!("try again in {seconds} s")),
        None => failure,
    })
}
