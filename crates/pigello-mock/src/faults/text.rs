//! The text form of a fault: parsed and printed.

use std::{fmt, str::FromStr};

use bytes::Bytes;
use http::StatusCode;
use jiff::SignedDuration;

use super::fault::{Echo, Fault, Interruption};

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut fault = Self::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (directive, after) = match rest.strip_prefix("body=") {
                Some(_) => (rest, ""),
                None => rest.split_once(';').unwrap_or((rest, "")),
            };
            fault.apply(directive.trim())?;
            rest = after.trim_start();
        }
        Ok(fault)
    }
}

impl Fault {
    fn apply(&mut self, directive: &str) -> Result<(), FaultError> {
        let wrong = || FaultError(directive.to_owned());
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let value = value.trim();
        match (name.trim(), value) {
            ("delay", _) => {
                let delay: SignedDuration = value.parse().map_err(|_| wrong())?;
                self.delay = delay.try_into().map_err(|_| wrong())?;
            }
            ("status", _) => {
                let status: StatusCode = value.parse().map_err(|_| wrong())?;
                if status.is_informational() {
                    return Err(wrong());
                }
                self.status = Some(status);
            }
            ("body", _) => self.body = Some(Bytes::copy_from_slice(value.as_bytes())),
            ("header", _) => {
                let (name, value) = value.split_once(':').ok_or_else(wrong)?;
                let name = name.trim().parse().map_err(|_| wrong())?;
                let value = value.trim().parse().map_err(|_| wrong())?;
                self.headers.push((name, value));
            }
            ("echo", "") => self.echo = Some(Echo::Redacted),
            ("echo", "everything") => self.echo = Some(Echo::Everything),
            ("break", "connection") => self.interruption = Some(Interruption::CloseUnanswered),
            ("break", "head") => self.interruption = Some(Interruption::CutHead),
            ("break", "body") => self.interruption = Some(Interruption::CutBody),
            ("stall", "head") => self.interruption = Some(Interruption::StallHead),
            ("stall", "body") => self.interruption = Some(Interruption::StallBody),
            ("early", "") => self.early = true,
            ("method", _) => self.method = Some(value.parse().map_err(|_| wrong())?),
            ("path", _) if value.starts_with('/') => self.path = Some(value.to_owned()),
            ("times", "always") => self.times = None,
            ("times", _) => {
                let times = value.parse().ok().filter(|times| *times > 0).ok_or_else(wrong)?;
                self.times = Some(times);
            }
            ("", "") => {}
            _ => return Err(wrong()),
        }
        Ok(())
    }
}

/// Prints the text form, which parses to the same fault.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            Some(times) => write!(f, "times={times}")?,
            None => f.write_str("times=always")?,
        }
        if let Some(method) = &self.method {
            write!(f, "; method={method}")?;
        }
        if let Some(path) = &self.path {
            write!(f, "; path={path}")?;
        }
        if !self.delay.is_zero() {
            let delay = SignedDuration::try_from(self.delay).unwrap_or(SignedDuration::MAX);
            write!(f, "; delay={delay:#}")?;
        }
        if let Some(status) = self.status {
            write!(f, "; status={}", status.as_u16())?;
        }
        for (name, value) in &self.headers {
            write!(f, "; header={name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        f.write_str(match self.echo {
            Some(Echo::Redacted) => "; echo",
            Some(Echo::Everything) => "; echo=everything",
            None => "",
        })?;
        if self.early {
            f.write_str("; early")?;
        }
        if let Some(interruption) = self.interruption {
            write!(f, "; {}", interruption.as_str())?;
        }
        match &self.body {
            Some(body) => write!(f, "; body={}", String::from_utf8_lossy(body)),
            None => Ok(()),
        }
    }
}

/// An unknown directive, or one with an invalid value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no directive of a fault; write them like `delay=2s; status=503; times=3`")]
pub struct FaultError(String);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// What parses prints a text that parses to the same fault.
        #[test]
        fn printed_faults_parse_to_the_same(
            parts in prop::collection::vec(
                ("delay|status|body|header|echo|break|stall|early|method|path|times|x|",
                 "=?", "[ -~]{0,6}|[0-9]{1,5}(ms|s)?|/[a-z]*|a: b|head|body|always"),
                0..5,
            ),
        ) {
            let text: Vec<_> = parts.iter().map(|(a, b, c)| format!("{a}{b}{c}")).collect();
            if let Ok(fault) = text.join(";").parse::<Fault>() {
                let printed = fault.to_string();
                prop_assert_eq!(printed.parse::<Fault>().unwrap().to_string(), printed);
            }
        }
    }

    #[test]
    fn texts_parse_and_print_unchanged() {
        for text in [
            "times=1",
            "times=always; delay=250ms",
            "times=3; method=GET; path=/accounts/; status=503; header=retry-after: 7",
            "times=1; header=cache-control: max-age=60, private; header=vary: *; echo",
            "times=1; echo=everything; break=head",
            "times=1; break=connection",
            "times=2; stall=head",
            "times=1; status=413; early",
            "times=1; stall=body",
            "times=1; status=500; break=body; body=a; b=c",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().to_string(), text);
        }
        assert_eq!(
            " status = 503 ;; echo ".parse::<Fault>().unwrap().to_string(),
            "times=1; status=503; echo"
        );
    }

    #[test]
    fn invalid_directives_are_errors() {
        for text in [
            "nonsense",
            "status=99",
            "status=100",
            "status=abc",
            "delay=7",
            "header=x",
            "header=a b: c",
            "break=tea",
            "stall",
            "echo=loud",
            "path=accounts",
            "times=0",
            "times=-1",
            "method=G T",
        ] {
            let error = text.parse::<Fault>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
    }
}
