//! A mix of calls as life has them: most succeed, some from memory; some are refused; some wait in
//! vain; some callers leave before their answer has begun, and some in the middle of it.

use std::{
    fmt,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use pigello_gateway::error::Chain;
use tokio::time::timeout;

use super::{
    call::{Answer, Broken, Caller, LIST, subtenant},
    load::Tally,
    upstream::Upstream,
};

/// What a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Fetched from the upstream.
    Fetched,
    /// Of an object that is in memory, most of the time.
    Cached,
    /// 403: no operation matches.
    Forbidden,
    /// 400: a path with more than one reading.
    Malformed,
    /// 504: the upstream does not answer.
    TimedOut,
    /// The caller leaves while the upstream has the request.
    LeftBefore,
    /// The caller leaves once it has the head of the answer.
    LeftWithin,
}

impl Kind {
    /// Of call number `n`: of a thousand, so many are left before, as many within, 20 are forbidden,
    /// 10 malformed, 1 times out, and of the rest every second is of an object in memory.
    pub const fn of(n: u64, left: u64) -> Self {
        // Neighbours come at the same moment, so they should not be alike.
        match n.wrapping_mul(389) % 1_000 {
            0..20 => Self::Forbidden,
            20..30 => Self::Malformed,
            30 => Self::TimedOut,
            rest if rest < 31 + left => Self::LeftBefore,
            rest if rest < 31 + 2 * left => Self::LeftWithin,
            odd if odd % 2 == 1 => Self::Cached,
            _ => Self::Fetched,
        }
    }

    /// The status that its answer must have; `None` where there is no whole answer.
    pub const fn status(self) -> Option<u16> {
        match self {
            Self::Fetched | Self::Cached => Some(200),
            Self::Forbidden => Some(403),
            Self::Malformed => Some(400),
            Self::TimedOut => Some(504),
            Self::LeftBefore | Self::LeftWithin => None,
        }
    }
}

/// Makes call number `n` of that kind. A call that is left counts as made once the gateway is known to
/// have it.
pub async fn make(caller: &mut Caller, upstream: &Upstream, kind: Kind, n: u64) -> Outcome {
    let answer = match kind {
        Kind::Fetched => caller.get(LIST).await,
        Kind::Cached => caller.get(&subtenant(n % OBJECTS)).await,
        Kind::Forbidden => caller.get("/no/such/operation/").await,
        Kind::Malformed => caller.get("//accounts/").await,
        Kind::TimedOut => caller.get(&format!("{LIST}?stall")).await,
        Kind::LeftBefore => return leave_before(caller, upstream, n).await,
        Kind::LeftWithin => return leave_within(caller).await,
    };
    Outcome::Answered(answer)
}

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    Answered(Result<Answer, Broken>),
    /// The caller left, as it was to.
    Left,
    /// The call never got to where the caller was to leave it.
    Stuck,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answered(Ok(answer)) => {
                write!(f, "got {} {}", answer.status, String::from_utf8_lossy(&answer.body))
            }
            Self::Answered(Err(broken)) => write!(f, "got nothing: {}", Chain(broken)),
            Self::Left => f.write_str("was left"),
            Self::Stuck => f.write_str("never got to where it was to be left"),
        }
    }
}

/// Notes what became of a call of that kind, and says whether it was what had to become of it.
pub fn note(tally: &mut Tally, kind: Kind, outcome: &Outcome, due: Instant) -> bool {
    match outcome {
        Outcome::Answered(answer) => {
            tally.note(answer, due);
            answer.as_ref().is_ok_and(|answer| kind.status() == Some(answer.status))
        }
        Outcome::Left => true,
        Outcome::Stuck => false,
    }
}

async fn leave_before(caller: &mut Caller, upstream: &Upstream, n: u64) -> Outcome {
    let held = upstream.hold(n);
    let target = format!("{LIST}?hold={n}");
    let arrived = {
        let call = caller.head(Method::GET, &target, Bytes::new());
        tokio::select! {
            _answer = call => false,
            arrived = timeout(PATIENCE, held) => matches!(arrived, Ok(Ok(()))),
        }
    };
    caller.leave();
    if arrived { Outcome::Left } else { Outcome::Stuck }
}

async fn leave_within(caller: &mut Caller) -> Outcome {
    let target = format!("{LIST}?half");
    let head = timeout(PATIENCE, caller.head(Method::GET, &target, Bytes::new())).await;
    let began = matches!(&head, Ok(Ok(answer)) if answer.status() == 200);
    drop(head);
    caller.leave();
    if began { Outcome::Left } else { Outcome::Stuck }
}

/// Of a thousand calls, so many are left before their answer has begun, and as many within it.
pub const LEFT: u64 = 10;
/// Objects that are asked for.
const OBJECTS: u64 = 2_001;
/// A call that got nowhere in this time is stuck.
const PATIENCE: Duration = Duration::from_secs(30);
