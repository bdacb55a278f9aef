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
            let profiles = answer.get("profiles")?.as_array()?.iter();
            let named =
                profiles.filter_map(|it| Some((it.get("name")?.as_str()?.to_owned(), it.clone())));
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

/// `fresh, version 3`, what is wrong, and how far its notices are complete.
pub(super) fn in_words(profile: &Value) -> String {
    let text = |of: &str, key: &str| profile.get(of)?.get(key)?.as_str();
    let suspended = profile.pointer("/upstream/suspended_operations").and_then(Value::as_array);
    let suspended: Vec<_> = suspended.into_iter().flatten().filter_map(Value::as_str).collect();
    let pause = profile.pointer("/upstream/pause_seconds").and_then(Value::as_u64);
    let pause = pause.filter(|seconds| *seconds > 0).map(|it| Span(Duration::from_secs(it)));
    let breaker = text("upstream", "breaker").filter(|breaker| *breaker != "closed");
    let words = [
        text("credentials", "state").map(str::to_owned),
        text("credentials", "version").map(|version| format!("version {version}")),
        text("credentials", "last_error").map(|error| format!("last read failed: {error}")),
        text("cache_key", "last_error").map(|error| format!("cache key not read: {error}")),
        breaker.map(|breaker| format!("circuit breaker {breaker}")),
        pause.map(|pause| format!("paused for {pause}")),
        (!suspended.is_empty()).then(|| format!("suspended: {}", suspended.join(" and "))),
        profile.get("notices").and_then(notices),
    ];
    words.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// `event log complete since …, read by hub-1, 4200 ms behind the last change`
fn notices(state: &Value) -> Option<String> {
    let text = |key: &str| state.get(key)?.as_str();
    let event_log = text("event_log").filter(|it| *it != "off").map(|it| match it {
        "stopped" => format!("event log stopped: {}", text("stopped").unwrap_or("?")),
        _ => match text("complete_since") {
            Some(since) => format!("event log {it} since {since}"),
            None => format!("event log {it}"),
        },
    });
    let reader = text("reader").filter(|_| event_log.is_some());
    let reader = reader.map(|reader| format!("read by {reader}"));
    let lag = state.get("lag_ms").and_then(Value::as_u64);
    let lag = lag.map(|lag| format!("{lag} ms behind the last change"));
    let words: Vec<_> = event_log.into_iter().chain(reader).chain(lag).collect();
    (!words.is_empty()).then(|| words.join(", "))
}
