//! Answers repeated reads from memory.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use http::Response;
use serde::Serialize;
use tower::{Layer, Service};

use super::request::{Fetch, Recorded};
use crate::{
    body::Body,
    credentials::Keeper,
    domain::{OperationPattern, PathPattern, ProfileName},
    error::Error,
};

/// Answers repeated reads from memory.
pub fn cache(_: Store, _: Scope) -> CacheLayer {
    CacheLayer
}

/// See [`cache`].
#[derive(Clone, Copy, Debug)]
pub struct CacheLayer;

impl<S> Layer<S> for CacheLayer {
    type Service = Cached<S>;

    fn layer(&self, inner: S) -> Cached<S> {
        Cached { inner }
    }
}

/// See [`cache`].
#[derive(Clone, Debug)]
pub struct Cached<S> {
    inner: S,
}

impl<S> Service<Recorded> for Cached<S>
where
    S: Service<Fetch, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, recorded: Recorded) -> Self::Future {
        let Recorded { head, body, .. } = recorded;
        self.inner.call(Fetch { head, body })
    }
}

/// What is remembered.
#[derive(Clone, Debug)]
pub struct Store;

/// Whose memory a listener may use.
#[derive(Debug)]
pub struct Scope {
    /// The profile.
    pub profile: ProfileName,
    /// Its credentials, for their generation.
    pub keeper: Keeper,
}

impl Store {
    /// An empty one.
    pub fn new(_: Settings) -> Self {
        Self
    }

    /// Drops what has expired.
    pub fn maintain(&self) {}

    /// Drops everything.
    pub fn purge_all(&self) -> u64 {
        0
    }

    /// Drops an operation's or an object's answers.
    pub fn purge(&self, _: Option<&str>, _: Option<&str>) -> u64 {
        0
    }

    /// What is in it.
    pub fn stats(&self) -> Stats {
        Stats {}
    }
}

/// How the cache is doing.
#[derive(Debug, Serialize)]
pub struct Stats {}

/// What is remembered, and how much.
#[derive(Debug)]
pub struct Settings {
    /// Whether anything is.
    pub enabled: bool,
    /// Bytes of everything.
    pub max_bytes: u64,
    /// Bytes of one answer.
    pub max_entry_bytes: u64,
    /// For which calls.
    pub rules: Vec<Rule>,
}

/// Which calls are answered from memory.
#[derive(Debug)]
pub struct Rule {
    /// Of these operations.
    pub operations: Vec<OperationPattern>,
    /// Or with these paths.
    pub paths: Vec<PathPattern>,
    /// Freshness where the answer states none.
    pub ttl: Duration,
    /// How long a stale answer is served while a new one is fetched.
    pub stale_while_revalidate: Duration,
    /// How long a stale answer is served where Pigello fails.
    pub stale_if_error: Duration,
    /// Freshness of a 404 or 410 that states none.
    pub negative_ttl: Duration,
    /// Whether freshness is guessed from `Last-Modified`.
    pub heuristic: bool,
}
