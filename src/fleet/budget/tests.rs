//! Many wallets, and the script in a real Valkey, under one clock that the test moves: the calls that are sent are what
//! the rate allows, and everybody has a fair part of them.

use std::{
    env,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::time::Instant;

use super::{
    lease::{LEASE, grant, question},
    settings::{BudgetSettings, WithoutStore},
    wallet::{Ask, Grant, Wallet},
};

/// A Valkey server, which ends with the test.
struct Valkey {
    child: Child,
    connection: MultiplexedConnection,
    _folder: TempDir,
}

impl Valkey {
    #[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
    async fn start() -> Option<Self> {
        let program = env::var_os("VALKEY_BIN").map(PathBuf::from).filter(|path| path.is_file());
        let Some(program) = program else {
            let is_required = env::var_os("PIGELLO_TEST_REQUIRE_TOOLS").is_some_and(|it| it == "1");
            assert!(!is_required, "no Valkey server (set VALKEY_BIN)");
            eprintln!("\n*** SKIPPED: no Valkey server (set VALKEY_BIN) ***\n");
            return None;
        };
        let folder = TempDir::new().unwrap();
        let socket = folder.path().join("store.sock");
        let mut child = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(["--port", "0", "--save", "", "--unixsocket"])
            .arg(&socket)
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while !lines.next().unwrap().unwrap().contains("Ready to accept") {}
        std::thread::spawn(move || lines.for_each(drop));
        let client = redis::Client::open(format!("unix://{}", socket.display())).unwrap();
        let connection = client.get_multiplexed_async_connection().await.unwrap();
        Some(Self { child, connection, _folder: folder })
    }

    /// Asks for a gateway at a time of the store's clock.
    async fn ask(&mut self, process: &str, limits: (f64, f64), ask: Ask, time: Duration) -> Grant {
        let command = question("test", "p", process, limits, ask);
        let timed = LEASE.replace("redis.call('TIME')", "{ARGV[7], ARGV[8]}");
        let mut again = redis::cmd("EVAL");
        again.arg(timed);
        for argument in command.args_iter().skip(2) {
            let redis::Arg::Simple(argument) = argument else { continue };
            again.arg(argument);
        }
        again.arg(1_800_000_000 + time.as_secs()).arg(time.subsec_micros());
        let answer = again.query_async(&mut self.connection).await.unwrap();
        grant(answer).unwrap()
    }
}

impl Drop for Valkey {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

const RATE: u32 = 200;
const STEP: Duration = Duration::from_millis(5);
/// How long a question is under way, in steps.
const WAY: usize = 2;

/// A gateway with callers.
struct Gateway {
    wallet: Wallet,
    /// Calls a second that its callers want to make, and when the next one comes.
    demand: f64,
    next: f64,
    /// A question that is under way, and when its answer comes.
    asked: Option<(Ask, usize)>,
    sent: Vec<u32>,
    refused: u32,
}

/// Gateways before one store.
struct World {
    valkey: Valkey,
    start: Instant,
    step: usize,
    gateways: Vec<Gateway>,
    random: fastrand::Rng,
    /// Whether calls come by chance, each apart from the others, or at even intervals.
    is_random: bool,
    questions: usize,
}

fn settings() -> BudgetSettings {
    BudgetSettings { rate: Some(RATE), burst: Some(400), ..BudgetSettings::default() }
}

impl World {
    async fn start(is_random: bool, demands: impl IntoIterator<Item = f64>) -> Option<Self> {
        let (valkey, start) = (Valkey::start().await?, Instant::now());
        let mut random = fastrand::Rng::with_seed(7);
        let gateway = |demand| Gateway {
            wallet: Wallet::new(settings(), RATE, false, start),
            demand,
            next: random.f64() / demand,
            asked: None,
            sent: Vec::new(),
            refused: 0,
        };
        Some(Self {
            valkey,
            start,
            step: 0,
            gateways: demands.into_iter().map(gateway).collect(),
            random,
            is_random,
            questions: 0,
        })
    }

    fn time(&self) -> Duration {
        STEP * u32::try_from(self.step).unwrap()
    }

    async fn run(&mut self, length: Duration) {
        let end = self.time() + length;
        while self.time() < end {
            self.step().await;
        }
    }

    async fn step(&mut self) {
        let (now, time, count) =
            (self.start + self.time(), self.time(), self.gateways.len() as u64);
        for (number, gateway) in self.gateways.iter_mut().enumerate() {
            let Gateway { wallet, demand, next, asked, sent, refused } = gateway;
            let mut calls = 0;
            while *next < (time + STEP).as_secs_f64() {
                if wallet.look(now, Some(count)) >= 1.0 {
                    wallet.take();
                    calls += 1;
                } else {
                    *refused += 1;
                }
                let chance = if self.is_random { -(1.0 - self.random.f64()).ln() } else { 1.0 };
                *next += chance / *demand;
            }
            sent.push(calls);
            if let Some((ask, _)) = asked.take_if(|(_, comes)| *comes <= self.step) {
                let limits = (wallet.rate(), wallet.burst());
                let granted = self.valkey.ask(&number.to_string(), limits, ask, time).await;
                wallet.granted(ask, granted);
            }
            let is_first = wallet.is_active() && wallet.is_new();
            if asked.is_none()
                && wallet.is_active()
                && (is_first || wallet.is_low(now) || wallet.due() <= now)
            {
                *asked = Some((wallet.ask(now), self.step + WAY));
                self.questions += 1;
            }
        }
        self.step += 1;
    }

    /// What gateways have sent since then, each in all, and together in each second.
    fn sent(&self, since: Duration) -> (Vec<f64>, Vec<u32>) {
        let first = usize::try_from(since.as_millis() / STEP.as_millis()).unwrap();
        let per_gateway = self.gateways.iter();
        let per_gateway =
            per_gateway.map(|it| it.sent[first..].iter().sum::<u32>().into()).collect();
        let steps: Vec<u32> = (first..self.step)
            .map(|step| self.gateways.iter().map(|gateway| gateway.sent[step]).sum())
            .collect();
        (per_gateway, steps.windows(200).map(|second| second.iter().sum()).collect())
    }
}

/// What each gets if those who want little have all that they want, and the others the same.
fn fair(demands: &[f64], rate: f64) -> Vec<f64> {
    let mut sorted = demands.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (mut left, mut level) = (rate, f64::INFINITY);
    for (number, demand) in sorted.iter().enumerate() {
        let equal = left / f64::from(u32::try_from(sorted.len() - number).unwrap());
        if *demand >= equal {
            level = equal;
            break;
        }
        left -= demand;
    }
    demands.iter().map(|demand| demand.min(level)).collect()
}

/// 1 if all have the same part of what is fair.
fn jain(parts: &[f64]) -> f64 {
    let (sum, squares) = parts.iter().fold((0.0, 0.0), |(a, b), part| (a + part, b + part * part));
    sum * sum / (f64::from(u32::try_from(parts.len()).unwrap()) * squares)
}

const SECOND: Duration = Duration::from_secs(1);

/// Twenty gateways, of which the busiest wants a hundred times as much as the quietest.
#[tokio::test]
async fn together_they_send_what_the_rate_allows_and_share_it_fairly() {
    let demands: Vec<_> = (0..20).map(|number| 1.5 * 1.26_f64.powi(number)).collect();
    assert!(demands.iter().sum::<f64>() > 400.0);
    // Where calls come by chance, those that want little have more of them in one second than in another.
    for (is_random, most) in [(false, 210), (true, 240)] {
        let Some(mut world) = World::start(is_random, demands.iter().copied()).await else {
            return;
        };
        world.run(SECOND * 60).await;
        let (each, seconds) = world.sent(SECOND * 10);
        let found = *seconds.iter().max().unwrap();
        assert!(found <= most, "{found} in a second, {is_random}");
        let all: f64 = each.iter().sum();
        let allowed = f64::from(RATE) * 50.0;
        assert!(all >= 0.95 * allowed && all <= 1.01 * allowed, "{all} of {allowed}");
        let parts: Vec<_> = each
            .iter()
            .zip(fair(&demands, f64::from(RATE)))
            .map(|(sent, fair)| sent / (fair * 50.0))
            .collect();
        assert!(jain(&parts) >= 0.95, "{} of {parts:?}", jain(&parts));
        // About two questions a second of each.
        assert!(world.questions <= 20 * 60 * 3, "{}", world.questions);
    }
}

/// Where there is enough for all, hardly anybody is refused.
#[tokio::test]
async fn whoever_wants_little_has_it_at_once() {
    let demands = (0..20).map(|number| f64::from(number % 5) + 1.0);
    let Some(mut world) = World::start(true, demands).await else { return };
    world.run(SECOND * 30).await;
    let refused: u32 = world.gateways.iter().map(|gateway| gateway.refused).sum();
    let (each, _) = world.sent(Duration::ZERO);
    let all: f64 = each.iter().sum();
    assert!(f64::from(refused) <= all / 1000.0, "{refused} of {all}");
}

fn ask(wants: f64, returned: f64) -> Ask {
    let mut wallet = Wallet::new(settings(), RATE, false, Instant::now());
    let mut ask = wallet.ask(Instant::now());
    (ask.wants, ask.returned) = (wants, returned);
    ask
}

#[tokio::test]
async fn a_gateway_that_is_gone_is_forgotten_and_what_comes_back_is_there_for_others() {
    let Some(mut valkey) = Valkey::start().await else { return };
    let limits = (200.0, 400.0);
    let time = |millis| Duration::from_millis(millis);
    // Both want more than there is. The bucket is full at first.
    for millis in (0..20_000).step_by(500) {
        for process in ["one", "two"] {
            valkey.ask(process, limits, ask(1000.0, 0.0), time(millis)).await;
        }
    }
    let both = valkey.ask("one", limits, ask(1000.0, 0.0), time(20_000)).await;
    assert!((40.0..=60.0).contains(&both.calls), "{both:?}");
    assert!(both.share.is_some_and(|share| (80.0..=120.0).contains(&share)), "{both:?}");
    // The other one is killed, and after three intervals all is for the one.
    for millis in (20_500..24_000).step_by(500) {
        valkey.ask("one", limits, ask(1000.0, 0.0), time(millis)).await;
    }
    let alone = valkey.ask("one", limits, ask(1000.0, 0.0), time(24_000)).await;
    assert!((90.0..=120.0).contains(&alone.calls), "{alone:?}");
    // It needs no more, and returns what it has. More than it was given is not believed.
    let last = valkey.ask("one", limits, ask(0.0, 100_000.0), time(24_100)).await;
    assert!(last.calls.abs() < 0.001);
    let next = valkey.ask("two", limits, ask(1000.0, 0.0), time(24_100)).await;
    assert!((90.0..=150.0).contains(&next.calls), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn what_a_gateway_may_do_without_the_store_is_as_configured() {
    let start = Instant::now();
    for (without_store, members, per_second) in [
        (WithoutStore::Share, Some(10), 20..=61),
        (WithoutStore::Share, None, 10..=31),
        (WithoutStore::Share, Some(1000), 0..=2),
        (WithoutStore::Unlimited, Some(10), 1000..=1000),
        (WithoutStore::Deny, Some(10), 0..=0),
    ] {
        let settings = BudgetSettings { without_store, ..settings() };
        let mut wallet = Wallet::new(settings, RATE, false, start);
        let calls = |wallet: &mut Wallet, at: Instant| {
            let mut calls = 0_u32;
            while calls < 1000 && wallet.look(at, members) >= 1.0 {
                wallet.take();
                calls += 1;
            }
            calls
        };
        // A first call has a credit, whatever the store does.
        let credit = calls(&mut wallet, start);
        assert!((1..=10).contains(&credit), "{credit}");
        let asked = wallet.ask(start);
        assert!((asked.returned + f64::from(credit)).abs() < 0.001, "{asked:?}");
        wallet.granted(asked, Grant { calls: 50.0, share: None });
        assert_eq!(calls(&mut wallet, start + SECOND), 50);
        // The lease is over.
        calls(&mut wallet, start + SECOND * 4);
        let found = calls(&mut wallet, start + SECOND * 5);
        assert!(per_second.contains(&found), "{without_store:?} {members:?}: {found}");
        let wait = wallet.wait(start + SECOND * 5, members);
        assert!(wait <= Duration::from_mins(1));
        // It is back.
        let asked = wallet.ask(start + SECOND * 5);
        assert!(asked.returned.abs() < 0.001, "what was taken without it is not the store's");
        wallet.granted(asked, Grant { calls: 7.0, share: Some(7.0) });
        assert_eq!(calls(&mut wallet, start + SECOND * 5), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_gateway_without_calls_asks_once_more_and_then_nothing() {
    let start = Instant::now();
    let mut wallet = Wallet::new(settings(), RATE, false, start);
    assert!(!wallet.is_active());
    wallet.look(start, Some(2));
    wallet.take();
    let asked = wallet.ask(start);
    wallet.granted(asked, Grant { calls: 5.0, share: None });
    let mut at = start;
    let last = loop {
        at += Duration::from_millis(500);
        assert!(at < start + SECOND * 10);
        let asked = wallet.ask(at);
        if !wallet.is_active() {
            break asked;
        }
        wallet.granted(asked, Grant { calls: asked.returned, share: None });
    };
    assert!(at >= start + SECOND * 2);
    assert_eq!((last.wants, last.returned), (0.0, 5.0));
}

#[tokio::test(start_paused = true)]
async fn alone_a_gateway_has_the_whole_rate_and_a_burst() {
    let start = Instant::now();
    let mut wallet = Wallet::new(settings(), RATE, true, start);
    let mut sent = 0;
    for millis in 0..10_000 {
        while wallet.look(start + Duration::from_millis(millis), None) >= 1.0 {
            wallet.take();
            sent += 1;
        }
    }
    assert!((2395..=2400).contains(&sent), "{sent}");
    let wait = wallet.wait(start + SECOND * 10, None);
    assert!(wait <= Duration::from_millis(10), "{wait:?}");
    assert!(!wallet.is_active());
}
