//! Credential sets: each source has the keys it needs and none that belong to another.

use std::collections::BTreeMap;

use super::{Checker, to_path};
use crate::{
    config::{
        environment,
        fit::resolve,
        key::KeyPath,
        problem::listed,
        raw::{self, Identifier, SourceKind},
        settings::{CredentialsSettings, FixedValues, SourceSettings},
    },
    credentials::ValueName,
    domain::CredentialsName,
};

impl Checker<'_> {
    pub(super) fn credentials(&mut self) -> BTreeMap<CredentialsName, CredentialsSettings> {
        let raw = self.raw;
        let entries = raw.credentials.iter();
        entries
            .filter_map(|(name, set)| {
                let key = KeyPath::root().key("credentials").key(name.as_str());
                let name = CredentialsName::new(name.as_str());
                let settings = self.credential_set(&key, name.clone(), set)?;
                Some((name, settings))
            })
            .collect()
    }

    fn credential_set(
        &mut self,
        key: &KeyPath,
        name: CredentialsName,
        set: &raw::Credentials,
    ) -> Option<CredentialsSettings> {
        let refresh = self.above_zero(&key.key("refresh"), &set.refresh);
        let max_stale = set.max_stale.as_ref().map(|span| span.0.into());
        if max_stale.is_some_and(|max_stale| max_stale < refresh) {
            self.problem(
                &key.key("max_stale"),
                "is shorter than `refresh`, so a set would expire before it is read again",
                "make it several times `refresh`",
            );
        }
        let kind = set.source?;
        self.foreign_keys(key, kind, set);
        Some(CredentialsSettings {
            name,
            fixed: fixed_values(set),
            source: self.source(key, kind, set)?,
            refresh,
            max_stale,
            withdrawal_grace: set.withdrawal_grace.0.into(),
            rejection_limit: set.rejection_limit.0.into(),
            overlap: set.overlap.0.into(),
        })
    }

    fn source(
        &mut self,
        key: &KeyPath,
        kind: SourceKind,
        set: &raw::Credentials,
    ) -> Option<SourceSettings> {
        match kind {
            SourceKind::Directory => {
                let path = self.needed(key, "path", "directory", set.path.as_ref())?;
                let place = self.places.of(&key.key("path"));
                let path = resolve(&place, path).unwrap_or_else(|| path.clone());
                Some(SourceSettings::Directory { path: path.into() })
            }
            SourceKind::Environment => {
                let prefix = set.prefix.as_deref()?;
                if prefix.starts_with(environment::PREFIX) {
                    self.problem(
                        &key.key("prefix"),
                        "variables with this prefix set keys of the configuration",
                        "choose another prefix, like `PIGELLO_`",
                    );
                }
                Some(SourceSettings::Environment { prefix: prefix.to_owned() })
            }
            SourceKind::Sealed => {
                let file = self.needed(key, "file", "sealed", set.file.as_ref());
                let key_file = self.needed(key, "key_file", "sealed", set.key_file.as_ref());
                Some(SourceSettings::Sealed { file: to_path(file?), key_file: to_path(key_file?) })
            }
            SourceKind::Vault => {
                let path = self.needed(key, "path", "vault", set.path.as_ref())?;
                Some(SourceSettings::Vault {
                    mount: set.mount.as_ref()?.trim_matches('/').to_owned(),
                    path: path.trim_matches('/').to_owned(),
                    kv_version: set.kv_version?,
                })
            }
        }
    }

    /// A key that the chosen variant of a table must have.
    pub(super) fn needed<'a, T>(
        &mut self,
        table: &KeyPath,
        name: &str,
        variant: &str,
        value: Option<&'a T>,
    ) -> Option<&'a T> {
        let key = table.key(name);
        // A value that was there and had the wrong form has been complained about.
        if value.is_none() && !self.places.is_set(&key) {
            self.problem(
                &key,
                format!("is missing, and \"{variant}\" needs it"),
                format!("add `{name} = …` to [{table}]"),
            );
        }
        value
    }

    /// A key of another source is a sign that the wrong source is chosen, or an old one is left.
    fn foreign_keys(&mut self, key: &KeyPath, kind: SourceKind, set: &raw::Credentials) {
        use SourceKind::{Directory, Environment, Sealed, Vault};
        let keys: [(&str, bool, &[SourceKind]); 6] = [
            ("path", set.path.is_some(), &[Directory, Vault]),
            ("prefix", set.prefix.is_some(), &[Environment]),
            ("file", set.file.is_some(), &[Sealed]),
            ("key_file", set.key_file.is_some(), &[Sealed]),
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

fn fixed_values(set: &raw::Credentials) -> FixedValues {
    let values: [(ValueName, &Option<Identifier>); 6] = [
        (ValueName::CustomerId, &set.customer_id),
        (ValueName::ApplicationId, &set.application_id),
        (ValueName::ServiceId, &set.service_id),
        (ValueName::ServiceVersionId, &set.service_version_id),
        (ValueName::ClientCt, &set.client_ct),
        (ValueName::ClientObjectId, &set.client_object_id),
    ];
    let given = values
        .into_iter()
        .filter_map(|(name, value)| value.as_ref().map(|value| (name, value.as_str().to_owned())));
    FixedValues(given.collect())
}
