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
        match self.families.iter().find(|family| family.pattern().matches(name)) {
            Some(family) => match family.loaded(name) {
                Some(profile) => Chosen::Ready(profile),
                None => Chosen::Unloaded(Arc::clone(family), name.clone()),
            },
            None => Chosen::Unknown(name.clone()),
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

    /// Every profile that has state now: those with tables of their own, and the loaded members by name.
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
