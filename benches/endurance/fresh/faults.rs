//! Everything that goes wrong between Pigello and the gateway, in a seeded order: each kind comes and goes by a
//! clock of its own, so that any may meet any other.

use std::{
    collections::BTreeMap,
    fmt::Display,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use fastrand::Rng;
use http::{Method, StatusCode};
use jiff::SignedDuration;
use parking_lot::Mutex;
use pigello_mock::{EventLogFaults, Fault, Interruption, LogAnswer, WebhookFaults, WebhookHandle};
use tokio::time::{Instant, sleep};

use crate::{noticed::Noticed, report::progress};

/// The faults of one run.
pub struct Faults<'a> {
    noticed: &'a Noticed,
    webhook: &'a WebhookHandle,
    begun: Instant,
    seed: u64,
    /// How the rows of the event log come, and how it answers.
    log: Mutex<EventLogFaults>,
    happened: Mutex<BTreeMap<&'static str, u64>>,
    calm: Mutex<Vec<(Instant, Instant)>>,
    down: Mutex<Vec<(Instant, Instant)>>,
    /// How far Pigello's clock is ahead, in milliseconds.
    ahead: Mutex<i64>,
}

/// A break of the event log, or of Pigello.
#[derive(Clone, Copy, Debug)]
enum Break {
    /// The log answers like this for so many seconds.
    Answers(LogAnswer, u64),
    /// The log does not answer.
    Silent(u64),
    /// Pigello answers every call but changes with 503.
    Down(u64),
    /// The gateway reads its configuration again.
    Reload,
}

impl<'a> Faults<'a> {
    pub fn new(noticed: &'a Noticed, webhook: &'a WebhookHandle, seed: u64) -> Self {
        // The size of a page stays, as a server's does.
        let log = EventLogFaults { page_size: Some(50), seed, ..EventLogFaults::default() };
        Self {
            noticed,
            webhook,
            begun: Instant::now(),
            seed,
            log: Mutex::new(log),
            happened: Mutex::default(),
            calm: Mutex::default(),
            down: Mutex::default(),
            ahead: Mutex::new(0),
        }
    }

    /// Lets things go wrong until so many reads were begun, and for at least one round.
    pub async fn run(&self, reads: &AtomicU64, wanted: u64) {
        let mut rng = Rng::with_seed(self.seed);
        let others = async { tokio::join!(self.rows(), self.webhooks(), self.copy()) };
        let breaks = async {
            loop {
                let mut round = ROUND;
                rng.shuffle(&mut round);
                for next in round {
                    self.calm(&mut rng).await;
                    self.go_wrong(next, &mut rng).await;
                }
                self.calm(&mut rng).await;
                if reads.load(Ordering::Relaxed) >= wanted {
                    return;
                }
            }
        };
        tokio::select! {
            _never = others => {}
            () = breaks => {}
        }
    }

    /// How often each kind happened.
    pub fn happened(&self) -> BTreeMap<&'static str, u64> {
        let mut happened = self.happened.lock().clone();
        let counts = self.webhook.counts();
        happened.insert("webhook lost", counts.lost);
        happened.insert("webhook doubled", counts.doubled);
        happened.insert("webhook reordered", counts.reordered);
        happened.insert("webhook late", counts.delayed);
        happened
    }

    /// When the event log was complete all the time.
    pub fn calm_times(&self) -> Vec<(Instant, Instant)> {
        self.calm.lock().clone()
    }

    /// When Pigello was down.
    pub fn down_times(&self) -> Vec<(Instant, Instant)> {
        self.down.lock().clone()
    }

    /// The log is read, for a while.
    async fn calm(&self, rng: &mut Rng) {
        sleep(NOTICED).await;
        let begun = Instant::now();
        while self.noticed.event_log().await != "complete" {
            assert!(
                begun.elapsed() < Duration::from_secs(30),
                "the event log is not complete again"
            );
            sleep(Duration::from_millis(100)).await;
        }
        self.happen("log read again");
        let mut from = Instant::now();
        sleep(Duration::from_millis(rng.u64(3_000..6_000))).await;
        if rng.bool() {
            self.calm.lock().push((from, Instant::now()));
            self.put_clock(rng);
            sleep(NOTICED).await;
            from = Instant::now();
        }
        sleep(Duration::from_millis(rng.u64(2_000..5_000))).await;
        self.calm.lock().push((from, Instant::now()));
    }

    async fn go_wrong(&self, next: Break, rng: &mut Rng) {
        self.tell(format_args!("{next:?}"));
        let pigello = self.noticed.pigello();
        match next {
            Break::Answers(answer, seconds) => {
                self.change_log(|log| log.answer = answer);
                self.broken(seconds, rng).await;
                self.change_log(|log| log.answer = LogAnswer::Rows);
            }
            Break::Silent(seconds) => {
                let silence = Fault::new().path(EVENT_LOG).interrupt(Interruption::StallHead);
                pigello.fault(silence.until_cleared());
                self.broken(seconds, rng).await;
                pigello.clear_faults();
            }
            Break::Down(seconds) => {
                let from = Instant::now();
                let down = Fault::new().method(Method::GET);
                pigello.fault(down.status(StatusCode::SERVICE_UNAVAILABLE).until_cleared());
                sleep(Duration::from_secs(seconds)).await;
                pigello.clear_faults();
                self.down.lock().push((from, Instant::now()));
                self.happen("Pigello down");
            }
            Break::Reload => {
                assert!(self.noticed.gateway.refresh().await, "it reads its configuration again");
                self.happen("reload");
            }
        }
    }

    /// Waits, and notes that the log was broken. One that is stopped is read again after a reload.
    async fn broken(&self, seconds: u64, rng: &mut Rng) {
        let half = Duration::from_millis(seconds * rng.u64(450..600));
        sleep(half).await;
        if rng.bool() {
            self.put_clock(rng);
        }
        sleep(half).await;
        match &*self.noticed.event_log().await {
            "complete" => self.happen("log broken, and the proof held"),
            "incomplete" => self.happen("log broken"),
            _ => {
                self.happen("log stopped");
                assert!(self.noticed.gateway.refresh().await, "it reads its configuration again");
                // It has asked once more, in vain.
                sleep(Duration::from_secs(1)).await;
                self.change_log(|log| log.answer = LogAnswer::Rows);
                assert!(self.noticed.gateway.refresh().await, "it reads its configuration again");
            }
        }
    }

    /// Rows that are late, twice there, and of one time.
    async fn rows(&self) {
        let mut rng = Rng::with_seed(self.seed + 1);
        loop {
            let mut share = |share: f64| if rng.bool() { share } else { 0.0 };
            let (late, double) = (share(0.4), share(0.3));
            let tick = Duration::from_secs(u64::from(rng.bool()));
            let late_by = Duration::from_millis(rng.u64(200..LATEST));
            self.change_log(|log| {
                (log.late, log.late_by, log.double, log.tick) = (late, late_by, double, tick);
            });
            sleep(Duration::from_millis(rng.u64(1_000..5_000))).await;
        }
    }

    async fn webhooks(&self) {
        let mut rng = Rng::with_seed(self.seed + 2);
        loop {
            let mut share = |share: f64| if rng.bool() { share } else { 0.0 };
            let (lose, double, reorder) = (share(1.0), share(0.4), share(0.4));
            let lose = if lose > 0.0 && rng.bool() { 0.4 } else { lose };
            let delay = Duration::from_millis(if rng.bool() { rng.u64(100..3_000) } else { 0 });
            let seed = rng.u64(..);
            self.webhook.faults(WebhookFaults { seed, lose, double, reorder, delay });
            sleep(Duration::from_millis(rng.u64(2_000..8_000))).await;
        }
    }

    /// Reads come from a copy that is behind, by less than `settle`.
    async fn copy(&self) {
        let mut rng = Rng::with_seed(self.seed + 3);
        loop {
            self.noticed.activation.lag(Duration::from_millis(rng.u64(50..MOST_BEHIND)));
            sleep(Duration::from_millis(rng.u64(2_000..8_000))).await;
            self.noticed.activation.lag(Duration::ZERO);
            sleep(Duration::from_millis(rng.u64(2_000..8_000))).await;
        }
    }

    /// Puts Pigello's clock ahead or back, and by more than the gateway's readings overlap at times. It is never put
    /// back and ahead again between two readings: nobody could know.
    fn put_clock(&self, rng: &mut Rng) {
        let ahead = rng.i64(-20_000..20_000);
        self.tell(format_args!("the clock is {ahead} ms ahead"));
        self.noticed.pigello().skew(SignedDuration::from_millis(ahead));
        let before = std::mem::replace(&mut *self.ahead.lock(), ahead);
        self.happen(if ahead < before { "clock put back" } else { "clock put ahead" });
    }

    fn change_log(&self, change: impl FnOnce(&mut EventLogFaults)) {
        let mut log = self.log.lock();
        change(&mut log);
        self.noticed.activation.event_log(log.clone());
    }

    fn tell(&self, what: impl Display) {
        progress(format_args!("after {:.1} s: {what}", self.begun.elapsed().as_secs_f64()));
    }

    fn happen(&self, what: &'static str) {
        *self.happened.lock().entry(what).or_default() += 1;
    }
}

/// The kinds that a run must have had, but for those that reads and changes show.
pub const KINDS: [&str; 12] = [
    "webhook lost",
    "webhook doubled",
    "webhook reordered",
    "webhook late",
    "log broken",
    "log stopped",
    "log read again",
    "reload",
    "Pigello down",
    "clock put ahead",
    "clock put back",
    "log broken, and the proof held",
];

const ROUND: [Break; 9] = [
    Break::Answers(LogAnswer::Failing, 1),
    Break::Answers(LogAnswer::Failing, 11),
    Break::Silent(9),
    Break::Answers(LogAnswer::Forbidden, 9),
    Break::Answers(LogAnswer::Missing, 4),
    Break::Answers(LogAnswer::Renamed, 9),
    Break::Answers(LogAnswer::Garbage, 4),
    Break::Down(13),
    Break::Reload,
];
/// By then the gateway has noticed that the clock was put back, and what it stores is proved again.
const NOTICED: Duration = Duration::from_secs(4);
/// How late a row is at most, in milliseconds.
const LATEST: u64 = 2_000;
/// How far the copy is behind at most, in milliseconds.
const MOST_BEHIND: u64 = 800;
const EVENT_LOG: &str = "/common/eventlog/";
