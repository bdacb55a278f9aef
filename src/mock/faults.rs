//! Misbehaviour on demand: what the mock does instead of, or besides, answering properly.
//!
//! A [`Fault`] is made in the process or written as text, the same text everywhere: in the request
//! header [`FAULT_HEADER`] for the request that carries it, and in a `POST` to
//! `/__mock__/faults` for requests to come (see [`super::control`]).
//! Its directives are separated by `;`:
//!
//! | directive | meaning |
//! | --- | --- |
//! | `delay=250ms` | waits before it answers |
//! | `status=503` | answers with this status and a small JSON body |
//! | `body=…` | answers with this text; it is the last directive, and may hold `;` |
//! | `header=cache-control: max-age=60` | adds a response header, in place of one of that name; may be repeated |
//! | `echo` | answers with the request as JSON, the `X-PIGELLO-*` values left out |
//! | `echo=everything` | the same with those values: what a careless error page would do |
//! | `break=connection` | closes the connection without an answer |
//! | `break=head` | closes it in the middle of the response's head |
//! | `break=body` | breaks off in the middle of the body |
//! | `stall=head` | never answers |
//! | `stall=body` | sends half of the body and then nothing more |
//! | `early` | answers without reading the request's body |
//! | `method=GET` | only requests with this method |
//! | `path=/accounts/users/customer/` | only requests whose path begins so |
//! | `times=3` | this many requests; `always` until the faults are cleared; 1 if left out |
//!
//! Where a fault says nothing of the answer (`delay`, `header`, `break`, `stall` alone), it is the
//! proper one. A request that carries a fault uses up none of those that wait.

use std::{collections::VecDeque, fmt, str::FromStr, time::Duration};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

use crate::domain::Span;

/// The request header that carries a fault for the request itself.
pub const FAULT_HEADER: HeaderName = HeaderName::from_static("x-mock-fault");

/// What the mock is to do with one request or several.
#[derive(Clone, Debug)]
pub struct Fault {
    method: Option<Method>,
    path: Option<String>,
    times: Option<u64>,
    pub(super) delay: Duration,
    pub(super) status: Option<StatusCode>,
    pub(super) body: Option<Bytes>,
    pub(super) echo: Option<Echo>,
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
    pub(super) mishap: Option<Mishap>,
    pub(super) early: bool,
}

impl Fault {
    /// Changes nothing yet, for one request.
    pub fn new() -> Self {
        Self {
            method: None,
            path: None,
            times: Some(1),
            delay: Duration::ZERO,
            status: None,
            body: None,
            echo: None,
            headers: Vec::new(),
            mishap: None,
            early: false,
        }
    }

    /// For so many requests.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// For every request until the faults are cleared.
    #[must_use]
    pub fn until_cleared(mut self) -> Self {
        self.times = None;
        self
    }

    /// Only for requests with this method.
    #[must_use]
    pub fn method(mut self, method: Method) -> Self {
        self.method = Some(method);
        self
    }

    /// Only for requests whose path begins so.
    #[must_use]
    pub fn path(mut self, prefix: impl Into<String>) -> Self {
        self.path = Some(prefix.into());
        self
    }

    /// Waits before it answers.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// Answers with this status.
    #[must_use]
    pub fn status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }

    /// Answers with this body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Adds a response header, in place of one of that name; called twice with one name, it sends
    /// the header twice.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Answers with the request as JSON.
    #[must_use]
    pub fn echo(mut self, echo: Echo) -> Self {
        self.echo = Some(echo);
        self
    }

    /// Breaks off or stalls.
    #[must_use]
    pub fn mishap(mut self, mishap: Mishap) -> Self {
        self.mishap = Some(mishap);
        self
    }

    /// Answers without reading the request's body, as a server does that refuses by the head alone.
    /// The request counts as recorded without its body; the answer is the one the fault names, or
    /// else that to an empty body.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    fn concerns(&self, method: &Method, path: &str) -> bool {
        self.method.as_ref().is_none_or(|own| own == method)
            && self.path.as_ref().is_none_or(|prefix| path.starts_with(prefix.as_str()))
    }
}

impl Default for Fault {
    fn default() -> Self {
        Self::new()
    }
}

/// How much of the request an echo shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Echo {
    /// All but the `X-PIGELLO-*` values.
    WithoutValues,
    /// All of it.
    Everything,
}

/// How an answer fails to arrive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mishap {
    /// The connection closes without an answer.
    CloseUnanswered,
    /// The connection closes in the middle of the response's head. In HTTP/2 that ends the other
    /// calls on the connection as well.
    CutHead,
    /// The body breaks off: in HTTP/1.1 the connection closes, in HTTP/2 the stream is reset. An
    /// answer without a body is cut in its head.
    CutBody,
    /// Nothing is ever sent.
    StallHead,
    /// Half of the body is sent, then nothing more.
    StallBody,
}

impl Mishap {
    /// The directive that asks for it.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::CloseUnanswered => "break=connection",
            Self::CutHead => "break=head",
            Self::CutBody => "break=body",
            Self::StallHead => "stall=head",
            Self::StallBody => "stall=body",
        }
    }
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let mut fault = Self::new();
        let mut rest = text.trim();
        while !rest.is_empty() {
            let (directive, behind) = match rest.strip_prefix("body=") {
                Some(_) => (rest, ""),
                None => rest.split_once(';').unwrap_or((rest, "")),
            };
            fault.take(directive.trim())?;
            rest = behind.trim_start();
        }
        Ok(fault)
    }
}

impl Fault {
    fn take(&mut self, directive: &str) -> Result<(), FaultError> {
        let wrong = || FaultError(directive.to_owned());
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        let value = value.trim();
        match (name.trim(), value) {
            ("delay", _) => self.delay = value.parse::<Span>().map_err(|_| wrong())?.into(),
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
            ("echo", "") => self.echo = Some(Echo::WithoutValues),
            ("echo", "everything") => self.echo = Some(Echo::Everything),
            ("break", "connection") => self.mishap = Some(Mishap::CloseUnanswered),
            ("break", "head") => self.mishap = Some(Mishap::CutHead),
            ("break", "body") => self.mishap = Some(Mishap::CutBody),
            ("stall", "head") => self.mishap = Some(Mishap::StallHead),
            ("stall", "body") => self.mishap = Some(Mishap::StallBody),
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

/// The text a fault can be made of again.
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
        if self.delay.as_millis() > 0 {
            write!(f, "; delay={}", Span(self.delay))?;
        }
        if let Some(status) = self.status {
            write!(f, "; status={}", status.as_u16())?;
        }
        for (name, value) in &self.headers {
            write!(f, "; header={name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        f.write_str(match self.echo {
            Some(Echo::WithoutValues) => "; echo",
            Some(Echo::Everything) => "; echo=everything",
            None => "",
        })?;
        if self.early {
            f.write_str("; early")?;
        }
        if let Some(mishap) = self.mishap {
            write!(f, "; {}", mishap.as_str())?;
        }
        match &self.body {
            Some(body) => write!(f, "; body={}", String::from_utf8_lossy(body)),
            None => Ok(()),
        }
    }
}

/// A directive the mock does not know, or one with a value it cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no directive of a fault; write them like `delay=2s; status=503; times=3`")]
pub struct FaultError(String);

/// The faults for requests to come. The first that concerns a request is used up by it.
#[derive(Debug, Default)]
pub(super) struct FaultQueue(VecDeque<Fault>);

impl FaultQueue {
    pub(super) fn push(&mut self, fault: Fault) {
        if fault.times != Some(0) {
            self.0.push_back(fault);
        }
    }

    pub(super) fn take(&mut self, method: &Method, path: &str) -> Option<Fault> {
        let at = self.0.iter().position(|fault| fault.concerns(method, path))?;
        let fault = self.0.get_mut(at)?;
        let taken = fault.clone();
        if let Some(times) = &mut fault.times {
            *times -= 1;
            if *times == 0 {
                self.0.remove(at);
            }
        }
        Some(taken)
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn describe(&self) -> Vec<String> {
        self.0.iter().map(ToString::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever is taken is understood the same way when it is read back.
        #[test]
        fn what_is_taken_reads_back(
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
    fn what_is_printed_can_be_read_again() {
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
    fn what_is_unknown_is_refused() {
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

    #[test]
    fn faults_are_used_up_in_their_order() {
        let mut queue = FaultQueue::default();
        let status = |code: u16| Fault::new().status(StatusCode::from_u16(code).unwrap());
        queue.push(status(500).times(2));
        queue.push(status(501).method(Method::POST));
        queue.push(status(502).path("/b/").until_cleared());
        queue.push(status(599).times(0));
        let mut take = |method: Method, path: &str| {
            queue.take(&method, path).map(|fault| fault.status.unwrap().as_u16())
        };
        assert_eq!(take(Method::GET, "/a/"), Some(500));
        assert_eq!(take(Method::POST, "/b/"), Some(500));
        assert_eq!(take(Method::GET, "/a/"), None);
        assert_eq!(take(Method::POST, "/b/"), Some(501));
        assert_eq!(take(Method::POST, "/b/"), Some(502));
        assert_eq!(take(Method::GET, "/b/c/"), Some(502));
        queue.clear();
        assert!(queue.take(&Method::GET, "/b/").is_none());
    }
}
