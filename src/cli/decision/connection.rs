//! The listener of a request, and a connection to it that proves its caller as a real one would.

use std::{net::Ipv4Addr, sync::Arc};

use crate::{
    cli::Failure,
    config::{Settings, suggestion, types::Listener},
    domain::{Address, CallerRule, Peer},
    proxy::call::{Connection, PeerCertificate},
};

/// A listener, and a connection to it.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    pub(super) listener: &'a Listener,
    pub(super) connection: Arc<Connection>,
    /// The caller's name, if it is proved.
    pub(super) caller: Option<&'a str>,
}

impl<'a> Chosen<'a> {
    /// A connection that shows nothing of its peer.
    fn unproved(listener: &'a Listener) -> Self {
        Self { listener, connection: nobody(), caller: listener.caller.as_deref() }
    }
}

/// Chooses the listener of that name, or the first on which the caller can be proved.
pub(super) fn choose<'a>(
    settings: &'a Settings,
    listener: Option<&str>,
    caller: Option<&str>,
) -> Result<Chosen<'a>, Failure> {
    let named = listener.map(|name| find_listener(settings, name)).transpose()?;
    let Some(caller) = caller else {
        let listener = named.or_else(|| settings.listeners.first());
        let listener = listener.ok_or_else(|| Failure::usage("there is no listener"))?;
        return Ok(Chosen::unproved(listener));
    };
    let rule = find_caller(settings, caller)?;
    let proved = |listener: &'a Listener| {
        let connection = proof(listener, caller, rule)?;
        let name = rule.map(|rule| &*rule.name).or(listener.caller.as_deref());
        Some(Chosen { listener, connection, caller: name })
    };
    let elsewhere = settings.listeners.iter().find_map(proved);
    match named {
        None => elsewhere.ok_or_else(|| unprovable(caller, rule)),
        Some(named) => proved(named).ok_or_else(|| {
            let elsewhere = elsewhere.map(|chosen| chosen.listener.name.as_str());
            not_here(named, caller, rule, elsewhere)
        }),
    }
}

/// A connection on which the listener takes its peer for that caller; `None` if there is none.
fn proof(listener: &Listener, caller: &str, rule: Option<&CallerRule>) -> Option<Arc<Connection>> {
    if let Some(bound) = &listener.caller {
        // Everyone who connects is this one.
        return (&**bound == caller).then(nobody);
    }
    let rule = rule?;
    if let Address::Unix(_) = listener.address
        && let Some(uid) = rule.unix_uids.first()
    {
        let peer = Peer::Unix { uid: *uid, gid: *uid, pid: None };
        return Some(Connection::new(peer, Vec::new()));
    }
    if listener.asks_for_certificates() {
        let name = rule.tls_names.first()?;
        return Some(Connection::new(local(), vec![Arc::clone(name)]));
    }
    None
}

/// A connection that shows nothing of its peer.
fn nobody() -> Arc<Connection> {
    Connection::new(local(), Vec::new())
}

fn local() -> Peer {
    Peer::Tcp((Ipv4Addr::LOCALHOST, 0).into())
}

fn find_listener<'a>(settings: &'a Settings, name: &str) -> Result<&'a Listener, Failure> {
    let found = settings.listeners.iter().find(|listener| listener.name.as_str() == name);
    found.ok_or_else(|| {
        let known: Vec<_> =
            settings.listeners.iter().map(|listener| listener.name.as_str()).collect();
        unknown("listener", name, &known)
    })
}

/// Chooses the first listener that is not bound to a caller, with a connection that shows nothing of its peer.
pub(super) fn stranger(settings: &Settings) -> Option<Chosen<'_>> {
    let listener = settings.listeners.iter().find(|listener| listener.caller.is_none())?;
    Some(Chosen::unproved(listener))
}

/// The listener of that name, with a connection that has a proof of the audit trail (the text of a
/// [`Proof`](crate::domain::Proof)), if the listener can still see such a proof.
pub(super) fn recorded<'a>(settings: &'a Settings, name: &str, proof: &str) -> Option<Chosen<'a>> {
    let listener = settings.listeners.iter().find(|listener| listener.name.as_str() == name)?;
    let peer = proof.strip_prefix("unmapped ").unwrap_or(proof).strip_prefix("uid=");
    let uid = peer.and_then(|peer| peer.split(' ').next()?.parse().ok());
    let shows_certificates = listener.asks_for_certificates();
    let connection = match (uid, proof.strip_prefix("certificate=")) {
        (Some(uid), _) if matches!(listener.address, Address::Unix(_)) => {
            Connection::new(Peer::Unix { uid, gid: uid, pid: None }, Vec::new())
        }
        (_, Some(name)) if shows_certificates => Connection::new(local(), vec![Arc::from(name)]),
        (None, None) if shows_certificates && proof.starts_with("nameless certificate") => {
            let described = Some(Arc::from(proof));
            Connection::new(local(), PeerCertificate { names: Vec::new(), described })
        }
        _ => nobody(),
    };
    Some(Chosen { listener, connection, caller: None })
}

/// The names of all callers: those of `[[callers]]`, and those that only a listener names.
pub(super) fn callers(settings: &Settings) -> Vec<&str> {
    let mut known: Vec<&str> = settings.callers.iter().map(|rule| &*rule.name).collect();
    for bound in settings.listeners.iter().filter_map(|listener| listener.caller.as_deref()) {
        if !known.contains(&bound) {
            known.push(bound);
        }
    }
    known
}

/// The rule of a caller; `None` if only a listener names it.
fn find_caller<'a>(settings: &'a Settings, name: &str) -> Result<Option<&'a CallerRule>, Failure> {
    let rule = settings.callers.iter().find(|rule| &*rule.name == name).map(AsRef::as_ref);
    let known = callers(settings);
    if known.contains(&name) { Ok(rule) } else { Err(unknown("caller", name, &known)) }
}

/// The failure for a name that the configuration does not have.
pub(in crate::cli) fn unknown(what: &str, name: &str, known: &[&str]) -> Failure {
    let meant = suggestion(name, known, "there are").filter(|text| text.starts_with("did you"));
    let all = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let all = format!("its {what}s are: {all}");
    let hint = meant.map_or(all.clone(), |meant| format!("{meant} {all}"));
    let name = name.escape_debug();
    Failure::usage(format!("the configuration has no such {what}: `{name}`")).hint(hint)
}

/// The caller cannot be proved on the named listener.
fn not_here(
    listener: &Listener,
    caller: &str,
    rule: Option<&CallerRule>,
    elsewhere: Option<&str>,
) -> Failure {
    let name = &listener.name;
    let why = match &listener.caller {
        Some(bound) => format!("listener `{name}` makes everyone `{bound}`"),
        None => format!("listener `{name}` cannot tell that a caller is `{caller}`"),
    };
    match elsewhere {
        Some(elsewhere) => Failure::usage(format!("{why}; `{caller}` comes in on `{elsewhere}`")),
        None => Failure::usage(why).hint(way(caller, rule)),
    }
}

/// The caller can be proved nowhere.
fn unprovable(caller: &str, rule: Option<&CallerRule>) -> Failure {
    Failure::usage(format!("no listener can tell that a caller is `{caller}`"))
        .hint(way(caller, rule))
}

/// Where a caller could be proved.
fn way(caller: &str, rule: Option<&CallerRule>) -> String {
    let Some(rule) = rule else { return format!("give the listener `caller = \"{caller}\"`") };
    let mut ways = Vec::new();
    if !rule.unix_uids.is_empty() {
        ways.push("`unix_uids` need a listener on a Unix socket");
    }
    if !rule.tls_names.is_empty() {
        ways.push("`tls_names` need a listener with `client_ca`");
    }
    let bound = format!("a listener with `caller = \"{caller}\"` makes everyone `{caller}`");
    ways.push(&bound);
    ways.join("; ")
}
