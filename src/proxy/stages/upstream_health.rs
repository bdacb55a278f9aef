//! What the gateway knows of one profile's upstream. [`retry`](super::retry) takes from its budget,
//! [`circuit_breaker`](super::circuit_breaker) asks and teaches the rest.

use std::sync::Arc;

use super::{
    circuit_breaker::{CircuitBreaker, CircuitBreakerSettings, UpstreamRateLimit},
    retry::Budget,
};

/// State of one profile's upstream: shared by all workers, kept over a reload.
#[derive(Debug)]
pub struct UpstreamHealth {
    /// Whether calls are let through.
    pub breaker: Arc<CircuitBreaker>,
    /// The upstream's rate limit, as far as it is known.
    pub quota: UpstreamRateLimit,
    /// The budget for retries.
    pub budget: Budget,
}

impl UpstreamHealth {
    /// The state of an upstream that was never called. Retries may add `retry_share` to the load,
    /// 0 to 1.
    pub fn new(breaker: CircuitBreakerSettings, retry_share: f64) -> Arc<Self> {
        Arc::new(Self {
            breaker: Arc::new(CircuitBreaker::new(breaker)),
            quota: UpstreamRateLimit::new(),
            budget: Budget::new(retry_share),
        })
    }
}
