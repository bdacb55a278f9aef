//! Fetches a response from the upstream, answers its caller and stores the response.
//!
//! A fetch has its own task, so a caller that leaves does not end it for the calls that wait. The body
//! streams to the caller while it is stored. A body that is too large goes to the caller alone, and an
//! incomplete one is not stored.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, Response, StatusCode};
use tokio::{sync::oneshot, time::Instant};
use tower::Service;

use super::{
    coalesce::FlightLeader,
    handle::{Cache, FlightKey},
    invalidate,
    outcome::{Answer, CallResult, FetchOutcome, Reply, SharedError},
    policy::{
        directives::RequestDirectives,
        fields::RequestFieldSet,
        freshness::ResponseTimes,
        reuse::{Reuse, UPSTREAM_ERROR},
        storable::{self, CachePolicy},
        validation::updated_fields,
        vary::{Variant, VaryFields},
    },
    record,
    settings::Rule,
    shared::{Fill, Look, Wanted, is_first_hand},
    status::{CACHE_STATUS, ForwardReason, ForwardedStatus, shared_hit, stale_hit},
    storage::{
        key::CacheKey,
        response::{Provenance, StoredResponse},
    },
};
use crate::{
    audit::CacheResult,
    body::Body,
    error::{Error, Fault, Kind},
    proxy::{
        call::{Fetch, Head, SharedService},
        http_policy::hop_by_hop,
    },
};

/// One fetch.
pub(super) struct FetchJob {
    pub(super) cache: Cache,
    pub(super) rule: Arc<Rule>,
    pub(super) key: CacheKey,
    pub(super) provenance: Provenance,
    /// The number of purges when the fetch began.
    pub(super) purges: u64,
    /// Tells the calls that wait for this fetch.
    pub(super) leader: Option<FlightLeader<FlightKey, FetchOutcome>>,
    /// The stored response that needs validation.
    pub(super) previous: Option<Arc<StoredResponse>>,
    /// Has the response stored for other members of the fleet.
    pub(super) fill: Option<Fill>,
    pub(super) reason: ForwardReason,
    pub(super) request: ClientRequest,
}

/// The parts of the caller's request that the answer depends on.
pub(super) struct ClientRequest {
    pub(super) head: Arc<Head>,
    pub(super) fields: RequestFieldSet,
    pub(super) directives: RequestDirectives,
}

impl ClientRequest {
    /// Notes that the upstream answers.
    pub(super) fn note_miss(&self) {
        self.head.context.note(|facts| facts.cache = Some(CacheResult::Miss));
    }

    /// Notes that what another call has fetched answers.
    pub(super) fn note(&self, result: CacheResult, source: &Provenance) {
        self.head.context.note(|facts| source.note(result, facts));
    }

    /// Answers with a stored response.
    pub(super) fn answer(
        &self,
        stored: &StoredResponse,
        status: ForwardedStatus,
        now: Instant,
    ) -> Response<Body> {
        stored.answer((&self.head.headers, self.fields), false, status.value(), now)
    }

    /// Answers with a stale response because the upstream failed.
    pub(super) fn stale_answer(&self, stored: &StoredResponse, now: Instant) -> Response<Body> {
        // Nobody gets the answer of a call of the gateway's own.
        if !self.head.context.is_own() {
            self.note(CacheResult::Stale, &stored.provenance);
        }
        let status = stale_hit(stored.policy.freshness.stale_for(now), UPSTREAM_ERROR);
        stored.answer((&self.head.headers, self.fields), false, status, now)
    }
}

impl FetchJob {
    /// The key of the flight.
    pub(super) fn flight(&self) -> FlightKey {
        (self.key.clone(), self.provenance.stamp, self.provenance.mark.number())
    }

    /// Runs the fetch as a task, which goes on if the caller leaves. The record of the call stays open until
    /// its end.
    pub(super) fn spawn<S>(self: Box<Self>, service: SharedService<S>, body: Body) -> Answer
    where
        S: Service<Fetch, Response = Response<Body>, Error = Error> + Send + 'static,
        S::Future: Send,
    {
        let (reply, answer) = oneshot::channel();
        let open = self.request.head.context.keep_open();
        tokio::spawn(async move {
            self.run(service, body, reply).await;
            drop(open);
        });
        answer
    }

    /// As [`Self::spawn`], for a response that is here.
    pub(super) fn spawn_received(
        self: Box<Self>,
        response: Response<Body>,
        times: ResponseTimes,
    ) -> Answer {
        let (reply, answer) = oneshot::channel();
        let open = self.request.head.context.keep_open();
        tokio::spawn(async move {
            self.received(response, times, reply).await;
            drop(open);
        });
        answer
    }

    /// Answers with a response of another member of the fleet, or sends the request: as a conditional one if there is a
    /// stored response to validate.
    async fn run<S>(mut self: Box<Self>, service: SharedService<S>, body: Body, reply: Reply)
    where
        S: Service<Fetch, Response = Response<Body>, Error = Error>,
    {
        if let Some((stored, left)) = self.of_other_members().await {
            return self.shared(stored, left, reply);
        }
        let mut head = Arc::clone(&self.request.head);
        let validated = self.previous.clone().filter(|previous| previous.validators.can_validate());
        let unconditional = Arc::clone(&head);
        if let Some(previous) = &validated {
            previous.validators.make_conditional(&mut Arc::make_mut(&mut head).headers);
        }
        let (mut result, mut times) = send(&self.cache, &service, head, body).await;
        let not_modified = match &result {
            Ok(response) if response.status() == StatusCode::NOT_MODIFIED => {
                Some(response.headers().clone())
            }
            _ => None,
        };
        if let (Some(not_modified), Some(previous)) = (not_modified, validated) {
            if self.has_key_credentials() && previous.validators.match_response(&not_modified) {
                return self.validated(&previous, not_modified, times, reply);
            }
            // The 304 is about another response, or is for other credentials. Fetch the whole response.
            self.cache.store().remove(&self.key.as_ref());
            self.previous = None;
            (result, times) = send(&self.cache, &service, unconditional, Body::empty()).await;
        }
        let failure = match &result {
            Ok(response) if is_failure(response.status()) => {
                let detail = "the upstream answered with an error";
                Some(SharedError::from(&Error::new(Kind::UpstreamIncomplete, detail)))
            }
            // The only rate that is left to be used up here is that of the upstream.
            Err(error)
                if error.kind().fault() == Fault::Upstream || error.kind() == Kind::RateLimited =>
            {
                Some(error.into())
            }
            _ => None,
        };
        if let (Some(failure), Some(previous)) = (failure, self.previous.clone())
            && previous.policy.serves_on_error(&self.request.directives, times.response)
        {
            return self.stale(previous, failure, reply);
        }
        match result {
            Ok(response) => self.received(response, times, reply).await,
            Err(error) => self.failed(error, reply),
        }
    }

    /// What another member of the fleet has fetched, if that can be used, and how long it is fresh. Only a call that
    /// fetches for all others asks.
    async fn of_other_members(&mut self) -> Option<(Arc<StoredResponse>, Duration)> {
        if self.leader.is_none() || self.reason == ForwardReason::Request {
            return None;
        }
        let shared = self.cache.shared()?;
        let wanted = self.wanted();
        let part = shared.part(&wanted)?;
        let stored = match shared.look(part, &wanted).await {
            Look::Found(stored) => Arc::new(*stored),
            Look::Fetch(fill) => {
                self.fill = fill;
                self.begin_now();
                return None;
            }
        };
        let now = Instant::now();
        let validity = stored.provenance.mark.validity(now);
        match stored.reuse(&self.request.directives, validity, now) {
            Reuse::Fresh(left) | Reuse::Coherent(left) => Some((stored, left)),
            _ => None,
        }
    }

    /// The fetch begins now, and not when the call came. What changed while it waited for another member does not
    /// overtake it.
    fn begin_now(&mut self) {
        let Self { cache, purges, provenance, request, .. } = self;
        *purges = cache.store().purges();
        let operation = provenance.operation.as_deref();
        provenance.stamp = invalidate::stamp(cache, &request.head, operation);
        provenance.mark = provenance.mark.renewed();
    }

    /// What is fetched, for the members of the fleet.
    fn wanted(&self) -> Wanted<'_> {
        let Self { cache, rule, key, provenance, request, .. } = self;
        let head = &request.head;
        let subject = invalidate::subject(head, provenance.operation.as_deref());
        let (epochs, clock) = (&cache.store().epochs, cache.clock());
        Wanted { head, rule, key, provenance, subject, epochs, clock }
    }

    /// Stores the response of another member, and answers with it.
    fn shared(mut self, stored: Arc<StoredResponse>, left: Duration, reply: Reply) {
        let now = Instant::now();
        self.request.note(CacheResult::Shared, &stored.provenance);
        let is_stored = self.has_credentials_in_use()
            && self.cache.store().put(self.key.clone(), &stored, self.purges);
        let forwarded = ForwardedStatus { stored: is_stored, ..ForwardedStatus::new(self.reason) };
        let headers = (&self.request.head.headers, self.request.fields);
        let answer = stored.answer(headers, false, shared_hit(left, &forwarded), now);
        self.finish(FetchOutcome::Stored(stored));
        drop(reply.send(Ok(answer)));
    }

    /// Stores a new response if it may be stored, and answers with it.
    async fn received(
        mut self: Box<Self>,
        mut response: Response<Body>,
        times: ResponseTimes,
        reply: Reply,
    ) {
        hop_by_hop::strip(response.headers_mut());
        if !is_first_hand(response.headers()) {
            self.mark_unshared();
        }
        let (policy, variant) = match self.decide(&response, times) {
            Ok(decided) => decided,
            Err(detail) => return self.pass_on(response, detail, reply),
        };
        self.request.note_miss();
        let cache_status = ForwardedStatus {
            stored: true,
            ttl: policy.freshness.left(times.response),
            ..ForwardedStatus::new(self.reason)
        };
        storable::date_if_missing(response.headers_mut(), times.wall);
        let (status, headers) = (response.status(), response.headers().clone());
        response.headers_mut().append(CACHE_STATUS, cache_status.value());
        let limit = self.cache.settings().max_entry_bytes.in_memory();
        let finish = move |body: Option<bytes::Bytes>| match body {
            Some(body) => {
                let provenance = self.provenance.clone();
                let stored =
                    StoredResponse::new(status, &headers, body, policy, variant, provenance);
                self.store(Arc::new(stored));
            }
            // The body is incomplete or too large.
            None => self.not_shared(false),
        };
        record::record(response, limit, finish, reply).await;
    }

    /// Whether a response may be stored. An error is the `detail` of `Cache-Status`.
    fn decide(
        &self,
        response: &Response<Body>,
        times: ResponseTimes,
    ) -> Result<(CachePolicy, Variant), &'static str> {
        let request = &self.request.head.headers;
        let (status, headers) = (response.status(), response.headers());
        let policy = storable::decide(status, headers, &self.rule, times)?;
        // An upstream may know one spelling of a name alone. What it says of another one, such as that
        // there is no such object, is not said of the object.
        if !status.is_success() && !self.key.is_spelled(&self.request.head.target) {
            return Err("spelling");
        }
        let length = http_body::Body::size_hint(response.body()).lower();
        if length > self.cache.settings().max_entry_bytes.0 {
            return Err("too-large");
        }
        let vary = VaryFields::read(headers).ok_or("vary")?;
        Ok((policy, Variant::new(vary, request, headers)))
    }

    /// Answers with a response that is not stored.
    fn pass_on(self, mut response: Response<Body>, detail: &'static str, reply: Reply) {
        let is_server_error = response.status().is_server_error();
        // The stored response is not what the upstream sends now.
        if self.previous.is_some() && !is_server_error {
            self.cache.store().remove(&self.key.as_ref());
        }
        self.request.note_miss();
        let status = ForwardedStatus { detail: Some(detail), ..ForwardedStatus::new(self.reason) };
        response.headers_mut().append(CACHE_STATUS, status.value());
        self.not_shared(is_server_error);
        drop(reply.send(Ok(response)));
    }

    /// Answers with the stored response that a 304 validated (RFC 9111 §4.3.4).
    fn validated(
        self,
        previous: &Arc<StoredResponse>,
        mut not_modified: HeaderMap,
        times: ResponseTimes,
        reply: Reply,
    ) {
        hop_by_hop::strip(&mut not_modified);
        let freshened = self.freshened(previous, not_modified, times);
        let now = times.response;
        let status = ForwardedStatus {
            status: Some(StatusCode::NOT_MODIFIED),
            stored: freshened.is_some(),
            ttl: freshened.as_ref().and_then(|stored| stored.policy.ttl(now)),
            ..ForwardedStatus::new(self.reason)
        };
        let stored = freshened.as_ref().unwrap_or(previous);
        self.request.note(CacheResult::Revalidated, &stored.provenance);
        let answer = self.request.answer(stored, status, now);
        if let Some(stored) = freshened {
            self.store(stored);
        } else {
            self.cache.store().remove(&self.key.as_ref());
            self.not_shared(false);
        }
        drop(reply.send(Ok(answer)));
    }

    /// Freshens the stored response by the response to a HEAD, or removes it if they differ
    /// (RFC 9111 §4.3.5).
    pub(super) fn freshen(&mut self, asked: Instant, result: &mut CallResult) {
        self.request.note_miss();
        let Ok(response) = result else { return };
        let mut status = ForwardedStatus::new(self.reason);
        let is_ok = |status| status == StatusCode::OK;
        let previous = self.previous.take().filter(|previous| is_ok(previous.status));
        if let Some(previous) = previous.filter(|_| is_ok(response.status())) {
            let response_time = Instant::now();
            let times =
                ResponseTimes { request: asked, response: response_time, wall: self.cache.wall() };
            let mut headers = response.headers().clone();
            hop_by_hop::strip(&mut headers);
            let is_same = previous.validators.match_head(&headers, previous.body.len());
            let freshened = is_same.then(|| self.freshened(&previous, headers, times)).flatten();
            match freshened {
                Some(stored) if self.has_key_credentials() => {
                    status.stored = self.cache.store().put(self.key.clone(), &stored, self.purges);
                    status.ttl = stored.policy.ttl(response_time);
                }
                _ => self.cache.store().remove(&self.key.as_ref()),
            }
        }
        response.headers_mut().append(CACHE_STATUS, status.value());
    }

    /// The stored response with the fields of a later one, if it may still be stored.
    fn freshened(
        &self,
        previous: &StoredResponse,
        mut later: HeaderMap,
        times: ResponseTimes,
    ) -> Option<Arc<StoredResponse>> {
        storable::date_if_missing(&mut later, times.wall);
        let headers = updated_fields(&previous.headers, &later);
        let (status, body) = (previous.status, previous.body.clone());
        let policy = storable::decide(status, &headers, &self.rule, times).ok()?;
        let vary = VaryFields::read(&headers)?;
        let variant = Variant::new(vary, &self.request.head.headers, &headers);
        let Provenance { request_id, ref chain, .. } = previous.provenance;
        let provenance = Provenance { request_id, chain: chain.clone(), ..self.provenance.clone() };
        let stored = StoredResponse::new(status, &headers, body, policy, variant, provenance);
        Some(Arc::new(stored))
    }

    /// Answers with the stale response instead of the upstream's failure (RFC 5861 §4).
    fn stale(mut self, previous: Arc<StoredResponse>, failure: SharedError, reply: Reply) {
        let now = Instant::now();
        previous.upstream_failed(now);
        let answer = self.request.stale_answer(&previous, now);
        self.finish(FetchOutcome::Stale(previous, failure));
        drop(reply.send(Ok(answer)));
    }

    fn failed(mut self, error: Error, reply: Reply) {
        self.finish(FetchOutcome::Failed((&error).into()));
        self.request.note_miss();
        drop(reply.send(Err(error)));
    }

    /// Stores a response and hands it to the calls that wait.
    fn store(self, stored: Arc<StoredResponse>) {
        let outcome = if self.has_key_credentials() {
            let is_stored = self.cache.store().put(self.key, &stored, self.purges);
            if let (Some(shared), Some(fill), true) = (self.cache.shared(), self.fill, is_stored) {
                shared.keep(fill, &stored, &self.cache.store().epochs);
            }
            FetchOutcome::Stored(stored)
        } else {
            FetchOutcome::NotShared
        };
        if let Some(leader) = self.leader {
            leader.finish(outcome);
        }
    }

    /// Releases the calls that wait. After a success, later calls do not wait for a while either. After
    /// a failure they do, so that they do not all call a failing upstream at once.
    fn not_shared(mut self, has_failed: bool) {
        if !has_failed {
            self.cache.hit_for_miss().mark(&self.key);
            self.mark_unshared();
        }
        self.finish(FetchOutcome::NotShared);
    }

    /// Tells other members of the fleet that they need not wait for this response.
    fn mark_unshared(&mut self) {
        if let (Some(shared), Some(fill)) = (self.cache.shared(), self.fill.take()) {
            shared.mark(fill, &self.cache.store().epochs);
        }
    }

    fn finish(&mut self, outcome: FetchOutcome) {
        if let Some(leader) = self.leader.take() {
            leader.finish(outcome);
        }
    }

    /// Whether the request was sent with the credentials in the key, and they are still in use. During
    /// a rotation a request may be sent with other credentials.
    fn has_key_credentials(&self) -> bool {
        let sent = self.request.head.context.sent_generation();
        sent == Some(self.key.generation()) && self.has_credentials_in_use()
    }

    /// Whether the credentials in the key are in use.
    fn has_credentials_in_use(&self) -> bool {
        self.request.head.profile.partition.generation() == Some(self.key.generation())
    }
}

async fn send<S>(
    cache: &Cache,
    service: &SharedService<S>,
    head: Arc<Head>,
    body: Body,
) -> (CallResult, ResponseTimes)
where
    S: Service<Fetch, Response = Response<Body>, Error = Error>,
{
    let request = Instant::now();
    let context = head.context.clone();
    let result = service.call(Fetch { head, body }).await;
    if let Err(error) = &result
        && context.is_own()
    {
        // No stage turns it into an answer, and notes it.
        context.note(|facts| facts.error = Some(error.kind()));
    }
    (result, ResponseTimes { request, response: Instant::now(), wall: cache.wall() })
}

/// An error in the sense of RFC 5861 §4.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}
