//! State of the parts: upstreams, credentials, cache, trail.

use std::time::Duration;

use bytesize::ByteSize;
use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    PageData,
    format::{item, many, moment, prose, share, span, thousands, took},
};
use crate::{
    admin::{check::Check, foresight::ClockOffset, shared_keys::CacheKeyState},
    audit::{FleetLogStatus, Verdict},
    credentials::{SetState, SetStatus},
    fleet::{BudgetStatus, FleetStatus, KeyStatus},
    notices::NoticesState,
    outbound::{CertificateEnd, CertificateUse, Nearness, Until},
    proxy::profile::{CircuitBreakerState, UpstreamHealth},
};

pub(super) fn upstreams(data: &PageData<'_>) -> Markup {
    html! {
        h2 { "Pigello" }
        @for profile in &data.view.profiles {
            @let health = data.view.upstreams.iter().find(|(name, _)| name.as_str() == profile.name);
            @let answers = data.summary.upstreams.iter().find(|(name, _)| name.as_str() == profile.name);
            h3 { (profile.name) }
            dl {
                (item("Address", html! { code { (profile.upstream) } }))
                (item("Called through", html! {
                    @for listener in data.view.listeners.iter().filter(|l| l.profile.as_ref() == Some(&profile.name)) {
                        div { (listener.name) " " code { (listener.address) } }
                    }
                }))
                @if let Some((_, health)) = health {
                    @let (state, class) = match health.breaker.state() {
                        CircuitBreakerState::Closed => ("closed: calls pass", "ok"),
                        CircuitBreakerState::HalfOpen => ("half-open: one call at a time passes", "look"),
                        CircuitBreakerState::Open => ("open: calls are refused", "bad"),
                    };
                    (item("Breaker", mark(class, state)))
                    @let suspended = health.suspended_operations();
                    @if !suspended.is_empty() { (item("Left alone", mark("look", &suspended.join(", ")))) }
                    @if let Some(rate) = health.rate_limit.rate() {
                        (item("Learnt rate", mark("look", &format!("{rate} calls a second"))))
                    }
                    @if let Some(budget) = health.rate_limit.budget() { (item("Budget", budget_in_words(budget))) }
                    @let pause = health.rate_limit.pause().as_secs();
                    @if pause > 0 { (item("Pause", mark("look", &pause_in_words(pause, health)))) }
                }
                @if let Some((_, answers)) = answers {
                    (item("Calls sent", thousands(answers.calls)))
                    (item("Failed", share(answers.failed, answers.calls)))
                    @if answers.repeated > 0 { (item("Sent again", thousands(answers.repeated))) }
                    @if answers.limited > 0 { (item("Told to wait (429)", thousands(answers.limited))) }
                    (item("Answers begin", html! {
                        "median " (took(answers.times.percentile(50.0)))
                        ", 95 % within " (took(answers.times.percentile(95.0)))
                    }))
                } @else {
                    (item("Calls sent", "none in this time"))
                }
            }
        }
    }
}

fn budget_in_words(budget: BudgetStatus) -> Markup {
    let BudgetStatus { rate, leased, refused, source } = budget;
    let of = match source {
        "own" => format!("{rate} calls a second"),
        "without_store" => {
            format!("a part of {rate} calls a second, because the fleet's store does not answer")
        }
        _ => format!("a part of {rate} calls a second, {leased} at hand"),
    };
    let class = if source == "without_store" { "look" } else { "ok" };
    html! { (mark(class, &of)) @if refused > 0 { ", " (thousands(refused)) " refused" } }
}

pub(super) fn pause_in_words(seconds: u64, health: &UpstreamHealth) -> String {
    let from = if health.rate_limit.is_pause_heard() {
        ", as another gateway of the fleet was asked"
    } else {
        ""
    };
    format!("for {} more{from}", span(seconds))
}

pub(super) fn credentials(data: &PageData<'_>) -> Markup {
    html! {
        h2 { "Credentials" }
        @for set in &data.credentials {
            h3 { (set.name) }
            dl {
                @let (class, words) = in_words(set);
                (item("State", mark(class, words)))
                (item("Source", set.source))
                @if let Some(version) = &set.version { (item("Version", html! { code { (version) } })) }
                @if let Some(age) = set.age_seconds { (item("In use for", span(age))) }
                @for (name, ago) in [("Last read", set.unconfirmed_seconds), ("Last accepted", set.unaccepted_seconds)] {
                    @if let Some(ago) = ago { (item(name, format!("{} ago", span(ago)))) }
                }
                (item("Last rotation", match (set.rotations, set.loaded_at) {
                    (0, _) | (_, None) => html! { "none since the start" },
                    (rotations, Some(loaded)) => html! {
                        (moment(loaded)) ", " (many(rotations, "rotation")) " since the start"
                    },
                }))
                @if let Some(other) = &set.other_version {
                    (item("Kept beside it", html! { code { (other) } }))
                }
                @if let Some(refused) = &set.refused_version {
                    (item("Refused", mark("bad", &format!(
                        "Pigello refuses the new version {refused}; the one before it is in use"
                    ))))
                }
                @match (&set.waiting_version, &set.rejected_version) {
                    (_, Some(rejected)) => (item("Waiting", mark("bad", &format!(
                        "Pigello refuses the new version {rejected} at another gateway of the fleet; it is not used here"
                    )))),
                    (Some(waiting), None) => (item("Waiting", mark("look", &format!(
                        "the new version {waiting}, until Pigello has accepted it from another gateway of the fleet"
                    )))),
                    (None, None) => {}
                }
                @if let Some(error) = &set.last_error {
                    (item("Last error", html! { span class="error" { (prose(error)) } }))
                }
            }
        }
    }
}

pub(super) fn in_words(set: &SetStatus) -> (&'static str, &'static str) {
    match set.state {
        SetState::Fresh => ("ok", "fresh"),
        SetState::Probation => ("ok", "new, with the version before it kept"),
        SetState::Stale => ("look", "in use, though the last read failed"),
        SetState::Rejected => ("look", "in use, though Pigello refuses it"),
        SetState::Empty => ("bad", "never read"),
        SetState::Expired => ("bad", "no longer in use"),
    }
}

pub(super) fn cache(data: &PageData<'_>) -> Markup {
    let stats = &data.cache;
    let total = &data.summary.total;
    html! {
        h2 { "Cache" }
        @if let Some(purged) = data.purged {
            p class="done" role="status" { (many(purged, "answer")) " dropped from memory." }
        }
        dl {
            (item("Fill", html! {
                (meter("Memory taken", stats.bytes, stats.max_bytes))
                (ByteSize(stats.bytes)) " of " (ByteSize(stats.max_bytes))
            }))
            (item("Answers", thousands(stats.responses)))
            (item("Hit rate", html! {
                @if total.cacheable > 0 { (meter("Hit rate", total.from_memory, total.cacheable)) }
                (share(total.from_memory, total.cacheable))
            }))
            (item("Stored", html! { (thousands(stats.stored)) " since the start" }))
            (item("Dropped by writes", html! { (thousands(stats.invalidations)) " times" }))
            @if let Some(shared) = &stats.shared {
                (item("From other gateways", html! {
                    (thousands(shared.found())) " of " (thousands(shared.looks())) " looks"
                }))
            }
            @for CacheKeyState { profile, key } in &data.cache_keys {
                (item(&format!("Key of {profile}"), of_key(key)))
            }
        }
        @if let Some(token) = data.token {
            form method="post" action="/page/purge" {
                input type="hidden" name="token" value=(token);
                label for="operation" { "Drop" }
                select name="operation" id="operation" {
                    option value="" { "everything" }
                    @for (operation, held) in &stats.by_operation {
                        option value=(operation) { (operation) " (" (many(held.responses, "answer")) ")" }
                    }
                }
                button type="submit" { "Purge" }
            }
        }
    }
}

pub(super) fn notices(data: &PageData<'_>) -> Markup {
    html! {
        h2 { "Notices of changes" }
        @for feed in &data.notices {
            h3 { (feed.profile) }
            dl {
                (of_notices(&feed.state))
                @for source in feed.sources.iter().filter(|source| source.received > 0) {
                    @let name = match source.source {
                        "webhook" => "From webhooks",
                        "fleet" => "From the fleet",
                        _ => "From the log",
                    };
                    (item(name, html! {
                        (many(source.received, "event")) ", " (thousands(source.applied)) " of them new"
                    }))
                }
            }
        }
    }
}

pub(super) fn fleet(fleet: &FleetStatus, log: Option<&FleetLogStatus>) -> Markup {
    html! {
        h2 { "Fleet " (fleet.name) }
        dl {
            (item("Store", html! { (fleet.store.join(", ")) }))
            (item("Connection", match &fleet.server {
                Some(server) => mark("ok", server),
                None => mark("look", "none: the gateway goes on by itself"),
            }))
            (item("Since", moment(fleet.since)))
            @if fleet.connected {
                (item("Members", html! { a href="/fleet/members" { (thousands(fleet.members)) } }))
            }
            (item("Changes", html! {
                (thousands(fleet.heard)) " heard, " (many(fleet.waiting, "change")) " to tell"
            }))
            @if fleet.connected && !fleet.hearing {
                (item("Hearing", mark("look", "not everything yet: answers live for `ttl`")))
            }
            @if let (false, Some(error)) = (fleet.connected, &fleet.last_error) {
                (item("Reason", html! { (error) }))
            }
            (item("Key", of_key(&fleet.key)))
            @if let Some(log) = log {
                (item("Fleet log", if log.writable {
                    html! { (thousands(log.chains)) " trails, " (thousands(log.last_seq)) " lines" }
                } else {
                    mark("bad", "cannot be written")
                }))
                @for finding in log.findings.iter().take(MOST_FINDINGS) {
                    (item("Trail", html! {
                        (mark("bad", &format!("{}: {}", finding.instance, finding.kind.in_words())))
                        ", chain " code { (finding.chain) } " up to record " (thousands(finding.last_seq))
                        ", since " (moment(finding.since))
                    }))
                }
            }
        }
    }
}

/// A key that members share, in words.
pub(super) fn of_key(key: &KeyStatus) -> Markup {
    let read = key.unconfirmed_seconds.map(|ago| format!("read {} ago", span(ago)));
    match (&key.last_error, key.age_seconds) {
        (None, Some(age)) => html! {
            "in use for " (span(age)) @if let Some(read) = read { ", " (read) }
        },
        (None, None) => html! { "not read yet" },
        (Some(error), Some(age)) => html! {
            (mark("look", &format!("in use for {}, and cannot be read again", span(age))))
            ": " span class="error" { (prose(error)) }
        },
        (Some(error), None) => html! {
            (mark("look", "cannot be read")) ": " span class="error" { (prose(error)) }
        },
    }
}

/// Findings that the page names.
const MOST_FINDINGS: usize = 20;

/// The state of notices, as items of a list.
pub(super) fn of_notices(state: &NoticesState) -> Markup {
    html! {
        (item("Event log", match (state.event_log, state.stopped) {
            ("off", _) => html! { "not read" },
            (_, Some(why)) => mark("bad", &format!("cannot be used: {}", why.in_words())),
            ("complete", None) => mark("ok", "no notice was missed"),
            _ => mark("look", "not proved to be complete: answers live for `ttl`"),
        }))
        @match (state.proof, &state.reader) {
            (Some("fleet"), Some(reader)) => (item("Read for the fleet by", html! { (reader) })),
            (Some("own"), _) => (item("Read by", html! { "this gateway" })),
            _ => {}
        }
        @if let Some(since) = state.complete_since { (item("Complete since", moment(since))) }
        @if let Some(read) = state.last_read { (item("Log last read", moment(read))) }
        @if let Some(lag) = state.lag_ms {
            (item("Behind a change", took(Some(Duration::from_millis(lag)))))
        }
    }
}

pub(super) fn trail(data: &PageData<'_>) -> Markup {
    let stats = &data.trail;
    html! {
        h2 { "Audit trail" }
        dl {
            (item("State", match (&stats.reason, stats.writable) {
                (_, true) => mark("ok", "written"),
                (Some(reason), false) => mark("bad", &format!("cannot be written: {reason}")),
                (None, false) => mark("bad", "cannot be written"),
            }))
            (item("Lag", html! {
                @if stats.queued == 0 { "none" } @else {
                    (many(stats.queued as u64, "record")) ", " (took(Some(Duration::from_millis(stats.lag_ms))))
                }
            }))
            (item("Last record", thousands(stats.last_seq)))
            (item("In stable storage", html! { "up to " (thousands(stats.synced_seq)) }))
            @if let Some(free) = stats.disk_free_bytes {
                (item("Disk", html! {
                    (ByteSize(free)) " free"
                    @if let Some(full_in) = stats.disk_full_in_seconds {
                        ", "
                        (mark(
                            if full_in < DISK_SOON { "look" } else { "ok" },
                            &format!("full in {} at the rate of the last day", span(full_in)),
                        ))
                    }
                }))
            }
            @if stats.lost > 0 { (item("Without a record", mark("bad", &many(stats.lost, "call")))) }
            (item("Last checkpoint", html! {
                @match &data.checkpoint {
                    Some(checkpoint) => {
                        @match checkpoint.time.parse::<Timestamp>() {
                            Ok(time) => (moment(time)),
                            Err(_) => (checkpoint.time),
                        }
                        ", record " (thousands(checkpoint.seq))
                    }
                    None => "none yet",
                }
            }))
            (item("Verified", verified(&data.check)))
        }
        @if let Some(token) = data.token.filter(|_| !data.check.is_running()) {
            form method="post" action="/page/verify" {
                input type="hidden" name="token" value=(token);
                button type="submit" { "Verify now" }
            }
        }
    }
}

/// Certificates and clocks.
pub(super) fn foresight(data: &PageData<'_>) -> Markup {
    let now = Timestamp::now();
    html! {
        h2 { "Certificates and clocks" }
        @if data.certificates.is_empty() && data.clocks.is_empty() {
            p { "None is known: there is no file of certificates, and nothing was called yet." }
        }
        dl {
            @for end in &data.certificates {
                @let class = match end.nearness(now) {
                    Nearness::Far => "ok",
                    Nearness::Soon => "look",
                    Nearness::Ended => "bad",
                };
                @let until = Until { not_after: end.not_after, now };
                (item(&certificate_name(end), mark(class, &until.to_string())))
            }
            @for clock in &data.clocks {
                @let class = if clock.is_off() { "bad" } else { "ok" };
                (item(&format!("Clock beside {} {}", clock.server, clock.name), mark(class, &clock_in_words(clock))))
            }
        }
    }
}

/// `31 s ahead`.
pub(super) fn clock_in_words(clock: &ClockOffset) -> String {
    let seconds = span(clock.offset_seconds.unsigned_abs());
    match clock.offset_seconds {
        0 => "agrees".to_owned(),
        1.. => format!("{seconds} ahead"),
        _ => format!("{seconds} behind"),
    }
}

/// `Upstream production`.
pub(super) fn certificate_name(end: &CertificateEnd) -> String {
    let usage = match end.usage {
        CertificateUse::Listener => "Listener",
        CertificateUse::ClientCa => "Client CA of",
        CertificateUse::Upstream => "Upstream of",
        CertificateUse::UpstreamCa => "CA of upstream",
        CertificateUse::Vault => "Vault of",
        CertificateUse::VaultCa => "CA of vault of",
        CertificateUse::VaultClient => "Client of vault of",
        CertificateUse::StoreCa => "CA of the store of the",
        CertificateUse::StoreClient => "Client of the store of the",
        CertificateUse::CollectorCa => "CA of",
    };
    format!("{usage} {}", end.name)
}

fn verified(check: &Check) -> Markup {
    html! {
        @match check {
            Check::Never => "not since the start",
            Check::Running { since } => { "under way since " (moment(*since)) }
            Check::Done { result: Err(error), .. } => (mark("bad", &format!("cannot be checked: {error}"))),
            Check::Done { at, took, result: Ok(report) } => {
                @let verdict = report.verdict();
                @let class = match verdict {
                    Verdict::Ok => "ok",
                    Verdict::NotProved => "look",
                    Verdict::Wrong => "bad",
                };
                (mark(class, &format!("{}: {}", verdict.label(), report.statement())))
                " (" (many(report.lines, "record")) ", at " (moment(*at)) ", in "
                (format!("{:.1} s", took.as_secs_f64())) ")"
            }
        }
    }
}

/// Three days to make room, in seconds.
pub(super) const DISK_SOON: u64 = 3 * 86_400;

/// A state in words; an icon and a colour repeat it.
pub(super) fn mark(class: &str, words: &str) -> Markup {
    html! { span class={ "mark " (class) } { (words) } }
}

fn meter(label: &str, value: u64, max: u64) -> Markup {
    html! { meter aria-label=(label) min="0" max=(max.max(1)) value=(value) {} " " }
}
