//! Reports to the manager whether Pigello accepts a credential set, and repeats a call that met a
//! rotation.
//!
//! During a rotation the gateway and Pigello can have different secrets for a moment. A 401 says that
//! Pigello did nothing, so a call whose body is in memory is sent again: with the other version, or
//! with a newer one if the source has it. The manager chooses, and bounds the wait.
//!
//! An answer to a request that carries a credential of its caller's own is about that one. It is passed
//! on and says nothing of the set: else one caller could take the credentials away from all.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{Response, StatusCode};
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    body::Body,
    credentials::{CredentialVerdict, Lease, Next},
    error::Error,
    proxy::{
        call::{Head, Resolved, SharedService},
        http_policy::has_credentials,
    },
};

/// Reports whether Pigello accepts each set, and repeats calls that a rotation would fail.
pub fn rotate<S>() -> impl Layer<S, Service = Rotate<S>> + Clone {
    layer_fn(|inner| Rotate { inner: SharedService::new(inner) })
}

/// See [`rotate`].
#[derive(Clone, Debug)]
pub struct Rotate<S> {
    inner: SharedService<S>,
}

impl<S> Service<Resolved> for Rotate<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = RotateFuture<S>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, resolved: Resolved) -> Self::Future {
        let lease = Arc::clone(&resolved.lease);
        if has_credentials(&resolved.head.headers) {
            return RotateFuture {
                state: RotateState::PassOn { response: self.inner.call(resolved) },
            };
        }
        let head = Arc::clone(&resolved.head);
        let again = resolved.body.in_memory().map(|body| {
            let head = Arc::clone(&head);
            Attempts { inner: self.inner.clone(), head, body }
        });
        let response = self.inner.call(resolved);
        RotateFuture { state: RotateState::First { response, lease, head, again } }
    }
}

pin_project! {
    /// The future of [`Rotate`].
    pub struct RotateFuture<S: Service<Resolved>> {
        #[pin]
        state: RotateState<S>,
    }
}

pin_project! {
    #[project = RotateProjection]
    enum RotateState<S: Service<Resolved>> {
        /// The response says nothing of the credentials.
        PassOn { #[pin] response: S::Future },
        First {
            #[pin]
            response: S::Future,
            lease: Arc<Lease>,
            head: Arc<Head>,
            again: Option<Attempts<S>>,
        },
        /// After a 401. Only this state is boxed.
        Again { response: Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>> },
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
            let response = match state.as_mut().project() {
                RotateProjection::PassOn { response } => return response.poll(cx),
                RotateProjection::First { response, lease, head, again } => {
                    let response = ready!(response.poll(cx))?;
                    match (verdict(response.status()), again.take()) {
                        (None, _) => return Poll::Ready(Ok(response)),
                        (Some(CredentialVerdict::Refused), Some(attempts)) => {
                            Box::pin(attempts.after(response, Arc::clone(lease)))
                        }
                        (Some(verdict), _) => {
                            head.profile.manager.report(lease, verdict);
                            return Poll::Ready(Ok(response));
                        }
                    }
                }
                RotateProjection::Again { response } => return response.as_mut().poll(cx),
            };
            state.set(RotateState::Again { response });
        }
    }
}

impl<S: Service<Resolved>> fmt::Debug for RotateFuture<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RotateFuture")
    }
}

/// What a status says of the credentials. A server error says nothing.
fn verdict(status: StatusCode) -> Option<CredentialVerdict> {
    match status {
        StatusCode::UNAUTHORIZED => Some(CredentialVerdict::Refused),
        StatusCode::FORBIDDEN => Some(CredentialVerdict::Forbidden),
        status if status.is_server_error() => None,
        _ => Some(CredentialVerdict::Accepted),
    }
}

/// Sends a call again.
struct Attempts<S> {
    inner: SharedService<S>,
    head: Arc<Head>,
    body: Bytes,
}

impl<S> Attempts<S>
where
    S: Service<Resolved, Response = Response<Body>, Error = Error>,
{
    /// Repeats the call after a 401 for `lease`.
    async fn after(
        self,
        mut response: Response<Body>,
        mut lease: Arc<Lease>,
    ) -> Result<Response<Body>, Error> {
        for _ in 0..MAX_REPEATS {
            lease = match self.head.profile.manager.after_unauthorized(&lease).await {
                Next::PassOn => return Ok(response),
                Next::Unavailable(unavailable) => return Err(unavailable.into()),
                Next::Repeat(lease) => lease,
            };
            self.head.context.note(|facts| facts.retries.push(REFUSED));
            self.head.context.sends_with(&lease);
            let body = Body::full(self.body.clone());
            let (head, lease_again) = (Arc::clone(&self.head), Arc::clone(&lease));
            let resolved = Resolved { head, body, lease: lease_again };
            response = self.inner.call(resolved).await?;
            match verdict(response.status()) {
                Some(CredentialVerdict::Refused) => {}
                Some(verdict) => {
                    self.head.profile.manager.report(&lease, verdict);
                    return Ok(response);
                }
                None => return Ok(response),
            }
        }
        self.head.profile.manager.report(&lease, CredentialVerdict::Refused);
        Ok(response)
    }
}

/// One with the other version, and one with a version that has just arrived.
const MAX_REPEATS: usize = 2;
/// The reason of a repeat in the record.
const REFUSED: &str = "credentials_refused";
