//! `init`: writes a first configuration and what belongs to it.
//!
//! It asks on a terminal, or takes options, and writes into one folder: a commented configuration,
//! the place of the secret (a sealed store and its key, a vault policy, a directory, a file of
//! variables) and the deployment (systemd units or a Kubernetes manifest). The code of `check`
//! validates the result before it stays. Existing files are kept unless an option says otherwise; a
//! sealed store and its key always are.

mod answers;
mod arguments;
mod configuration;
mod deployment;
mod person;
mod place;
mod plan;
mod question;
mod secret;
mod unit;

pub use arguments::Args;
pub use person::Person;

use std::path::Path;

use self::{
    arguments::{Deployment, Source},
    place::Place,
    plan::Plan,
    question::Answers,
};
use super::Failure;
use crate::domain::Address;

/// Asks for missing answers, writes the files, and prints the next commands.
pub fn run(args: &Args, person: &mut Person<'_>) -> Result<(), Failure> {
    if args.defaults {
        person.leave_in_peace();
    }
    let mut answers = Answers::given(args)?;
    loop {
        let plan = person.settle(args, &mut answers)?;
        match write(args, &plan, person) {
            // Nothing that was answered is lost: only what failed is asked again.
            Err(failure) if person.is_asked() => {
                person.tell(&failure)?;
                answers.reopen(&failure);
            }
            done => return done,
        }
    }
}

fn write(args: &Args, plan: &Plan, person: &mut Person<'_>) -> Result<(), Failure> {
    let place = Place::new(&plan.directory, args.force);
    let files = files(plan);
    if args.dry_run {
        for file in &files {
            writeln!(person.out, "── {} (mode {:04o})", place.path(file.name), file.mode)?;
            writeln!(person.out, "{}", file.text)?;
        }
        return Ok(());
    }
    let secrets = secret::names(plan);
    let names = files.iter().map(|file| file.name).chain(secrets.iter().map(String::as_str));
    place.refuse_to_overwrite(names)?;
    place.make()?;
    place.write_all(&files)?;
    for file in &files {
        writeln!(person.out, "wrote {:<44} {}", place.path(file.name), file.what)?;
    }
    secret::prepare(plan, &place, person)?;
    next(plan, &place, person)
}

/// A file to write.
struct File {
    name: &'static str,
    /// Its mode.
    mode: u32,
    text: String,
    /// Its description, in a few words.
    what: &'static str,
}

fn files(plan: &Plan) -> Vec<File> {
    let configuration = configuration::text(plan);
    let mut files = Vec::new();
    files.extend(deployment::files(plan, &configuration));
    match plan.source {
        Source::Vault => files.push(File {
            name: "vault-policy.hcl",
            mode: 0o644,
            text: configuration::policy(plan),
            what: "what the gateway's login may read in the vault",
        }),
        Source::Environment => files.push(File {
            name: "credentials.env",
            mode: 0o600,
            text: configuration::variables(),
            what: "the variables that hold the seven values, still empty",
        }),
        Source::Sealed | Source::Directory => {}
    }
    // First, because it is validated before anything else is written.
    files.insert(
        0,
        File {
            name: CONFIGURATION,
            mode: 0o644,
            text: configuration,
            what: "the configuration, with comments",
        },
    );
    files
}

/// The next commands, ready to copy and complete: after them the gateway serves.
fn next(plan: &Plan, place: &Place, person: &mut Person<'_>) -> Result<(), Failure> {
    let config = place.path(CONFIGURATION);
    let mut commands = Vec::new();
    let mut command = |text: String, what: &str| commands.push((text, what.to_owned()));
    if plan.is_mock() {
        command(
            format!("pigello-gateway mock-upstream --ca-out {}", place.path(MOCK_CA)),
            "a mock of Pigello; in a terminal of its own",
        );
    } else if let Some((text, what)) = secret::next(plan, place) {
        command(text, what);
    }
    if plan.deployment == Deployment::Kubernetes {
        command(format!("pigello-gateway check --config {config}"), "what it means");
    } else {
        command(
            format!("pigello-gateway check --online --config {config}"),
            "what it means, and whether everything it names works",
        );
    }
    match plan.deployment {
        Deployment::None => {
            command(format!("pigello-gateway serve --config {config}"), "runs the gateway");
        }
        Deployment::Systemd => {
            let steps = deployment::installation(plan, place);
            for (text, what) in steps {
                command(text, what);
            }
        }
        Deployment::Kubernetes => command(
            format!("kubectl apply -f {}", place.path(deployment::MANIFEST)),
            "runs the gateway beside the application named in it",
        ),
    }
    if commands.len() < 3 {
        let text = format!("pigello-gateway audit tail --follow --config {config}");
        commands.push((text, "who calls what, and what becomes of it".to_owned()));
    }
    writeln!(person.out, "\nNext:")?;
    for (text, what) in commands {
        writeln!(person.out, "  {text}\n      {what}")?;
    }
    if let Some(note) = deployment::out_of_reach(plan) {
        writeln!(person.out, "\nnote: {note}")?;
    }
    let upstream = &plan.upstream;
    match &plan.listen {
        Address::Tcp(address) => writeln!(
            person.out,
            "\nThen calls go to http://{address} instead of {upstream}, without the X-PIGELLO-* headers."
        )?,
        Address::Unix(path) if plan.deployment == Deployment::Systemd => writeln!(
            person.out,
            "\nThen calls go to the socket {} instead of {upstream}, without the X-PIGELLO-* headers. \
             The application's user has to be in the group pigello-callers (`usermod -aG pigello-callers \
             USER`); no other user reaches it.",
            path.display()
        )?,
        Address::Unix(_) => {}
    }
    Ok(())
}

/// A path as a shell word.
fn shown(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-+=:@".contains(letter);
    if text.chars().all(plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

const CONFIGURATION: &str = "gateway.toml";
const MOCK_CA: &str = "mock-ca.pem";
