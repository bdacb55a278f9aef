//! Sends lines to the collector in requests that it takes.

use http::StatusCode;

use super::{log_record, reader::StableLine, source::LineSource};
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
    /// Where the lines come from that were sent last.
    source: LineSource,
}

impl Delivery {
    /// `source` is that of the lines before the first one that is sent.
    pub(super) fn new(collector: Collector, source: LineSource) -> Self {
        Self { collector, most: BATCH, source }
    }

    /// The source of the last line that was sent.
    pub(super) fn source(&self) -> &LineSource {
        &self.source
    }

    /// Sends the first of the lines. Returns how many the collector is done with, and which of them it has
    /// refused for good. An error means that the request should be repeated after a pause.
    pub(super) async fn send(
        &mut self,
        lines: &[StableLine],
    ) -> Result<(usize, Option<Rejection>), CollectorError> {
        if let Some(source) = lines.first().and_then(|line| LineSource::begins_at(&line.text)) {
            self.source = source;
        }
        // A request is of one source, and a `start` may begin another.
        let is_of_another = |line: &StableLine| LineSource::begins_at(&line.text).is_some();
        let of_one = lines.iter().skip(1).position(is_of_another).map_or(lines.len(), |at| at + 1);
        let lines = lines.get(..of_one).unwrap_or_default();
        loop {
            let part = lines.get(..self.most.min(lines.len())).unwrap_or_default();
            let records = part.iter().filter_map(|line| log_record::encode(&line.text)).collect();
            let message = request(SCOPE, self.source.attributes(), records);
            let refused = match self.collector.send(&message).await {
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
