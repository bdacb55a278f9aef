//! No response crosses credentials: after any calls, rotations, writes and purges, an answer was fetched
//! with the present credentials of its profile, and after the last write.

use std::{collections::HashMap, time::Duration};

use proptest::prelude::*;
use tokio::time::advance;

use super::{
    super::Rule,
    harness::{Bench, free_rule},
    tables::{get, pause},
    upstream::{Upstream, reply},
};
use crate::{audit::CacheResult, body::Body, domain::Span};

#[derive(Clone, Debug)]
enum Act {
    Get { profile: usize, object: u8, language: bool },
    Rotate { profile: usize },
    Write { profile: usize, object: u8 },
    Purge,
    Maintain,
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0usize..3, 0u8..4, any::<bool>())
            .prop_map(|(profile, object, language)| Act::Get { profile, object, language }),
        1 => (0usize..3).prop_map(|profile| Act::Rotate { profile }),
        1 => (0usize..3, 0u8..4).prop_map(|(profile, object)| Act::Write { profile, object }),
        1 => Just(Act::Purge),
        1 => Just(Act::Maintain),
        2 => (1u64..70).prop_map(Act::Wait),
    ]
}

/// The state that a response of the upstream belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made {
    profile: usize,
    generation: u64,
    object: u8,
    language: bool,
    /// The number of writes to the object so far.
    writes: u64,
    /// The time in seconds.
    at: u64,
}

async fn check(acts: Vec<Act>) -> Result<(), TestCaseError> {
    let rule = Rule {
        ttl: Span::from_secs(60),
        stale_if_error: Span::from_secs(0),
        heuristic: Some(false),
        ..free_rule()
    };
    // One upstream for all, because two sets of credentials may request one path.
    let first = Bench::with_rule(rule);
    let upstream: Upstream = first.upstream.clone();
    let benches = [first.other_profile("b", &upstream), first.other_profile("c", &upstream), first];
    let mut generations = [0; 3];
    let mut writes: HashMap<u8, u64> = HashMap::new();
    let mut made: HashMap<u64, Made> = HashMap::new();
    let mut now = 0;
    for act in acts {
        match act {
            Act::Get { profile, object, language } => {
                upstream.then(reply(200).header("vary", "accept-language"));
                let before = upstream.count();
                let bench = &benches[profile];
                let request = bench.get(["/a/1/", "/a/2/", "/b/1/", "/b/1/?x"][object as usize]);
                let language_tag = if language { "sv" } else { "en" };
                let answer = request.header("accept-language", language_tag).send().await;
                // A write to either of the two targets on one path changes both.
                let written = writes.get(&object.min(2)).copied().unwrap_or_default();
                let generation = generations[profile];
                let this = Made { profile, generation, object, language, writes: written, at: now };
                if upstream.count() > before {
                    made.insert(answer.number(), this);
                } else {
                    upstream.forget();
                }
                let found = made[&answer.number()];
                prop_assert_eq!(Made { at: now, ..found }, this);
                prop_assert!(now - found.at < 60);
            }
            Act::Rotate { profile } => {
                benches[profile].generation.rotate();
                generations[profile] += 1;
            }
            Act::Write { profile, object } => {
                let target = ["/a/1/", "/a/2/", "/b/1/", "/b/1/"][object as usize];
                upstream.then(reply(200));
                benches[profile].request(http::Method::PATCH, target).body("{}").send().await;
                *writes.entry(object.min(2)).or_default() += 1;
            }
            Act::Purge => {
                benches[0].cache.purge_all();
                prop_assert_eq!(benches[0].cache.stats().responses, 0);
            }
            Act::Maintain => {
                let present = benches.iter().map(|bench| &bench.profile.partition);
                benches[0].cache.maintain(present).await;
            }
            Act::Wait(seconds) => {
                advance(Duration::from_secs(seconds)).await;
                now += seconds;
            }
        }
    }
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn lost_credentials_answer_no_call() {
    let bench = Bench::free();
    bench.upstream.then(reply(200).cache_control("max-age=600").header("etag", "\"a\""));
    get(&bench, &[]).await;
    let lost = bench.generation.lose();
    // Nothing is read from the cache, and nothing is stored.
    for calls in 2..4 {
        bench.upstream.then(reply(200).cache_control("max-age=600"));
        let answer = get(&bench, &[]).await;
        assert_eq!((answer.number(), answer.result), (calls, Some(CacheResult::Miss)));
        assert_eq!(answer.field("cache-status"), "pigello-gateway; fwd=miss");
    }
    let refused = bench.get("/object").header("cache-control", "only-if-cached").begin().await;
    assert_eq!(refused.unwrap_err().kind(), crate::error::Kind::OnlyIfCached);
    // Back in use, they still have their response.
    bench.generation.regain(lost);
    assert_eq!(get(&bench, &[]).await.number(), 1);
    // After a maintenance it has left memory.
    bench.generation.lose();
    get(&bench, &[]).await;
    bench.maintain().await;
    assert_eq!(bench.cache.stats().responses, 0);
}

#[tokio::test(start_paused = true)]
async fn a_response_belongs_to_the_credentials_it_was_fetched_with() {
    let bench = Bench::free();
    // During a rotation a call is sent with credentials that are not in use, and they do not come
    // into use.
    bench.generation.try_out(Some(9));
    bench.upstream.then(reply(503).cache_control("max-age=60"));
    assert_eq!(get(&bench, &[]).await.number(), 1);
    bench.generation.try_out(None);
    bench.upstream.then(reply(200).cache_control("max-age=2").header("etag", "\"a\""));
    assert_eq!(get(&bench, &[]).await.number(), 2);
    assert_eq!(get(&bench, &[]).await.number(), 2);
    // A 304 for other credentials validates nothing.
    pause().await;
    bench.generation.try_out(Some(9));
    bench.upstream.then(reply(304).header("etag", "\"a\"").body(Body::empty()));
    bench.upstream.then(reply(200).cache_control("max-age=60").header("etag", "\"a\""));
    let answer = get(&bench, &[]).await;
    assert_eq!((answer.number(), answer.result), (4, Some(CacheResult::Miss)));
    bench.generation.try_out(None);
    assert_eq!(get(&bench, &[]).await.number(), 5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn an_answer_belongs_to_its_profile_its_credentials_and_its_time(
        acts in proptest::collection::vec(act(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check(acts))?;
    }
}
