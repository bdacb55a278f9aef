//! What the gateway has learnt of one profile's upstream. The `retry` and `circuit_breaker` stages share
//! it.

mod circuit_breaker;
mod rate_limit;
mod retry_budget;

use std::sync::Arc;

pub(super) use self::circuit_breaker::BreakerPermit;
pub use self::{
    circuit_breaker::{CircuitBreaker, CircuitBreakerSettings, CircuitBreakerState},
    rate_limit::UpstreamRateLimit,
    retry_budget::RetryBudget,
};

/// The state of one profile's upstream. All workers share it, and it survives a reload.
#[derive(Debug)]
pub struct UpstreamHealth {
    /// Whether calls pass.
    pub breaker: Arc<CircuitBreaker>,
    /// The upstream's rate limit, as far as it is known.
    pub rate_limit: UpstreamRateLimit,
    /// How many retries are allowed.
    pub retry_budget: RetryBudget,
}

impl UpstreamHealth {
    /// The state of an upstream that was never called. Retries may add `retry_share` to the load,
    /// 0 to 1.
    pub fn new(breaker: CircuitBreakerSettings, retry_share: f64) -> Arc<Self> {
        Arc::new(Self {
            breaker: Arc::new(CircuitBreaker::new(breaker)),
            rate_limit: UpstreamRateLimit::new(),
            retry_budget: RetryBudget::new(retry_share),
        })
    }
}
