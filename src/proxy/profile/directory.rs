//! Finds the profile of a name.

use std::{collections::BTreeMap, sync::Arc};

use super::{Family, Profile};
use crate::domain::ProfileName;

/// All profiles of a configuration.
#[derive(Debug, Default)]
pub struct Profiles {
    fixed: BTreeMap<ProfileName, Arc<Profile>>,
    /// The most specific first.
    families: Vec<Arc<Family>>,
}

/// What a name stands for.
#[derive(Clone, Debug)]
pub enum Chosen {
    /// A profile that is ready for calls.
    Ready(Arc<Profile>),
    /// A member that is not loaded.
    Unloaded(Arc<Family>, ProfileName),
    /// No table has this name, and none matches it.
    Unknown(ProfileName),
}

impl Profiles {
    /// The profiles with tables of their own, and the families.
    pub fn new(fixed: Vec<Arc<Profile>>, mut families: Vec<Arc<Family>>) -> Self {
        families.sort_by_key(|family| std::cmp::Reverse(family.pattern().specificity()));
        let fixed = fixed.into_iter().map(|profile| (profile.name.clone(), profile)).collect();
        Self { fixed, families }
    }

    /// Finds a profile. A table of its own comes first, then the most specific pattern.
    pub fn find(&self, name: &ProfileName) -> Chosen {
        if let Some(profile) = self.fixed.get(name) {
            return Chosen::Ready(Arc::clone(profile));
        }
        match self.family(name) {
            Some(family) => match family.loaded(name) {
                Some(profile) => Chosen::Ready(profile),
                None => Chosen::Unloaded(Arc::clone(family), name.clone()),
            },
            None => Chosen::Unknown(name.clone()),
        }
    }

    /// The family that a name without a table of its own belongs to.
    fn family(&self, name: &ProfileName) -> Option<&Arc<Family>> {
        self.families.iter().find(|family| family.pattern().matches(name))
    }

    /// Unloads the members that calls no longer lead to, now that `next` finds the profiles: their family is not
    /// kept, or a table matches their name better.
    pub fn hand_over(&self, next: &Self) {
        for family in &self.families {
            family.unload(|member| {
                next.fixed.contains_key(&member.name)
                    || !next.family(&member.name).is_some_and(|now| Arc::ptr_eq(now, family))
            });
        }
    }

    /// The profiles with tables of their own.
    pub fn fixed(&self) -> impl Iterator<Item = &Arc<Profile>> {
        self.fixed.values()
    }

    /// The families.
    pub fn families(&self) -> &[Arc<Family>] {
        &self.families
    }

    /// Whether a table has this name, or a template matches it.
    pub fn knows(&self, name: &ProfileName) -> bool {
        let is_member = || ProfileName::of_member(name.as_str().as_bytes()).is_some();
        let mut families = self.families.iter();
        self.fixed.contains_key(name)
            || (is_member() && families.any(|family| family.pattern().matches(name)))
    }

    /// The profile of a name, if it has state now. This is no use of it.
    pub fn peek(&self, name: &ProfileName) -> Option<Arc<Profile>> {
        self.present().find(|profile| profile.name == *name)
    }

    /// Every profile that has state now: those with tables of their own, and the loaded members, in no order.
    pub fn present(&self) -> impl Iterator<Item = Arc<Profile>> + use<'_> {
        let members = self.families.iter().flat_map(|family| family.members());
        self.fixed.values().map(Arc::clone).chain(members)
    }
}

impl Chosen {
    /// The name.
    pub fn name(&self) -> &ProfileName {
        match self {
            Self::Ready(profile) => &profile.name,
            Self::Unloaded(_, name) | Self::Unknown(name) => name,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;
    use crate::proxy::profile::Partition;

    #[tokio::test]
    async fn members_that_no_call_leads_to_any_more_are_unloaded() {
        let folder = tempfile::tempdir().unwrap();
        let away = folder.path().join("away");
        let (loading, mut kept) = mpsc::unbounded_channel();
        let family = |pattern| Family::made_up(pattern, &away, loading.clone());
        let (replaced, stays) = (family("nordic-*"), family("customer-*"));
        let before = Profiles::new(Vec::new(), vec![Arc::clone(&replaced), Arc::clone(&stays)]);
        for (family, name) in [
            (&replaced, "nordic-1"),
            (&stays, "customer-fixed"),
            (&stays, "customer-a1"),
            (&stays, "customer-b1"),
        ] {
            family.load(&ProfileName::new(name)).await.unwrap();
        }
        // A fixed profile and a longer pattern take two members over, and one family is made anew.
        let name = ProfileName::new("customer-fixed");
        let origin = "https://api.pigello.io".parse().unwrap();
        let partition = Partition::new(name.clone(), origin, 1_u64);
        let fixed = Arc::new(Profile::made_up(name, partition));
        let families = vec![family("nordic-*"), stays, family("customer-a*")];
        before.hand_over(&Profiles::new(vec![fixed], families));
        for (name, is_unloaded) in [
            ("nordic-1", true),
            ("customer-fixed", true),
            ("customer-a1", true),
            ("customer-b1", false),
        ] {
            let member = kept.recv().await.unwrap();
            assert_eq!(member.profile.name.as_str(), name);
            assert_eq!(member.unloaded.is_cancelled(), is_unloaded, "{name}");
        }
    }
}
