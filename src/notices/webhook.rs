//! The listener for webhooks: `POST /hooks/TOKEN` with a list of events, and nothing else.
//!
//! Pigello does not sign its webhooks, as far as is known. The token in the path shows who sends one. A webhook
//! drops from the cache and does nothing else, so whoever forges one can only have the gateway fetch more, and
//! never more often than callers ask. No answer is older for a webhook that is lost: `coherent_ttl` rests on
//! the event log alone.
//!
//! Whatever a sender with a token sends is answered with 204 when the drop is done, also what cannot be read.
//! It is counted; any other answer would bring it again for ever, and the event log has its events anyway. A
//! body is neither kept nor logged.
//!
//! In a fleet it is answered with 204 when the fleet's store has it, and with 503 while the store is away: Pigello sends
//! it again. What changed is dropped here all the same.

use std::{
    convert::Infallible,
    fmt,
    num::NonZeroU32,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use arc_swap::ArcSwap;
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use http::{HeaderValue, Method, Response, StatusCode, header};
use http_body::Body as _;
use tokio::{sync::Semaphore, time::timeout};
use tower::Service;

use super::{
    event::{self, Unreadable},
    feed::Notices,
    settings::Webhook,
    tokens::{HookTokens, HookTokensError},
};
use crate::{
    body::{Body, CollectError, collect_limited},
    domain::{Peer, ProfileName},
    process::reread::{RereadLog, at_intervals},
    proxy::call::Arrival,
};

/// Takes webhooks.
pub struct Receiver {
    settings: Webhook,
    tokens: ArcSwap<HookTokens>,
    log: RereadLog,
    notices: ArcSwap<Notices>,
    rate: DefaultDirectRateLimiter,
    /// The bodies that are being read.
    reading: Semaphore,
    refused: [AtomicU64; Refused::ALL.len()],
}

/// Why a request to the listener is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// It comes from a network that is not in `allow_from`.
    Network,
    /// Its path has no token that is known.
    Token,
    /// It is no POST.
    Method,
    /// It is over the rate, or too many others are on their way.
    Rate,
    /// Its body did not come in time, or broke off.
    Body,
    /// The fleet could not be told of it.
    Store,
}

impl Refused {
    const ALL: [Self; 6] =
        [Self::Network, Self::Token, Self::Method, Self::Rate, Self::Body, Self::Store];

    const fn label(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Token => "token",
            Self::Method => "method",
            Self::Rate => "rate",
            Self::Body => "body",
            Self::Store => "store",
        }
    }

    const fn status(self) -> StatusCode {
        match self {
            Self::Network | Self::Token => StatusCode::NOT_FOUND,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Rate => StatusCode::TOO_MANY_REQUESTS,
            Self::Body => StatusCode::BAD_REQUEST,
            Self::Store => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

impl Receiver {
    /// Reads the tokens. `is_known` says whether there is a profile of a name.
    pub fn open(
        settings: Webhook,
        notices: Arc<Notices>,
        is_known: impl Fn(&ProfileName) -> bool,
    ) -> Result<Arc<Self>, HookTokensError> {
        let tokens = HookTokens::read(&settings.tokens_file)?;
        // A token for a profile that is not there would do nothing.
        if let Some(profile) = tokens.profiles().find(|profile| !is_known(profile)) {
            let (path, profile) = (settings.tokens_file.clone(), profile.clone());
            return Err(HookTokensError::Profile { path, profile });
        }
        let rate = NonZeroU32::new(settings.rate).unwrap_or(NonZeroU32::MIN);
        Ok(Arc::new(Self {
            log: RereadLog::new("the tokens of webhooks", &settings.tokens_file),
            settings,
            tokens: ArcSwap::from_pointee(tokens),
            notices: ArcSwap::new(notices),
            rate: RateLimiter::direct(Quota::per_second(rate)),
            reading: Semaphore::new(MOST_READING),
            refused: Default::default(),
        }))
    }

    /// Applies webhooks to these notices from here on.
    pub fn take_for(&self, notices: Arc<Notices>) {
        self.notices.store(notices);
    }

    /// Reads the tokens again at intervals.
    pub async fn watch(self: Arc<Self>) {
        at_intervals(move || {
            let outcome = self.reread();
            self.log.note(&outcome);
        })
        .await;
    }

    /// Whether there are other tokens. Those that cannot be used change nothing.
    fn reread(&self) -> Result<bool, HookTokensError> {
        let tokens = HookTokens::read(&self.settings.tokens_file)?;
        let is_changed = **self.tokens.load() != tokens;
        if is_changed {
            self.tokens.store(Arc::new(tokens));
        }
        Ok(is_changed)
    }

    /// How many requests were refused, by reason.
    pub fn refused(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        Refused::ALL.iter().map(|why| why.label()).zip(counts)
    }

    /// The service of the listener.
    pub fn path(self: &Arc<Self>) -> ReceiverPath {
        ReceiverPath(Arc::clone(self))
    }

    async fn answer(&self, Arrival { request, connection, .. }: Arrival) -> Response<Body> {
        // What cannot be read shows no token.
        let taken = match request {
            Ok(request) => self.take(request, connection.peer()).await,
            Err(_) => Err(Refused::Token),
        };
        let mut response = Response::new(Body::empty());
        *response.status_mut() = match taken {
            Ok(()) => StatusCode::NO_CONTENT,
            Err(why) => {
                if let Some(count) = self.refused.get(why as usize) {
                    count.fetch_add(1, Ordering::Relaxed);
                }
                why.status()
            }
        };
        let field = match taken {
            Err(Refused::Rate) => Some((header::RETRY_AFTER, "1")),
            Err(Refused::Store) => Some((header::RETRY_AFTER, "5")),
            Err(Refused::Method) => Some((header::ALLOW, "POST")),
            _ => None,
        };
        let fields = field.map(|(name, value)| (name, HeaderValue::from_static(value)));
        response.headers_mut().extend(fields);
        response
    }

    async fn take(&self, request: http::Request<Body>, peer: Peer) -> Result<(), Refused> {
        if let Peer::Tcp(address) = peer
            && !self.settings.allow_from.is_empty()
            && !self.settings.allow_from.iter().any(|network| network.contains(address.ip()))
        {
            return Err(Refused::Network);
        }
        let tokens = self.tokens.load();
        let token = request.uri().path().strip_prefix(PREFIX).ok_or(Refused::Token)?;
        let audience = tokens.audience(token).ok_or(Refused::Token)?.clone();
        if request.method() != Method::POST {
            return Err(Refused::Method);
        }
        self.rate.check().map_err(|_| Refused::Rate)?;
        let reading = self.reading.try_acquire().map_err(|_| Refused::Rate)?;
        let body = request.into_body();
        let body = if body.size_hint().lower() > MAX_BODY as u64 {
            Err(Unreadable::TooLarge)
        } else {
            let read = timeout(BODY_TIME, collect_limited(body, MAX_BODY)).await;
            match read {
                Ok(Ok(body)) => Ok(body),
                Ok(Err(CollectError::TooLarge)) => Err(Unreadable::TooLarge),
                Ok(Err(_)) | Err(_) => return Err(Refused::Body),
            }
        };
        let notices = self.notices.load_full();
        match body.and_then(|body| event::read(&body)) {
            Ok(events) => notices.take_webhook(audience.profile(), &events),
            Err(why) => {
                notices.count_unreadable(why);
                tracing::warn!(reason = why.label(), "a webhook cannot be read");
                return Ok(());
            }
        }
        // Others may be read while this one waits.
        drop(reading);
        if notices.is_fleet_told().await { Ok(()) } else { Err(Refused::Store) }
    }
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// The receiver as the path of its listener.
#[derive(Clone, Debug)]
pub struct ReceiverPath(Arc<Receiver>);

impl Service<Arrival> for ReceiverPath {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, arrival: Arrival) -> Self::Future {
        let receiver = Arc::clone(&self.0);
        Box::pin(async move { Ok(receiver.answer(arrival).await) })
    }
}

const PREFIX: &str = "/hooks/";
const MAX_BODY: usize = 1024 * 1024;
/// The bodies that are read at the same time: 16 MiB at most.
const MOST_READING: usize = 16;
/// The time for a body.
const BODY_TIME: Duration = Duration::from_secs(10);
