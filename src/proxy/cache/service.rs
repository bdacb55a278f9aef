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
use tokio::{sync::oneshot, time::Instant};
use tower::{Layer, Service};

use super::{
    fetch::FetchJob,
    invalidate::Write,
    lookup::{Lookup, Read},
    policy::{directives::RequestDirectives, fields::Fields},
    status::{CACHE_STATUS, Forward, Forwarded},
    storage::store::Store,
    wait,
};
use crate::{
    audit::CacheResult,
    body::Body,
    credentials::CredentialManager,
    domain::{Operation, Origin, ProfileName},
    error::Error,
    proxy::call::{CallContext, Fetch, Head, Recorded, SharedService},
};

/// All that the cache may know of credentials: which ones they are, as a number above zero that
/// changes with each new set.
pub trait Generation: Clone + Send + Sync + 'static {
    /// The number of the set in use. `None` if none is: then there is nothing that an object could
    /// belong to, so nothing is read from memory and nothing stored.
    ///
    /// A source that is away changes nothing for as long as the set it gave stays in use.
    fn generation(&self) -> Option<u64>;
}

impl Generation for CredentialManager {
    fn generation(&self) -> Option<u64> {
        Self::generation(self)
    }
}

/// What the objects of one profile belong to.
#[derive(Clone, Debug)]
pub struct Scope<G = CredentialManager> {
    /// The profile.
    pub profile: ProfileName,
    /// Its upstream: what `Location` must name to count (RFC 9111 §4.4).
    pub origin: Origin,
    /// Its credentials.
    pub manager: G,
}

/// Answers repeated reads from memory.
pub fn cache<G: Generation>(store: Store, scope: Scope<G>) -> CacheLayer<G> {
    let origin = Arc::new(scope.origin.clone());
    let place = Arc::new(Place { scope, origin, seen: AtomicU64::new(u64::MAX) });
    CacheLayer { store, place }
}

/// See [`cache`].
#[derive(Clone, Debug)]
pub struct CacheLayer<G = CredentialManager> {
    store: Store,
    place: Arc<Place<G>>,
}

/// A profile's place in the store.
#[derive(Debug)]
pub(super) struct Place<G> {
    pub(super) scope: Scope<G>,
    pub(super) origin: Arc<Origin>,
    /// The generation that the store was told of.
    seen: AtomicU64,
}

impl<G: Generation> Place<G> {
    /// The number of the credentials now. The store learns of a new one, so that what the old ones
    /// fetched leaves memory.
    pub(super) fn generation(&self, store: &Store) -> Option<u64> {
        let generation = self.scope.manager.generation();
        let number = generation.unwrap_or_default();
        if self.seen.load(Ordering::Relaxed) != number {
            self.seen.store(number, Ordering::Relaxed);
            store.has_generation(&self.scope.profile, generation);
        }
        generation
    }
}

impl<S, G> Layer<S> for CacheLayer<G> {
    type Service = Cached<S, G>;

    fn layer(&self, inner: S) -> Cached<S, G> {
        Cached {
            inner: SharedService::new(inner),
            store: self.store.clone(),
            place: Arc::clone(&self.place),
        }
    }
}

/// See [`cache`].
#[derive(Debug)]
pub struct Cached<S, G = CredentialManager> {
    inner: SharedService<S>,
    store: Store,
    place: Arc<Place<G>>,
}

impl<S, G> Clone for Cached<S, G> {
    fn clone(&self) -> Self {
        let (inner, store, place) =
            (self.inner.clone(), self.store.clone(), Arc::clone(&self.place));
        Self { inner, store, place }
    }
}

impl<S, G> Service<Recorded> for Cached<S, G>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
    G: Generation,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = CacheFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, recorded: Recorded) -> Self::Future {
        let Recorded { head, body } = recorded;
        let operation = head.operation.clone();
        let Self { inner, store, place } = self;
        if !store.settings().enabled {
            return CacheFuture::forward(inner.call(Fetch { head, body }), After::Nothing);
        }
        let is_read = matches!(head.method, Method::GET | Method::HEAD);
        let rule = store.rule(operation.as_deref(), head.target.path());
        let read =
            rule.filter(|_| is_read || is_keepable(&head, operation.as_deref())).map(|rule| {
                let fields = Fields::of(&head.headers);
                let ask = if fields.ask() {
                    RequestDirectives::read(&head.headers)
                } else {
                    RequestDirectives::default()
                };
                let (operation, now) = (operation.as_ref(), Instant::now());
                Read { store, place, rule, operation, head: &head, fields, ask, now }
            });
        match read {
            Some(read) if is_read => match read.way(&body) {
                Lookup::Answer(response) => CacheFuture::done(Ok(response)),
                Lookup::Refuse(error) => CacheFuture::done(Err(error)),
                Lookup::Freshen(job) => {
                    let after = After::Freshen { job, asked: Instant::now() };
                    CacheFuture::forward(inner.call(Fetch { head, body }), after)
                }
                Lookup::Forward(why) => {
                    let draft = head.context.clone();
                    CacheFuture::forward(
                        inner.call(Fetch { head, body }),
                        After::Note { draft, said: Forwarded::because(why) },
                    )
                }
                Lookup::AnswerAndFetch(response, job) => {
                    let (nobody, _) = oneshot::channel();
                    tokio::spawn(job.run(inner.clone(), head, body, nobody));
                    CacheFuture::done(Ok(response))
                }
                Lookup::Fetch(job, follower) => {
                    CacheFuture::wait(wait::fetch(inner.clone(), head, body, job, follower))
                }
            },
            None if head.method.is_safe() => {
                CacheFuture::forward(inner.call(Fetch { head, body }), After::Nothing)
            }
            read => {
                let job = read.and_then(|read| read.errand_for_post());
                let write = Write::begin(store, &place.origin, &head, operation);
                if let Some(job) = job {
                    CacheFuture::wait(wait::post(inner.clone(), head, body, job, write))
                } else {
                    let after = After::Invalidate { write };
                    CacheFuture::forward(inner.call(Fetch { head, body }), after)
                }
            }
        }
    }
}

/// Whether the answer to a write may be one that a later read gets (RFC 9110 §9.3.3). Pigello's own
/// operations never say so.
fn is_keepable(head: &Head, operation: Option<&Operation>) -> bool {
    head.method == Method::POST && operation.is_none()
}

/// The future of [`Cached`].
pub struct CacheFuture<F>(State<F>);

enum State<F> {
    /// Memory answers.
    Done(Option<Answer>),
    /// The upstream answers.
    Forwarded(Pin<Box<F>>, After),
    /// A fetch answers, this one's or another's.
    Waiting(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

type Answer = Result<Response<Body>, Error>;

/// What is to be done with an answer that only passes.
enum After {
    Nothing,
    Note { draft: CallContext, said: Forwarded },
    Freshen { job: Box<FetchJob>, asked: Instant },
    Invalidate { write: Write },
}

impl<F> CacheFuture<F> {
    fn done(answer: Answer) -> Self {
        Self(State::Done(Some(answer)))
    }

    fn wait(answer: impl Future<Output = Answer> + Send + 'static) -> Self {
        Self(State::Waiting(Box::pin(answer)))
    }

    /// In memory of its own: what is behind is large, and every call, also one that memory answers,
    /// moves as much as the largest way takes.
    fn forward(inner: F, after: After) -> Self {
        Self(State::Forwarded(Box::pin(inner), after))
    }
}

impl<F> Future for CacheFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Done(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            State::Waiting(answer) => answer.as_mut().poll(cx),
            State::Forwarded(inner, after) => {
                let mut result = ready!(inner.as_mut().poll(cx));
                after.finish(&mut result);
                Poll::Ready(result)
            }
        }
    }
}

impl After {
    fn finish(&mut self, result: &mut Answer) {
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
            (Self::Freshen { job, asked }, result) => job.freshened(*asked, result),
            (Self::Invalidate { write }, Ok(response)) => {
                write.answered(response);
            }
            (Self::Invalidate { write }, Err(error)) => write.failed(error),
        }
    }
}

impl<F> fmt::Debug for CacheFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CacheFuture")
    }
}
