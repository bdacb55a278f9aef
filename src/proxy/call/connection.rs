//! What is known of a caller's connection: made by the listener, read by the stages.

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

use parking_lot::Mutex;

use super::ParseError;
use crate::domain::Caller;

/// One connection of a caller.
pub struct Connection {
    peer: Peer,
    tls_names: Vec<Arc<str>>,
    /// Who the peer is, and by which rules that was found out. Nobody waits for it: the calls of a
    /// connection are made on one thread.
    caller: Mutex<Option<(u64, Arc<Caller>)>>,
    defect: OnceLock<ParseError>,
    active: AtomicU32,
    used: AtomicBool,
    read_ahead: AtomicBool,
}

/// The other end of a connection, as the kernel names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A TCP peer.
    Tcp(SocketAddr),
    /// A peer of a Unix socket.
    Unix {
        /// Effective user id.
        uid: u32,
        /// Effective group id.
        gid: u32,
        /// Process id, where the kernel tells.
        pid: Option<i32>,
    },
}

impl Connection {
    /// A connection of that peer, with the URI and DNS names of its verified certificate.
    pub fn new(peer: Peer, tls_names: Vec<Arc<str>>) -> Arc<Self> {
        let (caller, defect, active) = (Mutex::default(), OnceLock::new(), AtomicU32::new(0));
        let (used, read_ahead) = (AtomicBool::new(false), AtomicBool::new(false));
        Arc::new(Self { peer, tls_names, caller, defect, active, used, read_ahead })
    }

    /// The peer.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The names in the peer's verified certificate; none without one.
    pub fn tls_names(&self) -> &[Arc<str>] {
        &self.tls_names
    }

    /// Who the peer is: found out once a connection, and again when the rules are others.
    pub(in crate::proxy) fn caller(
        &self,
        rules: u64,
        identify: impl FnOnce() -> Arc<Caller>,
    ) -> Arc<Caller> {
        let mut known = self.caller.lock();
        match &*known {
            Some((by, caller)) if *by == rules => Arc::clone(caller),
            _ => Arc::clone(&known.insert((rules, identify())).1),
        }
    }

    /// Remembers why the message that came last cannot be read; none comes after it.
    pub fn refuse(&self, defect: ParseError) {
        // The first one ended the connection.
        let _first = self.defect.set(defect);
    }

    /// Why the last message cannot be read, if that is so.
    pub fn defect(&self) -> Option<ParseError> {
        self.defect.get().copied()
    }

    /// Whether a call has ever begun on it.
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Says that it is read from while a call is under way.
    pub fn read_ahead(&self) {
        self.read_ahead.store(true, Ordering::Relaxed);
    }

    /// Whether it is read from while a call is under way.
    pub fn is_read_ahead(&self) -> bool {
        self.read_ahead.load(Ordering::Relaxed)
    }

    /// How many calls are under way on it.
    pub fn active_calls(&self) -> u32 {
        self.active.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}

/// Counts a call on its connection until it is dropped.
#[derive(Debug)]
pub struct ActiveCall(Arc<Connection>);

impl ActiveCall {
    /// Begins a call.
    pub fn begin(connection: Arc<Connection>) -> Self {
        connection.active.fetch_add(1, Ordering::AcqRel);
        connection.used.store(true, Ordering::Release);
        Self(connection)
    }

    /// The call's connection.
    pub fn connection(&self) -> &Arc<Connection> {
        &self.0
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::AcqRel);
    }
}
