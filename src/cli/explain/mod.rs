//! `explain`: predicts the gateway's decision about one request, with the reason.
//!
//! The decision is that of [`decision`](super::decision); this is its text for one request. With `--cache` it asks
//! the running gateway instead, for the life of what is cached.

mod explanation;
mod life;

use std::io::{self, Write};

use http::{HeaderMap, Uri};

use self::explanation::{Explanation, NotSent};
use super::{
    Failure,
    admin::AdminTarget,
    block_on,
    decision::{Decision, Decisions, Expectation, Field, Verdict, field, line_of, profile_field},
};
use crate::{
    config::Settings,
    domain::{Caller, CanonicalTarget, Host},
    error::Kind,
    proxy::{
        cache::{Bypass, Rule},
        http_policy,
    },
};

/// Explains what would become of one request, sent over HTTP/1.1; or, with `--cache`, the life of what the running
/// gateway has in memory.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target_of: AdminTarget,
    /// Asks the running gateway what it has in memory under this path: stored by which call, dropped by which
    /// notice.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["method", "target", "caller", "listener", "headers", "expect"])]
    pub cache: Option<String>,
    /// Who calls: the name of a `[[callers]]` entry, or the `caller` of a listener. Without it,
    /// everyone who can reach the listener: (unidentified).
    #[arg(long, value_name = "NAME")]
    pub caller: Option<String>,
    /// The listener the request comes in on. Without it, the first one that can tell that it is the
    /// caller, or the first of all.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// The profile that the request names, in its field `Pigello-Gateway-Profile`. It counts on a listener without a
    /// profile of its own.
    #[arg(long, value_name = "NAME")]
    pub profile: Option<String>,
    /// A header field of the request. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// What should become of it, for tests of a policy: `allowed`, `refused`, `reported` (let through
    /// by `mode = "report"`), `answered` (by the gateway itself), or the name of an error to be
    /// refused with, like `operation_not_allowed`. If it does not, the exit code is 1.
    #[arg(long, value_name = "VERDICT")]
    pub expect: Option<Expectation>,
    /// Prints JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// The method, in upper case.
    #[arg(value_name = "METHOD", required_unless_present = "cache")]
    pub method: Option<String>,
    /// The path, with its query.
    #[arg(value_name = "TARGET", required_unless_present = "cache")]
    pub target: Option<String>,
}

/// Explains to `out`. Fails if `--expect` is not met.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    if let Some(path) = &args.cache {
        return block_on(life::life(&args.target_of, path, args.json, out))?;
    }
    let loaded = args.target_of.files().load()?.for_serving()?;
    let (explanation, decision) = explain(args, &loaded.settings)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &explanation).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        explanation.print(out)?;
    }
    match args.expect {
        Some(expected) if !expected.is_met(&decision) => {
            let found = decision.in_words();
            Err(Failure::failed(format!("expected `{expected}`, and the request is {found}")))
        }
        _ => Ok(()),
    }
}

fn explain(args: &Args, settings: &Settings) -> Result<(Explanation, Decision), Failure> {
    let (Some(method), Some(request_target)) = (&args.method, &args.target) else {
        return Err(Failure::usage("a request has a method and a target"));
    };
    let line = line_of(method, request_target)?;
    let mut fields = fields(&args.headers)?;
    if let Some(name) = &args.profile {
        let mistake = || Failure::usage("the profile is not a name");
        fields.push(profile_field(name).ok_or_else(mistake)?);
    }
    let decisions = Decisions::of(settings);
    let entrance = decisions.entrance(args.listener.as_deref(), args.caller.as_deref())?;
    let listener = entrance.listener();
    let decision = decisions.decide(&entrance, line, &fields);
    let profile = decision.profile.as_ref().and_then(|name| settings.profile(name));
    let target = canonical(request_target);
    let path = match decision.verdict {
        Verdict::Answered => Some(request_target.clone()),
        _ => target.as_ref().map(|target| target.path().to_owned()),
    };
    let (caller, operation) = (decision.caller_name(), decision.operation_name());
    let to_allow = || to_allow(decision.error?, caller, operation);
    let (cacheable, cache) = match (&decision.cache, decision.verdict) {
        (Some(eligible), _) => cacheable(settings, eligible),
        (None, Verdict::Answered) => (false, "Pigello is not asked".to_owned()),
        (None, _) => (false, "the call is refused".to_owned()),
    };
    let explanation = Explanation {
        method: method.clone(),
        path,
        query_keys: target
            .iter()
            .flat_map(CanonicalTarget::query_keys)
            .map(str::to_owned)
            .collect(),
        operation: operation.map(str::to_owned),
        caller: caller.map(str::to_owned),
        is_identified: decision.caller.is_some(),
        listener: listener.name.to_string(),
        verdict: decision.verdict,
        error: decision.error.map(Kind::label),
        why: decision.why.clone(),
        hint: to_path(request_target).or_else(to_allow),
        stripped: decision
            .caller
            .as_deref()
            .map_or_else(Vec::new, |caller| not_sent(fields, caller)),
        profile: decision.profile.as_ref().map(ToString::to_string),
        upstream: profile.map(|(_, profile)| profile.upstream.to_string()),
        credentials: profile.map(|(_, profile)| profile.credentials.to_string()),
        cacheable,
        cache,
    };
    Ok((explanation, decision))
}

/// The fields in their order: of two that are wrong, the gateway names the first.
fn fields(texts: &[String]) -> Result<Vec<Field>, Failure> {
    let mistake = || Failure::usage("a header is not one").hint("write -H 'Name: value'");
    texts.iter().map(|text| field(text).ok_or_else(mistake)).collect()
}

/// The path and query of a target, if they have one reading.
fn canonical(target: &str) -> Option<CanonicalTarget> {
    if target.starts_with('/') {
        return target.parse().ok();
    }
    let uri: Uri = target.parse().ok().filter(|uri: &Uri| uri.scheme().is_some())?;
    uri.path_and_query()?.as_str().parse().ok()
}

/// What to write in place of a whole URL.
fn to_path(target: &str) -> Option<String> {
    if target.starts_with('/') || target == "*" {
        return None;
    }
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    let (before, _) = rest.split_once('/').unwrap_or((rest, ""));
    let is_host = rest.len() < target.len()
        || Host::parse(before.as_bytes()).is_some_and(|host| host.port().is_some());
    let path = rest.get(before.len()..).and_then(|path| path.split(['?', '#']).next());
    Some(match path {
        Some(path) if is_host && !path.is_empty() => format!("give the path only: `{path}`"),
        _ => "give the path, which begins with `/`".to_owned(),
    })
}

/// The change that would allow a refused call.
fn to_allow(kind: Kind, caller: Option<&str>, operation: Option<&str>) -> Option<String> {
    match (kind, caller, operation) {
        (Kind::NotAllowed, Some(name), Some(operation)) => Some(format!(
            "if it is meant to, add \"{operation}\" to `allow` of the [[callers]] entry \"{name}\""
        )),
        (Kind::Unidentified, ..) => Some(
            "if it is meant to, add a [[callers]] entry that knows it by `unix_uids` or `tls_names`, or \
             give its listener a `caller`"
                .to_owned(),
        ),
        _ => None,
    }
}

fn not_sent(fields: Vec<Field>, caller: &Caller) -> Vec<NotSent> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(name, value);
    }
    http_policy::withheld_fields(&headers, caller)
        .into_iter()
        .map(|(name, withheld)| NotSent { field: name.to_string(), why: withheld.why() })
        .collect()
}

fn cacheable(settings: &Settings, eligible: &Result<Rule, Bypass>) -> (bool, String) {
    match eligible {
        Ok(rule) => {
            let at = settings.cache.rules.iter().position(|known| known == rule);
            let number = at.map_or(0, |at| at + 1);
            let ttl = rule.ttl;
            let longer = settings.coherent_ttl(rule).map_or_else(String::new, |coherent_ttl| {
                format!(", or for {coherent_ttl} while no notice is missed")
            });
            let is_shared = settings.cache.shared.enabled && rule.shared;
            let shared = if is_shared { "; shared with the fleet" } else { "" };
            let text = format!(
                "[[cache.rules]] number {number}, fresh for {ttl} unless the answer says otherwise{longer}{shared}"
            );
            (true, text)
        }
        Err(bypass) => (false, bypass.why().to_owned()),
    }
}
