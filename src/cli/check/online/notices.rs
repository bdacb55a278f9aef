//! Tests the sources of notices: the event log of each profile, and the tokens of webhooks.

use http::{HeaderMap, StatusCode};
use jiff::{SignedDuration, Timestamp};

use super::Step;
use crate::{
    cli::probe::{Probe, ProbeError},
    config::Settings,
    error::Chain,
    notices::{HookTokens, poller},
};

/// What to ask the event log for: the last minutes of it.
pub(super) fn question(settings: &Settings) -> (Timestamp, String) {
    let now = Timestamp::now();
    let overlap = SignedDuration::try_from(*settings.notices.overlap).unwrap_or_default();
    let from = now.saturating_sub(overlap).unwrap_or(now);
    (from, poller::target(&settings.notices.path, from, 1))
}

/// Reads the event log once, and judges the answer.
pub(super) async fn event_log(what: String, probe: Probe<'_>, from: Timestamp) -> Step {
    match probe.make().await {
        Ok(answer) => judge(what, answer.status, &answer.headers, &answer.body, from),
        Err(ProbeError::NotRecorded(failure)) => {
            let (text, _) = failure.text();
            Step::doubtful(
                what,
                format!("not read, because it would not be on the audit trail: {text}"),
            )
        }
        Err(ProbeError::Failed(problem)) => Step::bad(what, problem),
    }
}

fn judge(
    what: String,
    status: StatusCode,
    headers: &HeaderMap,
    body: &[u8],
    from: Timestamp,
) -> Step {
    match poller::try_answer(status, headers, body, from) {
        Some(Ok(events)) => Step::good(what, format!("it can be read; {events} events lately")),
        Some(Err(why)) => Step::bad(what, why.in_words().to_owned()).advise(Some(
            "without it every `coherent_ttl` is as `ttl`; correct `notices.path`, ask Pigello for access, or set \
             `event_log = \"off\"`",
        )),
        None => Step::bad(what, format!("answers {}", status.as_u16()))
            .advise(Some("try again; a running gateway does so by itself")),
    }
}

/// Whether the tokens of webhooks can be used.
pub(super) fn tokens(settings: &Settings) -> Option<Step> {
    const WHAT: &str = "webhook tokens";
    let webhook = settings.notices.webhook.as_ref()?;
    let tokens = match HookTokens::read(&webhook.tokens_file) {
        Ok(tokens) => tokens,
        Err(error) => {
            return Some(Step::bad(WHAT, Chain(&error).to_string()).advise(Some(
                "a line is `TOKEN` or `TOKEN PROFILE`; the file has mode 0600 and is no link, or Kubernetes mounts it",
            )));
        }
    };
    let stranger = tokens.profiles().find(|profile| settings.profile(profile).is_none());
    Some(match stranger {
        None => Step::good(WHAT, "can be used".to_owned()),
        Some(profile) => Step::bad(WHAT, format!("there is no profile `{profile}`"))
            .advise(Some("name one of the configuration, or none for all")),
    })
}
