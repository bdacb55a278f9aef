//! Checks `[notices]`, and the keys of cache rules that rest on it.

use std::time::Duration;

use super::checker::Checker;
use crate::{
    config::key::KeyPath,
    domain::CanonicalTarget,
    fleet::Role,
    notices::{EventLogChoice, Settings, Webhook},
    proxy::cache::Rule,
};

impl Checker<'_> {
    pub(super) fn notices(&mut self) -> Settings {
        let notices = &self.config.notices;
        let table = KeyPath::root().key("notices");
        let is_path = notices.path.parse::<CanonicalTarget>().is_ok_and(|it| it.query().is_none());
        if !is_path {
            self.problem(
                &table.key("path"),
                "is no path",
                "write the path of the list, like \"/common/eventlog/list/\"",
            );
        }
        if *notices.interval < Duration::from_secs(1) {
            self.problem(
                &table.key("interval"),
                "is less than a second",
                "write \"1s\" or more: each profile makes a call to Pigello as often",
            );
        }
        if notices.overlap < notices.interval {
            self.problem(
                &table.key("overlap"),
                "is shorter than `interval`",
                "make it longer than an event may take to become visible, like \"2m\"",
            );
        }
        for (key, span) in [("interval", notices.interval), ("overlap", notices.overlap)] {
            if *span > LONGEST {
                self.problem(&table.key(key), "is more than an hour", "make it shorter");
            }
        }
        if *notices.settle > LONGEST {
            self.problem(&table.key("settle"), "is more than an hour", "make it shorter");
        }
        for (at, rule) in self.config.cache.rules.iter().enumerate() {
            self.coherent_rule(&KeyPath::root().key("cache").key("rules").index(at), rule);
        }
        if let Some(webhook) = &notices.webhook {
            self.webhook(&table.key("webhook"), webhook);
            if self.config.fleet.as_ref().is_some_and(|fleet| fleet.role == Role::Member) {
                self.warning(
                    &table.key("webhook"),
                    "is on a gateway that is one of many: its webhooks are lost while it is away",
                    "write `role = \"hub\"` in [fleet] if it is to do this for all, or remove it: the hubs tell all members",
                );
            }
        }
        notices.clone()
    }

    fn coherent_rule(&mut self, key: &KeyPath, rule: &Rule) {
        for (at, of_type) in rule.depends_on.iter().enumerate() {
            if !of_type.bytes().any(|byte| byte.is_ascii_alphanumeric()) {
                self.problem(
                    &key.key("depends_on").index(at),
                    "is no type of objects",
                    "write one as events name it, like \"subtenanttenantconnection\"",
                );
            }
        }
        let Some(coherent_ttl) = rule.coherent_ttl else { return };
        let key = key.key("coherent_ttl");
        let is_read = self.config.notices.event_log == EventLogChoice::Poll;
        // Other members of the fleet may read it for this one.
        if !is_read && self.config.fleet.is_none() {
            self.warning(
                &key,
                "has no effect: without the event log, nothing proves that no notice was missed",
                "write `event_log = \"poll\"` in [notices], or remove it",
            );
        } else if coherent_ttl <= rule.ttl {
            self.warning(&key, "has no effect: it is no longer than `ttl`", "make it longer");
        }
        if !rule.paths.is_empty() && rule.depends_on.is_empty() {
            self.problem(
                &key,
                "no notice is known to be about these `paths`",
                "name the types of their objects in `depends_on`, or name them with [[operations]]",
            );
        }
    }

    fn webhook(&mut self, table: &KeyPath, webhook: &Webhook) {
        let address = &webhook.listener;
        self.socket_path(&table.key("listener"), address);
        let is_local = address.is_local();
        match (&webhook.certificate, &webhook.private_key) {
            (Some(_), Some(_)) => {}
            (None, None) if is_local => {}
            (None, _) => self.problem(
                &table.key("certificate"),
                "is missing: the token of a webhook goes over this connection",
                "name the certificate chain, a PEM file",
            ),
            (Some(_), None) => self.problem(
                &table.key("private_key"),
                "is missing",
                "name the private key of the certificate, a PEM file",
            ),
        }
        let config = self.config;
        let others = config.listeners.iter().map(|it| Some(&it.address));
        let admin = config.admin.address.as_ref().filter(|_| config.admin.enabled);
        let mut others = others.chain([admin, config.metrics.address.as_ref()]).flatten();
        if others.any(|other| other.excludes(address)) {
            self.problem(
                &table.key("listener"),
                "another listener has the same address",
                "give webhooks an address of their own",
            );
        }
    }
}

/// No stored response lives much longer.
const LONGEST: Duration = Duration::from_hours(1);
