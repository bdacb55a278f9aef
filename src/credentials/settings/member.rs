//! Settings of a template: one table for the sets of many profiles, its members.
//!
//! A template profile names one `[credentials.…]` table for all its members. Where the table has
//! `{profile}`, each member has its own name, so that it has a secret, a folder or a kept copy of its own.

use std::path::{Path, PathBuf};

use super::{Keep, Settings, SourceSettings, VaultSettings};
use crate::domain::{CredentialsName, PROFILE_PLACE as MEMBER, ProfileName};

impl Settings {
    /// Whether the settings are of a template: a path has `{profile}`. A sealed store needs none, because a set
    /// in it has a name.
    pub fn is_template(&self) -> bool {
        let kept = self.keep.as_ref().is_some_and(|keep| has_member(&keep.file));
        kept || match &self.source {
            SourceSettings::Directory { path } => has_member(path),
            SourceSettings::Vault(vault) => vault.path.contains(MEMBER),
            SourceSettings::Environment { .. } | SourceSettings::Sealed { .. } => false,
        }
    }

    /// Checks that each member of a template would have a set of its own with these settings.
    pub fn check_template(&self) -> Result<(), NotATemplate> {
        match &self.source {
            SourceSettings::Environment { .. } => return Err(NotATemplate::Environment),
            SourceSettings::Directory { path } if !has_member(path) => {
                return Err(NotATemplate::Path);
            }
            SourceSettings::Vault(vault) if !vault.path.contains(MEMBER) => {
                return Err(NotATemplate::Path);
            }
            _ => {}
        }
        match &self.keep {
            Some(keep) if !has_member(&keep.file) => Err(NotATemplate::Keep),
            _ => Ok(()),
        }
    }

    /// The settings of one member. The set has the member's name, also in a sealed store.
    #[must_use]
    pub fn for_member(&self, member: &ProfileName) -> Self {
        let in_path = |path: &Path| named(path, member);
        let source = match &self.source {
            SourceSettings::Directory { path } => SourceSettings::Directory { path: in_path(path) },
            SourceSettings::Vault(vault) => SourceSettings::Vault(Box::new(VaultSettings {
                path: vault.path.replace(MEMBER, member.as_str()),
                ..(**vault).clone()
            })),
            other => other.clone(),
        };
        let keep = self.keep.as_ref();
        Self {
            name: CredentialsName::new(member.as_str()),
            source,
            keep: keep.map(|keep| Keep { file: in_path(&keep.file), ..keep.clone() }),
            fixed: self.fixed.clone(),
            refresh: self.refresh,
        }
    }
}

fn has_member(path: &Path) -> bool {
    path.to_str().is_some_and(|path| path.contains(MEMBER))
}

fn named(path: &Path, member: &ProfileName) -> PathBuf {
    // A path of a configuration is text.
    path.to_str()
        .map_or_else(|| path.to_owned(), |path| path.replace(MEMBER, member.as_str()).into())
}

/// Why settings cannot be those of a template: members would share a set, or a copy of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotATemplate {
    /// The variables of a process are one set.
    #[error("variables are one set, and each member of a template has its own")]
    Environment,
    /// `path` leads to the same set for all members.
    #[error("has no `{MEMBER}`, so that all members of the template would have the same set")]
    Path,
    /// All members would write the same file.
    #[error(
        "has no `{MEMBER}`, so that all members of the template would keep their sets in one file"
    )]
    Keep,
}

impl NotATemplate {
    /// The key of the `[credentials.…]` table that is wrong.
    pub const fn key(self) -> &'static str {
        match self {
            Self::Environment => "source",
            Self::Path => "path",
            Self::Keep => "keep",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::credentials::{
        Identifiers, RefreshSettings,
        settings::{KvVersion, VaultServer},
    };

    fn settings(source: SourceSettings, kept: Option<&str>) -> Settings {
        Settings {
            name: CredentialsName::new("customers"),
            source,
            fixed: Identifiers::new(),
            refresh: RefreshSettings::default(),
            keep: kept.map(|file| Keep { file: file.into(), key_file: "/var/kept.key".into() }),
        }
    }

    fn vault(path: &str) -> SourceSettings {
        SourceSettings::Vault(Box::new(VaultSettings {
            server: Arc::new(VaultServer::default()),
            mount: "secret".to_owned(),
            path: path.to_owned(),
            kv_version: KvVersion::V2,
        }))
    }

    fn directory(path: &str) -> SourceSettings {
        SourceSettings::Directory { path: path.into() }
    }

    fn sealed() -> SourceSettings {
        SourceSettings::Sealed { file: "/etc/sealed".into(), key_file: "/etc/key".into() }
    }

    #[test]
    fn each_member_has_its_own_place_and_the_name_of_its_profile() {
        let member = ProfileName::new("customer-8392");
        for (source, expected) in [
            (vault("pigello/{profile}"), vault("pigello/customer-8392")),
            (vault("{profile}/{profile}"), vault("customer-8392/customer-8392")),
            (directory("/run/{profile}"), directory("/run/customer-8392")),
            (sealed(), sealed()),
        ] {
            let template = settings(source, Some("/var/{profile}.kept"));
            assert!(template.is_template());
            assert_eq!(template.check_template(), Ok(()));
            let own = template.for_member(&member);
            assert_eq!((own.name.as_str(), &own.source), ("customer-8392", &expected));
            let keep = own.keep.unwrap();
            assert_eq!(keep.file, Path::new("/var/customer-8392.kept"));
            assert_eq!(keep.key_file, Path::new("/var/kept.key"));
        }
    }

    #[test]
    fn the_members_of_a_vault_share_what_leads_to_it() {
        let template = settings(vault("pigello/{profile}"), None);
        let server = |settings: &Settings| match &settings.source {
            SourceSettings::Vault(vault) => Arc::clone(&vault.server),
            _ => panic!("another source"),
        };
        let own = template.for_member(&ProfileName::new("customer-1"));
        assert!(Arc::ptr_eq(&server(&template), &server(&own)));
    }

    #[test]
    fn members_that_would_share_a_set_or_a_file_are_refused() {
        let environment = SourceSettings::Environment { prefix: "PIGELLO_".to_owned() };
        for (source, kept, problem) in [
            (environment, None, NotATemplate::Environment),
            (vault("pigello/one"), None, NotATemplate::Path),
            (directory("/run/one"), None, NotATemplate::Path),
            (directory("/run/{profil}"), None, NotATemplate::Path),
            (vault("pigello/{profile}"), Some("/var/kept"), NotATemplate::Keep),
        ] {
            assert_eq!(settings(source, kept).check_template(), Err(problem));
        }
        assert!(!settings(vault("pigello/one"), None).is_template());
        assert!(!settings(sealed(), None).is_template());
    }
}
