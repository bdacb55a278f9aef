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
    domain::{ListenerName, Peer},
    proxy::call::{ConnectionLimiter, ConnectionLimits, ConnectionPermit},
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

#[cfg(test)]
mod tests {
    use std::{
        io::ErrorKind,
        net::TcpStream,
        os::{fd::OwnedFd, unix::net::UnixStream},
    };

    use super::*;
    use crate::{domain::Address, proxy::server::SocketAccess, telemetry::ConnectionMetrics};

    type Queue = mpsc::UnboundedReceiver<Accepted>;

    fn acceptor(socket: Bound, workers: usize) -> (Acceptor, Vec<Queue>) {
        let listener = ListenerName::new("main");
        let limiter = ConnectionLimiter::new(listener.clone(), ConnectionMetrics::default());
        let limits = ConnectionLimits { total: 100, unproven: 100, per_peer: 100 };
        let (workers, queues) = (0..workers).map(|_| WorkerQueue::new()).unzip();
        (Acceptor { listener, socket, limiter, limits, workers, own: 1 }, queues)
    }

    type Connect = Box<dyn Fn() -> io::Result<OwnedFd>>;

    /// A socket of each kind, and a way to connect to it.
    fn sockets(folder: &tempfile::TempDir) -> Vec<(Bound, Connect)> {
        let tcp = Bound::bind(&"127.0.0.1:0".parse().unwrap(), SocketAccess::Owner).unwrap();
        let Address::Tcp(address) = tcp.address().clone() else { panic!("TCP") };
        let path = folder.path().join("socket");
        let unix = Bound::bind(&Address::Unix(path.clone()), SocketAccess::Owner).unwrap();
        vec![
            (tcp, Box::new(move || TcpStream::connect(address).map(OwnedFd::from))),
            (unix, Box::new(move || UnixStream::connect(&path).map(OwnedFd::from))),
        ]
    }

    #[tokio::test]
    async fn kept_connections_are_spread_evenly() {
        let folder = tempfile::tempdir().unwrap();
        for (socket, connect) in sockets(&folder) {
            let (acceptor, mut queues) = acceptor(socket, 16);
            let (end, ending) = oneshot::channel();
            let running = tokio::spawn(acceptor.run(ending));
            let callers: Vec<_> = (0..64).map(|_| connect().unwrap()).collect();
            let mut kept = Vec::new();
            for queue in &mut queues {
                for _ in 0..4 {
                    kept.push(queue.recv().await.unwrap().attach().unwrap());
                }
            }
            end.send(AcceptorEnd::Pause).unwrap();
            running.await.unwrap().unwrap();
            assert!(queues.iter_mut().all(|queue| queue.try_recv().is_err()), "that was all");
            drop((callers, kept));
        }
    }

    #[tokio::test]
    async fn a_worker_that_has_died_gets_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let (socket, connect) = sockets(&folder).swap_remove(0);
        let (acceptor, mut queues) = acceptor(socket, 2);
        queues.pop();
        let (_end, ending) = oneshot::channel();
        let _running = tokio::spawn(acceptor.run(ending));
        let _callers = [(); 3].map(|()| connect().unwrap());
        for _ in 0..3 {
            queues[0].recv().await.unwrap();
        }
    }

    #[tokio::test]
    async fn a_closed_socket_serves_its_queue_and_refuses_what_comes_later() {
        let folder = tempfile::tempdir().unwrap();
        for (socket, connect) in sockets(&folder) {
            let (acceptor, mut queues) = acceptor(socket, 2);
            let _waiting = [(); 3].map(|()| connect().unwrap());
            let (end, ending) = oneshot::channel();
            end.send(AcceptorEnd::Close).unwrap();
            acceptor.run(ending).await.unwrap();
            let handed: usize = queues.iter_mut().map(|queue| queue.len()).sum();
            assert_eq!(handed, 3);
            let refused = connect().unwrap_err().kind();
            assert!(matches!(refused, ErrorKind::ConnectionRefused | ErrorKind::NotFound));
        }
    }

    #[tokio::test]
    async fn an_inherited_socket_keeps_its_queue_for_the_next_process() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let inherited = Bound::inherit_tcp(listener.try_clone().unwrap()).unwrap();
        let (acceptor, mut queues) = acceptor(inherited, 1);
        let _waiting = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (end, ending) = oneshot::channel();
        end.send(AcceptorEnd::Close).unwrap();
        acceptor.run(ending).await.unwrap();
        assert!(queues[0].try_recv().is_err());
        assert!(listener.accept().is_ok(), "the next process serves it");
    }
}
