//! A worker: a thread with its own runtime, callers' connections and upstream pools.
//!
//! A connection stays on the worker that an acceptor handed it to, so a call wakes no other thread. Each
//! listener's acceptor runs on one of the workers. State that workers share (credentials, cache, trail, metrics) is read without blocking.

use std::{collections::HashMap, io, pin::pin, sync::Arc, thread, time::Duration};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinError,
};

use super::{
    ServeError,
    parts::{ListenerParts, Shared},
};
use crate::{
    domain::ListenerName,
    error::Chain,
    proxy::{
        batched_io::flush_loop,
        client::Upstreams,
        server::{
            self, Accepted, Acceptor, AcceptorEnd, Drain, Listener, ServerTls, Swap, Swapped,
            WorkerQueue,
        },
    },
};

/// A running worker.
#[derive(Debug)]
pub(super) struct Worker {
    heartbeat: Heartbeat,
    queue: WorkerQueue,
    done: oneshot::Receiver<()>,
}

/// Probes whether a worker is alive.
#[derive(Clone, Debug)]
pub(super) struct Heartbeat(mpsc::UnboundedSender<Command>);

/// An acceptor that runs on a worker.
#[derive(Debug)]
pub(super) struct Accepting {
    end: oneshot::Sender<AcceptorEnd>,
    ended: oneshot::Receiver<()>,
}

/// One generation of a worker's parts; every reload makes a new one.
#[derive(Debug)]
pub(super) struct Generation {
    pub(super) shared: Shared,
    pub(super) listeners: Vec<ListenerParts>,
}

#[derive(Debug)]
struct Command {
    order: Order,
    done: oneshot::Sender<()>,
}

#[derive(Debug)]
enum Order {
    /// Applies a new generation.
    Apply(Box<Generation>),
    /// Runs an acceptor until the receiver has its end.
    Accept(Acceptor, oneshot::Receiver<AcceptorEnd>),
    /// A liveness probe.
    Ping,
}

impl Worker {
    /// Starts the thread. It serves connections until the drain begins.
    pub(super) fn spawn(number: usize, first: Generation, drain: Drain) -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (commands, received) = mpsc::unbounded_channel();
        let (queue, accepted) = WorkerQueue::new();
        let (finished, done) = oneshot::channel();
        drop(thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            // After a panic `finished` is dropped, and the worker counts as dead.
            if runtime.block_on(work(first, accepted, received, drain)).is_ok() {
                // Fetches whose caller has left are dropped here, and close their records.
                runtime.shutdown_background();
                // The receiver is gone only when the gateway has stopped waiting.
                let _not_awaited = finished.send(());
            }
        })?);
        Ok(Self { heartbeat: Heartbeat(commands), queue, done })
    }

    /// The connections for it.
    pub(super) fn queue(&self) -> WorkerQueue {
        self.queue.clone()
    }

    /// Runs an acceptor on the worker.
    pub(super) fn accept(&self, acceptor: Acceptor) -> Result<Accepting, ServeError> {
        let (end, ending) = oneshot::channel();
        let ended = self.heartbeat.send(Order::Accept(acceptor, ending))?;
        Ok(Accepting { end, ended })
    }

    /// Applies a new generation; returns when the worker serves it.
    pub(super) async fn apply(&self, generation: Generation) -> Result<(), ServeError> {
        self.heartbeat.command(Order::Apply(Box::new(generation))).await
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

impl Accepting {
    /// Ends the acceptor; returns when it accepts no more. It waits only for the worker's next pass.
    pub(super) async fn end(self, end: AcceptorEnd) {
        // The acceptor or its worker may be gone already.
        let _gone = self.end.send(end);
        let _stuck = tokio::time::timeout(LAST_TURNS, self.ended).await;
    }
}

impl Heartbeat {
    /// Pings the worker; resolves when its event loop responds, including during the drain.
    pub(super) async fn ping(&self) -> Result<(), ServeError> {
        self.command(Order::Ping).await
    }

    async fn command(&self, order: Order) -> Result<(), ServeError> {
        self.send(order)?.await.map_err(|_| ServeError::Worker)
    }

    fn send(&self, order: Order) -> Result<oneshot::Receiver<()>, ServeError> {
        let (done, confirmed) = oneshot::channel();
        self.0.send(Command { order, done }).map_err(|_| ServeError::Worker)?;
        Ok(confirmed)
    }
}

async fn work(
    first: Generation,
    accepted: mpsc::UnboundedReceiver<Accepted>,
    commands: mpsc::UnboundedReceiver<Command>,
    drain: Drain,
) -> Result<(), JoinError> {
    let turns = tokio::spawn(flush_loop());
    // A task of its own: to wake the root of the runtime takes a system call.
    let ended = tokio::spawn(run(first, accepted, commands, drain)).await;
    turns.abort();
    // Flushes the last responses before anybody learns that the worker has ended.
    let Err(_aborted) = turns.await;
    ended
}

async fn run(
    first: Generation,
    mut accepted: mpsc::UnboundedReceiver<Accepted>,
    mut commands: mpsc::UnboundedReceiver<Command>,
    drain: Drain,
) {
    let mut floor = WorkerListeners { open: HashMap::new(), drain: drain.clone() };
    let build = |shared: &Shared, parts: &ListenerParts, upstreams| shared.path(parts, upstreams);
    floor.apply(first, build);
    loop {
        tokio::select! {
            Some(accepted) = accepted.recv() => floor.serve(accepted),
            () = drain.stop.cancelled() => break,
            Some(Command { order, done }) = commands.recv() => match order {
                Order::Apply(generation) => {
                    // What was accepted before is served by the listener that it came to.
                    floor.serve_queued(&mut accepted);
                    floor.apply(*generation, build);
                    answer(done);
                }
                Order::Accept(acceptor, end) => drop(tokio::spawn(accept(acceptor, end, done))),
                Order::Ping => answer(done),
            },
        }
    }
    // The acceptors have ended, and everything that they accepted is here.
    floor.serve_queued(&mut accepted);
    let mut last = pin!(last_connections(&drain));
    loop {
        tokio::select! {
            () = &mut last => return,
            // The drain has begun: only liveness probes are still answered.
            Some(command) = commands.recv() => answer(command.done),
        }
    }
}

async fn accept(
    acceptor: Acceptor,
    end: oneshot::Receiver<AcceptorEnd>,
    done: oneshot::Sender<()>,
) {
    let listener = acceptor.listener.clone();
    if let Err(error) = acceptor.run(end).await {
        tracing::error!(%listener, error = %Chain(&error), "a listener ended");
    }
    answer(done);
}

fn answer(done: oneshot::Sender<()>) {
    // The requester may be gone.
    let _not_awaited = done.send(());
}

/// Connections run on the worker's runtime, which lives until they have ended or are aborted.
async fn last_connections(drain: &Drain) {
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
    drain: Drain,
}

/// One listener of one worker.
struct Open<P> {
    listener: Listener<Swapped<P>>,
    switch: Arc<Swap<P>>,
    /// Its `stop` is cancelled with the listener, or with the gateway.
    drain: Drain,
    tls: Option<Arc<ServerTls>>,
}

impl<P: server::Path> WorkerListeners<P> {
    /// Serves a connection that an acceptor has handed over.
    fn serve(&self, accepted: Accepted) {
        // A reload may have taken the listener away a moment ago. Then the connection is closed.
        if let Some(open) = self.open.get(&accepted.listener) {
            open.listener.serve(accepted);
        }
    }

    fn serve_queued(&self, queue: &mut mpsc::UnboundedReceiver<Accepted>) {
        while let Ok(accepted) = queue.try_recv() {
            self.serve(accepted);
        }
    }

    /// Applies another generation. Connections of listeners that remain continue, and their next
    /// requests take the new path. Connections of removed listeners finish their calls in flight. A
    /// listener with another client CA counts as another listener: its connections were admitted by
    /// other rules.
    fn apply(
        &mut self,
        generation: Generation,
        build: impl Fn(&Shared, &ListenerParts, Upstreams) -> P,
    ) {
        let Generation { shared, listeners } = generation;
        let upstreams = shared.upstreams();
        let mut before = std::mem::take(&mut self.open);
        for parts in listeners {
            let path = build(&shared, &parts, upstreams.clone());
            let name = parts.settings.name.clone();
            let tls = shared.certificates.of(&name);
            let same = before.get(&name).is_some_and(|open| {
                open.tls.as_ref().map(Arc::as_ptr) == tls.as_ref().map(Arc::as_ptr)
            });
            let stays = if same { before.remove(&name) } else { None };
            let (switch, drain) = if let Some(open) = stays {
                open.switch.set(path);
                (open.switch, open.drain)
            } else {
                let stop = self.drain.stop.child_token();
                (Swap::new(path), Drain { stop, ..self.drain.clone() })
            };
            let edges = shared.edges(&parts.settings);
            let listener = Listener::new(
                switch.follow(),
                shared.listener.clone(),
                tls.clone(),
                Arc::new(move |refused| edges.refused(refused)),
                drain.clone(),
            );
            self.open.insert(name, Open { listener, switch, drain, tls });
        }
        for gone in before.into_values() {
            gone.drain.stop.cancel();
        }
    }
}

/// Time for a worker's next passes, in which dropped connections close their records.
const LAST_TURNS: Duration = Duration::from_millis(500);
