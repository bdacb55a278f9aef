//! What the stages and the server know of one caller's connection.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;

use super::Standing;
use crate::{
    audit::RefusedCertificate,
    domain::{Caller, Peer},
    error::Kind,
};

/// One connection of a caller.
pub struct Connection {
    peer: Peer,
    certificate: PeerCertificate,
    /// `None` if nobody counts it.
    standing: Option<Standing>,
    /// The caller, and the number of the rules that identified it. The calls of a connection run on one
    /// thread, so the lock is never contended.
    caller: Mutex<Option<(u64, Arc<Caller>)>>,
    used: AtomicBool,
    closing: AtomicBool,
}

/// A connection, or a stream of HTTP/2, that was refused before it was a request.
#[derive(Debug)]
pub struct RefusedConnection {
    /// Why.
    pub kind: Kind,
    /// The other end.
    pub peer: Peer,
    /// The caller's certificate, if that is why.
    pub certificate: Option<Box<RefusedCertificate>>,
}

/// What the verified certificate of a connection says; nothing without one.
#[derive(Debug, Default)]
pub struct PeerCertificate {
    /// Its URI and DNS names, which can identify a caller.
    pub names: Vec<Arc<str>>,
    /// Its serial number and subject, for the record.
    pub described: Option<Arc<str>>,
}

impl From<Vec<Arc<str>>> for PeerCertificate {
    fn from(names: Vec<Arc<str>>) -> Self {
        Self { names, described: None }
    }
}

impl Connection {
    /// A connection of that peer, with its verified certificate.
    pub fn new(peer: Peer, certificate: impl Into<PeerCertificate>) -> Arc<Self> {
        Self::with_standing(peer, certificate, None)
    }

    /// The same, for a connection that a listener counts.
    pub(in crate::proxy) fn with_standing(
        peer: Peer,
        certificate: impl Into<PeerCertificate>,
        standing: Option<Standing>,
    ) -> Arc<Self> {
        Arc::new(Self {
            peer,
            certificate: certificate.into(),
            standing,
            caller: Mutex::default(),
            used: AtomicBool::new(false),
            closing: AtomicBool::new(false),
        })
    }

    /// The peer.
    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// The names in the peer's verified certificate; empty without one.
    pub fn tls_names(&self) -> &[Arc<str>] {
        &self.certificate.names
    }

    /// The serial number and the subject of the peer's verified certificate. They prove nobody.
    pub fn certificate(&self) -> Option<&Arc<str>> {
        self.certificate.described.as_ref()
    }

    /// The caller. It is identified once a connection, and again after a reload of the rules.
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

    /// Notes that a call begins.
    pub fn begin_call(&self) {
        self.used.store(true, Ordering::Release);
    }

    /// Whether a call has ever begun on it.
    pub fn is_used(&self) -> bool {
        self.used.load(Ordering::Acquire)
    }

    /// Notes that a call on it was allowed, so that it is not closed for a new connection.
    pub(in crate::proxy) fn prove(&self) {
        if let Some(standing) = &self.standing {
            standing.prove();
        }
    }

    /// Lets the calls in flight end and no other begin.
    pub fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }

    /// Whether it closes when its calls in flight have ended.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").field("peer", &self.peer).finish_non_exhaustive()
    }
}
