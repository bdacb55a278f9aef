//! Looks a request up in the cache and decides how it is answered.

use std::sync::Arc;

use http::{HeaderValue, Method, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::{
    coalesce::{FlightRole, FlightWaiter},
    eligibility::bypass,
    fetch::{ClientRequest, FetchJob},
    handle::Cache,
    invalidate,
    outcome::FetchOutcome,
    policy::{directives::RequestDirectives, fields::RequestFieldSet, reuse::Reuse},
    settings::Rule,
    status::{ForwardReason, coherent_hit, hit, stale_hit},
    storage::{
        key::{CacheKeyRef, TargetName},
        response::{Provenance, StoredResponse},
        store::Selected,
    },
};
use crate::{
    audit::{CacheResult, CallCause},
    body::Body,
    domain::Operation,
    error::{Error, Kind},
    proxy::call::Head,
};

/// A request under a rule.
pub(super) struct CacheableRequest<'a> {
    cache: &'a Cache,
    /// The number of the rule.
    number: usize,
    rule: &'a Arc<Rule>,
    operation: Option<&'a Arc<Operation>>,
    head: &'a Arc<Head>,
    name: TargetName<'a>,
    fields: RequestFieldSet,
    directives: RequestDirectives,
    now: Instant,
}

/// How a read is answered.
pub(super) enum Lookup {
    /// With a stored response.
    Hit(Response<Body>),
    /// With a stale stored response, which the job revalidates in the background.
    StaleWhileRevalidate(Response<Body>, Box<FetchJob>),
    /// With 504: the request has `only-if-cached`, and no stored response can be used.
    OnlyIfCached,
    /// With the response that the job fetches.
    Fetch(Box<FetchJob>),
    /// With the outcome of another call's fetch. The job is for an outcome that does not suit.
    Collapse(Box<FetchJob>, FlightWaiter<FetchOutcome>),
    /// With the upstream's response to a HEAD, which also freshens the stored response.
    FreshenByHead(Box<FetchJob>),
    /// With the upstream's response, which is not stored.
    PassThrough(ForwardReason),
}

impl<'a> CacheableRequest<'a> {
    /// `None` if no rule covers the request.
    pub(super) fn new(
        cache: &'a Cache,
        operation: Option<&'a Arc<Operation>>,
        head: &'a Arc<Head>,
    ) -> Option<Self> {
        let (number, rule) = cache.rule(operation.map(AsRef::as_ref), head.target.path())?;
        let fields = RequestFieldSet::of(&head.headers);
        let directives = RequestDirectives::of(fields, &head.headers);
        let (name, now) = (TargetName::of(&head.target), Instant::now());
        Some(Self { cache, number, rule, operation, head, name, fields, directives, now })
    }

    pub(super) fn lookup(&self, body: &Body) -> Lookup {
        if bypass(self.fields, &self.directives, body.is_end_stream()).is_some() {
            return Lookup::PassThrough(ForwardReason::Bypass);
        }
        let Some(key) = self.key() else {
            return if self.directives.only_if_cached {
                Lookup::OnlyIfCached
            } else {
                Lookup::PassThrough(ForwardReason::Miss)
            };
        };
        let is_head = self.head.method == Method::HEAD;
        let selected = self.cache.store().select(&key, &self.head.headers, self.now);
        let (reason, previous) = match selected.as_ref().and_then(|found| self.reuse(found)) {
            Some((stored, Reuse::Fresh(left))) => {
                return Lookup::Hit(self.fresh(stored, hit(left)));
            }
            Some((stored, Reuse::Coherent(left))) => {
                return Lookup::Hit(self.fresh(stored, coherent_hit(left)));
            }
            Some((stored, Reuse::Stale(detail))) => return Lookup::Hit(self.stale(stored, detail)),
            Some((stored, Reuse::StaleWhileRevalidate(detail))) => {
                let response = self.stale(stored, detail);
                return match self.revalidation(key, stored) {
                    Some(job) => Lookup::StaleWhileRevalidate(response, job),
                    None => Lookup::Hit(response),
                };
            }
            Some((stored, Reuse::ValidateOnRequest)) => (ForwardReason::Request, Some(stored)),
            Some((stored, Reuse::Validate)) => (ForwardReason::Stale, Some(stored)),
            None => (ForwardReason::Miss, None),
        };
        if self.directives.only_if_cached {
            return Lookup::OnlyIfCached;
        }
        match previous {
            _ if !is_head => self.fetch(key, reason, previous),
            Some(previous) => {
                let mut job = Box::new(self.job(key, reason));
                job.previous = Some(Arc::clone(previous));
                Lookup::FreshenByHead(job)
            }
            None => Lookup::PassThrough(reason),
        }
    }

    /// The job that stores the response to a POST.
    pub(super) fn job_for_post(&self) -> Option<FetchJob> {
        if self.fields.has_credentials() {
            return None;
        }
        Some(self.job(self.key()?, ForwardReason::Miss))
    }

    fn key(&self) -> Option<CacheKeyRef<'_>> {
        let partition = &self.head.profile.partition;
        Some(CacheKeyRef::new(partition.profile(), partition.generation()?, &self.name))
    }

    /// Makes a fetch, or joins another call's.
    fn fetch(
        &self,
        key: CacheKeyRef<'_>,
        reason: ForwardReason,
        previous: Option<&Arc<StoredResponse>>,
    ) -> Lookup {
        let can_validate = previous.is_some_and(|previous| previous.validators.can_validate());
        // Other calls may not use the response, or this call needs a newer one than they wait for.
        let is_alone = (self.fields.has_condition() && !can_validate)
            || reason == ForwardReason::Request
            || self.cache.hit_for_miss().is_marked(&key);
        let mut job = Box::new(self.job(key, reason));
        job.previous = previous.cloned();
        if is_alone {
            return Lookup::Fetch(job);
        }
        match self.cache.in_flight().join(job.flight()) {
            FlightRole::Wait(waiter) => Lookup::Collapse(job, waiter),
            FlightRole::Lead(leader) => {
                // The fetch before this one may have ended after the lookup.
                let headers = &self.head.headers;
                let selected = self.cache.store().select(&key, headers, self.now);
                let found = match selected.as_ref().and_then(|found| self.reuse(found)) {
                    Some((stored, Reuse::Fresh(left))) => Some((stored, hit(left))),
                    Some((stored, Reuse::Coherent(left))) => Some((stored, coherent_hit(left))),
                    _ => None,
                };
                if let Some((stored, status)) = found {
                    leader.finish(FetchOutcome::Stored(Arc::clone(stored)));
                    return Lookup::Hit(self.fresh(stored, status));
                }
                job.leader = Some(leader);
                Lookup::Fetch(job)
            }
        }
    }

    /// The job that revalidates a stale response in the background, unless another call's does.
    fn revalidation(
        &self,
        key: CacheKeyRef<'_>,
        stored: &Arc<StoredResponse>,
    ) -> Option<Box<FetchJob>> {
        if self.head.method != Method::GET
            || (self.fields.has_condition() && !stored.validators.can_validate())
        {
            return None;
        }
        let mut job = Box::new(self.job(key, ForwardReason::Stale));
        match self.cache.in_flight().join(job.flight()) {
            FlightRole::Wait(_) => None,
            FlightRole::Lead(leader) => {
                job.leader = Some(leader);
                job.previous = Some(Arc::clone(stored));
                // The caller's own call ends with the stale answer.
                let context = self.head.context.begin_own(CallCause::Revalidation);
                job.provenance.request_id = context.id();
                Arc::make_mut(&mut job.request.head).context = context;
                Some(job)
            }
        }
    }

    fn job(&self, key: CacheKeyRef<'_>, reason: ForwardReason) -> FetchJob {
        FetchJob {
            cache: self.cache.clone(),
            rule: Arc::clone(self.rule),
            key: key.to_key(),
            provenance: Provenance {
                request_id: self.head.context.id(),
                chain: None,
                operation: self.operation.map(Arc::clone),
                stamp: invalidate::stamp(self.cache, self.head, self.operation.map(AsRef::as_ref)),
                mark: self.head.profile.partition.coherence().mark(self.number),
            },
            purges: self.cache.store().purges(),
            leader: None,
            previous: None,
            fill: None,
            reason,
            request: ClientRequest {
                head: Arc::clone(self.head),
                fields: self.fields,
                directives: self.directives,
            },
        }
    }

    /// The use that the request may make of a selected response.
    fn reuse<'s>(&self, selected: &'s Selected) -> Option<(&'s Arc<StoredResponse>, Reuse)> {
        let stored = selected.response()?;
        Some((stored, stored.reuse(&self.directives, selected.validity, self.now)))
    }

    fn fresh(&self, stored: &StoredResponse, cache_status: HeaderValue) -> Response<Body> {
        self.answer(stored, CacheResult::Hit, cache_status)
    }

    fn stale(&self, stored: &StoredResponse, detail: &'static str) -> Response<Body> {
        let status = stale_hit(stored.policy.freshness.stale_for(self.now), detail);
        self.answer(stored, CacheResult::Stale, status)
    }

    fn answer(
        &self,
        stored: &StoredResponse,
        result: CacheResult,
        cache_status: HeaderValue,
    ) -> Response<Body> {
        self.head.context.note(|facts| {
            stored.provenance.note(result, facts);
        });
        let is_head = self.head.method == Method::HEAD;
        stored.answer((&self.head.headers, self.fields), is_head, cache_status, self.now)
    }
}

/// The error of [`Lookup::OnlyIfCached`].
pub(super) fn not_cached() -> Error {
    Error::new(
        Kind::OnlyIfCached,
        "the request accepts only a stored response, and none can be used",
    )
}
