//! The options of `init`. What is not given is asked for on a terminal, and has a default elsewhere.

use std::{net::Ipv4Addr, path::PathBuf};

use clap::ValueEnum;

use crate::domain::{Address, OperationPattern, Origin};

/// Writes a first configuration and what goes with it.
///
/// On a terminal it asks for what is not given; elsewhere, and with --defaults, it takes the default.
/// It ends with the next commands.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that everything is written into; it is made if it does not exist
    /// [default: pigello-gateway, with systemd /etc/pigello-gateway]
    #[arg(long, value_name = "DIR")]
    pub(super) directory: Option<PathBuf>,
    /// What the upstream and its credentials are called [default: production, or the upstream's word]
    #[arg(long, value_name = "NAME")]
    pub(super) profile: Option<String>,
    /// Which Pigello: production, development, mock (on this machine), or a URL
    /// [default: production]
    #[arg(long, value_name = "WHICH")]
    pub(super) upstream: Option<Upstream>,
    /// Where the secret comes from [default: sealed; with kubernetes, or an option of the vault, vault]
    #[arg(long, value_name = "SOURCE")]
    pub(super) secret_from: Option<Source>,
    /// What the application is called that calls [default: app]
    #[arg(long, value_name = "NAME")]
    pub(super) caller: Option<String>,
    /// What it may do: an operation, `entity.*`, `*.get` or `*`; may be repeated
    /// [default: subtenant.*]
    #[arg(long, value_name = "PATTERN")]
    pub(super) allow: Vec<OperationPattern>,
    /// Where it calls: an address of this machine, or `unix:/path`
    /// [default: 127.0.0.1:8080; with systemd <unix:/run/pigello-gateway/gateway.sock>]
    #[arg(long, value_name = "ADDRESS", value_parser = local)]
    pub(super) listen: Option<Address>,
    /// Where operators ask: `unix:/path`, or an address of this machine, which needs a token for all but
    /// health and metrics [default: a Unix socket; `admin.address` in the manual has its place]
    #[arg(long, value_name = "ADDRESS", value_parser = local)]
    pub(super) admin: Option<Address>,
    /// How the gateway is run [default: none]
    #[arg(long, value_name = "HOW")]
    pub(super) deploy: Option<Deployment>,
    /// Trust the roots in this file for the upstream, instead of this machine's
    #[arg(long, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// With `sealed`: seal the values of this JSON object, `{"customer_id": …, "client_secret": …}`
    #[arg(long, value_name = "FILE")]
    pub(super) values: Option<PathBuf>,
    /// With `vault`: its address [default: `https://vault.internal:8200`]
    #[arg(long, value_name = "URL")]
    pub(super) vault_address: Option<Origin>,
    /// With `vault`: where its key-value engine is mounted [default: secret]
    #[arg(long, value_name = "PATH")]
    pub(super) vault_mount: Option<String>,
    /// With `vault`: the secret below the mount [default: pigello/ and the profile]
    #[arg(long, value_name = "PATH")]
    pub(super) vault_path: Option<String>,
    /// With `vault`: how the gateway logs in [default: kubernetes there, elsewhere approle]
    #[arg(long, value_name = "METHOD")]
    pub(super) vault_login: Option<Login>,
    /// Take the default of everything that is not given, on a terminal as well
    #[arg(long)]
    pub(super) defaults: bool,
    /// Write over files that exist; never over a sealed store or its key
    #[arg(long)]
    pub(super) force: bool,
    /// Print the files instead of writing them
    #[arg(long)]
    pub(super) dry_run: bool,
}

/// Which Pigello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Upstream {
    Production,
    Development,
    Mock,
    Other(Origin),
}

impl Upstream {
    /// Where it is. The mock is where `mock-upstream` listens if nothing else is said.
    pub(super) fn url(&self) -> String {
        match self {
            Self::Production => "https://api.pigello.io".to_owned(),
            Self::Development => "https://dev.api.pigello.io".to_owned(),
            Self::Mock => "https://localhost:8443".to_owned(),
            Self::Other(origin) => origin.to_string(),
        }
    }

    /// What its profile is called if nothing else is said.
    pub(super) const fn word(&self) -> &'static str {
        match self {
            Self::Production | Self::Other(_) => "production",
            Self::Development => "development",
            Self::Mock => "mock",
        }
    }
}

impl std::str::FromStr for Upstream {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "production" => Ok(Self::Production),
            "development" => Ok(Self::Development),
            "mock" => Ok(Self::Mock),
            url => url.parse().map(Self::Other).map_err(|_| {
                "give production, development, mock, or a URL like https://api.pigello.io"
                    .to_owned()
            }),
        }
    }
}

/// Where the secret comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Source {
    /// An encrypted file of the gateway's own.
    Sealed,
    /// HashiCorp Vault or OpenBao.
    Vault,
    /// A folder with one file a value.
    Directory,
    /// Environment variables, for development.
    Environment,
}

/// How the gateway is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Deployment {
    /// By hand.
    None,
    /// A service and its socket.
    Systemd,
    /// A sidecar of one application.
    Kubernetes,
}

impl Deployment {
    /// Where the application calls. A machine with systemd has other users, who would reach a port on
    /// loopback; a pod has none.
    pub(super) fn usual_address(self) -> Address {
        match self {
            Self::None | Self::Kubernetes => Address::Tcp((Ipv4Addr::LOCALHOST, 8080).into()),
            Self::Systemd => Address::Unix("/run/pigello-gateway/gateway.sock".into()),
        }
    }

    /// Where operators ask, if it is not the usual place. systemd makes the folder of the callers' socket, so
    /// the service has another one; a pod has a volume.
    pub(super) fn usual_admin(self) -> Option<Address> {
        match self {
            Self::None => None,
            Self::Systemd => Some(Address::Unix("/run/pigello-gateway-admin/admin.sock".into())),
            Self::Kubernetes => Some(Address::Unix("/run/pigello-gateway/admin.sock".into())),
        }
    }
}

/// How the gateway logs in to the vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Login {
    /// With a role id and a secret id.
    Approle,
    /// With the pod's service account.
    Kubernetes,
    /// With a token in a file.
    Token,
    /// With a client certificate.
    Cert,
}

/// An address of this machine.
pub(super) fn local(text: &str) -> Result<Address, String> {
    let address: Address = text.parse().map_err(|error| format!("{error}"))?;
    if address.is_local() {
        return Ok(address);
    }
    Err("other machines can reach that; a first configuration is for this one. For a shared gateway \
         see config/examples/shared-mtls.toml"
        .to_owned())
}
