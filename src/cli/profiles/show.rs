//! `profiles show`: one profile, with its credentials' place, who may use it, and how it is.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use serde::Serialize;
use serde_json::Value;

use super::{
    running::{Running, in_words},
    ways::{Way, to_profile},
};
use crate::{
    cli::{
        ConfigFiles, Failure,
        check::{set_of, source},
        decision::unknown,
    },
    config::Settings,
    credentials::ValueName,
    domain::{ProfileName, visible},
};

/// Shows one profile: its table, where its credentials are, who may use it, and how it is in the running gateway.
///
/// It reads the configuration and no secret. Whether the source has the profile, `profiles check` says.
#[derive(Debug, clap::Args)]
pub(super) struct ShowArgs {
    /// Where the configuration is.
    #[command(flatten)]
    files: ConfigFiles,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The profile: one with a table of its own, or a member of a template.
    #[arg(value_name = "NAME")]
    name: String,
}

/// One profile.
#[derive(Debug, Serialize)]
struct Shown {
    name: String,
    /// The table that it is made of.
    table: String,
    template: bool,
    upstream: String,
    /// The table of its credentials.
    credentials: String,
    /// The kind of the source, and where the values are.
    source: &'static str,
    from: String,
    /// The identifiers that the configuration gives.
    fixed: Vec<&'static str>,
    used_by: BTreeSet<Way>,
    /// Whether a gateway runs with this configuration.
    running: bool,
    /// How it is there; `null` if it is not loaded.
    state: Option<Value>,
}

pub(super) async fn run(args: &ShowArgs, out: &mut impl Write) -> Result<(), Failure> {
    let settings = args.files.load()?.for_serving()?.settings;
    let name = ProfileName::new(&*args.name);
    let shown = Shown::of(&name, &settings, &Running::of(&settings).await);
    let shown = shown.ok_or_else(|| no_profile(&name, &settings))?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &shown)?;
        writeln!(out)?;
    } else {
        shown.print(out)?;
    }
    Ok(())
}

/// The failure for a name that no table has or matches.
fn no_profile(name: &ProfileName, settings: &Settings) -> Failure {
    let known: Vec<_> = settings.profiles.keys().map(ProfileName::as_str).collect();
    if name.template().is_some() && known.contains(&name.as_str()) {
        return Failure::usage(format!("`{name}` is a template, and no profile"))
            .hint("name one of its members; `profiles list` shows the template");
    }
    unknown("profile", name.as_str(), &known)
}

impl Shown {
    /// `None` if no table has the name or matches it.
    fn of(name: &ProfileName, settings: &Settings, running: &Running) -> Option<Self> {
        let (table, profile) = settings.profile(name)?;
        let set = set_of(name, table, profile, settings)?;
        Some(Self {
            name: name.to_string(),
            table: table.to_string(),
            template: table.template().is_some(),
            upstream: profile.upstream.to_string(),
            credentials: profile.credentials.to_string(),
            source: set.source.kind(),
            from: source(&set.source),
            fixed: set.fixed.names().map(ValueName::key).collect(),
            used_by: to_profile(name, settings),
            running: running.is_there(),
            state: running.profile(name.as_str()).cloned(),
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let mut line = |name: &str, text: &str| writeln!(out, "{name:<12} {}", visible(text));
        line("profile", &self.name)?;
        let kind = if self.template { ", a template" } else { "" };
        line("table", &format!("{}{kind}", self.table))?;
        line("upstream", &self.upstream)?;
        let set = if self.source == "sealed" && self.template {
            format!("{}, the set {}", self.from, self.name)
        } else {
            self.from.clone()
        };
        line("credentials", &format!("{}: {set}", self.credentials))?;
        if !self.fixed.is_empty() {
            line("", &format!("from the configuration: {}", self.fixed.join(", ")))?;
        }
        let mut lead = "used by";
        for way in &self.used_by {
            line(lead, &way.to_string())?;
            lead = "";
        }
        if self.used_by.is_empty() {
            line(lead, "nobody: no call may lead to it")?;
        }
        match (&self.state, self.running) {
            (Some(state), _) => line("state", &in_words(state)),
            (None, true) => line("state", "not loaded in the running gateway: no call has come"),
            (None, false) => {
                line("state", "no gateway that runs with this configuration was found")
            }
        }
    }
}
