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
    Accepted, Activation, ActivationHandle, Credentials, CredentialsError, EXAMPLE_SUBTENANT,
    MockError, MockPigello, Options, SecurityScheme, Webhook, WebhookError,
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
/// authority, and answers all 63 operations. It can serve many activations at once, each with people
/// of its own. GET /__mock__/ tells how to make it misbehave and how to see what arrived. One line a
/// request goes to standard error.
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
    /// Write the made-up values there, as JSON for `credentials set --from-json FILE`; those of
    /// several activations as CSV.
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
    /// Serve that many activations, customer-0001 and so on, each with made-up values and people of
    /// its own, instead of the built-in one.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u32).range(1..=100_000),
        conflicts_with_all = ["activation", "credentials_dir", "accept_any_values"]
    )]
    activations: Option<u32>,
    /// Serve an activation with this name, such as customer-acme, instead of the built-in one; may be
    /// repeated.
    #[arg(
        long,
        value_name = "NAME",
        value_parser = activation_name,
        conflicts_with_all = ["credentials_dir", "accept_any_values"]
    )]
    activation: Vec<String>,
    /// Post the events of every write to this URL, as Pigello's webhooks do; may be repeated.
    #[arg(long, value_name = "URL")]
    webhook: Vec<String>,
    /// Trust the authorities in this PEM file where a webhook's URL is https.
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_ca: Option<PathBuf>,
    /// Serve the event log at this path.
    #[arg(long, value_name = "PATH", default_value = Options::EVENT_LOG)]
    event_log_path: String,
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
    let mut options = options(&args, wanted);
    for webhook in webhooks(&args).await? {
        options = options.webhook(webhook);
    }
    survive().map_err(MockUpstreamError::Signals)?;
    let end = EndSignals::listen().and_then(EndSignals::and_hangup);
    let mut end = end.map_err(MockUpstreamError::Signals)?;

    log_requests();
    let mock = MockPigello::start(options).await?;
    if let (Some(file), Some(pem)) = (&args.ca_out, mock.ca_pem()) {
        let written = tokio::fs::write(file, pem).await;
        written.map_err(|source| MockUpstreamError::CaOut { file: file.clone(), source })?;
    }
    if let Some(file) = &args.values_out {
        let written = tokio::fs::write(file, made_up_values(&mock.handle().activations())).await;
        written.map_err(|source| MockUpstreamError::ValuesOut { file: file.clone(), source })?;
    }
    // Standard output may be gone; the mock serves all the same.
    drop(anstream::stdout().write_all(introduction(&args, &mock).as_bytes()));

    end.next().await;
    Ok(mock.stop().await?)
}

fn options(args: &Args, wanted: Option<Credentials>) -> Options {
    let options = Options::new()
        .listen(args.listen)
        .activations(activations(args, wanted))
        .event_log(args.event_log_path.as_str())
        .latency(args.latency.into());
    if args.plain {
        return options.plain();
    }
    let own = [args.listen.ip().to_string()];
    let names = Options::DEFAULT_NAMES.map(str::to_owned).into_iter().chain(own);
    options.names(names.chain(args.name.iter().cloned()))
}

fn activations(args: &Args, wanted: Option<Credentials>) -> Vec<Activation> {
    if let Some(count) = args.activations {
        return Activation::made_up_many(count).collect();
    }
    if !args.activation.is_empty() {
        return args.activation.iter().map(|name| Activation::made_up(name.as_str())).collect();
    }
    vec![match wanted {
        _ if args.accept_any_values => Activation::new(Activation::BUILT_IN, Accepted::Anything),
        Some(credentials) => {
            Activation::new(Activation::BUILT_IN, Accepted::OneOf(vec![credentials]))
        }
        None => Activation::built_in(),
    }]
}

async fn webhooks(args: &Args) -> Result<Vec<Webhook>, MockUpstreamError> {
    let ca = match &args.webhook_ca {
        Some(file) => Some(
            tokio::fs::read_to_string(file)
                .await
                .map_err(|source| MockUpstreamError::WebhookCa { file: file.clone(), source })?,
        ),
        None => None,
    };
    let webhooks = args.webhook.iter().map(|url| Ok(Webhook::new(url, ca.as_deref())?));
    webhooks.collect()
}

/// The name of a profile, which a file of values has for each activation.
fn activation_name(text: &str) -> Result<String, &'static str> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if text.starts_with('-') || !(1..=63).contains(&text.len()) || !text.bytes().all(fits) {
        return Err("1 to 63 of a-z, 0-9 and -, and no - at the start");
    }
    Ok(text.to_owned())
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

/// The values of one activation as a JSON object, those of several as CSV with a line for each. They
/// are made up, so they need no hiding.
fn made_up_values(activations: &[ActivationHandle]) -> String {
    if let [one] = activations {
        let values = values(one).into_iter().map(|(scheme, value)| (scheme.key(), value));
        return serde_json::json!(values.collect::<std::collections::BTreeMap<_, _>>()).to_string();
    }
    let keys = SecurityScheme::ALL.map(SecurityScheme::key);
    let mut csv = format!("profile,{}\n", keys.join(","));
    for activation in activations {
        csv.push_str(activation.name());
        for (_, value) in values(activation) {
            csv.push(',');
            csv.push_str(&value);
        }
        csv.push('\n');
    }
    csv
}

/// The made-up values of an activation, which are ASCII.
fn values(activation: &ActivationHandle) -> Vec<(SecurityScheme, String)> {
    let Some(credentials) = activation.credentials() else { return Vec::new() };
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    credentials.values().map(|(scheme, value)| (scheme, text(value))).collect()
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

/// What is said at the start. Shows a secret only where it is made up.
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
    let activations = mock.handle().activations();
    match (&args.credentials_dir, activations.as_slice()) {
        (Some(directory), _) => {
            line(&format!("credentials: the seven values in {}", directory.display()));
        }
        (None, _) if args.accept_any_values => line("credentials: any seven values"),
        (None, [first, others @ ..]) => {
            line(&format!(
                "credentials: {}, made up, the secret too; they open nothing but this mock",
                first.name()
            ));
            for (scheme, value) in values(first) {
                line(&format!("  {:<18} {value}", scheme.key()));
                let header = scheme.header();
                let written = write!(headers, " \\\n    -H '{header}: {value}'");
                debug_assert!(written.is_ok(), "a String takes everything");
            }
            if !others.is_empty() {
                line(&format!("  and of {} more activations", others.len()));
                if args.values_out.is_none() {
                    line("  hint: --values-out FILE writes them all");
                }
            }
        }
        (None, []) => {}
    }
    if let Some(file) = &args.values_out {
        line(&format!("  written to {}", file.display()));
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
    /// The certificates for webhooks cannot be read.
    #[error("cannot read {}", file.display())]
    WebhookCa {
        /// The file.
        file: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// A webhook cannot be.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
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
            | Self::WebhookCa { .. }
            | Self::Webhook(_)
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
            Self::Webhook(WebhookError::Authority) => {
                Some("--webhook-ca takes a PEM file with the certificates of authorities")
            }
            Self::CaOut { .. }
            | Self::ValuesOut { .. }
            | Self::WebhookCa { .. }
            | Self::Webhook(_)
            | Self::Signals(_)
            | Self::Mock(_) => None,
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
            &["--activations", "2", "--activation", "acme"],
            &["--activation", "acme", "--accept-any-values"],
            &["--activations", "2", "--credentials-dir", "d"],
        ] {
            let error = parse(conflict).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ArgumentConflict);
        }
    }

    async fn written(arguments: &[&str]) -> String {
        let args = parse(&[&["--listen", "127.0.0.1:0"], arguments].concat()).unwrap();
        let mock = MockPigello::start(options(&args, None)).await.unwrap();
        let text = made_up_values(&mock.handle().activations());
        mock.stop().await.unwrap();
        text
    }

    #[tokio::test]
    async fn values_are_json_for_one_activation_and_csv_for_several() {
        for one in [&[][..], &["--activation", "acme"], &["--activations", "1"]] {
            let json: serde_json::Value = serde_json::from_str(&written(one).await).unwrap();
            assert_eq!(json.as_object().unwrap().len(), 7);
            assert!(json["client_secret"].as_str().unwrap().starts_with("made-up-secret"));
        }
        let csv = written(&["--activation", "acme", "--activation", "beta"]).await;
        let lines: Vec<_> = csv.lines().collect();
        assert_eq!(
            lines[0],
            "profile,customer_id,application_id,service_id,service_version_id,client_ct,\
             client_object_id,client_secret"
        );
        assert!(lines[1].starts_with("acme,") && lines[2].starts_with("beta,"));
        assert!(lines.iter().all(|line| line.split(',').count() == 8));
        assert_eq!(lines.len(), 3);
        let many = written(&["--activations", "1000"]).await;
        assert_eq!(many.lines().count(), 1_001);
        assert_eq!(many.lines().last().unwrap().split(',').next(), Some("customer-1000"));
    }

    #[test]
    fn the_name_of_an_activation_is_that_of_a_profile() {
        let longest = "a".repeat(63);
        for name in ["customer-acme", "0", &longest] {
            assert!(parse(&["--activation", name]).is_ok(), "{name}");
        }
        let long = "a".repeat(64);
        for name in ["", "-a", "Acme", "a,b", "a/b", "å", &long] {
            assert!(parse(&[&format!("--activation={name}")]).is_err(), "{name}");
        }
        assert!(parse(&["--activations", "0"]).is_err());
    }

    #[tokio::test]
    async fn the_introduction_shows_only_a_made_up_secret() {
        let own = introduced(&[]).await;
        assert!(own.contains("made up"));
        assert!(own.contains("x-pigello-client-secret: made-up-secret"));
        assert!(own.contains("curl --insecure"));
        let plain = introduced(&["--plain"]).await;
        assert!(plain.contains("http://127.0.0.1:") && !plain.contains("--insecure"));
        let many = introduced(&["--activations", "3"]).await;
        assert!(many.contains("customer-0001, made up") && many.contains("2 more activations"));
        assert_eq!(many.matches("x-pigello-client-secret: made-up-secret").count(), 1);
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
    async fn a_webhook_that_cannot_be_is_misuse() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("ca.pem");
        let ca = file.to_str().unwrap();
        assert!(parse(&["--webhook-ca", ca]).is_err(), "of no webhook");
        let https = &["--webhook", "https://localhost:8444/hooks/x", "--webhook-ca", ca][..];
        let refused = async |arguments: &[&str]| {
            let error = webhooks(&parse(arguments).unwrap()).await.unwrap_err();
            assert!(error.is_usage());
            Chain(&error).to_string()
        };
        assert!(refused(https).await.contains("ca.pem"));
        std::fs::write(&file, "nonsense").unwrap();
        assert!(refused(https).await.contains("PEM"));
        assert!(refused(&["--webhook", "localhost:8444"]).await.contains("URL"));
        let authority = pigello_mock::Authority::new("test").unwrap();
        std::fs::write(&file, authority.pem()).unwrap();
        assert_eq!(webhooks(&parse(https).unwrap()).await.unwrap().len(), 1);
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
