//! What is the matter with a profile, in a word. The metrics, the page and `/profiles` agree on it.

use std::{sync::Arc, time::Duration};

use serde::Serialize;

use super::GatewayView;
use crate::{
    credentials::SetState,
    proxy::profile::{CircuitBreakerState, Profile},
};

/// Why calls of a profile fail, or may soon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ProfileTrouble {
    /// It has no credentials, or none any more.
    NoCredentials,
    /// Pigello refuses its credentials, or the new version of them.
    Refused,
    /// Calls fail, and Pigello is left alone for it.
    BreakerOpen,
    /// Pigello has asked for a pause.
    Paused,
    /// Its source has not confirmed its credentials for long.
    Unconfirmed,
}

/// A profile, and what is the matter with it.
#[derive(Debug)]
pub(super) struct Judged {
    pub(super) profile: Arc<Profile>,
    /// The worst first.
    pub(super) troubles: Vec<ProfileTrouble>,
}

impl ProfileTrouble {
    /// All of them.
    pub(super) const ALL: [Self; 5] =
        [Self::NoCredentials, Self::Refused, Self::BreakerOpen, Self::Paused, Self::Unconfirmed];

    /// The label in metrics.
    pub(super) const fn label(self) -> &'static str {
        match self {
            Self::NoCredentials => "no_credentials",
            Self::Refused => "refused",
            Self::BreakerOpen => "breaker_open",
            Self::Paused => "paused",
            Self::Unconfirmed => "unconfirmed",
        }
    }

    /// A sentence about the profile, without its subject.
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::NoCredentials => "has no credentials",
            Self::Refused => "is refused by Pigello",
            Self::BreakerOpen => "is left alone after failures",
            Self::Paused => "is to pause, as Pigello asks",
            Self::Unconfirmed => "has credentials that were not confirmed for long",
        }
    }

    /// The remedy.
    pub(super) const fn remedy(self) -> &'static str {
        match self {
            Self::NoCredentials => {
                "Its page has the error of its source, which is read again by itself."
            }
            Self::Refused => {
                "Put the right values into its source, then run `pigello-gateway refresh --profile NAME`."
            }
            Self::BreakerOpen | Self::Paused => "Its calls are tried again by themselves.",
            Self::Unconfirmed => {
                "Its page has the error of its source. Calls go on with the version that is there."
            }
        }
    }

    /// Whether its calls fail now.
    pub(super) const fn is_grave(self) -> bool {
        matches!(self, Self::NoCredentials | Self::Refused | Self::BreakerOpen)
    }

    fn of(profile: &Profile) -> Vec<Self> {
        let set = profile.manager.health();
        let refresh = profile.manager.settings().refresh;
        Self::ALL
            .into_iter()
            .filter(|trouble| match trouble {
                Self::NoCredentials => {
                    set.was_read && matches!(set.state, SetState::Empty | SetState::Expired)
                }
                Self::Refused => set.refuses_new || set.state == SetState::Rejected,
                Self::BreakerOpen => profile.health.breaker.state() != CircuitBreakerState::Closed,
                Self::Paused => !profile.health.rate_limit.pause().is_zero(),
                Self::Unconfirmed => {
                    set.unconfirmed.is_some_and(|time| time > refresh.interval + UNCONFIRMED_LONG)
                }
            })
            .collect()
    }
}

/// Every profile that has state now, by name within its table.
pub(super) fn judged(view: &GatewayView) -> Vec<Judged> {
    let mut present: Vec<_> = view.directory.present().collect();
    // Those with tables of their own come first, and are in order.
    present.sort_by_cached_key(|it| (it.is_member(), it.table.clone(), it.name.clone()));
    let judge = |profile: Arc<Profile>| Judged { troubles: ProfileTrouble::of(&profile), profile };
    present.into_iter().map(judge).collect()
}

impl Judged {
    /// Whether it is a member of a template, and something is the matter with it.
    pub(super) fn is_member_in_trouble(&self) -> bool {
        self.profile.is_member() && !self.troubles.is_empty()
    }
}

/// A source that is away for so long beyond its interval is no passing matter.
const UNCONFIRMED_LONG: Duration = Duration::from_mins(30);
