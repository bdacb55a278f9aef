//! What the notices of a profile mean for its stored responses: which are dropped, and which may live for
//! `coherent_ttl`.
//!
//! `ttl` holds whatever happens. `coherent_ttl` holds only while it is proved that no notice was missed. The
//! proof is a chain of readings of Pigello's event log (`crate::notices`). Each reading proves, for the time
//! at which it *began*, that every change that was in the log by then has been dropped here, and the next one
//! begins where it began. A reading is good for [`prove`](Coherence::prove)'s `until`; then the proof has ended.
//!
//! A stored response takes part in the proof from the *beginning* of its fetch, because what Pigello computed is
//! no older than that. It keeps the number of the chain that was going on then. [`Coherence::restart`] begins
//! another chain, before its first reading is sent: a response from before keeps its `ttl` and no more. So a chain
//! that breaks flushes nothing, and one that is continued in time, after a failure too, loses nothing.
//!
//! | what happened | a read is never older than |
//! | --- | --- |
//! | the log is read | Pigello's own delay, plus three intervals, plus `settle` |
//! | the log cannot be read, is forbidden, or was lost | `ttl`, as soon as the last proof has ended |
//! | Pigello cannot be reached | `ttl`, then `stale_if_error` |
//!
//! All that a hit asks is one word of 64 bits for each profile and rule, read with one load.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::time::Instant;

/// The notices of one profile, as its stored responses see them.
pub struct Coherence {
    /// The instant that words count from.
    origin: Instant,
    /// One for each rule of the cache. Rules share them if there are many, which drops more than need be.
    rules: [AtomicU64; WORDS],
    /// Whether notices of the profile are taken.
    is_followed: AtomicBool,
}

/// What a stored response keeps of its profile's notices when its fetch begins.
#[derive(Clone)]
pub(in crate::proxy) struct FeedMark {
    coherence: Arc<Coherence>,
    rule: usize,
    number: FeedNumber,
}

/// The drops and the chains that a rule had seen at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::proxy) struct FeedNumber(u32);

/// What the notices allow for a stored response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Validity {
    /// A notice dropped it.
    Dropped,
    /// It may live for `ttl`.
    Plain,
    /// No notice was missed since its fetch began: it may live for `coherent_ttl`.
    Coherent,
}

impl Coherence {
    /// Nothing is proved.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            origin: Instant::now(),
            rules: [const { AtomicU64::new(0) }; WORDS],
            is_followed: AtomicBool::new(false),
        })
    }

    /// Notices of the profile are taken from here on.
    pub(in crate::proxy) fn follow(&self) {
        self.is_followed.store(true, Ordering::Release);
    }

    /// Whether they are.
    pub(in crate::proxy) fn is_followed(&self) -> bool {
        self.is_followed.load(Ordering::Acquire)
    }

    /// Begins another chain, of which nothing is proved yet. What was stored before lives for its `ttl`.
    pub(in crate::proxy) fn restart(&self) {
        for word in &self.rules {
            change(word, |word| Word { chain: word.chain.wrapping_add(1), until: 0, ..word });
        }
    }

    /// Proves the chain until then.
    pub fn prove(&self, until: Instant) {
        let until = self.ticks(until);
        for word in &self.rules {
            change(word, |word| Word { until, ..word });
        }
    }

    /// Whether the chain is proved now.
    pub fn is_proved(&self) -> bool {
        let now = self.ticks(Instant::now());
        self.rules.iter().any(|word| now < Word::of(word.load(Ordering::Acquire)).until)
    }

    /// Drops everything under a rule.
    pub(in crate::proxy) fn drop_rule(&self, rule: usize) {
        if let Some(word) = self.rules.get(rule % WORDS) {
            change(word, |word| Word { drops: word.drops.wrapping_add(1), ..word });
        }
    }

    /// Drops everything.
    pub(in crate::proxy) fn drop_all(&self) {
        (0..WORDS).for_each(|rule| self.drop_rule(rule));
    }

    /// The mark of a response under a rule that is about to be fetched.
    pub(in crate::proxy) fn mark(self: &Arc<Self>, rule: usize) -> FeedMark {
        FeedMark { coherence: Arc::clone(self), rule, number: self.word(rule).number() }
    }

    fn word(&self, rule: usize) -> Word {
        Word::of(self.rules.get(rule % WORDS).map_or(0, |word| word.load(Ordering::Acquire)))
    }

    /// Whole ticks since the origin, rounded down.
    fn ticks(&self, at: Instant) -> u32 {
        let since = at.saturating_duration_since(self.origin).as_millis().checked_div(TICK);
        since.and_then(|ticks| u32::try_from(ticks).ok()).unwrap_or(u32::MAX)
    }
}

impl FeedMark {
    /// The number of its rule.
    pub(in crate::proxy) fn rule(&self) -> usize {
        self.rule
    }

    /// The same for another fetch, which begins now.
    pub(in crate::proxy) fn renewed(&self) -> Self {
        self.coherence.mark(self.rule)
    }

    /// The same for what was fetched before the chain began: it may live for `ttl`.
    pub(in crate::proxy) fn unproved(&self) -> Self {
        let FeedNumber(number) = self.number;
        let chain = number.wrapping_sub(1) & CHAINS;
        Self { number: FeedNumber(number & !CHAINS | chain), ..self.clone() }
    }

    pub(in crate::proxy) fn number(&self) -> FeedNumber {
        self.number
    }

    pub(in crate::proxy) fn is_dropped(&self) -> bool {
        self.coherence.word(self.rule).number().drops() != self.number.drops()
    }

    pub(in crate::proxy) fn validity(&self, now: Instant) -> Validity {
        let word = self.coherence.word(self.rule);
        if word.number().drops() != self.number.drops() {
            Validity::Dropped
        } else if word.number() == self.number && self.coherence.ticks(now) < word.until {
            Validity::Coherent
        } else {
            Validity::Plain
        }
    }
}

/// The state of one rule: 20 bits of drops, 12 bits of chains, and until when the chain is proved, in ticks.
///
/// A number returns after a million drops or four thousand chains. A response would have to outlive exactly so
/// many to be taken for another.
#[derive(Clone, Copy)]
struct Word {
    drops: u32,
    chain: u32,
    until: u32,
}

impl Word {
    #[expect(clippy::cast_possible_truncation, reason = "the parts of the word")]
    fn of(bits: u64) -> Self {
        let number = (bits >> 32) as u32;
        Self { drops: number >> CHAIN_BITS, chain: number & CHAINS, until: bits as u32 }
    }

    fn number(self) -> FeedNumber {
        FeedNumber(self.drops << CHAIN_BITS | self.chain & CHAINS)
    }

    fn bits(self) -> u64 {
        u64::from(self.number().0) << 32 | u64::from(self.until)
    }
}

impl FeedNumber {
    fn drops(self) -> u32 {
        self.0 >> CHAIN_BITS
    }
}

fn change(word: &AtomicU64, with: impl Fn(Word) -> Word) {
    let update = |bits| Some(with(Word::of(bits)).bits());
    // The update is never refused.
    let _before = word.fetch_update(Ordering::AcqRel, Ordering::Acquire, update);
}

impl fmt::Debug for Coherence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Coherence(proved: {})", self.is_proved())
    }
}

impl fmt::Debug for FeedMark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FeedMark({:?})", self.number)
    }
}

/// More than most configurations have rules.
const WORDS: usize = 16;
const CHAIN_BITS: u32 = 12;
const CHAINS: u32 = (1 << CHAIN_BITS) - 1;
/// In milliseconds. Fine enough for an interval of a second; 32 bits of it are thirteen years.
const TICK: u128 = 100;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::*;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn a_proof_holds_until_it_ends_and_can_be_continued() {
        let coherence = Coherence::new();
        let mark = coherence.mark(0);
        assert_eq!(mark.validity(Instant::now()), Validity::Plain);
        coherence.prove(Instant::now() + seconds(15));
        assert_eq!(mark.validity(Instant::now()), Validity::Coherent);
        advance(seconds(15)).await;
        assert_eq!(mark.validity(Instant::now()), Validity::Plain);
        coherence.prove(Instant::now() + seconds(15));
        assert_eq!(mark.validity(Instant::now()), Validity::Coherent);
    }

    #[tokio::test(start_paused = true)]
    async fn another_chain_says_nothing_of_what_was_stored_before() {
        let coherence = Coherence::new();
        let before = coherence.mark(0);
        coherence.restart();
        let after = coherence.mark(0);
        coherence.prove(Instant::now() + seconds(15));
        assert_eq!(before.validity(Instant::now()), Validity::Plain);
        assert_eq!(after.validity(Instant::now()), Validity::Coherent);
        assert_eq!(before.renewed().validity(Instant::now()), Validity::Coherent);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_proved_lives_for_ttl_and_is_dropped_with_the_rest() {
        let coherence = Coherence::new();
        let mark = coherence.mark(0);
        coherence.prove(Instant::now() + seconds(15));
        let unproved = mark.unproved();
        assert_eq!(unproved.validity(Instant::now()), Validity::Plain);
        coherence.drop_rule(0);
        assert_eq!(unproved.validity(Instant::now()), Validity::Dropped);
    }

    #[tokio::test(start_paused = true)]
    async fn a_drop_is_for_one_rule_and_what_is_stored_under_it_now() {
        let coherence = Coherence::new();
        let (dropped, kept) = (coherence.mark(0), coherence.mark(1));
        coherence.drop_rule(0);
        let now = Instant::now();
        assert!(dropped.is_dropped() && !kept.is_dropped());
        assert_eq!(dropped.validity(now), Validity::Dropped);
        assert_eq!(dropped.renewed().validity(now), Validity::Plain);
        coherence.drop_all();
        assert!(kept.is_dropped());
    }

    #[tokio::test(start_paused = true)]
    async fn counters_that_are_full_begin_again() {
        let coherence = Coherence::new();
        for _ in 0..=CHAINS {
            coherence.restart();
        }
        let mark = coherence.mark(0);
        assert!(!mark.is_dropped(), "a full counter of chains is no drop");
        for _ in 0..1 << 20 {
            coherence.drop_rule(0);
            assert_eq!(coherence.word(0).chain, 0);
        }
        assert_eq!(coherence.mark(0).number(), mark.number());
    }
}
