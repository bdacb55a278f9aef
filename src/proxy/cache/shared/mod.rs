//! What the members of a fleet share: a response that one of them has fetched answers the others.
//!
//! ```text
//! miss ─ look ─┬─ new enough ───────────────────────────────────▶ answer, and stored here
//!              └─ none, or too old ─ lease ─┬─ taken ──────────▶ fetch, and store for the others
//!                        ▲                  └─ another's ─ wait, and look again, for `fill_wait`
//!                        └─ if what the other one fetches has become too old ──┘
//! ```
//!
//! The law: what this gives is never older than what this member itself could have in memory. Its age counts from the
//! beginning of the other member's fetch, by the store's clock; this member's own rule says how long it is fresh; and
//! [`Horizon`](crate::fleet::Horizon) refuses what has changed since. It may live for `coherent_ttl` only if its fetch began after this
//! member's own proof did.
//!
//! While the fleet is not heard, the key is not there, or the store does not answer in time, calls go on without.

mod content;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, header};
use prometheus_client::metrics::histogram::Histogram;
use tokio::time::{Instant, sleep};

use self::content::{Content, SharedResponse};
use super::{
    clock::WallClock,
    policy::{
        freshness::ResponseTimes,
        storable,
        vary::{Variant, VaryFields, normal},
    },
    settings::{Rule, SharedSettings},
    shared_stats::{Counts, SharedResult, SharedStats},
    storage::{
        epochs::{Epochs, Subject},
        key::CacheKey,
        response::{Provenance, StoredResponse},
    },
};
use crate::{
    fleet::{EntryPlace, EntrySubject, Member, Position},
    proxy::call::Head,
};

/// The responses of all members.
pub(super) struct SharedTier {
    member: Arc<Member>,
    settings: SharedSettings,
    /// The chain of this member's trail.
    chain: Option<Arc<str>>,
    counts: Counts,
}

/// A response that is about to be fetched.
pub(super) struct Wanted<'a> {
    pub(super) head: &'a Head,
    pub(super) rule: &'a Rule,
    pub(super) key: &'a CacheKey,
    pub(super) provenance: &'a Provenance,
    /// What it is about.
    pub(super) subject: Subject<'a>,
    pub(super) epochs: &'a Epochs,
    pub(super) clock: &'a dyn WallClock,
}

/// What one fetch has to do with the other members.
pub(super) struct Part {
    /// Where the response is: first the place that this member stores it in.
    places: Vec<EntryPlace>,
    /// What it is about.
    slots: [u32; 5],
    /// What the proof of its profile's notices says nothing of.
    unproved: u32,
}

/// Has a response stored for the others, once it is here.
pub(super) struct Fill {
    place: EntryPlace,
    /// Where the stream was when the fetch began.
    asof: Position,
    /// What it is about.
    slots: [u32; 5],
    began: Instant,
}

impl Fill {
    /// Whether it is of use to others. What is not would take the place of what another one has fetched meanwhile.
    fn is_of_use(&self, epochs: &Epochs) -> bool {
        epochs.is_untouched(self.slots, self.asof)
    }
}

/// What the others have.
pub(super) enum Look {
    /// A response, stored as if it had been fetched here then.
    Found(Box<StoredResponse>),
    /// Nothing that can be used: this call fetches, for the others as well if there is a [`Fill`].
    Fetch(Option<Fill>),
}

/// One look.
enum Once {
    Found(Box<StoredResponse>),
    /// Another member has found that it cannot be shared.
    NotShared,
    Nothing,
    /// The store cannot be asked.
    Away,
}

impl Part {
    /// The least `asof` that can be used now.
    fn least(&self, wanted: &Wanted<'_>) -> Option<Position> {
        wanted.epochs.horizon()?.least(self.slots)
    }
}

impl SharedTier {
    pub(super) fn new(
        member: Arc<Member>,
        settings: &SharedSettings,
        chain: Option<Arc<str>>,
    ) -> Self {
        Self { member, settings: *settings, chain, counts: Counts::default() }
    }

    /// What was found so far.
    pub(super) fn stats(&self) -> SharedStats {
        self.counts.stats()
    }

    /// How long looks took.
    pub(super) fn seconds(&self) -> &Histogram {
        self.counts.seconds()
    }

    /// The part of a fetch; `None` if its response is not shared, or cannot be now.
    pub(super) fn part(&self, wanted: &Wanted<'_>) -> Option<Part> {
        let Wanted { head, rule, key, provenance, subject: about, epochs, .. } = wanted;
        let profile = &head.profile;
        let partition = &profile.partition;
        // An own call revalidates what is stale here. Its record is about that.
        if !rule.shared || head.context.is_own() || !partition.coherence().is_followed() {
            return None;
        }
        self.member.position()?;
        let keys = profile.shared_keys.as_ref()?.keys(&profile.manager, key.generation());
        let coding = normal(&head.headers, &header::ACCEPT_ENCODING);
        let origin = partition.origin().to_string();
        let subject = EntrySubject {
            origin: &origin,
            profile: partition.profile().as_str(),
            target: key.target(),
            coding: coding.as_deref(),
        };
        let place = |key: &Arc<_>| EntryPlace::of(key, self.member.name(), &subject);
        let places: Vec<_> = keys.iter().map(place).collect::<Option<_>>()?;
        (!places.is_empty()).then(|| Part {
            places,
            slots: epochs.slots(about, provenance.mark.rule()),
            unproved: epochs.unproved_slot(partition.profile()),
        })
    }

    /// Looks for the response, and waits a moment if another member fetches it.
    pub(super) async fn look(&self, part: Part, wanted: &Wanted<'_>) -> Look {
        let began = Instant::now();
        let (result, look) = self.look_and_wait(part, wanted).await;
        self.counts.count(result, began.elapsed());
        look
    }

    async fn look_and_wait(&self, part: Part, wanted: &Wanted<'_>) -> (SharedResult, Look) {
        let nothing = |part, result| (result, Look::Fetch(self.fill(part)));
        let mut result = SharedResult::Miss;
        match self.look_once(&part, wanted, &mut result).await {
            Once::Found(stored) => return (SharedResult::Hit, Look::Found(stored)),
            Once::Away => return (SharedResult::Away, Look::Fetch(None)),
            Once::NotShared => return nothing(part, SharedResult::NotShared),
            Once::Nothing => {}
        }
        let end = Instant::now() + *self.settings.fill_wait;
        let last = LOOKS.last().copied().into_iter().cycle();
        let mut asked_for = None;
        for pause in LOOKS.into_iter().chain(last) {
            let Some(((least, asof), place)) =
                part.least(wanted).zip(self.member.position()).zip(part.places.first())
            else {
                // Nothing can be used just now, so nobody is waited for.
                return nothing(part, result);
            };
            // What another one fetches may have become too old meanwhile.
            if asked_for.is_none_or(|asked| asked < least) {
                asked_for = Some(least);
                match self.member.tier().lease(place, least, asof).await {
                    Ok(true) => return nothing(part, result),
                    Ok(false) => {}
                    Err(_) => return (SharedResult::Away, Look::Fetch(None)),
                }
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            sleep(pause.mul_f64(0.75 + 0.5 * fastrand::f64()).min(left)).await;
            match self.look_once(&part, wanted, &mut result).await {
                Once::Found(stored) => return (SharedResult::Waited, Look::Found(stored)),
                Once::Away => return (SharedResult::Away, Look::Fetch(None)),
                Once::NotShared => return nothing(part, SharedResult::NotShared),
                Once::Nothing => {}
            }
        }
        nothing(part, result)
    }

    /// From here on the fetch begins.
    fn fill(&self, part: Part) -> Option<Fill> {
        let asof = self.member.position()?;
        let Part { places, slots, .. } = part;
        let place = places.into_iter().next()?;
        Some(Fill { place, asof, slots, began: Instant::now() })
    }

    async fn look_once(&self, part: &Part, wanted: &Wanted<'_>, result: &mut SharedResult) -> Once {
        let found = match self.member.tier().find(&part.places).await {
            Ok(Some(found)) => found,
            Ok(None) => return Once::Nothing,
            Err(_) => return Once::Away,
        };
        let opened = part.places.get(found.place).and_then(|place| place.open(found.entry));
        let Some((opened, content)) =
            opened.and_then(|opened| Content::read(&opened.content).map(|it| (opened, it)))
        else {
            *result = SharedResult::Unreadable;
            // Its key may be one that this member has yet to read.
            if let Some(keys) = &wanted.head.profile.shared_keys {
                keys.ring().want();
            }
            return Once::Nothing;
        };
        // Judged after the answer came, and while everything is heard.
        let is_untouched = wanted.epochs.is_untouched(part.slots, opened.asof);
        if !is_untouched || self.member.position().is_none() {
            *result = SharedResult::Outdated;
            return Once::Nothing;
        }
        let Content::Response(response) = content else { return Once::NotShared };
        let left = response.ends_in_store.checked_sub(found.at).map(Duration::from_millis);
        let Some(age) = left.and_then(|left| response.life.checked_sub(left)) else {
            *result = SharedResult::Outdated;
            return Once::Nothing;
        };
        let is_proved = wanted.epochs.is_untouched([part.unproved], opened.asof);
        let Some(stored) = stored(wanted, *response, age, is_proved) else {
            *result = SharedResult::Outdated;
            return Once::Nothing;
        };
        Once::Found(Box::new(stored))
    }

    /// Stores a response for the others, some time later.
    pub(super) fn keep(&self, fill: Fill, stored: &Arc<StoredResponse>, epochs: &Epochs) {
        let Some(life) = self.life(&fill, stored) else { return self.mark(fill, epochs) };
        if !fill.is_of_use(epochs) {
            return;
        }
        let (stored, chain) = (Arc::clone(stored), self.chain.clone());
        let Fill { place, asof, began, .. } = fill;
        let size = stored.body.len();
        let name = place.name().to_owned();
        let seal =
            move |end| place.seal(asof, &Content::write(&stored, chain.as_deref(), life, end));
        self.counts.kept(self.member.tier().keep(name, size, began + life, seal));
    }

    /// Tells the others that they need not wait for this one.
    pub(super) fn mark(&self, fill: Fill, epochs: &Epochs) {
        if !fill.is_of_use(epochs) {
            return;
        }
        let Fill { place, asof, .. } = fill;
        let name = place.name().to_owned();
        let seal = move |_| place.seal(asof, &Content::not_shared());
        self.member.tier().keep(name, 0, Instant::now() + MARKED_FOR, seal);
    }

    /// How long a response is of use to others, from the beginning of its fetch; `None` if it is not.
    fn life(&self, fill: &Fill, stored: &StoredResponse) -> Option<Duration> {
        let (now, policy) = (Instant::now(), &stored.policy);
        let coherent = policy.coherent.map(|lifetime| policy.freshness.with_lifetime(lifetime));
        let left = [Some(policy.freshness), coherent].into_iter().flatten();
        let left = left.filter_map(|freshness| freshness.left(now)).max()?;
        let is_shared = !policy.no_cache
            && stored.body.len() <= self.settings.max_entry_bytes.in_memory()
            && stored.variant.varies_by_coding_alone();
        let life = left.saturating_add(now.saturating_duration_since(fill.began));
        is_shared.then(|| life.min(LONGEST))
    }
}

/// A response that another member fetched, as if it had come here then.
fn stored(
    wanted: &Wanted<'_>,
    response: SharedResponse,
    age: Duration,
    is_proved: bool,
) -> Option<StoredResponse> {
    let SharedResponse { status, headers, body, request_id, chain, ends, .. } = response;
    let wall = wanted.clock.now();
    // The store may have kept it for longer than it was to. Clocks of members may differ by less than that.
    if wall.duration_since(ends).is_ok_and(|late| late > CLOCKS_DIFFER_BY) {
        return None;
    }
    let fetched = Instant::now().checked_sub(age)?;
    let times = ResponseTimes { request: fetched, response: fetched, wall: wall.checked_sub(age)? };
    let policy = storable::decide(status, &headers, wanted.rule, times).ok()?;
    let vary = VaryFields::read(&headers)?;
    let variant = Variant::new(vary, &wanted.head.headers, &headers);
    let mark = &wanted.provenance.mark;
    let mark = if is_proved { mark.clone() } else { mark.unproved() };
    let provenance = Provenance { request_id, chain, mark, ..wanted.provenance.clone() };
    Some(StoredResponse::new(status, &headers, body, policy, variant, provenance))
}

/// Whether what came from upstream is this answer to this request, and nobody else's cache has kept it.
pub(super) fn is_first_hand(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::AGE)
}

impl fmt::Debug for SharedTier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedTier").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The pauses before a call looks again, about.
const LOOKS: [Duration; 4] = [
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(200),
];
/// How long others do not wait for a response that cannot be shared: as long as calls of one member.
const MARKED_FOR: Duration = Duration::from_secs(5);
/// No entry lives longer. A member that comes reads back as far.
const LONGEST: Duration = Duration::from_hours(1);
/// How far the clocks of members may be apart.
const CLOCKS_DIFFER_BY: Duration = Duration::from_mins(1);
