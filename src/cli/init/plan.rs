//! The plan: all answers, before anything is written.

use std::path::{Path, PathBuf};

use pigello_mock::MADE_UP_VALUES;

use super::{
    MOCK_CA, Person,
    arguments::{Args, Deployment, Login, Source, Upstream},
};
use crate::{
    cli::{Failure, credentials::read_json_file},
    credentials::{
        ValueName,
        sealed::{StoredValues, values_from_json},
    },
    domain::{Address, OperationPattern, Origin, builtin_operations},
    secret::SecretText,
};

/// All options, answers and defaults.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) which: Upstream,
    pub(super) upstream: String,
    pub(super) ca_file: Option<PathBuf>,
    pub(super) profile: String,
    pub(super) source: Source,
    pub(super) deployment: Deployment,
    pub(super) caller: String,
    pub(super) allow: Vec<OperationPattern>,
    pub(super) listen: Address,
    pub(super) admin: Option<Address>,
    pub(super) vault: Option<Vault>,
    /// The values to seal.
    pub(super) values: Option<StoredValues>,
    /// The target folder.
    pub(super) directory: PathBuf,
}

/// The location of the secret in a vault.
#[derive(Debug)]
pub(super) struct Vault {
    pub(super) address: Origin,
    pub(super) mount: String,
    pub(super) path: String,
    pub(super) login: Login,
}

impl Plan {
    /// Asks for missing answers.
    pub(super) fn make(args: &Args, person: &mut Person<'_>) -> Result<Self, Failure> {
        if args.defaults {
            person.leave_in_peace();
        }
        let which = person.ask(
            args.upstream.clone(),
            "Which Pigello is called? production, development, mock or a URL",
            "production",
            str::parse,
        )?;
        let profile = args.profile.as_deref().map(name).transpose();
        let profile = profile.map_err(|why| Failure::usage(format!("--profile: {why}")))?;
        let profile = person.ask(profile, "What is it to be called here?", which.word(), name)?;
        let deployment = person.choose(args.deploy, "How is the gateway run?", "none")?;
        let source =
            person.choose(args.secret_from, "Where does the secret come from?", "sealed")?;
        consistent(args, source, deployment)?;
        let vault = match source {
            Source::Vault if deployment == Deployment::Kubernetes && !in_a_pod(args) => {
                return Err(Failure::usage(
                    "in a pod the gateway logs in with its service account",
                )
                .hint("use --vault-login kubernetes, or leave it out"));
            }
            Source::Vault => Some(vault(args, &profile, deployment, person)?),
            Source::Sealed | Source::Directory | Source::Environment => None,
        };
        let caller = args.caller.as_deref().map(name).transpose();
        let caller = caller.map_err(|why| Failure::usage(format!("--caller: {why}")))?;
        let caller = person.ask(caller, "What is the application called?", "app", name)?;
        let allow = person.ask(
            Some(args.allow.clone()).filter(|allow| !allow.is_empty()),
            "What may it do? operations, entity.*, *.get or *, with commas between",
            "subtenant.*",
            patterns,
        )?;
        let values = match source {
            Source::Sealed => values(args, &which, person)?,
            Source::Vault | Source::Directory | Source::Environment => None,
        };
        let ca_file = match (&args.ca_file, &which) {
            (Some(file), _) => Some(std::path::absolute(file)?),
            (None, Upstream::Mock) => Some(MOCK_CA.into()),
            (None, _) => None,
        };
        let usual = match deployment {
            Deployment::Systemd => "/etc/pigello-gateway",
            Deployment::None | Deployment::Kubernetes => "pigello-gateway",
        };
        let directory = args.directory.as_deref().unwrap_or(Path::new(usual));
        let directory = std::path::absolute(directory)?;
        Ok(Self {
            upstream: which.url(),
            which,
            ca_file,
            profile,
            source,
            deployment,
            caller,
            allow,
            listen: args.listen.clone().unwrap_or_else(|| deployment.usual_address()),
            admin: args.admin.clone().or_else(|| deployment.usual_admin()),
            directory,
            vault,
            values,
        })
    }

    /// Whether calls go to the mock.
    pub(super) fn is_mock(&self) -> bool {
        self.which == Upstream::Mock
    }

    /// Whether a sealed store exists; it is never overwritten.
    pub(super) fn keeps_a_store(&self) -> bool {
        self.source == Source::Sealed
    }

    /// Whether the deployment provides the directory of the seven files.
    pub(super) fn mounts(&self) -> bool {
        self.deployment == Deployment::Kubernetes
    }
}

/// The values to seal, read before anything is written.
fn values(
    args: &Args,
    which: &Upstream,
    person: &mut Person<'_>,
) -> Result<Option<StoredValues>, Failure> {
    if let Some(file) = &args.values {
        let values = values_from_json(&read_json_file(file)?)?;
        if values.is_empty() {
            let text = format!("{} holds none of the seven values", file.display());
            return Err(Failure::failed(text));
        }
        return Ok(Some(values));
    }
    if *which != Upstream::Mock {
        return person.values();
    }
    let mut values = StoredValues::default();
    for (scheme, text) in MADE_UP_VALUES {
        // Constants; the tests of `init --upstream mock` use all seven.
        if let Some(name) = ValueName::from_key(scheme.key())
            && let Ok(value) = SecretText::parse(text.as_bytes())
        {
            values.insert(name, value);
        }
    }
    Ok(Some(values))
}

/// Refuses contradictory options before anything is asked or written.
fn consistent(args: &Args, source: Source, deployment: Deployment) -> Result<(), Failure> {
    if args.values.is_some() && source != Source::Sealed {
        return Err(Failure::usage("--values is for --secret-from sealed")
            .hint("the other sources keep the values themselves"));
    }
    if source == Source::Sealed && deployment == Deployment::Kubernetes {
        return Err(Failure::usage(
            "a sealed store does not fit into a pod: Kubernetes mounts files so \
             that a group may read them, and a key that others can read is refused",
        )
        .hint("use --secret-from vault, or directory with a Secret of Kubernetes"));
    }
    if deployment == Deployment::Kubernetes && matches!(args.listen, Some(Address::Unix(_))) {
        return Err(Failure::usage(
            "a sidecar listens on the pod's loopback, not on a Unix socket",
        )
        .hint("leave --listen out"));
    }
    Ok(())
}

/// Whether the login is one that a pod has.
fn in_a_pod(args: &Args) -> bool {
    matches!(args.vault_login, None | Some(Login::Kubernetes))
}

fn vault(
    args: &Args,
    profile: &str,
    deployment: Deployment,
    person: &mut Person<'_>,
) -> Result<Vault, Failure> {
    let address = person.ask(
        args.vault_address.clone(),
        "Where is the vault?",
        "https://vault.internal:8200",
        |text| text.parse().map_err(|_| "give a URL like https://vault.internal:8200".to_owned()),
    )?;
    let path = person.ask(
        args.vault_path.clone(),
        "Which secret holds the seven values?",
        &format!("pigello/{profile}"),
        |text| Ok(text.to_owned()),
    )?;
    let path = path.trim_matches('/').to_owned();
    let login = if deployment == Deployment::Kubernetes {
        Login::Kubernetes
    } else {
        person.choose(args.vault_login, "How does the gateway log in?", "approle")?
    };
    let mount = args.vault_mount.trim_matches('/').to_owned();
    Ok(Vault { address, mount, path, login })
}

/// A name that fits a TOML table, a metric label and a path.
fn name(text: &str) -> Result<String, String> {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-' || letter == '_';
    if !text.is_empty() && text.len() <= 63 && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("a name has letters, digits, - and _, at most 63 of them".to_owned())
}

fn patterns(text: &str) -> Result<Vec<OperationPattern>, String> {
    text.split(',').map(|text| pattern(text.trim())).collect()
}

/// A valid pattern, by the configuration's own rule.
fn pattern(text: &str) -> Result<OperationPattern, String> {
    let pattern: OperationPattern =
        text.parse().map_err(|error| format!("{}: {error}", text.escape_debug()))?;
    if builtin_operations().any(|operation| pattern.matches(&operation)) {
        return Ok(pattern);
    }
    Err(format!(
        "`{pattern}` stands for no operation; one is `subtenant.get`, all of it `subtenant.*`"
    ))
}
