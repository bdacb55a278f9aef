//! Which profiles a caller may use: each is another customer's data.
//!
//! What the configuration chooses for the caller (its listener's profile, or its own entry's) is allowed, and
//! what the request chooses only if `profiles` of its entry lists it. An entry that has `profiles` is held to it
//! on a listener with a profile, too.

use super::{Policy, refusal::listed};
use crate::{
    domain::{Caller, ProfileName},
    error::{Error, Kind},
    proxy::call::ChosenBy,
};

/// Why a caller may not use a profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProfileRefusal {
    /// The caller's rule does not list it.
    NotListed,
    /// The caller has no rule that could list it.
    NoRule,
}

impl Policy {
    /// Whether a caller may use a profile.
    pub fn permits_profile(
        &self,
        caller: &Caller,
        profile: &ProfileName,
        by: ChosenBy,
    ) -> Result<(), ProfileRefusal> {
        match caller {
            Caller::Known { rule: Some(rule), .. } => {
                let is_chosen_for_it = match by {
                    ChosenBy::Caller => true,
                    ChosenBy::Listener => rule.profiles.is_empty(),
                    ChosenBy::Request => false,
                };
                let is_listed = || rule.profiles.iter().any(|pattern| pattern.matches(profile));
                if is_chosen_for_it || is_listed() {
                    Ok(())
                } else {
                    Err(ProfileRefusal::NotListed)
                }
            }
            Caller::Known { rule: None, .. } | Caller::Unidentified { .. } => match by {
                ChosenBy::Listener => Ok(()),
                ChosenBy::Caller | ChosenBy::Request => Err(ProfileRefusal::NoRule),
            },
        }
    }
}

impl ProfileRefusal {
    /// The kind of the error.
    pub const fn kind(self) -> Kind {
        Kind::ProfileNotAllowed
    }

    /// The error that the caller gets.
    pub fn into_error(self, caller: &Caller, profile: &ProfileName) -> Error {
        let detail = match (self, caller) {
            (Self::NotListed, Caller::Known { rule: Some(rule), name, .. }) => format!(
                "`profiles` of the caller `{name}` lists {}; `{profile}` is not among them",
                listed(&rule.profiles)
            ),
            _ => format!(
                "only a caller with a `[[callers]]` entry whose `profiles` lists it may use the profile `{profile}`"
            ),
        };
        Error::new(self.kind(), detail)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ChosenBy::{Caller as Entry, Listener, Request};

    use super::*;
    use crate::{
        domain::{CallerLimits, CallerRule, Catalog, Proof},
        proxy::stages::authorize::{Access, CallerLimiters, Mode, Unmatched},
    };

    fn caller(profiles: &[&str]) -> Caller {
        let rule = CallerRule {
            name: "app".into(),
            unix_uids: Vec::new(),
            tls_names: Vec::new(),
            allow: vec!["*".parse().unwrap()],
            profile: None,
            profiles: profiles.iter().map(|pattern| pattern.parse().unwrap()).collect(),
            forward: Vec::new(),
            limits: CallerLimits::default(),
        };
        Caller::Known { rule: Some(Arc::new(rule)), name: "app".into(), proof: Proof::Listener }
    }

    #[test]
    fn a_caller_uses_the_profiles_that_it_lists_and_the_one_that_is_chosen_for_it() {
        let policy = Policy {
            catalog: Arc::new(Catalog::new([]).unwrap()),
            unidentified: Access::Allow,
            unmatched: Unmatched::Deny,
            mode: Mode::Enforce,
            limits: CallerLimiters::default(),
        };
        let acme = ProfileName::new("customer-acme");
        let (none, one) = (caller(&[]), caller(&["customer-acme"]));
        let (many, other) = (caller(&["nordic-*", "customer-*"]), caller(&["nordic-*"]));
        let unruled = Caller::Known { rule: None, name: "edge".into(), proof: Proof::Listener };
        let nobody = Caller::Unidentified { proof: Proof::Listener };
        for (caller, by, allowed) in [
            (&none, Listener, true),
            (&none, Entry, true),
            (&none, Request, false),
            (&one, Listener, true),
            (&one, Request, true),
            (&many, Request, true),
            (&other, Listener, false),
            (&other, Entry, true),
            (&other, Request, false),
            (&unruled, Listener, true),
            (&unruled, Request, false),
            (&nobody, Listener, true),
            (&nobody, Request, false),
        ] {
            let found = policy.permits_profile(caller, &acme, by);
            assert_eq!(found.is_ok(), allowed, "{caller:?} {by:?}");
        }
        let said = ProfileRefusal::NotListed.into_error(&other, &acme);
        assert_eq!(
            said.detail(),
            "`profiles` of the caller `app` lists `nordic-*`; `customer-acme` is not among them"
        );
    }
}
