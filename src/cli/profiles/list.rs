//! `profiles list`: the tables, the calls that lead to each, and the members that are known.

use std::{
    collections::BTreeSet,
    io::{self, Write},
};

use anstyle::Style;
use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;
use serde_json::Value;

use super::{
    running::{Running, in_words},
    ways::{Way, to_table},
};
use crate::{
    cli::{
        ConfigFiles, Failure,
        check::{members_of, source},
    },
    config::Settings,
    credentials::{SourceSettings, Sources},
    domain::{ProfileName, visible},
    error::Chain,
};

/// Lists the profiles: the tables and templates, which calls lead to each, and the members of templates.
///
/// It reads the configuration. The sources `directory` and `sealed` say which members they have, by name. If a gateway
/// runs with this configuration, it says which members are loaded, and how they are.
#[derive(Debug, clap::Args)]
pub(super) struct ListArgs {
    /// Where the configuration is.
    #[command(flatten)]
    files: ConfigFiles,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// All profiles.
#[derive(Debug, Serialize)]
struct Listed {
    /// Whether a gateway runs with this configuration and said which members are loaded.
    running: bool,
    tables: Vec<ProfileTable>,
}

/// A table of the configuration.
#[derive(Debug, Serialize)]
struct ProfileTable {
    name: String,
    template: bool,
    upstream: String,
    credentials: String,
    /// The kind of the source, and where the values are.
    source: &'static str,
    from: String,
    used_by: BTreeSet<Way>,
    /// How it is in the running gateway; `null` for a template.
    state: Option<Value>,
    /// The members that the source or the running gateway has.
    members: Vec<Member>,
    /// Why the source was not asked for its members.
    members_unknown: Option<String>,
}

/// A member of a template.
#[derive(Debug, Serialize)]
struct Member {
    name: String,
    /// Whether the source has it; `null` if it was not asked.
    in_source: Option<bool>,
    /// How it is in the running gateway; `null` if it is not loaded.
    state: Option<Value>,
}

pub(super) async fn run(args: &ListArgs, out: &mut impl Write) -> Result<(), Failure> {
    let settings = args.files.load()?.for_serving()?.settings;
    let running = Running::of(&settings).await;
    let mut tables = Vec::new();
    for name in settings.profiles.keys() {
        tables.extend(ProfileTable::of(name, &settings, &running).await);
    }
    let listed = Listed { running: running.is_there(), tables };
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &listed)?;
        writeln!(out)?;
    } else {
        listed.print(out)?;
    }
    Ok(())
}

impl ProfileTable {
    async fn of(name: &ProfileName, settings: &Settings, running: &Running) -> Option<Self> {
        let profile = settings.profiles.get(name)?;
        let set = settings.credentials.get(&profile.credentials)?;
        let template = name.template().is_some();
        let names = match &set.source {
            SourceSettings::Directory { .. } | SourceSettings::Sealed { .. } if template => {
                members_of(name, settings, &Sources::default())
                    .await
                    .map_err(|error| Chain(&error).to_string())
            }
            _ if template => {
                Err("`check --online --profile all` asks the vault for them".to_owned())
            }
            _ => Ok(BTreeSet::new()),
        };
        let (names, members_unknown) = match names {
            Ok(names) => (Some(names), None),
            Err(why) => (None, Some(why)),
        };
        let loaded = running.of_table(name.as_str()).map(|(member, _)| member.to_owned());
        let in_source = names.iter().flatten().map(ToString::to_string);
        let all: BTreeSet<_> = loaded.chain(in_source).filter(|_| template).collect();
        let members = all.into_iter().map(|member| Member {
            in_source: names.as_ref().map(|names| names.contains(&ProfileName::new(&*member))),
            state: running.profile(&member).cloned(),
            name: member,
        });
        Some(Self {
            name: name.to_string(),
            template,
            upstream: profile.upstream.to_string(),
            credentials: profile.credentials.to_string(),
            source: set.source.kind(),
            from: source(&set.source),
            used_by: to_table(name, settings),
            state: running.profile(name.as_str()).cloned(),
            members: members.collect(),
            members_unknown,
        })
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let bold = Style::new().bold();
        let kind = if self.template { "  a template" } else { "" };
        writeln!(out, "{bold}{}{bold:#}{kind}", visible(&self.name))?;
        writeln!(out, "  upstream     {}", self.upstream)?;
        writeln!(out, "  credentials  {}: {}", visible(&self.credentials), visible(&self.from))?;
        if self.used_by.is_empty() {
            writeln!(out, "  used by      nobody")?;
        }
        let mut lead = "used by";
        for way in &self.used_by {
            writeln!(out, "  {lead:<11}  {}", visible(&way.to_string()))?;
            lead = "";
        }
        if let Some(state) = &self.state {
            writeln!(out, "  state        {}", visible(&in_words(state)))?;
        }
        if self.template {
            writeln!(out, "  members      {}", visible(&self.count()))?;
        }
        Ok(())
    }

    /// `3 in the source, 1 loaded`
    fn count(&self) -> String {
        let loaded = self.members.iter().filter(|member| member.state.is_some()).count();
        let in_source = self.members.iter().filter(|member| member.in_source == Some(true)).count();
        match &self.members_unknown {
            Some(why) => format!("{loaded} loaded; those of the source are not known: {why}"),
            None => format!("{in_source} in the source, {loaded} loaded"),
        }
    }
}

impl Listed {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for table in &self.tables {
            table.print(out)?;
        }
        if !self.running {
            writeln!(out, "No gateway that runs with this configuration was found.")?;
        }
        let mut members = Table::new();
        members.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        members.set_header(["MEMBER", "TEMPLATE", "IN THE SOURCE", "STATE"]);
        for table in &self.tables {
            for Member { name, in_source, state } in &table.members {
                let in_source = in_source.map_or("?", |is_so| if is_so { "yes" } else { "no" });
                let state = state.as_ref().map_or_else(|| "not loaded".to_owned(), in_words);
                members.add_row([
                    &*visible(name),
                    &*visible(&table.name),
                    in_source,
                    &*visible(&state),
                ]);
            }
        }
        if members.row_count() > 0 {
            writeln!(out, "\n{}", members.trim_fmt())?;
        }
        Ok(())
    }
}
