//! Which gateway and which chain exported lines are of: what a collector of many gateways tells them apart by.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{
    audit::{
        line,
        lines::{Lines, TrailReadError},
        read,
    },
    outbound::otlp::{AnyValue, KeyValue},
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

    /// The source of the line with that number.
    pub(super) fn of(directory: &Path, seq: u64) -> Result<Self, TrailReadError> {
        let files = read::files(directory)?;
        for file in files.iter().rev().filter(|file| file.first_seq <= seq) {
            let (mut lines, mut source) = (Lines::open(file, 0)?, None);
            while let Some(text) = lines.next()? {
                if line::line_head(text).is_some_and(|head| head.seq > seq) {
                    break;
                }
                source = Self::begins_at(text).or(source);
            }
            if let Some(source) = source {
                return Ok(source);
            }
        }
        Ok(Self::default())
    }

    /// The attributes of the resource.
    pub(super) fn attributes(&self) -> Vec<KeyValue> {
        let named = [("service.instance.id", &self.instance), ("pigello.audit.chain", &self.chain)];
        named
            .into_iter()
            .filter_map(|(name, value)| {
                Some(KeyValue::new(name, AnyValue::text(value.as_deref()?)))
            })
            .collect()
    }
}
