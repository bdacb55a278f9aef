//! Serves the admin and the metrics listener with the server of callers' listeners: the same limits on heads,
//! idle time and connections, on a small number of their own.

use std::{
    convert::Infallible,
    future::ready,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use axum::Router;
use http::Response;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{AdminState, Routes, SharedView, guard, routes::router};
use crate::{
    body::Body,
    domain::{Address, ListenerName},
    proxy::{
        call::Arrival,
        http_policy::HostRules,
        server::{Bound, ServerTls, Settings, serve_alone},
    },
};

/// One listener for operators or scrapers.
#[derive(Debug)]
pub struct AdminServer {
    /// Its socket.
    pub socket: Bound,
    /// Connections at the same time, none of which counts as one of callers.
    pub connections: usize,
    /// The limits of a connection.
    pub settings: Settings,
    /// What it serves.
    pub routes: Routes,
    /// TLS for its clients.
    pub tls: Option<Arc<ServerTls>>,
}

impl AdminServer {
    /// Serves until it is cancelled.
    pub async fn serve(self, window: SharedView, ending: CancellationToken) -> io::Result<()> {
        let address = self.socket.address();
        let hosts = match (self.routes, address) {
            // Other machines reach it by addresses and names that it does not know.
            (Routes::Health, Address::Tcp(_)) if !address.is_local() => HostRules::any(),
            _ => HostRules::new(address, &[]),
        };
        let path = AdminPath(router(AdminState::new(window), self.routes, hosts));
        let name = ListenerName::new("admin");
        let (connections, settings) = (self.connections, self.settings);
        serve_alone(name, self.socket, connections, settings, self.tls, path, ending).await
    }
}

/// The router as the path of a listener. It learns the peer of the connection.
#[derive(Clone, Debug)]
struct AdminPath(Router);

impl Service<Arrival> for AdminPath {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<axum::extract::Request>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, Arrival { request, connection, .. }: Arrival) -> Self::Future {
        let mut request = match request {
            Ok(request) => request.map(axum::body::Body::new),
            Err(unreadable) => {
                let answer = guard::refusal(&unreadable.into_error());
                return Box::pin(ready(Ok(answer.map(Body::wrap))));
            }
        };
        request.extensions_mut().insert(connection.peer());
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(Body::wrap)) })
    }
}
