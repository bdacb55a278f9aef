//! The summary: whether calls are served, and what needs attention.

use jiff::Timestamp;
use maud::{Markup, html};

use super::{
    PageData,
    format::{prose, span, thousands},
    state::{DISK_SOON, certificate_name, clock_in_words},
};
use crate::{
    admin::{
        health::{Reason, reasons},
        shared_keys::unread,
    },
    audit::Verdict,
    credentials::SetState,
    error::Kind,
    notices::{FeedStatus, Stopped},
    outbound::{Nearness, Until},
    proxy::profile::CircuitBreakerState,
};

/// The state of the gateway.
#[derive(Debug)]
pub(super) struct GatewayState {
    /// Whether calls are served.
    pub(super) serving: bool,
    findings: Vec<Finding>,
}

/// One finding that needs attention.
#[derive(Debug)]
struct Finding {
    keeps_from_serving: bool,
    what: String,
    remedy: &'static str,
}

impl GatewayState {
    pub(super) fn of(data: &PageData<'_>) -> Self {
        let mut findings: Vec<_> = reasons(data.view)
            .into_iter()
            .map(|reason| Finding {
                keeps_from_serving: true,
                what: credentials_error(data, &reason).unwrap_or_else(|| reason.sentence()),
                remedy: reason.remedy(),
            })
            .collect();
        let serving = findings.is_empty();
        let look = |what: String, remedy| Finding { keeps_from_serving: false, what, remedy };
        findings.extend(configuration(data, look));
        findings.extend(upstreams(data, look));
        findings.extend(notices(data, look));
        findings.extend(credentials(data, look));
        findings.extend(members(data, look));
        findings.extend(shared_keys(data, look));
        findings.extend(trail(data, look));
        findings.extend(foresight(data, look));
        findings.extend(load(data, look));
        Self { serving, findings }
    }

    /// `ok`, `look` or `bad`: a CSS class; words always accompany its colour.
    pub(super) fn class(&self) -> &'static str {
        match (self.serving, self.findings.is_empty()) {
            (false, _) => "bad",
            (true, false) => "look",
            (true, true) => "ok",
        }
    }

    pub(super) fn words(&self) -> String {
        match (self.serving, self.findings.len()) {
            (false, _) => "Calls are refused".to_owned(),
            (true, 0) => "Serving calls".to_owned(),
            (true, 1) => "Serving calls, one thing to look at".to_owned(),
            (true, more) => format!("Serving calls, {more} things to look at"),
        }
    }

    pub(super) fn render(&self) -> Markup {
        html! {
            div class={ "banner " (self.class()) } {
                h2 { (self.words()) }
                @if !self.findings.is_empty() {
                    ul {
                        @for finding in &self.findings {
                            li class=[(!finding.keeps_from_serving).then_some("look")] {
                                strong { (prose(&finding.what)) }
                                " " (prose(finding.remedy))
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The source's error, which callers never see.
fn credentials_error(data: &PageData<'_>, reason: &Reason) -> Option<String> {
    let set = data.credentials.iter().find(|set| Some(&*set.name) == reason.name())?;
    let error = set.last_error.as_ref()?;
    Some(format!("The credentials `{}` are not there: {error}.", set.name))
}

type NewFinding = fn(String, &'static str) -> Finding;

fn configuration(data: &PageData<'_>, look: NewFinding) -> Option<Finding> {
    let refused = data.view.configuration.refused.as_ref()?;
    let words: Vec<_> = refused.reason.split_whitespace().collect();
    let (time, reason) = (refused.time.strftime("%H:%M:%S"), words.join(" "));
    let what = format!("The configuration on disk was refused at {time} UTC: {reason}.");
    Some(look(
        what,
        "Calls go on under the one before it, and a restart would fail. `pigello-gateway check` names every \
         mistake, and `pigello-gateway reload` tries it again.",
    ))
}

fn notices(data: &PageData<'_>, look: NewFinding) -> Vec<Finding> {
    let stopped = data.notices.iter().filter_map(|feed| Some((feed, feed.state.stopped?)));
    let finding = |(feed, why): (&FeedStatus, Stopped)| {
        let profile = &feed.profile;
        look(
            format!("The event log of the profile `{profile}` cannot be used: {}.", why.in_words()),
            "Answers live for `ttl` meanwhile. `pigello-gateway check --online` tries it, and the gateway does so \
             every ten minutes.",
        )
    };
    stopped.map(finding).collect()
}

fn upstreams(data: &PageData<'_>, look: NewFinding) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (profile, health) in &data.view.upstreams {
        let breaker = match health.breaker.state() {
            CircuitBreakerState::Closed => None,
            CircuitBreakerState::Open => Some("is left alone after failures"),
            CircuitBreakerState::HalfOpen => {
                Some("failed, and one call at a time finds out whether it is back")
            }
        };
        if let Some(how) = breaker {
            findings.push(look(
                format!("Pigello (profile `{profile}`) {how}."),
                "It is tried again by itself. Why it failed stands among the refusals and failures below.",
            ));
        }
        let suspended = health.suspended_operations();
        if !suspended.is_empty() {
            findings.push(look(
                format!(
                    "Of Pigello (profile `{profile}`), these operations are left alone after failures, or \
                     because it asks for a pause: {}.",
                    suspended.join(", ")
                ),
                "Other operations are called. Why they failed stands among the refusals and failures below.",
            ));
        }
        let pause = health.rate_limit.pause().as_secs();
        if pause > 0 {
            let what =
                format!("Pigello (profile `{profile}`) asks for a pause of {}.", span(pause));
            findings.push(look(
                what,
                "Calls are refused until then. Fewer calls, a longer `ttl` in `[[cache.rules]]` or a `rate` \
                 for the busiest caller help.",
            ));
        }
    }
    findings
}

fn credentials(data: &PageData<'_>, look: NewFinding) -> Vec<Finding> {
    let stands = |status: &crate::credentials::SetStatus| {
        let name = &status.name;
        match status.state {
            SetState::Stale => Some(look(
                format!(
                    "The credentials `{name}` are in use, though the last read of their source failed."
                ),
                "Calls go on with the version that is there. `pigello-gateway check --online` tries the source.",
            )),
            SetState::Rejected => Some(look(
                format!("Pigello refuses the credentials `{name}`."),
                "Put the right values into their source, then run `kill -HUP` or wait for the next read.",
            )),
            // The first two make the gateway unready and are reported there; the others are
            // healthy.
            SetState::Empty | SetState::Expired | SetState::Fresh | SetState::Probation => None,
        }
    };
    data.credentials.iter().filter_map(stands).collect()
}

/// The first few members of templates that are in trouble, and how many more there are.
fn members(data: &PageData<'_>, look: NewFinding) -> Vec<Finding> {
    let in_trouble = || data.profiles.iter().filter(|judged| judged.is_member_in_trouble());
    let named = in_trouble().take(MOST_MEMBERS).filter_map(|judged| {
        let trouble = judged.troubles.first()?;
        let what = format!("The profile `{}` {}.", judged.profile.name, trouble.words());
        Some(look(what, trouble.remedy()))
    });
    let more = in_trouble().count().saturating_sub(MOST_MEMBERS);
    let rest = (more > 0).then(|| {
        let what = format!("And {} more profiles are in trouble.", thousands(more as u64));
        look(what, "The list of profiles below has them first.")
    });
    named.chain(rest).collect()
}

/// Keys that the fleet shares and that cannot be read.
fn shared_keys(data: &PageData<'_>, look: NewFinding) -> Vec<Finding> {
    let of_fleet = data.fleet.as_ref().filter(|fleet| fleet.key.last_error.is_some());
    let of_fleet = of_fleet.map(|fleet| {
        look(
            format!("The key of the fleet `{}` cannot be read.", fleet.name),
            "What was read before is used on. Without it nothing is told and heard. The part about the fleet has the \
             error.",
        )
    });
    let unread = unread(&data.profiles).into_iter().filter(|(_, keys)| *keys > 0);
    let of_profiles = unread.map(|(table, keys)| {
        let keys = if keys == 1 { "A key".to_owned() } else { format!("{} keys", thousands(keys)) };
        look(
            format!("{keys} of the shared cache (profile `{table}`) cannot be read."),
            "What was read before is used on. Without it nothing is shared. The profile has the error.",
        )
    });
    of_fleet.into_iter().chain(of_profiles).collect()
}

fn trail(data: &PageData<'_>, look: NewFinding) -> Vec<Finding> {
    let stats = &data.trail;
    let mut findings = Vec::new();
    if !stats.writable && data.view.trail.admit().is_ok() {
        findings.push(look(
            "The audit trail cannot be written, and calls go on without a record.".to_owned(),
            "Look at the disk under `audit.directory`. That calls go on is what `audit.on_failure` says.",
        ));
    } else if stats.writable && stats.lag_ms >= SLOW_TRAIL_MS {
        findings.push(look(
            format!("The audit trail is {} behind.", span(stats.lag_ms / 1000)),
            "The disk under `audit.directory` is slow. When half of the queue is taken, calls are refused.",
        ));
    }
    if stats.lost > 0 {
        findings.push(look(
            format!("{} calls since the start have no record.", thousands(stats.lost)),
            "They found no room while the trail could not be written. A `gap` line stands in their place.",
        ));
    }
    for witness in stats.witnesses.iter().filter(|witness| witness.contradicts) {
        findings.push(look(
            format!("The witness {} knows another history of the audit trail.", witness.name),
            "The trail was cut, rewritten, restored or copied. The log says which; `pigello-gateway audit verify` \
             examines it. Secure the files before anything else.",
        ));
    }
    let of_fleet = data.fleet_log.as_ref().map_or(0, |log| log.findings.len());
    if of_fleet > 0 {
        findings.push(look(
            format!("{} audit trails of the fleet are not as they were.", thousands(of_fleet as u64)),
            "The list of the fleet names them. `pigello-gateway audit verify --fleet-log` says what is lost; \
             `fleet acknowledge` says that you know.",
        ));
    }
    if stats.export_failing {
        findings.push(look(
            "The collector does not take the audit trail's copy.".to_owned(),
            "Look at `telemetry.otlp_endpoint`. Nothing is lost: it is sent from the files once it can be.",
        ));
    }
    if let Some(rejected) = stats.export_rejected.filter(|rejected| *rejected > 0) {
        findings.push(look(
            format!("The collector has refused {} lines of the audit trail for good.", thousands(rejected)),
            "The log has its answer. When it takes them, `audit export --resend-from` sends them again.",
        ));
    }
    if stats.clock_in_doubt {
        findings.push(look(
            "The clock has jumped, so no audit file is deleted by its age.".to_owned(),
            "Look at the machine's clock. A new time is believed when it has stood for a day.",
        ));
    }
    if let Some(mismatch) = stats.mismatch {
        findings.push(look(
            format!("At its start the gateway found an audit trail that does not fit its last checkpoint ({mismatch})."),
            "`pigello-gateway audit verify` says what that means. Secure the files before anything else.",
        ));
    }
    match data.check.verdict() {
        Some(Verdict::Wrong) => findings.push(look(
            "The last check of the audit trail found something wrong with it.".to_owned(),
            "`pigello-gateway audit verify` names every place. Secure the files before anything else.",
        )),
        Some(Verdict::NotProved) => findings.push(look(
            "The last check of the audit trail could not prove it.".to_owned(),
            "`pigello-gateway audit verify` gives every reason, and says what to do.",
        )),
        Some(Verdict::Ok) | None => {}
    }
    findings
}

fn foresight(data: &PageData<'_>, look: NewFinding) -> Vec<Finding> {
    let now = Timestamp::now();
    let near = data.certificates.iter().filter(|end| end.nearness(now) < Nearness::Far);
    let ends = near.map(|end| {
        let until = Until { not_after: end.not_after, now };
        look(
            format!("Certificate ({}): {until}.", certificate_name(end)),
            "Renew it. The gateway reads its files again by itself.",
        )
    });
    let off = data.clocks.iter().filter(|clock| clock.is_off()).map(|clock| {
        look(
            format!(
                "The clock of this machine is {} beside that of the {} (`{}`).",
                clock_in_words(clock),
                clock.server,
                clock.name
            ),
            "Set it (`timedatectl set-ntp true`): certificates, tokens and the trail depend on it.",
        )
    });
    let full_in = data.trail.disk_full_in_seconds.filter(|full_in| *full_in < DISK_SOON);
    let disk = full_in.map(|full_in| {
        look(
            format!(
                "The audit trail's disk is full in {} at the rate of the last day.",
                span(full_in)
            ),
            "Make room, or shorten `audit.retain_for` or `audit.retain_bytes`.",
        )
    });
    ends.chain(off).chain(disk).collect()
}

fn load(data: &PageData<'_>, look: NewFinding) -> Option<Finding> {
    let limits = &data.view.limits;
    let under_way = limits.under_way();
    (under_way * 10 >= limits.in_flight_limit * 9).then(|| {
        look(
            format!("{under_way} of {} calls at a time are under way.", limits.in_flight_limit),
            Kind::Overloaded.manual().remedy,
        )
    })
}

/// Members in trouble that have a finding each.
const MOST_MEMBERS: usize = 5;
/// A trail on a healthy disk lags by a few milliseconds.
const SLOW_TRAIL_MS: u64 = 1_000;
