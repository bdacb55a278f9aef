//! A revision of the configuration: its hash, and what it needs to tell what another one changed.
//!
//! The audit trail names the revision under which each call was decided, and what each one changed. A reader of
//! the trail wants to know who may do what, so the values of those sections are told. Of all other keys only
//! the name is: a revision has a digest in place of their values, and holds nothing that is not in the trail.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    sync::Arc,
};

use serde::{Deserialize, Serialize};

use super::effective::{expand, flatten};
use crate::{
    audit::{ChangedKey, Hash},
    config::types::Config,
    domain::PolicyId,
};

/// One revision of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// SHA-256 of every key and its value, defaults included. No secret is a value.
    hash: [u8; 32],
    /// The value of a key that is told; the digest of any other.
    values: BTreeMap<String, String>,
}

impl Revision {
    pub(in crate::config) fn of(config: &Config) -> Arc<Self> {
        let mut document = toml_edit::ser::to_document(config).unwrap_or_default();
        expand(document.as_table_mut());
        let mut values = BTreeMap::new();
        flatten(document.as_table(), "", &mut values);
        let mut text = String::new();
        for (key, value) in &mut values {
            // Writing to a string cannot fail.
            let _infallible = writeln!(text, "{key} = {value}");
            if !is_told(key) {
                *value = Hash::of(value.as_bytes()).to_string();
            }
        }
        Arc::new(Self { hash: Hash::of(text.as_bytes()).0, values })
    }

    /// SHA-256 of every key and its value.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The identifier that each record has.
    pub fn policy_id(&self) -> PolicyId {
        PolicyId(self.hash.first_chunk().copied().unwrap_or_default())
    }

    /// The keys that differ from those of an earlier revision.
    pub fn changes_since(&self, before: &Self) -> Vec<ChangedKey> {
        let keys: BTreeSet<_> = before.values.keys().chain(self.values.keys()).collect();
        let changed = keys.into_iter().filter_map(|key| {
            let (old, new) = (before.values.get(key), self.values.get(key));
            let told = |value: Option<&String>| value.filter(|_| is_told(key)).cloned();
            (old != new).then(|| ChangedKey { key: key.clone(), old: told(old), new: told(new) })
        });
        changed.collect()
    }
}

/// Whether a key is about who may do what.
fn is_told(key: &str) -> bool {
    ["callers[", "listeners[", "operations[", "policy."]
        .iter()
        .any(|section| key.starts_with(section))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn revision(text: &str) -> Arc<Revision> {
        Revision::of(&toml_edit::de::from_str(text).unwrap())
    }

    const BEFORE: &str = r#"
        [[callers]]
        name = "billing"
        allow = ["subtenant.get"]
        [credentials.production]
        source = "environment"
        customer_id = "0190d1c2-9a4e-7cc3-8f00-1234567890ab"
    "#;

    #[test]
    fn an_equal_configuration_has_an_equal_hash() {
        let reordered = BEFORE.replace("source = \"environment\"\n", "")
            + "source = \"environment\"\n[policy]\nunmatched = \"deny\"\n";
        assert_eq!(revision(BEFORE).hash(), revision(&reordered).hash());
        let id = revision(BEFORE).policy_id().to_string();
        assert_eq!(id.len(), 16);
        assert!(Hash(revision(BEFORE).hash()).to_string().starts_with(&id), "{id}");
    }

    #[test]
    fn a_change_of_who_may_do_what_is_told_with_both_values() {
        let after = BEFORE.replace("\"subtenant.get\"", "\"subtenant.*\"")
            + "[[callers]]\nname = \"audit\"\nallow = [\"*.list\"]\n";
        let changes = revision(&after).changes_since(&revision(BEFORE));
        let change = |key: &str| changes.iter().find(|change| change.key == key).unwrap();
        let billing = change("callers[billing].allow");
        assert_eq!(billing.old.as_deref(), Some(r#"["subtenant.get"]"#));
        assert_eq!(billing.new.as_deref(), Some(r#"["subtenant.*"]"#));
        let added = change("callers[audit].allow");
        assert_eq!((added.old.as_deref(), added.new.as_deref()), (None, Some(r#"["*.list"]"#)));
        assert!(changes.iter().all(|change| change.key.starts_with("callers[")), "{changes:?}");
    }

    #[test]
    fn of_any_other_key_only_the_name_is_told_and_kept() {
        let after = BEFORE.replace("1234567890ab", "1234567890ff");
        let revision_after = revision(&after);
        let changes = revision_after.changes_since(&revision(BEFORE));
        let key = "credentials.production.customer_id".to_owned();
        assert_eq!(changes, [ChangedKey { key, old: None, new: None }]);
        let kept = serde_json::to_string(&*revision_after).unwrap();
        assert!(!kept.contains("1234567890"), "{kept}");
        assert_ne!(revision_after.hash(), revision(BEFORE).hash());
        assert_eq!(serde_json::from_str::<Revision>(&kept).unwrap(), *revision_after);
    }
}
