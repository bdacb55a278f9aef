//! What a running gateway says of its profiles (`GET /profiles`).

use std::{collections::BTreeMap, time::Duration};

use serde_json::Value;

use crate::{cli::admin::profiles_of, config::Settings, domain::Span};

/// The profiles of a running gateway by name, as its admin listener has them. `None` if no gateway answers.
#[derive(Debug)]
pub(super) struct Running(Option<BTreeMap<String, Value>>);

impl Running {
    /// Asks the gateway that runs with these settings, if one does.
    pub(super) async fn of(settings: &Settings) -> Self {
        let answer = profiles_of(settings).await;
        Self(answer.and_then(|answer| {
            let profiles = answer["profiles"].as_array()?.iter();
            let named =
                profiles.filter_map(|it| Some((it["name"].as_str()?.to_owned(), it.clone())));
            Some(named.collect())
        }))
    }

    /// Whether a gateway answered.
    pub(super) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    /// The state of a profile that is loaded.
    pub(super) fn profile(&self, name: &str) -> Option<&Value> {
        self.0.as_ref()?.get(name)
    }

    /// The loaded profiles of a table, by name.
    pub(super) fn of_table<'a>(
        &'a self,
        table: &'a str,
    ) -> impl Iterator<Item = (&'a str, &'a Value)> {
        let profiles = self.0.iter().flatten();
        profiles
            .filter(move |(_, profile)| profile["table"] == table)
            .map(|(name, profile)| (name.as_str(), profile))
    }
}

/// `ready, version 3; circuit breaker closed`, and what is wrong.
pub(super) fn in_words(profile: &Value) -> String {
    let (set, upstream) = (&profile["credentials"], &profile["upstream"]);
    let mut words = set["state"].as_str().unwrap_or("unknown").to_owned();
    if let Some(version) = set["version"].as_str() {
        words += &format!(", version {version}");
    }
    if let Some(error) = set["last_error"].as_str() {
        words += &format!(", last read failed: {error}");
    }
    if let Some(breaker) = upstream["breaker"].as_str().filter(|breaker| *breaker != "closed") {
        words += &format!("; circuit breaker {breaker}");
    }
    if let Some(seconds) = upstream["pause_seconds"].as_u64().filter(|seconds| *seconds > 0) {
        words += &format!("; paused for {}", Span(Duration::from_secs(seconds)));
    }
    let suspended = upstream["suspended_operations"].as_array().into_iter().flatten();
    let suspended: Vec<_> = suspended.filter_map(Value::as_str).collect();
    if !suspended.is_empty() {
        words += &format!("; suspended: {}", suspended.join(", "));
    }
    words
}
