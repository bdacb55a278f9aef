//! Helpers for tables of fields.

use std::time::Duration;

use tokio::time::advance;

use super::{
    harness::{Answer, Bench},
    upstream::{Turn, reply},
};

/// Fields of a request or a response.
pub(super) type Lines<'a> = &'a [(&'static str, &'a str)];

/// A response with these fields. The value `@-30` is the date thirty seconds ago.
pub(super) fn dated(bench: &Bench, status: u16, lines: Lines<'_>) -> Turn {
    lines.iter().fold(reply(status), |turn, (name, value)| match value.strip_prefix('@') {
        Some(seconds) => turn.header(name, bench.date(seconds.parse().unwrap())),
        None => turn.header(name, value),
    })
}

/// Requests `/object` with these fields, written as for [`dated`].
pub(super) async fn get(bench: &Bench, lines: Lines<'_>) -> Answer {
    let request = bench.get("/object");
    lines
        .iter()
        .fold(request, |request, (name, value)| match value.strip_prefix('@') {
            Some(seconds) => request.header(name, bench.date(seconds.parse().unwrap())),
            None => request.header(name, value),
        })
        .send()
        .await
}

/// Lets three seconds pass.
pub(super) async fn pause() {
    advance(Duration::from_secs(3)).await;
}
