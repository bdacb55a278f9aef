//! The two text formats of metrics, and which one a scraper gets.
//!
//! The registry writes `OpenMetrics` 1.0. The text format 0.0.4 of Prometheus differs in the names that its
//! comments have: they are those of the samples.

use std::fmt::Write as _;

use http::HeaderMap;

use super::{Described, METRICS};

/// A text format of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextFormat {
    /// `OpenMetrics` 1.0.0.
    OpenMetrics,
    /// Prometheus 0.0.4.
    Prometheus,
}

impl TextFormat {
    /// The format that an `Accept` (RFC 9110 §12.5.1) prefers. Without a preference it is that of Prometheus,
    /// which everything reads.
    pub fn negotiate(headers: &HeaderMap) -> Self {
        let accepted: Vec<_> = headers
            .get_all(http::header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(MediaRange::parse)
            .collect();
        let quality = |kind: &str, subtype: &str| {
            let fits = accepted.iter().filter_map(|range| range.fit(kind, subtype));
            fits.max_by_key(|(precision, _)| *precision).map_or(0, |(_, quality)| quality)
        };
        if quality("application", "openmetrics-text") > quality("text", "plain") {
            Self::OpenMetrics
        } else {
            Self::Prometheus
        }
    }

    /// Its media type.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
        }
    }

    /// From `OpenMetrics` to this format.
    pub fn of_open_metrics(self, text: String) -> String {
        match self {
            Self::OpenMetrics => text,
            Self::Prometheus => prometheus(&text),
        }
    }
}

/// One range of an `Accept`.
struct MediaRange<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// In thousandths.
    quality: u16,
}

impl<'a> MediaRange<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let quality = parts.find_map(|part| {
            let (name, value) = part.split_once('=')?;
            name.trim().eq_ignore_ascii_case("q").then(|| thousandths(value.trim()))
        });
        Some(Self { kind, subtype, quality: quality.unwrap_or(1000) })
    }

    /// How precisely the range names the type, and its quality; `None` if it does not.
    fn fit(&self, kind: &str, subtype: &str) -> Option<(u8, u16)> {
        let precision = match (self.kind, self.subtype) {
            ("*", "*") => 0,
            (own, "*") if own.eq_ignore_ascii_case(kind) => 1,
            (own, sub) if own.eq_ignore_ascii_case(kind) && sub.eq_ignore_ascii_case(subtype) => 2,
            _ => return None,
        };
        Some((precision, self.quality))
    }
}

/// A `qvalue` in thousandths. One that is none makes the range unwanted.
fn thousandths(text: &str) -> u16 {
    let value: f32 = text.parse().unwrap_or_default();
    // Between 0 and 1000, so nothing is cut off.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 1000")]
    let thousandths = (value.clamp(0.0, 1.0) * 1000.0) as u16;
    thousandths
}

fn prometheus(open_metrics: &str) -> String {
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        let comment = line.strip_prefix("# ").and_then(|comment| comment.split_once(' '));
        let described = comment.and_then(|(what, rest)| {
            let (name, rest) = rest.split_once(' ')?;
            let metric = described(name)?;
            Some((what, metric, rest))
        });
        // Writing to a string cannot fail.
        let _infallible = match described {
            Some(("HELP", metric, help)) => {
                writeln!(text, "# HELP {PREFIX}{} {help}", metric.name)
            }
            Some(("TYPE", metric, _)) => {
                let kind = if metric.kind == "info" { "gauge" } else { metric.kind };
                writeln!(text, "# TYPE {PREFIX}{} {kind}", metric.name)
            }
            // There are no units, and nothing marks the end.
            _ if line.starts_with("# ") => Ok(()),
            _ => writeln!(text, "{line}"),
        };
    }
    text
}

/// The metric that the registry calls so.
fn described(registered: &str) -> Option<&'static Described> {
    let name = registered.strip_prefix(PREFIX)?;
    METRICS
        .iter()
        .find(|metric| matches!(metric.name.strip_prefix(name), Some("" | "_total" | "_info")))
}

const PREFIX: &str = "pigello_gateway_";

#[cfg(test)]
mod tests {
    use http::{HeaderValue, header::ACCEPT};

    use super::*;
    use crate::{audit::testing::record, telemetry::Metrics};

    #[test]
    fn a_scraper_gets_what_it_prefers() {
        use TextFormat::{OpenMetrics, Prometheus};
        let prometheus = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;\
                          q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        for (accept, expected) in [
            (&[][..], Prometheus),
            (&[""], Prometheus),
            (&["*/*"], Prometheus),
            (&["text/plain"], Prometheus),
            (&["application/json"], Prometheus),
            (&[prometheus], OpenMetrics),
            (&["application/openmetrics-text"], OpenMetrics),
            (&["Application/OpenMetrics-Text ; Q=0.5, text/plain;q=0.4"], OpenMetrics),
            (&["application/openmetrics-text;q=0.4, text/plain;q=0.5"], Prometheus),
            (&["application/openmetrics-text;q=0, */*"], Prometheus),
            (&["text/plain;q=0", "*/*;q=0.2"], OpenMetrics),
            (&["application/*, text/*;q=0.9"], OpenMetrics),
            (&["application/openmetrics-text, text/plain"], Prometheus),
            (&["application/openmetrics-text;q=x"], Prometheus),
            (&["text/plain;q=0.001, application/openmetrics-text;q=0.002"], OpenMetrics),
        ] {
            let mut headers = HeaderMap::new();
            for value in accept {
                headers.append(ACCEPT, HeaderValue::from_static(value));
            }
            assert_eq!(TextFormat::negotiate(&headers), expected, "{accept:?}");
        }
    }

    #[test]
    fn comments_have_the_names_of_the_samples() {
        let metrics = Metrics::new(0);
        metrics.observe(&record());
        let text = prometheus(&metrics.encode().unwrap());
        assert!(text.contains("# TYPE pigello_gateway_build_info gauge\n"), "{text}");
        assert!(text.contains("# TYPE pigello_gateway_calls_total counter\n"), "{text}");
        assert!(
            text.contains("# TYPE pigello_gateway_call_duration_seconds histogram\n"),
            "{text}"
        );
        assert!(!text.contains("# EOF") && text.ends_with('\n'), "{text}");
        let typed: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        for sample in text.lines().filter(|line| !line.starts_with('#')) {
            let name = sample.split(['{', ' ']).next().unwrap();
            let is_of = |typed: &&str| {
                let of = typed.split(' ').next().unwrap();
                name == of || name.strip_prefix(of).is_some_and(|rest| rest.starts_with('_'))
            };
            assert!(typed.iter().any(is_of), "{sample}");
        }
    }
}
