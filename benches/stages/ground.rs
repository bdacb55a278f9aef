//! What the stages are made of, and requests for each of them.
//!
//! Nobody but the stages can make what they hand on, which is the point of their types. So a request is
//! sent through the real stages before the one that is timed, over a connection in memory, and caught
//! behind them.

use std::{
    convert::Infallible,
    error::Error,
    future::ready,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use http::{Method, Request, Response, StatusCode};
use hyper::{body::Incoming, server::conn::http1};
use hyper_util::rt::TokioIo;
use pigello_gateway::{
    app,
    audit::{self, CacheResult, Outcome, Record, Trail},
    body::{Body, collect_limited},
    config::{self, settings::Settings},
    credentials::{self, CredentialManager, Identifiers, RefreshSettings, SourceSettings, Sources},
    domain::{
        Address, CredentialsName, ListenerName, Origin, Peer, PolicyId, ProblemBase, ProfileName,
        Proof, RequestId,
    },
    error::Error as Refused,
    fleet::BudgetSettings,
    proxy::{
        cache::{self, Cache, cache},
        call::{
            Arrival, Authorized, ConcurrencyLimits, Connection, Identified, Intended, Opened,
            Received, Recorded, Resolved, Selected,
        },
        http_policy::HostRules,
        profile::{HealthSettings, Partition, Profile, Profiles, UpstreamHealth},
        server::Path,
        stages::{
            audit::{ListenerContext, OpenRecord, admit, intend, open},
            authorize::{Policy, authorize},
            buffer_request::buffer_request,
            identify::{Schemes, identify},
            inject::resolve,
            profile::{load, select},
            receive::{ListenerRules, RequestLimits, receive},
            respond::respond,
        },
    },
    telemetry::{Metrics, Tracer},
};
use pigello_mock::Authority;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    runtime::{EnterGuard, Runtime},
};
use tokio_util::sync::CancellationToken;
use tower::{Layer, Service, service_fn};

use super::{
    failure::{During as _, Failure},
    workplace::{CACHED, Workplace},
};

/// The parts of one listener's path.
pub struct Ground {
    runtime: Runtime,
    settings: Settings,
    policy: Arc<Policy>,
    cache: Cache,
    no_cache: Cache,
    profiles: Arc<Profiles>,
    edges: ListenerContext,
    _place: Workplace,
    _trail: TempDir,
}

impl Ground {
    /// A listener's parts as a configuration makes them, its trail in memory.
    pub fn make() -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .during("cannot start a runtime")?;
        let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let authority = Authority::new("stages").during("cannot make an authority")?;
        let place = Workplace::make(&authority, nowhere, nowhere)?;
        let loaded = config::load(&[place.config()], std::iter::empty())
            .map_err(|problems| Failure::new(problems.to_string()))?;
        let folder = tempfile::tempdir_in("/dev/shm").during("cannot make a folder in memory")?;
        let trail = Trail::open(&audit::Settings::new(folder.path())).during("no trail")?;
        let set = credentials::Settings {
            keep: None,
            name: CredentialsName::new("bench"),
            source: SourceSettings::Directory { path: place.path("credentials") },
            fixed: Identifiers::new(),
            refresh: RefreshSettings::default(),
        };
        let manager = CredentialManager::new(set, &Sources::default());
        let read = runtime.block_on(manager.refresh());
        read.map_err(|error| Failure::new(error.to_string()))?;
        let name = ProfileName::new("bench");
        let origin: Origin = "https://localhost".parse().during("no origin")?;
        let metrics = Metrics::new(0);
        let profile = Profile {
            partition: Partition::new(name.clone(), origin, manager.clone()),
            table: name.clone(),
            name,
            manager,
            health: UpstreamHealth::new(
                &ProfileName::new("bench"),
                HealthSettings {
                    breaker: loaded.settings.breaker,
                    quota: loaded.settings.quota,
                    retry_share: loaded.settings.retry.budget,
                    budget: BudgetSettings::default(),
                },
                None,
            ),
            shared_keys: None,
            calls: metrics.profiles().of_table(&ProfileName::new("bench")),
        };
        Ok(Self {
            policy: Arc::new(app::policy(&loaded.settings)),
            settings: loaded.settings,
            cache: Cache::new(cache::Settings::default()),
            no_cache: Cache::new(cache::Settings { enabled: false, ..Default::default() }),
            profiles: Arc::new(Profiles::new(vec![Arc::new(profile)], Vec::new())),
            edges: ListenerContext {
                listener: ListenerName::new("bench"),
                profile: Some(ProfileName::new("bench")),
                policy: PolicyId::default(),
                cut: CancellationToken::new(),
                trail,
                tracer: Tracer::default(),
                metrics,
                problem_base: ProblemBase::default(),
            },
            runtime,
            _place: place,
            _trail: folder,
        })
    }

    /// Where records go.
    pub fn edges(&self) -> ListenerContext {
        self.edges.clone()
    }

    /// What the listener takes.
    pub fn rules(&self) -> ListenerRules {
        ListenerRules {
            hosts: HostRules::new(&Address::Tcp((Ipv4Addr::LOCALHOST, 0).into()), &[]),
            limits: RequestLimits {
                request_body: self.settings.limits.request_body.0,
                header_bytes: self.settings.limits.header_bytes.in_memory(),
                header_count: self.settings.limits.header_count,
                target_bytes: 8 * 1024,
            },
            may_name_profile: false,
        }
    }

    /// How callers are identified.
    pub fn schemes(&self) -> Schemes {
        Schemes::new(Some("bench".into()), &self.settings.callers)
    }

    /// Who may do what.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy)
    }

    /// The cache.
    pub fn cache(&self) -> Cache {
        self.cache.clone()
    }

    /// The profiles: one.
    pub fn profiles(&self) -> Arc<Profiles> {
        Arc::clone(&self.profiles)
    }

    /// The listener's profile.
    pub fn profile(&self) -> Option<ProfileName> {
        self.edges.profile.clone()
    }

    /// Timers of the stages run on this runtime.
    pub fn enter(&self) -> EnterGuard<'_> {
        self.runtime.enter()
    }

    /// Waits for an answer, and reads it to its end.
    pub fn serve<B, E>(
        &self,
        stage: &str,
        answer: impl Future<Output = Result<Response<B>, E>>,
    ) -> Result<(), Failure>
    where
        B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
    {
        self.runtime.block_on(async {
            let answer = answer.await.map_err(|_| Failure::new(format!("{stage}: fails")))?;
            collect_limited(answer.into_body(), MAX_BODY).await.during("an answer breaks off")?;
            Ok(())
        })
    }

    /// What the listener hands over.
    pub fn arrival(&self) -> Result<Arrival, Failure> {
        self.caught(|slot| {
            service_fn(move |arrival: Arrival| {
                slot.put(arrival);
                ready(Ok::<_, Infallible>(Response::new(Body::empty())))
            })
        })
    }

    /// A request with its record open.
    pub fn opened(&self) -> Result<Opened, Failure> {
        self.caught(|slot| self.opening().layer(slot.catch()))
    }

    /// A request that is well formed.
    pub fn received(&self) -> Result<Received, Failure> {
        self.caught(|slot| self.receiving(slot.catch()))
    }

    /// A request with its profile.
    pub fn selected(&self) -> Result<Selected, Failure> {
        self.caught(|slot| self.selecting(slot.catch()))
    }

    /// A request that its caller may make.
    pub fn authorized(&self) -> Result<Authorized, Failure> {
        self.caught(|slot| self.authorizing(slot.catch()))
    }

    /// A request whose caller is known.
    pub fn identified(&self) -> Result<Identified, Failure> {
        self.caught(|slot| self.identifying(slot.catch()))
    }

    /// A request that its caller may make and that the trail answers for.
    pub fn recorded(&self) -> Result<Recorded, Failure> {
        self.caught(|slot| self.recording(slot.catch()))
    }

    /// A request that memory could not answer.
    pub fn intended(&self) -> Result<Intended, Failure> {
        self.caught(|slot| self.intending(slot.catch()))
    }

    /// A request with the credentials it will be sent with.
    pub fn resolved(&self) -> Result<Resolved, Failure> {
        self.caught(|slot| self.intending(resolve().layer(slot.catch())))
    }

    /// The first stage; every request passes it.
    fn opening<S>(&self) -> impl Layer<S, Service = OpenRecord<S>> + use<S> {
        open(self.edges(), refusal)
    }

    fn identifying<S: Stages<Identified>>(&self, inner: S) -> impl Path + use<S> {
        let identified = identify(self.schemes()).layer(inner);
        let concurrency = ConcurrencyLimits::new(usize::MAX);
        self.opening().layer(respond(ProblemBase::default(), concurrency).layer(identified))
    }

    fn receiving<S: Stages<Received>>(&self, inner: S) -> impl Path + use<S> {
        self.identifying(receive(self.rules()).layer(inner))
    }

    fn recording<S: Stages<Recorded>>(&self, inner: S) -> impl Path + use<S> {
        let admitted = admit(self.edges.trail.clone()).layer(inner);
        let concurrency = ConcurrencyLimits::new(usize::MAX);
        let buffered = buffer_request(TIME, concurrency.clone()).layer(admitted);
        self.authorizing(load().layer(buffered))
    }

    fn selecting<S: Stages<Selected>>(&self, inner: S) -> impl Path + use<S> {
        self.receiving(select(self.profiles(), self.profile()).layer(inner))
    }

    fn authorizing<S: Stages<Authorized>>(&self, inner: S) -> impl Path + use<S> {
        let concurrency = ConcurrencyLimits::new(usize::MAX);
        self.selecting(authorize(self.policy(), concurrency).layer(inner))
    }

    fn intending<S: Stages<Intended>>(&self, inner: S) -> impl Path + use<S> {
        let intended = intend(self.edges.clone()).layer(inner);
        self.recording(cache(self.no_cache.clone()).layer(intended))
    }

    /// Sends a request through these stages and returns what the slot caught.
    fn caught<T, P, B>(&self, path: impl FnOnce(Slot<T>) -> P) -> Result<T, Failure>
    where
        P: Service<Arrival, Response = Response<B>, Error = Infallible> + Clone,
        B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>> + 'static,
    {
        let slot = Slot(Arc::default());
        let path = path(slot.clone());
        let connection = Connection::new(Peer::Tcp((Ipv4Addr::LOCALHOST, 1).into()), Vec::new());
        let service = hyper::service::service_fn(|request: Request<Incoming>| {
            let request = request.map(Body::from);
            let connection = Arc::clone(&connection);
            path.clone().call(Arrival { request: Ok(request), connection, interim: None })
        });
        self.runtime.block_on(async {
            let (mut caller, gateway) = tokio::io::duplex(16 * 1024);
            let serving = http1::Builder::new().serve_connection(TokioIo::new(gateway), service);
            let calling = async {
                caller.write_all(REQUEST.as_bytes()).await?;
                caller.read_to_end(&mut Vec::new()).await
            };
            let (served, called) = tokio::join!(serving, calling);
            served.during("the request was not served")?;
            called.during("the request could not be sent")
        })?;
        let caught = slot.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        caught.ok_or_else(|| Failure::new("a stage refuses the request"))
    }

    /// A finished call, answered from memory.
    pub fn record(&self) -> Record {
        Record {
            time: SystemTime::now(),
            request_id: RequestId::fresh(),
            trace_id: 1,
            own: None,
            peer: Some(Peer::Tcp((Ipv4Addr::LOCALHOST, 1).into())),
            refused_certificate: None,
            policy: PolicyId::default(),
            listener: self.edges.listener.clone(),
            caller: Some("bench".into()),
            caller_proof: Some(Proof::Listener),
            profile: self.edges.profile.clone(),
            operation: Some("subtenant.get".into()),
            method: Method::GET,
            target: CACHED.parse().ok(),
            status: Some(StatusCode::OK),
            outcome: Outcome::Cached,
            cache: Some(CacheResult::Hit),
            source_request_id: Some(RequestId::fresh()),
            source_chain: None,
            upstream_status: None,
            upstream_tls: None,
            attempts: 0,
            retries: Vec::new(),
            credential_version: None,
            duration: Duration::from_micros(20),
            queue_time: Duration::ZERO,
            upstream_time: None,
            request_bytes: 0,
            response_bytes: 2898,
            error: None,
            would_refuse: None,
            masked_fields: 0,
            list_ids: None,
        }
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        // Before its folder goes: a trail puts back what is taken from under it.
        drop(self.edges.trail.clone().close());
    }
}

/// What stands behind a stage.
trait Stages<R>:
    Service<R, Response = Response<Body>, Error = Refused, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<R, S> Stages<R> for S where
    S: Service<R, Response = Response<Body>, Error = Refused, Future: Send>
        + Clone
        + Send
        + Sync
        + 'static
{
}

/// Where a request that has come through is put.
#[derive(Debug)]
struct Slot<T>(Arc<Mutex<Option<T>>>);

impl<T> Clone for Slot<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Send + 'static> Slot<T> {
    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    /// Stands behind the last stage, keeps what comes, and answers with nothing.
    fn catch<E: Send + 'static>(
        self,
    ) -> impl Service<T, Response = Response<Body>, Error = E, Future: Send>
    + Clone
    + Send
    + Sync
    + 'static {
        service_fn(move |value| {
            self.put(value);
            ready(Ok(Response::new(Body::empty())))
        })
    }
}

/// No call is refused here.
pub fn refusal(_: &pigello_gateway::error::Error, _: RequestId, _: &ProblemBase) -> Response<Body> {
    Response::new(Body::empty())
}

/// What an application sends: a read that the cache may answer.
const REQUEST: &str = concat!(
    "GET /accounts/users/customer/subtenant/5b1f0c52-7d34-4f0e-9a6b-3c2d1e0f4a01/ HTTP/1.1\r\n",
    "Host: localhost\r\n",
    "User-Agent: application/1.0\r\n",
    "Accept: application/json\r\n",
    "Accept-Encoding: identity\r\n",
    "Connection: close\r\n",
    "\r\n",
);
/// How long a call may take, as by default.
const TIME: Duration = Duration::from_secs(30);
/// More than any answer here has.
const MAX_BODY: usize = 1024 * 1024;
