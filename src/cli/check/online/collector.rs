//! Tests the way to the telemetry collector: a connection, over which nothing is sent.

use std::time::Duration;

use super::{Step, advice};
use crate::{config::types::Telemetry, error::Chain, outbound::Collector};

/// One step, if there is a collector.
pub(super) async fn look(telemetry: &Telemetry) -> Option<Step> {
    let settings = telemetry.collector()?;
    let endpoint = &settings.endpoint;
    let what = "collector";
    let collector = match Collector::new(&settings, LIMIT) {
        Ok(collector) => collector,
        Err(error) => return Some(Step::bad(what, Chain(&error).to_string())),
    };
    Some(match collector.reach().await {
        Ok(()) => {
            let way = advice::way(settings.proxy.proxy_to(endpoint).as_ref());
            Step::good(what, format!("{endpoint} accepts connections{way}"))
        }
        Err(error) => {
            let hint = match advice::tunnel_error(&error) {
                Some(error) => advice::for_tunnel(error, "telemetry", &endpoint.to_string()),
                None => format!(
                    "is `telemetry.otlp_endpoint` right, and does {endpoint} accept connections?"
                ),
            };
            Step::bad(what, format!("{endpoint}: {}", Chain(&error))).advise(Some(hint))
        }
    })
}

/// How long the collector may take.
const LIMIT: Duration = Duration::from_secs(5);
