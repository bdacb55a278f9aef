//! Accepts the connections of one listener, and hands each to the worker that has the fewest.
//!
//! A listener has one acceptor, on one worker, so that a connection wakes that worker and the one that
//! gets it, and no others. On equal counts the acceptor's own worker gets it, which wakes nobody.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{mpsc, oneshot};

use super::socket::{BACKLOG, Bound, CallerStream, DetachedStream};
use crate::{
    domain::ListenerName,
    proxy::call::{ConnectionLimiter, ConnectionLimits, ConnectionPermit, Peer},
};

/// Accepts the connections of one listener.
#[derive(Debug)]
pub struct Acceptor {
    /// The listener.
    pub listener: ListenerName,
    /// Its socket.
    pub socket: Bound,
    /// The counts of its connections.
    pub limiter: Arc<ConnectionLimiter>,
    /// Their limits.
    pub limits: ConnectionLimits,
    /// The queues of all workers.
    pub workers: Vec<WorkerQueue>,
    /// The number of the worker that it runs on.
    pub own: usize,
}

/// How an acceptor ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AcceptorEnd {
    /// Another acceptor continues. Connections wait for it in the kernel's queue.
    Pause,
    /// The socket is closed. The connections in its queue are served, and further callers are refused by
    /// the kernel and go elsewhere. An inherited socket stays open for the process that comes next.
    Close,
}

/// The connections that are handed to one worker. The limits of the listeners bound it.
#[derive(Clone, Debug)]
pub struct WorkerQueue {
    accepted: mpsc::UnboundedSender<Accepted>,
    /// The connections that the worker has, or is about to get.
    open: Arc<AtomicUsize>,
}

/// A connection for a worker.
#[derive(Debug)]
pub struct Accepted {
    /// The listener that it came to.
    pub listener: ListenerName,
    stream: Stream,
    peer: Peer,
    counted: Counted,
}

/// A connection of the worker that accepted it, or for another one.
#[derive(Debug)]
enum Stream {
    Own(CallerStream),
    Detached(DetachedStream),
}

/// Counts a connection of its listener and of its worker until it is dropped.
#[derive(Debug)]
pub(super) struct Counted {
    pub(super) permit: ConnectionPermit,
    worker: Arc<AtomicUsize>,
}

impl WorkerQueue {
    /// A queue, and the worker's end of it.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Accepted>) {
        let (accepted, queue) = mpsc::unbounded_channel();
        (Self { accepted, open: Arc::default() }, queue)
    }
}

impl Acceptor {
    /// Accepts connections until it is told how to end; a sender that is gone closes the socket.
    pub async fn run(self, mut end: oneshot::Receiver<AcceptorEnd>) -> io::Result<()> {
        let socket = self.socket.to_tokio()?;
        let end = loop {
            let next = async {
                // The room comes first: over the limit, connections wait in the kernel's queue and cost
                // this process no memory.
                self.limiter.room(&self.limits).await;
                socket.accept().await
            };
            // In this order: no connection is accepted by settings that a reload is about to replace.
            let accepted = tokio::select! {
                biased;
                end = &mut end => break end,
                accepted = next => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.hand_over(stream, peer),
                Err(error) => {
                    // Probably out of file descriptors. Connections that end will free some.
                    tracing::warn!(listener = %self.listener, %error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        };
        if end.unwrap_or(AcceptorEnd::Close) == AcceptorEnd::Close && !self.socket.is_inherited() {
            self.socket.unlink();
            for _ in 0..BACKLOG {
                if !self.limiter.has_room(&self.limits) {
                    break;
                }
                let Ok((stream, peer)) = self.socket.accept_queued() else { break };
                self.hand_over(stream, peer);
            }
        }
        Ok(())
    }

    fn hand_over(&self, stream: CallerStream, peer: Peer) {
        let Some(permit) = self.limiter.admit(&self.limits, peer) else { return };
        let Some((number, worker)) = self.least_loaded() else { return };
        let stream = if number == self.own {
            Stream::Own(stream)
        } else {
            match stream.detach() {
                Ok(stream) => Stream::Detached(stream),
                Err(error) => {
                    tracing::warn!(listener = %self.listener, %error, "a connection is lost");
                    return;
                }
            }
        };
        worker.open.fetch_add(1, Ordering::Relaxed);
        let counted = Counted { permit, worker: Arc::clone(&worker.open) };
        let accepted = Accepted { listener: self.listener.clone(), stream, peer, counted };
        // A worker that has just died closes it.
        let _closed = worker.accepted.send(accepted);
    }

    /// The worker with the fewest connections, the own one first.
    fn least_loaded(&self) -> Option<(usize, &WorkerQueue)> {
        let workers = self.workers.iter().enumerate();
        workers.filter(|(_, worker)| !worker.accepted.is_closed()).min_by_key(|(number, worker)| {
            (worker.open.load(Ordering::Relaxed), *number != self.own)
        })
    }
}

impl Accepted {
    /// The connection on the runtime that this is called on.
    pub(super) fn attach(self) -> io::Result<(CallerStream, Peer, Counted)> {
        let stream = match self.stream {
            Stream::Own(stream) => stream,
            Stream::Detached(stream) => stream.attach()?,
        };
        Ok((stream, self.peer, self.counted))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.worker.fetch_sub(1, Ordering::Relaxed);
    }
}

const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
