//! A worker: a thread with its own runtime, callers' connections and upstream pools.
//!
//! A call stays on the worker that accepted its connection, so the path wakes no other thread.
//! State that workers share (credentials, cache, trail, metrics) is read without blocking.

use std::{collections::HashMap, io, pin::pin, sync::Arc, thread};

use tokio::{
    sync::{mpsc, oneshot},
    task::{JoinSet, LocalSet},
};
use tokio_util::sync::CancellationToken;

use super::{
    ServeError,
    parts::{ListenerParts, Shared},
};
use crate::{
    domain::ListenerName,
    error::Chain,
    proxy::{
        batched_io::flush_loop,
        client::UpstreamClient,
        server::{self, Drain, Listener, ServerTls, Swap},
    },
};

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    heartbeat: Heartbeat,
    done: oneshot::Receiver<()>,
}

/// Probes whether a worker is alive.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat(mpsc::UnboundedSender<Command>);

/// One generation of a worker's parts; every reload makes a new one.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) shared: Shared,
    pub(super) listeners: Vec<ListenerParts>,
}

#[derive(Debug)]
struct Command {
    /// The new generation; `None` for a liveness probe.
    generation: Option<Generation>,
    done: oneshot::Sender<()>,
}

impl Worker {
    /// Starts the thread. It accepts connections until the drain begins.
    pub(super) fn spawn(number: usize, first: Generation, drain: Drain) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, received) = mpsc::unbounded_channel();
        let (finished, done) = oneshot::channel();
        drop(thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            runtime.block_on(work(first, received, drain));
            // The receiver is gone only when the gateway has stopped waiting.
            let _not_awaited = finished.send(());
        })?);
        Ok(Self { heartbeat: Heartbeat(commands), done })
    }

    /// Applies a new generation; returns when the worker serves it.
    pub(super) async fn apply(&self, generation: Generation) -> Result<(), ServeError> {
        self.heartbeat.command(Some(generation)).await
    }

    /// A probe that can be used beside reloads.
    pub(super) fn heartbeat(&self) -> Heartbeat {
        self.heartbeat.clone()
    }

    /// Waits until the worker has ended.
    pub(super) async fn join(self) -> Result<(), ServeError> {
        self.done.await.map_err(|_| ServeError::Worker)
    }
}

impl Heartbeat {
    /// Pings the worker; resolves when its event loop responds, including during the drain.
    pub(super) async fn ping(&self) -> Result<(), ServeError> {
        self.command(None).await
    }

    async fn command(&self, generation: Option<Generation>) -> Result<(), ServeError> {
        let (done, confirmed) = oneshot::channel();
        self.0.send(Command { generation, done }).map_err(|_| ServeError::Worker)?;
        confirmed.await.map_err(|_| ServeError::Worker)
    }
}

async fn work(first: Generation, commands: mpsc::UnboundedReceiver<Command>, drain: Drain) {
    let turns = tokio::spawn(flush_loop());
    LocalSet::new().run_until(run(first, commands, drain)).await;
    turns.abort();
    // Flushes the last responses before anybody learns that the worker has ended.
    let Err(_aborted) = turns.await;
}

async fn run(first: Generation, mut commands: mpsc::UnboundedReceiver<Command>, drain: Drain) {
    let mut floor =
        WorkerListeners { open: HashMap::new(), accepting: JoinSet::new(), drain: drain.clone() };
    let build = |shared: &Shared, parts: &ListenerParts, upstream| shared.path(parts, upstream);
    floor.apply(first, build);
    loop {
        tokio::select! {
            () = drain.stop.cancelled() => break,
            Some(command) = commands.recv() => {
                if let Some(generation) = command.generation {
                    floor.apply(generation, build);
                }
                // The requester may be gone.
                let _not_awaited = command.done.send(());
            }
            Some(_) = floor.accepting.join_next() => {}
        }
    }
    let mut last = pin!(last_connections(&mut floor.accepting, &drain));
    loop {
        tokio::select! {
            () = &mut last => return,
            // The drain has begun: only liveness probes are still answered.
            Some(command) = commands.recv() => {
                let _not_awaited = command.done.send(());
            }
        }
    }
}

/// Connections run on the worker's runtime, which lives until they have ended or are aborted.
async fn last_connections(accepting: &mut JoinSet<()>, drain: &Drain) {
    while accepting.join_next().await.is_some() {}
    drain.tracker.close();
    tokio::select! {
        () = drain.tracker.wait() => {}
        () = drain.cut.cancelled() => {
            // An aborted connection closes its records when it is dropped, which takes a pass or
            // two of the scheduler.
            let _timed_out = tokio::time::timeout(LAST_TURNS, drain.tracker.wait()).await;
        }
    }
}

/// The listeners of one worker.
struct WorkerListeners<P> {
    open: HashMap<ListenerName, Open<P>>,
    accepting: JoinSet<()>,
    drain: Drain,
}

/// One listener of one worker.
struct Open<P> {
    switch: Arc<Swap<P>>,
    /// Cancelled when this generation stops accepting.
    closing: CancellationToken,
    /// Cancelled with the listener, or with the gateway.
    drain: Drain,
    tls: Option<Arc<ServerTls>>,
}

impl<P: server::Path> WorkerListeners<P> {
    /// Applies another generation. Connections of listeners that remain continue, and their next
    /// requests take the new path. Connections of removed listeners finish their calls in flight. A
    /// listener with another client CA counts as another listener: its connections were admitted by
    /// other rules.
    fn apply(
        &mut self,
        generation: Generation,
        build: impl Fn(&Shared, &ListenerParts, UpstreamClient) -> Option<P>,
    ) {
        let Generation { shared, listeners } = generation;
        let mut upstreams = HashMap::new();
        let mut before = std::mem::take(&mut self.open);
        for parts in listeners {
            let profile = parts.settings.profile.clone();
            let upstream = upstreams.entry(profile);
            let upstream = upstream.or_insert_with_key(|profile| shared.upstream(profile));
            let Some(upstream) = upstream.clone() else { continue };
            let Some(path) = build(&shared, &parts, upstream) else { continue };
            let name = parts.settings.name.clone();
            let tls = shared.certificates.of(&name);
            let same = before.get(&name).is_some_and(|open| {
                open.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr)
            });
            let stays = if same { before.remove(&name) } else { None };
            let (switch, drain) = if let Some(open) = stays {
                open.closing.cancel();
                open.switch.set(path);
                (open.switch, open.drain)
            } else {
                let stop = self.drain.stop.child_token();
                (Swap::new(path), Drain { stop, ..self.drain.clone() })
            };
            let open = Open { switch, closing: CancellationToken::new(), drain, tls };
            self.accept(&shared, parts, &open);
            self.open.insert(name, open);
        }
        for gone in before.into_values() {
            gone.drain.stop.cancel();
        }
    }

    fn accept(&mut self, shared: &Shared, parts: ListenerParts, open: &Open<P>) {
        let name = parts.settings.name.clone();
        let edges = shared.edges(&parts.settings);
        let listener = Listener {
            name: name.clone(),
            path: open.switch.follow(),
            settings: shared.listener.clone(),
            tls: open.tls.clone(),
            refused: Arc::new(move |kind| edges.refused(kind)),
            connections: Arc::clone(&shared.connections),
            open: shared.metrics.connections().clone(),
            closing: open.closing.clone(),
        };
        let (socket, drain) = (parts.socket, open.drain.clone());
        self.accepting.spawn_local(async move {
            if let Err(error) = listener.serve(socket, drain).await {
                tracing::error!(listener = %name, error = %Chain(&error), "a listener ended");
            }
        });
    }
}

/// Time for dropped connections to close their records.
const LAST_TURNS: std::time::Duration = std::time::Duration::from_millis(500);
