//! What single steps of the path take, with criterion.
//!
//! `cargo bench --bench stages`, or `cargo bench --bench stages -- guard` for one. Each stage is the
//! real one, called with a request that the real stages before it made ([`ground`]), and with nothing
//! behind it but an answer. Times hold on a quiet machine only; to see whether a change makes the path
//! dearer, count instructions instead.

#![expect(unreachable_pub, reason = "the program has no outside")]

mod ground;
#[path = "../support/failure.rs"]
mod failure;
#[path = "../support/workplace.rs"]
mod workplace;

use std::{error::Error, future::ready, hint::black_box, process::ExitCode, time::Duration};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use futures_util::FutureExt as _;
use http::{HeaderValue, Method, Response, header, uri::PathAndQuery};
use pigello_gateway::{
    audit::{self, Trail},
    body::Body,
    domain::{CanonicalTarget, Catalog},
    proxy::{
        cache::cache,
        call::ConcurrencyLimits,
        stages::{
            audit::open,
            authorize::authorize,
            identify::identify,
            inject::{apply, resolve},
            profile::{load, select},
            receive::receive,
            response_guard::inspect,
        },
    },
};
use tower::{Layer as _, Service, service_fn};

use self::{
    failure::{During as _, Failure},
    ground::Ground,
    workplace::{CACHED, CREATED_AT, PROXIED},
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run() -> Result<(), Failure> {
    let ground = Ground::make()?;
    let _entered = ground.enter();
    let mut criterion = Criterion::default()
        .without_plots()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(3))
        .configure_from_args();
    target(&mut criterion)?;
    path(&mut criterion, &ground)?;
    trail(&mut criterion, &ground)?;
    criterion.final_summary();
    Ok(())
}

/// The target in its one reading, and the operation it stands for: 63 of them are known.
fn target(criterion: &mut Criterion) -> Result<(), Failure> {
    let catalog = Catalog::new([]).during("the operations contradict each other")?;
    let target = PathAndQuery::from_static(CACHED);
    criterion.bench_function("canonical target", |bencher| {
        bencher.iter(|| CanonicalTarget::parse(black_box(target.clone())));
    });
    for (method, path) in
        [(Method::GET, CACHED), (Method::GET, PROXIED), (Method::POST, CREATED_AT)]
    {
        criterion.bench_function(&format!("operation: {method} {path}"), |bencher| {
            bencher.iter(|| black_box(catalog.find(&method, black_box(path))));
        });
    }
    Ok(())
}

/// The stages, in the order of the path.
fn path(criterion: &mut Criterion, ground: &Ground) -> Result<(), Failure> {
    let record = open(ground.edges(), ground::refusal).layer(answering());
    stage(criterion, ground, "audit: record opened and closed", record, || ground.arrival())?;
    let receive = receive(ground.rules()).layer(nothing());
    stage(criterion, ground, "receive", receive, || ground.identified())?;
    let identify = identify(ground.schemes()).layer(nothing());
    stage(criterion, ground, "identify", identify, || ground.opened())?;
    let select = select(ground.profiles(), ground.profile()).layer(nothing());
    stage(criterion, ground, "profile: select", select, || ground.received())?;
    let authorize = authorize(ground.policy(), ConcurrencyLimits::new(usize::MAX)).layer(nothing());
    stage(criterion, ground, "authorize", authorize, || ground.selected())?;
    let load = load().layer(nothing());
    stage(criterion, ground, "profile: load", load, || ground.authorized())?;
    let memory = cache(ground.cache()).layer(answering());
    stage(criterion, ground, "cache: hit", memory, || ground.recorded())?;
    let resolve = resolve().layer(nothing());
    stage(criterion, ground, "inject: resolve", resolve, || ground.intended())?;
    let guard = inspect().layer(answering());
    stage(criterion, ground, "guard: 2.9 KB", guard, || ground.resolved())?;
    let apply = apply().layer(nothing());
    stage(criterion, ground, "inject: apply", apply, || ground.resolved())
}

/// One record after the other, as the trail's writer makes a line of it, chains it and writes it to a
/// file in memory.
fn trail(criterion: &mut Criterion, ground: &Ground) -> Result<(), Failure> {
    let record = ground.record();
    let open = || {
        let folder = tempfile::tempdir_in("/dev/shm").during("no folder in memory")?;
        let settings =
            audit::Settings { batch_delay: Duration::ZERO, ..audit::Settings::new(folder.path()) };
        let trail = Trail::open(&settings).during("cannot open a trail")?;
        Ok::<_, Failure>((folder, trail))
    };
    let (folder, first) = open()?;
    first.close().during("cannot write a trail")?;
    drop(folder);
    let mut group = criterion.benchmark_group("trail");
    group.throughput(Throughput::Elements(RECORDS)).sample_size(20);
    group.bench_function("1000 records", |bencher| {
        bencher.iter_batched(
            open,
            |opened| {
                let (folder, trail) = opened.ok()?;
                for _ in 0..RECORDS {
                    trail.submit(record.clone());
                }
                let last = trail.close().ok();
                Some((folder, last))
            },
            BatchSize::PerIteration,
        );
    });
    group.finish();
    Ok(())
}

/// Times calls of one stage. What they take is made by the stages before it, outside the time.
fn stage<T, S, B>(
    criterion: &mut Criterion,
    ground: &Ground,
    name: &str,
    mut service: S,
    input: impl Fn() -> Result<T, Failure>,
) -> Result<(), Failure>
where
    S: Service<T, Response = Response<B>>,
    B: http_body::Body<Error: Into<Box<dyn Error + Send + Sync>>>,
{
    // Once as a call is served, so that memory has what it is to answer with.
    ground.serve(name, service.call(input()?))?;
    if service.call(input()?).now_or_never().is_none_or(|answer| answer.is_err()) {
        return Err(Failure::new(format!("{name}: does not answer at once")));
    }
    criterion.bench_function(name, |bencher| {
        bencher.iter_batched(
            &input,
            |input| {
                input.map(|input| service.call(input).now_or_never().map(|answer| answer.is_ok()))
            },
            BatchSize::NumIterations(BATCH),
        );
    });
    Ok(())
}

/// What stands behind a stage: it answers with nothing.
fn nothing<T, E>()
-> impl Service<T, Response = Response<Body>, Error = E, Future: Send> + Clone + Send
where
    T: Send + 'static,
    E: Send + 'static,
{
    service_fn(|_: T| ready(Ok(Response::new(Body::empty()))))
}

/// What stands behind a stage that looks at answers: it answers as the upstream would.
fn answering<T, E>()
-> impl Service<T, Response = Response<Body>, Error = E, Future: Send> + Clone + Send
where
    T: Send + 'static,
    E: Send + 'static,
{
    service_fn(|_: T| {
        let mut answer = Response::new(Body::full(Bytes::from_static(SUBTENANT.as_bytes())));
        let fields = answer.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
        ready(Ok(answer))
    })
}

/// The answer to a read.
const SUBTENANT: &str = include_str!("../support/subtenant.json");
/// How many records are written at a time.
const RECORDS: u64 = 1000;
/// How many calls are made ready at a time.
const BATCH: u64 = 256;
