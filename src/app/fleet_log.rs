//! Keeps the fleet log of a hub: reads the records of all members, and has their heads judged and logged.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::{audit::FleetLog, error::Chain, fleet::Member};

/// Runs until it is dropped. Nothing waits for it.
pub(super) async fn keep(log: Arc<FleetLog>, member: Arc<Member>) {
    let kept = Arc::clone(&log);
    if let Ok(Err(error)) = tokio::task::spawn_blocking(move || kept.read_back()).await {
        tracing::error!(error = %Chain(&error), "what the fleet log has from before cannot be read");
    }
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut ended_since, mut read) = (0, None::<Instant>);
    let mut is_writable = true;
    loop {
        tick.tick().await;
        if let Ok(seen) = member.last_records(&mut ended_since).await {
            let now = Instant::now();
            let passed = read.replace(now).map_or(Duration::ZERO, |read| now.duration_since(read));
            log.observe(&seen, passed.min(2 * EVERY));
        }
        let was_writable = std::mem::replace(&mut is_writable, log.is_writable());
        if was_writable && !is_writable {
            tracing::error!("the fleet log cannot be written; heads of trails are missing in it");
        }
    }
}

/// The time between two readings. A member writes its record every ten seconds.
const EVERY: Duration = Duration::from_secs(5);
