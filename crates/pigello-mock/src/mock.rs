//! Starting and stopping the mock.

use std::{net::SocketAddr, sync::Arc};

use tokio::{net::TcpListener, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    authority::Authority,
    error::MockError,
    handle::Handle,
    options::{Options, Tls},
    server,
    state::MockState,
    webhooks::Webhooks,
};

/// A mock that serves. Dropping it stops it.
#[derive(Debug)]
pub struct MockPigello {
    address: SocketAddr,
    authority: Option<Arc<Authority>>,
    handle: Handle,
    task: JoinHandle<Result<(), MockError>>,
    stop: DropGuard,
}

impl MockPigello {
    /// Binds the listener and serves in tasks of the current runtime.
    pub async fn start(options: Options) -> Result<Self, MockError> {
        let (authority, certificate) = match options.tls {
            Tls::Off => (None, None),
            Tls::Names(names) => {
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
        let stop = CancellationToken::new();
        let webhooks = Webhooks::start(options.webhooks, stop.clone());
        let state =
            MockState::new(options.activations, options.latency, options.event_log, webhooks);
        let state = Arc::new(state);
        let serve = server::serve(listener, tls, Arc::clone(&state), stop.clone());
        Ok(Self {
            address,
            authority,
            handle: Handle::new(state),
            task: tokio::spawn(serve),
            stop: stop.drop_guard(),
        })
    }

    /// The address of the listener.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `https://127.0.0.1:41234`, or with `http` where TLS is off.
    pub fn origin(&self) -> String {
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The certificate that a client must trust, as PEM; `None` where TLS is off.
    pub fn ca_pem(&self) -> Option<&str> {
        self.authority.as_deref().map(Authority::pem)
    }

    /// The authority that issued the certificate and can issue more; `None` where TLS is off.
    pub fn authority(&self) -> Option<&Arc<Authority>> {
        self.authority.as_ref()
    }

    /// Reads and controls the mock while it runs.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Closes the listener and every connection, and waits until that is done. Fails if the mock
    /// has panicked since its start, so that no test overlooks it.
    pub async fn stop(self) -> Result<(), MockError> {
        drop(self.stop);
        self.task.await.unwrap_or_else(|error| Err(MockError::Panicked(error.to_string())))
    }
}
