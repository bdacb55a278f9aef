//! The calls of each profile, with a bound to the number of series.
//!
//! A template may have thousands of members, and each label value is a series that Prometheus keeps. So a profile with
//! a table of its own has series of its own, and so have the busiest members; all other members share one,
//! [`OTHER`]. A member counts in one of the two at a time, so no counter ever falls: a member that gets series of its
//! own begins at zero, and what it counted before stays in [`OTHER`].

use std::{
    cmp::Reverse,
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
};

use crate::{audit::Record, domain::ProfileName};

/// The label value of all members without series of their own.
pub const OTHER: &str = "other";

/// The series of all profiles, and which members have their own.
#[derive(Debug)]
pub struct ProfileMetrics {
    pub(super) calls: Family<ProfileLabels, Counter>,
    pub(super) errors: Family<ProfileLabels, Counter>,
    other: Arc<ProfileSeries>,
    most: usize,
    named: Mutex<Vec<Arc<ProfileCalls>>>,
}

/// What the calls of one profile are counted in. Counting takes no lock and allocates nothing.
#[derive(Debug)]
pub struct ProfileCalls {
    name: ProfileName,
    calls: AtomicU64,
    errors: AtomicU64,
    series: ArcSwap<ProfileSeries>,
    /// `calls` when the busiest were chosen last.
    judged: AtomicU64,
    /// The calls of about the last hour, in units of 1/[`DECAY`]; later ones weigh more.
    activity: AtomicU64,
}

#[derive(Debug)]
struct ProfileSeries {
    calls: Counter,
    errors: Counter,
}

impl ProfileMetrics {
    /// With series of their own for so many members.
    pub(super) fn new(most: usize) -> Self {
        let (calls, errors) = (Family::default(), Family::default());
        let other = Arc::new(ProfileSeries::of(&calls, &errors, OTHER));
        Self { calls, errors, other, most, named: Mutex::default() }
    }

    /// What the calls of a profile with a table of its own are counted in. It counts on after a reload.
    pub fn of_table(&self, name: &ProfileName) -> Arc<ProfileCalls> {
        self.named.lock().retain(|member| member.name != *name);
        ProfileCalls::new(name, self.series(name))
    }

    /// What the calls of a member of a template are counted in: series of its own, if there is room.
    pub fn of_member(&self, name: &ProfileName) -> Arc<ProfileCalls> {
        let mut named = self.named.lock();
        let known = named.iter().position(|member| member.name == *name);
        if let Some(known) = known {
            named.swap_remove(known);
        }
        if named.len() >= self.most || name.as_str() == OTHER {
            return ProfileCalls::new(name, Arc::clone(&self.other));
        }
        let calls = ProfileCalls::new(name, self.series(name));
        named.push(Arc::clone(&calls));
        calls
    }

    /// How many members may have series of their own.
    pub fn most(&self) -> usize {
        self.most
    }

    /// The members that have series of their own.
    pub fn named(&self) -> BTreeSet<ProfileName> {
        self.named.lock().iter().map(|member| member.name.clone()).collect()
    }

    /// Chooses the members that have series of their own, from all that are loaded: the busiest ones. A member takes
    /// the place of another only with twice its calls, so that few series come and go. To be called once a minute.
    pub fn choose<'a>(&self, loaded: impl Iterator<Item = &'a Arc<ProfileCalls>>) {
        let mut named = self.named.lock();
        let mut loaded: Vec<_> = loaded.map(|member| (member.judge(), member)).collect();
        loaded.sort_unstable_by_key(|(activity, _)| Reverse(*activity));
        named.retain(|known| {
            let is_loaded = loaded.iter().any(|(_, member)| Arc::ptr_eq(known, member));
            if !is_loaded {
                self.retire(known);
            }
            is_loaded
        });
        for (activity, member) in loaded {
            if activity == 0
                || member.name.as_str() == OTHER
                || named.iter().any(|known| Arc::ptr_eq(known, member))
            {
                continue;
            }
            if named.len() >= self.most {
                let places = named.iter().enumerate();
                let least = places.min_by_key(|(_, known)| known.activity.load(Ordering::Relaxed));
                let Some((place, least)) = least else { break };
                if activity < least.activity.load(Ordering::Relaxed).saturating_mul(2) {
                    break;
                }
                self.retire(&named.swap_remove(place));
            }
            member.series.store(self.series(&member.name));
            named.push(Arc::clone(member));
        }
    }

    fn series(&self, name: &ProfileName) -> Arc<ProfileSeries> {
        Arc::new(ProfileSeries::of(&self.calls, &self.errors, name.as_str()))
    }

    /// A member counts in [`OTHER`] from now on, and its own series end.
    fn retire(&self, member: &ProfileCalls) {
        member.series.store(Arc::clone(&self.other));
        let labels = ProfileLabels { profile: member.name.as_str().into() };
        self.calls.remove(&labels);
        self.errors.remove(&labels);
    }
}

impl ProfileCalls {
    fn new(name: &ProfileName, series: Arc<ProfileSeries>) -> Arc<Self> {
        Arc::new(Self {
            name: name.clone(),
            calls: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            series: ArcSwap::new(series),
            judged: AtomicU64::new(0),
            activity: AtomicU64::new(0),
        })
    }

    /// Counts a call that has ended.
    pub fn count(&self, record: &Record) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        let series = self.series.load();
        series.calls.inc();
        if record.is_error() {
            self.errors.fetch_add(1, Ordering::Relaxed);
            series.errors.inc();
        }
    }

    /// The calls since the profile was loaded.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    /// Those among them that failed.
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::Relaxed)
    }

    /// Weighs the calls since the last time. The weight of a call halves in about three quarters of an hour.
    fn judge(&self) -> u64 {
        let calls = self.calls();
        let before = self.judged.swap(calls, Ordering::Relaxed);
        let activity = self.activity.load(Ordering::Relaxed);
        let kept = activity.saturating_sub(activity.div_ceil(DECAY));
        let activity = kept.saturating_add(calls.saturating_sub(before).saturating_mul(DECAY));
        self.activity.store(activity, Ordering::Relaxed);
        activity
    }
}

impl ProfileSeries {
    fn of(
        calls: &Family<ProfileLabels, Counter>,
        errors: &Family<ProfileLabels, Counter>,
        name: &str,
    ) -> Self {
        let labels = ProfileLabels { profile: name.into() };
        Self {
            calls: calls.get_or_create_owned(&labels),
            errors: errors.get_or_create_owned(&labels),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ProfileLabels {
    profile: Arc<str>,
}

/// The part of its weight that a call loses in a minute, as one over this.
const DECAY: u64 = 64;

#[cfg(test)]
mod tests {
    use http::StatusCode;

    use super::*;
    use crate::{
        audit::{Outcome, testing::record},
        telemetry::Metrics,
    };

    fn call(calls: &ProfileCalls, times: u64) {
        (0..times).for_each(|_| calls.count(&record()));
    }

    /// The calls of each series, by label.
    fn told(metrics: &Metrics) -> Vec<(String, u64)> {
        let text = metrics.encode().unwrap();
        let lines = text
            .lines()
            .filter_map(|line| line.strip_prefix("pigello_gateway_profile_calls_total{profile=\""));
        let mut told: Vec<_> = lines
            .map(|line| {
                let (name, count) = line.split_once("\"} ").unwrap();
                (name.to_owned(), count.parse().unwrap())
            })
            .collect();
        told.sort();
        told
    }

    fn expect(metrics: &Metrics, series: &[(&str, u64)]) {
        let series: Vec<_> = series.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect();
        assert_eq!(told(metrics), series);
    }

    #[test]
    fn members_without_room_are_counted_together_and_the_busiest_get_their_own() {
        let metrics = Metrics::new(2);
        let profiles = metrics.profiles();
        let members: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| profiles.of_member(&ProfileName::new(name)))
            .into_iter()
            .collect();
        for (member, calls) in members.iter().zip([10, 10, 5, 19]) {
            call(member, calls);
        }
        expect(&metrics, &[("a", 10), ("b", 10), ("other", 24)]);
        profiles.choose(members.iter());
        expect(&metrics, &[("a", 10), ("b", 10), ("other", 24)]);
        // Twice the calls of the least busy one, which has no more than one of the two.
        call(&members[3], 2);
        profiles.choose(members.iter());
        let series = told(&metrics);
        assert_eq!(series.len(), 3, "{series:?}");
        assert!(series.contains(&("d".to_owned(), 0)), "what it counted before stays: {series:?}");
        assert!(series.contains(&("other".to_owned(), 26)), "{series:?}");
        call(&members[3], 3);
        assert!(told(&metrics).contains(&("d".to_owned(), 3)));
        assert_eq!((members[3].calls(), members[3].errors()), (24, 0));
    }

    #[test]
    fn no_counter_falls_and_no_call_is_lost_whoever_is_named() {
        let metrics = Metrics::new(3);
        let profiles = metrics.profiles();
        let members: Vec<_> =
            (0..50).map(|n| profiles.of_member(&ProfileName::new(format!("m-{n}")))).collect();
        let mut other = 0;
        for round in 0..200_u64 {
            for (at, member) in members.iter().enumerate() {
                call(member, (at as u64 * 7 + round * 13) % 11);
            }
            profiles.choose(members.iter());
            let now = told(&metrics).into_iter().find(|(name, _)| name == OTHER).unwrap().1;
            assert!(now >= other);
            other = now;
            assert!(told(&metrics).len() <= 4 && profiles.named().len() <= 3);
        }
    }

    #[test]
    fn a_member_that_is_unloaded_makes_room_and_one_that_comes_back_counts_on() {
        let metrics = Metrics::new(1);
        let profiles = metrics.profiles();
        let (a, b) = (ProfileName::new("a"), ProfileName::new("b"));
        let first = profiles.of_member(&a);
        call(&first, 1);
        // Loaded anew before anybody chose.
        let again = profiles.of_member(&a);
        call(&again, 1);
        expect(&metrics, &[("a", 2), ("other", 0)]);
        let other = profiles.of_member(&b);
        call(&other, 1);
        profiles.choose([&other].into_iter());
        expect(&metrics, &[("b", 0), ("other", 1)]);
        // A call that was under way.
        call(&again, 1);
        expect(&metrics, &[("b", 0), ("other", 2)]);
    }

    #[test]
    fn a_profile_with_a_table_always_has_its_own_and_no_name_is_mixed_up() {
        let metrics = Metrics::new(0);
        let profiles = metrics.profiles();
        let table = profiles.of_table(&ProfileName::new("production"));
        call(&table, 2);
        let failed = Record { outcome: Outcome::Failed, ..record() };
        let broken = Record { status: Some(StatusCode::BAD_GATEWAY), ..record() };
        table.count(&failed);
        table.count(&broken);
        // As after a reload.
        call(&profiles.of_table(&ProfileName::new("production")), 1);
        let member = profiles.of_member(&ProfileName::new(OTHER));
        call(&member, 1);
        profiles.choose([&member].into_iter());
        expect(&metrics, &[("other", 1), ("production", 5)]);
        let text = metrics.encode().unwrap();
        assert!(
            text.contains("pigello_gateway_profile_errors_total{profile=\"production\"} 2"),
            "{text}"
        );
        assert_eq!(table.errors(), 2);
    }
}
