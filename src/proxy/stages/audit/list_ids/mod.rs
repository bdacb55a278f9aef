//! Notes which objects a list answered, with `audit.list_ids`.
//!
//! It stands outside the cache, so that lists from there are read too. The answer passes unchanged and is not
//! held back.

mod body;
mod decoded;
mod reader;

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Method, Response};
use http_body::Body as _;
use pin_project_lite::pin_project;
use tower::{Layer, Service, layer::layer_fn};

use self::{body::ListBody, decoded::DecodedList};
use crate::{
    body::{Body, SMALL_BODY},
    error::Error,
    proxy::call::{CallContext, Recorded},
};

/// Notes the objects of lists, if they are `wanted`.
pub fn note_list_ids<S>(wanted: bool) -> impl Layer<S, Service = NoteListIds<S>> + Clone {
    layer_fn(move |inner| NoteListIds { inner, wanted })
}

/// See [`note_list_ids`].
#[derive(Clone, Debug)]
pub struct NoteListIds<S> {
    inner: S,
    wanted: bool,
}

impl<S> Service<Recorded> for NoteListIds<S>
where
    S: Service<Recorded, Response = Response<Body>, Error = Error>,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future = ListIdsFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Recorded) -> Self::Future {
        let head = &request.head;
        let is_list = self.wanted
            && head.method != Method::HEAD
            && head.operation.as_ref().is_some_and(|operation| operation.is_list());
        let context = is_list.then(|| head.context.clone());
        ListIdsFuture { inner: self.inner.call(request), context }
    }
}

pin_project! {
    /// The future of [`NoteListIds`].
    #[derive(Debug)]
    pub struct ListIdsFuture<F> {
        #[pin]
        inner: F,
        context: Option<CallContext>,
    }
}

impl<F> Future for ListIdsFuture<F>
where
    F: Future<Output = Result<Response<Body>, Error>>,
{
    type Output = Result<Response<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let response = ready!(this.inner.poll(cx))?;
        Poll::Ready(Ok(match this.context.take() {
            Some(context) if response.status().is_success() => read(response, context),
            _ => response,
        }))
    }
}

/// Reads the list of a small answer at once, and of another one as it passes.
fn read(response: Response<Body>, context: CallContext) -> Response<Body> {
    let mut list = DecodedList::new(response.headers());
    match response.body().in_memory() {
        Some(bytes) if bytes.len() <= SMALL_BODY => {
            list.push(bytes);
            let is_whole = list.advance(MOST_AT_ONCE);
            let found = Box::new(list.finish(is_whole));
            context.note(|facts| facts.list_ids = Some(found));
            response
        }
        _ if response.body().is_end_stream() => response,
        _ => response.map(|body| Body::wrap(ListBody::new(body, list, context))),
    }
}

/// The most bytes of a small answer that are read, decoded.
const MOST_AT_ONCE: usize = 1024 * 1024;
