//! The limits of a listener's connections, and the permits that connections hold while they are open.
//!
//! Each listener has a part of its own, so that strangers at one do not keep callers out of another. A
//! connection is unproven until the policy has allowed a call on it. Unproven connections have a smaller
//! part: the oldest one is closed for a new one when that part is full, or when the whole part is. If all
//! are proven, new connections wait in the kernel's queue. A peer that has too many gets no more of them.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::Notify, task::AbortHandle};

use crate::{
    domain::{ListenerName, Peer},
    telemetry::ConnectionMetrics,
};

/// How many connections a listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// All of them.
    pub total: usize,
    /// Those on which no call was allowed yet.
    pub unproven: usize,
    /// Those of one peer.
    pub per_peer: usize,
}

impl ConnectionLimits {
    /// The limits of a part: a quarter of it for unproven connections, and three quarters for one peer
    /// unless there is a limit for that.
    pub fn of(total: usize, per_peer: Option<usize>) -> Self {
        let most = total.saturating_sub(total / 4);
        Self { total, unproven: total.div_ceil(4), per_peer: per_peer.unwrap_or(most).min(total) }
    }
}

/// Counts the connections of one listener, on all workers.
pub struct ConnectionLimiter {
    listener: ListenerName,
    metrics: ConnectionMetrics,
    counts: Mutex<Counts>,
    /// A connection has ended.
    freed: Notify,
}

#[derive(Default)]
struct Counts {
    open: usize,
    by_peer: HashMap<PeerKey, usize, ahash::RandomState>,
    /// Unproven connections by age.
    unproven: BTreeMap<u64, Unproven>,
    /// Open connections that were closed for a new one and have not ended yet.
    leaving: usize,
    next: u64,
    warned_of_peer: Option<Instant>,
    warned_of_unproven: Option<Instant>,
}

#[derive(Debug)]
struct Unproven {
    peer: PeerKey,
    /// The task that ends with it; `None` until it is served.
    served_by: Option<AbortHandle>,
}

/// The peers that count as one: an IPv4 address, an IPv6 network, or a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum PeerKey {
    Ip(IpAddr),
    User(u32),
}

impl From<Peer> for PeerKey {
    fn from(peer: Peer) -> Self {
        match peer {
            Peer::Tcp(address) => Self::Ip(match address.ip().to_canonical() {
                IpAddr::V4(address) => address.into(),
                // One host has a network of 64 bits to choose addresses from.
                IpAddr::V6(address) => IpAddr::from((address.to_bits() & NETWORK).to_be_bytes()),
            }),
            Peer::Unix { uid, .. } => Self::User(uid),
        }
    }
}

impl Counts {
    fn remove_from(&mut self, peer: PeerKey) {
        if let Some(open) = self.by_peer.get_mut(&peer) {
            *open = open.saturating_sub(1);
            if *open == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

impl ConnectionLimiter {
    /// Counts from zero.
    pub fn new(listener: ListenerName, metrics: ConnectionMetrics) -> Arc<Self> {
        Arc::new(Self { listener, metrics, counts: Mutex::default(), freed: Notify::new() })
    }

    /// Waits until there is room for one more connection, or an unproven one that can give way.
    pub(in crate::proxy) async fn room(&self, limits: &ConnectionLimits) {
        while !self.has_room(limits) {
            self.freed.notified().await;
        }
    }

    /// Over the limit only one connection gives way at a time, so that one too many is open at most.
    pub(in crate::proxy) fn has_room(&self, limits: &ConnectionLimits) -> bool {
        let counts = self.counts.lock();
        counts.open < limits.total || (counts.leaving == 0 && !counts.unproven.is_empty())
    }

    /// Counts a connection of that peer, for which there was room; `None` if the peer has too many.
    pub(in crate::proxy) fn admit(
        self: &Arc<Self>,
        limits: &ConnectionLimits,
        peer: Peer,
    ) -> Option<ConnectionPermit> {
        let key = PeerKey::from(peer);
        let mut counts = self.counts.lock();
        if counts.by_peer.get(&key).is_some_and(|open| *open >= limits.per_peer) {
            self.metrics.over_peer_limit.inc();
            if is_due(&mut counts.warned_of_peer) {
                tracing::warn!(
                    listener = %self.listener, ?peer,
                    "connections of a peer are closed at once: it has all it may have (`limits.connections_per_peer`)"
                );
            }
            return None;
        }
        if counts.open >= limits.total || counts.unproven.len() >= limits.unproven {
            self.close_oldest(&mut counts);
        }
        let number = counts.next;
        counts.next = counts.next.wrapping_add(1);
        counts.open = counts.open.saturating_add(1);
        let of_peer = counts.by_peer.entry(key).or_default();
        *of_peer = of_peer.saturating_add(1);
        counts.unproven.insert(number, Unproven { peer: key, served_by: None });
        drop(counts);
        self.metrics.open.inc();
        let limiter = Arc::clone(self);
        let is_proven = AtomicBool::new(false);
        Some(ConnectionPermit(Standing(Arc::new(Admitted { limiter, number, key, is_proven }))))
    }

    fn close_oldest(&self, counts: &mut Counts) {
        let Some((_, Unproven { peer, served_by })) = counts.unproven.pop_first() else { return };
        counts.leaving = counts.leaving.saturating_add(1);
        counts.remove_from(peer);
        if let Some(task) = served_by {
            task.abort();
        }
        self.metrics.gave_way.inc();
        if is_due(&mut counts.warned_of_unproven) {
            tracing::warn!(
                listener = %self.listener,
                "connections without an allowed call are closed, the oldest first, because new ones come (`limits.connections`)"
            );
        }
    }
}

impl fmt::Debug for ConnectionLimiter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.counts.lock();
        f.debug_struct("ConnectionLimiter")
            .field("listener", &self.listener)
            .field("open", &counts.open)
            .field("unproven", &counts.unproven.len())
            .finish_non_exhaustive()
    }
}

/// Whether a warning is due, which is repeated once in a while only.
fn is_due(last: &mut Option<Instant>) -> bool {
    let is_due = last.is_none_or(|last| last.elapsed() >= BETWEEN_WARNINGS);
    if is_due {
        *last = Some(Instant::now());
    }
    is_due
}

/// Counts a connection until it is dropped.
#[derive(Debug)]
pub struct ConnectionPermit(Standing);

impl ConnectionPermit {
    /// The handle that proves the connection.
    pub(in crate::proxy) fn standing(&self) -> Standing {
        self.0.clone()
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        let Admitted { limiter, number, key, is_proven } = &*self.0.0;
        let mut counts = limiter.counts.lock();
        counts.open = counts.open.saturating_sub(1);
        if counts.unproven.remove(number).is_some() || is_proven.load(Ordering::Relaxed) {
            counts.remove_from(*key);
        } else {
            counts.leaving = counts.leaving.saturating_sub(1);
        }
        drop(counts);
        limiter.metrics.open.dec();
        limiter.freed.notify_one();
    }
}

/// What a connection has proved. Its calls share it.
#[derive(Clone, Debug)]
pub struct Standing(Arc<Admitted>);

#[derive(Debug)]
struct Admitted {
    limiter: Arc<ConnectionLimiter>,
    number: u64,
    key: PeerKey,
    /// Written while the counts are locked.
    is_proven: AtomicBool,
}

impl Standing {
    /// The task that serves the connection. It is aborted if an unproven connection has to give way.
    pub(in crate::proxy) fn is_served_by(&self, task: AbortHandle) {
        let mut counts = self.0.limiter.counts.lock();
        match counts.unproven.get_mut(&self.0.number) {
            Some(unproven) => unproven.served_by = Some(task),
            None if self.0.is_proven.load(Ordering::Relaxed) => {}
            None => task.abort(),
        }
    }

    /// Notes that a call was allowed.
    pub(super) fn prove(&self) {
        if self.0.is_proven.load(Ordering::Relaxed) {
            return;
        }
        let mut counts = self.0.limiter.counts.lock();
        if counts.unproven.remove(&self.0.number).is_some() {
            self.0.is_proven.store(true, Ordering::Relaxed);
        }
    }
}

/// The network part of an IPv6 address (RFC 4291 §2.5.4).
const NETWORK: u128 = !0 << 64;
/// Under attack a warning for each connection would fill the log.
const BETWEEN_WARNINGS: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::future::pending;

    use futures_util::FutureExt as _;

    use super::*;

    fn limiter() -> Arc<ConnectionLimiter> {
        ConnectionLimiter::new(ListenerName::new("main"), ConnectionMetrics::default())
    }

    fn uid(uid: u32) -> Peer {
        Peer::Unix { uid, gid: 0, pid: None }
    }

    const ROOMY: ConnectionLimits = ConnectionLimits { total: 4, unproven: 4, per_peer: 4 };

    #[test]
    fn a_part_is_mostly_for_proven_connections_and_never_nothing() {
        let limits = |total, unproven, per_peer| ConnectionLimits { total, unproven, per_peer };
        assert_eq!(ConnectionLimits::of(10_000, None), limits(10_000, 2500, 7500));
        assert_eq!(ConnectionLimits::of(1, None), limits(1, 1, 1));
        assert_eq!(ConnectionLimits::of(20, Some(7)), limits(20, 5, 7));
        assert_eq!(ConnectionLimits::of(20, Some(700)), limits(20, 5, 20));
    }

    #[test]
    fn a_peer_takes_no_more_than_its_share() {
        let limiter = limiter();
        let limits = ConnectionLimits { per_peer: 2, ..ROOMY };
        let tcp = |address: &str| Peer::Tcp(address.parse().unwrap());
        for (one, same, other) in [
            (uid(1), uid(1), uid(2)),
            (tcp("192.0.2.1:1"), tcp("192.0.2.1:2"), tcp("192.0.2.2:1")),
            (tcp("192.0.2.1:1"), tcp("[::ffff:192.0.2.1]:2"), tcp("192.0.2.2:1")),
            (tcp("[2001:db8::1]:1"), tcp("[2001:db8::2]:1"), tcp("[2001:db8:0:1::1]:1")),
        ] {
            let first = limiter.admit(&limits, one).unwrap();
            let _second = limiter.admit(&limits, same).unwrap();
            assert!(limiter.admit(&limits, one).is_none(), "{one:?}");
            assert!(limiter.admit(&limits, other).is_some(), "{other:?}");
            drop(first);
            assert!(limiter.admit(&limits, one).is_some());
        }
        assert!(limiter.counts.lock().by_peer.is_empty());
        assert_eq!(limiter.metrics.over_peer_limit.get(), 4);
    }

    #[tokio::test]
    async fn the_oldest_unproven_connection_gives_way_and_a_proven_one_does_not() {
        let limiter = limiter();
        let limits = ConnectionLimits { unproven: 2, ..ROOMY };
        let admit = || {
            let permit = limiter.admit(&limits, uid(1)).unwrap();
            let standing = permit.standing();
            let task = tokio::spawn(async move {
                let _permit = permit;
                pending::<()>().await;
            });
            standing.is_served_by(task.abort_handle());
            (standing, task)
        };
        let (proven, kept) = admit();
        proven.prove();
        let (_oldest, oldest) = admit();
        let (_newer, newer) = admit();
        let (_newest, newest) = admit();
        assert!(oldest.await.unwrap_err().is_cancelled());
        assert_eq!(limiter.metrics.gave_way.get(), 1);
        assert!(!kept.is_finished() && !newer.is_finished() && !newest.is_finished());
        assert_eq!(limiter.metrics.open.get(), 3);
    }

    #[tokio::test]
    async fn a_full_listener_waits_for_a_connection_that_ends() {
        let limiter = limiter();
        let limits = ConnectionLimits { total: 2, ..ROOMY };
        let permits = [(); 2].map(|()| limiter.admit(&limits, uid(1)).unwrap());
        for permit in &permits {
            permit.standing().prove();
        }
        assert!(limiter.room(&limits).now_or_never().is_none());
        let mut permits = permits.into_iter();
        drop(permits.next());
        limiter.room(&limits).now_or_never().unwrap();
    }

    #[tokio::test]
    async fn a_full_listener_closes_one_unproven_connection_at_a_time() {
        let limiter = limiter();
        let limits = ConnectionLimits { total: 2, unproven: 2, ..ROOMY };
        let older = limiter.admit(&limits, uid(1)).unwrap();
        let _newer = limiter.admit(&limits, uid(1)).unwrap();
        limiter.room(&limits).now_or_never().unwrap();
        let _newest = limiter.admit(&limits, uid(1)).unwrap();
        assert!(limiter.room(&limits).now_or_never().is_none());
        // Neither is served yet: the one that gave way ends as soon as it is.
        let task = tokio::spawn(pending::<()>());
        older.standing().is_served_by(task.abort_handle());
        assert!(task.await.unwrap_err().is_cancelled());
        older.standing().prove();
        drop(older);
        limiter.room(&limits).now_or_never().unwrap();
        let counts = limiter.counts.lock();
        assert_eq!((counts.open, counts.unproven.len(), counts.leaving), (2, 2, 0));
        drop(counts);
    }
}
