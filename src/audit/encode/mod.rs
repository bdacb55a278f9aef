//! Encodes records and markers as lines, and links the lines into the chain.
//!
//! [`super`] documents the fields.

use std::{borrow::Cow, time::SystemTime};

use http::StatusCode;
use uuid::Uuid;

use super::{
    chain::{Hash, Tip},
    checkpoint::{Checkpoint, CheckpointPlan, Publication},
    clock::ClockChange,
    entry::Entry,
    json::{JsonObject, TimestampWriter, key},
    keys::{KeyError, ObjectKey, SigningKey},
    record::{
        AdminAction, CacheResult, ConfigurationChange, CredentialsChange, Intent, ListObjects,
        NoticesTaken, Record, RefusedCertificate,
    },
    settings::{ListIds, ObjectIds, Settings},
    target,
    tlog::TreeLog,
};
use crate::{
    build_info::COMMIT,
    domain::{CredentialsName, ProfileName},
};

/// The version of the line format. It rises when a field changes its meaning or is removed, not when
/// one is added.
pub const SCHEMA: u32 = 1;

/// The fields of a call in their order, for those who show all of them.
pub const CALL_FIELDS: [&str; 45] = [
    "kind",
    "schema",
    "seq",
    "time",
    "request_id",
    "trace_id",
    "cause",
    "caused_by",
    "listener",
    "caller",
    "peer",
    "caller_proof",
    "refused_certificate",
    "policy",
    "profile",
    "operation",
    "method",
    "path",
    "object_id",
    "path_bytes_omitted",
    "query_keys",
    "query_keys_omitted",
    "status",
    "outcome",
    "cache",
    "source_request_id",
    "source_chain",
    "upstream_status",
    "tls_version",
    "tls_certificate",
    "attempts",
    "retries",
    "credential_version",
    "duration_us",
    "upstream_us",
    "queue_us",
    "request_bytes",
    "response_bytes",
    "error",
    "would_refuse",
    "masked_fields",
    "list_ids",
    "list_ids_complete",
    "prev",
    "hash",
];

/// The limit for the words of an action, in bytes.
const MAX_WORDS: usize = 256;
/// The limit for a value of the configuration, in bytes.
const MAX_VALUE: usize = 1024;
/// The limit for the changed keys of a marker.
const MAX_CHANGES: usize = 64;
/// The limit for a method, in bytes; the longest registered one has 17.
const MAX_METHOD: usize = 32;

/// How lines name objects: by their UUID, or by what a key hashes it to.
#[derive(Debug, Default)]
pub(super) struct ObjectNaming {
    /// Hashes the objects of paths, with [`ObjectIds::Hashed`].
    objects: Option<ObjectKey>,
    /// Hashes the objects of lists, with [`ListIds::Hashed`].
    lists: Option<ObjectKey>,
}

impl ObjectNaming {
    /// As the settings ask. Makes the key if there is none.
    pub(super) fn of(settings: &Settings) -> Result<Self, KeyError> {
        let key = || ObjectKey::open(&settings.object_key_path());
        Ok(Self {
            objects: (settings.object_ids == ObjectIds::Hashed).then(key).transpose()?,
            lists: (settings.list_ids == ListIds::Hashed).then(key).transpose()?,
        })
    }

    fn list(&self, list: &ListObjects) -> Vec<String> {
        let names = list.ids.iter().map(Uuid::to_string);
        match &self.lists {
            None => names.collect(),
            Some(key) => names.map(|id| key.name(&id)).collect(),
        }
    }
}

/// Encodes lines into a buffer and adds the chain fields.
#[derive(Debug)]
pub(super) struct Encoder {
    tip: Tip,
    buffer: Vec<u8>,
    /// The hashes of the lines since the last [`take_hashes`](Self::take_hashes).
    hashes: Vec<Hash>,
    naming: ObjectNaming,
    /// The `seq` of the last checkpoint that this gateway knows.
    last_checkpoint: Option<u64>,
    times: TimestampWriter,
    /// The hash of the configuration in force.
    configuration: Option<[u8; 32]>,
}

impl Encoder {
    /// Continues the chain after `tip`.
    pub(super) fn new(tip: Tip, naming: ObjectNaming) -> Self {
        let (buffer, hashes) = (Vec::new(), Vec::new());
        let times = TimestampWriter::default();
        Self { tip, buffer, hashes, naming, last_checkpoint: None, times, configuration: None }
    }

    /// The end of the chain.
    pub(super) fn tip(&self) -> Tip {
        self.tip
    }

    /// The lines since the last [`clear`](Self::clear).
    pub(super) fn lines(&self) -> &[u8] {
        &self.buffer
    }

    /// The hashes of the lines, in order, each one once.
    pub(super) fn take_hashes(&mut self) -> impl Iterator<Item = Hash> {
        self.hashes.drain(..)
    }

    /// Drops the lines once they are written.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
        // A backlog makes the buffer large; this releases its memory.
        self.buffer.shrink_to(KEPT_BUFFER);
    }

    /// A finished call.
    pub(super) fn call(&mut self, record: &Record) {
        let mut id = [0; 36];
        let mut source = [0; 36];
        let mut cause = [0; 36];
        let path = record.target.as_ref().map(target::path);
        let (path, object) = self.object_names(path.as_deref());
        let keys = record.target.as_ref().map(target::query_keys).unwrap_or_default();
        let list = record.list_ids.as_deref();
        let list = list.map(|list| (self.naming.list(list), list.is_complete));
        let path_omitted = record.target.as_ref().map_or(0, target::path_bytes_omitted);
        self.line("call", record.time, |line| {
            line.word(key!("request_id"), record.request_id.encode(&mut id))
                .hex(key!("trace_id"), &record.trace_id.to_be_bytes())
                .word_or_null(key!("cause"), record.own.map(|own| own.cause.label()))
                .word_or_null(
                    key!("caused_by"),
                    record
                        .own
                        .and_then(|own| own.caused_by)
                        .map(|id| id.encode(&mut cause) as &str),
                )
                .text(key!("listener"), record.listener.as_str())
                .text_or_null(key!("caller"), record.caller.as_deref());
            match &record.peer {
                Some(peer) => line.display(key!("peer"), peer),
                None => line.text_or_null(key!("peer"), None),
            };
            match &record.caller_proof {
                Some(proof) => line.display(key!("caller_proof"), proof),
                None => line.text_or_null(key!("caller_proof"), None),
            };
            refused_certificate(line, record.refused_certificate.as_deref());
            line.hex(key!("policy"), &record.policy.0)
                .text_or_null(key!("profile"), record.profile.as_ref().map(ProfileName::as_str))
                .text_or_null(key!("operation"), record.operation.as_deref())
                .text(key!("method"), &target::bounded(record.method.as_str(), MAX_METHOD))
                .text_or_null(key!("path"), path.as_deref())
                .text_or_null(key!("object_id"), object.as_deref())
                .number(key!("path_bytes_omitted"), path_omitted)
                .list(key!("query_keys"), keys.names)
                .number(key!("query_keys_omitted"), keys.omitted)
                .number_or_null(key!("status"), record.status.map(|status| status.as_u16()))
                .word(key!("outcome"), record.outcome.label())
                .word_or_null(key!("cache"), record.cache.map(CacheResult::label))
                .word_or_null(
                    key!("source_request_id"),
                    record.source_request_id.map(|id| id.encode(&mut source) as &str),
                );
            if let Some(chain) = &record.source_chain {
                line.text(key!("source_chain"), chain);
            }
            line.number_or_null(
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
                .micros(key!("queue_us"), Some(record.queue_time))
                .number(key!("request_bytes"), record.request_bytes)
                .number(key!("response_bytes"), record.response_bytes)
                .word_or_null(key!("error"), record.error)
                .word_or_null(key!("would_refuse"), record.would_refuse)
                .number(key!("masked_fields"), record.masked_fields);
            if let Some((ids, is_complete)) = &list {
                line.list(key!("list_ids"), ids.iter().map(String::as_str))
                    .bool(key!("list_ids_complete"), *is_complete);
            }
        });
    }

    /// A call that is about to use a credential.
    pub(super) fn intent(&mut self, intent: &Intent) {
        let mut id = [0; 36];
        let path = intent.target.as_ref().map(target::path);
        let (path, object) = self.object_names(path.as_deref());
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

    /// An operator did something over the admin listener.
    pub(super) fn admin(&mut self, action: &AdminAction) {
        let object = action.object.as_deref().map(|object| match &self.naming.objects {
            None => Cow::Borrowed(object),
            Some(key) => Cow::Owned(key.name(object)),
        });
        self.line("admin", action.time, |line| {
            line.word(key!("action"), action.action)
                .text(key!("who"), &target::bounded(&action.who, MAX_WORDS))
                .text_or_null(key!("operation"), action.operation.as_deref())
                .text_or_null(key!("object_id"), object.as_deref())
                .text_or_null(
                    key!("credentials"),
                    action.credentials.as_ref().map(CredentialsName::as_str),
                )
                .text(key!("result"), &target::bounded(&action.result, MAX_WORDS));
        });
    }

    /// Another configuration came into force, or was refused.
    pub(super) fn configuration(&mut self, change: &ConfigurationChange) {
        self.configuration = Some(change.hash);
        let (shown, omitted) = change.changes.split_at(change.changes.len().min(MAX_CHANGES));
        let words = |text: &Option<String>| {
            text.as_ref().map(|text| target::bounded(text, MAX_VALUE).into_owned())
        };
        self.line("configuration", change.time, |line| {
            line.word(key!("cause"), change.cause)
                .text_or_null(key!("who"), words(&change.who).as_deref())
                .word(key!("result"), if change.refused.is_some() { "refused" } else { "applied" })
                .text_or_null(key!("reason"), words(&change.refused).as_deref())
                .hex(key!("policy"), change.hash.first_chunk::<8>().unwrap_or(&[0; 8]))
                .hex(key!("configuration"), &change.hash)
                .hex_or_null(key!("previous"), change.previous.as_ref().map(<[u8; 32]>::as_slice))
                .objects(
                    key!("changes"),
                    shown,
                    |change| ("key", target::cut(&change.key, MAX_VALUE)),
                    |line, change| {
                        line.text_or_null(key!("old"), words(&change.old).as_deref())
                            .text_or_null(key!("new"), words(&change.new).as_deref());
                    },
                )
                .number(key!("changes_omitted"), omitted.len());
        });
    }

    /// Calls use another version of a credential set, or none.
    pub(super) fn credentials(&mut self, change: &CredentialsChange) {
        self.line("credentials", change.time, |line| {
            line.text(key!("credentials"), change.credentials.as_str())
                .text_or_null(key!("from"), change.from.as_deref())
                .text_or_null(key!("to"), change.to.as_deref())
                .word(key!("state"), change.state)
                .word(key!("cause"), change.cause);
        });
    }

    /// Notices of changes were taken.
    pub(super) fn notices(&mut self, taken: &NoticesTaken) {
        let mut id = [0; 36];
        let lag = taken.lag.and_then(|lag| u64::try_from(lag.as_millis()).ok());
        self.line("notices", taken.time, |line| {
            line.text(key!("profile"), taken.profile.as_str())
                .word(key!("source"), taken.source)
                .number(key!("received"), taken.received)
                .number(key!("applied"), taken.applied)
                .number_or_null(key!("lag_ms"), lag)
                .word_or_null(
                    key!("request_id"),
                    taken.request_id.map(|id_of| id_of.encode(&mut id) as &str),
                );
        });
    }

    /// A line of the fleet log.
    pub(super) fn entry(&mut self, now: SystemTime, entry: &Entry) {
        match entry {
            Entry::Head(head) => self.line("head", now, |line| {
                let interval_ms = u64::try_from(head.interval.as_millis()).unwrap_or(u64::MAX);
                line.text(key!("chain"), &head.chain)
                    .text(key!("instance"), &target::bounded(&head.instance, MAX_WORDS))
                    .number(key!("size"), head.size)
                    .number(key!("last_seq"), head.last_seq)
                    .bool(key!("ended"), head.ended)
                    .display(key!("started"), head.started)
                    .number(key!("interval_ms"), interval_ms)
                    .display(key!("key"), &head.key)
                    .text(key!("note"), &head.note);
            }),
            Entry::Finding(finding) => self.line("finding", now, |line| {
                line.text(key!("chain"), &finding.chain)
                    .text(key!("instance"), &target::bounded(&finding.instance, MAX_WORDS))
                    .word(key!("finding"), finding.kind.label())
                    .number(key!("size"), finding.size)
                    .number(key!("last_seq"), finding.last_seq)
                    .number_or_null(key!("told_size"), finding.told_size)
                    .display(key!("since"), finding.since);
            }),
            Entry::Acknowledged { chain } => self.line("acknowledged", now, |line| {
                line.text(key!("chain"), chain);
            }),
        }
    }

    /// A gateway with that configuration opened the trail.
    pub(super) fn start(
        &mut self,
        now: SystemTime,
        plan: &CheckpointPlan<'_>,
        configuration: Option<[u8; 32]>,
    ) {
        self.configuration = configuration;
        self.last_checkpoint = plan.last.map(|last| last.seq);
        let interval_ms = u64::try_from(plan.interval.as_millis()).unwrap_or(u64::MAX);
        self.line("start", now, |line| {
            program(line, configuration)
                .number(key!("pid"), std::process::id())
                .text(key!("chain"), &plan.chain.name)
                .number(key!("chain_first_seq"), plan.chain.first_seq)
                .text(key!("instance"), plan.instance)
                .text(key!("key"), plan.key)
                .number(key!("checkpoint_records"), plan.records)
                .number(key!("checkpoint_interval_ms"), interval_ms)
                .number_or_null(key!("last_checkpoint"), plan.last.map(|last| last.seq))
                .text_or_null(
                    key!("last_signature"),
                    plan.last.map(|last| last.signature.as_str()),
                );
        });
    }

    /// The gateway closed the trail.
    pub(super) fn stop(&mut self, now: SystemTime, reason: Option<&'static str>) {
        let configuration = self.configuration;
        self.line("stop", now, |line| {
            program(line, configuration).word_or_null(key!("reason"), reason);
        });
    }

    /// Records were dropped because the queue was full.
    pub(super) fn gap(&mut self, now: SystemTime, lost: u64) {
        self.line("gap", now, |line| {
            line.number(key!("lost"), lost);
        });
    }

    /// Half a line was removed from the end of the file.
    pub(super) fn torn(&mut self, now: SystemTime, fragment: &[u8]) {
        self.line("torn", now, |line| {
            let text = String::from_utf8_lossy(fragment);
            line.number(key!("bytes"), fragment.len())
                .hex(key!("sha256"), &Hash::of(fragment).0)
                .text(key!("fragment"), &target::bounded(&text, MAX_FRAGMENT));
        });
    }

    /// Bytes that do not continue the chain were moved into a file of their own.
    pub(super) fn damaged(
        &mut self,
        now: SystemTime,
        bytes: u64,
        records: u64,
        sha256: Hash,
        file: &str,
    ) {
        self.line("damaged", now, |line| {
            line.number(key!("bytes"), bytes)
                .number(key!("records"), records)
                .hex(key!("sha256"), &sha256.0)
                .text(key!("file"), file);
        });
    }

    /// The current file was removed or replaced, and has been restored.
    pub(super) fn restored(&mut self, now: SystemTime, file: &str) {
        self.line("restored", now, |line| {
            line.text(key!("file"), file);
        });
    }

    /// The last checkpoint vouches for lines up to `to` that are missing.
    pub(super) fn cut(&mut self, now: SystemTime, to: u64) {
        let from = self.tip.seq + 1;
        self.line("cut", now, |line| {
            line.number(key!("from"), from).number(key!("to"), to);
        });
    }

    /// The last checkpoint does not fit the trail.
    pub(super) fn doubt(&mut self, now: SystemTime, reason: &str) {
        self.line("doubt", now, |line| {
            line.word(key!("reason"), reason);
        });
    }

    /// A call had a credential when the last process was killed, and has no record.
    pub(super) fn unknown(&mut self, now: SystemTime, request_id: &str) {
        self.line("unknown", now, |line| {
            line.text(key!("request_id"), request_id);
        });
    }

    /// A line of the trail's own.
    pub(super) fn notice(&mut self, now: SystemTime, notice: &Notice) {
        match notice {
            Notice::Removal(removal) => self.line("retention", now, |line| {
                line.number(key!("from"), removal.from)
                    .number(key!("to"), removal.to)
                    .hex(key!("last_hash"), &removal.last_hash.0);
            }),
            Notice::Rejection(rejection) => self.line("export_rejected", now, |line| {
                line.number(key!("from"), rejection.from)
                    .number(key!("to"), rejection.to)
                    .number(key!("records"), rejection.records)
                    .number(key!("status"), rejection.status.as_u16());
            }),
            Notice::Clock(change) => self.line("clock", now, |line| {
                let (state, step) = match change {
                    ClockChange::Doubted { step } => ("doubted", Some(step.as_secs())),
                    ClockChange::Believed => ("believed", None),
                };
                line.word(key!("state"), state).number_or_null(key!("step_seconds"), step);
            }),
        }
    }

    /// A checkpoint that signs everything before it.
    pub(super) fn checkpoint(
        &mut self,
        now: SystemTime,
        key: &SigningKey,
        log: &TreeLog,
    ) -> Publication {
        let head = log.head(key);
        let checkpoint = Checkpoint {
            chain: Some(log.chain().name.clone()),
            instance: Some(log.instance().to_string()),
            note: Some(head.note.clone()),
            ..Checkpoint::of_line(now, self.tip)
        };
        let previous = self.last_checkpoint.replace(checkpoint.seq);
        let checkpoint = Checkpoint { previous, ..checkpoint.signed(key) };
        self.line("checkpoint", now, |line| {
            line.text_or_null(key!("chain"), checkpoint.chain.as_deref())
                .text_or_null(key!("instance"), checkpoint.instance.as_deref())
                .text_or_null(key!("note"), checkpoint.note.as_deref())
                .text(key!("key"), &checkpoint.key)
                .text(key!("signature"), &checkpoint.signature)
                .number_or_null(key!("previous"), previous);
        });
        Publication { checkpoint, head }
    }

    /// The path and the object id, hashed if the settings ask for it.
    fn object_names<'p>(
        &self,
        path: Option<&'p str>,
    ) -> (Option<Cow<'p, str>>, Option<Cow<'p, str>>) {
        let Some(path) = path else { return (None, None) };
        let object = target::object_id(path);
        match &self.naming.objects {
            None => (Some(Cow::Borrowed(path)), object.map(Cow::Borrowed)),
            Some(key) => {
                let object = object.map(|object| Cow::Owned(key.name(object)));
                (Some(target::hash_objects(Cow::Borrowed(path), key)), object)
            }
        }
    }

    fn line(&mut self, kind: &str, time: SystemTime, fields: impl FnOnce(&mut JsonObject<'_>)) {
        let start = self.buffer.len();
        let mut object = JsonObject::begin(&mut self.buffer, kind);
        object.number(key!("schema"), SCHEMA).number(key!("seq"), self.tip.seq + 1).time(
            key!("time"),
            time,
            &mut self.times,
        );
        fields(&mut object);
        self.tip.append(&mut self.buffer, start);
        self.hashes.push(self.tip.hash);
    }
}

/// The program that writes the trail, and its configuration.
fn program<'l, 'b>(
    line: &'l mut JsonObject<'b>,
    configuration: Option<[u8; 32]>,
) -> &'l mut JsonObject<'b> {
    line.text(key!("gateway"), env!("CARGO_PKG_VERSION"))
        .text(key!("commit"), COMMIT)
        .hex_or_null(key!("configuration"), configuration.as_ref().map(<[u8; 32]>::as_slice))
}

/// A certificate is a stranger's text, so its names are cut.
fn refused_certificate(line: &mut JsonObject<'_>, refused: Option<&RefusedCertificate>) {
    let reason = refused.map(|refused| target::bounded(&refused.reason, MAX_WORDS));
    let first = reason.as_deref().map(|reason| ("reason", reason));
    line.object_or_null(key!("refused_certificate"), first, |line| {
        let Some(presented) = refused.and_then(|refused| refused.presented.as_ref()) else {
            return;
        };
        line.text(key!("subject"), &target::bounded(&presented.subject, MAX_WORDS))
            .text(key!("issuer"), &target::bounded(&presented.issuer, MAX_WORDS))
            .text(key!("serial"), &target::bounded(&presented.serial, MAX_WORDS))
            .hex(key!("sha256"), &presented.sha256);
    });
}

/// What the trail says of itself while it is written.
#[derive(Clone, Debug)]
pub(super) enum Notice {
    /// An old file is deleted.
    Removal(Removal),
    /// The collector has refused lines for good.
    Rejection(Rejection),
    /// The clock has jumped, or is believed again.
    Clock(ClockChange),
}

/// Lines that the collector has refused for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rejection {
    /// The first line's `seq`.
    pub(super) from: u64,
    /// The last line's `seq`.
    pub(super) to: u64,
    /// How many of these lines it has refused.
    pub(super) records: u64,
    /// What it has answered; 200 if it has taken the others.
    pub(super) status: StatusCode,
}

/// The lines in a file that the retention deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Removal {
    /// The first line's `seq`.
    pub(super) from: u64,
    /// The last line's `seq`.
    pub(super) to: u64,
    /// The last line's hash: the `prev` of the first line that stays.
    pub(super) last_hash: Hash,
}

/// Enough for a batch at a hundred thousand calls a second.
const KEPT_BUFFER: usize = 1 << 20;
/// The limit for the text of half a line, in bytes: more than the longest line.
const MAX_FRAGMENT: usize = 16 * 1024;

#[cfg(test)]
mod tests;
