//! `mock-upstream`: the mock of Pigello's Accounts API on its own.
//!
//! For development against a gateway without Pigello. It serves until it is told to end.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use http::HeaderMap;
use pigello_mock::{
    Accepted, Credentials, CredentialsError, EXAMPLE_SUBTENANT, MADE_UP_VALUES, MockError,
    MockPigello, Options,
};

use super::signals::{EndSignals, survive};
use crate::{
    credentials::ValueName,
    domain::Span,
    secret::{SecretBuffer, SecretText, SecretTextError},
};

/// Serves a mock of Pigello's Accounts API, with made-up people in memory.
///
/// It wants the seven X-PIGELLO-* headers, speaks TLS with a certificate of its own throw-away
/// authority, and answers all 63 operations. GET /__mock__/ tells how to make it misbehave and how
/// to see what arrived. One line a request goes to standard error.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8443")]
    listen: SocketAddr,
    /// Allow an address that other hosts can reach.
    #[arg(long)]
    allow_remote: bool,
    /// Speak plain HTTP instead of HTTPS.
    #[arg(long, conflicts_with_all = ["ca_out", "name"])]
    plain: bool,
    /// Write the authority's certificate there, for the gateway's `ca_file`.
    #[arg(long, value_name = "FILE")]
    ca_out: Option<PathBuf>,
    /// Write the built-in made-up values there as JSON, for `credentials set --from-json FILE`.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["credentials_dir", "accept_any_values"])]
    values_out: Option<PathBuf>,
    /// One more DNS name or IP address in the certificate; may be repeated.
    #[arg(long, value_name = "NAME")]
    name: Vec<String>,
    /// Want the seven values in this directory, one a file, named `customer_id` to
    /// `client_secret`, instead of the built-in made-up ones.
    #[arg(long, value_name = "DIR")]
    credentials_dir: Option<PathBuf>,
    /// Take any seven values.
    #[arg(long, conflicts_with = "credentials_dir")]
    accept_any_values: bool,
    /// Wait this long before every answer, such as 250ms.
    #[arg(long, value_name = "DURATION", default_value = "0s")]
    latency: Span,
}

/// Serves until a signal ends it.
pub async fn run(args: Args) -> Result<(), MockUpstreamError> {
    if !args.listen.ip().is_loopback() && !args.allow_remote {
        return Err(MockUpstreamError::Remote(args.listen));
    }
    let wanted = match &args.credentials_dir {
        Some(directory) => Some(read_values(directory).await?),
        None => None,
    };
    survive().map_err(MockUpstreamError::Signals)?;
    let end = EndSignals::listen().and_then(EndSignals::and_hangup);
    let mut end = end.map_err(MockUpstreamError::Signals)?;

    log_requests();
    let mock = MockPigello::start(options(&args, wanted)).await?;
    if let (Some(file), Some(pem)) = (&args.ca_out, mock.ca_pem()) {
        let written = tokio::fs::write(file, pem).await;
        written.map_err(|source| MockUpstreamError::CaOut { file: file.clone(), source })?;
    }
    if let Some(file) = &args.values_out {
        let written = tokio::fs::write(file, made_up_values()).await;
        written.map_err(|source| MockUpstreamError::ValuesOut { file: file.clone(), source })?;
    }
    // Standard output may be gone; the mock serves all the same.
    drop(anstream::stdout().write_all(introduction(&args, &mock).as_bytes()));

    end.next().await;
    Ok(mock.stop().await?)
}

fn options(args: &Args, wanted: Option<Credentials>) -> Options {
    let accepted = match wanted {
        _ if args.accept_any_values => Accepted::Anything,
        Some(credentials) => Accepted::OneOf(vec![credentials]),
        None => Accepted::OneOf(vec![Credentials::made_up()]),
    };
    let options = Options::new().listen(args.listen).accept(accepted).latency(args.latency.into());
    if args.plain {
        return options.plain();
    }
    let own = [args.listen.ip().to_string()];
    let names = Options::DEFAULT_NAMES.map(str::to_owned).into_iter().chain(own);
    options.names(names.chain(args.name.iter().cloned()))
}

async fn read_values(directory: &Path) -> Result<Credentials, MockUpstreamError> {
    let mut headers = HeaderMap::new();
    for name in ValueName::ALL {
        let file = directory.join(name.key());
        let raw = match tokio::fs::read(&file).await {
            Ok(raw) => SecretBuffer::new(raw),
            Err(source) => return Err(MockUpstreamError::Credential { file, source }),
        };
        let value = SecretText::parse(&raw)
            .and_then(|value| value.to_header_value())
            .map_err(|source| MockUpstreamError::CredentialValue { file, source })?;
        headers.insert(name.header(), value);
    }
    Ok(Credentials::read(&headers)?)
}

/// The built-in values as a JSON object. They are made up, so they need no hiding.
fn made_up_values() -> String {
    let values = MADE_UP_VALUES.iter().map(|(name, value)| (name.key(), *value));
    serde_json::json!(values.collect::<std::collections::BTreeMap<_, _>>()).to_string()
}

/// One line a request on standard error, unless the process logs already.
fn log_requests() {
    let logs = tracing_subscriber::fmt()
        .with_env_filter("pigello_mock=debug")
        .with_writer(|| Box::new(anstream::stderr()) as Box<dyn io::Write>)
        .with_target(false)
        .compact();
    drop(logs.try_init());
}

/// What is said at the start. Shows the secret only where it is the built-in one.
fn introduction(args: &Args, mock: &MockPigello) -> String {
    let mut text = String::new();
    let origin = mock.origin();
    let mut line = |said: &str| {
        text.push_str(said);
        text.push('\n');
    };
    line(&format!("mock of Pigello's Accounts API on {origin}"));
    line("  63 operations over made-up people; nothing is kept beyond this process");
    if let Some(file) = &args.ca_out {
        line(&format!("  certificate authority: {}", file.display()));
    } else if !args.plain {
        line("  hint: --ca-out FILE writes the certificate authority a gateway must trust");
    }
    line(&format!("  faults and what arrived: {origin}/__mock__/"));
    line("");
    let mut headers = String::new();
    match (&args.credentials_dir, args.accept_any_values) {
        (Some(directory), _) => {
            line(&format!("credentials: the seven values in {}", directory.display()));
        }
        (None, true) => line("credentials: any seven values"),
        (None, false) => {
            line("credentials: built in, made up, the secret too; they open nothing but this mock");
            for (name, value) in MADE_UP_VALUES {
                line(&format!("  {:<18} {value}", name.key()));
                let header = name.header();
                let written = write!(headers, " \\\n    -H '{header}: {value}'");
                debug_assert!(written.is_ok(), "a String takes everything");
            }
        }
    }
    line("");
    let trust = match &args.ca_out {
        Some(file) => format!(" --cacert {}", file.display()),
        None if args.plain => String::new(),
        None => " --insecure".to_owned(),
    };
    line("example:");
    line(&format!(
        "  curl{trust}{headers} \\\n    {origin}/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/"
    ));
    text
}

/// Why the mock does not serve.
#[derive(Debug, thiserror::Error)]
pub enum MockUpstreamError {
    /// Other hosts could reach it.
    #[error("{0} can be reached from other hosts, and the mock lets everyone drive it")]
    Remote(SocketAddr),
    /// A credential file cannot be read.
    #[error("cannot read {}", file.display())]
    Credential {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A credential file holds no value.
    #[error("the value in {} cannot be used", file.display())]
    CredentialValue {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        #[source]
        source: SecretTextError,
    },
    /// The values make no set.
    #[error("the credential values make no set")]
    Credentials(#[from] CredentialsError),
    /// The authority's certificate cannot be written.
    #[error("cannot write the certificate authority to {}", file.display())]
    CaOut {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The made-up values cannot be written.
    #[error("cannot write the made-up values to {}", file.display())]
    ValuesOut {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No signal handlers.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// The mock itself.
    #[error(transparent)]
    Mock(#[from] MockError),
}

impl MockUpstreamError {
    /// Whether the arguments are at fault (exit code 2) and not the run (exit code 1).
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Remote(_)
            | Self::Credential { .. }
            | Self::CredentialValue { .. }
            | Self::Credentials(_)
            | Self::Mock(MockError::Authority(_)) => true,
            Self::CaOut { .. } | Self::ValuesOut { .. } | Self::Signals(_) | Self::Mock(_) => false,
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Remote(_) => Some("give --allow-remote if that is meant"),
            Self::Credential { .. } | Self::CredentialValue { .. } | Self::Credentials(_) => Some(
                "--credentials-dir wants one file a value: customer_id, application_id, \
                 service_id, service_version_id, client_ct, client_object_id, client_secret",
            ),
            Self::Mock(MockError::Bind { .. }) => {
                Some("give another address with --listen; port 0 takes a free one")
            }
            Self::Mock(MockError::Authority(_)) => Some("--name takes DNS names and IP addresses"),
            Self::CaOut { .. } | Self::ValuesOut { .. } | Self::Signals(_) | Self::Mock(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, Parser, error::ErrorKind};

    use super::*;
    use crate::error::Chain;

    #[derive(Debug, Parser)]
    struct Command {
        #[command(flatten)]
        args: Args,
    }

    fn parse(arguments: &[&str]) -> Result<Args, clap::Error> {
        let arguments = ["mock-upstream"].iter().chain(arguments);
        Command::try_parse_from(arguments).map(|command| command.args)
    }

    fn directory_with_values() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        for name in ValueName::ALL {
            let value = format!("canary-{name}\n");
            std::fs::write(directory.path().join(name.key()), value).unwrap();
        }
        directory
    }

    async fn introduced(arguments: &[&str]) -> String {
        let args = parse(&[&["--listen", "127.0.0.1:0"], arguments].concat()).unwrap();
        let wanted = match &args.credentials_dir {
            Some(directory) => Some(read_values(directory).await.unwrap()),
            None => None,
        };
        let mock = MockPigello::start(options(&args, wanted)).await.unwrap();
        let text = introduction(&args, &mock);
        mock.stop().await.unwrap();
        text
    }

    #[test]
    fn the_arguments_are_sound() {
        Command::command().debug_assert();
        assert_eq!(parse(&[]).unwrap().listen.to_string(), "127.0.0.1:8443");
        for conflict in [
            &["--plain", "--ca-out", "ca.pem"][..],
            &["--plain", "--name", "pigello.test"],
            &["--accept-any-values", "--credentials-dir", "d"],
        ] {
            let error = parse(conflict).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
        }
    }

    #[tokio::test]
    async fn the_introduction_shows_only_a_made_up_secret() {
        let own = introduced(&[]).await;
        assert!(own.contains("made up"));
        assert!(own.contains("x-pigello-client-secret: made-up-secret"));
        assert!(own.contains("curl --insecure"));
        let plain = introduced(&["--plain"]).await;
        assert!(plain.contains("http://127.0.0.1:") && !plain.contains("--insecure"));
        let any = introduced(&["--accept-any-values"]).await;
        assert!(any.contains("any seven values"));
        let directory = directory_with_values();
        let path = directory.path().to_str().unwrap();
        let given = introduced(&["--credentials-dir", path]).await;
        assert!(given.contains(path));
        assert!(!given.contains("canary") && !given.contains("made-up-secret"));
    }

    #[tokio::test]
    async fn bad_credentials_name_the_file_and_never_the_value() {
        let directory = directory_with_values();
        let file = directory.path().join("client_secret");
        std::fs::write(&file, "canary with\na line break\n").unwrap();
        let bad = read_values(directory.path()).await.unwrap_err();
        std::fs::remove_file(&file).unwrap();
        let missing = read_values(directory.path()).await.unwrap_err();
        for error in [bad, missing] {
            let told = Chain(&error).to_string();
            assert!(told.contains("client_secret") && !told.contains("canary"), "{told}");
            assert!(error.is_usage() && error.hint().is_some());
        }
    }

    #[tokio::test]
    async fn other_hosts_are_let_in_only_on_request() {
        let args = parse(&["--listen", "0.0.0.0:0"]).unwrap();
        let error = run(args).await.unwrap_err();
        assert!(error.is_usage() && error.hint().unwrap().contains("--allow-remote"));
    }

    #[tokio::test]
    async fn a_failure_of_the_run_is_no_misuse() {
        let args = parse(&["--listen", "127.0.0.1:0", "--ca-out", "/no/such/directory/ca.pem"]);
        let error = run(args.unwrap()).await.unwrap_err();
        assert!(!error.is_usage());
        assert!(error.to_string().contains("/no/such/directory/ca.pem"));
    }
}
