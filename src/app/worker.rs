//! A worker: a thread with a runtime, callers' connections and upstream pools of its own.
//!
//! A call stays on the worker that accepted its connection from the first byte to the last, so the
//! path wakes no other thread. What workers share (credentials, cache, trail, metrics) is read
//! without waiting for each other.

use std::{collections::HashMap, io, sync::Arc, thread};

use tokio::{
    sync::oneshot,
    task::{JoinSet, LocalSet},
};

use super::{
    ServeError,
    parts::{ListenerParts, Shared},
};
use crate::{
    error::Chain,
    pipeline::{
        listener::{Drain, Listener},
        upstream::Upstream,
    },
};

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    done: oneshot::Receiver<()>,
}

impl Worker {
    /// Starts the thread; it accepts from its listeners until the drain begins.
    pub(super) fn spawn(
        number: usize,
        listeners: Vec<ListenerParts>,
        shared: Shared,
        drain: Drain,
    ) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (finished, done) = oneshot::channel();
        drop(thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            runtime.block_on(LocalSet::new().run_until(run(listeners, shared, drain)));
            // The receiver is gone only if the gateway does not wait any more.
            let _not_awaited = finished.send(());
        })?);
        Ok(Self { done })
    }

    /// Waits until the worker has ended.
    pub(super) async fn join(self) -> Result<(), ServeError> {
        self.done.await.map_err(|_| ServeError::Worker)
    }
}

async fn run(listeners: Vec<ListenerParts>, shared: Shared, drain: Drain) {
    let mut upstreams = HashMap::new();
    let mut accepting = JoinSet::new();
    for parts in listeners {
        let profile = parts.settings.profile.clone();
        let Some(upstream_settings) = shared.upstreams.get(&profile) else { continue };
        let upstream = upstreams
            .entry(profile)
            .or_insert_with(|| Upstream::new(upstream_settings.clone()))
            .clone();
        let Some(path) = shared.path(&parts, upstream) else { continue };
        let name = parts.settings.name.clone();
        let edges = shared.edges(&parts.settings);
        let listener = Listener {
            name: name.clone(),
            path,
            tls: shared.tls.get(&name).cloned(),
            refused: Arc::new(move |kind| edges.refused(kind)),
            settings: shared.listener.clone(),
            connections: parts.connections,
            open: shared.metrics.connections().clone(),
        };
        let drain = drain.clone();
        accepting.spawn_local(async move {
            if let Err(error) = listener.serve(parts.socket, drain).await {
                tracing::error!(listener = %name, error = %Chain(&error), "a listener ended");
            }
        });
    }
    while accepting.join_next().await.is_some() {}
    // Connections run on this runtime: it lives until they have ended or are cut off.
    drain.tracker.close();
    tokio::select! {
        () = drain.tracker.wait() => {}
        () = drain.cut.cancelled() => {
            // A cut connection closes its records when it is dropped, which takes a turn or two.
            let _timed_out = tokio::time::timeout(LAST_TURNS, drain.tracker.wait()).await;
        }
    }
    drop(Arc::new(upstreams));
}

/// How long dropped connections get to close their records.
const LAST_TURNS: std::time::Duration = std::time::Duration::from_millis(500);
