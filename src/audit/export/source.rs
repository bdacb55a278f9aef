//! Which gateway and which chain exported lines are of: what a collector of many gateways tells them apart by.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    audit::line,
    outbound::otlp::{attribute, text},
};

/// Where lines come from, as the `start` before them says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LineSource {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    chain: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    instance: Option<String>,
}

impl LineSource {
    /// The source of a line and those after it, if the line is a `start`.
    pub(super) fn begins_at(text: &[u8]) -> Option<Self> {
        let is_start = line::line_head(text).is_some_and(|head| head.kind == "start");
        is_start.then(|| {
            let marker = line::marker(text);
            Self { chain: marker.chain, instance: marker.instance }
        })
    }

    /// The attributes of the resource.
    pub(super) fn attributes(&self) -> Vec<Value> {
        let named = [("service.instance.id", &self.instance), ("pigello.audit.chain", &self.chain)];
        named
            .into_iter()
            .filter_map(|(name, value)| Some(attribute(name, &text(value.as_deref()?))))
            .collect()
    }
}
