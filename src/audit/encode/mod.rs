//! Turns records and markers into lines, and links each to the one before.
//!
//! The fields and their meaning are in the [module documentation](super).

use std::{borrow::Cow, time::SystemTime};

use super::{
    chain::{Hash, Tip},
    checkpoint::Checkpoint,
    json::{Clock, Object, key},
    keys::{ObjectKey, SigningKey},
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
    /// Names objects, where they are not to be named by their UUID.
    objects: Option<ObjectKey>,
    clock: Clock,
}

impl Encoder {
    /// Goes on where the chain stands.
    pub(super) fn new(tip: Tip, objects: Option<ObjectKey>) -> Self {
        Self { tip, buffer: Vec::new(), objects, clock: Clock::default() }
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
        let (path, object) = self.named(path.as_deref());
        let keys = record.target.as_ref().map(target::query_keys).unwrap_or_default();
        self.line("call", record.time, |line| {
            line.word(key!("request_id"), record.request_id.encode(&mut id))
                .hex(key!("trace_id"), &record.trace_id.to_be_bytes())
                .text(key!("listener"), record.listener.as_str())
                .text_or_null(key!("caller"), record.caller.as_deref());
            match &record.caller_proof {
                Some(proof) => line.display(key!("caller_proof"), proof),
                None => line.text_or_null(key!("caller_proof"), None),
            };
            line.text(key!("profile"), record.profile.as_str())
                .text_or_null(key!("operation"), record.operation.as_deref())
                .text(key!("method"), &target::bounded(record.method.as_str(), MAX_METHOD))
                .text_or_null(key!("path"), path.as_deref())
                .text_or_null(key!("object_id"), object.as_deref())
                .list(key!("query_keys"), keys)
                .number_or_null(key!("status"), record.status.map(|status| status.as_u16()))
                .word(key!("outcome"), record.outcome.label())
                .word_or_null(key!("cache"), record.cache.map(super::CacheResult::label))
                .word_or_null(
                    key!("source_request_id"),
                    record.source_request_id.map(|id| id.encode(&mut source) as &str),
                )
                .number_or_null(
                    key!("upstream_status"),
                    record.upstream_status.map(|s| s.as_u16()),
                );
            match record.upstream_tls.as_deref() {
                Some(tls) => line
                    .word(key!("tls_version"), tls.version)
                    .hex(key!("tls_certificate"), &tls.certificate),
                None => line
                    .word_or_null(key!("tls_version"), None)
                    .word_or_null(key!("tls_certificate"), None),
            };
            line.number(key!("attempts"), record.attempts)
                .list(key!("retries"), record.retries.iter().copied())
                .text_or_null(key!("credential_version"), record.credential_version.as_deref())
                .micros(key!("duration_us"), Some(record.duration))
                .micros(key!("upstream_us"), record.upstream_time)
                .number(key!("request_bytes"), record.request_bytes)
                .number(key!("response_bytes"), record.response_bytes)
                .word_or_null(key!("error"), record.error)
                .word_or_null(key!("would_refuse"), record.would_refuse)
                .number(key!("masked_fields"), record.masked_fields);
        });
    }

    /// A call that is about to use a credential.
    pub(super) fn intent(&mut self, intent: &Intent) {
        let mut id = [0; 36];
        let path = intent.target.as_ref().map(target::path);
        let (path, object) = self.named(path.as_deref());
        self.line("intent", intent.time, |line| {
            line.word(key!("request_id"), intent.request_id.encode(&mut id))
                .text_or_null(key!("caller"), intent.caller.as_deref())
                .text(key!("profile"), intent.profile.as_str())
                .text_or_null(key!("operation"), intent.operation.as_deref())
                .text(key!("method"), &target::bounded(intent.method.as_str(), MAX_METHOD))
                .text_or_null(key!("path"), path.as_deref())
                .text_or_null(key!("object_id"), object.as_deref());
        });
    }

    /// A gateway took the trail into use.
    pub(super) fn start(&mut self, now: SystemTime) {
        self.line("start", now, |line| {
            line.text(key!("gateway"), env!("CARGO_PKG_VERSION"))
                .number(key!("pid"), std::process::id());
        });
    }

    /// The gateway closed the trail in good order.
    pub(super) fn stop(&mut self, now: SystemTime) {
        self.line("stop", now, |_| {});
    }

    /// Records that found no room while the trail could not be written.
    pub(super) fn gap(&mut self, now: SystemTime, lost: u64) {
        self.line("gap", now, |line| {
            line.number(key!("lost"), lost);
        });
    }

    /// A last line that was never finished, taken out of the file.
    pub(super) fn torn(&mut self, now: SystemTime, fragment: &[u8]) {
        self.line("torn", now, |line| {
            let text = String::from_utf8_lossy(fragment);
            line.number(key!("bytes"), fragment.len())
                .hex(key!("sha256"), &Hash::of(fragment).0)
                .text(key!("fragment"), &target::bounded(&text, MAX_FRAGMENT));
        });
    }

    /// Lines at the end that do not belong to the chain, moved to a file of their own.
    pub(super) fn damaged(&mut self, now: SystemTime, bytes: u64, sha256: Hash, file: &str) {
        self.line("damaged", now, |line| {
            line.number(key!("bytes"), bytes)
                .hex(key!("sha256"), &sha256.0)
                .text(key!("file"), file);
        });
    }

    /// The file was taken away or replaced while it was written to, and has been put back.
    pub(super) fn restored(&mut self, now: SystemTime, file: &str) {
        self.line("restored", now, |line| {
            line.text(key!("file"), file);
        });
    }

    /// The last checkpoint says that the trail was longer than it was found.
    pub(super) fn cut(&mut self, now: SystemTime, to: u64) {
        let from = self.tip.seq + 1;
        self.line("cut", now, |line| {
            line.number(key!("from"), from).number(key!("to"), to);
        });
    }

    /// A call of a process that was cut off: it had a credential, and nobody knows what became of it.
    pub(super) fn unknown(&mut self, now: SystemTime, request_id: &str) {
        self.line("unknown", now, |line| {
            line.text(key!("request_id"), request_id);
        });
    }

    /// Old files were deleted, as the settings ask.
    pub(super) fn retention(&mut self, now: SystemTime, removal: &Removal) {
        self.line("retention", now, |line| {
            line.number(key!("from"), removal.from)
                .number(key!("to"), removal.to)
                .hex(key!("last_hash"), &removal.last_hash.0);
        });
    }

    /// A signed checkpoint over everything before it.
    pub(super) fn checkpoint(&mut self, now: SystemTime, key: &SigningKey) -> Checkpoint {
        let time = super::json::time_text(now);
        let made = Checkpoint::sign(key, self.tip.seq + 1, time, self.tip.hash);
        self.line("checkpoint", now, |line| {
            line.text(key!("key"), &made.key).text(key!("signature"), &made.signature);
        });
        made
    }

    /// The path as it is written down, and the object that it is about.
    fn named<'p>(&self, path: Option<&'p str>) -> (Option<Cow<'p, str>>, Option<Cow<'p, str>>) {
        let Some(path) = path else { return (None, None) };
        let object = target::object_id(path);
        match &self.objects {
            None => (Some(Cow::Borrowed(path)), object.map(Cow::Borrowed)),
            Some(key) => {
                let object = object.map(|object| Cow::Owned(key.name(object)));
                (Some(target::rename_objects(Cow::Borrowed(path), key)), object)
            }
        }
    }

    fn line(&mut self, kind: &str, time: SystemTime, fields: impl FnOnce(&mut Object<'_>)) {
        let start = self.buffer.len();
        let mut object = Object::begin(&mut self.buffer, kind);
        object.number(key!("schema"), SCHEMA).number(key!("seq"), self.tip.seq + 1).time(
            key!("time"),
            time,
            &mut self.clock,
        );
        fields(&mut object);
        self.tip.seal(&mut self.buffer, start);
    }
}

/// Files that the rules of retention delete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// The first line's number.
    pub(super) from: u64,
    /// The last line's number.
    pub(super) to: u64,
    /// The last line's hash, which the first line that stays follows from.
    pub(super) last_hash: Hash,
}

/// A batch at a hundred thousand calls a second.
const KEPT_BUFFER: usize = 1 << 20;
/// The longest fragment that is written down, in bytes: more than the longest line.
const MAX_FRAGMENT: usize = 16 * 1024;

#[cfg(test)]
mod tests;
