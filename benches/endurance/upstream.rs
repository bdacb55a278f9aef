//! An upstream that knows which credential sets are good, takes no mixed one, and remembers every
//! request.
//!
//! It answers 400 to values that are not of one set or not all there, 401 to a set that is not good
//! (any more, or yet), and 200 to the rest, with the set it saw in `X-Set` and in the body. What a
//! query asks for besides: `size=N` a body of so many bytes, `stall` no answer at all, `half` only
//! half of one, `status=N` that status (429 with `Retry-After: 7`), `hold=N` no answer, and word to whoever waits for number N, `gate` an answer once the gate is
//! open. `by=N` says which gateway it comes through.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    iter,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt as _, future, stream};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::{Either, Full, StreamBody, combinators::BoxBody};
use hyper::{
    body::{Body as _, Frame, Incoming},
    service::service_fn,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use parking_lot::Mutex;
use pigello_gateway::{credentials::ValueName, error::Chain};
use pigello_mock::Authority;
use tokio::{
    net::TcpListener,
    sync::{oneshot, watch},
};
use tokio_rustls::TlsAcceptor;
use uuid::Uuid;

use super::credentials::{self, Mark};

/// The upstream, which serves until the process ends.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub address: SocketAddr,
    /// What to trust, PEM.
    pub authority: Arc<str>,
    seen: Arc<Seen>,
}

/// Which versions of a mark's set are good, and the newest that came.
#[derive(Debug)]
struct Good {
    oldest: AtomicU64,
    newest: AtomicU64,
    arrived: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Seen {
    good: [Good; 2],
    requests: AtomicU64,
    mixed: AtomicU64,
    unknown: AtomicU64,
    versions: Mutex<BTreeSet<(Mark, u64)>>,
    /// Which gateways sent each version, of those that say who they are.
    senders: Mutex<BTreeMap<u64, BTreeSet<u64>>>,
    /// How often each call came, by its `X-Request-Id`; in parts, so that nobody waits long.
    ids: [Mutex<HashMap<u128, u32>>; 16],
    holds: Mutex<HashMap<u64, oneshot::Sender<()>>>,
    gate: watch::Sender<bool>,
    /// How often all connections were ended in order.
    retired: watch::Sender<u64>,
    /// Connections, by the address that they came to.
    connections: Mutex<BTreeMap<IpAddr, u64>>,
    forgetful: AtomicBool,
    /// Connections that did not end in order, by how.
    broken: Mutex<HashMap<String, u64>>,
}

impl Default for Good {
    fn default() -> Self {
        Self { oldest: 1.into(), newest: 1.into(), arrived: watch::Sender::new(0) }
    }
}

type Reply = Response<Either<Full<Bytes>, BoxBody<Bytes, Infallible>>>;

impl Upstream {
    /// Starts it. Version 1 of each set is good.
    pub async fn start() -> Self {
        Self::speaking(&["h2", "http/1.1"]).await
    }

    /// The same, and these protocols only.
    pub async fn speaking(protocols: &[&str]) -> Self {
        Self::listening(Ipv4Addr::LOCALHOST, protocols).await
    }

    /// The same at an address.
    pub async fn listening(address: Ipv4Addr, protocols: &[&str]) -> Self {
        let authority = Authority::new("endurance upstream").unwrap();
        let issued = authority.server(&["localhost", "127.0.0.1", NAME]).unwrap();
        let mut config = issued.server_config().unwrap();
        config.alpn_protocols = protocols.iter().map(|protocol| (*protocol).into()).collect();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind((address, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        tokio::spawn(accept(listener, acceptor, Arc::clone(&seen)));
        Self { address, authority: authority.pem().into(), seen }
    }

    /// Its origin, for a profile.
    pub fn origin(&self) -> String {
        format!("https://localhost:{}", self.address.port())
    }

    /// From now on these versions of a set are good and no others.
    pub fn accept(&self, mark: Mark, oldest: u64, newest: u64) {
        let good = &self.seen.good[mark.index()];
        good.newest.store(newest, Ordering::SeqCst);
        good.oldest.store(oldest, Ordering::SeqCst);
    }

    /// Waits until a request came with that version, or a newer one.
    pub async fn arrived(&self, mark: Mark, version: u64, within: Duration) -> bool {
        let mut arrived = self.seen.good[mark.index()].arrived.subscribe();
        let wait = arrived.wait_for(|newest| *newest >= version);
        tokio::time::timeout(within, wait).await.is_ok()
    }

    /// Registers someone who waits for the request with `hold=number`.
    pub fn hold(&self, number: u64) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        self.seen.holds.lock().insert(number, sender);
        receiver
    }

    /// Answers those who wait at the gate, and whoever comes to it from now on.
    pub fn open_gate(&self) {
        self.seen.gate.send_replace(true);
    }

    /// Ends all connections in order, as a load balancer does: `GOAWAY`, or `Connection: close`.
    pub fn retire_connections(&self) {
        self.seen.retired.send_modify(|times| *times += 1);
    }

    /// From now on it does not remember calls one by one.
    pub fn forget_ids(&self) {
        self.seen.forgetful.store(true, Ordering::Relaxed);
    }

    /// Connections, by the address that they came to.
    pub fn connections(&self) -> BTreeMap<IpAddr, u64> {
        self.seen.connections.lock().clone()
    }

    /// Requests in all.
    pub fn requests(&self) -> u64 {
        self.seen.requests.load(Ordering::SeqCst)
    }

    /// Requests whose values were not of one set, or not all there.
    pub fn mixed(&self) -> u64 {
        self.seen.mixed.load(Ordering::SeqCst)
    }

    /// Requests with a set that was not good.
    pub fn unknown(&self) -> u64 {
        self.seen.unknown.load(Ordering::SeqCst)
    }

    /// Connections that did not end in order, by how.
    pub fn broken(&self) -> String {
        format!("{:?}", self.seen.broken.lock())
    }

    /// How many different versions came.
    pub fn versions(&self) -> usize {
        self.seen.versions.lock().len()
    }

    /// Which gateways have sent a version, of those that say who they are.
    pub fn senders(&self, version: u64) -> BTreeSet<u64> {
        self.seen.senders.lock().get(&version).cloned().unwrap_or_default()
    }

    /// How often each call came.
    pub fn ids(&self) -> HashMap<u128, u32> {
        let parts = self.seen.ids.iter();
        parts
            .flat_map(|part| part.lock().iter().map(|(id, n)| (*id, *n)).collect::<Vec<_>>())
            .collect()
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<Seen>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        if let Ok(address) = stream.local_addr() {
            *seen.connections.lock().entry(address.ip()).or_default() += 1;
        }
        tokio::spawn(async move {
            stream.set_nodelay(true).ok();
            let Ok(stream) = acceptor.accept(stream).await else { return };
            let answering = Arc::clone(&seen);
            let service = service_fn(|request| {
                let seen = Arc::clone(&answering);
                async move { Ok::<_, Infallible>(seen.answer(request).await) }
            });
            let mut builder = auto::Builder::new(TokioExecutor::new());
            builder.http1().timer(TokioTimer::new());
            builder.http2().max_concurrent_streams(1_000);
            let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
            let mut retired = seen.retired.subscribe();
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                _ = retired.changed() => {
                    connection.as_mut().graceful_shutdown();
                    connection.await
                }
            };
            if let Err(error) = ended {
                *seen.broken.lock().entry(Chain(&*error).to_string()).or_default() += 1;
            }
        });
    }
}

impl Seen {
    async fn answer(&self, request: Request<Incoming>) -> Reply {
        self.requests.fetch_add(1, Ordering::SeqCst);
        self.note_id(request.headers());
        let Some((mark, version)) = set(request.headers()) else {
            self.mixed.fetch_add(1, Ordering::SeqCst);
            return plain(400, "values that are not of one set");
        };
        let good = &self.good[mark.index()];
        let range = good.oldest.load(Ordering::SeqCst)..=good.newest.load(Ordering::SeqCst);
        let newer = |newest: &mut u64| {
            let newer = version > *newest;
            *newest = version.max(*newest);
            newer
        };
        if good.arrived.send_if_modified(newer) {
            self.versions.lock().insert((mark, version));
        }
        let by = request.uri().query().and_then(|query| query.strip_prefix("by="));
        if let Some(by) = by.and_then(|by| by.parse().ok()) {
            self.senders.lock().entry(version).or_default().insert(by);
        }
        if !range.contains(&version) {
            self.unknown.fetch_add(1, Ordering::SeqCst);
            return plain(401, "a set that is not good");
        }
        let query = request.uri().query().unwrap_or_default().to_owned();
        let mut body = request.into_body();
        while !body.is_end_stream() {
            if !matches!(http_body_util::BodyExt::frame(&mut body).await, Some(Ok(_))) {
                break;
            }
        }
        self.good_answer(mark, version, &query).await
    }

    async fn good_answer(&self, mark: Mark, version: u64, query: &str) -> Reply {
        let mut size = 0;
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            let number = value.parse().unwrap_or_default();
            match &*key {
                "size" => size = number as usize,
                "stall" => return future::pending().await,
                "hold" => {
                    if let Some(waiter) = self.holds.lock().remove(&number) {
                        waiter.send(()).ok();
                    }
                    return future::pending().await;
                }
                "gate" => {
                    self.gate.subscribe().wait_for(|is_open| *is_open).await.ok();
                }
                "status" => {
                    let status = StatusCode::from_u16(number as u16).unwrap();
                    let response = Response::builder().status(status);
                    let response = match status {
                        StatusCode::TOO_MANY_REQUESTS => response.header("retry-after", "7"),
                        _ => response,
                    };
                    return response.body(Either::Left(Full::default())).unwrap();
                }
                "half" => {
                    let half = Frame::data(Bytes::from(vec![b' '; HALF]));
                    let body = stream::iter([Ok(half)]).chain(stream::pending());
                    let body = BoxBody::new(StreamBody::new(body));
                    let response = Response::builder().header("content-length", 2 * HALF);
                    return response.body(Either::Right(body)).unwrap();
                }
                _ => {}
            }
        }
        let body = Bytes::from(format!("{{\"set\":\"{}.{version}\"}}", mark.text()));
        let response = Response::builder()
            .header("content-type", "application/json")
            .header("x-set", format!("{}.{version}", mark.text()));
        if size <= body.len() {
            return response.body(Either::Left(Full::new(body))).unwrap();
        }
        // All large answers share their bytes, so that many of them take no memory here.
        let rest = size - body.len();
        let whole = iter::repeat_n(Bytes::from_static(FILLING), rest / FILLING.len());
        let end = Bytes::from_static(&FILLING[..rest % FILLING.len()]);
        let pieces = iter::once(body).chain(whole).chain(iter::once(end));
        let body = StreamBody::new(stream::iter(pieces.map(|piece| Ok(Frame::data(piece)))));
        response.body(Either::Right(BoxBody::new(body))).unwrap()
    }

    fn note_id(&self, headers: &HeaderMap) {
        if self.forgetful.load(Ordering::Relaxed) {
            return;
        }
        let id = headers.get("x-request-id").and_then(|id| id.to_str().ok());
        let Some(id) = id.and_then(|id| Uuid::parse_str(id).ok()) else { return };
        let id = id.as_u128();
        let part = self.ids.get(id as usize % self.ids.len());
        *part.unwrap().lock().entry(id).or_default() += 1;
    }
}

/// The one set that all seven headers are of, each there once.
fn set(headers: &HeaderMap) -> Option<(Mark, u64)> {
    let mut whole = None;
    for name in ValueName::ALL {
        let mut values = headers.get_all(name.header()).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let read = credentials::read(value.to_str().ok()?, name)?;
        if *whole.get_or_insert(read) != read {
            return None;
        }
    }
    whole
}

fn plain(status: u16, text: &'static str) -> Reply {
    let body = Either::Left(Full::new(Bytes::from_static(text.as_bytes())));
    Response::builder().status(status).body(body).unwrap()
}

/// Its name, where names are made for it.
pub const NAME: &str = "api.test";
/// What large answers are filled with.
const FILLING: &[u8] = &[b' '; 16 * 1024];
/// So much of an answer arrives, and then no more: beyond what the gateway keeps in memory.
const HALF: usize = 128 * 1024;
