//! `/__mock__/webhooks`: asks for webhooks, and lets them misbehave.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Response, StatusCode};
use jiff::fmt::serde::unsigned_duration::required::deserialize as duration;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    response,
    state::MockState,
    webhooks::{Subscription, Webhook, WebhookFaults},
};

use super::{settings, unknown};

/// `path` is what follows `/__mock__/webhooks/`.
pub(super) fn handle(
    state: &MockState,
    method: &Method,
    path: &str,
    body: &[u8],
) -> Response<Bytes> {
    let webhooks = &state.webhooks;
    match (path, method) {
        ("", &Method::GET) => {
            let all: Vec<Value> = webhooks.all().iter().map(|it| describe(it)).collect();
            response::json(StatusCode::OK, &all)
        }
        ("", &Method::POST) => match settings(body).and_then(Asked::into_webhook) {
            Ok(webhook) => {
                webhooks.add(webhook);
                response::empty(StatusCode::CREATED)
            }
            Err(response) => response,
        },
        ("", &Method::DELETE) => {
            webhooks.clear();
            response::empty(StatusCode::NO_CONTENT)
        }
        ("faults", &Method::PUT) => match settings::<WebhookFaults>(body) {
            Ok(faults) => {
                webhooks.all().iter().for_each(|webhook| webhook.set_faults(faults.clone()));
                response::empty(StatusCode::NO_CONTENT)
            }
            Err(response) => response,
        },
        ("", _) => response::method_not_allowed(&[Method::GET, Method::POST, Method::DELETE]),
        ("faults", _) => response::method_not_allowed(&[Method::PUT]),
        _ => unknown(),
    }
}

fn describe(webhook: &Subscription) -> Value {
    json!({ "url": webhook.url(), "faults": webhook.faults(), "counts": webhook.counts() })
}

/// A webhook as a control call asks for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: String,
    ca: Option<String>,
    activation: Option<String>,
    #[serde(default)]
    faults: WebhookFaults,
    #[serde(default = "first_retry", deserialize_with = "duration")]
    first_retry: Duration,
    #[serde(default = "longest_retry", deserialize_with = "duration")]
    longest_retry: Duration,
    #[serde(default = "timeout", deserialize_with = "duration")]
    timeout: Duration,
}

impl Asked {
    #[expect(clippy::result_large_err, reason = "the error is a response")]
    fn into_webhook(self) -> Result<Webhook, Response<Bytes>> {
        let webhook = Webhook::new(&self.url, self.ca.as_deref())
            .map_err(|error| response::error(StatusCode::BAD_REQUEST, &error.to_string()))?
            .retry(self.first_retry, self.longest_retry)
            .timeout(self.timeout)
            .faults(self.faults);
        Ok(match self.activation {
            Some(name) => webhook.activation(name),
            None => webhook,
        })
    }
}

const fn first_retry() -> Duration {
    Webhook::FIRST_RETRY
}

const fn longest_retry() -> Duration {
    Webhook::LONGEST_RETRY
}

const fn timeout() -> Duration {
    Webhook::TIMEOUT
}
