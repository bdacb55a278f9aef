//! Checks `[fleet]`: there is one way to the store, and neither password nor notice leaves this machine in clear.

use std::time::Duration;

use super::checker::Checker;
use crate::{
    config::key::KeyPath,
    fleet::{Settings, StoreSettings},
};

impl Checker<'_> {
    pub(super) fn fleet(&mut self) -> Option<Settings> {
        let fleet = self.config.fleet.as_ref()?;
        let table = KeyPath::root().key("fleet").key("store");
        let store = &fleet.store;
        self.way_to_store(&table, store);
        self.store_tls(&table, store);
        for (user, file, has_user, has_file) in [
            ("username", "password_file", store.username.is_some(), store.password_file.is_some()),
            (
                "sentinel_username",
                "sentinel_password_file",
                store.sentinel_username.is_some(),
                store.sentinel_password_file.is_some(),
            ),
        ] {
            if has_user && !has_file {
                let message = format!("is of no use without `{file}`");
                self.problem(&table.key(user), message, "name the file with the password");
            }
        }
        self.above_zero(&table.key("reconnect"), store.reconnect);
        if *store.wait > LONGEST_WAIT {
            self.problem(
                &table.key("wait"),
                "is more than a second, and a write may wait as long for its answer",
                "write \"30ms\", or as long as the store may take",
            );
        }
        Some(fleet.clone())
    }

    fn way_to_store(&mut self, table: &KeyPath, store: &StoreSettings) {
        let sentinels = table.key("sentinels");
        match (&store.address, store.sentinels.is_empty()) {
            (None, true) => self.problem(
                &table.key("address"),
                "is missing",
                "write `address = \"valkey.internal:6379\"`, or `sentinels` and `service`",
            ),
            (Some(_), false) => self.problem(
                &sentinels,
                "and `address` cannot both say where the store is",
                "remove one of them",
            ),
            (None, false) if store.service.is_none() => self.problem(
                &table.key("service"),
                "is missing: what do the sentinels call the store?",
                "write the name of `sentinel monitor NAME …`, often `mymaster`",
            ),
            _ => {}
        }
        if store.sentinels.is_empty() {
            for (key, is_set) in [
                ("service", store.service.is_some()),
                ("sentinel_username", store.sentinel_username.is_some()),
                ("sentinel_password_file", store.sentinel_password_file.is_some()),
            ] {
                if is_set {
                    let message = "has no effect without `sentinels`";
                    self.warning(&table.key(key), message, "name the sentinels, or remove it");
                }
            }
        }
    }

    fn store_tls(&mut self, table: &KeyPath, store: &StoreSettings) {
        if !store.tls && store.addresses().any(|address| !address.is_local()) {
            self.problem(
                &table.key("tls"),
                "is off, and the store is on another machine, so the password would travel in clear",
                "remove the key, or name a store on this machine",
            );
        }
        if store.certificate.is_some() != store.private_key.is_some() {
            let (there, missing) = match store.certificate {
                Some(_) => ("certificate", "private_key"),
                None => ("private_key", "certificate"),
            };
            self.problem(
                &table.key(there),
                format!("is of no use without `{missing}`"),
                format!("add `{missing} = …` to [fleet.store]"),
            );
        }
        if !store.is_tls() {
            for (key, is_set) in
                [("ca_file", store.ca_file.is_some()), ("certificate", store.certificate.is_some())]
            {
                if is_set {
                    let message = "has no effect, because the store is reached without TLS";
                    self.warning(&table.key(key), message, "remove it");
                }
            }
        }
    }
}

/// A store that takes longer is none.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
