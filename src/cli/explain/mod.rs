//! `explain`: predicts the gateway's decision about one request, with the reason.
//!
//! It runs the policy, path rules and field rules of `serve`, opens no socket and reads no secret.
//! It does not guess what only a running gateway knows: whether credentials are loaded and whether
//! a response is stored.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request};
use serde::Serialize;

use super::{ConfigFiles, Failure, failure::Styled};
use crate::{
    app,
    config::{Settings, types::Listener},
    domain::{Caller, CallerCredential, CanonicalTarget, Operation, OperationPattern, Proof},
    error::Kind,
    proxy::{
        cache::Rule,
        http_policy::{self, HostRules},
        stages::authorize::{Decision, Mode, Refusal},
    },
};

/// Explains what would become of one request.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where the configuration is.
    #[command(flatten)]
    pub files: ConfigFiles,
    /// Who calls: the name of a `[[callers]]` entry. Without it, nobody in particular.
    #[arg(long, value_name = "NAME")]
    pub caller: Option<String>,
    /// The listener the request comes in on. Without it, the caller's own, or the first.
    #[arg(long, value_name = "NAME")]
    pub listener: Option<String>,
    /// A header field of the request. May be repeated.
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// Prints JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// The method.
    #[arg(value_name = "METHOD")]
    pub method: String,
    /// The request target, with its query.
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// Explains to `out`.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let loaded = args.files.load()?.for_serving()?;
    let explanation = explain(args, &loaded.settings)?;
    if args.json {
        serde_json::to_writer_pretty(&mut *out, &explanation).map_err(io::Error::from)?;
        writeln!(out)?;
    } else {
        explanation.print(out)?;
    }
    Ok(())
}

/// The prediction for a request.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// The method.
    pub method: String,
    /// The canonical path, as it is matched and sent; none if the path is not canonical.
    pub path: Option<String>,
    /// The names of the query parameters.
    pub query_keys: Vec<String>,
    /// The matched operation.
    pub operation: Option<String>,
    /// The caller.
    pub caller: Option<String>,
    /// The listener.
    pub listener: String,
    /// `allowed`, `refused`, or `reported` where the policy only reports refusals.
    pub verdict: &'static str,
    /// The label of the refusal on the trail.
    pub error: Option<&'static str>,
    /// The deciding rule, in words.
    pub why: String,
    /// The change that would allow the call.
    pub hint: Option<String>,
    /// Fields that would not be sent, with the reason.
    pub stripped: Vec<Stripped>,
    /// The profile.
    pub profile: String,
    /// The upstream.
    pub upstream: String,
    /// The credential set it would be sent with.
    pub credentials: String,
    /// Whether its response may be stored.
    pub cacheable: bool,
    /// The reason.
    pub cache: String,
}

/// A field that would not be sent.
#[derive(Debug, Serialize)]
pub struct Stripped {
    /// Its name.
    pub field: String,
    /// The reason.
    pub why: &'static str,
}

fn explain(args: &Args, settings: &Settings) -> Result<Explanation, Failure> {
    let method = Method::from_bytes(args.method.as_bytes())
        .map_err(|_| Failure::usage(format!("`{}` is no method", args.method.escape_debug())))?;
    let headers = fields(&args.headers)?;
    let listener = listener(args, settings)?;
    let caller = caller(args, settings, listener)?;
    let Some(profile) = settings.profiles.get(&listener.profile) else {
        return Err(Failure::usage("the listener's profile is not in the configuration"));
    };
    let mut explanation = Explanation {
        method: method.to_string(),
        path: None,
        query_keys: Vec::new(),
        operation: None,
        caller: caller.name().map(ToString::to_string),
        listener: listener.name.to_string(),
        verdict: "refused",
        error: None,
        why: String::new(),
        hint: None,
        stripped: stripped(&headers, &caller),
        profile: listener.profile.to_string(),
        upstream: profile.upstream.to_string(),
        credentials: profile.credentials.to_string(),
        cacheable: false,
        cache: "the call is refused".to_owned(),
    };
    let hosts = HostRules::new(&listener.address, &listener.allowed_hosts);
    let checked = http_policy::check_head(&hosts, &head(&method, &headers), true)
        .and_then(|()| Ok(args.target.parse::<CanonicalTarget>()?));
    let target = match checked {
        Ok(target) => target,
        Err(error) => {
            explanation.refuse(error.kind().label(), error.detail());
            return Ok(explanation);
        }
    };
    explanation.query_keys = target.query_keys().into_iter().map(str::to_owned).collect();
    explanation.path = Some(target.path().to_owned());
    let policy = app::policy(settings);
    let decision = policy.decide(&caller, &method, target.path());
    explanation.operation = decision.operation().map(|operation| operation.name().to_owned());
    match &decision {
        Decision::Allow { operation } => {
            explanation.verdict = "allowed";
            explanation.why = allowed_by(&caller, operation.as_deref());
        }
        Decision::Refuse { refusal, .. } => {
            let error = refusal.into_error();
            explanation.refuse(error.kind().label(), &refused_by(*refusal, &caller));
            explanation.hint =
                Some(to_allow(error.kind(), &caller, explanation.operation.as_deref()));
            if settings.policy.mode == Mode::Report {
                explanation.verdict = "reported";
            }
        }
    }
    if explanation.verdict != "refused" {
        let operation = decision.operation().map(AsRef::as_ref);
        (explanation.cacheable, explanation.cache) =
            cacheable(settings, &method, operation, target.path(), &headers, &caller);
    }
    Ok(explanation)
}

impl Explanation {
    fn refuse(&mut self, error: &'static str, why: &str) {
        self.verdict = "refused";
        self.error = Some(error);
        why.clone_into(&mut self.why);
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let colour = match self.verdict {
            "allowed" => AnsiColor::Green,
            "reported" => AnsiColor::Yellow,
            _ => AnsiColor::Red,
        };
        let style = Style::new().bold().fg_color(Some(colour.into()));
        let verdict = match self.verdict {
            "reported" => "let through, and reported",
            verdict => verdict,
        };
        let or =
            |text: &Option<String>, none: &str| text.clone().unwrap_or_else(|| none.to_owned());
        writeln!(out, "{style}{verdict}{style:#}: {}", self.why)?;
        let line =
            |out: &mut dyn Write, name: &str, text: &str| writeln!(out, "  {name:<12} {text}");
        line(out, "path", &or(&self.path, "has no canonical reading"))?;
        if !self.query_keys.is_empty() {
            line(out, "query", &self.query_keys.join(", "))?;
        }
        line(out, "operation", &or(&self.operation, "none"))?;
        line(out, "caller", &or(&self.caller, "nobody in particular"))?;
        line(out, "listener", &self.listener)?;
        if let Some(error) = self.error {
            line(out, "error", error)?;
        }
        if self.verdict != "refused" {
            line(out, "sent to", &format!("{} (profile `{}`)", self.upstream, self.profile))?;
            line(out, "credentials", &self.credentials)?;
        }
        for Stripped { field, why } in &self.stripped {
            line(out, "not sent", &format!("{field}: {why}"))?;
        }
        let cacheable = if self.cacheable { "yes" } else { "no" };
        line(out, "cacheable", &format!("{cacheable}: {}", self.cache))?;
        match &self.hint {
            Some(hint) => writeln!(out, "  {}: {hint}", Styled("hint", AnsiColor::Cyan)),
            None => Ok(()),
        }
    }
}

fn fields(texts: &[String]) -> Result<HeaderMap, Failure> {
    let mut fields = HeaderMap::new();
    for text in texts {
        let parsed = text.split_once(':').and_then(|(name, value)| {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            Some((name, HeaderValue::from_str(value.trim()).ok()?))
        });
        // The value may be a pasted secret, so it is not quoted.
        let (name, value) = parsed
            .ok_or_else(|| Failure::usage("a header is not one").hint("write -H 'Name: value'"))?;
        fields.append(name, value);
    }
    Ok(fields)
}

/// The head of the request, with a host that every listener serves if it has none.
fn head(method: &Method, headers: &HeaderMap) -> request::Parts {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = method.clone();
    head.headers = headers.clone();
    head.headers.entry(header::HOST).or_insert(HeaderValue::from_static("localhost"));
    head
}

fn listener<'a>(args: &Args, settings: &'a Settings) -> Result<&'a Listener, Failure> {
    let mut listeners = settings.listeners.iter();
    let found = match (&args.listener, &args.caller) {
        (Some(name), _) => listeners.find(|listener| listener.name.as_str() == name),
        (None, Some(caller)) => listeners
            .find(|listener| listener.caller.as_deref() == Some(caller))
            .or_else(|| settings.listeners.first()),
        (None, None) => listeners.next(),
    };
    found.ok_or_else(|| {
        let names: Vec<_> =
            settings.listeners.iter().map(|listener| listener.name.as_str()).collect();
        Failure::usage("the configuration has no such listener")
            .hint(format!("its listeners are: {}", names.join(", ")))
    })
}

fn caller(args: &Args, settings: &Settings, listener: &Listener) -> Result<Caller, Failure> {
    let proof = Proof::Listener;
    // A listener's own caller is everybody who connects to it.
    let name = listener.caller.as_deref().or(args.caller.as_deref());
    let Some(name) = name else { return Ok(Caller::Unidentified { proof }) };
    let rule = settings.callers.iter().find(|rule| &*rule.name == name).cloned();
    if rule.is_none() && listener.caller.is_none() {
        let names: Vec<_> = settings.callers.iter().map(|rule| &*rule.name).collect();
        return Err(Failure::usage("the configuration has no such caller").hint(format!(
            "its callers are: {}",
            if names.is_empty() { "none".to_owned() } else { names.join(", ") }
        )));
    }
    Ok(Caller::Known { rule, name: name.into(), proof })
}

fn allowed_by(caller: &Caller, operation: Option<&Operation>) -> String {
    let Caller::Known { rule: Some(rule), name, .. } = caller else {
        return "[policy] lets callers without an entry use everything".to_owned();
    };
    let pattern = rule.allow.iter().find(|pattern| match operation {
        Some(operation) => pattern.matches(operation),
        None => **pattern == OperationPattern::Any,
    });
    match pattern {
        Some(pattern) => format!("`{pattern}` in `allow` of the caller `{name}`"),
        None => format!("the caller `{name}`"),
    }
}

fn refused_by(refusal: Refusal, caller: &Caller) -> String {
    let text = refusal.into_error();
    match caller.name() {
        Some(name) if refusal == Refusal::NotListed => {
            format!("`allow` of the caller `{name}` does not list this operation")
        }
        _ => text.detail().to_owned(),
    }
}

/// The change that would allow a refused call.
fn to_allow(kind: Kind, caller: &Caller, operation: Option<&str>) -> String {
    match (kind, caller.name(), operation) {
        (Kind::OperationUnknown, ..) => {
            "if it is one, give it a name with an [[operations]] entry, and allow that".to_owned()
        }
        (_, Some(name), Some(operation)) => format!(
            "if it is meant to, add \"{operation}\" to `allow` of the [[callers]] entry \"{name}\""
        ),
        (_, Some(name), None) => format!(
            "only a caller that may use \"*\" may send what matches no operation; `allow` of \
             \"{name}\" does not have it"
        ),
        (_, None, _) => {
            "if it is meant to, add a [[callers]] entry that knows it by `unix_uids` or \
                         `tls_names`, or give its listener a `caller`"
                .to_owned()
        }
    }
}

fn stripped(headers: &HeaderMap, caller: &Caller) -> Vec<Stripped> {
    http_policy::withheld_fields(headers, caller)
        .into_iter()
        .map(|(name, withheld)| Stripped { field: name.to_string(), why: withheld.why() })
        .collect()
}

fn cacheable(
    settings: &Settings,
    method: &Method,
    operation: Option<&Operation>,
    path: &str,
    headers: &HeaderMap,
    caller: &Caller,
) -> (bool, String) {
    if !settings.cache.enabled {
        return (false, "the cache is switched off".to_owned());
    }
    if method != Method::GET && method != Method::HEAD {
        return (false, "only GET and HEAD are answered from memory".to_owned());
    }
    if operation.is_some_and(Operation::is_protected_identity) {
        return (false, "people under protection are never in memory".to_owned());
    }
    let goes_up =
        |own: &CallerCredential| headers.contains_key(own.field()) && caller.forwards(*own);
    if CallerCredential::ALL.iter().any(goes_up) {
        return (false, "a credential of the caller's own goes up".to_owned());
    }
    if headers.contains_key(header::RANGE) {
        return (false, "the request has `range`".to_owned());
    }
    let rule = settings.cache.rules.iter().enumerate().find(|(_, rule)| match operation {
        Some(operation) => rule.operations.iter().any(|pattern| pattern.matches(operation)),
        None => rule.paths.iter().any(|pattern| pattern.matches(path)),
    });
    match rule {
        Some((at, Rule { ttl, .. })) => (
            true,
            format!(
                "[[cache.rules]] number {}, fresh for {} unless the answer says otherwise",
                at + 1,
                ttl
            ),
        ),
        None => (false, "no [[cache.rules]] is for it".to_owned()),
    }
}
