//! Loads the profile of a call, if it is a member of a template that is not loaded.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use futures_util::future::{Either, ready};
use http::Response;
use tower::{Layer, Service, layer::layer_fn};

use crate::{
    body::Body,
    domain::ProfileName,
    error::{Error, Kind},
    proxy::{
        call::{Authorized, Loaded, SharedService},
        profile::Chosen,
    },
};

/// Loads members of templates at their first calls.
pub fn load<S>() -> impl Layer<S, Service = Load<S>> + Clone {
    layer_fn(|inner| Load { inner: SharedService::new(inner) })
}

/// See [`load`].
#[derive(Clone, Debug)]
pub struct Load<S> {
    inner: SharedService<S>,
}

impl<S> Service<Authorized> for Load<S>
where
    S: Service<Loaded, Response = Response<Body>, Error = Error> + Send + 'static,
    S::Future: Send,
{
    type Response = Response<Body>;
    type Error = Error;
    type Future =
        Either<S::Future, Pin<Box<dyn Future<Output = Result<Response<Body>, Error>> + Send>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, authorized: Authorized) -> Self::Future {
        let Authorized { received, operation, profile } = authorized;
        let (family, name) = match profile {
            Chosen::Ready(profile) => {
                return Either::Left(self.inner.call(Loaded { received, operation, profile }));
            }
            Chosen::Unknown(name) => {
                return Either::Right(Box::pin(ready(Err(no_such_profile(&name)))));
            }
            Chosen::Unloaded(family, name) => (family, name),
        };
        let inner = self.inner.clone();
        Either::Right(Box::pin(async move {
            let profile = family.load(&name).await.map_err(|reason| reason.into_error(&name))?;
            inner.call(Loaded { received, operation, profile }).await
        }))
    }
}

/// The error of a call for a profile that the configuration does not have.
pub fn no_such_profile(name: &ProfileName) -> Error {
    Error::new(
        Kind::ProfileUnknown,
        format!("no profile is named `{name}`, and no template matches it"),
    )
}
