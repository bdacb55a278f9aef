//! A span around a stage of a traced call.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::Response;
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::util::Stack};

use crate::{
    body::Body,
    error::Error,
    proxy::call::{
        Authorized, CallContext, Fetch, Identified, Intended, Loaded, Opened, Received, Recorded,
        Resolved, Selected,
    },
};

/// Puts a span around a stage and all that it calls, up to the head of the response.
pub(in crate::proxy) fn span<L>(name: &'static str, stage: L) -> Stack<L, SpanLayer> {
    Stack::new(stage, SpanLayer { name })
}

/// A request state, which leads to the context of its call.
pub(in crate::proxy) trait InCall {
    fn context(&self) -> &CallContext;
}

macro_rules! in_call {
    ($($request:ty: $($field:ident).+;)*) => {
        $(impl InCall for $request {
            fn context(&self) -> &CallContext {
                &self.$($field).+
            }
        })*
    };
}

in_call! {
    Opened: context;
    Identified: context;
    Received: context;
    Selected: received.context;
    Authorized: received.context;
    Loaded: received.context;
    Recorded: head.context;
    Fetch: head.context;
    Intended: head.context;
    Resolved: head.context;
}

/// See [`span`].
#[derive(Clone, Copy, Debug)]
pub(in crate::proxy) struct SpanLayer {
    name: &'static str,
}

impl<S> Layer<S> for SpanLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner, name: self.name }
    }
}

/// See [`span`].
#[derive(Clone, Debug)]
pub(in crate::proxy) struct Traced<S> {
    inner: S,
    name: &'static str,
}

impl<S, R> Service<R> for Traced<S>
where
    S: Service<R, Response = Response<Body>, Error = Error>,
    R: InCall,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = TracedFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> Self::Future {
        let span = OpenSpan::enter(request.context(), self.name);
        TracedFuture { inner: self.inner.call(request), span }
    }
}

pin_project! {
    /// The future of [`Traced`].
    pub(in crate::proxy) struct TracedFuture<F> {
        #[pin]
        inner: F,
        // Boxed: most calls are not traced, and each stage has this field.
        span: Option<Box<OpenSpan>>,
    }
}

impl<F> Future for TracedFuture<F>
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

impl<F> fmt::Debug for TracedFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TracedFuture")
    }
}

/// A span that ends when it is dropped, also when the caller leaves before the stage has answered.
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
        if let Some(spans) = self.context.spans() {
            spans.lock().leave(self.id, self.name, self.began, self.error);
        }
    }
}
