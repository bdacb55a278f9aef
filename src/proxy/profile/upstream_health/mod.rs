//! What the gateway has learnt of one profile's upstream. The `retry` and `circuit_breaker` stages teach
//! it and ask it.
//!
//! A response is judged by its operation first: one that fails, or that asks for a pause, says nothing of
//! the others. When several say the same, and when connections fail, it is the upstream.
//!
//! A pause that Pigello asks one member of a fleet for is a pause of all: they share the limit, and the budget that is
//! configured for it.

mod circuit_breaker;
mod operations;
mod pause;
mod rate_limit;
mod retry_budget;

use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::time::Instant;

use self::{
    circuit_breaker::{BreakerPermit, Outcome},
    operations::{Paused, TroubledOperations},
    pause::Pause,
};
pub use self::{
    circuit_breaker::{CircuitBreaker, CircuitBreakerSettings, CircuitBreakerState},
    rate_limit::{QuotaSettings, UpstreamRateLimit},
    retry_budget::RetryBudget,
};
use crate::{
    body::Body,
    domain::{LabelValue, Operation, ProfileName},
    error::{Error, Fault, Kind},
    fleet::{self, BudgetSettings, Change, Purse},
};

/// How the health of an upstream is judged.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HealthSettings {
    /// When calls are suspended.
    pub breaker: CircuitBreakerSettings,
    /// What is learnt of its rate limit.
    pub quota: QuotaSettings,
    /// What retries may add to the load, 0 to 1.
    pub retry_share: f64,
    /// The calls of all gateways together.
    pub budget: BudgetSettings,
}

/// The state of one profile's upstream. All workers share it, and it survives a reload.
#[derive(Debug)]
pub struct UpstreamHealth {
    /// Whether calls pass.
    pub breaker: Arc<CircuitBreaker>,
    /// The upstream's rate limit, as far as it is known.
    pub rate_limit: UpstreamRateLimit,
    /// How many retries are allowed.
    pub retry_budget: RetryBudget,
    operations: TroubledOperations,
    profile: ProfileName,
    /// Is told of pauses.
    fleet: Option<Arc<fleet::Member>>,
}

impl UpstreamHealth {
    /// The state of an upstream that was never called. The log names the profile, and the fleet, if there is one, is
    /// told of pauses.
    pub fn new(
        profile: &ProfileName,
        settings: HealthSettings,
        fleet: Option<Arc<fleet::Member>>,
    ) -> Arc<Self> {
        let HealthSettings { breaker, quota, retry_share, budget } = settings;
        let purse = match &fleet {
            Some(fleet) => fleet.purse(profile, budget),
            None => Purse::alone(profile, budget),
        };
        Arc::new(Self {
            breaker: Arc::new(CircuitBreaker::new(breaker, profile)),
            rate_limit: UpstreamRateLimit::new(quota, profile, purse),
            retry_budget: RetryBudget::new(retry_share),
            operations: TroubledOperations::new(breaker, profile),
            profile: profile.clone(),
            fleet,
        })
    }

    /// The operations that are paused or whose breaker is open, by name.
    pub fn suspended_operations(&self) -> Vec<String> {
        self.operations.suspended()
    }

    /// Lets an attempt pass, or says when to retry.
    pub(in crate::proxy) fn admit(
        &self,
        is_idempotent: bool,
        priority: Priority<'_>,
        operation: Option<&Operation>,
    ) -> Result<AttemptPermit, Error> {
        let upstream = self.breaker.admit(is_idempotent).map_err(|wait| {
            let detail = "the upstream kept failing and is left alone for a moment";
            Error::new(Kind::UpstreamSuspended, detail).retry_after(wait)
        })?;
        let operation = self.operations.admit(operation)?;
        match priority {
            Priority::Caller(caller) => self.rate_limit.admit(caller)?,
            Priority::Spare => self.rate_limit.admit_spare()?,
        }
        Ok(AttemptPermit { upstream, operation })
    }

    /// Learns from the result of an attempt.
    pub(in crate::proxy) fn learn(
        &self,
        permit: AttemptPermit,
        operation: Option<&Operation>,
        result: &Result<Response<Body>, Error>,
    ) {
        if let Ok(response) = result
            && let Some(pause) = rate_limit::told_pause(response.status(), response.headers())
            // No clock ends that early, so there is no pause to note.
            && let Some(until) = Instant::now().checked_add(pause)
        {
            let status = response.status();
            let paused = self.pause(operation, Pause { until, is_heard: false }, status, false);
            if paused.is_news
                && let Some(fleet) = &self.fleet
            {
                fleet.tell(Change::Pause(fleet::Pause {
                    profile: self.profile.clone(),
                    operation: operation.map(|operation| operation.name().into()),
                    is_for_all: paused.are_several,
                    status: status.as_u16(),
                    until,
                }));
            }
        }
        match judge(result) {
            Judgement::Well => {
                permit.upstream.report(Outcome::Success);
                if let Some(permit) = permit.operation {
                    permit.report(Outcome::Success);
                }
            }
            Judgement::OperationFailed => {
                let several = self.operations.fail(operation, permit.operation);
                permit.upstream.report(Outcome::Operation { several });
            }
            Judgement::ConnectionFailed => permit.upstream.report(Outcome::Connection),
            Judgement::Nothing => {}
        }
    }

    /// Learns of a pause that another member of the fleet was asked for, as if this one had been.
    pub fn hear(&self, operation: Option<&Operation>, pause: &fleet::Pause) {
        let fleet::Pause { until, is_for_all, status, .. } = *pause;
        let heard = Pause::heard(until);
        let Some(left) = heard.left(Instant::now()) else { return };
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        if self.pause(operation, heard, status, is_for_all).is_news {
            let (profile, operation) = (&self.profile, operation.map(Operation::name));
            tracing::info!(%profile, operation, ?left, "Pigello asks another gateway of the fleet for a pause");
        }
    }

    fn pause(
        &self,
        operation: Option<&Operation>,
        pause: Pause,
        status: StatusCode,
        is_for_all: bool,
    ) -> Paused {
        let paused = self.operations.pause(operation, pause);
        let is_too_many = status == StatusCode::TOO_MANY_REQUESTS;
        self.rate_limit.learn(is_too_many, pause, is_for_all || paused.are_several);
        paused
    }

    /// Learns that an operation did not answer in time. The attempt was given up and has told nothing.
    pub(in crate::proxy) fn hung(&self, operation: Option<&Operation>) {
        let several = self.operations.fail(operation, None);
        self.breaker.record(Outcome::Operation { several });
    }
}

/// Whose place an attempt takes of a learnt rate.
#[derive(Clone, Copy, Debug)]
pub enum Priority<'a> {
    /// A caller's, who may be nobody in particular.
    Caller(Option<&'a LabelValue>),
    /// One that no caller needs.
    Spare,
}

/// Permission for one attempt. Dropped, it counts nothing.
#[derive(Debug)]
pub struct AttemptPermit {
    upstream: BreakerPermit,
    operation: Option<BreakerPermit>,
}

/// What a result says of the upstream.
enum Judgement {
    Well,
    OperationFailed,
    ConnectionFailed,
    Nothing,
}

fn judge(result: &Result<Response<Body>, Error>) -> Judgement {
    match result {
        Ok(response) => match response.status() {
            StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT => Judgement::OperationFailed,
            _ => Judgement::Well,
        },
        Err(error) => match error.kind() {
            // An answer is too large or odd, or a connection ends in order.
            Kind::UpstreamProtocol | Kind::UpstreamUnprocessed => Judgement::Nothing,
            Kind::UpstreamFirstByteTimeout | Kind::UpstreamTimeout | Kind::UpstreamEchoedSecret => {
                Judgement::OperationFailed
            }
            kind if kind.fault() == Fault::Upstream && !error.is_repeated() => {
                Judgement::ConnectionFailed
            }
            _ => Judgement::Nothing,
        },
    }
}
