//! Resolves the names of servers.
//!
//! The system's resolver answers (`getaddrinfo`), so `/etc/hosts`, `nsswitch.conf` and search domains hold
//! as for every other program. It blocks, and it does not say how long an answer is valid. So each look-up
//! has a thread of its own, a name has one look-up at a time, and an answer is used for [`FRESH`] without
//! another one. A call waits for a look-up only if the last good answer is older than [`RECENT`]. While the
//! name service does not answer, that answer is used (RFC 8767).

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, ToSocketAddrs as _},
    sync::{Arc, LazyLock, Weak},
    thread,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};

/// Resolves names. Clones share what they know.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    look_up: LookUp,
    /// Only names of the configuration, so there are few.
    names: Mutex<HashMap<String, Name>>,
}

/// Asks the name service, and blocks meanwhile.
type LookUp = Box<dyn Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync>;

#[derive(Default)]
struct Name {
    good: Option<Good>,
    under_way: Option<UnderWay>,
    /// The last look-up failed, or is silent.
    is_away: bool,
    /// No address of the last good answer works.
    is_expired: bool,
    /// Addresses that failed or were too slow, and since when.
    demoted: HashMap<IpAddr, Instant>,
}

#[derive(Clone)]
struct UnderWay {
    since: Instant,
    outcome: watch::Receiver<Option<Outcome>>,
}

struct Good {
    addresses: Arc<[IpAddr]>,
    since: Instant,
}

type Outcome = Result<Arc<[IpAddr]>, Arc<io::Error>>;

impl Resolver {
    /// The resolver of this process, which asks the system.
    pub fn system() -> Self {
        static SYSTEM: LazyLock<Resolver> = LazyLock::new(|| {
            Resolver::new(|host| {
                Ok((host, 0).to_socket_addrs()?.map(|address| address.ip()).collect())
            })
        });
        SYSTEM.clone()
    }

    /// A resolver that asks this function, on a thread.
    pub fn new(look_up: impl Fn(&str) -> io::Result<Vec<IpAddr>> + Send + Sync + 'static) -> Self {
        Self(Arc::new(Shared { look_up: Box::new(look_up), names: Mutex::default() }))
    }

    /// The addresses of a host, in the order in which to try them: the system's order, families in turn
    /// (RFC 8305 §4), and those that failed a moment ago last. A host that is an address is its own.
    ///
    /// Waits for the name service at most `limit`; only a moment where there is a last good answer, and not at
    /// all where that is recent or the name service has failed.
    pub async fn resolve(&self, host: &str, limit: Duration) -> Result<Vec<IpAddr>, ResolveError> {
        if let Ok(address) = host.parse() {
            return Ok(vec![address]);
        }
        let (last, mut under_way, patience) = {
            let mut names = self.0.names.lock();
            let name = names.entry(host.to_owned()).or_default();
            if let Some(good) = name.good.as_ref().filter(|good| good.since.elapsed() < FRESH)
                && !name.is_expired
            {
                return Ok(name.in_order(&good.addresses));
            }
            let under_way = match &name.under_way {
                Some(under_way) => under_way.clone(),
                None => name.under_way.insert(self.begin(host)?).clone(),
            };
            let is_recent = |good: &Good| good.since.elapsed() < RECENT;
            let is_usable = name.good.as_ref().is_some_and(is_recent) && !name.is_expired;
            let patience = if is_usable || name.is_away { Duration::ZERO } else { PATIENCE };
            (name.good.as_ref().map(|good| Arc::clone(&good.addresses)), under_way, patience)
        };
        let limit = match last {
            Some(_) => limit.min(patience.saturating_sub(under_way.since.elapsed())),
            None => limit,
        };
        let outcome = match timeout(limit, under_way.outcome.wait_for(Option::is_some)).await {
            Ok(Ok(outcome)) => match &*outcome {
                Some(Ok(addresses)) => Ok(Arc::clone(addresses)),
                Some(Err(error)) => Err(ResolveError::Failed(Arc::clone(error))),
                None => Err(ResolveError::Silent),
            },
            Ok(Err(_)) | Err(_) => Err(ResolveError::Silent),
        };
        let addresses = match (outcome, last) {
            (Ok(addresses), _) => addresses,
            (Err(error), Some(last)) => {
                tracing::debug!(host, %error, "the last good answer of the name service is used");
                last
            }
            (Err(error), None) => return Err(error),
        };
        let names = self.0.names.lock();
        Ok(names.get(host).map_or_else(|| addresses.to_vec(), |name| name.in_order(&addresses)))
    }

    /// Notes that an address failed, or was too slow: it is tried last for a while.
    pub fn demote(&self, host: &str, address: IpAddr) {
        if let Some(name) = self.0.names.lock().get_mut(host) {
            name.demoted.retain(|_, since| since.elapsed() < DEMOTED);
            name.demoted.insert(address, Instant::now());
        }
    }

    /// Notes that an address works.
    pub fn promote(&self, host: &str, address: IpAddr) {
        if let Some(name) = self.0.names.lock().get_mut(host) {
            name.demoted.remove(&address);
        }
    }

    /// Notes that no address works: the next call looks the name up again.
    pub fn expire(&self, host: &str) {
        if let Some(name) = self.0.names.lock().get_mut(host) {
            name.is_expired = true;
        }
    }

    /// Begins a look-up on a thread, which outlives whoever waits for it.
    fn begin(&self, host: &str) -> Result<UnderWay, ResolveError> {
        let (done, outcome) = watch::channel(None);
        let (shared, host) = (Arc::downgrade(&self.0), host.to_owned());
        thread::Builder::new()
            .name("resolve".to_owned())
            .spawn(move || end(&shared, &host, &done))
            .map_err(|error| ResolveError::Failed(Arc::new(error)))?;
        Ok(UnderWay { since: Instant::now(), outcome })
    }
}

fn end(shared: &Weak<Shared>, host: &str, done: &watch::Sender<Option<Outcome>>) {
    let Some(shared) = shared.upgrade() else { return };
    let outcome = match (shared.look_up)(host) {
        Ok(addresses) if addresses.is_empty() => Err(io::Error::other("the name has no address")),
        other => other,
    };
    let outcome = outcome.map(Arc::from).map_err(Arc::new);
    if let Some(name) = shared.names.lock().get_mut(host) {
        name.under_way = None;
        name.is_expired = false;
        name.is_away = outcome.is_err();
        if let Ok(addresses) = &outcome {
            name.good = Some(Good { addresses: Arc::clone(addresses), since: Instant::now() });
        }
    }
    done.send_replace(Some(outcome));
}

impl Name {
    fn in_order(&self, addresses: &[IpAddr]) -> Vec<IpAddr> {
        let is_demoted = |address: &IpAddr| {
            self.demoted.get(address).is_some_and(|since| since.elapsed() < DEMOTED)
        };
        let (demoted, good): (Vec<_>, Vec<_>) = addresses.iter().copied().partition(is_demoted);
        [families_in_turn(&good), families_in_turn(&demoted)].concat()
    }
}

/// The same addresses, one of each family in turn, beginning with the family of the first.
fn families_in_turn(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let begins_with_v6 = addresses.first().is_some_and(IpAddr::is_ipv6);
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == begins_with_v6);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut ordered = Vec::with_capacity(addresses.len());
    while ordered.len() < addresses.len() {
        ordered.extend(first.next());
        ordered.extend(second.next());
    }
    ordered
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.names.lock().keys()).finish()
    }
}

/// Why a name has no addresses.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ResolveError {
    /// The name service says so, or cannot be asked.
    #[error("the name cannot be resolved")]
    Failed(#[source] Arc<io::Error>),
    /// The name service does not answer in time.
    #[error("the name service does not answer")]
    Silent,
}

/// An answer is used this long without another look-up.
const FRESH: Duration = Duration::from_secs(5);
/// An answer is used this long while a look-up is under way.
const RECENT: Duration = Duration::from_mins(1);
/// The wait for a new answer where there is a last good one.
const PATIENCE: Duration = Duration::from_secs(1);
/// How long an address that failed is tried last.
const DEMOTED: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::advance;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn ips(addresses: &[&str]) -> Vec<IpAddr> {
        addresses.iter().map(|address| address.parse().unwrap()).collect()
    }

    /// A name service that answers what is set, and hangs while that is `None`.
    #[derive(Clone)]
    struct NameService {
        answer: watch::Sender<Option<Result<Vec<IpAddr>, ()>>>,
        asked: Arc<AtomicUsize>,
    }

    impl NameService {
        fn new() -> (Self, Resolver) {
            let service = Self { answer: watch::Sender::new(None), asked: Arc::default() };
            let (answer, asked) = (service.answer.subscribe(), Arc::clone(&service.asked));
            let resolver = Resolver::new(move |_| {
                asked.fetch_add(1, Ordering::SeqCst);
                let wait = answer.clone();
                loop {
                    if let Some(answer) = wait.borrow().clone() {
                        return answer.map_err(|()| io::Error::other("no such name"));
                    }
                    if wait.has_changed().is_err() {
                        return Err(io::Error::other("the test is over"));
                    }
                    thread::yield_now();
                }
            });
            (service, resolver)
        }

        fn says(&self, addresses: &[&str]) {
            self.answer.send_replace(Some(Ok(ips(addresses))));
        }
    }

    #[tokio::test]
    async fn many_calls_share_one_look_up() {
        let (service, resolver) = NameService::new();
        let calls = join_all((0..1000).map(|_| resolver.resolve("api.test", LIMIT)));
        let answer = async { service.says(&["192.0.2.1"]) };
        let (answers, ()) = tokio::join!(calls, answer);
        for answer in answers {
            assert_eq!(answer.unwrap(), ips(&["192.0.2.1"]));
        }
        assert_eq!(service.asked.load(Ordering::SeqCst), 1);
        // The answer is fresh, until no address works.
        resolver.resolve("api.test", LIMIT).await.unwrap();
        assert_eq!(service.asked.load(Ordering::SeqCst), 1);
        resolver.expire("api.test");
        resolver.resolve("api.test", LIMIT).await.unwrap();
        assert_eq!(service.asked.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn an_address_is_not_looked_up() {
        let (service, resolver) = NameService::new();
        for address in ["192.0.2.1", "2001:db8::1"] {
            assert_eq!(resolver.resolve(address, LIMIT).await.unwrap(), ips(&[address]));
        }
        assert_eq!(service.asked.load(Ordering::SeqCst), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_name_service_is_waited_for_until_the_limit() {
        let (_service, resolver) = NameService::new();
        let began = Instant::now();
        let silent = resolver.resolve("api.test", LIMIT).await;
        assert!(matches!(silent, Err(ResolveError::Silent)), "{silent:?}");
        assert_eq!(began.elapsed(), LIMIT);
    }

    #[tokio::test]
    async fn the_last_good_answer_is_used_while_there_is_none() {
        let (service, resolver) = NameService::new();
        service.answer.send_replace(Some(Err(())));
        let failed = resolver.resolve("api.test", LIMIT).await;
        assert!(matches!(failed, Err(ResolveError::Failed(_))), "{failed:?}");
        service.says(&["192.0.2.1"]);
        resolver.resolve("api.test", LIMIT).await.unwrap();
        for away in [None, Some(Err(()))] {
            service.answer.send_replace(away);
            tokio::time::pause();
            advance(RECENT).await;
            let began = Instant::now();
            let last = resolver.resolve("api.test", LIMIT).await.unwrap();
            assert_eq!(last, ips(&["192.0.2.1"]));
            assert!(began.elapsed() < PATIENCE * 2);
            // Nobody waits for it twice.
            let began = Instant::now();
            assert_eq!(resolver.resolve("api.test", LIMIT).await.unwrap(), last);
            assert!(began.elapsed() < PATIENCE / 10);
            tokio::time::resume();
        }
        // It is noticed when it comes back.
        service.says(&["192.0.2.2"]);
        while resolver.resolve("api.test", LIMIT).await.unwrap() != ips(&["192.0.2.2"]) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn nobody_waits_for_a_look_up_while_the_last_answer_is_recent() {
        let (service, resolver) = NameService::new();
        service.says(&["192.0.2.1"]);
        resolver.resolve("api.test", LIMIT).await.unwrap();
        service.answer.send_replace(None);
        tokio::time::pause();
        advance(FRESH).await;
        let began = Instant::now();
        assert_eq!(resolver.resolve("api.test", LIMIT).await.unwrap(), ips(&["192.0.2.1"]));
        assert!(began.elapsed() < PATIENCE / 10);
        tokio::time::resume();
        // Unless no address of it works.
        service.says(&["192.0.2.2"]);
        resolver.expire("api.test");
        assert_eq!(resolver.resolve("api.test", LIMIT).await.unwrap(), ips(&["192.0.2.2"]));
    }

    #[tokio::test]
    async fn families_take_turns_and_addresses_that_failed_come_last() {
        let (service, resolver) = NameService::new();
        service.says(&["2001:db8::1", "2001:db8::2", "192.0.2.1", "192.0.2.2"]);
        let in_turn = ips(&["2001:db8::1", "192.0.2.1", "2001:db8::2", "192.0.2.2"]);
        assert_eq!(resolver.resolve("api.test", LIMIT).await.unwrap(), in_turn);
        for failed in ips(&["2001:db8::1", "192.0.2.1"]) {
            resolver.demote("api.test", failed);
        }
        let after = ips(&["2001:db8::2", "192.0.2.2", "2001:db8::1", "192.0.2.1"]);
        assert_eq!(resolver.resolve("api.test", LIMIT).await.unwrap(), after);
        for works in ips(&["2001:db8::1", "192.0.2.1"]) {
            resolver.promote("api.test", works);
        }
        assert_eq!(resolver.resolve("api.test", LIMIT).await.unwrap(), in_turn);
    }
}
