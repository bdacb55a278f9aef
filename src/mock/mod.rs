//! A mock of Pigello's Accounts API, for development, the demo and tests.
//!
//! All 63 operations over a small set of made-up people in memory, behind the same seven headers,
//! over real TLS from a throw-away authority. It stands where Pigello stands: at the far end of the
//! path. Nothing of the gateway depends on it.
//!
//! Where the reference is silent the mock takes the plainest way, and says so where it does. It
//! sends no cache headers. It records what arrives ([`Handle::requests`]) and misbehaves when told
//! to ([`Fault`]), in the process through a [`Handle`] and over the wire through
//! `/__mock__/` and the header `X-Mock-Fault`.
//!
//! ```no_run
//! use pigello_gateway::mock::{Fault, MockPigello, Options};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let pigello = MockPigello::start(Options::new()).await?;
//! pigello.handle().fault(Fault::new().status(http::StatusCode::SERVICE_UNAVAILABLE).times(2));
//! // … call https://127.0.0.1:{pigello.address().port()}/, trusting pigello.ca_pem() …
//! assert_eq!(pigello.handle().requests().len(), 2);
//! pigello.stop().await?;
//! # Ok(())
//! # }
//! ```

mod auth;
mod authority;
mod control;
mod data;
mod faults;
mod filter;
mod handle;
mod list;
mod operations;
mod record;
mod reply;
mod routes;
mod schema;
mod server;
mod sever;
mod subtenant;
mod write;

#[cfg(test)]
mod tests;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    credentials::{CredentialSet, IncompleteSet, PartialSet, SetVersion, ValueName},
    domain::Catalog,
    secret::SecretText,
};

pub use auth::Accepted;
pub use authority::{Authority, AuthorityError, Issued};
pub use faults::{Echo, FAULT_HEADER, Fault, FaultError, Mishap};
pub use handle::Handle;
pub use record::Recorded;
pub use routes::MAX_BODY_BYTES;
pub use subtenant::EXAMPLE_SUBTENANT;

use handle::Shared;

/// The mock's own credential values, all made up: they open nothing but the mock.
pub const MADE_UP_VALUES: [(ValueName, &str); 7] = [
    (ValueName::CustomerId, "1f3a5c70-0000-4000-8000-00000000c001"),
    (ValueName::ApplicationId, "1f3a5c70-0000-4000-8000-00000000a001"),
    (ValueName::ServiceId, "1f3a5c70-0000-4000-8000-00000000b001"),
    (ValueName::ServiceVersionId, "1f3a5c70-0000-4000-8000-00000000b101"),
    (ValueName::ClientCt, "organization.company"),
    (ValueName::ClientObjectId, "1f3a5c70-0000-4000-8000-00000000e001"),
    (ValueName::ClientSecret, "made-up-secret-that-opens-only-the-mock"),
];

/// [`MADE_UP_VALUES`] as a set, of the version `made-up`.
pub fn credentials() -> Arc<CredentialSet> {
    let [.., (_, secret)] = MADE_UP_VALUES;
    #[expect(clippy::expect_used, reason = "the values are constants, and a test reads them")]
    credentials_with_secret(secret).expect("made-up values make a set")
}

/// The made-up identifiers with another secret, as a rotation leaves them. The version is
/// `made-up` as well: the mock never looks at it.
pub fn credentials_with_secret(secret: &str) -> Result<Arc<CredentialSet>, IncompleteSet> {
    let mut values = PartialSet::new();
    for (name, value) in MADE_UP_VALUES {
        let value = if name.is_secret() { secret } else { value };
        let value = SecretText::parse(value.as_bytes())
            .map_err(|problem| IncompleteSet::Invalid { name, problem })?;
        values.insert(name, value);
    }
    CredentialSet::new(SetVersion::new("made-up"), values).map(Arc::new)
}

/// One of the made-up values, for objects that mention them.
fn made_up(key: &str) -> &'static str {
    let value = MADE_UP_VALUES.iter().find(|(name, _)| name.key() == key);
    value.map_or("", |(_, value)| value)
}

/// How a mock is set up. The default: a free port of loopback, TLS with a fresh authority for
/// [`Options::DEFAULT_NAMES`], the made-up credentials, no latency.
#[derive(Debug)]
pub struct Options {
    listen: SocketAddr,
    tls: Tls,
    accepted: Accepted,
    latency: Duration,
}

#[derive(Debug)]
enum Tls {
    Off,
    Named(Vec<String>),
    Certificate(Arc<Authority>, Issued),
}

impl Options {
    /// The names in the certificate where nothing else is asked for. `.test` is reserved (RFC 6761
    /// §6.2): such a name leads nowhere by accident.
    pub const DEFAULT_NAMES: [&'static str; 4] =
        ["api.pigello.test", "localhost", "127.0.0.1", "::1"];

    /// The default.
    pub fn new() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls: Tls::Named(Self::DEFAULT_NAMES.map(str::to_owned).to_vec()),
            accepted: Accepted::Sets(vec![credentials()]),
            latency: Duration::ZERO,
        }
    }

    /// Listens there; port 0 takes a free one.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// Speaks plain HTTP/1.1.
    #[must_use]
    pub fn plain(mut self) -> Self {
        self.tls = Tls::Off;
        self
    }

    /// Makes a certificate for these DNS names and IP addresses.
    #[must_use]
    pub fn names(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.tls = Tls::Named(names.into_iter().map(Into::into).collect());
        self
    }

    /// Shows this certificate: a good one, one for another name, or one whose time is over.
    #[must_use]
    pub fn certificate(mut self, authority: Arc<Authority>, certificate: Issued) -> Self {
        self.tls = Tls::Certificate(authority, certificate);
        self
    }

    /// Lets in these values.
    #[must_use]
    pub fn accept(mut self, accepted: Accepted) -> Self {
        self.accepted = accepted;
        self
    }

    /// Waits so long before every answer.
    #[must_use]
    pub fn latency(mut self, latency: Duration) -> Self {
        self.latency = latency;
        self
    }
}

impl Default for Options {
    fn default() -> Self {
        Self::new()
    }
}

/// The mock.
#[derive(Debug)]
pub struct MockPigello;

impl MockPigello {
    /// Binds, and serves in tasks of the current runtime until the result is stopped or dropped.
    pub async fn start(options: Options) -> Result<Running, MockError> {
        let (authority, certificate) = match options.tls {
            Tls::Off => (None, None),
            Tls::Named(names) => {
                let authority = Authority::new("pigello-gateway mock, throw-away authority")?;
                let certificate = authority.server(&names)?;
                (Some(Arc::new(authority)), Some(certificate))
            }
            Tls::Certificate(authority, certificate) => (Some(authority), Some(certificate)),
        };
        let tls = match &certificate {
            Some(certificate) => {
                let config = certificate.server_config().map_err(MockError::Tls)?;
                Some(TlsAcceptor::from(Arc::new(config)))
            }
            None => None,
        };
        let bind_error = |source| MockError::Bind { address: options.listen, source };
        let listener = TcpListener::bind(options.listen).await.map_err(bind_error)?;
        let address = listener.local_addr().map_err(bind_error)?;
        let catalog = Catalog::new([]).map_err(MockError::Catalog)?;
        let shared = Arc::new(Shared::new(catalog, options.accepted, options.latency));
        let stop = CancellationToken::new();
        let serve = server::serve(listener, tls, Arc::clone(&shared), stop.clone());
        Ok(Running {
            address,
            authority,
            handle: Handle(shared),
            task: tokio::spawn(serve),
            stop: stop.drop_guard(),
        })
    }
}

/// A mock that serves. Dropping it ends it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    authority: Option<Arc<Authority>>,
    handle: Handle,
    task: JoinHandle<Result<(), MockError>>,
    stop: DropGuard,
}

impl Running {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:41234`, or with `http` where TLS is off.
    pub fn origin(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate to trust, as PEM; `None` where TLS is off.
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_deref().map(Authority::pem)
    }

    /// The authority behind the certificate, which can issue more.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.authority.as_ref()
    }

    /// To look into the mock and to drive it.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Closes the listener and every connection, and waits until that is done. A panic in the mock
    /// since its start is an error here, so that no test passes over it.
    pub async fn stop(self) -> Result<(), MockError> {
        drop(self.stop);
        Self::ended(self.task).await
    }

    /// Waits until the mock ends by itself, which only a defect makes it do.
    pub async fn join(self) -> Result<(), MockError> {
        Self::ended(self.task).await
    }

    async fn ended(task: JoinHandle<Result<(), MockError>>) -> Result<(), MockError> {
        task.await.unwrap_or_else(|error| Err(MockError::Panicked(error.to_string())))
    }
}

/// Why the mock cannot start, or how it ended.
#[derive(Debug, thiserror::Error)]
pub enum MockError {
    /// The address is taken or not one of this host's.
    #[error("the mock cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// No certificate for these names.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// rustls does not take the certificate.
    #[error("the mock's certificate cannot be used")]
    Tls(#[source] rustls::Error),
    /// The operations contradict each other.
    #[error("the mock's operations contradict each other")]
    Catalog(#[source] crate::domain::CatalogError),
    /// A defect of the mock.
    #[error("the mock panicked: {0}")]
    Panicked(String),
}
