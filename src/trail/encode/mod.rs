//! Turns records and markers into lines, and links each to the one before.
//!
//! The fields and their meaning are in the [module documentation](super).

use std::time::SystemTime;

use super::{
    chain::{Hash, Tip},
    json::Object,
    record::{Intent, Record},
    target,
};

/// The version of the line format. It is raised when a field changes its meaning or goes away, not
/// when one is added.
pub const SCHEMA: u32 = 1;

/// The longest method that is written down, in bytes; the longest registered one has 17.
const MAX_METHOD: usize = 32;

/// Encodes lines into a buffer, each sealed with the chain.
#[derive(Debug)]
pub(super) struct Encoder {
    tip: Tip,
    buffer: Vec<u8>,
}

impl Encoder {
    /// Goes on where the chain stands.
    pub(super) fn new(tip: Tip) -> Self {
        Self { tip, buffer: Vec::new() }
    }

    /// Where the chain stands.
    pub(super) fn tip(&self) -> Tip {
        self.tip
    }

    /// The lines that are not taken yet.
    pub(super) fn lines(&self) -> &[u8] {
        &self.buffer
    }

    /// Forgets the lines, because they are written.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        // One bad minute should not hold its memory for ever.
        self.buffer.shrink_to(KEPT_BUFFER);
    }

    /// One call.
    pub(super) fn call(&mut self, record: &Record) {
        let mut id = [0; 36];
        let mut source = [0; 36];
        let path = record.target.as_ref().map(target::path);
        let keys = record.target.as_ref().map(target::query_keys).unwrap_or_default();
        self.line("call", record.time, |line| {
            line.text("request_id", record.request_id.encode(&mut id))
                .hex("trace_id", &record.trace_id.to_be_bytes())
                .text("listener", record.listener.as_str())
                .text_or_null("caller", record.caller.as_deref());
            match &record.caller_proof {
                Some(proof) => line.display("caller_proof", proof),
                None => line.text_or_null("caller_proof", None),
            };
            line.text("profile", record.profile.as_str())
                .text_or_null("operation", record.operation.as_deref())
                .text("method", &target::bounded(record.method.as_str(), MAX_METHOD))
                .text_or_null("path", path.as_deref())
                .text_or_null("object_id", path.as_deref().and_then(target::object_id))
                .list("query_keys", keys)
                .number_or_null("status", record.status.map(|status| status.as_u16()))
                .text("outcome", record.outcome.label())
                .text_or_null("cache", record.cache.map(super::CacheResult::label))
                .text_or_null(
                    "source_request_id",
                    record.source_request_id.map(|id| id.encode(&mut source) as &str),
                )
                .number_or_null("upstream_status", record.upstream_status.map(|s| s.as_u16()));
            match record.upstream_tls.as_deref() {
                Some(tls) => {
                    line.text("tls_version", tls.version).hex("tls_certificate", &tls.certificate)
                }
                None => {
                    line.text_or_null("tls_version", None).text_or_null("tls_certificate", None)
                }
            };
            line.number("attempts", record.attempts)
                .list("retries", record.retries.iter().copied())
                .text_or_null("credential_version", record.credential_version.as_deref())
                .micros("duration_us", Some(record.duration))
                .micros("upstream_us", record.upstream_time)
                .number("request_bytes", record.request_bytes)
                .number("response_bytes", record.response_bytes)
                .text_or_null("error", record.error);
        });
    }

    /// A call that is about to use a credential.
    pub(super) fn intent(&mut self, intent: &Intent) {
        let mut id = [0; 36];
        let path = intent.target.as_ref().map(target::path);
        self.line("intent", intent.time, |line| {
            line.text("request_id", intent.request_id.encode(&mut id))
                .text_or_null("caller", intent.caller.as_deref())
                .text("profile", intent.profile.as_str())
                .text_or_null("operation", intent.operation.as_deref())
                .text("method", &target::bounded(intent.method.as_str(), MAX_METHOD))
                .text_or_null("path", path.as_deref())
                .text_or_null("object_id", path.as_deref().and_then(target::object_id));
        });
    }

    /// A gateway took the trail into use.
    pub(super) fn start(&mut self, now: SystemTime) {
        self.line("start", now, |line| {
            line.text("gateway", env!("CARGO_PKG_VERSION")).number("pid", std::process::id());
        });
    }

    /// The gateway closed the trail in good order.
    pub(super) fn stop(&mut self, now: SystemTime) {
        self.line("stop", now, |_| {});
    }

    /// Records that found no room while the trail could not be written.
    pub(super) fn gap(&mut self, now: SystemTime, lost: u64) {
        self.line("gap", now, |line| {
            line.number("lost", lost);
        });
    }

    /// A last line that was never finished, taken out of the file.
    pub(super) fn torn(&mut self, now: SystemTime, fragment: &[u8]) {
        self.line("torn", now, |line| {
            let text = String::from_utf8_lossy(fragment);
            line.number("bytes", fragment.len())
                .hex("sha256", &Hash::of(fragment).0)
                .text("fragment", &target::bounded(&text, MAX_FRAGMENT));
        });
    }

    /// Lines at the end that do not belong to the chain, moved to a file of their own.
    pub(super) fn damaged(&mut self, now: SystemTime, bytes: u64, sha256: Hash, file: &str) {
        self.line("damaged", now, |line| {
            line.number("bytes", bytes).hex("sha256", &sha256.0).text("file", file);
        });
    }

    fn line(&mut self, kind: &str, time: SystemTime, fields: impl FnOnce(&mut Object<'_>)) {
        let start = self.buffer.len();
        let mut object = Object::begin(&mut self.buffer, kind);
        object.number("schema", SCHEMA).number("seq", self.tip.seq + 1).time("time", time);
        fields(&mut object);
        self.tip.seal(&mut self.buffer, start);
    }
}

/// A batch at a hundred thousand calls a second.
const KEPT_BUFFER: usize = 1 << 20;
/// The longest fragment that is written down, in bytes: more than the longest line.
const MAX_FRAGMENT: usize = 16 * 1024;

#[cfg(test)]
mod tests;
