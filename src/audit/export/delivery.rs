//! Sends lines to the collector in requests that it takes.

use http::StatusCode;

use super::{log_record, reader::StableLine};
use crate::{
    audit::encode::Rejection,
    outbound::{Collector, CollectorError, otlp::request},
};

/// A collector, and how many lines it takes at once.
#[derive(Debug)]
pub(super) struct Delivery {
    collector: Collector,
    /// Halved when a request is too large, and one more for each request that is not.
    most: usize,
}

impl Delivery {
    pub(super) fn new(collector: Collector) -> Self {
        Self { collector, most: BATCH }
    }

    /// Sends the first of the lines. Returns how many the collector is done with, and which of them it has
    /// refused for good. An error means that the request should be repeated after a pause.
    pub(super) async fn send(
        &mut self,
        lines: &[StableLine],
    ) -> Result<(usize, Option<Rejection>), CollectorError> {
        loop {
            let part = lines.get(..self.most.min(lines.len())).unwrap_or_default();
            let records = part.iter().filter_map(|line| log_record::encode(&line.text)).collect();
            let refused = match self.collector.send(&request(SCOPE, records)).await {
                Ok(left_out) if left_out.rejected > 0 => {
                    Some((StatusCode::OK, u64::try_from(left_out.rejected).unwrap_or_default()))
                }
                Ok(_) => None,
                Err(error) => match error.refusal() {
                    None => return Err(error),
                    Some(StatusCode::PAYLOAD_TOO_LARGE) if part.len() > 1 => {
                        self.most = part.len() / 2;
                        continue;
                    }
                    Some(status) => Some((status, part.len() as u64)),
                },
            };
            self.most = (self.most + 1).min(BATCH);
            let rejection = refused.and_then(|(status, records)| {
                let (from, to) = (part.first()?.seq, part.last()?.seq);
                Some(Rejection { from, to, records: records.min(part.len() as u64), status })
            });
            return Ok((part.len(), rejection));
        }
    }
}

/// The lines of one request: some 600 KiB before it is compressed.
pub(super) const BATCH: usize = 512;
const SCOPE: &str = "pigello-gateway.audit";
