//! Checks `[timeouts]`, `[limits]` and `[breaker]`: what must be above zero is, and no time-out is
//! longer than the one around it. The operating system has to allow as many connections.

use super::checker::Checker;
use crate::{config::key::KeyPath, process::open_files};

impl Checker<'_> {
    pub(super) fn timeouts(&mut self) {
        let timeouts = &self.config.timeouts;
        let table = KeyPath::root().key("timeouts");
        for (key, span) in [
            ("connect", timeouts.connect),
            ("resolve", timeouts.resolve),
            ("request", timeouts.request),
            ("first_byte", timeouts.first_byte),
            ("upstream_read", timeouts.upstream_read),
            ("idle", timeouts.idle),
            ("write", timeouts.write),
            ("header_read", timeouts.header_read),
            ("body_read", timeouts.body_read),
            ("upstream_idle", timeouts.upstream_idle),
            ("connection_age", timeouts.connection_age),
        ] {
            self.above_zero(&table.key(key), span);
        }
        for (key, part) in [
            ("connect", timeouts.connect),
            ("first_byte", timeouts.first_byte),
            ("upstream_read", timeouts.upstream_read),
        ] {
            // A short `request` beside a default is no mistake.
            let key = table.key(key);
            if part > timeouts.request && self.locations.is_set(&key) {
                let message = "is longer than `timeouts.request`, so it never ends first";
                self.warning(&key, message, "make it shorter");
            }
        }
    }

    pub(super) fn limits(&mut self) {
        let key = KeyPath::root().key("limits").key("header_bytes");
        self.more_than_none(&key, self.config.limits.header_bytes, "32KiB");
        if let Some(age) = self.config.limits.connection_age {
            self.above_zero(&KeyPath::root().key("limits").key("connection_age"), age);
        }
        self.parts_of_connections();
        self.open_files(open_files::most_connections());
    }

    /// The default asks for more than small machines have, and is no mistake there.
    fn open_files(&mut self, most: Option<usize>) {
        let Some(most) = most else { return };
        let limits = &self.config.limits;
        let key = KeyPath::root().key("limits").key("connections");
        let wanted =
            if self.locations.is_set(&key) { limits.connections } else { limits.in_flight };
        if most < wanted {
            self.warning(
                &key,
                format!("there are open files for {most} connections only; more are not accepted"),
                "raise the hard limit where the gateway runs (`ulimit -Hn`, `LimitNOFILE` of a systemd unit): \
                 two for each connection, and 128",
            );
        }
    }

    /// Every listener has a part, and together the parts are no more than the whole.
    fn parts_of_connections(&mut self) {
        let (limits, listeners) = (&self.config.limits, &self.config.listeners);
        let own = listeners.iter().filter_map(|listener| listener.connections);
        let own = own.fold(0_usize, usize::saturating_add);
        let without = listeners.iter().filter(|listener| listener.connections.is_none()).count();
        let least = own.saturating_add(without);
        let table = KeyPath::root().key("limits");
        if least > limits.connections {
            self.problem(
                &table.key("connections"),
                "is less than the listeners' own `connections` and one for each other listener",
                format!("set it to {least} or more, or lower the `connections` of a listener"),
            );
        }
        if limits.connections_per_peer.is_some_and(|most| most > limits.connections) {
            self.warning(
                &table.key("connections_per_peer"),
                "is more than `limits.connections`, so it has no effect",
                "lower it, or remove it",
            );
        }
    }

    pub(super) fn breaker(&mut self) {
        let key = KeyPath::root().key("breaker").key("pause");
        self.above_zero(&key, self.config.breaker.pause);
    }
}
