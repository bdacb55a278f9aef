//! `health`: asks a running gateway whether it is alive and ready, or waits until it is.
//!
//! It is for probes inside the container, where there is no shell and no `curl`.

use std::{fmt::Write as _, io::Write};

use http::{Method, StatusCode};
use serde::Deserialize;
use tokio::time::{self, Instant};

use super::{AdminClient, AdminTarget};
use crate::{cli::Failure, domain::Span};

/// Asks a running gateway how it is.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    #[command(flatten)]
    target: AdminTarget,
    /// Only asks whether the process answers, not whether it can serve calls.
    #[arg(long)]
    live: bool,
    /// Asks again until the answer is yes, for this long at most, such as `30s`.
    #[arg(long, value_name = "TIME")]
    wait: Option<Span>,
}

/// Asks; any answer but 200 is a failure with the reasons. While it waits, the first reason goes to `notes`.
pub async fn health(args: &HealthArgs, notes: &mut impl Write) -> Result<(), Failure> {
    let path = if args.live { "/livez" } else { "/readyz" };
    let client = args.target.health()?;
    let end = args.wait.map(|wait| (wait, Instant::now() + *wait));
    let mut is_told = false;
    loop {
        let Err(failure) = ask(&client, path).await else { return Ok(()) };
        let Some((wait, end)) = end.filter(|(_, end)| Instant::now() < *end) else {
            return Err(failure);
        };
        if !is_told {
            writeln!(notes, "{}; waiting for up to {wait}", failure.text().0)?;
            is_told = true;
        }
        time::sleep_until(end.min(Instant::now() + BETWEEN_QUESTIONS)).await;
    }
}

async fn ask(client: &AdminClient, path: &str) -> Result<(), Failure> {
    let answer = client.ask(Method::GET, path).await?;
    match answer.status {
        StatusCode::OK => Ok(()),
        _ => Err(Failure::failed(format!("not ready: {}", in_words(&answer.text)))),
    }
}

/// The answer of `/readyz`.
#[derive(Deserialize)]
struct Readiness {
    reasons: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    part: String,
    name: Option<String>,
    #[serde(rename = "reason")]
    why: String,
    cause: Option<String>,
    next_try_seconds: Option<u64>,
}

/// The reasons in one line; the text itself if it is not of this gateway.
fn in_words(text: &str) -> String {
    let Ok(Readiness { reasons }) = serde_json::from_str(text) else {
        return text.trim_end().to_owned();
    };
    let words = reasons.iter().map(|reason| {
        let mut words = reason.part.clone();
        // Writing to a string cannot fail.
        let mut add = |text: std::fmt::Arguments<'_>| {
            let _infallible = words.write_fmt(text);
        };
        if let Some(name) = &reason.name {
            add(format_args!(" `{name}`"));
        }
        let why = reason.cause.as_ref().unwrap_or(&reason.why);
        add(format_args!(": {}", why.trim_end_matches('.')));
        if let Some(seconds) = reason.next_try_seconds {
            add(format_args!(", next try in {seconds} s"));
        }
        words
    });
    words.collect::<Vec<_>>().join("; ")
}

const BETWEEN_QUESTIONS: std::time::Duration = std::time::Duration::from_millis(250);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_a_sentence_and_no_json() {
        let text = r#"{"ready":false,"reasons":[
            {"part":"credentials","name":"mock","reason":"The set could not be read yet.",
             "cause":"the vault at http://127.0.0.1:8200 cannot be reached","next_try_seconds":2,"remedy":"x"},
            {"part":"audit","reason":"no room","remedy":"y"}]}"#;
        assert_eq!(
            in_words(text),
            "credentials `mock`: the vault at http://127.0.0.1:8200 cannot be reached, next try in 2 s; \
             audit: no room"
        );
        assert_eq!(in_words("busy\n"), "busy");
    }
}
