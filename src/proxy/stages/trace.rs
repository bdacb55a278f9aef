//! Around each stage: a span, where the call is traced.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service};

use crate::{
    body::Body,
    error::Error,
    proxy::call::{
        Authorized, CallContext, Fetch, Identified, Intended, Opened, Received, Recorded, Resolved,
    },
};

/// Puts a span around what stands behind it, up to the head of the answer.
pub(in crate::proxy) fn stage(name: &'static str) -> StageLayer {
    StageLayer { name }
}

/// What every stage is handed: it leads to the call's record.
pub(in crate::proxy) trait OfCall {
    fn context(&self) -> &CallContext;
}

macro_rules! of_call {
    ($($request:ty: $($field:ident).+;)*) => {
        $(impl OfCall for $request {
            fn context(&self) -> &CallContext {
                &self.$($field).+
            }
        })*
    };
}

of_call! {
    Opened: context;
    Received: context;
    Identified: received.context;
    Authorized: received.context;
    Recorded: head.context;
    Fetch: head.context;
    Intended: head.context;
    Resolved: head.context;
}

/// See [`stage`].
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct StageLayer {
    name: &'static str,
}

impl<S> Layer<S> for StageLayer {
    type Service = Stage<S>;

    fn layer(&self, inner: S) -> Stage<S> {
        Stage { inner, name: self.name }
    }
}

/// See [`stage`].
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Stage<S> {
    inner: S,
    name: &'static str,
}

impl<S, R> Service<R> for Stage<S>
where
    S: Service<R, Response = Response<Body>, Error = Error>,
    R: OfCall,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = StageFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let span = OpenSpan::enter(request.context(), self.name);
        StageFuture { inner: self.inner.call(request), span }
    }
}

pin_project! {
    /// The future of [`Stage`].
    pub(in crate::proxy) struct StageFuture<F> {
        #[pin]
        inner: F,
        // In memory of its own: most calls are not traced, and each stage has one of these.
        span: Option<Box<OpenSpan>>,
    }
}

impl<F> Future for StageFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.inner.poll(cx));
        if let Some(mut span) = this.span.take() {
            span.error = result.as_ref().err().map(|error| error.kind().label());
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for StageFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StageFuture")
    }
}

/// A span that ends when it is dropped: also where the caller left in the middle of it.
struct OpenSpan {
    context: CallContext,
    id: u64,
    name: &'static str,
    began: Instant,
    error: Option<&'static str>,
}

impl OpenSpan {
    fn enter(context: &CallContext, name: &'static str) -> Option<Box<Self>> {
        let id = context.spans()?.lock().enter();
        let (context, began) = (context.clone(), Instant::now());
        Some(Box::new(Self { context, id, name, began, error: None }))
    }
}

impl Drop for OpenSpan {
    fn drop(&mut self) {
        if let Some(stages) = self.context.spans() {
            stages.lock().leave(self.id, self.name, self.began, self.error);
        }
    }
}
