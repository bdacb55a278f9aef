//! The stage over a scripted upstream, with requests through it and their answers.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use parking_lot::Mutex;
use tokio::time::Instant;
use tower::{Layer as _, Service, ServiceExt as _};

use super::{
    super::{Cache, Cached, Rule, Settings, WallClock, cache},
    upstream::Upstream,
};
use crate::{
    audit::CacheResult,
    body::{Body, collect_limited},
    domain::{
        Caller, CanonicalTarget, Catalog, Operation, OperationMatch, ProfileName, Proof, RequestId,
        Span, TraceContext,
    },
    error::Error,
    fleet::Member,
    proxy::{
        cache::policy::http_date,
        call::{CallContext, CallFacts, Fetch, Head, Recorded},
        profile::{CredentialGeneration, Partition, Profile},
    },
};

/// An upstream, a cache, and one profile's stage over them.
pub(crate) struct Bench {
    pub(crate) cache: Cache,
    pub(crate) upstream: Upstream,
    pub(super) generation: Counter,
    pub(super) stage: Cached<Sender>,
    pub(crate) profile: Arc<Profile>,
    catalog: Arc<Catalog>,
    clock: TestClock,
}

impl Bench {
    /// One rule for all paths without a lifetime, so that the responses decide.
    pub(super) fn free() -> Self {
        Self::with_rule(free_rule())
    }

    pub(crate) fn with_rule(rule: Rule) -> Self {
        Self::new(Settings { rules: vec![rule], ..Settings::default() })
    }

    pub(crate) fn new(settings: Settings) -> Self {
        Self::of_member(settings, None)
    }

    /// That of a gateway in a fleet.
    pub(crate) fn of_member(settings: Settings, fleet: Option<Arc<Member>>) -> Self {
        let clock = TestClock::default();
        let cache = Cache::assemble(settings, Arc::new(clock), fleet, None);
        let (upstream, generation) = (Upstream::default(), Counter::default());
        let stage = stage(&cache, &generation, &upstream);
        let profile = profile("production", &generation);
        let catalog = Arc::new(Catalog::new([]).unwrap());
        Self { cache, upstream, generation, stage, profile, catalog, clock }
    }

    /// Another profile over the same cache.
    pub(super) fn other_profile(&self, name: &str, upstream: &Upstream) -> Self {
        let (cache, clock) = (self.cache.clone(), self.clock);
        let generation = Counter::default();
        let stage = stage(&cache, &generation, upstream);
        let profile = profile(name, &generation);
        let (upstream, catalog) = (upstream.clone(), Arc::clone(&self.catalog));
        Self { cache, upstream, generation, stage, profile, catalog, clock }
    }

    /// A member of a template over the same cache.
    pub(super) fn other_member(&self, name: &str, upstream: &Upstream) -> Self {
        let other = self.other_profile(name, upstream);
        let name = other.profile.name.clone();
        let origin = other.profile.partition.origin().clone();
        let partition = Partition::new(name.clone(), origin, other.generation.clone()).of_member();
        Self { profile: Arc::new(Profile::made_up(name, partition)), ..other }
    }

    /// The maintenance, while this profile is the only one.
    pub(super) async fn maintain(&self) {
        self.cache.maintain([&self.profile.partition]).await;
    }

    /// The date `seconds` from now.
    pub(super) fn date(&self, seconds: i64) -> String {
        let offset = Duration::from_secs(seconds.unsigned_abs());
        let now = self.clock.now();
        let time = if seconds < 0 { now - offset } else { now + offset };
        http_date::format(time).unwrap().to_str().unwrap().to_owned()
    }

    pub(crate) fn get(&self, target: &str) -> Request<'_> {
        self.request(Method::GET, target)
    }

    pub(crate) fn request(&self, method: Method, target: &str) -> Request<'_> {
        let target = CanonicalTarget::parse(target.parse().unwrap()).unwrap();
        Request { bench: self, method, target, headers: HeaderMap::new(), body: Body::empty() }
    }

    fn operation(&self, method: &Method, path: &str) -> Option<Arc<Operation>> {
        match self.catalog.find(method, path) {
            OperationMatch::Found(operation) => Some(Arc::clone(operation)),
            OperationMatch::OtherMethods(_) | OperationMatch::Unknown => None,
        }
    }
}

pub(super) fn free_rule() -> Rule {
    Rule {
        paths: vec!["/*".parse().unwrap()],
        ttl: Span::from_secs(0),
        heuristic: Some(true),
        ..Rule::default()
    }
}

fn stage(shared: &Cache, generation: &Counter, upstream: &Upstream) -> Cached<Sender> {
    let sender = Sender { upstream: upstream.clone(), generation: generation.clone() };
    cache(shared.clone()).layer(sender)
}

/// A profile with these credentials.
pub(super) fn profile(name: &str, generation: &Counter) -> Arc<Profile> {
    let (name, origin) = (ProfileName::new(name), "https://api.pigello.io".parse().unwrap());
    let partition = Partition::new(name.clone(), origin, generation.clone());
    Arc::new(Profile::made_up(name, partition))
}

/// Runs every task that is ready, even those of a thousand callers.
pub(crate) async fn settle() {
    for _ in 0..5_000 {
        tokio::task::yield_now().await;
    }
}

/// A request through the stage.
pub(crate) struct Request<'a> {
    bench: &'a Bench,
    method: Method,
    target: CanonicalTarget,
    headers: HeaderMap,
    body: Body,
}

impl Request<'_> {
    pub(super) fn header(mut self, name: &'static str, value: impl AsRef<str>) -> Self {
        let value = HeaderValue::from_str(value.as_ref()).unwrap();
        self.headers.append(HeaderName::from_static(name), value);
        self
    }

    pub(crate) fn body(mut self, body: &'static str) -> Self {
        self.body = Body::full(body);
        self
    }

    /// Sends the request and reads the whole answer.
    pub(crate) async fn send(self) -> Answer {
        self.begin().await.unwrap().finish().await
    }

    /// Sends the request and reads the head of the answer.
    pub(crate) fn begin(self) -> BoxFuture<'static, Result<Open, Error>> {
        let mut stage = self.bench.stage.clone();
        let recorded = self.recorded();
        let (draft, id) = (recorded.head.context.clone(), recorded.head.context.id());
        Box::pin(async move {
            let ready = stage.ready().await?;
            let response = ready.call(recorded).await?;
            Ok(Open { response, draft, id })
        })
    }

    /// The request as the stage gets it.
    pub(super) fn recorded(self) -> Recorded {
        let operation = self.bench.operation(&self.method, self.target.path());
        let mut recorded = recorded(&self.bench.profile, self.target.as_str());
        let head = Arc::make_mut(&mut recorded.head);
        (head.method, head.headers, head.operation) = (self.method, self.headers, operation);
        Recorded { body: self.body, ..recorded }
    }
}

/// A plain GET that matches no operation.
pub(super) fn recorded(profile: &Arc<Profile>, target: &str) -> Recorded {
    let id = RequestId::fresh();
    let trace = TraceContext::continue_or_begin(None, id);
    let head = Head {
        method: Method::GET,
        target: CanonicalTarget::parse(target.parse().unwrap()).unwrap(),
        headers: HeaderMap::new(),
        caller: Arc::new(Caller::Unidentified { proof: Proof::Listener }),
        operation: None,
        profile: Arc::clone(profile),
        context: CallContext::begin(SystemTime::now(), id, trace, false),
    };
    Recorded { head: Arc::new(head), body: Body::empty() }
}

/// An answer without its body.
#[derive(Debug)]
pub(crate) struct Open {
    pub(super) response: Response<Body>,
    draft: CallContext,
    id: RequestId,
}

impl Open {
    pub(super) async fn finish(self) -> Answer {
        self.try_finish().await.unwrap()
    }

    pub(crate) async fn try_finish(self) -> Result<Answer, String> {
        let (parts, body) = self.response.into_parts();
        let body = collect_limited(body, 1 << 24).await.map_err(|error| error.to_string())?;
        let (mut result, mut source) = (None, None);
        self.draft.note(|facts: &mut CallFacts| {
            (result, source) = (facts.cache, facts.source_request_id);
        });
        let (status, headers, id) = (parts.status, parts.headers, self.id);
        Ok(Answer { status, headers, body, result, source, id })
    }
}

/// An answer, and the facts in its audit record.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(super) result: Option<CacheResult>,
    pub(super) source: Option<RequestId>,
    pub(super) id: RequestId,
}

impl Answer {
    /// All lines of a field.
    pub(crate) fn field(&self, name: &str) -> String {
        let lines = self.headers.get_all(name).iter().map(|line| line.to_str().unwrap());
        lines.collect::<Vec<_>>().join(", ")
    }

    /// The number of the upstream's response.
    pub(super) fn number(&self) -> u64 {
        self.field("count").parse().unwrap_or_default()
    }
}

/// A profile's credentials, as their generation.
#[derive(Clone, Debug)]
pub(crate) struct Counter(Arc<Mutex<Credentials>>);

#[derive(Debug)]
struct Credentials {
    newest: u64,
    in_use: Option<u64>,
    /// The generation that calls are sent with, if not the one in use.
    trial: Option<u64>,
}

impl Default for Counter {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Credentials { newest: 1, in_use: Some(1), trial: None })))
    }
}

impl Counter {
    pub(super) fn rotate(&self) {
        let mut credentials = self.0.lock();
        credentials.newest += 1;
        credentials.in_use = Some(credentials.newest);
    }

    /// Takes the credentials out of use. Returns their generation.
    pub(super) fn lose(&self) -> Option<u64> {
        self.0.lock().in_use.take()
    }

    /// Puts credentials back in use.
    pub(super) fn regain(&self, generation: Option<u64>) {
        self.0.lock().in_use = generation;
    }

    /// Sends calls with these credentials from now on.
    pub(super) fn try_out(&self, trial: Option<u64>) {
        self.0.lock().trial = trial;
    }

    fn sent(&self) -> Option<u64> {
        let credentials = self.0.lock();
        credentials.trial.or(credentials.in_use)
    }
}

impl CredentialGeneration for Counter {
    fn generation(&self) -> Option<u64> {
        self.0.lock().in_use
    }
}

/// Notes the credentials that a call is sent with, and sends it.
#[derive(Clone, Debug)]
pub(crate) struct Sender {
    upstream: Upstream,
    generation: Counter,
}

impl Service<Fetch> for Sender {
    type Response = Response<Body>;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        fetch.head.context.sends_generation(self.generation.sent().unwrap_or_default());
        self.upstream.call(fetch)
    }
}

/// A time of day that follows tokio's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct TestClock(Instant);

impl Default for TestClock {
    fn default() -> Self {
        Self(Instant::now())
    }
}

impl WallClock for TestClock {
    fn now(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(2_000_000_000) + self.0.elapsed()
    }
}
