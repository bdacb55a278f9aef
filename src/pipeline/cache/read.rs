//! A read that a rule covers: what memory has for it, and how to get what it has not.

use std::sync::Arc;

use http::{Method, Response, header};
use http_body::Body as _;
use tokio::{sync::oneshot, time::Instant};
use tower::Service;

use super::service::{Generation, Place};
use super::{
    control::Ask,
    fetch::{Caller, Errand, origin_of, stale_answer},
    flight::{Follower, Landing, Place as Seat},
    freshness::Times,
    invalidate::{Write, same_authority_target},
    key::{Key, KeyView},
    object::{Object, Origin as Provenance, Reuse},
    settings::Rule,
    status::{Forward, Forwarded, hit, stale_hit},
    store::Store,
    validate,
};
use crate::{
    body::Body,
    domain::{Operation, Origin},
    error::{Error, Kind},
    pipeline::request::{Fetch, Head},
    trail::CacheResult,
};

/// A read, and all that decides about it.
pub(super) struct Read<'a, G> {
    pub(super) store: &'a Store,
    pub(super) place: &'a Arc<Place<G>>,
    pub(super) rule: &'a Arc<Rule>,
    pub(super) now: Instant,
}

/// What is to be done about a read.
pub(super) enum Way {
    /// Memory answers.
    Answer(Response<Body>),
    /// Memory answers, and what it answers with is fetched anew.
    AnswerAndFetch(Response<Body>, Box<Errand>),
    /// Memory was to answer and cannot.
    Refuse(Error),
    /// It goes on as it is, and nothing of it is kept.
    Forward(Forward, Option<&'static str>),
    /// It is fetched, or another's fetch is followed.
    Fetch(Box<Errand>, Option<Follower>),
}

impl<G: Generation> Read<'_, G> {
    pub(super) fn way(&self, head: &Head, body: &Body, operation: Option<&Arc<Operation>>) -> Way {
        let ask = Ask::read(&head.headers);
        if ask.no_store || !body.is_end_stream() || validate::is_for_upstream(&head.headers) {
            return Way::Forward(Forward::Bypass, None);
        }
        let generation = self.place.generation(self.store);
        let key = KeyView::new(&self.place.scope.profile, generation, &head.target);
        let is_authorized = head.headers.contains_key(header::AUTHORIZATION);
        let is_head = head.method == Method::HEAD;
        let found = self.store.find(&key, &head.headers, self.now);
        let reuse = found.as_ref().map(|object| object.reuse(&ask, is_authorized, self.now));
        let why = match (&found, reuse) {
            (Some(object), Some(Reuse::Fresh(left))) => {
                return Way::Answer(self.answer(
                    object,
                    head,
                    is_head,
                    CacheResult::Hit,
                    hit(left),
                ));
            }
            (Some(object), Some(Reuse::Stale(stale_for))) => {
                let said = stale_hit(stale_for, "stale-allowed");
                return Way::Answer(self.answer(object, head, is_head, CacheResult::Stale, said));
            }
            (Some(object), Some(Reuse::WhileRevalidating(stale_for))) => {
                let said = stale_hit(stale_for, "revalidating");
                let answer = self.answer(object, head, is_head, CacheResult::Stale, said);
                let errand = (!is_head).then(|| self.lead(key, head, &ask, operation, object));
                return match errand.flatten() {
                    Some(errand) => Way::AnswerAndFetch(answer, errand),
                    None => Way::Answer(answer),
                };
            }
            (_, Some(Reuse::Wanted)) => Forward::Request,
            (_, Some(Reuse::Ask)) => Forward::Stale,
            _ => Forward::Miss,
        };
        if ask.only_if_cached {
            return Way::Refuse(only_if_cached());
        }
        if is_head {
            return Way::Forward(why, None);
        }
        let previous = found.filter(|_| matches!(why, Forward::Request | Forward::Stale));
        self.fetch(key, head, ask, operation, previous, why)
    }

    /// The one way to the upstream that more than one caller may take.
    fn fetch(
        &self,
        key: KeyView<'_>,
        head: &Head,
        ask: Ask,
        operation: Option<&Arc<Operation>>,
        previous: Option<Arc<Object>>,
        why: Forward,
    ) -> Way {
        let is_partial = head.headers.contains_key(header::RANGE);
        let can_ask = previous.as_ref().is_some_and(|previous| previous.validators.can_ask());
        // What this caller will be answered may be of no use to others, or is asked for because it
        // must be newer than what others get.
        let is_alone = is_partial
            || (validate::is_conditional(&head.headers) && !can_ask)
            || head.headers.contains_key(header::AUTHORIZATION)
            || why == Forward::Request;
        let mut errand = self.errand(key, head, ask, operation);
        errand.why = why;
        errand.previous = previous.filter(|_| !is_partial);
        if is_alone {
            return Way::Fetch(Box::new(errand), None);
        }
        match self.store.flights().join(errand.key.clone(), errand.origin.stamp) {
            Seat::Follow(follower) => Way::Fetch(Box::new(errand), Some(follower)),
            Seat::Lead(ticket) => {
                // The fetch before this one may have landed between the lookup and the boarding.
                if let Some(object) = self.store.find(&key, &head.headers, self.now)
                    && let Reuse::Fresh(left) = object.reuse(&ask, false, self.now)
                {
                    ticket.land(Landing::Stored(Arc::clone(&object)));
                    let answer = self.answer(&object, head, false, CacheResult::Hit, hit(left));
                    return Way::Answer(answer);
                }
                errand.ticket = Some(ticket);
                Way::Fetch(Box::new(errand), None)
            }
        }
    }

    /// The errand of fetching a stale object anew, unless somebody is on it.
    fn lead(
        &self,
        key: KeyView<'_>,
        head: &Head,
        ask: &Ask,
        operation: Option<&Arc<Operation>>,
        object: &Arc<Object>,
    ) -> Option<Box<Errand>> {
        let mut errand = self.errand(key, head, *ask, operation);
        match self.store.flights().join(errand.key.clone(), errand.origin.stamp) {
            Seat::Follow(_) => None,
            Seat::Lead(ticket) => {
                errand.ticket = Some(ticket);
                errand.previous = Some(Arc::clone(object));
                errand.why = Forward::Stale;
                Some(Box::new(errand))
            }
        }
    }

    fn errand(
        &self,
        key: KeyView<'_>,
        head: &Head,
        ask: Ask,
        operation: Option<&Arc<Operation>>,
    ) -> Errand {
        let place = Arc::clone(self.place);
        let caller = Caller {
            headers: head.headers.clone(),
            ask,
            is_authorized: head.headers.contains_key(header::AUTHORIZATION),
            draft: head.draft.clone(),
        };
        Errand {
            store: self.store.clone(),
            rule: Arc::clone(self.rule),
            key: key.to_key(),
            origin: origin_of(self.store, head, operation, self.now),
            purges: self.store.purges(),
            is_current: Box::new(move |key: &Key| {
                place.scope.keeper.generation() == key.generation()
            }),
            ticket: None,
            previous: None,
            why: Forward::Miss,
            caller,
        }
    }

    /// The errand of keeping the answer to a POST, should it say that it is what GET would answer.
    pub(super) fn errand_for_post(&self, head: &Head) -> Errand {
        let generation = self.place.generation(self.store);
        let key = KeyView::new(&self.place.scope.profile, generation, &head.target);
        self.errand(key, head, Ask::default(), None)
    }

    fn answer(
        &self,
        object: &Object,
        head: &Head,
        is_head: bool,
        result: CacheResult,
        said: http::HeaderValue,
    ) -> Response<Body> {
        head.draft.note(|facts| {
            facts.cache = Some(result);
            facts.source_request_id = Some(object.source);
        });
        object.respond(&head.headers, is_head, said, self.now)
    }
}

/// Fetches, in a task that survives this caller; or follows another's fetch, and fetches if that one
/// brought nothing for this caller.
pub(super) async fn fetch<S>(
    service: S,
    head: Head,
    body: Body,
    errand: Errand,
    follower: Option<Follower>,
) -> Result<Response<Body>, Error>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
{
    if let Some(follower) = follower {
        let landing = follower.landing(errand.store.settings().collapse_wait).await;
        if let Some(result) = share(landing, &errand) {
            return result;
        }
    }
    let (reply, answer) = oneshot::channel();
    tokio::spawn(errand.run(service, head, body, reply));
    answer.await.unwrap_or_else(|_| Err(lost()))
}

/// The answer to a caller who followed, if there is one for it.
fn share(landing: Landing, errand: &Errand) -> Option<Result<Response<Body>, Error>> {
    let (caller, now) = (&errand.caller, Instant::now());
    let suits = |object: &Object| object.variant.answers(&caller.headers);
    match landing {
        Landing::Stored(object) if suits(&object) => {
            let Reuse::Fresh(left) = object.reuse(&caller.ask, caller.is_authorized, now) else {
                return None;
            };
            caller.draft.note(|facts| {
                facts.cache = Some(CacheResult::Collapsed);
                facts.source_request_id = Some(object.source);
            });
            let said =
                Forwarded { collapsed: true, ttl: Some(left), ..Forwarded::because(errand.why) };
            Some(Ok(object.respond(&caller.headers, false, said.value(), now)))
        }
        Landing::Stale(object, failure) if suits(&object) => {
            Some(if object.serves_on_error(&caller.ask, now) {
                Ok(stale_answer(&object, caller, false, now))
            } else {
                Err(failure.into())
            })
        }
        Landing::Failed(failure) => {
            caller.draft.note(|facts| facts.cache = Some(CacheResult::Collapsed));
            Some(Err(failure.into()))
        }
        Landing::Stored(_) | Landing::Stale(..) | Landing::NotShared => None,
    }
}

/// Forwards a POST, makes unreachable what it changed, and keeps its answer if that says with
/// `Content-Location` that it is what a GET would answer (RFC 9110 §9.3.3).
pub(super) async fn post<S>(
    mut service: S,
    head: Head,
    body: Body,
    errand: Errand,
    mut write: Write,
    origin: Origin,
) -> Result<Response<Body>, Error>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error>,
{
    let (path, target) = (head.target.path().to_owned(), head.target.as_str().to_owned());
    let asked = Instant::now();
    let response =
        service.call(Fetch { head, body }).await.inspect_err(|error| write.failed(error))?;
    if !write.answered(&origin, &response) || !states_target(&response, &origin, &path, &target) {
        return Ok(response);
    }
    let times = Times { asked, answered: Instant::now(), wall: errand.store.wall() };
    // The object is of the time behind this write.
    let stamp = errand.store.stamp(&path, super::invalidate::collection(&path, None), false);
    let origin = Provenance { stamp, ..errand.origin.clone() };
    let errand = Errand { origin, ..errand };
    let (reply, answer) = oneshot::channel();
    tokio::spawn(errand.answered(response, times, reply));
    answer.await.unwrap_or_else(|_| Err(lost()))
}

/// Whether an answer states that it is its target's own, and how long that holds.
fn states_target(response: &Response<Body>, origin: &Origin, path: &str, target: &str) -> bool {
    let headers = response.headers();
    let named = headers.get(header::CONTENT_LOCATION).and_then(|value| value.to_str().ok());
    let allow = super::control::Allow::read(headers);
    let is_explicit = allow.max_age.is_some()
        || allow.s_maxage.is_some()
        || headers.contains_key(header::EXPIRES);
    is_explicit
        && named.and_then(|named| same_authority_target(named.trim(), origin, path)).as_deref()
            == Some(target)
}

fn only_if_cached() -> Error {
    Error::new(Kind::OnlyIfCached, "the request asks for an answer from memory alone")
}

fn lost() -> Error {
    Error::new(Kind::Internal, "the task that asked the upstream has ended without an answer")
}
