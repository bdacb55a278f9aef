//! The lines that the collector refuses for good: said in the log, and marked on the trail.
//!
//! A marker is a line that is exported, too. So a marker is made only for other lines, and not more than one a
//! minute: a collector that refuses everything does not make the trail grow by itself.

use std::time::{Duration, Instant};

use http::StatusCode;

use super::reader::StableLine;
use crate::audit::encode::Rejection;

/// What has been refused.
#[derive(Debug, Default)]
pub(super) struct Rejections {
    /// What no marker tells of yet.
    untold: Option<Rejection>,
    last_marker: Option<Instant>,
    /// The status of the last refusal, until a request is taken.
    logged: Option<StatusCode>,
}

impl Rejections {
    /// Notes what became of some lines. Returns the marker to write, if one is due.
    pub(super) fn note(
        &mut self,
        lines: &[StableLine],
        rejection: Option<Rejection>,
        now: Instant,
    ) -> Option<Rejection> {
        let Some(rejection) = rejection else {
            self.logged = None;
            return self.untold.take();
        };
        let Rejection { from, to, records, status } = rejection;
        if self.logged.replace(status) != Some(status) {
            tracing::error!(
                from,
                to,
                records,
                %status,
                "the collector refuses lines of the audit trail for good; they are marked on the trail, and stay there"
            );
        }
        if let Some(untold) = &mut self.untold
            && untold.status == status
        {
            untold.to = to;
            untold.records += records;
            return self.due(now);
        }
        if lines.iter().all(StableLine::is_of_housekeeping) {
            return None;
        }
        self.untold.replace(rejection).or_else(|| self.due(now))
    }

    /// The marker to write, if one is due.
    pub(super) fn due(&mut self, now: Instant) -> Option<Rejection> {
        let is_early =
            self.last_marker.is_some_and(|last| now.duration_since(last) < BETWEEN_MARKERS);
        if is_early {
            return None;
        }
        let marker = self.untold.take()?;
        self.last_marker = Some(now);
        Some(marker)
    }

    /// The first line that was refused and that no marker tells of.
    pub(super) fn first_untold(&self) -> Option<u64> {
        self.untold.as_ref().map(|untold| untold.from)
    }
}

const BETWEEN_MARKERS: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(kind: &str) -> Vec<StableLine> {
        let text =
            format!("{{\"kind\":\"{kind}\",\"schema\":1,\"seq\":1,\"time\":\"x\"").into_bytes();
        vec![StableLine { seq: 1, text }]
    }

    fn refused(from: u64, to: u64, status: u16) -> Rejection {
        let status = StatusCode::from_u16(status).unwrap();
        Rejection { from, to, records: to - from + 1, status }
    }

    #[test]
    fn a_series_of_refusals_is_one_marker_a_minute() {
        let (mut rejections, start) = (Rejections::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut note = |from, to, status, seconds| {
            rejections.note(&lines("call"), Some(refused(from, to, status)), at(seconds))
        };
        assert_eq!(note(1, 5, 400, 0), Some(refused(1, 5, 400)), "the first at once");
        assert_eq!(note(6, 7, 400, 10), None);
        assert_eq!(note(8, 9, 400, 20), None);
        assert_eq!(
            note(10, 10, 404, 30),
            Some(refused(6, 9, 400)),
            "another status, another marker"
        );
        assert_eq!(note(11, 12, 404, 90), Some(refused(10, 12, 404)));
        assert_eq!(note(13, 13, 404, 91), None);
        assert_eq!(rejections.first_untold(), Some(13));
        assert_eq!(rejections.note(&lines("call"), None, at(92)), Some(refused(13, 13, 404)));
        assert_eq!(rejections.first_untold(), None);
    }

    #[test]
    fn a_refused_marker_makes_no_marker() {
        let (mut rejections, now) = (Rejections::default(), Instant::now());
        for kind in ["export_rejected", "checkpoint"] {
            assert_eq!(rejections.note(&lines(kind), Some(refused(1, 1, 400)), now), None);
            assert_eq!(rejections.first_untold(), None);
        }
    }
}
