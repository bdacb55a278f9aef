//! Checks the audit trail: its files have a size, and no key stands there without an effect.

use super::{Checker, to_path};
use crate::config::{
    key::KeyPath,
    raw::{self, Bytes, Written},
    settings::{AuditSettings, Durability, ObjectIds, OnFailure},
};

impl Checker<'_> {
    pub(super) fn audit(&mut self) -> AuditSettings {
        let audit = &self.raw.audit;
        let table = KeyPath::root().key("audit");
        if audit.object_key.is_some() && audit.object_ids == raw::ObjectIds::Plain {
            self.warning(
                &table.key("object_key"),
                "has no effect, because objects are named by their UUID",
                "hash them with `object_ids = \"hashed\"`, or remove the key",
            );
        }
        let checkpoint = table.key("checkpoint_interval");
        let (retain_for, retain_bytes) = (table.key("retain_for"), table.key("retain_bytes"));
        AuditSettings {
            directory: to_path(&audit.directory),
            durability: match audit.durability {
                raw::Durability::Batched => Durability::Batched,
                raw::Durability::Synced => Durability::Synced,
            },
            on_failure: match audit.on_failure {
                raw::OnFailure::Refuse => OnFailure::Refuse,
                raw::OnFailure::Continue => OnFailure::Continue,
            },
            segment_bytes: self.more_than_none(&table.key("segment_bytes"), &audit.segment_bytes),
            compress_after: audit.compress_after.0.into(),
            retain_for: audit.retain_for.as_ref().map(|span| self.above_zero(&retain_for, span)),
            retain_bytes: audit
                .retain_bytes
                .as_ref()
                .map(|bytes| self.more_than_none(&retain_bytes, bytes)),
            checkpoint_records: audit.checkpoint_records.into(),
            checkpoint_interval: self.above_zero(&checkpoint, &audit.checkpoint_interval),
            signing_key: audit.signing_key.as_ref().map(to_path),
            object_ids: match audit.object_ids {
                raw::ObjectIds::Plain => ObjectIds::Plain,
                raw::ObjectIds::Hashed => ObjectIds::Hashed,
            },
            object_key: audit.object_key.as_ref().map(to_path),
        }
    }

    fn more_than_none(&mut self, key: &KeyPath, bytes: &Written<Bytes>) -> u64 {
        if bytes.0.0 == 0 {
            self.problem(key, "must be more than zero", "write a size like \"128MiB\"");
        }
        bytes.0.0
    }
}
