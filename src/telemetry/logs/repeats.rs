//! Repeated lines: at most one a second and kind.
//!
//! The first line of a kind is written at once. While more come, one line a second says how many, and when no more
//! come, a line says for how long it went on and how many there were. A failure of every call then costs a line
//! a second, not a line a call. Lines at `debug` and below are all written: who asks for them wants each.
//!
//! The kind of an event is its place in the source and the values of the fields in [`DISTINGUISHING`]. A place has
//! [`MOST_OF_A_PLACE`] kinds at most: when thousands of profiles are loaded at once, a line a second says how many.

use std::{
    collections::HashMap,
    fmt::{self, Write as _},
    hash::{BuildHasher as _, Hasher as _},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tracing::{
    Event, Level, Subscriber,
    callsite::Identifier,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use crate::domain::Span;

/// Fields whose values come from the configuration and from closed sets. Events of one place that differ in
/// one of them are of different kinds.
const DISTINGUISHING: [&str; 12] = [
    "kind",
    "listener",
    "address",
    "credentials",
    "profile",
    "witness",
    "file",
    "cause",
    "problem",
    "signal",
    "warning",
    // Of a checkpoint: each is evidence, and needs its line.
    "note",
];

/// The kinds that have been seen lately.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    runs: Mutex<HashMap<Kind, Run>>,
    hasher: ahash::RandomState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    place: Identifier,
    fields: u64,
}

/// Events of one kind without a long pause between them.
#[derive(Debug)]
struct Run {
    level: Level,
    /// What the line of the first one said, to be named.
    about: About,
    began: Instant,
    last: Instant,
    last_line: Instant,
    count: u64,
    /// Since the last line.
    untold: u64,
    was_shortened: bool,
}

impl Repeats {
    /// Whether the event has a line of its own.
    fn admit(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        if *metadata.level() > Level::INFO || metadata.target() == module_path!() {
            return true;
        }
        let mut hash = FieldHash(self.hasher.build_hasher());
        event.record(&mut hash);
        let mut kind = Kind { place: metadata.callsite(), fields: hash.0.finish() };
        let mut runs = self.runs.lock();
        if !runs.contains_key(&kind) {
            let of_place = runs.keys().filter(|known| known.place == kind.place).count();
            if of_place >= MOST_OF_A_PLACE || runs.len() >= MOST_KINDS {
                kind.fields = OF_ALL;
            }
        }
        let Some(run) = runs.get_mut(&kind) else {
            runs.insert(kind.clone(), Run::begin(event, now, &kind));
            return true;
        };
        run.count += 1;
        run.last = now;
        // A line with a number that is due is not overtaken by one without.
        let has_line = run.untold == 0 && now.duration_since(run.last_line) >= EVERY;
        if has_line {
            run.last_line = now;
        } else {
            run.untold += 1;
            run.was_shortened = true;
        }
        has_line
    }

    /// Whether nothing was seen lately, so that nothing will have to be told.
    pub(super) fn is_empty(&self) -> bool {
        self.runs.lock().is_empty()
    }

    /// Tells of repeated events, and of those that are over.
    pub(super) fn tell(&self, now: Instant) {
        let mut news = Vec::new();
        self.runs.lock().retain(|_, run| {
            if run.untold > 0 && now.duration_since(run.last_line) >= EVERY {
                run.last_line = now;
                news.push(run.more());
                return true;
            }
            let is_over = run.untold == 0 && now.duration_since(run.last) >= QUIET;
            if is_over && run.was_shortened {
                news.push(run.over());
            }
            !is_over
        });
        news.iter().for_each(News::log);
    }

    /// Tells how many events had no line so far: the process ends.
    pub(super) fn tell_all(&self) {
        let mut runs = self.runs.lock();
        let news: Vec<_> = runs.values_mut().filter(|run| run.untold > 0).map(Run::more).collect();
        drop(runs);
        news.iter().for_each(News::log);
    }
}

impl Run {
    fn begin(event: &Event<'_>, now: Instant, kind: &Kind) -> Self {
        let mut about = About::default();
        event.record(&mut about);
        if kind.fields == OF_ALL {
            (about.kind, about.names) = (None, None);
        }
        Self {
            level: *event.metadata().level(),
            about,
            began: now,
            last: now,
            last_line: now,
            count: 1,
            untold: 0,
            was_shortened: false,
        }
    }

    fn more(&mut self) -> News {
        let count = std::mem::take(&mut self.untold);
        News { level: self.level, about: self.about.clone(), count, over_after: None }
    }

    fn over(&self) -> News {
        let over_after = Some(self.last.duration_since(self.began));
        News { level: self.level, about: self.about.clone(), count: self.count, over_after }
    }
}

/// A line about events of one kind.
struct News {
    level: Level,
    about: About,
    count: u64,
    /// How long they came, if they are over.
    over_after: Option<Duration>,
}

impl News {
    fn log(&self) {
        let Self { level, about: About { message, kind, names }, count, over_after } = self;
        let (kind, names) = (kind.as_deref(), names.as_deref());
        // The level of an event is part of its place in the source.
        macro_rules! log {
            ($event:ident) => {
                match over_after {
                    None => tracing::$event!(kind, names, count, "{message}: and {count} more"),
                    Some(time) => {
                        let (seconds, time) = (time.as_secs(), Span(whole_seconds(*time)));
                        tracing::$event!(
                            kind,
                            names,
                            count,
                            seconds,
                            "{message}: over after {time}, {count} in all"
                        );
                    }
                }
            };
        }
        match *level {
            Level::ERROR => log!(error),
            Level::WARN => log!(warn),
            _ => log!(info),
        }
    }
}

fn whole_seconds(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().max(1))
}

/// Message and distinguishing fields of an event.
#[derive(Clone, Debug, Default)]
struct About {
    message: String,
    kind: Option<String>,
    /// The other distinguishing fields: `listener=app`.
    names: Option<String>,
}

#[expect(
    clippy::use_debug,
    reason = "tracing gives values in this form; a `Display` one prints as itself"
)]
impl Visit for About {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "kind" => self.kind = Some(format!("{value:?}")),
            name if DISTINGUISHING.contains(&name) => {
                let names = self.names.get_or_insert_default();
                let between = if names.is_empty() { "" } else { " " };
                // Writing to a string cannot fail.
                let _infallible = write!(names, "{between}{name}={value:?}");
            }
            _ => {}
        }
    }
}

/// The hash of an event's distinguishing fields.
struct FieldHash<H>(H);

#[expect(clippy::use_debug, reason = "as above")]
impl<H: std::hash::Hasher> Visit for FieldHash<H> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if DISTINGUISHING.contains(&field.name()) {
            self.0.write(field.name().as_bytes());
            // A hasher takes everything.
            let _infallible = write!(HashText(&mut self.0), "{value:?}");
        }
    }
}

struct HashText<'a, H>(&'a mut H);

impl<H: std::hash::Hasher> fmt::Write for HashText<'_, H> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        // By the byte: the pieces that a text is written in must not matter.
        text.bytes().for_each(|byte| self.0.write_u8(byte));
        Ok(())
    }
}

/// Lets events through that have a line of their own.
pub(super) struct AsLayer(pub(super) Arc<Repeats>);

impl<S: Subscriber> Layer<S> for AsLayer {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.0.admit(event, Instant::now())
    }
}

/// The least time between two lines of a kind.
pub(super) const EVERY: Duration = Duration::from_secs(1);
/// A kind is over when there was none for this long.
const QUIET: Duration = Duration::from_secs(5);
/// Further kinds are told apart by their place alone.
const MOST_KINDS: usize = 512;
/// More than a place makes without a template of profiles.
const MOST_OF_A_PLACE: usize = 32;
/// The fields of all events of a place that have no kind of their own.
const OF_ALL: u64 = 0;

#[cfg(test)]
mod tests {
    use parking_lot::MutexGuard;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    /// Applies the rule at a time that the test sets, and keeps the messages of the lines.
    #[derive(Default)]
    struct Bench {
        repeats: Repeats,
        now: Mutex<Option<Instant>>,
        lines: Mutex<Vec<String>>,
    }

    struct Lines(Arc<Bench>);

    impl<S: Subscriber> Layer<S> for Lines {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let now = self.0.now.lock().unwrap();
            if self.0.repeats.admit(event, now) {
                let mut about = About::default();
                event.record(&mut about);
                let kind = about.kind.map(|kind| format!("{kind}: ")).unwrap_or_default();
                self.0.lines.lock().push(format!(
                    "{} {kind}{}",
                    event.metadata().level(),
                    about.message
                ));
            }
        }
    }

    fn run(test: impl FnOnce(&dyn Fn(u64), &Bench)) {
        let bench = Arc::new(Bench::default());
        let start = Instant::now();
        let lines = tracing_subscriber::registry().with(Lines(Arc::clone(&bench)));
        tracing::subscriber::with_default(lines, || {
            let at = |millis| {
                let now = start + Duration::from_millis(millis);
                *bench.now.lock() = Some(now);
                bench.repeats.tell(now);
            };
            at(0);
            test(&at, &bench);
        });
    }

    fn taken(bench: &Bench) -> Vec<String> {
        let mut lines: MutexGuard<'_, _> = bench.lines.lock();
        std::mem::take(&mut *lines)
    }

    fn fail(kind: &'static str, id: u32) {
        tracing::warn!(request_id = id, kind, "upstream failed");
    }

    #[test]
    fn a_thousand_failures_are_a_line_a_second_and_one_at_the_end() {
        run(|at, bench| {
            for second in 0..3 {
                at(second * 1000);
                (0..1000).for_each(|id| fail("upstream_unreachable", id));
            }
            at(3000);
            assert_eq!(
                taken(bench),
                [
                    "WARN upstream_unreachable: upstream failed",
                    "WARN upstream_unreachable: upstream failed: and 999 more",
                    "WARN upstream_unreachable: upstream failed: and 1000 more",
                    "WARN upstream_unreachable: upstream failed: and 1000 more",
                ]
            );
            at(6900);
            assert!(taken(bench).is_empty());
            at(7100);
            assert_eq!(
                taken(bench),
                ["WARN upstream_unreachable: upstream failed: over after 2s, 3000 in all"]
            );
            assert!(bench.repeats.is_empty());
            fail("upstream_unreachable", 1);
            assert_eq!(taken(bench).len(), 1, "a new one");
        });
    }

    #[test]
    fn what_differs_in_a_name_is_of_another_kind() {
        run(|_, bench| {
            for _ in 0..3 {
                fail("upstream_dns", 1);
                fail("upstream_timeout", 2);
                for listener in ["a", "b"] {
                    tracing::info!(%listener, address = %"127.0.0.1:1", "listening");
                }
            }
            assert_eq!(taken(bench).len(), 4);
        });
    }

    #[test]
    fn slow_ones_have_lines_of_their_own_and_debug_has_all() {
        run(|at, bench| {
            for second in 0..4 {
                at(second * 1500);
                fail("upstream_dns", 1);
            }
            at(60_000);
            assert_eq!(taken(bench), ["WARN upstream_dns: upstream failed"; 4]);
            (0..10).for_each(|id| tracing::debug!(id, "call"));
            assert_eq!(taken(bench).len(), 10);
        });
    }

    #[test]
    fn a_thousand_names_at_one_place_are_a_few_lines_that_name_them_and_a_number() {
        run(|at, bench| {
            for name in 0..1000 {
                tracing::info!(credentials = name, "credential set read");
            }
            let lines = taken(bench);
            assert_eq!(lines.len(), MOST_OF_A_PLACE + 1);
            assert!(bench.repeats.runs.lock().len() == lines.len());
            at(1000);
            let rest = 1000 - lines.len();
            assert_eq!(taken(bench), [format!("INFO credential set read: and {rest} more")]);
            fail("upstream_dns", 1);
            assert_eq!(taken(bench).len(), 1, "another place has its own");
        });
    }

    #[test]
    fn at_the_end_of_the_process_the_rest_is_told() {
        run(|_, bench| {
            (0..3).for_each(|id| fail("upstream_dns", id));
            bench.repeats.tell_all();
            assert_eq!(
                taken(bench),
                [
                    "WARN upstream_dns: upstream failed",
                    "WARN upstream_dns: upstream failed: and 2 more"
                ]
            );
        });
    }
}
