//! From exec to the first good answer, and memory at rest.

use std::{thread, time::Duration};

use super::{
    contestant::{Contestant, Origin},
    exchange::{Connection, request},
    failure::Failure,
    machine::{self, Whole},
    measure::Measurement,
    workload::Workload,
};

/// Measures one start. The first answer comes from the upstream, so its first TLS handshake is in it.
pub fn measure(contestant: &Contestant, origin: &Origin) -> Result<Measurement, Failure> {
    let machine = Whole::now();
    let running = contestant.start(&origin.authority, origin.address(Workload::Start))?;
    let request = request("GET", Workload::Start.target(), "", "");
    loop {
        let answered = Connection::open(running.address)
            .and_then(|mut connection| connection.call(&request))
            .is_ok_and(|answer| answer.status.is_success());
        if answered {
            break;
        }
        if running.process.age() > PATIENCE {
            return Err(Failure::new(format!("{contestant} gives no good answer")));
        }
        thread::sleep(Duration::from_micros(200));
    }
    let start = running.process.age();
    // At rest: what starting took is given back, or will never be.
    thread::sleep(Duration::from_secs(1));
    let foreign = machine.foreign_since(Duration::ZERO);
    let (rss_kib, pss_kib) = machine::memory(running.process.id());
    Ok(Measurement {
        start_ms: Some(start.as_secs_f64() * 1000.0),
        foreign,
        rss_kib,
        pss_kib,
        ..Measurement::default()
    })
}

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(10);
