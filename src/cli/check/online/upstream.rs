//! Tests the way to an upstream: name, connection, certificate, and one safe request.

use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::Timestamp;
use x509_parser::parse_x509_certificate;

use super::{Report, Step, advice, machine::Clock, notices};
use crate::{
    app::{self, StartError},
    cli::probe::{Answered, NOBODY, Probe, ProbeError, Verdict},
    config::{Settings, types::Profile},
    credentials::CredentialSet,
    domain::{CredentialsName, Origin, ProfileName},
    error::Chain,
    notices::EventLogChoice,
    outbound::Observed,
    proxy::client::{self, ConnectError, Connector, UpstreamStream},
};

/// A profile, and the table that says where its calls go.
#[derive(Clone, Copy)]
pub(super) struct Looked<'a> {
    pub(super) name: &'a ProfileName,
    pub(super) table: &'a ProfileName,
    pub(super) profile: &'a Profile,
    pub(super) settings: &'a Settings,
}

/// Tests a profile's upstream, and sends a request with its set, or says why not. Returns the upstream's clock.
pub(super) async fn look(
    looked: Looked<'_>,
    set: Result<&CredentialSet, &str>,
    report: &mut Report,
) -> Option<Clock> {
    let steps = Steps::of(looked.name);
    let upstream = match app::upstream_settings(looked.profile, looked.settings) {
        Ok(upstream) => upstream,
        Err(error) => {
            let key = match error {
                StartError::Proxy(_) => "proxy_authorization_file",
                StartError::Revocation(_) => "crl_file",
                _ => "ca_file",
            };
            let hint = format!("change `profiles.{}.{key}`, or put the file right", looked.table);
            report.push(Step::bad(steps.tls, Chain(&error).to_string()).advise(Some(hint)));
            return None;
        }
    };
    if !dial(&steps, looked.table, looked.profile, upstream, report).await {
        report.push(Step::skipped(steps.call, "not made, because of what is above"));
        return None;
    }
    let probe = match set.map(|set| looked.probe(set)) {
        Ok(Ok(probe)) => probe,
        Ok(Err(step)) => {
            report.push(step);
            return None;
        }
        Err(why) => {
            report.push(Step::skipped(steps.call, why));
            return None;
        }
    };
    if looked.settings.notices.event_log == EventLogChoice::Poll {
        let (from, target) = notices::question(looked.settings);
        let probe = Probe { target: &target, ..probe.clone() };
        let step = notices::event_log(format!("event log {}", looked.name), probe, from).await;
        report.push(step);
    }
    let said_by = looked.profile.upstream.host().to_owned();
    let began = Instant::now();
    let answer = probe.make().await;
    let took = began.elapsed();
    let headers = answer.as_ref().ok().map(|answer| answer.headers.clone());
    report.push(found(steps.call, answer, took));
    let observed = Observed::default();
    observed.response(&headers?, took);
    Some(Clock { said_by, ahead: observed.clock_offset()? })
}

impl<'a> Looked<'a> {
    /// The request that tries a set.
    pub(super) fn probe(self, set: &'a CredentialSet) -> Result<Probe<'a>, Step> {
        let upstream = app::upstream_settings(self.profile, self.settings)
            .map_err(|error| Step::bad(Steps::of(self.name).call, Chain(&error).to_string()))?;
        let credentials = match self.table.template() {
            Some(_) => CredentialsName::new(self.name.as_str()),
            None => self.profile.credentials.clone(),
        };
        Ok(Probe {
            settings: self.settings,
            profile: self.name.clone(),
            credentials,
            set,
            target: NOBODY,
            upstream,
            limit: CALL_LIMIT.min(*self.settings.timeouts.request),
        })
    }
}

/// Names of the steps.
struct Steps {
    dns: String,
    tcp: String,
    tls: String,
    call: String,
}

impl Steps {
    fn of(profile: &ProfileName) -> Self {
        let of = |what: &str| format!("{what} {profile}");
        Self { dns: of("dns"), tcp: of("tcp"), tls: of("tls"), call: of("call") }
    }
}

/// Connects as the path does, and reports three steps.
async fn dial(
    steps: &Steps,
    name: &ProfileName,
    profile: &Profile,
    settings: client::Settings,
    report: &mut Report,
) -> bool {
    let upstream = &profile.upstream;
    let began = Instant::now();
    let dialled = Connector::new(settings).connect().await;
    let took = began.elapsed().as_millis();
    let (dns, tcp, tls) = match &dialled {
        Ok(stream) => (None, None, tls(steps, stream, took)),
        Err(error) => failed(steps, name, profile, error),
    };
    let dns = match dns {
        Some(step) => step,
        None => Step::good(&steps.dns, resolved(profile).await),
    };
    report.push(dns);
    let address = match (profile.forward_proxy().proxy_to(upstream), profile.connect_to) {
        (Some(proxy), _) => format!("the proxy {proxy} opens a tunnel; {}", authority(upstream)),
        (None, Some(at)) => at.to_string(),
        (None, None) => authority(upstream),
    };
    report.push(
        tcp.unwrap_or_else(|| Step::good(&steps.tcp, format!("{address} accepts connections"))),
    );
    report.push(tls);
    dialled.is_ok()
}

/// The failed step of the three; earlier ones passed, later ones were not reached.
fn failed(
    steps: &Steps,
    name: &ProfileName,
    profile: &Profile,
    error: &ConnectError,
) -> (Option<Step>, Option<Step>, Step) {
    let text = Chain(error).to_string();
    let upstream = &profile.upstream;
    let unseen = |what: &String| Step::skipped(what, "not reached");
    match error {
        ConnectError::Resolve(_) | ConnectError::NoAddress => {
            let dns = Step::bad(&steps.dns, format!("{}: {text}", upstream.host()));
            let dns = dns.advise(Some(advice::for_name(upstream)));
            (Some(dns), Some(unseen(&steps.tcp)), unseen(&steps.tls))
        }
        ConnectError::Address(_) => {
            let hint = format!(
                "if the name is meant to lead there, set `profiles.{name}.allow_private = true`"
            );
            let dns = Step::bad(&steps.dns, format!("{}: {text}", upstream.host()));
            (Some(dns.advise(Some(hint))), Some(unseen(&steps.tcp)), unseen(&steps.tls))
        }
        ConnectError::Tunnel(error) => {
            let table = format!("profiles.{name}");
            let hint = advice::for_tunnel(error, &table, &authority(upstream));
            (None, Some(Step::bad(&steps.tcp, text).advise(Some(hint))), unseen(&steps.tls))
        }
        ConnectError::Io(..) | ConnectError::Timeout(_) => {
            let hint = format!(
                "is {upstream} up, and may this machine reach it (firewall, proxy)? \
                 `curl --noproxy '*' -v {upstream}/` shows it without the gateway"
            );
            (None, Some(Step::bad(&steps.tcp, text).advise(Some(hint))), unseen(&steps.tls))
        }
        ConnectError::Certificate(source) => {
            let wrong = advice::certificate_error(source);
            let text = wrong.map_or(text, advice::what_is_wrong);
            let hint = wrong.map(|error| {
                let key = format!("profiles.{name}.ca_file");
                let whose = format!("{}'s", upstream.host());
                advice::for_certificate(error, &key, profile.ca_file.as_deref(), &whose)
            });
            (None, None, Step::bad(&steps.tls, text).advise(hint))
        }
        ConnectError::Name | ConnectError::NoHttp2 | ConnectError::Handshake(_) => {
            let hint = "does that port speak TLS? the gateway speaks TLS 1.3 and 1.2";
            (None, None, Step::bad(&steps.tls, text).advise(Some(hint)))
        }
    }
}

fn authority(upstream: &Origin) -> String {
    match upstream.host().parse::<std::net::Ipv6Addr>() {
        Ok(address) => format!("[{address}]:{}", upstream.port()),
        Err(_) => format!("{}:{}", upstream.host(), upstream.port()),
    }
}

/// The addresses of a name.
async fn resolved(profile: &Profile) -> String {
    let upstream = &profile.upstream;
    if let Some(proxy) = profile.forward_proxy().proxy_to(upstream) {
        return format!("left to the proxy {proxy}");
    }
    if let Some(address) = profile.connect_to {
        return format!("not needed: `connect_to` is {address}");
    }
    let Ok(found) = tokio::net::lookup_host((upstream.host(), upstream.port())).await else {
        return format!("{} resolves", upstream.host());
    };
    let found: Vec<_> = found.map(|address| address.ip().to_string()).collect();
    format!("{} is {}", upstream.host(), found.join(", "))
}

/// A finished handshake, and how long its certificate remains valid.
fn tls(steps: &Steps, stream: &UpstreamStream, took: u128) -> Step {
    let described = format!("{} in {took} ms", stream.describe());
    let UpstreamStream::Tls(session, _) = stream else {
        return Step::doubtful(&steps.tls, "plain TCP, no TLS")
            .advise(Some("the secret goes over this connection in clear"));
    };
    let Some((name, until)) = first_to_expire(session.get_ref().1.peer_certificates()) else {
        return Step::good(&steps.tls, described);
    };
    let left = until.duration_since(Timestamp::now());
    let days = left.as_hours() / 24;
    let found = format!("{described}; valid until {} ({days} days)", day(until));
    if days >= SOON_DAYS {
        return Step::good(&steps.tls, found);
    }
    let hint = format!("the certificate of {name} has to be renewed before then");
    Step::doubtful(&steps.tls, found).advise(Some(hint))
}

/// The certificate of the chain that expires first, with its subject and time.
fn first_to_expire(
    chain: Option<&[rustls::pki_types::CertificateDer<'_>]>,
) -> Option<(String, Timestamp)> {
    let ends = chain?.iter().filter_map(|certificate| {
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        let until = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        Some((certificate.subject().to_string(), until))
    });
    ends.min_by_key(|(_, until)| *until)
}

fn day(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d").to_string()
}

/// How Pigello judges the seven, which asked for a subtenant that cannot be there.
pub(super) fn found(what: String, answer: Result<Answered, ProbeError>, took: Duration) -> Step {
    match answer {
        Ok(answer) => judge(what, answer.status, took.as_millis()),
        Err(ProbeError::NotRecorded(failure)) => {
            let (text, hint) = failure.text();
            let text = format!("not made, because it would not be on the audit trail: {text}");
            let hint = hint.map_or_else(String::new, |hint| format!("{hint}; "));
            let hint = format!("{hint}`--no-call` leaves the call out");
            Step::doubtful(what, text).advise(Some(hint))
        }
        Err(ProbeError::Failed(problem)) => Step::bad(what, problem),
    }
}

fn judge(what: String, status: StatusCode, took: u128) -> Step {
    let code = status.as_u16();
    match Verdict::of(status) {
        Verdict::Accepted => {
            Step::good(what, format!("the seven values are taken ({code} as expected, in {took} ms)"))
        }
        Verdict::Refused => {
            Step::bad(what, format!("the seven values are refused ({code})")).advise(Some(
                "compare them with Pigello's developer portal; was the secret rotated, or the service \
                 version deactivated?",
            ))
        }
        Verdict::Broken => Step::bad(what, format!("answers {code}: it fails itself"))
            .advise(Some("nothing here is wrong; try again, or ask Pigello")),
        Verdict::Odd => {
            Step::doubtful(what, format!("answers {code} where only 404 can be expected"))
                .advise(Some("is that upstream Pigello? it was asked for a UUID that nobody has"))
        }
    }
}

/// Time limit for the request.
const CALL_LIMIT: Duration = Duration::from_secs(15);
/// Two weeks to renew a certificate.
const SOON_DAYS: i64 = 14;
