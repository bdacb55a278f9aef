//! Checks `[telemetry]`: no record leaves in clear, and no key is without an effect.

use super::checker::Checker;
use crate::config::key::KeyPath;

impl Checker<'_> {
    pub(super) fn telemetry(&mut self) {
        let telemetry = &self.config.telemetry;
        let table = KeyPath::root().key("telemetry");
        if telemetry.top_profiles > MOST_NAMED {
            self.problem(
                &table.key("top_profiles"),
                format!("is more than {MOST_NAMED}, and each profile has many series"),
                "the default of 20 is enough for an overview; `GET /profiles` has all",
            );
        }
        let endpoint = telemetry.otlp_endpoint.as_ref();
        self.forward_proxy(&table, &telemetry.forward_proxy(), endpoint);
        let Some(endpoint) = endpoint else {
            for (key, is_set) in [
                ("otlp_ca_file", telemetry.otlp_ca_file.is_some()),
                ("otlp_headers_file", telemetry.otlp_headers_file.is_some()),
                ("proxy", telemetry.proxy.is_some()),
            ] {
                if is_set {
                    let message = "has no effect without `otlp_endpoint`";
                    self.warning(&table.key(key), message, "set `otlp_endpoint`, or remove it");
                }
            }
            return;
        };
        if !endpoint.is_tls() && !endpoint.is_loopback() {
            self.problem(
                &table.key("otlp_endpoint"),
                "plain `http://` leads to another machine, so records and traces would travel in clear",
                "write `https://`, or send to a collector on this machine",
            );
        }
    }
}

/// As many as a Prometheus does not mind.
const MOST_NAMED: usize = 1000;
