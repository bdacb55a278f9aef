//! Learns from Pigello's answers whether a credential set is any good, and saves the calls that meet
//! a rotation half way.
//!
//! While a secret is rotated there is a moment in which the gateway and Pigello hold different ones.
//! A 401 is Pigello's word that it did nothing, so a call whose body is in memory is sent once more:
//! with the other version if there is one, or with a newer one if the source has it by now. The
//! manager decides which, and waits no longer than it is allowed to.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{
    body::Body,
    credentials::{CredentialManager, CredentialVerdict, Lease, Next},
    error::Error,
    proxy::{
        call::{Head, Resolved},
        stages::shared::SharedService,
    },
};

/// Tells the manager how its sets are taken, and repeats calls that a rotation would have failed.
pub fn rotate(manager: CredentialManager) -> RotateLayer {
    RotateLayer { manager }
}

/// See [`rotate`].
#[derive(Clone, Debug)]
pub struct RotateLayer {
    manager: CredentialManager,
}

impl<S> Layer<S> for RotateLayer {
    type Service = Rotate<S>;

    fn layer(&self, inner: S) -> Rotate<S> {
        Rotate { inner: SharedService::new(inner), manager: self.manager.clone() }
    }
}

/// See [`rotate`].
#[derive(Clone, Debug)]
pub struct Rotate<S> {
    inner: SharedService<S>,
    manager: CredentialManager,
}

impl<S> Service<Resolved> for Rotate<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = RotateFuture<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let lease = Arc::clone(&resolved.lease);
        let again = resolved.body.in_memory().map(|body| {
            let head = Arc::clone(&resolved.head);
            Attempts { inner: self.inner.clone(), manager: self.manager.clone(), head, body }
        });
        let answer = self.inner.forward(resolved);
        let manager = self.manager.clone();
        RotateFuture { state: State::First { answer, lease, manager, again } }
    }
}

pin_project! {
    /// The future of [`Rotate`].
    pub struct RotateFuture<S: Service<Resolved>> {
        #[pin]
        state: State<S>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S: Service<Resolved>> {
        First {
            #[pin]
            answer: S::Future,
            lease: Arc<Lease>,
            manager: CredentialManager,
            again: Option<Attempts<S>>,
        },
        /// It was refused. Only this needs memory of its own.
        Again { answer: Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>> },
    }
}

impl<S> Future for RotateFuture<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let answer = match state.as_mut().project() {
                StateProjection::First { answer, lease, manager, again } => {
                    let response = ready!(answer.poll(cx))?;
                    match (verdict(response.status()), again.take()) {
                        (None, _) => return Poll::Ready(Ok(response)),
                        (Some(CredentialVerdict::Refused), Some(attempts)) => {
                            Box::pin(attempts.after(response, Arc::clone(lease)))
                        }
                        (Some(verdict), _) => {
                            manager.report(lease, verdict);
                            return Poll::Ready(Ok(response));
                        }
                    }
                }
                StateProjection::Again { answer } => return answer.as_mut().poll(cx),
            };
            state.set(State::Again { answer });
        }
    }
}

impl<S: Service<Resolved>> fmt::Debug for RotateFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotateFuture")
    }
}

/// What a status says of the credentials: nothing, if Pigello failed before it looked at them.
fn verdict(status: StatusCode) -> Option<CredentialVerdict> {
    match status {
        StatusCode::UNAUTHORIZED => Some(CredentialVerdict::Refused),
        status if status.is_server_error() => None,
        _ => Some(CredentialVerdict::Accepted),
    }
}

/// What it takes to send a call again.
struct Attempts<S> {
    inner: SharedService<S>,
    manager: CredentialManager,
    head: Arc<Head>,
    body: Bytes,
}

impl<S> Attempts<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    /// Goes on after a 401 under `lease`.
    async fn after(
        self,
        mut response: Response<Body>,
        mut lease: Arc<Lease>,
    ) -> Result<Response<Body>, Error> {
        for _ in 0..MOST_REPEATS {
            lease = match self.manager.after_unauthorized(&lease).await {
                Next::PassOn => return Ok(response),
                Next::Unavailable(unavailable) => return Err(unavailable.into()),
                Next::Repeat(lease) => lease,
            };
            self.head.draft.note(|facts| facts.retries.push(REFUSED));
            self.head.draft.sends_with(&lease);
            let body = Body::full(self.body.clone());
            let (head, lease_again) = (Arc::clone(&self.head), Arc::clone(&lease));
            let resolved = Resolved { head, body, lease: lease_again };
            response = self.inner.forward(resolved).await?;
            match verdict(response.status()) {
                Some(CredentialVerdict::Refused) => {}
                Some(verdict) => {
                    self.manager.report(&lease, verdict);
                    return Ok(response);
                }
                None => return Ok(response),
            }
        }
        self.manager.report(&lease, CredentialVerdict::Refused);
        Ok(response)
    }
}

/// The previous version, and one that arrived meanwhile.
const MOST_REPEATS: usize = 2;
/// Why the attempt was given up, on the audit trail.
const REFUSED: &str = "credentials_refused";
