//! Asks the upstream for what memory cannot answer, and keeps the answer if it may.
//!
//! It runs in a task of its own: a caller that leaves takes nothing from those who wait for the same
//! object. The caller's answer streams while it is stored and is never held up by that. What becomes
//! too long for the cache goes on to the caller alone, and what breaks off is not stored.

use std::sync::Arc;

use http::{HeaderMap, Response, StatusCode};
use tokio::{sync::oneshot, time::Instant};
use tower::Service;

use super::{
    coalesce::{FetchOutcome, Leader},
    policy::{
        directives::RequestDirectives,
        fields::Fields,
        freshness::Times,
        range::Piece,
        storable,
        vary::{Variant, Varies},
    },
    record,
    settings::Rule,
    status::{CACHE_STATUS, Forward, Forwarded, stale_hit},
    storage::{
        key::Key,
        object::{Object, Origin, UPSTREAM_ERROR},
        store::Store,
    },
};
use crate::{
    audit::CacheResult,
    body::Body,
    domain::{Operation, RequestId},
    error::{Error, Fault, Kind},
    proxy::{
        call::{CallContext, Fetch, Head, SharedService},
        http_policy::hop_by_hop,
    },
};

/// What the caller is sent.
pub(super) type Reply = oneshot::Sender<Result<Response<Body>, Error>>;

/// One fetch, and what is to be done with its answer.
pub(super) struct FetchJob {
    pub(super) store: Store,
    pub(super) rule: Arc<Rule>,
    pub(super) key: Key,
    pub(super) origin: Origin,
    /// How many purges there had been when it began.
    pub(super) purges: u64,
    /// Knows what credentials the request was sent with.
    pub(super) sent: CallContext,
    /// Whether credentials are those in use.
    pub(super) is_in_use: Box<dyn Fn(u64) -> bool + Send + Sync>,
    /// Those who follow.
    pub(super) ticket: Option<Leader>,
    /// What is stored, but may not be served as it is.
    pub(super) previous: Option<Arc<Object>>,
    pub(super) why: Forward,
    pub(super) caller: Caller,
}

/// What the answer depends on, of the request.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) head: Arc<Head>,
    pub(super) fields: Fields,
    pub(super) ask: RequestDirectives,
    /// Where the answer is noted; a fetch in the background is not what answers its caller.
    pub(super) draft: Option<CallContext>,
}

impl Caller {
    /// What an object is to respond to.
    pub(super) fn request(&self) -> (&HeaderMap, Fields) {
        (&self.head.headers, self.fields)
    }

    pub(super) fn note(&self, result: CacheResult, source: Option<RequestId>) {
        if let Some(draft) = &self.draft {
            draft.note(|facts| {
                facts.cache = Some(result);
                facts.source_request_id = source;
            });
        }
    }
}

impl FetchJob {
    /// Asks the upstream, conditionally if something is stored that it can confirm.
    pub(super) async fn run<S>(
        mut self,
        service: SharedService<S>,
        mut head: Arc<Head>,
        body: Body,
        reply: Reply,
    ) where
        S: Service<Fetch, Response = Response<Body>, Error = Error>,
    {
        let question = self.previous.as_ref().filter(|previous| previous.validators.can_ask());
        let spare = question.map(|_| Arc::clone(&head));
        if let Some(previous) = question {
            previous.validators.ask(&mut Arc::make_mut(&mut head).headers);
        }
        let (result, times) = ask(&self.store, &service, head, body).await;
        match (result, spare, self.previous.clone()) {
            (Ok(response), Some(spare), Some(previous))
                if response.status() == StatusCode::NOT_MODIFIED =>
            {
                if self.is_of_its_key() && previous.validators.confirmed_by(response.headers()) {
                    return self.confirmed(&previous, &response, times, reply);
                }
                // It confirms something that is not stored here, or what other credentials fetched:
                // that is asked for in full.
                self.store.drop_target(&self.key.view());
                self.previous = None;
                match ask(&self.store, &service, spare, Body::empty()).await {
                    (Ok(response), times) => self.answered(response, times, reply).await,
                    (Err(error), _) => self.failed(error, reply),
                }
            }
            (Ok(response), _, Some(previous)) if is_failure(response.status()) => {
                if previous.serves_on_error(&self.caller.ask, times.answered) {
                    let detail = "the upstream answered with an error";
                    let failure = Error::new(Kind::UpstreamIncomplete, detail);
                    return self.stale(&previous, &failure, reply);
                }
                self.answered(response, times, reply).await;
            }
            (Ok(response), ..) => self.answered(response, times, reply).await,
            (Err(error), _, Some(previous))
                if error.kind().fault() == Fault::Upstream
                    && previous.serves_on_error(&self.caller.ask, times.answered) =>
            {
                self.stale(&previous, &error, reply);
            }
            (Err(error), ..) => self.failed(error, reply),
        }
    }

    /// The upstream has a new answer.
    pub(super) async fn answered(self, mut response: Response<Body>, times: Times, reply: Reply) {
        hop_by_hop::strip(response.headers_mut());
        let status = response.status();
        let decided = storable::terms(
            status,
            response.headers(),
            self.caller.fields.are_authorized(),
            &self.rule,
            times,
        );
        let too_large = http_body::Body::size_hint(response.body()).lower()
            > self.store.settings().max_entry_bytes.0;
        let decided =
            decided.and_then(|terms| if too_large { Err("too-large") } else { Ok(terms) });
        let is_partial = status == StatusCode::PARTIAL_CONTENT;
        let piece =
            Piece::read(&self.caller.head.headers, response.headers()).filter(|_| is_partial);
        let decided = if is_partial && piece.is_none() { Err("partial") } else { decided };
        let varies = Varies::read(response.headers());
        let (terms, varies) = match (decided, varies) {
            (Ok(terms), Some(varies)) => (terms, varies),
            (decided, _) => return self.pass_on(response, decided.err(), reply),
        };
        self.caller.note(CacheResult::Miss, None);
        let said = Forwarded {
            stored: true,
            ttl: terms.freshness.left(times.answered),
            ..Forwarded::because(self.why)
        };
        storable::date_if_missing(response.headers_mut(), times.wall);
        let stored = response.headers().clone();
        response.headers_mut().append(CACHE_STATUS, said.value());
        let variant = Variant::new(varies, &self.caller.head.headers, &stored);
        let limit = self.store.settings().max_entry_bytes.in_memory();
        let finish = move |bytes: Option<bytes::Bytes>| match bytes {
            Some(bytes) => {
                let origin = self.origin.clone();
                let received = times.answered;
                let variant = (variant, piece);
                let object = Object::new(status, &stored, bytes, terms, variant, origin, received);
                self.keep(Arc::new(object));
            }
            // It broke off or became too long.
            None => self.let_go(false),
        };
        record::record(response, limit, finish, reply).await;
    }

    /// The answer is this caller's alone.
    fn pass_on(self, mut response: Response<Body>, reason: Option<&'static str>, reply: Reply) {
        // What is stored is not what the upstream would answer now.
        if self.previous.is_some() && !response.status().is_server_error() {
            self.store.drop_target(&self.key.view());
        }
        self.caller.note(CacheResult::Miss, None);
        let said = Forwarded { detail: reason, ..Forwarded::because(self.why) };
        response.headers_mut().append(CACHE_STATUS, said.value());
        self.let_go(response.status().is_server_error());
        drop(reply.send(Ok(response)));
    }

    /// What is stored holds yet (RFC 9111 §4.3.4).
    fn confirmed(
        self,
        previous: &Arc<Object>,
        response: &Response<Body>,
        times: Times,
        reply: Reply,
    ) {
        let mut told = response.headers().clone();
        hop_by_hop::strip(&mut told);
        let renewed = self.renewed(previous, &mut told, times);
        let now = times.answered;
        let said = Forwarded {
            status: Some(StatusCode::NOT_MODIFIED),
            stored: renewed.is_some(),
            ttl: renewed.as_ref().and_then(|object| object.left(now)),
            ..Forwarded::because(self.why)
        };
        let object = renewed.as_ref().unwrap_or(previous);
        self.caller.note(CacheResult::Revalidated, Some(object.source));
        let answer = object.respond(self.caller.request(), false, said.value(), now);
        if let Some(object) = renewed {
            self.keep(object);
        } else {
            self.store.drop_target(&self.key.view());
            self.let_go(false);
        }
        drop(reply.send(Ok(answer)));
    }

    /// The answer to a HEAD says whether what is stored is what GET would answer yet, and freshens it
    /// then (RFC 9111 §4.3.5). It goes to its caller as it is.
    pub(super) fn freshened(&mut self, asked: Instant, result: &mut Result<Response<Body>, Error>) {
        self.caller.note(CacheResult::Miss, None);
        let Ok(response) = result else { return };
        let previous = self.previous.take().filter(|previous| {
            response.status() == StatusCode::OK && previous.status == StatusCode::OK
        });
        let mut said = Forwarded::because(self.why);
        if let Some(previous) = previous {
            let times = Times { asked, answered: Instant::now(), wall: self.store.wall() };
            let mut told = response.headers().clone();
            hop_by_hop::strip(&mut told);
            let renewed = if previous.is_described_by(&told) {
                self.renewed(&previous, &mut told, times)
            } else {
                None
            };
            match renewed {
                Some(object) if self.is_of_its_key() => {
                    said.stored = self.store.put(self.key.clone(), &object, self.purges);
                    said.ttl = object.left(times.answered);
                }
                _ => self.store.drop_target(&self.key.view()),
            }
        }
        response.headers_mut().append(CACHE_STATUS, said.value());
    }

    /// What is stored, with what the upstream says of it now, if it may still be stored.
    fn renewed(
        &self,
        previous: &Arc<Object>,
        told: &mut HeaderMap,
        times: Times,
    ) -> Option<Arc<Object>> {
        storable::date_if_missing(told, times.wall);
        let headers = previous.updated_headers(told);
        let status = previous.status;
        let authorized = self.caller.fields.are_authorized();
        let terms = storable::terms(status, &headers, authorized, &self.rule, times).ok()?;
        let varies = Varies::read(&headers)?;
        let variant = (Variant::new(varies, &self.caller.head.headers, &headers), None);
        let origin = Origin { source: previous.source, ..self.origin.clone() };
        let body = previous.body.clone();
        let now = times.answered;
        Some(Arc::new(Object::new(status, &headers, body, terms, variant, origin, now)))
    }

    /// The upstream fails, and what is stored is better than nothing (RFC 5861 §4).
    fn stale(mut self, previous: &Arc<Object>, error: &Error, reply: Reply) {
        let now = Instant::now();
        previous.spare(now);
        if let Some(ticket) = self.ticket.take() {
            ticket.land(FetchOutcome::Stale(Arc::clone(previous), error.into()));
        }
        let answer = stale_answer(previous, &self.caller, now);
        drop(reply.send(Ok(answer)));
    }

    fn failed(mut self, error: Error, reply: Reply) {
        if let Some(ticket) = self.ticket.take() {
            ticket.land(FetchOutcome::Failed((&error).into()));
        }
        self.caller.note(CacheResult::Miss, None);
        drop(reply.send(Err(error)));
    }

    /// Stores an object and hands it to those who follow.
    fn keep(mut self, object: Arc<Object>) {
        let landing = if self.is_of_its_key() {
            self.store.put(self.key, &object, self.purges);
            FetchOutcome::Stored(object)
        } else {
            FetchOutcome::NotShared
        };
        if let Some(ticket) = self.ticket.take() {
            ticket.land(landing);
        }
    }

    /// Whether the answer is what the key says: fetched with its credentials, and they are in use
    /// yet. While a rotation is under way a call may be sent with others than it began with.
    fn is_of_its_key(&self) -> bool {
        let generation = self.key.generation();
        self.sent.sent_generation() == Some(generation) && (self.is_in_use)(generation)
    }

    /// Nothing came of it for others. For a while, who asks for the same does not wait for another;
    /// but an upstream that fails is not to be asked by all at once.
    fn let_go(self, has_failed: bool) {
        if !has_failed {
            self.store.flights().part(&self.key);
        }
        if let Some(ticket) = self.ticket {
            ticket.land(FetchOutcome::NotShared);
        }
    }
}

/// A stale answer, with the record that says so.
pub(super) fn stale_answer(object: &Object, caller: &Caller, now: Instant) -> Response<Body> {
    caller.note(CacheResult::Stale, Some(object.source));
    let said = stale_hit(object.stale_for(now), UPSTREAM_ERROR);
    object.respond(caller.request(), false, said, now)
}

/// Where an object that is about to be fetched comes from.
pub(super) fn origin_of(store: &Store, head: &Head, operation: Option<&Arc<Operation>>) -> Origin {
    let path = head.target.path();
    let collection = super::invalidate::collection(path, operation.map(AsRef::as_ref));
    let is_list = operation.map_or_else(
        || path.ends_with("/list/"),
        |operation| super::invalidate::is_list(operation),
    );
    Origin {
        source: head.context.id(),
        operation: operation.map(Arc::clone),
        stamp: store.stamp(path, collection, is_list),
    }
}

async fn ask<S>(
    store: &Store,
    service: &SharedService<S>,
    head: Arc<Head>,
    body: Body,
) -> (Result<Response<Body>, Error>, Times)
where
    S: Service<Fetch, Response = Response<Body>, Error = Error>,
{
    let asked = Instant::now();
    let result = service.call(Fetch { head, body }).await;
    (result, Times { asked, answered: Instant::now(), wall: store.wall() })
}

/// What RFC 5861 §4 takes for an error.
fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502..=504)
}
