//! The profiles: a list that can be searched, and `GET /profiles/NAME` for each.
//!
//! The server searches and cuts the list, because a template may have thousands of members.

use std::{sync::Arc, time::SystemTime};

use axum::{
    extract::{Path, State},
    http::StatusCode,
    response::Response,
};
use maud::{Markup, html};

use super::{
    PageData,
    format::{item, many, prose, share, span, thousands, took},
    shell,
    state::{in_words, mark, of_key, of_notices, pause_in_words},
};
use crate::{
    admin::{
        GatewayView,
        shared_keys::cache_key,
        trouble::{Judged, judged},
    },
    domain::ProfileName,
    proxy::profile::Profile,
    telemetry::Period,
};

/// The list. Those in trouble come first.
pub(super) fn list(data: &PageData<'_>) -> Markup {
    let wanted = data.q.trim().to_ascii_lowercase();
    let is_wanted = |judged: &&Judged| judged.profile.name.as_str().contains(&wanted);
    let mut found: Vec<_> = data.profiles.iter().filter(is_wanted).collect();
    // Stable: by name otherwise.
    found.sort_by_key(|judged| judged.troubles.is_empty());
    let more = found.len().saturating_sub(MOST_ROWS);
    let in_trouble = data.profiles.iter().filter(|judged| !judged.troubles.is_empty()).count();
    html! {
        h2 { "Profiles" }
        p class="quiet" {
            (thousands(data.profiles.len() as u64)) " loaded, " (thousands(in_trouble as u64)) " in trouble. A member of \
            a template is loaded when it is called."
        }
        form method="get" action="/#profiles" {
            label for="q" { "Name" }
            input type="search" id="q" name="q" value=(data.q) maxlength="63";
            button type="submit" { "Search" }
        }
        @if found.is_empty() {
            p class="empty" { "No loaded profile has such a name." }
        } @else {
            div class="wide" tabindex="0" role="region" aria-label="Profiles" {
                table {
                    thead { tr { @for name in COLUMNS { th scope="col" { (name) } } } }
                    tbody { @for judged in found.iter().take(MOST_ROWS) { (row(judged)) } }
                }
            }
            @if more > 0 { p class="quiet" { (thousands(more as u64)) " more" } }
        }
    }
}

fn row(judged: &Judged) -> Markup {
    let Judged { profile, .. } = judged;
    html! {
        tr {
            th scope="row" { a href=(format!("/profiles/{}", profile.name)) { (profile.name) } }
            td { (profile.table) }
            td { (state(judged)) }
            td { (thousands(profile.calls.calls())) }
            td { (share(profile.calls.errors(), profile.calls.calls())) }
        }
    }
}

/// The state in words, with a colour that repeats it.
fn state(judged: &Judged) -> Markup {
    match judged.troubles.first() {
        Some(trouble) => mark(if trouble.is_grave() { "bad" } else { "look" }, trouble.words()),
        None if !judged.profile.manager.was_read() => html! { "is being loaded" },
        None => mark("ok", "is well"),
    }
}

/// `GET /profiles/NAME`.
pub(in crate::admin) async fn one(
    State(view): State<Arc<GatewayView>>,
    Path(name): Path<String>,
) -> Response {
    let found = judged(&view).into_iter().find(|judged| judged.profile.name.as_str() == name);
    match found {
        Some(judged) => {
            let title = judged.profile.name.to_string();
            shell::answer(StatusCode::OK, &title, &title, &about(&view, &judged))
        }
        None => absent(&view, &name),
    }
}

fn absent(view: &GatewayView, name: &str) -> Response {
    let words = if view.directory.knows(&ProfileName::new(name)) {
        "It is not loaded: nobody has called it lately, or its source does not have it. Its next call has the source \
         asked."
    } else {
        "No profile has this name, and no template matches it."
    };
    let body = html! {
        section { p { (words) } p { a href="/#profiles" { "All profiles" } } }
    };
    shell::answer(StatusCode::NOT_FOUND, "Not loaded", "Not loaded", &body)
}

fn about(view: &GatewayView, judged: &Judged) -> Markup {
    let profile = &judged.profile;
    let set = profile.manager.status();
    let health = &profile.health;
    let (class, words) = in_words(&set);
    html! {
        section {
            h2 { "State" }
            dl {
                (item("Now", state(judged)))
                @for trouble in judged.troubles.iter().skip(1) { (item("Also", trouble.words())) }
                (item("Table", html! { code { (profile.table) } }))
                @if let Some(table) = view.profiles.iter().find(|table| table.name == profile.table.as_str()) {
                    (item("Address", html! { code { (table.upstream) } }))
                }
                (item("Credentials", mark(class, words)))
                (item("Source", set.source))
                @if let Some(version) = &set.version { (item("Version", html! { code { (version) } })) }
                @if let Some(refused) = &set.refused_version { (item("Refused version", html! { code { (refused) } })) }
                @for (name, ago) in [("Last read", set.unconfirmed_seconds), ("Last accepted", set.unaccepted_seconds)] {
                    @if let Some(ago) = ago { (item(name, format!("{} ago", span(ago)))) }
                }
                @if let Some(error) = &set.last_error {
                    (item("Last error", html! { span class="error" { (prose(error)) } }))
                }
                @if let Some(key) = cache_key(profile) { (item("Cache key", of_key(&key))) }
                (item("Breaker", health.breaker.state().label()))
                @let pause = health.rate_limit.pause().as_secs();
                @if pause > 0 { (item("Pause", pause_in_words(pause, health))) }
                @if let Some(state) = view.notices.state(&profile.name) { (of_notices(&state)) }
            }
            @if let Some(trouble) = judged.troubles.first() { p { (prose(trouble.remedy())) } }
        }
        section { h2 { "Calls" } (calls(view, profile)) }
        section { h2 { "Who may use it" } (callers(view, profile)) }
        p { a href="/#profiles" { "All profiles" } }
    }
}

fn calls(view: &GatewayView, profile: &Profile) -> Markup {
    let (hour, is_all) = view.activity.answers_of(&profile.name, Period::Hour, SystemTime::now());
    let sent = match (is_all, hour.calls) {
        (true, calls) => thousands(calls),
        (false, 0) => "not counted: more profiles were called than are counted".to_owned(),
        (false, calls) => format!("at least {}", thousands(calls)),
    };
    html! {
        dl {
            (item("Since it was loaded", many(profile.calls.calls(), "call")))
            (item("Failed among them", thousands(profile.calls.errors())))
            (item("Sent in the last hour", sent))
            @if hour.calls > 0 {
                (item("Failed", share(hour.failed, hour.calls)))
                @if hour.limited > 0 { (item("Told to wait (429)", thousands(hour.limited))) }
                (item("Answers begin", html! {
                    "median " (took(hour.times.percentile(50.0)))
                    ", 95 % within " (took(hour.times.percentile(95.0)))
                }))
            }
        }
    }
}

fn callers(view: &GatewayView, profile: &Profile) -> Markup {
    let name = &profile.name;
    let listed = view.callers.iter().filter(|rule| {
        rule.profile.as_ref() == Some(name)
            || rule.profiles.iter().any(|pattern| pattern.matches(name))
    });
    let callers: Vec<_> = listed.map(|rule| &*rule.name).collect();
    let listeners: Vec<_> = view
        .listeners
        .iter()
        .filter(|listener| listener.profile.as_deref() == Some(name.as_str()))
        .map(|listener| listener.name.as_str())
        .collect();
    html! {
        dl {
            (item("By their entry", if callers.is_empty() { "nobody".to_owned() } else { callers.join(", ") }))
            @if !listeners.is_empty() {
                (item("Over a listener", listeners.join(", ")))
            }
        }
        p class="quiet" { a href="/access" { "Which operations" } }
    }
}

/// More are found with the search.
const MOST_ROWS: usize = 100;
const COLUMNS: [&str; 5] = ["name", "table", "state", "calls", "failed"];
