//! Serves the admin listener with the server of callers' listeners: the same limits on heads, idle time and
//! connections, on a small number of its own.

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
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::{SharedView, guard, router};
use crate::{
    body::Body,
    domain::ListenerName,
    proxy::{
        call::{Arrival, ConnectionLimiter, ConnectionLimits},
        http_policy::HostRules,
        server::{Acceptor, Bound, Drain, Listener, Settings, WorkerQueue},
    },
    telemetry::ConnectionMetrics,
};

/// Serves until it is cancelled. It has at most `connections`, none of which counts as one of callers.
pub async fn serve(
    socket: Bound,
    connections: usize,
    settings: Settings,
    window: SharedView,
    ending: CancellationToken,
) -> io::Result<()> {
    let listener = ListenerName::new("admin");
    let path = AdminPath(router(window, HostRules::new(socket.address(), &[])));
    let (queue, mut accepted) = WorkerQueue::new();
    let acceptor = Acceptor {
        listener: listener.clone(),
        socket,
        limiter: ConnectionLimiter::new(listener, ConnectionMetrics::default()),
        // Nobody proves anything here, so the oldest connection always gives way.
        limits: ConnectionLimits {
            total: connections,
            unproven: connections,
            per_peer: usize::MAX,
        },
        workers: vec![queue],
        own: 0,
    };
    let drain = Drain { stop: ending.clone(), ..Drain::new() };
    let listener = Listener::new(path, settings, None, Arc::new(|_| {}), drain.clone());
    let (_running, end) = oneshot::channel();
    let serving = async {
        while let Some(accepted) = accepted.recv().await {
            listener.serve(accepted);
        }
    };
    tokio::select! {
        () = ending.cancelled() => {}
        ended = acceptor.run(end) => return ended,
        () = serving => {}
    }
    drain.tracker.close();
    drain.tracker.wait().await;
    Ok(())
}

/// The router as the path of a listener.
#[derive(Clone, Debug)]
struct AdminPath(Router);

impl Service<Arrival> for AdminPath {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<axum::extract::Request>::poll_ready(&mut self.0, cx)
    }

    fn call(&mut self, Arrival { request, .. }: Arrival) -> Self::Future {
        let request = match request {
            Ok(request) => request.map(axum::body::Body::new),
            Err(unreadable) => {
                let answer = guard::refusal(&unreadable.into_error());
                return Box::pin(ready(Ok(answer.map(Body::wrap))));
            }
        };
        let answer = self.0.call(request);
        Box::pin(async move { Ok(answer.await?.map(Body::wrap)) })
    }
}
