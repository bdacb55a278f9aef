//! Checks the keys that the members of a fleet share: `fleet.key`, and `cache_key` of profiles.

use std::collections::BTreeMap;

use super::checker::Checker;
use crate::{
    config::{
        key::KeyPath,
        types::{Config, SourceKind},
    },
    credentials::{KeyPlace, KeySettings, KvVersion, VaultAuth, VaultSettings},
    domain::{PROFILE_PLACE, ProfileName},
    fleet::{KeySource, KeySourceKind},
};

impl Checker<'_> {
    pub(super) fn fleet_key(&mut self, login: Option<&VaultAuth>) -> Option<KeySettings> {
        let fleet = self.config.fleet.as_ref()?;
        let key = KeyPath::root().key("fleet").key("key");
        if fleet.key.path.contains(PROFILE_PLACE) {
            self.problem(
                &key.key("path"),
                format!("`{PROFILE_PLACE}` stands for a member of a template, and all members of the fleet have one key"),
                "name one place",
            );
        }
        self.shared_key(&key, &fleet.key, login)
    }

    pub(super) fn cache_keys(
        &mut self,
        login: Option<&VaultAuth>,
    ) -> BTreeMap<ProfileName, KeySettings> {
        let mut keys = BTreeMap::new();
        for (name, profile) in &self.config.profiles {
            let Some(source) = &profile.cache_key else { continue };
            let key = KeyPath::root().key("profiles").key(name.as_str()).key("cache_key");
            let has_place = source.path.contains(PROFILE_PLACE);
            if name.template().is_some() && !has_place {
                self.problem(
                    &key.key("path"),
                    format!("has no `{PROFILE_PLACE}`, so that all members of the template would have the same key"),
                    format!("`{name}` is a template: write `{PROFILE_PLACE}` where a member's name stands"),
                );
            } else if name.template().is_none() && has_place {
                self.problem(
                    &key.key("path"),
                    format!(
                        "`{PROFILE_PLACE}` stands for a member of a template, and `{name}` is none"
                    ),
                    "name one place, or end the profile's name in `*`",
                );
            }
            if !self.config.cache.shared.enabled {
                self.warning(
                    &key,
                    "nothing is shared, so the key is not used",
                    "write `enabled = true` in [cache.shared], or remove it",
                );
            }
            let settings = self.shared_key(&key, source, login);
            keys.extend(settings.map(|settings| (name.clone(), settings)));
        }
        keys
    }

    fn shared_key(
        &mut self,
        key: &KeyPath,
        source: &KeySource,
        login: Option<&VaultAuth>,
    ) -> Option<KeySettings> {
        self.above_zero(&key.key("refresh"), source.refresh);
        let place = match source.source? {
            KeySourceKind::File => {
                for (name, is_set) in
                    [("mount", source.mount.is_some()), ("field", source.field.is_some())]
                {
                    if is_set {
                        let message = "is a key of source `vault`, and the source is `file`";
                        self.problem(&key.key(name), message, "remove it");
                    }
                }
                let path = self.locations.of(&key.key("path")).resolve(&source.path);
                KeyPlace::File(path.unwrap_or_else(|| source.path.clone()).into())
            }
            KeySourceKind::Vault => {
                self.secret_path(key, &source.path);
                let secret = VaultSettings {
                    server: self.vault_server(login),
                    mount: source.mount().trim_matches('/').to_owned(),
                    path: source.path.trim_matches('/').to_owned(),
                    // A key has versions.
                    kv_version: KvVersion::V2,
                };
                let field = source.field().to_owned();
                KeyPlace::Vault { secret: Box::new(secret), field }
            }
        };
        let settings = KeySettings { place, refresh: *source.refresh };
        match settings.check() {
            Ok(()) => {}
            Err(error) if error.is_absent() => {
                self.warning(
                    &key.key("source"),
                    error.to_string(),
                    "`serve` does not start without it",
                );
            }
            Err(error) => {
                self.problem(
                    &key.key("source"),
                    error.to_string(),
                    "correct or unset the variable",
                );
            }
        }
        Some(settings)
    }
}

/// Whether anything is read from the vault.
pub(super) fn asks_vault(config: &Config) -> bool {
    let mut sets = config.credentials.values();
    let fleet = config.fleet.iter().map(|fleet| &fleet.key);
    let caches = config.profiles.values().filter_map(|profile| profile.cache_key.as_ref());
    sets.any(|set| set.source == Some(SourceKind::Vault))
        || fleet.chain(caches).any(|key| key.source == Some(KeySourceKind::Vault))
}
