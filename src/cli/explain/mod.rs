//! `explain`: predicts the gateway's decision about one request, with the reason.
//!
//! It sends the request through the stages of `serve` that decide, opens no socket and reads no secret
//! (`proxy::preview`). It does not guess what only a running gateway knows: whether credentials are loaded,
//! whether a limit is reached and whether a response is stored.
//!
//! | file | |
//! | --- | --- |
//! | `connection` | the listener, and a connection to it that proves the caller |
//! | `expectation` | `--expect` |
//! | `explanation` | the prediction, and its text |

mod connection;
mod expectation;
mod explanation;

use std::io::{self, Write};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};

use self::{
    connection::Chosen,
    expectation::Expectation,
    explanation::{Explanation, NotSent, Verdict},
};
use super::{ConfigFiles, Failure};
use crate::{
    app,
    config::Settings,
    domain::{Caller, CanonicalTarget, Host, Operation, check_target_bytes},
    error::{Error, Kind},
    proxy::{
        cache::{Bypass, Rule},
        http_policy,
        preview::{Preview, PreviewEnd, preview},
    },
};

/// Explains what would become of one request, sent over HTTP/1.1.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Who calls: the name of a `[[callers]]` entry, or the `caller` of a listener. Without it,
    /// everyone who can reach the listener: (unidentified).
    #[arg(long, value_name = "NAME")]
    pub caller: Option<String>,
    /// The listener the request comes in on. Without it, the first one that can tell that it is the
    /// caller, or the first of all.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
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
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// The path, with its query.
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// Explains to `out`. Fails if `--expect` is not met.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let loaded = args.files.load()?.for_serving()?;
    let explanation = explain(args, &loaded.settings)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &explanation).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        explanation.print(out)?;
    }
    args.expect.as_ref().map_or(Ok(()), |expect| expect.check(&explanation))
}

fn explain(args: &Args, settings: &Settings) -> Result<Explanation, Failure> {
    let method = Method::from_bytes(args.method.as_bytes())
        .map_err(|_| Failure::usage(format!("`{}` is no method", args.method.escape_debug())))?;
    let fields = fields(&args.headers)?;
    let Chosen { listener, connection } =
        connection::choose(settings, args.listener.as_deref(), args.caller.as_deref())?;
    let Some(profile) = settings.profiles.get(&listener.profile) else {
        return Err(Failure::usage("the listener's profile is not in the configuration"));
    };
    let Preview { caller, operation, end } = match check_line(&args.target) {
        Ok(()) => {
            let head = head(&method, &args.target, &fields);
            preview(app::preview_parts(settings, listener), connection, &head)
        }
        Err(error) => Preview { caller: None, operation: None, end: PreviewEnd::Refused(error) },
    };
    let target = canonical(&args.target);
    let mut explanation = Explanation {
        method: method.to_string(),
        path: target.as_ref().map(|target| target.path().to_owned()),
        query_keys: target
            .iter()
            .flat_map(CanonicalTarget::query_keys)
            .map(str::to_owned)
            .collect(),
        operation: operation.as_deref().map(|operation| operation.name().to_owned()),
        caller: caller.as_deref().and_then(Caller::name).map(ToString::to_string),
        is_identified: caller.is_some(),
        listener: listener.name.to_string(),
        verdict: Verdict::Refused,
        error: None,
        why: String::new(),
        hint: to_path(&args.target),
        stripped: caller.as_deref().map_or_else(Vec::new, |caller| not_sent(fields, caller)),
        profile: listener.profile.to_string(),
        upstream: profile.upstream.to_string(),
        credentials: profile.credentials.to_string(),
        cacheable: false,
        cache: "the call is refused".to_owned(),
    };
    match end {
        PreviewEnd::Refused(error) => explanation.refuse(Verdict::Refused, &error),
        PreviewEnd::Answered => {
            explanation.path = Some(args.target.clone());
            explanation.verdict = Verdict::Answered;
            "the gateway itself answers with the methods that it sends on"
                .clone_into(&mut explanation.why);
            "Pigello is not asked".clone_into(&mut explanation.cache);
        }
        PreviewEnd::Allowed { would_refuse, cache } => {
            if let Some(error) = would_refuse {
                explanation.refuse(Verdict::Reported, &error);
            } else {
                explanation.verdict = Verdict::Allowed;
                explanation.why = allowed_by(caller.as_deref(), operation.as_deref());
            }
            (explanation.cacheable, explanation.cache) = cacheable(settings, cache);
        }
    }
    Ok(explanation)
}

/// Refuses a target that no client can send, because it would end the line.
fn check_line(target: &str) -> Result<(), Error> {
    if target.contains(['\r', '\n']) { Ok(check_target_bytes(target.as_bytes())?) } else { Ok(()) }
}

/// The bytes of the request, as a client sends them. Without a `Host` it names the target's host, or one
/// that every listener serves.
fn head(method: &Method, target: &str, fields: &[Field]) -> Vec<u8> {
    let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
    if !fields.iter().any(|(name, _)| name == header::HOST) {
        let uri = target.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some());
        let host = uri.as_ref().and_then(Uri::authority).map_or("localhost", |host| host.as_str());
        head.extend_from_slice(format!("host: {host}\r\n").as_bytes());
    }
    for (name, value) in fields {
        for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
            head.extend_from_slice(part);
        }
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// The name and the value of a header field.
type Field = (HeaderName, HeaderValue);

/// The fields in their order: of two that are wrong, the gateway names the first.
fn fields(texts: &[String]) -> Result<Vec<Field>, Failure> {
    let mut fields = Vec::new();
    for text in texts {
        let parsed = text.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_bytes(value.trim().as_bytes()).ok()?))
        });
        // The value may be a pasted secret, so it is not quoted.
        fields.push(
            parsed.ok_or_else(|| {
                Failure::usage("a header is not one").hint("write -H 'Name: value'")
            })?,
        );
    }
    Ok(fields)
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

fn allowed_by(caller: Option<&Caller>, operation: Option<&Operation>) -> String {
    if let Some(Caller::Known { rule: Some(rule), name, .. }) = caller
        && let Some(pattern) = rule.allowing(operation)
    {
        return format!("`{pattern}` in `allow` of the caller `{name}`");
    }
    "[policy] lets callers without an entry use everything".to_owned()
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

fn cacheable(settings: &Settings, eligible: Result<Rule, Bypass>) -> (bool, String) {
    match eligible {
        Ok(rule) => {
            let at = settings.cache.rules.iter().position(|known| *known == rule);
            let number = at.map_or(0, |at| at + 1);
            let ttl = rule.ttl;
            let text = format!(
                "[[cache.rules]] number {number}, fresh for {ttl} unless the answer says otherwise"
            );
            (true, text)
        }
        Err(bypass) => (false, bypass.why().to_owned()),
    }
}
