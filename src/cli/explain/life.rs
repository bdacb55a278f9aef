//! `explain --cache PATH`: the life of a cached object, as the running gateway tells it.

use std::{
    io::{self, Write},
    time::Duration,
};

use http::Method;
use serde::Deserialize;

use crate::{
    cli::{Failure, admin::AdminTarget},
    domain::{Span, visible},
};

#[derive(Deserialize)]
struct Life {
    stored: Vec<Stored>,
    dropped: Vec<Dropped>,
}

#[derive(Deserialize)]
struct Stored {
    profile: String,
    has_query: bool,
    status: u16,
    request_id: String,
    source_chain: Option<String>,
    #[serde(rename = "stored_seconds")]
    age: u64,
    state: String,
    left_seconds: u64,
}

#[derive(Deserialize)]
struct Dropped {
    at: String,
    source: String,
    event: Option<String>,
    created_at: Option<String>,
    request_id: Option<String>,
    what: String,
}

/// Asks the running gateway, and prints.
pub(super) async fn life(
    target: &AdminTarget,
    path: &str,
    json: bool,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let query = form_urlencoded::Serializer::new(String::new()).append_pair("path", path).finish();
    let (answer, life) = target.admin()?.json(Method::GET, &format!("/cache?{query}")).await?;
    if json {
        writeln!(out, "{}", answer.text.trim_end())?;
    } else {
        print(&life, out)?;
    }
    Ok(())
}

fn print(Life { stored, dropped }: &Life, out: &mut impl Write) -> io::Result<()> {
    if stored.is_empty() {
        writeln!(out, "nothing is stored under this path")?;
    }
    let span = |seconds: u64| Span(Duration::from_secs(seconds));
    for stored in stored {
        let query = if stored.has_query { ", with a query" } else { "" };
        let left = match stored.state.as_str() {
            "coherent" | "fresh" => format!(" for {} more", span(stored.left_seconds)),
            _ => String::new(),
        };
        let elsewhere = match &stored.source_chain {
            Some(chain) => format!(" of another gateway (chain {})", visible(chain)),
            None => String::new(),
        };
        writeln!(
            out,
            "stored   {} ago by the call {}{elsewhere} ({}, profile {}{query}): {}{left}",
            span(stored.age),
            stored.request_id,
            stored.status,
            stored.profile,
            stored.state,
        )?;
    }
    for dropped in dropped {
        let event = dropped.event.as_deref().unwrap_or("without an id");
        let when = match &dropped.created_at {
            Some(time) => format!(" of a change at {time}"),
            None => String::new(),
        };
        let call = match &dropped.request_id {
            Some(id) => format!(", read by the call {id}"),
            None => String::new(),
        };
        writeln!(
            out,
            "dropped  at {} ({}) by the event {event}{when}, from {}{call}",
            dropped.at, dropped.what, dropped.source
        )?;
    }
    if dropped.is_empty() {
        writeln!(out, "no notice that the gateway remembers dropped it")?;
    }
    Ok(())
}
