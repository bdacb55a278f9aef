//! The meaning of a configuration in plain words, for a person to compare with the intention. It
//! never contains a credential value.

use std::{
    fmt::Display,
    io::{self, Write},
};

use anstyle::{AnsiColor, Style};

use crate::{
    audit::{Durability, OnFailure},
    cli::failure::tell,
    config::{
        AdminListener, Loaded, Settings,
        types::{Listener, Profile},
    },
    credentials::{
        self, Adoption, SourceSettings, ValueName, VaultAuth, VaultServer, VaultSettings,
    },
    domain::{Address, CallerLimits, CallerRule, OperationPattern, Rate, Span},
    fleet::Role,
    notices::EventLogChoice,
    outbound::CollectorSettings,
    proxy::{
        cache::Rule,
        stages::authorize::{Access, Mode, Unmatched},
    },
};

/// Describes a configuration.
pub fn explain(loaded: &Loaded, out: &mut impl Write) -> io::Result<()> {
    let settings = &loaded.settings;
    let files: Vec<_> = loaded.files.iter().map(|file| file.display().to_string()).collect();
    writeln!(out, "{} is in order.", files.join(" with "))?;
    let mut page = Page { out };
    listeners(&mut page, settings)?;
    profiles(&mut page, settings)?;
    credentials(&mut page, settings)?;
    callers(&mut page, settings)?;
    cache(&mut page, settings)?;
    fleet(&mut page, settings)?;
    audit(&mut page, settings)?;
    admin(&mut page, settings)?;
    if !loaded.warnings.is_empty() {
        page.section("Worth a second look")?;
        for warning in &loaded.warnings {
            tell(page.out, "warning", AnsiColor::Yellow, warning)?;
        }
    }
    Ok(())
}

/// Two columns under headings.
struct Page<'a, W> {
    out: &'a mut W,
}

impl<W: Write> Page<'_, W> {
    const NAME_WIDTH: usize = 18;

    fn section(&mut self, title: &str) -> io::Result<()> {
        let bold = Style::new().bold();
        writeln!(self.out, "\n{bold}{title}{bold:#}")
    }

    fn line(&mut self, name: impl Display, text: impl Display) -> io::Result<()> {
        let name = name.to_string();
        if name.chars().count() > Self::NAME_WIDTH {
            writeln!(self.out, "  {name}")?;
            return self.more(text);
        }
        writeln!(self.out, "  {name:<width$}  {text}", width = Self::NAME_WIDTH)
    }

    fn more(&mut self, text: impl Display) -> io::Result<()> {
        writeln!(self.out, "  {:<width$}  {text}", "", width = Self::NAME_WIDTH)
    }
}

fn listeners(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    page.section("Listeners")?;
    for listener in &settings.listeners {
        page.line(
            &listener.name,
            match &listener.profile {
                Some(profile) => format!("{}, calls go to `{profile}`", listener.address),
                None => format!("{}, each call names its profile", listener.address),
            },
        )?;
        page.more(who(listener))?;
        if !listener.allowed_hosts.is_empty() {
            page.more(format_args!("also served as {}", listener.allowed_hosts.join(", ")))?;
        }
    }
    Ok(())
}

fn who(listener: &Listener) -> String {
    let reach = match &listener.address {
        Address::Unix(_) => "processes that may open the socket",
        Address::Tcp(_) if listener.checks_revocation() => {
            "machines that reach it, with a certificate from `client_ca` that `client_crl` does not revoke"
        }
        Address::Tcp(_) if listener.asks_for_certificates() => {
            "machines that reach it, with a certificate from `client_ca`"
        }
        Address::Tcp(_) if listener.address.is_local() => "every process on this machine",
        Address::Tcp(_) => "every machine that reaches it",
    };
    match &listener.caller {
        Some(caller) => format!("for {reach}; each is `{caller}`"),
        None => format!("for {reach}"),
    }
}

fn profiles(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    page.section("Profiles")?;
    for (name, profile) in &settings.profiles {
        page.line(name, upstream(profile))?;
        page.more(format_args!("with the credentials `{}`", profile.credentials))?;
        if let Some(rate) = profile.budget.and_then(|budget| budget.rate) {
            page.more(budget(rate, name.template().is_some(), settings.fleet.is_some()))?;
        }
        if name.template().is_some() {
            page.more(
                "a template: each name that it matches is a profile with credentials of its own",
            )?;
        }
    }
    Ok(())
}

fn budget(rate: u32, is_template: bool, is_fleet: bool) -> String {
    let whose = if is_fleet { "all gateways of the fleet together" } else { "this gateway" };
    let each = if is_template { " for each member" } else { "" };
    format!("called up to {rate} times a second by {whose}{each}")
}

fn upstream(profile: &Profile) -> String {
    let mut parts = vec![profile.upstream.to_string()];
    parts.extend(profile.local_address.map(|address| format!("from {address}")));
    let proxy = profile.forward_proxy().proxy_to(&profile.upstream);
    parts.extend(proxy.map(|proxy| format!("through the proxy {proxy}")));
    parts.extend(profile.connect_to.map(|address| format!("dialled at {address}")));
    parts.push(match (&profile.ca_file, profile.upstream.is_tls()) {
        (_, false) => "without TLS".to_owned(),
        (Some(file), true) => format!("trusting {}", file.display()),
        (None, true) => "trusting this machine's roots".to_owned(),
    });
    parts.extend(profile.revocation().map(|lists| lists.to_string()));
    parts.join(", ")
}

fn credentials(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    page.section("Credentials")?;
    for (name, set) in &settings.credentials {
        page.line(name, source(&set.source))?;
        page.more(refresh(set))?;
        if let Some(adoption) = adoption(set) {
            page.more(adoption)?;
        }
        let names: Vec<_> = set.fixed.names().map(ValueName::key).collect();
        if !names.is_empty() {
            page.more(format_args!("from the configuration: {}", names.join(", ")))?;
        }
    }
    Ok(())
}

/// Where the values of a set are.
pub(in crate::cli) fn source(source: &SourceSettings) -> String {
    match source {
        SourceSettings::Directory { path } => format!("files in {}", path.display()),
        SourceSettings::Environment { prefix } => format!("variables {prefix}…"),
        SourceSettings::Sealed { file, .. } => format!("the sealed store {}", file.display()),
        SourceSettings::Vault(vault) => {
            let VaultSettings { server, mount, path, kv_version } = &**vault;
            let VaultServer { address, auth, revocation, .. } = &**server;
            let address =
                address.as_ref().map_or_else(|| "VAULT_ADDR".to_owned(), ToString::to_string);
            let login = auth.as_ref().map_or("VAULT_TOKEN", VaultAuth::name);
            let proxy = server.proxy_in_use();
            let proxy = proxy.map(|proxy| format!(", through the proxy {proxy}"));
            let lists = revocation.as_ref().map(|lists| format!(", {lists}"));
            format!(
                "{mount}/{path} in the vault at {address} (KV version {kv_version}, login: {login}){}{}",
                proxy.unwrap_or_default(),
                lists.unwrap_or_default()
            )
        }
    }
}

/// When a new version is used, unless that is at once.
fn adoption(set: &credentials::Settings) -> Option<String> {
    match set.refresh.adoption {
        Adoption::AtOnce => None,
        Adoption::Proven { canary, patience } => Some(format!(
            "a new version is tried by hubs and {}% of the fleet, and used when Pigello has accepted it or after {}",
            canary * 100.0,
            Span(patience)
        )),
    }
}

fn refresh(set: &credentials::Settings) -> String {
    let every = Span(set.refresh.interval);
    match set.refresh.max_stale {
        Some(limit) => {
            format!("read again every {every}; used for up to {} without it", Span(limit))
        }
        None => format!("read again every {every}; kept while the source cannot be reached"),
    }
}

fn callers(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    page.section("Who may do what")?;
    for caller in &settings.callers {
        page.line(&caller.name, proofs(caller, settings))?;
        page.more(allowed(caller, settings))?;
        if let Some(profiles) = profiles_of(caller) {
            page.more(profiles)?;
        }
        if !caller.forward.is_empty() {
            let names: Vec<_> = caller.forward.iter().map(|own| own.field().to_string()).collect();
            page.more(format_args!(
                "its own {} goes to Pigello, past the cache",
                names.join(" and ")
            ))?;
        }
        if let Some(limits) = limited(&caller.limits) {
            page.more(limits)?;
        }
    }
    let everyone = if settings.callers.is_empty() { "everyone" } else { "everyone else" };
    match settings.policy.unidentified() {
        Access::Allow => page.line(everyone, "may use every operation")?,
        Access::Deny => page.line(everyone, "is refused")?,
    }
    page.line(
        "other requests",
        match settings.policy.unmatched {
            Unmatched::Deny => "are refused if they match no operation",
            Unmatched::Forward => "go to Pigello if the caller may use `*`",
        },
    )?;
    if settings.policy.mode == Mode::Report {
        page.line("report only", "what would be refused goes through, and is written down")?;
    }
    Ok(())
}

/// How a caller is known.
pub(in crate::cli) fn proofs(caller: &CallerRule, settings: &Settings) -> String {
    let mut proofs = Vec::new();
    for listener in &settings.listeners {
        if listener.caller.as_ref() == Some(caller.name.shared()) {
            proofs.push(format!("the listener `{}`", listener.name));
        }
    }
    proofs.extend(caller.unix_uids.iter().map(|uid| format!("user id {uid}")));
    proofs.extend(
        caller.tls_names.iter().map(|name| format!("certificate of {}", name.escape_debug())),
    );
    if proofs.is_empty() {
        "known by nothing".to_owned()
    } else {
        format!("known by {}", proofs.join(", "))
    }
}

fn allowed(caller: &CallerRule, settings: &Settings) -> String {
    let operations = settings.catalog.operations();
    let may = |pattern: &OperationPattern| {
        operations.iter().filter(|operation| pattern.matches(operation)).count()
    };
    let all = operations
        .iter()
        .filter(|operation| caller.allow.iter().any(|pattern| pattern.matches(operation)))
        .count();
    let patterns: Vec<_> = caller
        .allow
        .iter()
        .map(|pattern| match pattern {
            OperationPattern::Exactly(_) => pattern.to_string(),
            _ => format!("{pattern} ({})", may(pattern)),
        })
        .collect();
    if patterns.is_empty() {
        return "may use nothing".to_owned();
    }
    let known = operations.len();
    let count = if all == known { format!("all {known}") } else { format!("{all} of {known}") };
    format!("may use {count} operations: {}", patterns.join(", "))
}

/// The profiles that a caller uses besides those of its listeners.
fn profiles_of(caller: &CallerRule) -> Option<String> {
    let patterns: Vec<_> = caller.profiles.iter().map(ToString::to_string).collect();
    match (&caller.profile, patterns.is_empty()) {
        (Some(own), _) => Some(format!("its calls go to `{own}`")),
        (None, false) => Some(format!("with the profiles {}", patterns.join(", "))),
        (None, true) => None,
    }
}

/// The caller's rate limit, if there is one.
fn limited(limits: &CallerLimits) -> Option<String> {
    let rate = limits.rate.map(|Rate { per_second, burst }| {
        format!("{per_second} calls a second, {burst} of them at once")
    });
    let concurrency = limits.concurrency.map(|calls| format!("{calls} under way at a time"));
    let parts: Vec<_> = rate.into_iter().chain(concurrency).collect();
    (!parts.is_empty()).then(|| format!("at most {}", parts.join("; ")))
}

fn cache(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    let cache = &settings.cache;
    page.section("Answered from memory")?;
    if !cache.enabled || cache.rules.is_empty() {
        return page.line("nothing", "the cache is off");
    }
    for rule in &cache.rules {
        page.line(subject(rule), freshness(rule, settings.coherent_ttl(rule)))?;
    }
    page.line("protectedidentity", "never")
}

/// Nothing is said of a gateway that is alone.
fn fleet(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    let Some(fleet) = &settings.fleet else { return Ok(()) };
    page.section("Fleet")?;
    page.line("name", &fleet.name)?;
    let addresses: Vec<_> = fleet.store.addresses().map(ToString::to_string).collect();
    match &fleet.store.service {
        Some(service) => page.line(
            "store",
            format_args!("the primary of `{service}`, which {} know", addresses.join(", ")),
        ),
        None => page.line("store", addresses.join(", ")),
    }?;
    page.line("role", fleet.role.label())?;
    let event_logs = match (settings.notices.event_log, fleet.role) {
        (EventLogChoice::Poll, Role::Hub) => "read by one of the hubs for all members",
        (EventLogChoice::Poll, Role::Member) => "read by this gateway if nobody else reads them",
        (EventLogChoice::Off, _) => "read by others of the fleet, if by any",
    };
    page.line("event logs", event_logs)
}

fn subject(rule: &Rule) -> String {
    let operations = rule.operations.iter().map(ToString::to_string);
    operations.chain(rule.paths.iter().map(ToString::to_string)).collect::<Vec<_>>().join(", ")
}

fn freshness(rule: &Rule, coherent_ttl: Option<Span>) -> String {
    let mut parts = vec![format!("fresh for {} unless the answer says otherwise", rule.ttl)];
    let mut also = |span: Span, text: &str| {
        if !span.is_zero() {
            parts.push(format!("{span} {text}"));
        }
    };
    also(coherent_ttl.unwrap_or(Span::from_secs(0)), "while no notice of a change is missed");
    also(rule.stale_while_revalidate, "more while it is renewed");
    also(rule.stale_if_error, "more if Pigello fails");
    also(rule.negative_ttl, "for a 404 or 410");
    parts.join("; ")
}

fn audit(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    let audit = &settings.audit;
    page.section("Audit trail")?;
    let when = match audit.durability {
        Durability::Batched => "on disk within a second",
        Durability::Synced => "on disk before the answer leaves",
    };
    page.line("every call", format_args!("{}, {when}", audit.directory.display()))?;
    if let Some(group) = &audit.group {
        page.line("readable for", format_args!("the group {group}, except its keys"))?;
    }
    page.line(
        "not writable",
        match audit.on_failure {
            OnFailure::Refuse => "calls are refused",
            OnFailure::Continue => "calls go on, and the loss is counted",
        },
    )?;
    let Some(CollectorSettings { endpoint, proxy, .. }) = settings.telemetry.collector() else {
        return Ok(());
    };
    match proxy.proxy_to(&endpoint) {
        Some(proxy) => {
            page.line("copied to", format_args!("{endpoint}, through the proxy {proxy}"))
        }
        None => page.line("copied to", endpoint),
    }
}

fn admin(page: &mut Page<'_, impl Write>, settings: &Settings) -> io::Result<()> {
    page.section("Admin")?;
    match &settings.admin {
        Some(admin) => {
            page.line(&admin.address, "health, metrics, status, the page, purge and refresh")?;
            page.more(operators(admin, settings.admin_tokens.is_some()))?;
        }
        None => page.line("off", "nobody can ask or purge a running gateway")?,
    }
    match &settings.metrics {
        Some(metrics) if metrics.address.is_local() => {
            page.line(&metrics.address, "health and metrics, for this machine")
        }
        Some(metrics) if metrics.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some()) => {
            page.line(&metrics.address, "health and metrics, for whoever has a certificate")
        }
        Some(metrics) => page.line(&metrics.address, "health and metrics, for whoever reaches it"),
        None => Ok(()),
    }
}

/// Who may use the admin listener for more than health and metrics.
fn operators(admin: &AdminListener, tokens: bool) -> String {
    let who = match (&admin.address, &admin.socket_group) {
        (Address::Unix(_), None) => "for the gateway's user and root".to_owned(),
        (Address::Unix(_), Some(group)) => {
            format!("for the gateway's user, root and the group {}", group.escape_debug())
        }
        (Address::Tcp(_), _) if tokens => "with a token of `token_file`; without one".to_owned(),
        (Address::Tcp(_), _) => "for nobody: there is no `token_file`".to_owned(),
    };
    match &admin.address {
        Address::Unix(_) => who,
        Address::Tcp(_) if tokens => format!("{who}, health and metrics only"),
        Address::Tcp(_) => format!("{who}, so it serves health and metrics only"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_where_there_are_any() {
        let rate = Rate { per_second: 50.try_into().unwrap(), burst: 100.try_into().unwrap() };
        let concurrency = Some(20.try_into().unwrap());
        for (limits, told) in [
            (CallerLimits::default(), None),
            (
                CallerLimits { rate: Some(rate), concurrency },
                Some("at most 50 calls a second, 100 of them at once; 20 under way at a time"),
            ),
            (CallerLimits { rate: None, concurrency }, Some("at most 20 under way at a time")),
        ] {
            assert_eq!(limited(&limits).as_deref(), told);
        }
    }
}
