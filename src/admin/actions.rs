//! Actions of an operator on a running gateway: purge the cache, reload credentials, verify the
//! audit trail. Each is on the trail, with who did it. Programs send `DELETE` and `POST`. The forms of the
//! status page have routes of their own, behind a check of their origin (see [`guard`](super::guard)) and a
//! token.

use std::{sync::Arc, time::Duration};

use axum::{
    Form, Json,
    extract::{Query, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Redirect, Response},
};
use serde::{Deserialize, Serialize};

use super::{AdminState, GatewayView, access::Actor, fleet::NO_FLEET};
use crate::{
    audit::{AdminAction, Trail},
    credentials::{CredentialManager, NotRefreshed, OlderVersion, RefreshOutcome},
    domain::{CredentialsName, Origin, ProfileName, is_uuid},
    error::Chain,
    fleet::Change,
};

/// Selects stored responses to purge: all, or those of an operation, about an object, of a profile, and of any two or
/// three of them together.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct What {
    operation: Option<String>,
    pk: Option<String>,
    profile: Option<ProfileName>,
}

/// Whose stored responses are purged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Those of this gateway.
    Gateway,
    /// Those of all members of its fleet.
    Fleet,
}

/// Why an action is refused.
type Refusal = (StatusCode, &'static str);

#[derive(Debug, Serialize)]
pub(super) struct Purged {
    purged: u64,
}

/// `DELETE /cache`.
pub(super) async fn purge(
    State(view): State<Arc<GatewayView>>,
    actor: Actor,
    Query(what): Query<What>,
) -> Result<Json<Purged>, Refusal> {
    Ok(Json(Purged { purged: empty(&view, &actor, what, Reach::Gateway)? }))
}

/// `POST /fleet/purge`: the same for all members of the fleet. 200 when the store has been told, 202 when it has yet to
/// be.
pub(super) async fn purge_fleet(
    State(view): State<Arc<GatewayView>>,
    actor: Actor,
    Query(what): Query<What>,
) -> Result<(StatusCode, Json<FleetPurged>), Refusal> {
    let Some(fleet) = &view.fleet else { return Err((StatusCode::NOT_FOUND, NO_FLEET)) };
    let change = Change::Purge {
        operation: what.operation.as_deref().map(Into::into),
        pk: what.pk.as_deref().map(Into::into),
        profile: what.profile.clone(),
    };
    let purged = empty(&view, &actor, what, Reach::Fleet)?;
    fleet.tell(change);
    let told = fleet.is_told_within(TELLING).await;
    let status = if told { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(FleetPurged { purged, told })))
}

/// The profile whose key has another version.
#[derive(Debug, Deserialize)]
pub(super) struct OfProfile {
    profile: ProfileName,
}

/// `POST /fleet/cache-key`: has all members of the fleet read the key of a profile's entries in the shared cache again.
pub(super) async fn tell_of_cache_key(
    State(view): State<Arc<GatewayView>>,
    actor: Actor,
    Query(OfProfile { profile }): Query<OfProfile>,
) -> Result<StatusCode, Refusal> {
    let Some(fleet) = &view.fleet else { return Err((StatusCode::NOT_FOUND, NO_FLEET)) };
    if !view.directory.knows(&profile) {
        let unknown = "no profile has this name, and no template matches it\n";
        return Err((StatusCode::BAD_REQUEST, unknown));
    }
    let known = view.directory.peek(&profile);
    if let Some(keys) = known.as_ref().and_then(|profile| profile.shared_keys.as_ref()) {
        keys.ring().want();
    }
    view.trail.admin(actor.did("cache_key", format!("profile={profile}")));
    fleet.tell(Change::CacheKey { profile });
    let told = fleet.is_told_within(TELLING).await;
    Ok(if told { StatusCode::OK } else { StatusCode::ACCEPTED })
}

/// A chain of the fleet.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfChain {
    chain: String,
}

/// How many findings were acknowledged.
#[derive(Debug, Serialize)]
pub(super) struct Acknowledged {
    acknowledged: usize,
}

/// `POST /fleet/acknowledge`: an operator knows what this hub finds wrong with a chain. 404 if it finds nothing.
pub(super) async fn acknowledge(
    State(view): State<Arc<GatewayView>>,
    actor: Actor,
    Query(OfChain { chain }): Query<OfChain>,
) -> Result<Json<Acknowledged>, Refusal> {
    let log = view.fleet_log.as_ref().ok_or((StatusCode::NOT_FOUND, NO_HUB))?;
    let acknowledged = log.acknowledge(&chain);
    if acknowledged == 0 {
        return Err((StatusCode::NOT_FOUND, "nothing is wrong with a chain of that name\n"));
    }
    view.trail.admin(actor.did("acknowledge", format!("chain={chain} findings={acknowledged}")));
    Ok(Json(Acknowledged { acknowledged }))
}

/// What a gateway answers that keeps no fleet log.
const NO_HUB: &str = "this gateway keeps no fleet log: it is no hub of a fleet\n";

/// How long an operator waits for the store.
const TELLING: Duration = Duration::from_secs(2);

/// The result of a purge of the fleet.
#[derive(Debug, Serialize)]
pub(super) struct FleetPurged {
    /// The responses that this member had.
    purged: u64,
    /// Whether the store has been told, which tells the others.
    told: bool,
}

/// What is no operation and no UUID is refused: it would purge nothing, and could be anything on the trail.
fn empty(view: &GatewayView, actor: &Actor, what: What, reach: Reach) -> Result<u64, Refusal> {
    let What { operation, pk, profile } = what;
    let refused = |text: &'static str| (StatusCode::BAD_REQUEST, text);
    let is_known =
        |name: &String| view.policy.catalog.operations().iter().any(|o| o.name() == name);
    if !operation.as_ref().is_none_or(is_known) {
        return Err(refused("there is no such operation; `pigello-gateway check` counts them\n"));
    }
    if !pk.as_deref().is_none_or(is_uuid) {
        return Err(refused("`pk` is a UUID\n"));
    }
    if !profile.as_ref().is_none_or(|name| view.directory.knows(name)) {
        return Err(refused("no profile has this name, and no template matches it\n"));
    }
    let purged = match (&operation, &pk, &profile) {
        (None, None, None) => view.cache.purge_all(),
        (operation, pk, profile) => {
            view.cache.purge(operation.as_deref(), pk.as_deref(), profile.as_ref(), None)
        }
    };
    tracing::info!(purged, profile = profile.as_ref().map(ProfileName::as_str), "cache emptied");
    let of = profile.map(|profile| format!(" profile={profile}")).unwrap_or_default();
    let everywhere = if reach == Reach::Fleet { " of=fleet" } else { "" };
    let action = actor.did("purge", format!("purged={purged}{of}{everywhere}"));
    view.trail.admin(AdminAction { operation, object: pk, ..action });
    Ok(purged)
}

/// The fields of a form on the status page.
#[derive(Deserialize)]
pub(super) struct Brought {
    token: String,
    #[serde(default)]
    operation: String,
}

/// `POST /page/purge`: the form's button. Redirects to the page, which reports how many were
/// purged.
pub(super) async fn purge_form(
    State(state): State<AdminState>,
    actor: Actor,
    Form(brought): Form<Brought>,
) -> Result<Redirect, Refusal> {
    if !state.token.is(&brought.token) {
        return Err(stale_form());
    }
    let operation = Some(brought.operation).filter(|operation| !operation.is_empty());
    let what = What { operation, pk: None, profile: None };
    let purged = empty(&state.window.view(), &actor, what, Reach::Gateway)?;
    Ok(Redirect::to(&format!("/?purged={purged}#cache")))
}

/// `POST /page/verify`: starts a verification of the trail and redirects to the page.
pub(super) async fn verify_form(
    State(state): State<AdminState>,
    actor: Actor,
    Form(brought): Form<Brought>,
) -> Result<Redirect, Refusal> {
    if !state.token.is(&brought.token) {
        return Err(stale_form());
    }
    let trail = &state.window.view().trail;
    let result = if state.checks.begin(trail) { "started" } else { "running" };
    trail.admin(actor.did("verify", result));
    Ok(Redirect::to("/#trail"))
}

fn stale_form() -> Refusal {
    let text = "the page is from before the gateway's last start: load it again, and then press\n";
    (StatusCode::FORBIDDEN, text)
}

/// A call that a command is about to make.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Announced {
    credentials: String,
    version: String,
    upstream: Origin,
    request_id: String,
}

/// `POST /probe`: a command is about to try credentials with a call of its own. 204 when that is on the trail.
pub(super) async fn probe(
    State(view): State<Arc<GatewayView>>,
    actor: Actor,
    Query(call): Query<Announced>,
) -> Result<StatusCode, Refusal> {
    let Announced { credentials, version, upstream, request_id } = call;
    let of_member = ProfileName::of_member(credentials.as_bytes());
    let families = view.directory.families();
    let is_member =
        of_member.is_some_and(|name| families.iter().any(|family| family.pattern().matches(&name)));
    let set = CredentialsName::new(credentials);
    if !view.managers.contains_key(&set) && !is_member {
        return Err((StatusCode::NOT_FOUND, "there is no credential set of this name\n"));
    }
    if !is_uuid(&request_id) {
        return Err((StatusCode::BAD_REQUEST, "`request_id` is a UUID\n"));
    }
    let result = format!("announced request_id={request_id} upstream={upstream} version={version}");
    let action = AdminAction { credentials: Some(set), ..actor.did("probe", result) };
    let unwritable = (StatusCode::SERVICE_UNAVAILABLE, "the audit trail cannot be written\n");
    view.trail.admin_synced(action).await.map_err(|_| unwritable)?;
    Ok(StatusCode::NO_CONTENT)
}

/// Which credential sets to read: those of all tables, or one; or that of a profile, which is loaded.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    #[serde(alias = "set")]
    name: Option<String>,
    profile: Option<ProfileName>,
    #[serde(default)]
    accept_older: bool,
}

/// The result of reloading one credential set.
#[derive(Debug, Serialize)]
pub(super) struct Refreshed {
    name: String,
    #[serde(rename = "refreshed")]
    done: bool,
    /// Whether there is another version than before.
    changed: bool,
    /// The version in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether the source has an older version, which is used only with `accept_older`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    older: bool,
    /// When the source may be read again, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

/// `POST /credentials/refresh`: reloads every set now, or one. 200 when all could be loaded, else 502; 429
/// for a set that was reloaded a moment ago.
pub(super) async fn refresh(
    State(view): State<Arc<GatewayView>>,
    actor: Actor,
    Query(which): Query<Which>,
) -> Response {
    let older = if which.accept_older { OlderVersion::Accept } else { OlderVersion::Refuse };
    // A task of its own: a read goes on if whoever asked for it goes away, and then it is on the trail, too.
    let reads = tokio::spawn(async move {
        let mut sets = Vec::new();
        for manager in chosen(&view, &which) {
            sets.push(refresh_one(&manager, older, &actor, &view.trail).await);
        }
        sets
    });
    let Ok(sets) = reads.await else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    if sets.is_empty() {
        return (
            StatusCode::NOT_FOUND,
            "there is no credential set of this name, and no loaded profile\n",
        )
            .into_response();
    }
    let retry_after = sets.iter().filter_map(|set| set.retry_after).max();
    let failed = sets.iter().any(|set| !set.done && set.retry_after.is_none());
    let status = match (failed, retry_after) {
        (true, _) => StatusCode::BAD_GATEWAY,
        (false, Some(_)) => StatusCode::TOO_MANY_REQUESTS,
        (false, None) => StatusCode::OK,
    };
    let retry_after = retry_after.map(|seconds| [(header::RETRY_AFTER, seconds.to_string())]);
    (status, retry_after, Json(sets)).into_response()
}

/// A name stands for a credential set, or else for the set of the member with that name.
fn chosen(view: &GatewayView, which: &Which) -> Vec<CredentialManager> {
    let of_profile = |name: &ProfileName| view.directory.peek(name).map(|it| it.manager.clone());
    match (&which.profile, &which.name) {
        (Some(profile), _) => of_profile(profile).into_iter().collect(),
        (None, Some(name)) => {
            let set = view.managers.get(&CredentialsName::new(name.as_str())).cloned();
            let member = || of_profile(&ProfileName::new(name.as_str()));
            set.or_else(member).into_iter().collect()
        }
        (None, None) => view.managers.values().cloned().collect(),
    }
}

async fn refresh_one(
    manager: &CredentialManager,
    older: OlderVersion,
    actor: &Actor,
    trail: &Trail,
) -> Refreshed {
    let name = &manager.settings().name;
    let outcome = manager.refresh_for_operator(older).await;
    let mut set = Refreshed {
        name: name.to_string(),
        done: outcome.is_ok(),
        changed: matches!(outcome, Ok(RefreshOutcome::Replaced { .. })),
        version: manager.snapshot().ok().map(|lease| lease.version().to_string()),
        error: outcome.as_ref().err().map(|error| Chain(error).to_string()),
        older: false,
        retry_after: None,
    };
    let result = match &outcome {
        Ok(RefreshOutcome::Replaced { to, .. }) => format!("refreshed version={to}"),
        Ok(RefreshOutcome::Unchanged { version }) => format!("unchanged version={version}"),
        Err(NotRefreshed::Failed(error)) => {
            set.older = error.is_older_version();
            format!("failed: {}", Chain(&**error))
        }
        // Nothing was done, and a loop of it would fill the trail.
        Err(NotRefreshed::TooSoon { retry_after }) => {
            set.retry_after = Some(retry_after.as_secs() + 1);
            return set;
        }
    };
    trail.admin(AdminAction { credentials: Some(name.clone()), ..actor.did("refresh", result) });
    set
}
