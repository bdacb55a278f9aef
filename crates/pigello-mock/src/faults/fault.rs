//! The faults that the mock can inject.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

/// The request header that holds a fault for the request.
pub const FAULT_HEADER: HeaderName = HeaderName::from_static("x-mock-fault");

/// What the mock does with one request or several.
#[derive(Clone, Debug)]
pub struct Fault {
    pub(super) method: Option<Method>,
    pub(super) path: Option<String>,
    /// For how many requests; `None` until the faults are cleared.
    pub(super) times: Option<u64>,
    pub(crate) delay: Duration,
    pub(crate) status: Option<StatusCode>,
    pub(crate) body: Option<Bytes>,
    pub(crate) echo: Option<Echo>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    pub(crate) interruption: Option<Interruption>,
    pub(crate) early: bool,
}

impl Fault {
    /// A fault for one request that changes nothing.
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
            interruption: None,
            early: false,
        }
    }

    /// For this many requests.
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

    /// Only for requests whose path has this prefix.
    #[must_use]
    pub fn path(mut self, prefix: impl Into<String>) -> Self {
        self.path = Some(prefix.into());
        self
    }

    /// Delays the response.
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

    /// Adds a response header and removes others with its name. Two calls with one name send the
    /// header twice.
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

    /// Interrupts the response.
    #[must_use]
    pub fn interrupt(mut self, interruption: Interruption) -> Self {
        self.interruption = Some(interruption);
        self
    }

    /// Answers before it reads the request's body, as a server may that rejects a request by its
    /// header fields. The recorded request has no body. Unless the fault specifies a response, the
    /// mock answers as to an empty body.
    #[must_use]
    pub fn early(mut self) -> Self {
        self.early = true;
        self
    }

    pub(super) fn matches(&self, method: &Method, path: &str) -> bool {
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
    Redacted,
    /// The whole request.
    Everything,
}

/// How the transfer of a response is interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The connection closes without a response.
    CloseUnanswered,
    /// The connection closes in the middle of the response's header section. In HTTP/2 this ends the
    /// other streams of the connection as well.
    CutHead,
    /// The body breaks off: in HTTP/1.1 the connection closes, in HTTP/2 the stream is reset. A
    /// response without a body is cut in its header section.
    CutBody,
    /// The mock sends nothing and keeps the connection open.
    StallHead,
    /// The mock sends half of the body and keeps the connection open.
    StallBody,
}

impl Interruption {
    /// The directive for it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::CloseUnanswered => "break=connection",
            Self::CutHead => "break=head",
            Self::CutBody => "break=body",
            Self::StallHead => "stall=head",
            Self::StallBody => "stall=body",
        }
    }
}
