//! Checks `[telemetry]`: no record leaves in clear.

use super::checker::Checker;
use crate::config::key::KeyPath;

impl Checker<'_> {
    pub(super) fn telemetry(&mut self) {
        let Some(endpoint) = &self.config.telemetry.otlp_endpoint else { return };
        if !endpoint.is_tls() && !endpoint.is_loopback() {
            self.problem(
                &KeyPath::root().key("telemetry").key("otlp_endpoint"),
                "plain `http://` leads to another machine, so records and traces would travel in clear",
                "write `https://`, or send to a collector on this machine",
            );
        }
    }
}
