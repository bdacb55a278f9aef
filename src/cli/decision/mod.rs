//! What a configuration decides about a request: the one answer behind `explain`, `policy test`,
//! `policy replay` and `config diff`.
//!
//! A request goes through the stages of `serve` that decide (`proxy::preview`). No socket is opened and no
//! secret is read. What only a running gateway knows is no part of it: whether credentials are loaded, whether
//! a limit is reached and whether a response is stored.
//!
//! | file | |
//! | --- | --- |
//! | `connection` | the listener, and a connection to it that proves the caller |
//! | `request` | a request, as the bytes that a client sends |
//! | `verdict` | what becomes of it, and what should |

mod connection;
mod request;
mod verdict;

use std::{collections::BTreeMap, sync::Arc};

use self::connection::Chosen;
pub(super) use self::{
    connection::unknown,
    request::{Field, Line, PLACEHOLDER_ID, field, line_of, profile_field},
    verdict::{Expectation, Verdict},
};
use super::Failure;
use crate::{
    app,
    config::Settings,
    domain::{
        Caller, ListenerName, Operation, ProfileName, ProfilePattern, UNIDENTIFIED,
        check_target_bytes,
    },
    error::{Error, Kind},
    proxy::{
        cache::{Bypass, Rule},
        preview::{Preview, PreviewEnd, PreviewParts, preview},
    },
};

/// The decisions of one configuration.
#[derive(Debug)]
pub(super) struct Decisions<'a> {
    settings: &'a Settings,
    paths: BTreeMap<&'a ListenerName, PreviewParts>,
}

/// Where a request comes in, and who is taken for its caller.
#[derive(Debug)]
pub(super) struct Entrance<'a>(Chosen<'a>);

/// What becomes of a request.
#[derive(Debug)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    /// The error that it is refused with, or would be by a policy that enforces.
    pub(super) error: Option<Kind>,
    /// The deciding rule, in words.
    pub(super) why: String,
    /// The caller, if it came far enough to have one.
    pub(super) caller: Option<Arc<Caller>>,
    pub(super) operation: Option<Arc<Operation>>,
    /// The profile, if it came far enough to have one.
    pub(super) profile: Option<ProfileName>,
    /// The cache's rule for it, or why there is none; `None` if it is not sent on.
    pub(super) cache: Option<Result<Rule, Bypass>>,
}

impl<'a> Decisions<'a> {
    pub(super) fn of(settings: &'a Settings) -> Self {
        let listeners = settings.listeners.iter();
        let paths = listeners
            .map(|listener| (&listener.name, app::preview_parts(settings, listener)))
            .collect();
        Self { settings, paths }
    }

    pub(super) fn settings(&self) -> &'a Settings {
        self.settings
    }

    /// The entrance of a caller: the named listener, or the first on which it can be proved.
    pub(super) fn entrance(
        &self,
        listener: Option<&str>,
        caller: Option<&str>,
    ) -> Result<Entrance<'a>, Failure> {
        connection::choose(self.settings, listener, caller).map(Entrance)
    }

    /// The entrance of everybody whom the configuration does not name; `None` if every listener is bound to a
    /// caller.
    pub(super) fn strangers_entrance(&self) -> Option<Entrance<'a>> {
        connection::stranger(self.settings).map(Entrance)
    }

    /// The entrance of a recorded call: the listener of that name, and a connection with that proof of its
    /// caller. `None` if there is no such listener.
    pub(super) fn recorded_entrance(&self, listener: &str, proof: &str) -> Option<Entrance<'a>> {
        connection::recorded(self.settings, listener, proof).map(Entrance)
    }

    /// Decides about one request, sent over HTTP/1.1.
    pub(super) fn decide(
        &self,
        entrance: &Entrance<'_>,
        line: Line<'_>,
        fields: &[Field],
    ) -> Decision {
        let Entrance(Chosen { listener, connection, .. }) = entrance;
        let preview = match (check_line(line.target), self.paths.get(&listener.name)) {
            (Ok(()), Some(parts)) => preview(parts, Arc::clone(connection), &line.head(fields)),
            (Err(error), _) => refused(error),
            (Ok(()), None) => refused(Error::new(Kind::Internal, "the listener is not known")),
        };
        Decision::from(preview)
    }

    /// Decides about an operation, with an object that is nowhere.
    pub(super) fn decide_operation(
        &self,
        entrance: &Entrance<'_>,
        operation: &Operation,
        profile: Option<&ProfileName>,
    ) -> Decision {
        let target = Self::target_of(operation);
        let line = Line { method: operation.method().as_str(), target: &target };
        let named = match profile {
            Some(name) => profile_field(name.as_str()),
            None => self.some_profile_of(entrance),
        };
        self.decide(entrance, line, named.as_slice())
    }

    /// Names a profile that the caller may use, on a listener where requests have to.
    fn some_profile_of(&self, entrance: &Entrance<'_>) -> Option<Field> {
        let Entrance(Chosen { listener, caller, .. }) = entrance;
        let rule = self.settings.callers.iter().find(|rule| Some(&*rule.name) == *caller)?;
        if listener.profile.is_some() {
            return None;
        }
        let patterns = self.settings.profiles.keys().map(|table| {
            table.template().unwrap_or_else(|| ProfilePattern::Exactly(table.clone()))
        });
        let may = |pattern: ProfilePattern| {
            rule.profiles.iter().find_map(|listed| listed.common(&pattern))
        };
        let name = patterns.filter_map(may).find(ProfileName::is_nameable)?;
        profile_field(name.as_str())
    }

    /// The target of an operation, with an object that is nowhere.
    pub(super) fn target_of(operation: &Operation) -> String {
        request::target_of(operation)
    }

    /// The names of all callers, in the order of the configuration.
    pub(super) fn callers(&self) -> Vec<&'a str> {
        connection::callers(self.settings)
    }

    /// What becomes of an operation for each caller that can come in, and for those without a name.
    pub(super) fn for_everybody(&self, operation: &Operation) -> Vec<(&'a str, Decision)> {
        let named = self.callers().into_iter().filter_map(|name| {
            let entrance = self.entrance(None, Some(name)).ok()?;
            Some((name, self.decide_operation(&entrance, operation, None)))
        });
        let stranger = self.strangers_entrance();
        let stranger = stranger
            .map(|entrance| (UNIDENTIFIED, self.decide_operation(&entrance, operation, None)));
        named.chain(stranger).collect()
    }

    /// The same with one profile: on any listener, because a listener may name the profile.
    pub(super) fn for_everybody_with(
        &self,
        profile: &ProfileName,
        operation: &Operation,
    ) -> Vec<(&'a str, Decision)> {
        let mut best: BTreeMap<&str, Decision> = BTreeMap::new();
        for listener in &self.settings.listeners {
            let on = Some(listener.name.as_str());
            let named =
                self.callers().into_iter().map(|name| (name, self.entrance(on, Some(name))));
            let stranger =
                listener.caller.is_none().then(|| (UNIDENTIFIED, self.entrance(on, None)));
            for (name, entrance) in named.chain(stranger) {
                let Ok(entrance) = entrance else { continue };
                let decision = self.decide_operation(&entrance, operation, Some(profile));
                let is_better =
                    best.get(name).is_none_or(|known| known.verdict == Verdict::Refused);
                if decision.profile.as_ref() == Some(profile) && is_better {
                    best.insert(name, decision);
                }
            }
        }
        best.into_iter().collect()
    }
}

impl<'a> Entrance<'a> {
    pub(super) fn listener(&self) -> &'a crate::config::types::Listener {
        self.0.listener
    }
}

impl Decision {
    /// The name of the caller; `None` if nobody is proved.
    pub(super) fn caller_name(&self) -> Option<&str> {
        self.caller.as_deref().and_then(Caller::name).map(|name| &**name)
    }

    /// The name of the operation.
    pub(super) fn operation_name(&self) -> Option<&str> {
        self.operation.as_deref().map(Operation::name)
    }
}

impl From<Preview> for Decision {
    fn from(Preview { caller, operation, profile, end }: Preview) -> Self {
        let (verdict, error, why, cache) = match end {
            PreviewEnd::Refused(error) => (Verdict::Refused, Some(error), None, None),
            PreviewEnd::Answered => {
                let why = "the gateway itself answers with the methods that it sends on".to_owned();
                (Verdict::Answered, None, Some(why), None)
            }
            PreviewEnd::Allowed { would_refuse: Some(error), cache } => {
                (Verdict::Reported, Some(error), None, Some(cache))
            }
            PreviewEnd::Allowed { would_refuse: None, cache } => {
                let why = allowed_by(caller.as_deref(), operation.as_deref());
                (Verdict::Allowed, None, Some(why), Some(cache))
            }
        };
        let detail = error.as_ref().map(|error| error.detail().to_owned());
        let why = why.or(detail).unwrap_or_default();
        Self {
            verdict,
            error: error.map(|error| error.kind()),
            why,
            caller,
            operation,
            profile,
            cache,
        }
    }
}

fn refused(error: Error) -> Preview {
    Preview { caller: None, operation: None, profile: None, end: PreviewEnd::Refused(error) }
}

/// Refuses a target that no client can send, because it would end the line.
fn check_line(target: &str) -> Result<(), Error> {
    if target.contains(['\r', '\n']) { Ok(check_target_bytes(target.as_bytes())?) } else { Ok(()) }
}

fn allowed_by(caller: Option<&Caller>, operation: Option<&Operation>) -> String {
    if let Some(Caller::Known { rule: Some(rule), name, .. }) = caller
        && let Some(pattern) = rule.allowing(operation)
    {
        return format!("`{pattern}` in `allow` of the caller `{name}`");
    }
    "[policy] lets callers without an entry use everything".to_owned()
}
