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

mod queue;
mod text;

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};

pub(super) use queue::FaultQueue;
pub use text::FaultError;

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
