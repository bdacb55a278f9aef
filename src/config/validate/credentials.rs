//! Checks `[credentials.…]`: each source has the keys it needs, and none of another source.

use std::collections::BTreeMap;

use super::checker::Checker;
use crate::{
    config::{
        key::KeyPath,
        problem::listed,
        read::PREFIX,
        types::{Adopt, Credentials, SourceKind},
    },
    credentials::{
        Adoption, Identifiers, Keep, RefreshSettings, Settings, SourceSettings, ValueName,
        VaultAuth,
    },
    domain::CredentialsName,
};

impl Checker<'_> {
    /// `auth` is the login to the vault.
    pub(super) fn credentials(
        &mut self,
        auth: Option<&VaultAuth>,
    ) -> BTreeMap<CredentialsName, Settings> {
        let entries = self.config.credentials.iter();
        entries
            .filter_map(|(name, set)| {
                let key = KeyPath::root().key("credentials").key(name.as_str());
                Some((name.clone(), self.credential_set(&key, name, set, auth)?))
            })
            .collect()
    }

    fn credential_set(
        &mut self,
        key: &KeyPath,
        name: &CredentialsName,
        set: &Credentials,
        auth: Option<&VaultAuth>,
    ) -> Option<Settings> {
        self.above_zero(&key.key("refresh"), set.refresh);
        if set.max_stale.is_some_and(|max_stale| max_stale < set.refresh) {
            self.problem(
                &key.key("max_stale"),
                "is shorter than `refresh`, so a set would expire before it is read again",
                "make it several times `refresh`",
            );
        }
        let kind = set.source?;
        self.foreign_keys(key, kind, set);
        let source = self.source(key, kind, set, auth)?;
        self.variables(&key.key("source"), &source);
        Some(Settings {
            name: name.clone(),
            fixed: identifiers(set),
            source,
            keep: self.keep(key, kind, set),
            refresh: RefreshSettings {
                interval: *set.refresh,
                max_stale: set.max_stale.map(Into::into),
                withdrawal_grace: *set.withdrawal_grace,
                rejection_limit: *set.rejection_limit,
                overlap: *set.overlap,
                adoption: self.adoption(key, set),
                ..RefreshSettings::default()
            },
        })
    }

    /// What the configuration leaves to variables. One that is absent here may be set where the gateway
    /// runs, but without it `serve` does not start.
    fn variables(&mut self, key: &KeyPath, source: &SourceSettings) {
        match source.check() {
            Ok(()) => {}
            Err(error) if error.is_absent() => {
                let hint = "`serve` does not start without it";
                self.warning(key, error.to_string(), hint);
            }
            Err(error) => self.problem(key, error.to_string(), "correct or unset the variable"),
        }
    }

    fn adoption(&mut self, key: &KeyPath, set: &Credentials) -> Adoption {
        if set.adopt == Adopt::AtOnce {
            return Adoption::AtOnce;
        }
        if self.config.fleet.is_none() {
            self.problem(
                &key.key("adopt"),
                "is `proven`, and no other gateway can prove a version without a fleet",
                "add [fleet], or write `adopt = \"at-once\"`",
            );
        }
        self.above_zero(&key.key("adopt_after"), set.adopt_after);
        Adoption::Proven { canary: set.canary, patience: *set.adopt_after }
    }

    /// Where the last set is kept, if the keys say so. What is wrong with them is reported.
    fn keep(&mut self, key: &KeyPath, kind: SourceKind, set: &Credentials) -> Option<Keep> {
        let file = set.keep.as_ref()?;
        if !matches!(kind, SourceKind::Vault | SourceKind::Directory) {
            // It has been reported.
            return None;
        }
        if set.max_stale.is_none() {
            self.problem(
                &key.key("keep"),
                "is of no use without `max_stale`, which says how old the kept set may be",
                "add `max_stale = \"24h\"`",
            );
        }
        let key_file = self.needed(key, "key_file", "keep", set.key_file.as_ref())?;
        Some(Keep { file: file.clone(), key_file: key_file.clone() })
    }

    fn source(
        &mut self,
        key: &KeyPath,
        kind: SourceKind,
        set: &Credentials,
        auth: Option<&VaultAuth>,
    ) -> Option<SourceSettings> {
        match kind {
            SourceKind::Directory => {
                let path = self.needed(key, "path", "directory", set.path.as_ref())?;
                let resolved = self.locations.of(&key.key("path")).resolve(path);
                let path = resolved.unwrap_or_else(|| path.clone()).into();
                Some(SourceSettings::Directory { path })
            }
            SourceKind::Environment => {
                let prefix = set.prefix.clone()?;
                if prefix.starts_with(PREFIX) {
                    self.problem(
                        &key.key("prefix"),
                        "variables with this prefix set keys of the configuration",
                        "choose another prefix, like `PIGELLO_`",
                    );
                }
                Some(SourceSettings::Environment { prefix })
            }
            SourceKind::Sealed => {
                let file = self.needed(key, "file", "sealed", set.file.as_ref());
                let key_file = self.needed(key, "key_file", "sealed", set.key_file.as_ref());
                Some(SourceSettings::Sealed { file: file?.clone(), key_file: key_file?.clone() })
            }
            SourceKind::Vault => {
                Some(SourceSettings::Vault(Box::new(self.vault_secret(key, set, auth)?)))
            }
        }
    }

    /// Returns the value of a key that this variant of a table must have.
    pub(super) fn needed<'a, T>(
        &mut self,
        table: &KeyPath,
        name: &str,
        variant: &str,
        value: Option<&'a T>,
    ) -> Option<&'a T> {
        if value.is_none() {
            self.problem(
                &table.key(name),
                format!("is missing, and \"{variant}\" needs it"),
                format!("add `{name} = …` to [{table}]"),
            );
        }
        value
    }

    /// A key of another source means that the wrong source is chosen, or that an old key is left.
    fn foreign_keys(&mut self, key: &KeyPath, kind: SourceKind, set: &Credentials) {
        use SourceKind::{Directory, Environment, Sealed, Vault};
        // `keep` has a key as well.
        let sealed_key = set.key_file.is_some() && set.keep.is_none();
        let keys: [(&str, bool, &[SourceKind]); 7] = [
            ("path", set.path.is_some(), &[Directory, Vault]),
            ("prefix", set.prefix.is_some(), &[Environment]),
            ("file", set.file.is_some(), &[Sealed]),
            ("key_file", sealed_key, &[Sealed]),
            ("keep", set.keep.is_some(), &[Directory, Vault]),
            ("mount", set.mount.is_some(), &[Vault]),
            ("kv_version", set.kv_version.is_some(), &[Vault]),
        ];
        for (name, there, sources) in keys {
            if there && !sources.contains(&kind) {
                let words: Vec<_> = sources.iter().map(|source| source.word()).collect();
                self.problem(
                    &key.key(name),
                    format!(
                        "is a key of source {}, and the source is `{}`",
                        listed(&words),
                        kind.word()
                    ),
                    "remove it, or choose the source it belongs to",
                );
            }
        }
    }
}

fn identifiers(set: &Credentials) -> Identifiers {
    let mut identifiers = Identifiers::new();
    for (name, value) in [
        (ValueName::CustomerId, &set.customer_id),
        (ValueName::ApplicationId, &set.application_id),
        (ValueName::ServiceId, &set.service_id),
        (ValueName::ServiceVersionId, &set.service_version_id),
        (ValueName::ClientCt, &set.client_ct),
        (ValueName::ClientObjectId, &set.client_object_id),
    ] {
        if let Some(value) = value {
            // One that cannot be a header's value has been reported.
            let _reported = identifiers.insert(name, value);
        }
    }
    identifiers
}
