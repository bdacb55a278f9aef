//! `POST /reload`: has the process read its configuration files again, and answers with what came of it.
//!
//! The files are read where the process was started from them (`cli::serve`), so a request becomes a
//! [`ReloadOrder`] in a queue. Orders are carried out one after the other, between those of signals and of
//! changed files, and each has a result of its own.

use std::{fmt, sync::Arc, time::Duration};

use axum::{
    Json,
    extract::{Query, State, rejection::QueryRejection},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::sync::{
    mpsc::{self, error::TrySendError},
    oneshot,
};

use super::{GatewayView, access::Actor};
use crate::audit::ChangedKey;

/// A reload that somebody asked for.
#[derive(Debug)]
pub struct ReloadOrder {
    /// Who asked, as the audit trail says it.
    pub who: String,
    /// Whether the files are checked only.
    pub dry_run: bool,
    /// Takes the result. Whoever asked may be gone.
    pub done: oneshot::Sender<Result<Reloaded, NotReloaded>>,
}

/// The configuration is in force, or could be.
#[derive(Debug, Serialize)]
pub struct Reloaded {
    /// The keys that changed, as the marker `configuration` names them.
    pub changes: Vec<ChangedKey>,
    /// What is allowed and looks like a mistake.
    pub warnings: Vec<Mistake>,
}

/// Why the configuration that was in force still is.
#[derive(Debug)]
pub enum NotReloaded {
    /// The files were refused, for each of these mistakes.
    Refused(Vec<Mistake>),
    /// The gateway is stopping.
    Ending,
}

/// A mistake in the configuration. It never quotes a value.
#[derive(Debug, Serialize)]
pub struct Mistake {
    /// File and line, key and reason, as `check` prints them.
    pub message: String,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  hint: {hint}"),
            None => Ok(()),
        }
    }
}

/// The end of the queue that takes orders.
pub type ReloadOrders = mpsc::Sender<ReloadOrder>;

/// A queue of orders. It is short: what waits in it reads the same files.
pub fn reload_orders() -> (ReloadOrders, mpsc::Receiver<ReloadOrder>) {
    mpsc::channel(MOST_WAITING)
}

/// The options of `POST /reload`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct How {
    #[serde(default)]
    dry_run: bool,
}

/// `POST /reload`: 200 with the changes, 422 with every mistake, 503 if no reload can be made now.
pub(super) async fn reload(
    State(view): State<Arc<GatewayView>>,
    actor: Actor,
    how: Result<Query<How>, QueryRejection>,
) -> Response {
    let dry_run = match how {
        Ok(Query(How { dry_run })) => dry_run,
        Err(refusal) => {
            let title = "The query is not understood";
            return problem(StatusCode::BAD_REQUEST, title, &refusal.body_text(), &[]);
        }
    };
    let Some(orders) = view.reloads.clone() else {
        return unavailable("this gateway was not started from configuration files", None);
    };
    let (done, result) = oneshot::channel();
    match orders.try_send(ReloadOrder { who: actor.to_string(), dry_run, done }) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => {
            return unavailable("other reloads are waiting already", Some("1"));
        }
        Err(TrySendError::Closed(_)) => return unavailable(ENDING, None),
    }
    // A task of its own: the reload goes on if whoever asked for it goes away, and then it is on the trail, too.
    let carried_out = tokio::spawn(async move {
        let result = result.await.unwrap_or(Err(NotReloaded::Ending));
        if let Some(words) = in_words(&result, dry_run) {
            view.trail.admin(actor.did("reload", words));
        }
        result
    });
    match tokio::time::timeout(LONGEST_WAIT, carried_out).await {
        Ok(Ok(result)) => answer(result, dry_run),
        Ok(Err(_)) => StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        Err(_) => {
            let detail = "the reload is still under way; `/status` says what comes of it";
            problem(StatusCode::GATEWAY_TIMEOUT, "The reload takes long", detail, &[])
        }
    }
}

/// What came of it, for the trail; `None` if nothing did.
fn in_words(result: &Result<Reloaded, NotReloaded>, dry_run: bool) -> Option<String> {
    let what = match result {
        Ok(Reloaded { changes, .. }) => format!("changed_keys={}", changes.len()),
        Err(NotReloaded::Refused(mistakes)) => format!("mistakes={}", mistakes.len()),
        Err(NotReloaded::Ending) => return None,
    };
    Some(match (result.is_ok(), dry_run) {
        (true, false) => format!("reloaded {what}"),
        (false, false) => format!("refused {what}"),
        (true, true) => format!("dry run: accepted {what}"),
        (false, true) => format!("dry run: refused {what}"),
    })
}

fn answer(result: Result<Reloaded, NotReloaded>, dry_run: bool) -> Response {
    match result {
        Ok(Reloaded { changes, warnings }) => {
            let body = json!({ "dry_run": dry_run, "changes": changes, "warnings": warnings });
            Json(body).into_response()
        }
        Err(NotReloaded::Refused(mistakes)) => {
            let title = "The configuration is refused";
            let detail = "the configuration before it stays in force";
            problem(StatusCode::UNPROCESSABLE_ENTITY, title, detail, &mistakes)
        }
        Err(NotReloaded::Ending) => unavailable(ENDING, None),
    }
}

fn unavailable(detail: &str, retry_after: Option<&'static str>) -> Response {
    let title = "No reload can be made now";
    let answer = problem(StatusCode::SERVICE_UNAVAILABLE, title, detail, &[]);
    (retry_after.map(|seconds| [(header::RETRY_AFTER, seconds)]), answer).into_response()
}

/// A problem document (RFC 9457) with the mistakes as an extension.
fn problem(status: StatusCode, title: &str, detail: &str, mistakes: &[Mistake]) -> Response {
    let body = json!({
        "type": "about:blank",
        "title": title,
        "status": status.as_u16(),
        "detail": detail,
        "mistakes": mistakes,
    });
    let media_type = [(header::CONTENT_TYPE, "application/problem+json")];
    (status, media_type, body.to_string()).into_response()
}

const ENDING: &str = "the gateway is stopping";
/// Orders in the queue, besides the one that is carried out.
const MOST_WAITING: usize = 4;
/// How long a request waits for its result; commands wait a little longer.
const LONGEST_WAIT: Duration = Duration::from_secs(50);
