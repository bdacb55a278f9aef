//! The plan: all answers, before anything is written.

use std::path::{Path, PathBuf};

use pigello_mock::MADE_UP_VALUES;

use super::arguments::{Args, Deployment, Login, Source, Upstream};
use crate::{
    cli::{Failure, credentials::read_json_file},
    credentials::{
        ValueName,
        sealed::{StoredValues, values_from_json},
    },
    domain::{Address, OperationPattern, Origin},
    error::Chain,
    outbound::{Trust, client_tls},
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

/// The values of the JSON file that `--values` names, to seal.
pub(super) fn values_from_file(args: &Args, file: &Path) -> Result<StoredValues, Failure> {
    values_are_for(args.secret_from.unwrap_or(Source::Sealed))?;
    let values = values_from_json(&read_json_file(file)?)?;
    if values.is_empty() {
        let text = format!("{} holds none of the seven values", file.display());
        return Err(Failure::failed(text));
    }
    Ok(values)
}

fn values_are_for(source: Source) -> Result<(), Failure> {
    if source == Source::Sealed {
        return Ok(());
    }
    Err(Failure::usage("--values is for --secret-from sealed")
        .hint("the other sources keep the values themselves"))
}

/// The mock's values.
pub(super) fn made_up_values() -> Option<StoredValues> {
    let mut values = StoredValues::default();
    for (scheme, text) in MADE_UP_VALUES {
        values.insert(ValueName::from_key(scheme.key())?, SecretText::parse(text.as_bytes()).ok()?);
    }
    Some(values)
}

/// Refuses paths that cannot be written into the files: as text, and in one line of a unit.
pub(super) fn readable(
    directory: &Path,
    listen: &Address,
    deployment: Deployment,
) -> Result<(), Failure> {
    let paths = match listen {
        Address::Unix(socket) => vec![directory, socket],
        Address::Tcp(_) => vec![directory],
    };
    for path in paths {
        let text = path.to_str().ok_or_else(|| Failure::usage("a path is not UTF-8"))?;
        if text.contains(char::is_control) {
            return Err(Failure::usage("a path has a line break or another control character"));
        }
    }
    match listen {
        Address::Unix(socket) if deployment == Deployment::Systemd => {
            let text = socket.display().to_string();
            // systemd leaves out blanks there, and goes on with the next line.
            if text.ends_with(|last: char| last == '\\' || last.is_whitespace()) {
                return Err(Failure::usage(
                    "the path of a socket cannot end in a blank or a backslash in a unit of systemd",
                ));
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Refuses a file without roots to trust.
pub(super) fn has_roots(file: &Path) -> Result<(), Failure> {
    client_tls(Trust::Roots(Some(file)), None)
        .map(drop)
        .map_err(|error| Failure::usage(format!("--ca-file: {}", Chain(&error))))
}

/// Refuses answers that contradict one another.
pub(super) fn consistent(
    args: &Args,
    source: Source,
    deployment: Deployment,
    listen: &Address,
    login: Option<Login>,
) -> Result<(), Failure> {
    if args.values.is_some() {
        values_are_for(source)?;
    }
    let of_vault = [
        ("--vault-address", args.vault_address.is_some()),
        ("--vault-mount", args.vault_mount.is_some()),
        ("--vault-path", args.vault_path.is_some()),
        ("--vault-login", args.vault_login.is_some()),
    ];
    if let Some((option, _)) = of_vault.into_iter().find(|(_, is_given)| *is_given)
        && source != Source::Vault
    {
        return Err(Failure::usage(format!("{option} is for --secret-from vault"))
            .hint("leave it out, or take the secret from the vault"));
    }
    if deployment != Deployment::Kubernetes {
        return Ok(());
    }
    if source == Source::Sealed {
        return Err(Failure::usage(
            "a sealed store does not fit into a pod: Kubernetes mounts files so \
             that a group may read them, and a key that others can read is refused",
        )
        .hint("use --secret-from vault, or directory with a Secret of Kubernetes"));
    }
    if matches!(listen, Address::Unix(_)) {
        return Err(Failure::usage(
            "a sidecar listens on the pod's loopback, not on a Unix socket",
        )
        .hint("leave --listen out"));
    }
    if source == Source::Vault && !matches!(login, None | Some(Login::Kubernetes)) {
        return Err(Failure::usage("in a pod the gateway logs in with its service account")
            .hint("use --vault-login kubernetes, or leave it out"));
    }
    Ok(())
}
