//! Checks `[audit]`: its files have a size, and no key is without an effect.

use super::checker::Checker;
use crate::{
    audit::{self, ListIds, ObjectIds},
    config::key::KeyPath,
};

impl Checker<'_> {
    pub(super) fn audit(&mut self) -> audit::Settings {
        let audit = &self.config.audit;
        let table = KeyPath::root().key("audit");
        if audit.object_key.is_some() && !audit.hashes() {
            self.warning(
                &table.key("object_key"),
                "has no effect, because objects are named by their UUID",
                "hash them with `object_ids = \"hashed\"`, or remove the key",
            );
        }
        if audit.object_ids == ObjectIds::Hashed && audit.list_ids == ListIds::Plain {
            self.problem(
                &table.key("list_ids"),
                "would show the UUIDs that `object_ids` hides",
                "write `list_ids = \"hashed\"`",
            );
        }
        if audit.group.as_deref() == Some("") {
            self.problem(&table.key("group"), "is empty", "name a group, or remove the key");
        }
        self.more_than_none(&table.key("segment_bytes"), audit.segment_bytes, "128MiB");
        self.above_zero(&table.key("checkpoint_interval"), audit.checkpoint_interval);
        let instance = self.instance();
        for (at, witness) in audit.witnesses.iter().enumerate() {
            let origin = witness.url.origin();
            if !origin.is_tls() && !origin.is_loopback() {
                self.problem(
                    &table.key("witnesses").index(at).key("url"),
                    "plain `http://` leads to another machine, which anybody on the way could play",
                    "write `https://`, or use a witness on this machine",
                );
            }
            if audit.witnesses.iter().take(at).any(|other| other.key.name() == witness.key.name()) {
                self.problem(
                    &table.key("witnesses").index(at).key("key"),
                    "another witness has this name",
                    "name each witness once",
                );
            }
        }
        if let Some(span) = audit.retain_for {
            self.above_zero(&table.key("retain_for"), span);
        }
        if let Some(size) = audit.retain_bytes {
            self.more_than_none(&table.key("retain_bytes"), size, "128MiB");
        }
        audit::Settings { instance, ..audit.clone() }
    }

    /// The name of this gateway, which it has in its trail and in its fleet.
    fn instance(&mut self) -> Option<String> {
        let root = KeyPath::root();
        let of_trail = self.config.audit.instance.as_ref();
        let of_fleet = self.config.fleet.as_ref().and_then(|fleet| fleet.instance.as_ref());
        for (table, name) in [("audit", of_trail), ("fleet", of_fleet)] {
            if name.is_some_and(|name| name.len() > MAX_INSTANCE) {
                self.problem(
                    &root.key(table).key("instance"),
                    format!("longer than {MAX_INSTANCE} bytes"),
                    "write a short name, like the name of a host",
                );
            }
        }
        if of_trail.zip(of_fleet).is_some_and(|(trail, fleet)| trail != fleet) {
            self.problem(
                &root.key("fleet").key("instance"),
                "is another name than `audit.instance`, and a gateway has one",
                "remove one of them",
            );
        }
        of_fleet.or(of_trail).cloned()
    }
}

/// A name of a host has up to 253 bytes.
const MAX_INSTANCE: usize = 255;
