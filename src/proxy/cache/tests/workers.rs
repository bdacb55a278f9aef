//! One cache under several workers, each a thread with its own runtime.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    thread,
};

use futures_util::future::{Ready, ready};
use http::Response;
use tower::{Layer as _, Service};

use super::{
    super::{Cache, Settings, cache},
    harness::{Bench, Counter, free_rule, profile as profile_of, recorded},
    upstream::reply,
};
use crate::{
    audit::CacheResult,
    body::Body,
    error::Error,
    proxy::{call::Fetch, profile::CredentialGeneration as _},
};

fn on_a_worker<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        runtime.unwrap().block_on(work)
    })
}

#[test]
fn a_fetch_on_one_worker_answers_callers_on_another() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let bench = Bench::free();
    let (turn, gate) = reply(200).cache_control("max-age=60").gated();
    bench.upstream.then(turn);
    let call = || {
        let answer = bench.get("/object").begin();
        async move { answer.await.unwrap().finish().await }
    };
    let leader = on_a_worker(call());
    while bench.cache.stats().in_flight == 0 {
        thread::yield_now();
    }
    let others: Vec<_> = (0..3).map(|_| on_a_worker(call())).collect();
    gate.send(()).unwrap();
    let fetched = leader.join().unwrap();
    assert_eq!(fetched.result, Some(CacheResult::Miss));
    for other in others {
        let answer = other.join().unwrap();
        assert!(matches!(answer.result, Some(CacheResult::Collapsed | CacheResult::Hit)));
        assert_eq!((answer.number(), answer.source), (1, Some(fetched.id)));
    }
    assert_eq!(bench.upstream.count(), 1);
}

const CALLS: usize = 20_000;

/// Answers with the profile and generation of credentials that a call was sent with.
#[derive(Clone)]
struct Echo {
    profile: usize,
    generation: Counter,
    calls: Arc<AtomicU64>,
}

impl Service<Fetch> for Echo {
    type Response = Response<Body>;
    type Error = Error;
    type Future = Ready<Result<Response<Body>, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, fetch: Fetch) -> Self::Future {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let generation = self.generation.generation().unwrap();
        fetch.head.context.sends_generation(generation);
        let text = format!("{} {generation}", self.profile);
        let response = Response::builder().header("cache-control", "max-age=60");
        ready(Ok(response.body(Body::full(text)).unwrap()))
    }
}

#[test]
fn no_response_crosses_profiles_or_credentials_under_load() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let _entered = runtime.enter();
    let shared = Cache::new(Settings { rules: vec![free_rule()], ..Settings::default() });
    let calls = Arc::new(AtomicU64::new(0));
    let profiles: Vec<_> = (0..2)
        .map(|profile| {
            let generation = Counter::default();
            let made_up = profile_of(&format!("profile-{profile}"), &generation);
            let echo = Echo { profile, generation: generation.clone(), calls: Arc::clone(&calls) };
            (cache(shared.clone()).layer(echo), generation, made_up)
        })
        .collect();
    let workers: Vec<_> = (0..2)
        .map(|worker| {
            let (profiles, shared) = (profiles.clone(), shared.clone());
            on_a_worker(async move {
                for turn in 0..CALLS {
                    let profile = (turn + worker) % 2;
                    let (mut stage, generation, made_up) = profiles[profile].clone();
                    if turn % 500 == 499 {
                        generation.rotate();
                    }
                    if turn % 1000 == 999 {
                        let present = profiles.iter().map(|(_, _, profile)| &profile.partition);
                        shared.maintain(present).await;
                    }
                    let before = generation.generation().unwrap();
                    let response = stage.call(recorded(&made_up, "/object")).await.unwrap();
                    let after = generation.generation().unwrap();
                    let body = response.into_body().in_memory().unwrap();
                    let text = std::str::from_utf8(&body).unwrap().to_owned();
                    let (theirs, used) = text.split_once(' ').unwrap();
                    assert_eq!(theirs.parse(), Ok(profile));
                    assert!((before..=after).contains(&used.parse().unwrap()), "{text} {before}");
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().unwrap();
    }
    let made = calls.load(Ordering::Relaxed);
    assert!(made < CALLS as u64 / 10, "most calls were hits: {made}");
}
