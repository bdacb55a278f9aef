//! The table of transitions, as stories: each event, and the state of the set after it.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;
use crate::{
    credentials::{PartialSet, ValueName},
    secret::SecretText,
};

const SECOND: Duration = Duration::from_secs(1);

fn set(version: &str) -> CredentialSet {
    let mut values = PartialSet::new();
    for name in ValueName::ALL {
        values.insert(name, SecretText::parse(format!("{version}-{name}").as_bytes()).unwrap());
    }
    CredentialSet::new(SetVersion::new(version), values).unwrap()
}

fn limits() -> RefreshSettings {
    RefreshSettings { max_stale: Some(100 * SECOND), ..RefreshSettings::default() }
}

/// A set and its events.
struct Story {
    rotation: RotationState,
    start: Instant,
    now: Instant,
    /// Every lease there ever was, by version.
    leases: Vec<(String, u64)>,
}

impl Story {
    fn new(limits: RefreshSettings) -> Self {
        let now = Instant::now();
        Self { rotation: RotationState::new(limits), start: now, now, leases: Vec::new() }
    }

    fn generation(&self, version: &str) -> u64 {
        self.leases.iter().rfind(|(known, _)| known == version).unwrap().1
    }

    /// One line of a story: an event, and the state after it.
    fn tell(&mut self, event: &str) -> String {
        let (word, rest) = event.split_once(' ').unwrap_or((event, ""));
        let name = |lease: &Arc<Lease>| lease.version().to_string();
        let mut said = match word {
            "wait" => {
                self.now += rest.parse::<u32>().unwrap() * SECOND;
                self.rotation.adopt_unheard(self.now);
                self.rotation.tick(self.now);
                String::new()
            }
            "canary" => {
                self.rotation.try_out();
                String::new()
            }
            "vouched" => {
                self.rotation.vouched();
                String::new()
            }
            "rejected" => {
                self.rotation.rejected_elsewhere();
                String::new()
            }
            "load" => {
                self.rotation.loaded(set(rest), self.now);
                let (current, _) = self.rotation.versions();
                self.leases.push((rest.to_owned(), current.unwrap().generation()));
                String::new()
            }
            "away" => {
                self.rotation.failed(SourceFailure::Unavailable, self.now);
                String::new()
            }
            "withdrawn" => {
                self.rotation.failed(SourceFailure::Withdrawn, self.now);
                String::new()
            }
            "accept" => {
                let is_news = self.rotation.accepted(self.generation(rest), self.now);
                if is_news && self.rotation.limits.adoption != Adoption::AtOnce {
                    "tell; ".to_owned()
                } else {
                    String::new()
                }
            }
            "vain" => {
                self.rotation.refresh_found_nothing(self.now);
                match self.rotation.unrefused() {
                    Some(lease) => format!("try {}; ", name(lease)),
                    None => "give up; ".to_owned(),
                }
            }
            "refuse" => match self.rotation.refused(self.generation(rest), self.now) {
                AfterRefusal::Try(lease) => format!("try {}; ", name(&lease)),
                AfterRefusal::Refresh => "refresh; ".to_owned(),
                AfterRefusal::GiveUp => "give up; ".to_owned(),
            },
            other => panic!("{other}"),
        };
        said += self.rotation.state().label();
        match self.rotation.select() {
            Selection::Use { lease, trial, .. } => {
                write!(said, ", uses {}", name(&lease)).unwrap();
                if let Some(trial) = trial {
                    write!(said, ", tries {}", name(&trial)).unwrap();
                }
            }
            Selection::Nothing { reason, trial } => {
                write!(said, ", nothing ({})", format_args!("{reason:?}")).unwrap();
                if let Some(trial) = trial {
                    write!(said, ", tries {}", name(&trial)).unwrap();
                }
            }
        }
        said
    }
}

#[track_caller]
fn story(lines: &[(&str, &str)]) {
    story_with(limits(), lines);
}

/// A story of a gateway that waits ten minutes for proof.
#[track_caller]
fn proven_story(lines: &[(&str, &str)]) {
    let adoption = Adoption::Proven { canary: 0.01, patience: 600 * SECOND };
    story_with(RefreshSettings { adoption, ..limits() }, lines);
}

#[track_caller]
fn story_with(limits: RefreshSettings, lines: &[(&str, &str)]) {
    let mut story = Story::new(limits);
    for (number, (event, expected)) in lines.iter().enumerate() {
        assert_eq!(&story.tell(event), expected, "line {number}: {event}");
    }
}

#[test]
fn it_starts_empty_and_a_failure_changes_nothing() {
    story(&[
        ("away", "empty, nothing (NotYet)"),
        ("withdrawn", "empty, nothing (NotYet)"),
        ("wait 1000", "empty, nothing (NotYet)"),
        ("load 1", "fresh, uses 1"),
        ("load 1", "fresh, uses 1"),
    ]);
}

#[test]
fn a_rotation_with_an_overlap_is_proven_then_forgets_the_old_version() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 2"),
        ("wait 3600", "probation, uses 2"),
        ("accept 2", "probation, uses 2"),
        ("wait 599", "probation, uses 2"),
        ("wait 1", "fresh, uses 2"),
    ]);
}

#[test]
fn a_vault_that_is_written_first_goes_on_with_the_previous_version_until_the_swap() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 2"),
        ("refuse 2", "try 1; probation, uses 1, tries 2"),
        ("accept 1", "probation, uses 1, tries 2"),
        ("refuse 2", "try 1; probation, uses 1, tries 2"),
        // The swap: the old one worked until now, so the new one may by now.
        ("refuse 1", "try 2; probation, uses 2"),
        ("accept 2", "probation, uses 2"),
        // A late answer from before the swap changes nothing.
        ("accept 1", "probation, uses 2"),
        ("wait 600", "fresh, uses 2"),
    ]);
}

#[test]
fn two_versions_that_are_both_refused_end_in_a_refresh() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 2"),
        ("refuse 2", "try 1; probation, uses 1, tries 2"),
        // The old one did not take over: it was refused as well.
        ("refuse 1", "refresh; probation, uses 2"),
    ]);
}

#[test]
fn an_upstream_that_is_swapped_first_has_the_source_read_for_the_new_version() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("refuse 1", "refresh; fresh, uses 1"),
        ("load 2", "probation, uses 2"),
        // The other calls that were refused meanwhile.
        ("refuse 1", "try 2; probation, uses 2"),
        ("accept 2", "probation, uses 2"),
    ]);
}

#[test]
fn a_set_that_is_refused_for_good_is_rejected_then_closed_and_tried_now_and_then() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("refuse 1", "refresh; fresh, uses 1"),
        ("vain", "give up; rejected, uses 1"),
        ("refuse 1", "give up; rejected, uses 1"),
        ("load 1", "rejected, uses 1"),
        ("wait 299", "rejected, uses 1"),
        ("wait 1", "expired, nothing (Rejected), tries 1"),
        ("refuse 1", "give up; expired, nothing (Rejected), tries 1"),
        ("accept 1", "fresh, uses 1"),
        ("refuse 1", "refresh; fresh, uses 1"),
        ("vain", "give up; rejected, uses 1"),
        ("load 2", "probation, uses 2"),
        ("accept 2", "probation, uses 2"),
    ]);
}

#[test]
fn a_proven_version_is_not_given_up_for_the_one_before_until_the_refresh_is_over() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 2"),
        ("accept 2", "probation, uses 2"),
        ("refuse 2", "refresh; probation, uses 2"),
        // The operator went back at Pigello alone.
        ("vain", "try 1; probation, uses 2"),
        ("accept 1", "probation, uses 1, tries 2"),
        ("wait 600", "fresh, uses 2"),
    ]);
}

#[test]
fn an_upstream_that_flickers_does_not_have_the_source_read_all_the_time() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("refuse 1", "refresh; fresh, uses 1"),
        ("vain", "give up; rejected, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("refuse 1", "give up; fresh, uses 1"),
        ("wait 1", "fresh, uses 1"),
        ("refuse 1", "refresh; fresh, uses 1"),
    ]);
}

#[test]
fn an_outage_costs_nothing_until_max_stale() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("wait 10", "fresh, uses 1"),
        ("away", "stale, uses 1"),
        ("wait 89", "stale, uses 1"),
        ("away", "stale, uses 1"),
        ("wait 1", "expired, nothing (Stale)"),
        ("away", "expired, nothing (Stale)"),
        ("load 1", "fresh, uses 1"),
    ]);
    let mut story = Story::new(RefreshSettings { max_stale: None, ..limits() });
    for event in ["load 1", "away", "wait 1000000"] {
        story.tell(event);
    }
    assert_eq!(story.tell("away"), "stale, uses 1");
}

#[test]
fn a_withdrawal_has_its_own_grace_and_can_be_taken_back() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("withdrawn", "stale, uses 1"),
        ("wait 59", "stale, uses 1"),
        ("load 1", "fresh, uses 1"),
        ("withdrawn", "stale, uses 1"),
        ("withdrawn", "stale, uses 1"),
        ("wait 30", "stale, uses 1"),
        ("away", "stale, uses 1"),
        ("wait 30", "expired, nothing (Withdrawn)"),
        ("load 1", "fresh, uses 1"),
    ]);
}

#[test]
fn of_two_versions_that_nobody_used_the_one_that_worked_is_kept() {
    story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 2"),
        ("load 3", "probation, uses 3"),
        ("refuse 3", "try 1; probation, uses 1, tries 3"),
        ("refuse 2", "try 1; probation, uses 1, tries 3"),
    ]);
}

#[test]
fn a_new_version_waits_until_another_gateway_vouches_for_it() {
    proven_story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 1"),
        ("wait 599", "probation, uses 1"),
        ("accept 1", "probation, uses 1"),
        ("vouched", "probation, uses 2"),
        // It is no news any more.
        ("accept 2", "probation, uses 2"),
        ("load 3", "probation, uses 2"),
        ("vouched", "probation, uses 3"),
        // No call has tried it here. The next one waits beside it all the same.
        ("load 4", "probation, uses 3"),
    ]);
}

#[test]
fn a_canary_tries_it_and_goes_back_if_pigello_refuses_it() {
    proven_story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 1"),
        ("canary", "probation, uses 1, tries 2"),
        ("refuse 2", "try 1; probation, uses 1, tries 2"),
        // What it has seen itself counts more.
        ("vouched", "probation, uses 1, tries 2"),
        ("wait 600", "probation, uses 1, tries 2"),
        ("load 3", "probation, uses 1"),
        ("canary", "probation, uses 1, tries 3"),
        ("accept 3", "tell; probation, uses 3"),
        ("accept 3", "probation, uses 3"),
    ]);
}

#[test]
fn nobody_waits_for_longer_than_its_patience_unless_it_was_refused() {
    proven_story(&[
        ("load 1", "fresh, uses 1"),
        ("load 2", "probation, uses 1"),
        ("wait 600", "probation, uses 2"),
        ("load 3", "probation, uses 1"),
        ("rejected", "probation, uses 1"),
        ("wait 3600", "probation, uses 1"),
        ("vouched", "probation, uses 3"),
        // It takes away nothing that is in use.
        ("rejected", "probation, uses 3"),
    ]);
}

#[test]
fn the_wait_is_over_when_pigello_refuses_the_version_in_use() {
    proven_story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 1"),
        ("rejected", "probation, uses 1"),
        ("refuse 1", "try 2; probation, uses 2"),
        ("accept 2", "tell; probation, uses 2"),
    ]);
    // Of two that are refused it uses the one that has worked.
    proven_story(&[
        ("load 1", "fresh, uses 1"),
        ("accept 1", "fresh, uses 1"),
        ("load 2", "probation, uses 1"),
        ("refuse 1", "try 2; probation, uses 2"),
        ("refuse 2", "refresh; probation, uses 1, tries 2"),
        ("accept 1", "probation, uses 1, tries 2"),
    ]);
}

#[test]
fn without_a_version_that_works_nothing_waits() {
    proven_story(&[
        ("load 1", "fresh, uses 1"),
        ("refuse 1", "refresh; fresh, uses 1"),
        ("load 2", "probation, uses 2"),
        ("accept 2", "tell; probation, uses 2"),
        ("refuse 2", "refresh; probation, uses 2"),
        ("vain", "give up; rejected, uses 2"),
        ("load 3", "probation, uses 3"),
    ]);
}

proptest! {
    /// Whatever happens: while something is held something whole is picked, a deadline that has
    /// passed leaves no deadline in the past, and the newest version is never lost.
    #[test]
    fn no_order_of_events_breaks_it(events in prop::collection::vec((0_u8..11, 0_usize..4), 0..60), waits: bool) {
        let patience = 200 * SECOND;
        let adoption =
            if waits { Adoption::Proven { canary: 0.5, patience } } else { Adoption::AtOnce };
        let mut story = Story::new(RefreshSettings { adoption, ..limits() });
        let mut loads = 0;
        for (event, which) in events {
            let versions: Vec<_> = story.leases.iter().map(|(v, _)| v.clone()).collect();
            let version = versions.iter().rev().nth(which).cloned();
            match (event, version) {
                (0, _) => { loads += 1; story.tell(&format!("load {loads}")); }
                (1, _) => { story.tell("away"); }
                (2, _) => { story.tell("withdrawn"); }
                (3, _) => { story.tell(&format!("wait {}", [1, 30, 90, 400][which])); }
                (4, Some(version)) => { story.tell(&format!("accept {version}")); }
                (5 | 6, Some(version)) => { story.tell(&format!("refuse {version}")); }
                (7, _) => { story.tell("vain"); }
                (8, _) => { story.tell("canary"); }
                (9, _) => { story.tell("vouched"); }
                (10, _) => { story.tell("rejected"); }
                _ => {}
            }
            let state = story.rotation.state();
            let usable = matches!(story.rotation.select(), Selection::Use { .. });
            prop_assert_eq!(usable, !matches!(state, SetState::Empty | SetState::Expired));
            if let Some(deadline) = story.rotation.deadline() {
                prop_assert!(deadline > story.now, "{:?} after {:?}", state, story.start);
            }
            if let (Some(current), previous) = story.rotation.versions() {
                prop_assert_eq!(current.version().as_str(), loads.to_string());
                if let Some(previous) = previous {
                    prop_assert_ne!(previous.generation(), current.generation());
                }
            }
        }
    }
}
