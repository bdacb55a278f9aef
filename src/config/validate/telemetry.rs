//! Checks `[telemetry]`: no record leaves in clear, and no key is without an effect.

use super::checker::Checker;
use crate::config::key::KeyPath;

impl Checker<'_> {
    pub(super) fn telemetry(&mut self) {
        let telemetry = &self.config.telemetry;
        let table = KeyPath::root().key("telemetry");
        let Some(endpoint) = &telemetry.otlp_endpoint else {
            for (key, file) in [
                ("otlp_ca_file", &telemetry.otlp_ca_file),
                ("otlp_headers_file", &telemetry.otlp_headers_file),
            ] {
                if file.is_some() {
                    self.warning(
                        &table.key(key),
                        "has no effect without a collector",
                        "name one with `otlp_endpoint`, or remove the key",
                    );
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
