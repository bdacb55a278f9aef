//! A read that a rule covers: what memory has for it, and how to get what it has not.

use std::sync::Arc;

use http::{HeaderValue, Method, Response};
use http_body::Body as _;
use tokio::time::Instant;

use super::{
    coalesce::{FetchOutcome, Place as Seat, Waiter},
    fetch::{Caller, FetchJob, origin_of},
    policy::{directives::RequestDirectives, fields::Fields},
    service::{Generation, Place},
    settings::Rule,
    status::{Forward, hit, stale_hit},
    storage::{
        key::KeyView,
        object::{Object, Reuse},
        store::{Found, Store},
    },
};
use crate::{
    audit::CacheResult,
    body::Body,
    domain::Operation,
    error::{Error, Kind},
    proxy::call::Head,
};

/// A read, and all that decides about it.
pub(super) struct Read<'a, G> {
    pub(super) store: &'a Store,
    pub(super) place: &'a Arc<Place<G>>,
    pub(super) rule: &'a Arc<Rule>,
    pub(super) operation: Option<&'a Arc<Operation>>,
    pub(super) head: &'a Arc<Head>,
    pub(super) fields: Fields,
    pub(super) ask: RequestDirectives,
    pub(super) now: Instant,
}

/// What is to be done about a read.
pub(super) enum Lookup {
    /// Memory answers.
    Answer(Response<Body>),
    /// Memory answers, and what it answers with is fetched anew.
    AnswerAndFetch(Response<Body>, Box<FetchJob>),
    /// Memory was to answer and cannot.
    Refuse(Error),
    /// It goes on as it is, and its answer tells whether what is stored holds yet.
    Freshen(Box<FetchJob>),
    /// It goes on as it is, and nothing of it is kept.
    Forward(Forward),
    /// It is fetched, or another's fetch is followed.
    Fetch(Box<FetchJob>, Option<Waiter>),
}

impl<G: Generation> Read<'_, G> {
    pub(super) fn way(&self, body: &Body) -> Lookup {
        let headers = &self.head.headers;
        if self.ask.no_store || !body.is_end_stream() || self.fields.are_for_upstream() {
            return Lookup::Forward(Forward::Bypass);
        }
        let Some(key) = self.key() else {
            // Whoever is to be answered from memory alone is told that it has nothing.
            let refused = self.ask.only_if_cached.then(only_if_cached);
            return refused.map_or(Lookup::Forward(Forward::Miss), Lookup::Refuse);
        };
        let is_head = self.head.method == Method::HEAD;
        let found = self.store.find(&key, headers, is_head, self.now);
        let object = found.as_ref().and_then(Found::object);
        let is_authorized = self.fields.are_authorized();
        let reuse = object.map(|object| (object, object.reuse(&self.ask, is_authorized, self.now)));
        let (why, previous) = match reuse {
            Some((object, Reuse::Fresh(left))) => {
                return Lookup::Answer(self.answer(object, CacheResult::Hit, hit(left)));
            }
            Some((object, Reuse::Stale(why))) => return Lookup::Answer(self.stale(object, why)),
            Some((object, Reuse::WhileRevalidating(why))) => {
                let answer = self.stale(object, why);
                return match self.in_background(key, object) {
                    Some(job) => Lookup::AnswerAndFetch(answer, job),
                    None => Lookup::Answer(answer),
                };
            }
            Some((object, Reuse::Wanted)) => (Forward::Request, Some(object)),
            Some((object, Reuse::RequestDirectives)) => (Forward::Stale, Some(object)),
            Some((_, Reuse::Never)) | None => (Forward::Miss, None),
        };
        if self.ask.only_if_cached {
            return Lookup::Refuse(only_if_cached());
        }
        match previous {
            _ if !is_head => self.fetch(key, why, previous),
            Some(previous) => {
                let mut job = Box::new(self.job(key, why));
                job.previous = Some(Arc::clone(previous));
                Lookup::Freshen(job)
            }
            None => Lookup::Forward(why),
        }
    }

    /// The job of keeping the answer to a POST, should it say that it is what GET would answer.
    pub(super) fn errand_for_post(&self) -> Option<FetchJob> {
        Some(self.job(self.key()?, Forward::Miss))
    }

    /// The key of what it asks for; `None` as long as no credentials are in use.
    fn key(&self) -> Option<KeyView<'_>> {
        let generation = self.place.generation(self.store)?;
        Some(KeyView::new(&self.place.scope.profile, generation, &self.head.target))
    }

    /// To the upstream, alone or with others.
    fn fetch(&self, key: KeyView<'_>, why: Forward, previous: Option<&Arc<Object>>) -> Lookup {
        let headers = &self.head.headers;
        let is_partial = self.fields.want_part();
        let can_ask = previous.is_some_and(|previous| previous.validators.can_ask());
        // What this caller will be answered may be of no use to others, or it must be newer than what
        // others wait for already.
        let is_alone = is_partial
            || (self.fields.are_conditional() && !can_ask)
            || self.fields.are_authorized()
            || why == Forward::Request
            || self.store.flights().is_parted(key);
        let mut job = Box::new(self.job(key, why));
        job.previous = previous.filter(|_| !is_partial).cloned();
        if is_alone {
            return Lookup::Fetch(job, None);
        }
        match self.store.flights().join(job.key.clone(), job.origin.stamp) {
            Seat::Follow(follower) => Lookup::Fetch(job, Some(follower)),
            Seat::Lead(ticket) => {
                // The fetch before this one may have landed after the lookup.
                let found = self.store.find(&key, headers, false, self.now);
                if let Some(object) = found.as_ref().and_then(Found::object)
                    && let Reuse::Fresh(left) = object.reuse(&self.ask, false, self.now)
                {
                    ticket.land(FetchOutcome::Stored(Arc::clone(object)));
                    return Lookup::Answer(self.answer(object, CacheResult::Hit, hit(left)));
                }
                job.ticket = Some(ticket);
                Lookup::Fetch(job, None)
            }
        }
    }

    /// The job of fetching a stale object anew, unless somebody is on it.
    fn in_background(&self, key: KeyView<'_>, object: &Arc<Object>) -> Option<Box<FetchJob>> {
        let is_get = self.head.method == Method::GET;
        let is_whole = is_get && !self.fields.want_part();
        if !is_whole || (self.fields.are_conditional() && !object.validators.can_ask()) {
            return None;
        }
        let mut job = Box::new(self.job(key, Forward::Stale));
        match self.store.flights().join(job.key.clone(), job.origin.stamp) {
            Seat::Follow(_) => None,
            Seat::Lead(ticket) => {
                job.ticket = Some(ticket);
                job.previous = Some(Arc::clone(object));
                job.caller.draft = None;
                Some(job)
            }
        }
    }

    fn job(&self, key: KeyView<'_>, why: Forward) -> FetchJob {
        let place = Arc::clone(self.place);
        let caller = Caller {
            head: Arc::clone(self.head),
            fields: self.fields,
            ask: self.ask,
            draft: Some(self.head.context.clone()),
        };
        FetchJob {
            store: self.store.clone(),
            rule: Arc::clone(self.rule),
            key: key.to_key(),
            origin: origin_of(self.store, self.head, self.operation),
            purges: self.store.purges(),
            sent: self.head.context.clone(),
            is_in_use: Box::new(move |generation| {
                place.scope.manager.generation() == Some(generation)
            }),
            ticket: None,
            previous: None,
            why,
            caller,
        }
    }

    fn stale(&self, object: &Object, why: &'static str) -> Response<Body> {
        let said = stale_hit(object.stale_for(self.now), why);
        self.answer(object, CacheResult::Stale, said)
    }

    fn answer(&self, object: &Object, result: CacheResult, said: HeaderValue) -> Response<Body> {
        self.head.context.note(|facts| {
            facts.cache = Some(result);
            facts.source_request_id = Some(object.source);
        });
        let is_head = self.head.method == Method::HEAD;
        let request = (&self.head.headers, self.fields);
        object.respond(request, is_head, said, self.now)
    }
}

fn only_if_cached() -> Error {
    Error::new(Kind::OnlyIfCached, "the request asks for an answer from memory alone")
}
