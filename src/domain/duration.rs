//! Durations as text: `250ms`, `30s`, `2h30m`, `90d`, `2w`. The configuration and the commands read them
//! here, so they are the same everywhere.

use std::{fmt, ops::Deref, str::FromStr, time::Duration};

use jiff::{SignedDuration, SpanRelativeTo};

/// A duration that prints as the configuration writes it. A day is 24 hours, and a week seven days.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

impl Span {
    /// A span of whole seconds.
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// A span of milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Only units of the configuration, so that the text can be pasted into it.
        let millis = self.0.as_millis();
        match millis {
            0 => f.write_str("0s"),
            m if m % 86_400_000 == 0 && m > 86_400_000 => write!(f, "{}d", m / 86_400_000),
            m if m % 3_600_000 == 0 => write!(f, "{}h", m / 3_600_000),
            m if m % 60_000 == 0 => write!(f, "{}m", m / 60_000),
            m if m % 1_000 == 0 => write!(f, "{}s", m / 1_000),
            m => write!(f, "{m}ms"),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Span {
    type Err = SpanError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let signed = text.parse::<SignedDuration>().or_else(|_| {
            // Only this form has days and weeks.
            text.parse::<jiff::Span>()?.to_duration(SpanRelativeTo::days_are_24_hours())
        });
        let signed = signed.map_err(|_| SpanError::Unreadable)?;
        let duration = Duration::try_from(signed).map_err(|_| SpanError::Unreadable)?;
        if duration > LONGEST {
            return Err(SpanError::TooLong);
        }
        Ok(Self(duration))
    }
}

impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        span.0
    }
}

impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(duration)
    }
}

impl Deref for Span {
    type Target = Duration;

    fn deref(&self) -> &Duration {
        &self.0
    }
}

/// Why a text is not a duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SpanError {
    /// It cannot be read.
    #[error(
        "not a duration; write it with a unit, like \"250ms\", \"30s\", \"10m\", \"2h30m\", \"90d\" or \"2w\""
    )]
    Unreadable,
    /// It is more than a hundred years.
    #[error("longer than a hundred years; give a shorter duration")]
    TooLong,
}

/// A hundred years: an instant that is so far away is still an instant.
const LONGEST: Duration = Duration::from_hours(24 * 36_525);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_duration_is_read_again() {
        for text in ["0s", "250ms", "30s", "10m", "1h", "24h", "90d", "1500ms"] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.to_string(), text);
        }
    }

    #[test]
    fn units_stand_alone_or_together() {
        for (text, hours) in
            [("2w", 336), ("90d", 2160), ("1d12h", 36), ("2w 1d", 360), ("25h", 25)]
        {
            assert_eq!(text.parse::<Span>().unwrap().0, Duration::from_hours(hours), "{text}");
        }
        assert_eq!("2h30m".parse(), Ok(Span::from_secs(9_000)));
    }

    #[test]
    fn other_texts_are_refused() {
        // A month and a year have no length of their own.
        for text in ["", "30", "soon", "-3s", "-2w", "3 parsecs", "d", "2mo", "1y"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError::Unreadable), "{text:?}");
        }
        assert!("876600h".parse::<Span>().is_ok());
        for text in ["876601h", "9223372036854775807s"] {
            assert_eq!(text.parse::<Span>(), Err(SpanError::TooLong), "{text:?}");
        }
    }
}
