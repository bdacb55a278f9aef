//! `purge`: drops cached responses of a running gateway.

use std::io::Write;

use http::Method;
use serde::Deserialize;

use super::AdminTarget;
use crate::{cli::Failure, domain::is_uuid};

/// Drops cached responses: of an operation, about an object, of a profile, what is all of these, or all.
#[derive(Debug, clap::Args)]
pub struct PurgeArgs {
    #[command(flatten)]
    target: AdminTarget,
    #[command(flatten)]
    what: What,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Which responses are dropped.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).multiple(true))]
pub(super) struct What {
    /// Those of this operation, such as `subtenant.get`.
    #[arg(long, value_name = "NAME", group = "what")]
    operation: Option<String>,
    /// Those about this object; without `--operation` also all lists, which may hold it.
    #[arg(long, value_name = "UUID", group = "what", value_parser = uuid)]
    pk: Option<String>,
    /// Those of this profile.
    #[arg(long, value_name = "NAME", group = "what")]
    profile: Option<String>,
    /// All.
    #[arg(long, group = "what", conflicts_with_all = ["operation", "pk", "profile"])]
    all: bool,
}

impl What {
    /// The query that says so.
    pub(super) fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let what = [("operation", &self.operation), ("pk", &self.pk), ("profile", &self.profile)];
        for (name, value) in what {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        query.finish()
    }
}

/// The gateway's answer.
#[derive(Deserialize)]
struct Purged {
    purged: u64,
}

/// Purges, and prints how many.
pub async fn purge(args: &PurgeArgs, out: &mut impl Write) -> Result<(), Failure> {
    let path = format!("/cache?{}", args.what.query());
    let (answer, Purged { purged }) = args.target.admin()?.json(Method::DELETE, &path).await?;
    if args.json {
        writeln!(out, "{}", answer.text.trim_end())?;
    } else {
        writeln!(out, "{purged} cached responses dropped")?;
    }
    Ok(())
}

fn uuid(text: &str) -> Result<String, &'static str> {
    if is_uuid(text) { Ok(text.to_owned()) } else { Err("is no UUID") }
}
