//! Does a contestant do the job? Otherwise its figures mean nothing.
//!
//! Against an upstream that remembers what arrived: each of the seven once, with its value; nothing of
//! what a caller forged; everything else as it was sent; answers intact; repeated reads from memory;
//! one log line a call; and no call at all to an upstream whose certificate is another authority's.

use std::{
    thread,
    time::{Duration, Instant},
};

use pigello_mock::{Authority, MADE_UP_VALUES};

use super::{
    contestant::{Contestant, Running},
    exchange,
    failure::{During as _, Failure},
    upstream::{Arrived, CREATED, SUBTENANT, Upstream, new_object},
    workplace::{CACHED, CREATED_AT, PROXIED},
};

/// Fails with what the contestant does not do.
pub fn does_the_job(contestant: &Contestant, authority: &Authority) -> Result<(), Failure> {
    let upstream = Upstream::start(authority)?;
    let wrong = |what: &str| Err(Failure::new(format!("{contestant}: {what}")));
    let running = contestant.start(authority, upstream.address())?;
    let mut calls = 0;
    if contestant.forwards() {
        let answer = exchange::get(running.address, PROXIED, FORGED)?;
        if answer.body != SUBTENANT || !answer.status.is_success() {
            return wrong(&format!("the answer to a read is another one: {answer}"));
        }
        let answer = exchange::send(running.address, "POST", CREATED_AT, FORGED, &new_object())?;
        if answer.body != CREATED || answer.status != http::StatusCode::CREATED {
            return wrong(&format!("the answer to a body is another one: {answer}"));
        }
        calls += 2;
        let arrived = upstream.take();
        let [read, created] = arrived.as_slice() else {
            return wrong("not each call arrived once");
        };
        if read.method != http::Method::GET || read.target != PROXIED || !read.body.is_empty() {
            return wrong("a read arrived as something else");
        }
        if created.target != CREATED_AT || created.body != new_object() {
            return wrong("a body arrived as something else");
        }
        for arrived in &arrived {
            fields(arrived).or_else(|what| wrong(&what))?;
        }
    }
    if contestant.caches() {
        for _ in 0..REPEATS {
            let answer = exchange::get(running.address, CACHED, FORGED)?;
            if answer.body != SUBTENANT || !answer.status.is_success() {
                return wrong(&format!("the answer to a repeated read is another one: {answer}"));
            }
            calls += 1;
        }
        let arrived = upstream.take();
        if arrived.len() > usize::from(contestant.forwards()) {
            return wrong("repeated reads are not answered from memory");
        }
        for arrived in &arrived {
            fields(arrived).or_else(|what| wrong(&what))?;
        }
    }
    let Running { process, place, .. } = running;
    // Some write when a call is over, some when they end; one that is told to end at once may not
    // write at all.
    let asked = Instant::now();
    while contestant.logged(&place)?.is_some_and(|lines| lines != calls)
        && asked.elapsed() < PATIENCE
    {
        thread::sleep(Duration::from_millis(10));
    }
    process.end()?;
    if contestant.logged(&place)?.is_some_and(|lines| lines != calls) {
        return wrong("there is not one log line a call");
    }
    if contestant.forwards() { trusts_nobody_else(contestant, &upstream) } else { Ok(()) }
}

/// The seven once each and right, nothing forged, the rest as it was.
fn fields(arrived: &Arrived) -> Result<(), String> {
    if let Some(name) = arrived.lacks() {
        return Err(format!("{name} did not arrive once with its value"));
    }
    let of_pigello =
        arrived.fields.keys().filter(|name| name.as_str().starts_with("x-pigello")).count();
    if of_pigello != MADE_UP_VALUES.len() {
        return Err("a forged field arrived".to_owned());
    }
    if arrived.fields.get("x-kept").is_none_or(|value| value != "as it was") {
        return Err("a field that is none of the seven did not arrive".to_owned());
    }
    Ok(())
}

/// With the roots of another authority, the same upstream must not see a call.
fn trusts_nobody_else(contestant: &Contestant, upstream: &Upstream) -> Result<(), Failure> {
    let other = Authority::new("somebody else").during("cannot make an authority")?;
    let running = contestant.start(&other, upstream.address())?;
    let answer = exchange::get(running.address, PROXIED, "")?;
    if answer.status.is_server_error() && upstream.take().is_empty() {
        return Ok(());
    }
    Err(Failure::new(format!("{contestant}: calls an upstream that it must not trust")))
}

/// What a caller may try, and one field that is its own.
const FORGED: &str = "X-PIGELLO-CLIENT-SECRET: forged\r\nx-pigello-client-secret: forged\r\n\
                      X-PIGELLO-CUSTOMER-ID: forged\r\nX-PIGELLO-UNKNOWN: forged\r\n\
                      X-Kept: as it was\r\n";
/// How often a read is repeated.
const REPEATS: usize = 5;
/// How long writing a line may take.
const PATIENCE: Duration = Duration::from_secs(1);
