//! The last calls that were refused or failed: the reason, and what would change it.
//!
//! For a refusal by the policy the current policy is asked again, so the reason is the one that `explain`
//! gives and the caller got. For every other error the reason is the manual's.

use maud::{Markup, html};

use super::{
    PageData,
    format::{item, many, moment, prose},
};
use crate::{
    admin::GatewayView,
    domain::{Caller, Proof, UNIDENTIFIED, visible},
    error::{Error, Kind},
    telemetry::{Cause, Trouble},
};

pub(super) fn render(data: &PageData<'_>) -> Markup {
    html! {
        h2 { "Recent refusals and failures" }
        @if data.troubles.is_empty() {
            p class="empty" { "None since the start." }
        } @else {
            p class="quiet" {
                "The latest first, alike ones as one. Of a path only the words are shown; the audit trail has "
                "all of it."
            }
            @for trouble in &data.troubles { (one(data.view, trouble)) }
        }
    }
}

fn one(view: &GatewayView, trouble: &Trouble) -> Markup {
    let kind = match trouble.cause {
        Cause::Error(label) => Kind::by_label(label),
        Cause::Answer(_) => None,
    };
    html! {
        details class="trouble" id={ "call-" (key(trouble)) } {
            summary {
                (moment(trouble.time))
                span class="what" {
                    strong { (title(trouble.cause, kind)) }
                    @if trouble.reported { " (let through: the policy only reports)" }
                }
                span class="who" {
                    (trouble.caller.as_deref().unwrap_or(UNIDENTIFIED))
                    " · "
                    (trouble.operation.as_deref().unwrap_or("no operation"))
                }
                @if trouble.count > 1 { span class="times" { (many(trouble.count, "time")) } }
            }
            dl {
                (item("Request", html! {
                    code { (trouble.method) " " (visible(trouble.outline.as_deref().unwrap_or("(no path)"))) }
                }))
                (item("Listener", trouble.listener.as_str()))
                @if let Some(proof) = &trouble.proof { (item("Proof", visible(&proof.to_string()))) }
                (item("Answer", html! {
                    @match trouble.status { Some(status) => (status), None => "none: the caller was gone" }
                    @if let Some(kind) = kind {
                        ", " a href=(format!("/errors/{}", kind.label())) { code { (kind.label()) } }
                    }
                }))
                @match kind {
                    Some(kind) => {
                        (item("Why", why(view, trouble, kind)))
                        (item("What to do", prose(kind.manual().remedy)))
                    }
                    None => {
                        (item("Why", "Pigello answered so, and the caller got its answer as it is."))
                        (item("What to do", prose(PASSED_ON)))
                    }
                }
                @if let Some(command) = kind.and_then(|kind| explain(trouble, kind)) {
                    (item("Explain", html! { code { (command) } }))
                }
                (item("Record", html! {
                    code { "pigello-gateway audit query --request-id " (trouble.request_id) }
                }))
            }
        }
    }
}

fn title(cause: Cause, kind: Option<Kind>) -> String {
    match (cause, kind) {
        (_, Some(kind)) => kind.title().to_owned(),
        (Cause::Error(label), None) => label.to_owned(),
        (Cause::Answer(status), None) => format!("Pigello answered {status}"),
    }
}

/// A stable key of the row, so that an open row stays open across refreshes.
fn key(trouble: &Trouble) -> String {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (trouble.cause, &trouble.caller, &trouble.operation, trouble.method.as_str(), &trouble.outline)
        .hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// The deciding rule of the current policy, in the words that the caller got.
fn why(view: &GatewayView, trouble: &Trouble, kind: Kind) -> Markup {
    if !is_of_policy(kind) {
        return prose(kind.manual().meaning);
    }
    let proof = trouble.proof.clone().unwrap_or(Proof::Listener);
    let caller = match trouble.caller.clone() {
        Some(name) => {
            let rule = view.callers.iter().find(|rule| rule.name == name).cloned();
            Caller::Known { rule, name, proof }
        }
        None => Caller::Unidentified { proof },
    };
    let refusal = view.policy.refusal(&caller, &trouble.method, &path(view, trouble));
    let allowed_now = "It would be allowed now: the configuration has changed since.";
    prose(refusal.as_ref().map_or(allowed_now, Error::detail))
}

/// A path like the call's, with a placeholder for each object.
fn path(view: &GatewayView, trouble: &Trouble) -> String {
    let outline = trouble.outline.as_deref().unwrap_or_default();
    let operation = trouble.operation.as_deref();
    let known = operation.and_then(|operation| view.policy.catalog.by_name(operation));
    let segments = known.map_or(outline, |known| known.template()).split('/');
    let placed = |segment| match segment {
        "{…}" => segment,
        _ if segment.starts_with('{') => SOME_ID,
        _ => segment,
    };
    segments.map(placed).collect::<Vec<_>>().join("/")
}

/// Whether the policy decided.
fn is_of_policy(kind: Kind) -> bool {
    matches!(kind, Kind::NotAllowed | Kind::Unidentified | Kind::OperationUnknown)
}

/// The `explain` command for this call, where the policy was involved.
fn explain(trouble: &Trouble, kind: Kind) -> Option<String> {
    if !is_of_policy(kind) {
        return None;
    }
    let outline = trouble.outline.as_deref().filter(|outline| !outline.contains('…'))?;
    let caller = trouble.caller.as_deref().map(|caller| format!(" --caller {caller}"));
    Some(format!(
        "pigello-gateway explain --listener {}{} {} {}",
        trouble.listener,
        caller.unwrap_or_default(),
        trouble.method,
        outline.replace("{pk}", SOME_ID),
    ))
}

/// The remedy for an error response of Pigello.
const PASSED_ON: &str = "The body of the answer says more, to the caller. Reads were sent again already. If \
     it lasts, tell Pigello the time and the path; with many of them, the breaker opens.";
/// A placeholder object: the policy does not distinguish objects.
const SOME_ID: &str = "00000000-0000-0000-0000-000000000000";
