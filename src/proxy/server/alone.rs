//! Serves a path on one runtime, without workers: the listeners of operators, scrapers and webhooks.

use std::{io, sync::Arc};

use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::{Acceptor, Bound, Drain, Listener, Path, ServerTls, Settings, WorkerQueue};
use crate::{
    domain::ListenerName,
    proxy::call::{ConnectionLimiter, ConnectionLimits},
    telemetry::ConnectionMetrics,
};

/// Serves a path on a socket until it is cancelled. Over the limit, the oldest connection is closed.
pub async fn serve_alone(
    name: ListenerName,
    socket: Bound,
    connections: usize,
    settings: Settings,
    tls: Option<Arc<ServerTls>>,
    path: impl Path,
    ending: CancellationToken,
) -> io::Result<()> {
    let (queue, mut accepted) = WorkerQueue::new();
    let acceptor = Acceptor {
        listener: name.clone(),
        socket,
        limiter: ConnectionLimiter::new(name, ConnectionMetrics::default()),
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
    let listener = Listener::new(path, settings, tls, Arc::new(|_| {}), drain.clone());
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
