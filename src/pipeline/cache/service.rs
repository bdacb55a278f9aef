//! The stage: which requests the cache has a say in, and the cheap ways out.

use std::{
    fmt,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use http::{Method, Response};
use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower::{Layer, Service};

use super::{
    fetch,
    invalidate::Write,
    read::{self, Read, Way},
    status::{CACHE_STATUS, Forward, Forwarded},
    store::Store,
};
use crate::{
    body::Body,
    credentials::Keeper,
    domain::{Origin, ProfileName},
    error::Error,
    pipeline::{
        draft::Draft,
        request::{Fetch, Recorded},
    },
    trail::CacheResult,
};

/// All that the cache may know of credentials: which ones they are, as a number that changes with
/// each new set.
pub trait Generation: Clone + Send + Sync + 'static {
    /// The number of the set that a request would be sent with now.
    fn generation(&self) -> u64;
}

impl Generation for Keeper {
    fn generation(&self) -> u64 {
        // Without a set there is nothing that an object could belong to.
        self.snapshot().map_or(0, |lease| lease.generation())
    }
}

/// What the objects of one profile belong to.
#[derive(Clone, Debug)]
pub struct Scope<G = Keeper> {
    /// The profile.
    pub profile: ProfileName,
    /// Its upstream: what `Location` must name to count (RFC 9111 §4.4).
    pub origin: Origin,
    /// Its credentials.
    pub keeper: G,
}

/// Answers repeated reads from memory.
pub fn cache<G: Generation>(store: Store, scope: Scope<G>) -> CacheLayer<G> {
    let place = Arc::new(Place { scope, seen: AtomicU64::new(u64::MAX) });
    CacheLayer { store, place }
}

/// See [`cache`].
#[derive(Clone, Debug)]
pub struct CacheLayer<G = Keeper> {
    store: Store,
    place: Arc<Place<G>>,
}

/// A profile's place in the store.
#[derive(Debug)]
pub(super) struct Place<G> {
    pub(super) scope: Scope<G>,
    /// The generation that the store was told of.
    seen: AtomicU64,
}

impl<G: Generation> Place<G> {
    /// The number of the credentials now. The store learns of a new one, so that what the old ones
    /// fetched leaves memory.
    pub(super) fn generation(&self, store: &Store) -> u64 {
        let generation = self.scope.keeper.generation();
        if self.seen.load(Ordering::Relaxed) != generation {
            self.seen.store(generation, Ordering::Relaxed);
            store.has_generation(&self.scope.profile, generation);
        }
        generation
    }
}

impl<S, G> Layer<S> for CacheLayer<G> {
    type Service = Cached<S, G>;

    fn layer(&self, inner: S) -> Cached<S, G> {
        Cached { inner, store: self.store.clone(), place: Arc::clone(&self.place) }
    }
}

/// See [`cache`].
#[derive(Debug)]
pub struct Cached<S, G = Keeper> {
    inner: S,
    store: Store,
    place: Arc<Place<G>>,
}

impl<S: Clone, G> Clone for Cached<S, G> {
    fn clone(&self) -> Self {
        let (inner, store, place) =
            (self.inner.clone(), self.store.clone(), Arc::clone(&self.place));
        Self { inner, store, place }
    }
}

impl<S, G> Service<Recorded> for Cached<S, G>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error> + Clone + Send + 'static,
    S::Future: Send,
    G: Generation,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = CacheFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, recorded: Recorded) -> Self::Future {
        let Recorded { head, body, operation } = recorded;
        let rule = self.store.rule(operation.as_deref(), head.target.path()).cloned();
        match (&head.method, rule) {
            (&(Method::GET | Method::HEAD), Some(rule)) => {
                let now = Instant::now();
                let read = Read { store: &self.store, place: &self.place, rule: &rule, now };
                match read.way(&head, &body, operation.as_ref()) {
                    Way::Answer(response) => CacheFuture::done(Ok(response)),
                    Way::Refuse(error) => CacheFuture::done(Err(error)),
                    Way::Forward(why, reason) => {
                        let said = Forwarded { detail: reason, ..Forwarded::because(why) };
                        let draft = head.draft.clone();
                        let inner = self.inner.call(Fetch { head, body });
                        CacheFuture::forward(inner, After::Note { draft, said })
                    }
                    Way::AnswerAndFetch(response, errand) => {
                        let service = self.ready_inner();
                        let (unheard, _) = tokio::sync::oneshot::channel();
                        tokio::spawn(errand.run(service, head, body, unheard));
                        CacheFuture::done(Ok(response))
                    }
                    Way::Fetch(errand, follower) => {
                        let service = self.ready_inner();
                        let fetched = read::fetch(service, head, body, *errand, follower);
                        CacheFuture { way: State::Waiting { future: Box::pin(fetched) } }
                    }
                }
            }
            (method, rule) if !method.is_safe() => {
                let write = Write::begin(&self.store, method, &head.target, operation.as_deref());
                let origin = &self.place.scope.origin;
                let keepable = (*method == Method::POST && operation.is_none()).then_some(rule);
                match keepable.flatten() {
                    Some(rule) => {
                        let read = Read {
                            store: &self.store,
                            place: &self.place,
                            rule: &rule,
                            now: Instant::now(),
                        };
                        let errand = read.errand_for_post(&head);
                        let origin = origin.clone();
                        let service = self.ready_inner();
                        let posted = read::post(service, head, body, errand, write, origin);
                        CacheFuture { way: State::Waiting { future: Box::pin(posted) } }
                    }
                    None => {
                        let origin = origin.clone();
                        let inner = self.inner.call(Fetch { head, body });
                        CacheFuture::forward(inner, After::Invalidate { write, origin })
                    }
                }
            }
            _ => CacheFuture::forward(self.inner.call(Fetch { head, body }), After::Nothing),
        }
    }
}

impl<S: Clone, G> Cached<S, G> {
    /// The inner service that is ready; its clone takes its place.
    fn ready_inner(&mut self) -> S {
        let clone = self.inner.clone();
        std::mem::replace(&mut self.inner, clone)
    }
}

pin_project! {
    /// The future of [`Cached`].
    pub struct CacheFuture<F> {
        #[pin]
        way: State<F>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        /// Memory answers.
        Done { result: Option<Result<Response<Body>, Error>> },
        /// The upstream answers.
        Forwarded { #[pin] inner: F, after: After },
        /// A fetch answers, this one's or another's.
        Waiting { future: Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>> },
    }
}

/// What is to be done with an answer that only passes.
enum After {
    Nothing,
    Note { draft: Draft, said: Forwarded },
    Invalidate { write: Write, origin: Origin },
}

impl<F> CacheFuture<F> {
    fn done(result: Result<Response<Body>, Error>) -> Self {
        Self { way: State::Done { result: Some(result) } }
    }

    fn forward(inner: F, after: After) -> Self {
        Self { way: State::Forwarded { inner, after } }
    }
}

impl<F> Future for CacheFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().way.project() {
            StateProjection::Done { result } => result.take().map_or(Poll::Pending, Poll::Ready),
            StateProjection::Waiting { future } => future.as_mut().poll(cx),
            StateProjection::Forwarded { inner, after } => {
                let mut result = ready!(inner.poll(cx));
                after.finish(&mut result);
                Poll::Ready(result)
            }
        }
    }
}

impl After {
    fn finish(&mut self, result: &mut Result<Response<Body>, Error>) {
        match (self, result) {
            (Self::Nothing, _) => {}
            (Self::Note { draft, said }, result) => {
                let bypassed = said.why == Forward::Bypass;
                let what = if bypassed { CacheResult::Bypass } else { CacheResult::Miss };
                draft.note(|facts| facts.cache = Some(what));
                if let Ok(response) = result {
                    response.headers_mut().append(CACHE_STATUS, said.value());
                }
            }
            (Self::Invalidate { write, origin }, Ok(response)) => {
                write.answered(origin, response);
            }
            (Self::Invalidate { write, .. }, Err(error)) => write.failed(error),
        }
    }
}

impl<F> fmt::Debug for CacheFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheFuture")
    }
}

// The errand of a background fetch is as large as a request; it is boxed where it is made.
const _: () = assert!(size_of::<fetch::Errand>() < 1024);
