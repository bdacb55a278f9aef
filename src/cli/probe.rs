//! The calls that a command makes to Pigello by itself, to try credentials and the event log.
//!
//! The one for credentials reads nobody's data: it asks for a subtenant whose UUID is all zeros. To whom Pigello lets
//! in it answers that there is none (404), and to others 401 or 403. A call is on the audit trail before it is made, as a record of its own
//! (`cause`: `check`) if no gateway writes the trail, and else as an `admin` marker of the gateway that does.
//! Without either it is not made.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use nix::unistd::geteuid;
use tokio::time;

use super::{Failure, admin};
use crate::{
    audit::{
        self, CallCause, Intent, Outcome, OwnCall, Record, Target, Trail, TrailDirectoryError,
        TrailOpenError,
    },
    body::{Body, collect_limited},
    config::Settings,
    credentials::CredentialSet,
    domain::{
        CredentialsName, LabelValue, ListenerName, OperationMatch, ProfileName, RequestId, Span,
    },
    error::{Chain, Error, Kind},
    proxy::{call::REQUEST_ID, client},
};

/// Nobody has an all-zero UUID.
pub(super) const NOBODY: &str =
    "/accounts/users/customer/subtenant/00000000-0000-0000-0000-000000000000/";

/// The trail that has each call before it is made.
pub(super) enum ProbeTrail {
    /// No gateway runs, so the command writes it.
    Own(Trail),
    /// A gateway that runs writes it.
    Gateway,
}

/// A call to try credentials, or with them.
#[derive(Clone)]
pub(super) struct Probe<'a> {
    /// The configuration, which names the trail and the gateway that may be running.
    pub(super) settings: &'a Settings,
    /// The profile that leads to the upstream.
    pub(super) profile: ProfileName,
    /// The name of the set.
    pub(super) credentials: CredentialsName,
    /// The values to try.
    pub(super) set: &'a CredentialSet,
    /// What it asks for.
    pub(super) target: &'a str,
    /// The upstream.
    pub(super) upstream: client::Settings,
    /// The time limit.
    pub(super) limit: Duration,
}

/// How Pigello judges the credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// 404: they are accepted.
    Accepted,
    /// 401 or 403.
    Refused,
    /// 5xx: it says nothing about them.
    Broken,
    /// Anything else, such as an object where there can be none.
    Odd,
}

impl Verdict {
    pub(super) fn of(status: StatusCode) -> Self {
        match status {
            StatusCode::NOT_FOUND => Self::Accepted,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Self::Refused,
            status if status.is_server_error() => Self::Broken,
            _ => Self::Odd,
        }
    }
}

/// An answer.
pub(super) struct Answered {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Nothing if it is too large, or does not come to its end.
    pub(super) body: Bytes,
}

/// Why there is no answer.
pub(super) enum ProbeError {
    /// The call was not made, because it would not be on the trail.
    NotRecorded(Failure),
    /// The call failed.
    Failed(String),
}

impl ProbeTrail {
    /// The trail of a configuration.
    pub(super) fn open(settings: &Settings) -> Result<Self, Failure> {
        let directory = &settings.audit.directory;
        if !may_write(directory) {
            let text =
                format!("the audit trail in {} belongs to another user", directory.display());
            return Err(Failure::failed(text).hint(
                "run the command as the gateway's user, or leave the call out with `--no-call`",
            ));
        }
        let settings = audit::Settings {
            configuration: Some(settings.revision.hash()),
            // A command does not look after the files.
            compress_after: None,
            retain_for: None,
            retain_bytes: None,
            ..settings.audit.clone()
        };
        match Trail::open(&settings) {
            Ok(trail) => Ok(Self::Own(trail)),
            Err(TrailOpenError::Directory(TrailDirectoryError::InUse { .. })) => Ok(Self::Gateway),
            Err(error) => Err(Failure::failed(Chain(&error).to_string())),
        }
    }

    /// Has the last records written.
    pub(super) async fn close(self) -> Result<(), ProbeError> {
        let Self::Own(trail) = self else { return Ok(()) };
        let written = tokio::task::spawn_blocking(move || {
            trail.stops_because("check");
            trail.close()
        });
        match written.await {
            Ok(Err(unwritable)) => Err(ProbeError::Failed(Chain(&unwritable).to_string())),
            Ok(Ok(_)) | Err(_) => Ok(()),
        }
    }
}

impl Probe<'_> {
    /// Makes one call, and opens the trail for it.
    pub(super) async fn make(self) -> Result<Answered, ProbeError> {
        let trail = ProbeTrail::open(self.settings).map_err(ProbeError::NotRecorded)?;
        let answer = self.make_on(&trail).await;
        trail.close().await?;
        answer
    }

    /// Makes the call, which is on that trail before.
    pub(super) async fn make_on(&self, trail: &ProbeTrail) -> Result<Answered, ProbeError> {
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = self.target.parse().unwrap_or_default();
        let value = HeaderValue::from_str(&id.to_string());
        request.headers_mut().extend(value.ok().map(|id| (REQUEST_ID, id)));
        self.set.write_to(request.headers_mut());
        self.begin(trail, time, id).await.map_err(ProbeError::NotRecorded)?;
        let (upstream, limit, began) = (self.upstream.clone(), self.limit, Instant::now());
        let result = time::timeout(limit, client::ask(upstream, request)).await;
        let mut result = result.unwrap_or_else(|_| {
            Err(Error::new(Kind::UpstreamTimeout, format!("no answer within {}", Span(limit))))
        });
        let mut body = Bytes::new();
        if let Ok(response) = &mut result {
            let rest = limit.saturating_sub(began.elapsed());
            let read = collect_limited(std::mem::take(response.body_mut()), MAX_BODY);
            body = time::timeout(rest, read).await.ok().and_then(Result::ok).unwrap_or_default();
        }
        if let ProbeTrail::Own(trail) = trail {
            trail.submit(self.record(time, id, began.elapsed(), &result));
        }
        match result {
            Ok(response) => {
                let (head, _) = response.into_parts();
                Ok(Answered { status: head.status, headers: head.headers, body })
            }
            Err(error) => Err(ProbeError::Failed(Chain(&error).to_string())),
        }
    }

    /// Puts the call on the trail.
    async fn begin(
        &self,
        trail: &ProbeTrail,
        time: SystemTime,
        id: RequestId,
    ) -> Result<(), Failure> {
        match trail {
            ProbeTrail::Own(trail) => {
                let unwritable = |error| Failure::failed(Chain(&error).to_string());
                trail.intent(self.intent(time, id)).await.map_err(unwritable)
            }
            ProbeTrail::Gateway => self.tell(id).await,
        }
    }

    /// Has the running gateway put the call on its trail.
    async fn tell(&self, id: RequestId) -> Result<(), Failure> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("credentials", self.credentials.as_str())
            .append_pair("version", self.set.version().as_str())
            .append_pair("upstream", &self.upstream.origin.to_string())
            .append_pair("request_id", &id.to_string())
            .finish();
        admin::announce(self.settings, &format!("/probe?{query}")).await
    }

    fn operation(&self) -> Option<LabelValue> {
        let path = self.target.split('?').next().unwrap_or_default();
        match self.settings.catalog.find(&Method::GET, path) {
            OperationMatch::Found(operation) => Some(operation.label().clone()),
            OperationMatch::OtherMethods(_) | OperationMatch::Unknown => None,
        }
    }

    fn intent(&self, time: SystemTime, request_id: RequestId) -> Intent {
        Intent {
            time,
            request_id,
            caller: None,
            profile: self.profile.clone(),
            operation: self.operation(),
            method: Method::GET,
            target: self.target.parse().ok(),
        }
    }

    fn record(
        &self,
        time: SystemTime,
        request_id: RequestId,
        took: Duration,
        result: &Result<http::Response<Body>, Error>,
    ) -> Record {
        let target: Option<Target> = self.target.parse().ok();
        let error = result.as_ref().err().map(Error::kind);
        Record {
            time,
            request_id,
            trace_id: 0,
            own: Some(OwnCall { cause: CallCause::Check, caused_by: None }),
            peer: None,
            listener: ListenerName::new("-"),
            caller: None,
            caller_proof: None,
            refused_certificate: None,
            policy: self.settings.revision.policy_id(),
            profile: Some(self.profile.clone()),
            operation: self.operation(),
            method: Method::GET,
            target,
            status: None,
            outcome: if error.is_some() { Outcome::Failed } else { Outcome::Forwarded },
            cache: None,
            source_request_id: None,
            source_chain: None,
            upstream_status: result.as_ref().ok().map(http::Response::status),
            upstream_tls: None,
            attempts: 1,
            retries: Vec::new(),
            credential_version: Some(Arc::clone(self.set.version().shared())),
            duration: took,
            queue_time: Duration::ZERO,
            upstream_time: Some(took),
            request_bytes: 0,
            response_bytes: 0,
            error: error.map(Kind::label),
            would_refuse: None,
            masked_fields: 0,
            list_ids: None,
        }
    }
}

/// A page of the event log is smaller.
const MAX_BODY: usize = 4 * 1024 * 1024;

/// Whether files that this process puts into the trail belong to the user who writes it. Root may write
/// anywhere, and the gateway could not continue a trail that root has begun.
fn may_write(directory: &Path) -> bool {
    let found = match (fs::metadata(directory), directory.parent()) {
        (Err(error), Some(parent)) if error.kind() == io::ErrorKind::NotFound => {
            fs::metadata(parent)
        }
        (found, _) => found,
    };
    found.is_ok_and(|found| found.uid() == geteuid().as_raw())
}

/// The profile whose credentials a set is, or one of the set's own name.
pub(super) fn profile_of(settings: &Settings, set: &str) -> ProfileName {
    let mut profiles = settings.profiles.iter();
    let found = profiles.find(|(_, profile)| profile.credentials.as_str() == set);
    found.map_or_else(|| ProfileName::new(set), |(name, _)| name.clone())
}
