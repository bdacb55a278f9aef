//! From checked settings to the parts of the path.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio_util::sync::CancellationToken;

use super::{
    certificates::{Certificates, CertificatesError},
    following::Following,
    profiles::{self, NewManager, ProfileParts},
};
use crate::{
    admin::Tokens,
    audit::{self, CallCause, CredentialsChange, FleetLog, ListIds, Trail},
    config::{
        Settings,
        types::{Listener, Profile},
    },
    credentials::{
        self, CredentialManager, IncompleteVault, KeyPlace, KeyReadError, KeySettings, Sources,
        VaultError, VersionChange, read_key_file,
    },
    domain::{
        Address, CallerRule, CredentialsName, ListenerName, PolicyId, ProblemBase, ProfileName,
    },
    fleet::{self, KeyRing, Member, Role, StoreError},
    notices::{HookTokensError, Notices},
    outbound::{
        CollectorSettings, ForwardProxy, ForwardProxyError, Resolver, RevocationError,
        RevocationVerifier, TlsError, Trust,
    },
    process::{open_files, token_file::TokenFileError},
    proxy::{
        self, PathParts, UpstreamParts,
        cache::{self, Cache},
        call::{ConcurrencyLimits, ConnectionLimiter, ConnectionLimits},
        client::{self, ConnectTimeouts, KeepLimits, UpstreamClient, Upstreams, upstream_tls},
        http_policy::HostRules,
        own::OwnCalls,
        profile::{Loading, Profiles},
        server::{self, Acceptor, BindError, Bound, ConnectionTimeouts, WorkerQueue},
        stages::{
            audit::ListenerContext,
            authorize::{self, Policy},
            identify::Schemes,
            receive,
            retry::RetrySettings,
        },
    },
    telemetry::{Activity, Metrics, Tracer},
};

/// The parts that all listeners and workers share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    pub(super) trail: Trail,
    pub(super) metrics: Arc<Metrics>,
    tracer: Tracer,
    pub(super) cache: Cache,
    pub(super) managers: BTreeMap<CredentialsName, CredentialManager>,
    /// What their sources share. A reload keeps it.
    pub(super) sources: Sources,
    pub(super) upstreams: HashMap<ProfileName, client::Settings>,
    pub(super) listener: server::Settings,
    pub(super) certificates: Certificates,
    /// The connections of each listener. A reload keeps the counts.
    pub(super) connections: HashMap<ListenerName, Arc<ConnectionLimiter>>,
    pub(super) places: ConcurrencyLimits,
    /// The profiles of all listeners.
    pub(super) profiles: Arc<Profiles>,
    /// Takes members whose credentials are to be kept fresh.
    loading: Loading,
    pub(super) activity: Arc<Activity>,
    pub(super) policy: Arc<Policy>,
    /// The identifier of the configuration, on every record.
    pub(super) policy_id: PolicyId,
    /// Cancelled when the calls that are left at the end of the drain are cut off.
    pub(super) cut: CancellationToken,
    pub(super) callers: Arc<[Arc<CallerRule>]>,
    /// The tokens of the admin listener. A reload reads them again.
    pub(super) tokens: Arc<Tokens>,
    problem_base: ProblemBase,
    limits: receive::RequestLimits,
    request_timeout: Duration,
    upstream_read: Duration,
    note_list_ids: bool,
    retry: RetrySettings,
    /// The notices of all profiles.
    pub(super) notices: Arc<Notices>,
    /// This gateway as a member of the fleet.
    pub(super) fleet: Option<Arc<Member>>,
    /// The fleet's key, and where it is.
    pub(super) fleet_key: Option<(KeySettings, Arc<KeyRing>)>,
    /// The heads of all members' trails, if this gateway is a hub.
    pub(super) fleet_log: Option<Arc<FleetLog>>,
}

/// One listener on one worker, before its path is put together.
#[derive(Debug)]
pub(super) struct ListenerParts {
    pub(super) settings: Listener,
    /// The actual address.
    pub(super) address: Address,
}

impl Shared {
    /// Everything new: for a gateway that starts.
    pub(super) fn open(
        settings: &Settings,
        tracer: Tracer,
        loading: Loading,
    ) -> Result<Self, StartError> {
        Self::assemble(settings, tracer, loading, None)
    }

    /// The parts for another configuration. A part that the change does not concern is kept: the
    /// trail, the metrics, certificates from the same files, credentials with the same source, the
    /// cache, the health of upstreams, and the counters of callers with the same limits.
    pub(super) fn renew(&self, before: &Settings, settings: &Settings) -> Result<Self, StartError> {
        let (tracer, loading) = (self.tracer.clone(), self.loading.clone());
        Self::assemble(settings, tracer, loading, Some((before, self)))
    }

    fn assemble(
        settings: &Settings,
        tracer: Tracer,
        loading: Loading,
        kept: Option<(&Settings, &Self)>,
    ) -> Result<Self, StartError> {
        let mut upstreams = HashMap::new();
        for (name, profile) in &settings.profiles {
            upstreams.insert(name.clone(), upstream_settings(profile, settings)?);
        }
        let certificates =
            Certificates::open(settings, &upstreams, kept.map(|(_, kept)| &kept.certificates))?;
        let sources = kept.map(|(_, kept)| kept.sources.clone()).unwrap_or_default();
        let managers = managers(settings, &sources, kept)?;
        let tokens = settings.admin_tokens.as_deref().map(Tokens::read).transpose()?;
        let mut policy = policy(settings);
        if let Some((_, kept)) = kept {
            policy.limits = kept.policy.limits.renew(&settings.callers);
        }
        if let Some(CollectorSettings { endpoint, proxy, .. }) = settings.telemetry.collector() {
            ForwardProxy::open(&proxy, &endpoint).map_err(StartError::Proxy)?;
        }
        let fleet_key = fleet_key(settings, kept)?;
        let fleet = fleet(settings, fleet_key.as_ref(), kept)?;
        // The trail comes last: nothing is written to it by a configuration that cannot be used.
        let (trail, metrics, activity) = match kept {
            Some((_, kept)) => {
                (kept.trail.clone(), Arc::clone(&kept.metrics), Arc::clone(&kept.activity))
            }
            None => observed_trail(settings)?,
        };
        let fleet_log = fleet_log(settings, kept)?;
        for (name, manager) in &managers {
            manager.set_observer(rotation_recorder(&trail, name));
            if let Some(fleet) = &fleet {
                manager.join(Arc::clone(fleet));
            }
        }
        let cache = cache(settings, fleet.as_ref(), &trail, kept);
        let profiles = ProfileParts {
            settings,
            managers: &managers,
            loading: &loading,
            new_manager: &manager_maker(&trail, &sources, fleet.as_ref()),
            sources: &sources,
            metrics: &metrics,
            fleet: fleet.as_ref(),
            kept: kept.map(|(before, kept)| (before, &*kept.profiles)),
        };
        let profiles = Arc::new(profiles.assemble());
        Ok(Self {
            notices: notices(settings, &cache, &trail, kept),
            fleet,
            fleet_key,
            fleet_log,
            connections: connections(settings, &metrics, kept),
            trail,
            activity,
            metrics,
            tracer,
            cache,
            profiles,
            loading,
            managers,
            sources,
            upstreams,
            places: places(settings, kept),
            listener: listener_settings(settings),
            certificates,
            policy: Arc::new(policy),
            policy_id: settings.revision.policy_id(),
            cut: kept.map_or_else(CancellationToken::new, |(_, kept)| kept.cut.clone()),
            callers: settings.callers.clone().into(),
            tokens: Arc::new(tokens.unwrap_or_default()),
            problem_base: settings.problem_base.clone(),
            limits: request_limits(settings),
            request_timeout: *settings.timeouts.request,
            upstream_read: *settings.timeouts.upstream_read,
            note_list_ids: settings.audit.list_ids != ListIds::None,
            retry: retry_settings(settings),
        })
    }

    /// The path of one listener on one worker.
    pub(super) fn path(
        &self,
        parts: &ListenerParts,
        upstreams: Upstreams,
    ) -> impl server::Path + use<> {
        let listener = &parts.settings;
        proxy::build(PathParts {
            listener: self.edges(listener),
            rules: receive::ListenerRules {
                hosts: HostRules::new(&parts.address, &listener.allowed_hosts),
                limits: self.limits.clone(),
                may_name_profile: listener.profile.is_none(),
            },
            concurrency: self.places.clone(),
            schemes: Schemes::new(listener.caller.clone(), &self.callers),
            policy: Arc::clone(&self.policy),
            note_list_ids: self.note_list_ids,
            profiles: Arc::clone(&self.profiles),
            profile: listener.profile.clone(),
            cache: self.cache.clone(),
            upstream: self.upstream_parts(self.edges(listener), upstreams),
        })
    }

    fn upstream_parts(&self, listener: ListenerContext, upstreams: Upstreams) -> UpstreamParts {
        UpstreamParts {
            listener,
            request_timeout: self.request_timeout,
            upstream_read: self.upstream_read,
            retry: self.retry,
            upstreams,
        }
    }

    /// What follows the notices of its profiles, for the runtime that this is called on.
    pub(super) fn following(&self) -> Following {
        let context = self.context(ListenerName::new("-"), None);
        let parts = self.upstream_parts(context, self.upstreams());
        let calls = OwnCalls::new(parts, "gateway:event-log", CallCause::EventLog);
        Following {
            notices: Arc::clone(&self.notices),
            profiles: Arc::clone(&self.profiles),
            calls: Arc::new(calls),
        }
    }
}

impl Shared {
    /// The acceptor of a listener, to run on the worker with that number.
    pub(super) fn acceptor(
        &self,
        (listener, bound): &(Listener, Bound),
        settings: &Settings,
        workers: Vec<WorkerQueue>,
        own: usize,
    ) -> Result<Option<Acceptor>, BindError> {
        let Some(limiter) = self.connections.get(&listener.name) else { return Ok(None) };
        let part = listener.connections;
        let part = part.unwrap_or_else(|| settings.limits.part(&settings.listeners));
        Ok(Some(Acceptor {
            listener: listener.name.clone(),
            socket: bound.share()?,
            limiter: Arc::clone(limiter),
            limits: ConnectionLimits::of(
                open_files::fitting(part, settings.limits.connections),
                settings.limits.connections_per_peer,
            ),
            workers,
            own,
        }))
    }

    /// The ways to the upstreams, for one worker. Members of a template share connections, which no rotation of
    /// one of them closes.
    pub(super) fn upstreams(&self) -> Upstreams {
        let client = |(table, settings): (&ProfileName, &client::Settings)| {
            let mut fixed = self.profiles.fixed();
            let rotations = fixed.find(|profile| profile.name == *table);
            let rotations = rotations.map(|profile| profile.manager.subscribe());
            (table.clone(), UpstreamClient::new(settings.clone(), rotations))
        };
        Upstreams::new(self.upstreams.iter().map(client).collect())
    }

    /// The context of a listener, for its records.
    pub(super) fn edges(&self, listener: &Listener) -> ListenerContext {
        self.context(listener.name.clone(), listener.profile.clone())
    }

    fn context(&self, listener: ListenerName, profile: Option<ProfileName>) -> ListenerContext {
        ListenerContext {
            listener,
            profile,
            policy: self.policy_id,
            problem_base: self.problem_base.clone(),
            trail: self.trail.clone(),
            tracer: self.tracer.clone(),
            metrics: Arc::clone(&self.metrics),
            cut: self.cut.clone(),
        }
    }
}

/// A trail, and what watches it.
fn observed_trail(settings: &Settings) -> Result<(Trail, Arc<Metrics>, Arc<Activity>), StartError> {
    let trail = Trail::open(&trail_settings(settings)).map_err(StartError::Trail)?;
    let activity = Activity::new();
    trail.set_observer(Arc::<Activity>::clone(&activity));
    Ok((trail, Metrics::new(settings.telemetry.top_profiles), activity))
}

/// How the upstream of a profile is reached; its trusted roots and revocation lists are read, and its proxy's
/// credentials.
pub fn upstream_settings(
    profile: &Profile,
    settings: &Settings,
) -> Result<client::Settings, StartError> {
    let ca_file = profile.ca_file.as_deref();
    let lists = profile.revocation().map(|lists| RevocationVerifier::open(ca_file, lists));
    let revocation = lists.transpose().map_err(|error| match error {
        RevocationError::Roots(error) => StartError::Tls(error.into()),
        error => StartError::Revocation(error),
    })?;
    let trust = match &revocation {
        Some(verifier) => Trust::Unrevoked(Arc::clone(verifier)),
        None => Trust::Roots(ca_file),
    };
    let tls = profile.upstream.is_tls().then(|| upstream_tls(trust, profile.http));
    Ok(client::Settings {
        origin: profile.upstream.clone(),
        connect_to: profile.connect_to,
        allow_private: profile.allow_private,
        proxy: ForwardProxy::open(&profile.forward_proxy(), &profile.upstream)
            .map_err(StartError::Proxy)?,
        local_address: profile.local_address,
        resolver: Resolver::system(),
        connect: ConnectTimeouts {
            resolve: *settings.timeouts.resolve,
            connect: *settings.timeouts.connect,
        },
        keep: KeepLimits {
            idle: *settings.timeouts.upstream_idle,
            age: *settings.timeouts.connection_age,
        },
        adaptive_concurrency: settings.limits.adaptive_concurrency,
        http: profile.http,
        tls: tls.transpose().map_err(StartError::Tls)?,
        revocation,
        observed: Arc::default(),
    })
}

/// A manager for each credential set; what is read from the same source is kept.
fn managers(
    settings: &Settings,
    sources: &Sources,
    kept: Option<(&Settings, &Shared)>,
) -> Result<BTreeMap<CredentialsName, CredentialManager>, StartError> {
    let mut managers = BTreeMap::new();
    let templates = profiles::templates(settings);
    for (name, set) in &settings.credentials {
        set.source.check()?;
        credentials::check_files(&set.source).map_err(StartError::Vault)?;
        if templates.contains_key(name) {
            continue;
        }
        let manager = match kept.and_then(|(_, kept)| kept.managers.get(name)) {
            Some(manager) if manager.settings() == set => manager.clone(),
            _ => CredentialManager::new(set.clone(), sources),
        };
        managers.insert(name.clone(), manager);
    }
    Ok(managers)
}

/// Makes managers for members of templates.
fn manager_maker(trail: &Trail, sources: &Sources, fleet: Option<&Arc<Member>>) -> NewManager {
    let (trail, sources, fleet) = (trail.clone(), sources.clone(), fleet.cloned());
    Arc::new(move |settings| {
        let name = settings.name.clone();
        let manager = CredentialManager::new(settings, &sources);
        manager.set_observer(rotation_recorder(&trail, &name));
        if let Some(fleet) = &fleet {
            manager.join(Arc::clone(fleet));
        }
        manager
    })
}

/// Puts each change of the version in use on the trail.
fn rotation_recorder(
    trail: &Trail,
    name: &CredentialsName,
) -> Arc<dyn Fn(VersionChange) + Send + Sync> {
    let (trail, name) = (trail.clone(), name.clone());
    Arc::new(move |VersionChange { from, to, state, cause }| {
        trail.credentials(CredentialsChange {
            time: SystemTime::now(),
            credentials: name.clone(),
            from,
            to,
            state: state.label(),
            cause: cause.label(),
        });
    })
}

/// The cache. It is kept only if the profiles are the same: a response of another upstream must not
/// be served for this one's.
fn cache(
    settings: &Settings,
    fleet: Option<&Arc<Member>>,
    trail: &Trail,
    kept: Option<(&Settings, &Shared)>,
) -> Cache {
    let chain = || trail.stats().chain.map(Into::into);
    let wanted = cache_settings(settings);
    kept.filter(|(before, _)| {
        cache_settings(before) == wanted && before.profiles == settings.profiles
    })
    .map_or_else(
        || Cache::of_member(wanted, fleet.cloned(), chain()),
        |(_, kept)| kept.cache.clone(),
    )
}

/// The places of calls that are under way.
fn places(settings: &Settings, kept: Option<(&Settings, &Shared)>) -> ConcurrencyLimits {
    kept.filter(|(before, _)| before.limits == settings.limits).map_or_else(
        || ConcurrencyLimits::new(settings.limits.in_flight),
        |(_, kept)| kept.places.clone(),
    )
}

/// What counts the connections of each listener.
fn connections(
    settings: &Settings,
    metrics: &Metrics,
    kept: Option<(&Settings, &Shared)>,
) -> HashMap<ListenerName, Arc<ConnectionLimiter>> {
    let listeners = settings.listeners.iter().map(|listener| {
        let name = listener.name.clone();
        let known = kept.and_then(|(_, kept)| kept.connections.get(&name).cloned());
        let new = || ConnectionLimiter::new(name.clone(), metrics.connections());
        (name.clone(), known.unwrap_or_else(new))
    });
    listeners.collect()
}

/// This gateway as a member of the fleet, from its start to its end.
fn fleet(
    settings: &Settings,
    key: Option<&(KeySettings, Arc<KeyRing>)>,
    kept: Option<(&Settings, &Shared)>,
) -> Result<Option<Arc<Member>>, StoreError> {
    if let Some((_, kept)) = kept {
        return Ok(kept.fleet.clone());
    }
    let member = settings.fleet.clone().zip(key);
    let instance = Some(settings.audit.instance_name());
    let open = |(fleet, (_, ring)): (_, &(_, Arc<KeyRing>))| {
        Member::open(fleet::Settings { instance, ..fleet }, Arc::clone(ring))
    };
    member.map(open).transpose()
}

/// The fleet's key, as long as the fleet.
fn fleet_key(
    settings: &Settings,
    kept: Option<(&Settings, &Shared)>,
) -> Result<Option<(KeySettings, Arc<KeyRing>)>, StartError> {
    match kept {
        Some((_, kept)) => Ok(kept.fleet_key.clone()),
        None => settings.fleet_key.clone().map(open_key).transpose(),
    }
}

/// A ring for a key. One in a vault is read later: a start waits for no vault.
fn open_key(settings: KeySettings) -> Result<(KeySettings, Arc<KeyRing>), StartError> {
    let ring = KeyRing::new();
    if let KeyPlace::File(path) = &settings.place {
        ring.put(read_key_file(path).map_err(StartError::FleetKey)?);
    }
    Ok((settings, ring))
}

/// The log of a hub, from its start to its end.
fn fleet_log(
    settings: &Settings,
    kept: Option<(&Settings, &Shared)>,
) -> Result<Option<Arc<FleetLog>>, StartError> {
    if let Some((_, kept)) = kept {
        return Ok(kept.fleet_log.clone());
    }
    let is_hub = settings.fleet.as_ref().is_some_and(|fleet| fleet.role == Role::Hub);
    let open = || FleetLog::open(&trail_settings(settings)).map(Arc::new);
    is_hub.then(open).transpose().map_err(StartError::FleetLog)
}

/// The notices of all profiles. They are kept with the cache, so that a chain of readings survives a reload.
fn notices(
    settings: &Settings,
    cache: &Cache,
    trail: &Trail,
    kept: Option<(&Settings, &Shared)>,
) -> Arc<Notices> {
    let is_same = |before: &Settings, kept: &Shared| {
        kept.cache.is(cache)
            && before.notices == settings.notices
            && before.catalog.operations() == settings.catalog.operations()
    };
    if let Some((_, kept)) = kept.filter(|(before, kept)| is_same(before, kept)) {
        return Arc::clone(&kept.notices);
    }
    let (catalog, trail) = (Arc::clone(&settings.catalog), trail.clone());
    let record = Arc::new(move |taken| trail.notices(taken));
    Notices::new(settings.notices.clone(), cache.clone(), catalog, record)
}

/// The policy of a configuration, with fresh counters.
pub fn policy(settings: &Settings) -> Policy {
    Policy {
        catalog: Arc::clone(&settings.catalog),
        unidentified: settings.policy.unidentified(),
        unmatched: settings.policy.unmatched,
        mode: settings.policy.mode,
        limits: authorize::CallerLimiters::new(&settings.callers),
    }
}

pub(super) fn request_limits(settings: &Settings) -> receive::RequestLimits {
    receive::RequestLimits {
        request_body: settings.limits.request_body.0,
        header_bytes: settings.limits.header_bytes.in_memory(),
        header_count: settings.limits.header_count,
        target_bytes: TARGET_BYTES,
    }
}

pub(super) fn listener_settings(settings: &Settings) -> server::Settings {
    server::Settings {
        timeouts: ConnectionTimeouts {
            head: *settings.timeouts.header_read,
            idle: *settings.timeouts.idle,
            write: *settings.timeouts.write,
        },
        keep_alive_fields: server::keep_alive_fields(*settings.timeouts.idle),
        // Room above the limit, so that the path refuses what is over it, with a record.
        head_bytes: settings.limits.header_bytes.in_memory() * 2 + TARGET_BYTES,
        header_count: settings.limits.header_count,
        concurrent_streams: CONCURRENT_STREAMS,
        connection_age: settings.limits.connection_age.map(|age| *age),
    }
}

fn retry_settings(settings: &Settings) -> RetrySettings {
    RetrySettings {
        body_read: *settings.timeouts.body_read,
        first_byte: *settings.timeouts.first_byte,
        ..settings.retry
    }
}

pub(super) fn cache_settings(settings: &Settings) -> cache::Settings {
    let wait = settings.cache.collapse_wait.min(*settings.timeouts.request);
    cache::Settings { collapse_wait: wait, ..settings.cache.clone() }
}

pub(super) fn trail_settings(settings: &Settings) -> audit::Settings {
    audit::Settings {
        export_to: settings.telemetry.collector(),
        configuration: Some(settings.revision.hash()),
        ..settings.audit.clone()
    }
}

/// Why a gateway cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A certificate file is missing or wrong: the configuration's fault.
    #[error("the upstream's trusted roots cannot be used")]
    Tls(#[source] TlsError),
    /// The forward proxy that leads to Pigello or to the collector cannot be used.
    #[error("a forward proxy cannot be used")]
    Proxy(#[source] ForwardProxyError),
    /// The revocation lists of a profile cannot be used.
    #[error("the revocation lists of a profile cannot be used")]
    Revocation(#[source] RevocationError),
    /// The files for the way to the vault cannot be used.
    #[error(transparent)]
    Vault(VaultError),
    /// A listener's certificates are missing or wrong: the configuration's fault as well.
    #[error(transparent)]
    ListenerTls(#[from] CertificatesError),
    /// The token file of the admin listener cannot be used: the configuration's fault, too.
    #[error("the tokens of the admin listener cannot be used")]
    Tokens(#[from] TokenFileError),
    /// The file of the tokens of webhooks cannot be used: the configuration's fault.
    #[error("the tokens of webhooks cannot be used")]
    HookTokens(#[from] HookTokensError),
    /// The files for the way to its store, cannot be used: the configuration's fault.
    #[error("the fleet cannot be joined")]
    Fleet(#[from] StoreError),
    /// The file of the fleet's key cannot be used: the configuration's fault.
    #[error("the fleet cannot be joined")]
    FleetKey(#[source] KeyReadError),
    /// Neither the configuration nor a variable says how to use the vault.
    #[error(transparent)]
    Credentials(#[from] IncompleteVault),
    /// The audit trail cannot be opened.
    #[error("the audit trail cannot be opened")]
    Trail(#[source] audit::TrailOpenError),
    /// The log of a hub cannot be opened.
    #[error("the fleet log cannot be opened")]
    FleetLog(#[source] audit::TrailOpenError),
    /// A socket cannot be opened.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The Unix socket of the admin listener cannot be given to the group.
    #[error("`admin.socket_group` cannot be used")]
    SocketGroup(#[source] std::io::Error),
    /// The folder of the admin listener's Unix socket cannot be made.
    #[error("the folder {} for the admin listener's socket cannot be made", path.display())]
    SocketFolder {
        /// The folder.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: std::io::Error,
    },
}

impl StartError {
    /// Whether the configuration has to change; otherwise the machine's state has to.
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Tls(_)
                | Self::Proxy(_)
                | Self::Revocation(_)
                | Self::Vault(_)
                | Self::ListenerTls(_)
                | Self::Tokens(_)
                | Self::HookTokens(_)
                | Self::Fleet(_)
                | Self::FleetKey(_)
                | Self::Credentials(_)
                | Self::SocketGroup(_)
        )
    }
}

/// Longer targets than any query of the API needs, shorter than what servers choke on.
const TARGET_BYTES: usize = 8 * 1024;
/// The least that RFC 9113 §6.5.2 advises; a caller with more in flight opens another connection.
const CONCURRENT_STREAMS: u32 = 100;
