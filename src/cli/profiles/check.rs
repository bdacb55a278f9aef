//! `profiles check`: whether one profile can be used, by the steps of `check`.

use std::{io::Write, process::ExitCode};

use super::ways::to_profile;
use crate::{
    cli::{
        ConfigFiles, Failure,
        check::{Report, Step, look_at_credentials, look_at_upstream, set_of},
    },
    config::{Settings, suggestion},
    credentials::{CredentialSet, Sources, ValueName},
    domain::ProfileName,
};

/// Checks one profile: its name, its table, who may use it, and whether its source has all seven values.
///
/// The exit code is 0 if it can be used, and 1 if not. The values are shown as fingerprints, which are those of
/// `credentials show` with the same `--salt`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Where the configuration is.
    #[command(flatten)]
    files: ConfigFiles,
    /// Also dial the upstream, and make one call with the values. It asks for a subtenant that cannot be there, and is
    /// put on the audit trail before it is made.
    #[arg(long)]
    online: bool,
    /// Leave out the call of `--online`.
    #[arg(long, requires = "online")]
    no_call: bool,
    /// The key of the fingerprints.
    #[arg(long, value_name = "TEXT", default_value = "pigello-gateway")]
    salt: String,
    /// Print the steps as JSON.
    #[arg(long)]
    json: bool,
    /// The profile.
    #[arg(value_name = "NAME")]
    name: String,
}

pub(super) async fn run(args: &CheckArgs, out: &mut impl Write) -> Result<ExitCode, Failure> {
    let settings = args.files.load()?.for_serving()?.settings;
    let mut report = Report::default();
    look(args, &settings, &mut report).await;
    if args.json {
        writeln!(out, "{:#}", report.to_json())?;
    } else {
        report.tell(&format!("Profile {}", args.name.escape_debug()), out)?;
    }
    Ok(ExitCode::from(u8::from(report.failed() > 0)))
}

async fn look(args: &CheckArgs, settings: &Settings, report: &mut Report) {
    let name = ProfileName::new(&*args.name);
    let known: Vec<_> = settings.profiles.keys().map(ProfileName::as_str).collect();
    let Some((table, profile)) = settings.profile(&name) else {
        let step = if name.is_nameable() || name.template().is_some() {
            Step::bad("table", "no table has this name or matches it").advise(suggestion(
                &args.name,
                &known,
                "there are",
            ))
        } else {
            let rule = "a member's name is up to 63 letters in lower case, digits and `-`, and does not begin with `-`";
            Step::bad("table", "no table has this name, and no member can")
                .advise(Some(rule.to_owned()))
        };
        report.push(step);
        return;
    };
    match table.template() {
        Some(pattern) => report.push(Step::good("table", format!("a member of {pattern}"))),
        None => report.push(Step::good("table", "it has a table of its own")),
    }
    let ways = to_profile(&name, settings);
    if ways.is_empty() {
        let hint = format!("list it in `profiles` of a [[callers]] entry: profiles = [\"{name}\"]");
        report.push(Step::doubtful("used by", "nobody may use it").advise(Some(hint)));
    }
    report.extend(ways.iter().map(|way| Step::good("used by", way.to_string())));
    let Some(set) = set_of(&name, table, profile, settings) else { return };
    let (read, _) = look_at_credentials(&set, &Sources::default(), None, report).await;
    report.extend(read.iter().flat_map(|read| fingerprints(read, &args.salt)));
    if args.online {
        let tried = read.as_ref().filter(|_| !args.no_call);
        look_at_upstream(&name, settings, tried, report).await;
    }
}

fn fingerprints(set: &CredentialSet, salt: &str) -> impl Iterator<Item = Step> {
    ValueName::ALL.into_iter().map(move |name| {
        let fingerprint = set.value(name).fingerprint(salt.as_bytes());
        Step::good(name.key(), format!("fingerprint {fingerprint}"))
    })
}
