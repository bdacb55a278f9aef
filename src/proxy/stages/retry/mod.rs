//! Retries an attempt where that is safe, and limits the wait of each attempt for the first byte.
//!
//! A call is retried only if no part of a response has arrived, its body can be sent again, and either
//! its method is idempotent (RFC 9110 §9.2.2) or the attempt failed before a part of the request was
//! sent. It is never retried after an invalid certificate, which stays invalid; after a timeout of the
//! response, because Pigello may still be at work; and after a response of any status, because the
//! caller judges it.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use http::Response;
use pin_project_lite::pin_project;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, Sleep, sleep, sleep_until};
use tower::{Layer, Service, layer::layer_fn};

mod replay;

use self::replay::{ReplayBody, ReplayLimits};
use crate::{
    body::Body,
    credentials::Lease,
    domain::ByteSize,
    error::{Error, Kind},
    proxy::call::{Head, Resolved, SharedService},
};

/// Retries of failed calls.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(rename = "Retry")]
pub struct RetrySettings {
    /// Attempts at most, including the first; 1 never retries.
    #[schemars(range(min = 1, max = 10))]
    pub attempts: u32,
    /// The load that retries may add, as a share of all calls: 0.2 is a fifth.
    #[schemars(range(min = 0, max = 1))]
    pub budget: f64,
    /// The size of a request body that is kept for another attempt. A larger body is sent once.
    pub body_bytes: ByteSize,
    /// How long a caller may take for the next piece of its body: `timeouts.body_read`.
    #[serde(skip)]
    pub body_read: Duration,
    /// How long the head of an answer may take from when the request has been sent:
    /// `timeouts.first_byte`.
    #[serde(skip)]
    pub first_byte: Duration,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self {
            attempts: 4,
            budget: 0.2,
            body_bytes: ByteSize::kibi(64),
            body_read: Duration::from_secs(30),
            first_byte: Duration::from_secs(20),
        }
    }
}

/// Makes the attempts of a call.
pub fn retry<S>(settings: RetrySettings) -> impl Layer<S, Service = Retry<S>> + Clone {
    layer_fn(move |inner| Retry { inner: SharedService::new(inner), settings })
}

/// See [`retry`].
#[derive(Clone, Debug)]
pub struct Retry<S> {
    inner: SharedService<S>,
    settings: RetrySettings,
}

impl<S> Service<Resolved> for Retry<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = RetryFuture<S>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let Resolved { head, body, lease } = resolved;
        head.profile.health.retry_budget.deposit();
        let idempotent = head.method.is_idempotent();
        let keep = self.settings.body_bytes.in_memory();
        let body = ReplayBody::new(body, ReplayLimits { keep, read: self.settings.body_read });
        let began = Instant::now();
        let copy = Arc::clone(&head);
        let call =
            self.inner.call(Resolved { head, body: body.attempt(), lease: Arc::clone(&lease) });
        RetryFuture {
            state: RetryState::Attempt { call, began },
            timer: sleep_until(began + self.settings.first_byte),
            again: Again {
                inner: self.inner.clone(),
                head: copy,
                lease,
                idempotent,
                left: self.settings.attempts.saturating_sub(1),
                ceiling: FIRST_PAUSE,
            },
            body,
            first_byte: self.settings.first_byte,
        }
    }
}

pin_project! {
    /// The future of [`Retry`].
    pub struct RetryFuture<S: Service<Resolved>> {
        #[pin]
        state: RetryState<S::Future>,
        // For the first byte during an attempt, for the pause between two.
        #[pin]
        timer: Sleep,
        again: Again<S>,
        body: ReplayBody,
        first_byte: Duration,
    }
}

pin_project! {
    #[project = RetryProjection]
    enum RetryState<F> {
        Attempt { #[pin] call: F, began: Instant },
        Pause,
    }
}

/// Makes further attempts.
struct Again<S> {
    inner: SharedService<S>,
    head: Arc<Head>,
    lease: Arc<Lease>,
    idempotent: bool,
    left: u32,
    ceiling: Duration,
}

impl<S> Again<S> {
    /// The pause before another attempt, if this failure may be retried.
    fn after(&mut self, error: &Error, body: &ReplayBody) -> Option<Duration> {
        let kind = error.kind();
        let safe = kind.is_before_sending() || (self.idempotent && kind == Kind::UpstreamClosed);
        // The upstream is well, and has asked for another connection.
        let is_free = kind == Kind::UpstreamUnprocessed;
        if self.left == 0
            || !safe
            || error.is_final()
            || !body.is_repeatable()
            || !(is_free || self.head.profile.health.retry_budget.withdraw())
        {
            return None;
        }
        self.left = self.left.saturating_sub(1);
        self.head.context.note(|facts| facts.retries.push(kind.label()));
        if is_free {
            return Some(Duration::ZERO);
        }
        // Full jitter: calls that failed together must not be retried together.
        let pause = self.ceiling.mul_f64(fastrand::f64());
        self.ceiling = self.ceiling.saturating_mul(4).min(LONGEST_PAUSE);
        Some(pause)
    }
}

impl<S> Future for RetryFuture<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.state.as_mut().project() {
                RetryProjection::Attempt { call, began } => {
                    let Poll::Ready(result) = call.poll(cx) else {
                        ready!(this.timer.as_mut().poll(cx));
                        match this.body.sent_since(*began).map(|sent| sent + *this.first_byte) {
                            Some(ends) if ends <= Instant::now() => {
                                let head = &this.again.head;
                                head.profile.health.hung(head.operation.as_deref());
                                return Poll::Ready(Err(no_first_byte()));
                            }
                            Some(ends) => this.timer.as_mut().reset(ends),
                            // The caller is still sending, and `body_read` limits that.
                            None => this.timer.as_mut().reset(Instant::now() + *this.first_byte),
                        }
                        continue;
                    };
                    let Err(error) = result else { return Poll::Ready(result) };
                    let error = match this.body.failure() {
                        // The client does not know that the gateway has ended the body.
                        Some(Kind::BodyTimeout) => slow_body().because(error),
                        _ => error,
                    };
                    let Some(pause) = this.again.after(&error, this.body) else {
                        return Poll::Ready(Err(error));
                    };
                    this.timer.set(sleep(pause));
                    this.state.set(RetryState::Pause);
                }
                RetryProjection::Pause => {
                    ready!(this.timer.as_mut().poll(cx));
                    let again = &*this.again;
                    let began = Instant::now();
                    let call = again.inner.call(Resolved {
                        head: Arc::clone(&again.head),
                        body: this.body.attempt(),
                        lease: Arc::clone(&again.lease),
                    });
                    this.timer.set(sleep_until(began + *this.first_byte));
                    this.state.set(RetryState::Attempt { call, began });
                }
            }
        }
    }
}

impl<S: Service<Resolved>> fmt::Debug for RetryFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RetryFuture")
    }
}

fn slow_body() -> Error {
    Error::new(Kind::BodyTimeout, "the caller stopped sending its body (`timeouts.body_read`)")
}

fn no_first_byte() -> Error {
    let detail = "the answer did not begin within the time limit (`timeouts.first_byte`)";
    Error::new(Kind::UpstreamFirstByteTimeout, detail)
}

/// The upper end of the first pause. Each further one is four times as long, so that the attempts outlast
/// the replacement of an upstream's instance.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// The upper end of any pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
