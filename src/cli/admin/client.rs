//! Finds a running gateway's admin listener, and asks it.

use std::{fs, io::ErrorKind, path::PathBuf, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::{
    cli::{ConfigFiles, Failure},
    config::Settings,
    domain::Address,
    error::Chain,
    outbound::{CallLimits, Client, ClientError},
};

/// Where the gateway is asked.
#[derive(Debug, Default, clap::Args)]
pub(in crate::cli) struct AdminTarget {
    /// Where the configuration is.
    #[command(flatten)]
    files: ConfigFiles,
    /// The address of the admin listener, in place of the configuration's: `127.0.0.1:9901` or `unix:/path`.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<Address>,
    /// A file with a token for a TCP address: the token alone, or lines as in the gateway's `token_file`.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// An answer of the gateway.
pub(in crate::cli) struct Answer {
    pub(in crate::cli) status: StatusCode,
    /// When to ask again (RFC 9110 §10.2.3), if it says so in seconds.
    pub(super) retry_after: Option<Duration>,
    pub(in crate::cli) text: String,
}

/// Asks one admin listener.
pub(in crate::cli) struct AdminClient {
    client: Client,
    address: Address,
    token: Option<HeaderValue>,
}

impl AdminTarget {
    /// The admin listener.
    pub(in crate::cli) fn admin(&self) -> Result<AdminClient, Failure> {
        let (address, usual_tokens) = if let Some(address) = &self.address {
            (address.clone(), None)
        } else {
            let settings = self.files.load()?.settings;
            let admin = settings.admin.ok_or_else(|| {
                Failure::usage("the configuration has no admin listener to ask")
                    .hint("set `admin.enabled = true`, or give `--address`")
            })?;
            (admin.address, settings.admin_tokens)
        };
        let token = match (&address, &self.token_file, usual_tokens) {
            (_, Some(named), _) => Some(token(named)?),
            // Somebody who may not read it can still ask for what needs no token.
            (Address::Tcp(_), None, Some(usual)) => token(&usual).ok(),
            _ => None,
        };
        Ok(AdminClient::new(address, token, LIMITS))
    }

    /// The configuration files.
    pub(in crate::cli) fn files(&self) -> &ConfigFiles {
        &self.files
    }

    /// Any listener that tells the health.
    pub(super) fn health(&self) -> Result<AdminClient, Failure> {
        let address = match &self.address {
            Some(address) => address.clone(),
            None => health_address(self.files.load()?.settings).ok_or_else(|| {
                Failure::usage("there is no admin listener to ask")
                    .hint("set `admin.enabled = true`, or `metrics.address`")
            })?,
        };
        Ok(AdminClient::new(address, None, CallLimits { time: PROBE_TIME, ..LIMITS }))
    }
}

/// Has a gateway with those settings put on its trail what a command is about to do.
pub(in crate::cli) async fn announce(settings: &Settings, path: &str) -> Result<(), Failure> {
    let Some(admin) = &settings.admin else {
        return Err(Failure::failed(
            "another process writes the trail, and no admin listener is configured to tell it",
        ));
    };
    let token = match (&admin.address, &settings.admin_tokens) {
        (Address::Tcp(_), Some(tokens)) => token(tokens).ok(),
        _ => None,
    };
    let client = AdminClient::new(admin.address.clone(), token, LIMITS);
    let answer = client.ask(Method::POST, path).await?;
    if answer.status.is_success() { Ok(()) } else { Err(client.refused(&answer)) }
}

/// The `/status` of a running gateway with those settings; `None` if none answers, or it does not tell.
pub(in crate::cli) async fn status_of(settings: &Settings) -> Option<serde_json::Value> {
    told(settings, "/status").await
}

/// The `/profiles` of a running gateway with those settings; `None` if none answers, or it does not tell.
pub(in crate::cli) async fn profiles_of(settings: &Settings) -> Option<serde_json::Value> {
    told(settings, "/profiles").await
}

async fn told(settings: &Settings, path: &str) -> Option<serde_json::Value> {
    let admin = settings.admin.as_ref()?;
    let token = match (&admin.address, &settings.admin_tokens) {
        (Address::Tcp(_), Some(tokens)) => token(tokens).ok(),
        _ => None,
    };
    let limits = CallLimits { time: PROBE_TIME, ..LIMITS };
    let client = AdminClient::new(admin.address.clone(), token, limits);
    let (_, value) = client.json(Method::GET, path).await.ok()?;
    Some(value)
}

/// Whether a gateway answers at the address of an admin or a metrics listener.
pub(in crate::cli) async fn is_gateway(address: Address) -> bool {
    let limits = CallLimits { time: PROBE_TIME, ..LIMITS };
    let client = AdminClient::new(this_machine(address), None, limits);
    client.ask(Method::GET, "/livez").await.is_ok_and(|answer| answer.text == "ok\n")
}

fn health_address(settings: Settings) -> Option<Address> {
    let admin = settings.admin.map(|admin| admin.address);
    admin.or(settings.metrics.map(|metrics| metrics.address)).map(this_machine)
}

/// An address to call; every address is this machine's.
fn this_machine(address: Address) -> Address {
    match address {
        Address::Tcp(mut tcp) if tcp.ip().is_unspecified() => {
            tcp.set_ip(match tcp.ip() {
                std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
            Address::Tcp(tcp)
        }
        address => address,
    }
}

/// The token of a file; of several, the last one that may operate, else the last.
fn token(path: &std::path::Path) -> Result<HeaderValue, Failure> {
    let unusable = |what: String| Failure::usage(format!("{}: {what}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
    let lines =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut tokens = lines.map(|line| {
        let mut words = line.split_ascii_whitespace().take_while(|word| !word.starts_with('#'));
        match (words.next(), words.next()) {
            (Some(role), Some(token)) => (role == "operate", token),
            (token, _) => (false, token.unwrap_or_default()),
        }
    });
    let first = tokens.next().ok_or_else(|| unusable("there is no token".to_owned()))?;
    let (_, token) = tokens.fold(first, |best, next| if next.0 >= best.0 { next } else { best });
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| unusable("what stands there is no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

impl AdminClient {
    /// Asks at that address, without a token.
    pub(super) fn of(address: &Address) -> Self {
        Self::new(address.clone(), None, LIMITS)
    }

    fn new(address: Address, token: Option<HeaderValue>, limits: CallLimits) -> Self {
        Self { client: Client::local(&address, limits), address, token }
    }

    pub(super) fn address(&self) -> &Address {
        &self.address
    }

    /// Asks; any answer is a success.
    pub(in crate::cli) async fn ask(&self, method: Method, path: &str) -> Result<Answer, Failure> {
        let mut request = Request::new(Bytes::new());
        *request.method_mut() = method;
        *request.uri_mut() = http::Uri::try_from(path)
            .map_err(|_| Failure::usage("a name has a character that no name has"))?;
        let token = self.token.clone().map(|token| (header::AUTHORIZATION, token));
        request.headers_mut().extend(token);
        let answer = async {
            let pending = self.client.send(request).await?;
            let status = pending.status;
            let seconds = pending.headers.get(header::RETRY_AFTER).and_then(|it| it.to_str().ok());
            let retry_after = seconds.and_then(|it| it.parse().ok()).map(Duration::from_secs);
            let text = String::from_utf8_lossy(&pending.body().await?).into_owned();
            Ok(Answer { status, retry_after, text })
        };
        answer.await.map_err(|error: ClientError| {
            let hint = match &error {
                ClientError::Connect(error) if error.kind() == ErrorKind::PermissionDenied => {
                    "the socket is for the gateway's user, root, and the group of `admin.socket_group`"
                }
                _ => "is it running, with this configuration? `serve` says the addresses it has",
            };
            let error = Chain(&error);
            let text = format!("the gateway cannot be asked at {}: {error}", self.address);
            Failure::failed(text).hint(hint)
        })
    }

    /// Asks for JSON of that form, whatever its status; any other answer is a failure.
    pub(in crate::cli) async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
    ) -> Result<(Answer, T), Failure> {
        let answer = self.ask(method, path).await?;
        match serde_json::from_str(&answer.text) {
            Ok(value) => Ok((answer, value)),
            Err(_) => Err(self.refused(&answer)),
        }
    }

    /// The failure of an answer that is not the one that was asked for.
    pub(in crate::cli) fn refused(&self, answer: &Answer) -> Failure {
        let text = answer.text.trim_end();
        let failure =
            Failure::failed(format!("{} answered {}: {text}", self.address, answer.status));
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if self.token.is_none() => {
                failure.hint("give `--token-file`, or as `--address` the Unix socket")
            }
            _ => failure,
        }
    }
}

/// Probes have a second or more.
const PROBE_TIME: Duration = Duration::from_millis(900);
/// A refresh waits for sources that are slow, and `/profiles` has a kilobyte for each loaded member.
const LIMITS: CallLimits = CallLimits { time: Duration::from_mins(1), body: 32 * 1024 * 1024 };
