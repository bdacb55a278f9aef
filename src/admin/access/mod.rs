//! Who asks, and what they may use.
//!
//! | who | proved by | role |
//! | --- | --- | --- |
//! | whoever may open the Unix socket | the kernel (`SO_PEERCRED`) | [`Role::Operate`] |
//! | a program on TCP | a token of `[admin] token_file` | the token's |
//! | a person in a browser | a session, from a one-time link of `pigello-gateway page` | that of who made the link |
//!
//! A request on the Unix socket that a proxy has marked (`Forwarded` of RFC 7239, or one of its like) comes from
//! somebody else than the peer of the socket: it needs a token or a session, like one on TCP. So does what
//! [`relay`](super::relay) sends.

mod enter;
mod sessions;
mod tokens;

use std::{fmt, num::NonZeroU32, sync::Arc, time::SystemTime};

use axum::{
    extract::{FromRequestParts, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter, clock::Clock as _};

pub(super) use self::enter::{enter, make_link};
use self::sessions::Sessions;
pub use self::tokens::Tokens;
use super::{AdminState, GatewayView};
use crate::{audit::AdminAction, domain::Peer, secret::TokenDigest};

/// What a request must show to use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Nothing: health and metrics, for probes and scrapers. The metrics listener has these routes only.
    Health,
    /// Nothing: texts that are the same for everybody, and the way in.
    Open,
    /// A role that may read.
    Read,
    /// A role that may act.
    Operate,
}

/// What somebody may do. Whoever may act may read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Read the state.
    Read,
    /// Act as well: purge, refresh, verify.
    Operate,
}

impl Role {
    /// The word in the token file and on the audit trail.
    pub fn label(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
        }
    }
}

/// Somebody who proved a role.
#[derive(Clone, Debug)]
pub(super) struct Actor {
    pub(super) role: Role,
    proof: Proof,
}

#[derive(Clone, Debug)]
enum Proof {
    Peer(Peer),
    Token(TokenDigest),
    /// The number of the session, and who made its link.
    Session(u64, Arc<Actor>),
}

impl Actor {
    /// An action of theirs, for the audit trail.
    pub(super) fn did(&self, action: &'static str, result: impl Into<String>) -> AdminAction {
        AdminAction {
            time: SystemTime::now(),
            action,
            who: self.to_string(),
            operation: None,
            object: None,
            credentials: None,
            result: result.into(),
        }
    }

    /// Whether the proof still counts: a token may have been taken out of the file.
    fn is_valid(&self, tokens: &Tokens) -> bool {
        match &self.proof {
            Proof::Peer(_) => true,
            Proof::Token(digest) => tokens.role(digest) == Some(self.role),
            Proof::Session(_, maker) => maker.is_valid(tokens),
        }
    }
}

/// As the audit trail says it.
impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.proof {
            Proof::Peer(Peer::Unix { uid, gid, pid }) => {
                write!(f, "uid={uid} gid={gid}")?;
                pid.map_or(Ok(()), |pid| write!(f, " pid={pid}"))
            }
            Proof::Peer(Peer::Tcp(address)) => write!(f, "address={address}"),
            Proof::Token(digest) => write!(f, "token={digest} role={}", self.role.label()),
            Proof::Session(number, maker) => write!(f, "session={number} {maker}"),
        }
    }
}

/// The sessions and the pace of wrong proofs. It survives a reload.
pub(super) struct Gate {
    sessions: Sessions,
    /// Wrong tokens and links of everybody together, so that it needs no memory for each peer.
    wrong: DefaultDirectRateLimiter,
}

impl Gate {
    pub(super) fn new() -> Self {
        let pace = Quota::per_second(WRONG_A_SECOND).allow_burst(WRONG_AT_ONCE);
        Self { sessions: Sessions::new(), wrong: RateLimiter::direct(pace) }
    }

    /// Who sent the request.
    fn identify(&self, tokens: &Tokens, peer: Peer, headers: &HeaderMap) -> Result<Actor, Refused> {
        if matches!(peer, Peer::Unix { .. }) && !is_forwarded(headers) {
            return Ok(Actor { role: Role::Operate, proof: Proof::Peer(peer) });
        }
        if headers.contains_key(header::AUTHORIZATION) {
            let digest = bearer(headers).map(TokenDigest::of);
            let known = digest.and_then(|digest| Some((tokens.role(&digest)?, digest)));
            let (role, digest) = known.ok_or_else(|| self.wrong(Refused::WrongToken))?;
            return Ok(Actor { role, proof: Proof::Token(digest) });
        }
        let session = self.sessions.find(headers).filter(|session| session.is_valid(tokens));
        session.ok_or(if tokens.is_empty() { Refused::NoTokens } else { Refused::NoToken })
    }

    /// The refusal of a wrong proof, or of one too many.
    fn wrong(&self, refused: Refused) -> Refused {
        match self.wrong.check() {
            Ok(()) => {
                tracing::warn!(
                    reason = refused.text(),
                    "somebody was refused at the admin listener"
                );
                refused
            }
            Err(early) => {
                let wait = early.wait_time_from(self.wrong.clock().now());
                Refused::TooMany { seconds: wait.as_secs() + 1 }
            }
        }
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").finish_non_exhaustive()
    }
}

/// Whether a proxy says that it passes the request on.
fn is_forwarded(headers: &HeaderMap) -> bool {
    let marks = [header::FORWARDED, header::VIA, X_FORWARDED_FOR, X_REAL_IP];
    marks.iter().any(|mark| headers.contains_key(mark))
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// The one bearer token of a request (RFC 6750 §2.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let field = fields.next().filter(|_| fields.next().is_none())?;
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim_ascii())
}

/// Why a request is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Refused {
    /// It shows nothing, and there are no tokens.
    NoTokens,
    /// It shows nothing.
    NoToken,
    /// The token is none of the file.
    WrongToken,
    /// The link is none, is used up or too old.
    WrongLink,
    /// The role does not suffice.
    ReadOnly,
    /// Too many wrong proofs.
    TooMany { seconds: u64 },
}

impl Refused {
    fn text(self) -> &'static str {
        match self {
            Self::NoTokens => {
                "this is served on a Unix socket (`address = \"unix:/…\"` in [admin]), or to a token of \
                 `token_file` in [admin]; `pigello-gateway status` and its like find the way"
            }
            Self::NoToken => {
                "this needs a token of `token_file` in [admin]: `Authorization: Bearer …`; in a browser, a link \
                 of `pigello-gateway page`"
            }
            Self::WrongToken => "the token is none of `token_file` in [admin]",
            Self::WrongLink => {
                "the link is not valid: it works once, within a minute; `pigello-gateway page` makes another"
            }
            Self::ReadOnly => "the token may only read; this needs one with the role `operate`",
            Self::TooMany { .. } => "too many wrong tokens and links; wait a moment",
        }
    }
}

impl From<Refused> for Response {
    fn from(refused: Refused) -> Self {
        let status = match refused {
            Refused::NoToken | Refused::WrongToken => StatusCode::UNAUTHORIZED,
            Refused::NoTokens | Refused::WrongLink | Refused::ReadOnly => StatusCode::FORBIDDEN,
            Refused::TooMany { .. } => StatusCode::TOO_MANY_REQUESTS,
        };
        let mut response = (status, format!("{}\n", refused.text())).into_response();
        let field = match refused {
            Refused::NoToken | Refused::WrongToken => {
                Some((header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")))
            }
            Refused::TooMany { seconds } => Some((header::RETRY_AFTER, HeaderValue::from(seconds))),
            _ => None,
        };
        response.headers_mut().extend(field);
        response
    }
}

/// Lets a request to a route pass whose sender may use it. The handler learns who that is.
pub(super) async fn require(
    State((access, state)): State<(Access, AdminState)>,
    mut request: Request,
    next: Next,
) -> Response {
    let needed = match access {
        Access::Health | Access::Open => return next.run(request).await,
        Access::Read => Role::Read,
        Access::Operate => Role::Operate,
    };
    let view: Arc<GatewayView> = state.window.view();
    let Some(peer) = request.extensions().get::<Peer>().copied() else {
        return Refused::NoTokens.into();
    };
    match state.gate.identify(&view.tokens, peer, request.headers()) {
        Ok(actor) if actor.role >= needed => {
            request.extensions_mut().insert(actor);
            next.run(request).await
        }
        Ok(_) => Refused::ReadOnly.into(),
        Err(refused) => refused.into(),
    }
}

/// For handlers of routes that need a role; on others it is an error of this program.
impl<S: Sync> FromRequestParts<S> for Actor {
    type Rejection = StatusCode;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, StatusCode> {
        parts.extensions.get::<Self>().cloned().ok_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

/// A token has at least 32 characters, so nobody guesses one. The pace bounds what guessing costs the
/// gateway and its log; right tokens pass at any time, so that a stranger cannot lock anyone out.
const WRONG_A_SECOND: NonZeroU32 = NonZeroU32::MIN;
const WRONG_AT_ONCE: NonZeroU32 = NonZeroU32::new(10).unwrap();
