//! What the records of one listener have in common.

use std::{sync::Arc, time::SystemTime};

use http::Method;

use crate::{
    audit::Trail,
    domain::{ListenerName, ProblemBase, ProfileName, RequestId, TraceContext},
    error::Kind,
    proxy::call::{CallContext, CallEnd},
    telemetry::{Metrics, Tracer},
};

/// The common part of one listener's records, and where they go.
#[derive(Clone, Debug)]
pub struct ListenerContext {
    /// The listener's name.
    pub listener: ListenerName,
    /// The profile of its calls.
    pub profile: ProfileName,
    /// The beginning of each problem type.
    pub problem_base: ProblemBase,
    /// The trail.
    pub trail: Trail,
    /// Takes the spans of traced calls.
    pub tracer: Tracer,
    /// The metrics, which count the same records.
    pub metrics: Arc<Metrics>,
}

impl ListenerContext {
    /// Records a connection that was refused before it had a request.
    pub fn refused(&self, kind: Kind) {
        let time = SystemTime::now();
        let id = RequestId::at(time);
        let context =
            CallContext::begin(time, id, TraceContext::continue_or_begin(None, id), false);
        context.note(|facts| facts.error = Some(kind));
        let record = context.close(CallEnd {
            listener: self.listener.clone(),
            profile: self.profile.clone(),
            // There is no request and so no method.
            method: Method::from_bytes(b"-").unwrap_or_default(),
            target: None,
            status: None,
            response_bytes: 0,
        });
        self.metrics.observe(&record);
        self.trail.submit(record);
    }
}
