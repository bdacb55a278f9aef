//! The audit trail on disk: the request path writes it, and the `audit` commands read it.
//!
//! The request path submits one [`Record`] for every finished call. It does not wait for the disk,
//! except with [`Durability::Synced`]. A writer thread encodes the records as lines, links the lines
//! into a hash chain and appends them to a file. A submission costs the path one short lock.
//!
//! # Files
//!
//! A file is named `audit-<seq of its first line>-<time of its creation>.jsonl`, so that `*.jsonl`
//! sorts in the order of writing. The directory has mode 0700, its files 0600; with a group of readers 0750 and
//! 0640, except the keys and the lock. Each line is one JSON
//! object in printable ASCII. The gateway begins a new file at a size limit and at the end of the UTC
//! day. It later compresses ended files (`.jsonl.zst`) and deletes the oldest if the settings say so.
//! The directory also holds:
//!
//! | file | content |
//! | --- | --- |
//! | `.lock` | locked by the gateway that writes |
//! | `signing-key.pem`, `signing-key.pub.pem` | the key pair that signs and checks checkpoints (Ed25519, PKCS#8) |
//! | `checkpoint.json` | the last checkpoint; before the first line, one with `seq` 0 |
//! | `chain.json` | the name of the chain |
//! | `tlog/` | the chain's tree, and its last head as a note (C2SP tlog-tiles, tlog-checkpoint) |
//! | `tlog-*/` | the tree of a chain that has ended |
//! | `fleet-log/` | of a hub: the heads of all members' trails, in a log of the same form (below) |
//! | `object-key` | the key that hashes object ids, if the settings ask for hashes |
//! | `export.json` | the last line that the collector has accepted, or refused for good |
//! | `deleted-<from>-<to>-<hash>` | an emptied file, until its `retention` line finds room |
//! | `clock-doubted` | the last time before the clock jumped, while it is in doubt |
//! | `configuration.json` | the last configuration, without secrets, so that the next start can tell what changed |
//! | `damaged-*.bin` | bytes that were removed from the end of the trail after a crash |
//! | `foreign-*.bin` | a file that was found under the name of the current file |
//!
//! # Lines
//!
//! Every line begins with `kind`, `schema` (this is version [`SCHEMA`]), `seq` (1, 2, 3 … without
//! gaps, over all files and kinds) and `time` (RFC 3339, UTC, microseconds), and ends with `prev` and
//! `hash`.
//!
//! `"kind":"call"` is a finished call. Its `time` is the arrival of the call; lines are in the order
//! in which calls ended. Each call has one line. For every request that the upstream got, there is one call
//! with its `X-Request-Id` as `request_id`, with `attempts` above zero and with the credentials that were
//! sent. A fetch of the cache can go on when its caller has left; then the line is written at the end of the
//! fetch. What the gateway asks by itself has a line of its own, with a `cause`. The one exception is the call of
//! `check --online` beside a running gateway, which another process makes: its line is the `admin` marker `probe`,
//! written before the call, with its `X-Request-Id`.
//!
//! | field | meaning |
//! | --- | --- |
//! | `request_id` | the call's identifier, as sent to the caller in `X-Request-Id` |
//! | `trace_id` | the W3C trace id, 32 hexadecimal digits |
//! | `cause` | why the gateway made the call by itself: `revalidation` (of a stale response whose caller has its answer), `check` (`check --online` or `credentials rotate --probe`), `event_log` (a reading of Pigello's event log, with the caller `gateway:event-log`); `null` for a caller's call |
//! | `caused_by` | the `request_id` of the call that began it, or `null` |
//! | `listener`, `profile` | the listener that accepted the call, and the profile it leads to |
//! | `caller` | the caller's name, or `null`; for a `revalidation`, the caller whose call began it |
//! | `peer` | the other end of the caller's connection: address and port, or `uid=… gid=… pid=…` of a Unix socket; `null` for a call of the gateway's own |
//! | `caller_proof` | `listener`, `uid=… gid=… pid=…`, `unmapped uid=… gid=… pid=…` (the user namespace of the gateway does not map the caller's user), `certificate=…`, `nameless certificate serial=… subject=…`, or `null` if the connection was refused before it had a request |
//! | `refused_certificate` | for `certificate_refused`: `reason`, and of the certificate that was presented `subject`, `issuer`, `serial` and `sha256` (of its DER form); otherwise `null` |
//! | `policy` | the configuration under which the call was decided: 16 hexadecimal digits, as in the `configuration` marker |
//! | `operation` | `subtenant.get`, or `null` if the request matched none |
//! | `method`, `path` | as received; a path over 2048 bytes is cut and ends in `…` |
//! | `object_id` | the last UUID in the path, or `null` |
//! | `path_bytes_omitted` | number of bytes that are left out at the end of `path` |
//! | `query_keys` | the names of the query parameters, never their values; `(no name)` and `(odd name)` replace names that could be a value |
//! | `query_keys_omitted` | number of query parameters behind the first 64 names whose names are left out |
//! | `status` | the status sent to the caller; `null` if the caller left before, or if there is none |
//! | `outcome` | `forwarded`: the upstream's response; `cached`: a stored response; `refused`: a decision against the caller or its request; `failed`: the call could not be served, or was interrupted. The error alone decides between the last two ([errors](errors.md) says which) |
//! | `cache` | `hit`, `miss`, `stale`, `revalidated`, `collapsed`, `shared` (another gateway of the fleet had fetched it), `bypass`, or `null` |
//! | `source_request_id` | for a cache hit: the call that fetched the response from the upstream |
//! | `source_chain` | only if that call was another gateway's: the chain of the trail that has it |
//! | `upstream_status` | the upstream's own status |
//! | `tls_version`, `tls_certificate` | TLS version of the upstream connection; SHA-256 of the upstream's certificate |
//! | `attempts`, `retries` | number of attempts at the upstream, and the reason for each retry. An attempt after a 401, with other credentials, is one more than `[retry] attempts` allows |
//! | `credential_version` | the version of the credentials that were sent |
//! | `duration_us`, `upstream_us` | time of the whole call; time until the upstream's response head |
//! | `queue_us` | time that requests waited in the gateway because a worker was saturated; no part of `upstream_us` |
//! | `request_bytes`, `response_bytes` | body bytes that were sent |
//! | `error` | label of the error, or `null` |
//! | `would_refuse` | label of the refusal that `mode = "report"` did not enforce, or `null` |
//! | `masked_fields` | number of fields that were removed from the upstream's response |
//! | `list_ids`, `list_ids_complete` | only with `audit.list_ids`, and only of lists that were answered: the UUIDs of the objects, and whether they are all. They are not if there are more than 1,000, if the answer broke off, or if it is no JSON list of objects with an `id` |
//!
//! With [`ObjectIds::Hashed`], `path` and `object_id` show `~` and 32 digits of the UUID's
//! HMAC-SHA-256 in place of every UUID; with [`ListIds::Hashed`] so does `list_ids`. [`export`] maps lines to OpenTelemetry log records.
//!
//! All other kinds are markers:
//!
//! | kind | meaning |
//! | --- | --- |
//! | `start`, `stop` | a gateway opened or closed the trail, with its version, its `commit` and its `configuration`; `stop` has the `reason`, such as `SIGTERM`. A `start` without a `stop` before it means a crash (`start`: below) |
//! | `configuration` | another configuration came into force, or was refused (below) |
//! | `credentials` | calls use another version of a credential set (below) |
//! | `intent` | synced trails only: a call is about to use a credential |
//! | `unknown` | written at a start: a call had a credential when the last process was killed, and has no record |
//! | `admin` | somebody did something over the admin listener (below) |
//! | `notices` | notices of changes in Pigello dropped something from the cache (below) |
//! | `checkpoint` | a signature over everything before it: after a number of lines or seconds, after a `start`, `stop` or `retention`. `previous` is the last one that the gateway knew |
//! | `gap` | `lost` records were dropped because the queue was full while the trail was not writable |
//! | `torn` | a crash left half a line; the marker has its text |
//! | `damaged` | the end of the trail was damaged and moved into `file`; `records` begin in it |
//! | `cut` | written at a start: the last checkpoint vouches for lines that are missing |
//! | `doubt` | written at a start: `checkpoint.json` does not fit the trail. `reason` is `missing`, `unreadable`, `other_key`, `forged` (its key did not sign it) or `rewritten` (it signs other lines) |
//! | `restored` | the current file was removed or replaced, and has been restored |
//! | `retention` | an old file is deleted, as the settings ask |
//! | `export_rejected` | the collector has refused `records` of the lines `from` to `to` for good, with that `status` |
//! | `clock` | the clock has jumped by `step_seconds` (`state` is `doubted`), or is believed again (`believed`) |
//!
//! The fields of `configuration`:
//!
//! | field | meaning |
//! | --- | --- |
//! | `cause` | `start`, `SIGHUP`, `file` (a configuration file changed), `admin` (somebody asked for it over the admin listener) |
//! | `who` | who asked for it over the admin listener, or `null` |
//! | `result`, `reason` | `applied`; or `refused` and why |
//! | `policy` | the first 16 digits of `configuration`, which each call has |
//! | `configuration` | the SHA-256 of the configuration in force: every key with its value, without secrets |
//! | `previous` | the same of the configuration before, also before the start |
//! | `changes` | the keys that changed: `key`, and for `callers`, `listeners`, `operations` and `policy` also the `old` and the `new` value. 64 at most, with 1024 bytes of a value |
//! | `changes_omitted` | the number of further keys |
//!
//! The fields of `credentials`:
//!
//! | field | meaning |
//! | --- | --- |
//! | `credentials` | the set |
//! | `from`, `to` | the version before, and the one that calls use now; `null` for none |
//! | `state` | the state of the set, as in `/status` |
//! | `cause` | `read`: the source has another version; `admin`: an operator had it read; `rejected`: Pigello answered 401; `accepted`: Pigello accepts the version; `withdrawn`, `stale`: the source has none, or has been away for too long; `restored`: the copy that was kept of the source; `overlap`: the time of the version before is over; `proven`: Pigello accepts it at another gateway of the fleet; `adopt_after`: nobody in the fleet has said how Pigello judges it |
//!
//! The fields of `start`:
//!
//! | field | meaning |
//! | --- | --- |
//! | `gateway`, `commit`, `pid` | the version, its commit and the process |
//! | `configuration` | the SHA-256 of the configuration |
//! | `chain`, `chain_first_seq` | the chain that the lines from here on belong to (32 hexadecimal digits), and its first line; `(chain, seq)` is unique over all trails |
//! | `instance` | what the gateway is called: `audit.instance`, or the name of the host |
//! | `key` | the fingerprint of the signing key |
//! | `checkpoint_records`, `checkpoint_interval_ms` | after how many lines, and after what time, this gateway signs |
//! | `last_checkpoint`, `last_signature` | `seq` and signature of the last checkpoint that the gateway knew; `null` without one of its own key |
//!
//! The fields of `notices`:
//!
//! | field | meaning |
//! | --- | --- |
//! | `profile` | the profile whose stored responses they are about |
//! | `source` | `event_log` or `webhook` |
//! | `received`, `applied` | events that came since the last such line, and those of them that were new. No line tells which objects: `explain --cache` does |
//! | `lag_ms` | from the oldest change of the last ones to its drop; `null` if no event says when it was |
//! | `request_id` | the last call that read the event log, or `null` |
//!
//! A `checkpoint` has `chain` and `instance` too. Its `note` is the signed head of the tree over the chain's lines
//! before it, whose entries are their `hash`es (C2SP tlog-checkpoint).
//!
//! The fields of `admin`:
//!
//! | field | meaning |
//! | --- | --- |
//! | `action` | `purge`, `refresh`, `verify`; `acknowledge`: somebody knows what a hub finds wrong with a chain; `page_link`: a link to the status page was made; `page`: it was used; `probe`: a command is about to try credentials with a call of its own |
//! | `who` | `uid=… gid=… pid=…` of the Unix socket's peer; `token=… role=…` with the first 12 digits of the token's SHA-256; `session=N` with who made its link |
//! | `operation`, `object_id` | what a purge was limited to, or `null`; `object_id` as in a call |
//! | `credentials` | the set that was read again, or `null` |
//! | `result` | `purged=N`; `refreshed version=…`, `unchanged version=…` or `failed: …`; `started` or `running`; `made`; `entered`; `announced request_id=… upstream=… version=…` |
//!
//! A line never holds a header value, a body, a query value or a credential.
//!
//! # The fleet log
//!
//! The hub of a fleet keeps a log of the trails of all members, in the folder `fleet-log` of its own trail's directory.
//! It is a trail itself: the same lines, checkpoints, tree and witnesses, signed with the same key, deleted by the same
//! settings. Its name is that of a trail with `/fleet` before the chain. Instead of calls it has:
//!
//! | kind | fields |
//! | --- | --- |
//! | `head` | a member's trail has this head: `chain`, `instance`, `size` (how many lines of the chain there are), `last_seq` (the number of the last of them), `ended` (the gateway closed the trail there), `started` (when the gateway did), `interval_ms` (until the next head at the latest), `key` and `note` (as public tools take them) |
//! | `finding` | a trail is not as it was: `chain`, `instance`, `finding` (as in the metric `fleet_findings`), `size` and `last_seq` that there were, `told_size` that a head tells now or `null`, `since` |
//! | `acknowledged` | an operator knows what is wrong with `chain` |
//!
//! Two heads a second are logged on average, however many members there are: each new one of a small fleet, one in eight
//! minutes of each of a thousand members. The first, the last, and the one before a finding are always there.
//!
//! # When a record is safe
//!
//! [`Durability::Batched`]: the kernel has a record within 20 ms of the response, so a killed process
//! loses at most those 20 ms. The disk has it within a second, so a power cut loses at most that
//! second.
//!
//! [`Durability::Synced`]: an intent is on disk before the gateway uses a credential, and the record
//! is on disk before the response leaves. Calls that arrive during one sync share the next one. Such a
//! record describes the intended response: it does not tell whether the caller left during the
//! response, or got a 503 because the sync failed.
//!
//! | event | with [`OnFailure::Refuse`] | with [`OnFailure::Continue`] |
//! | --- | --- | --- |
//! | disk full, read-only, failing | calls are refused until a write succeeds, on this disk or on one mounted in its place; a retry runs every half second; records of calls in progress wait | calls go on; records wait; records beyond the queue's limit are dropped and counted in a `gap` |
//! | disk full, and old files due for deletion | also, they are deleted within seconds, and calls are served again; with a collector, only those that it has had | they are deleted within seconds |
//! | disk slow | records wait; calls are refused while the queue is more than half full | records wait; records beyond the queue's limit are dropped and counted in a `gap` |
//! | file or directory removed or replaced | it is restored with its content, and a `restored` line says so | the same |
//! | a new file cannot be created | writing continues in the old file | the same |
//! | a sync fails | the unsynced bytes are written again before the next sync | the same |
//!
//! # The chain, by hand
//!
//! `hash` is the SHA-256 of the line up to `,"hash":`. `prev`, the field before it, is the `hash` of
//! the line before (64 zeros in the first line). With common tools:
//!
//! ```sh
//! sed -n 7p audit-….jsonl | sed 's/,"hash":"[0-9a-f]*"}$//' | tr -d '\n' | sha256sum
//! ```
//!
//! The signature of a checkpoint is Ed25519 over six lines of text, with the `seq`, `time`, `prev`, `chain`
//! and `instance` of its line; over four without the last two in trails of older gateways. The log stream
//! holds the same values (`audit checkpoint`):
//!
//! ```sh
//! printf 'pigello-gateway audit checkpoint\nseq %s\ntime %s\nprev %s\n' "$seq" "$time" "$prev" > message
//! printf 'chain %s\ninstance %s\n' "$chain" "$instance" >> message
//! base64 -d <<< "$signature" > signature
//! openssl pkeyutl -verify -pubin -inkey signing-key.pub.pem -rawin -in message -sigfile signature
//! ```

mod settings;
mod record;
mod observer;
mod target;
mod json;
mod chain;
mod keys;
mod readers;
mod checkpoint;
mod clock;
mod mismatch;
mod encode;
mod directory;
mod emptied;
mod recover;
mod queue;
mod storage;
mod syncer;
mod writer;
mod space;
mod retention;
mod entry;
mod export;
mod handle;
mod fleet_log;
mod line;
mod lines;
mod read;
mod beginning;
mod coverage;
mod tlog;
mod verify;
#[cfg(test)]
pub(crate) mod testing;

pub use chain::{ChainFields, Hash, Tip};
pub use checkpoint::Checkpoint;
pub use coverage::{Coverage, Missing, MissingCause, RecordPoint, Shortfall};
pub use directory::{TrailDirectoryError, TrailSegment, has_steady_numbers};
pub use encode::{CALL_FIELDS, SCHEMA};
pub use entry::{Finding, FindingKind};
pub use export::{ExportError, ResendError, Resent, resend};
pub use fleet_log::{FleetLog, FleetLogStatus};
pub use handle::{Trail, TrailOpenError, TrailStats, check_keys};
pub use keys::{KeyError, OBJECT_KEY, ObjectKey, PUBLIC_KEY, PublicKey, SIGNING_KEY, SigningKey};
pub use line::{CallLine, LineHead, call_line, line_head};
pub use lines::TrailReadError;
pub use observer::RecordObserver;
pub use queue::Unwritable;
pub use read::{ReadItem, TrailFollower, files, files_between, read_merged, read_through};
pub use record::{
    AdminAction, CacheResult, CallCause, ChangedKey, ConfigurationChange, CredentialsChange,
    Intent, ListObjects, NoticesTaken, Outcome, OwnCall, PresentedCertificate, Record,
    RefusedCertificate, UpstreamTls,
};
pub use recover::RecoverError;
pub use retention::Blocked;
pub use settings::{Durability, ListIds, LogKind, ObjectIds, OnFailure, Settings, WitnessSettings};
pub use target::Target;
pub use tlog::{PublisherError, Tree, WitnessStats};
pub use verify::{
    FleetLogReport, KeptReport, KeySource, PartCheck, StoreReport, ToldChain, ToldReport,
    TrailDoubt, TrailDoubtKind, TrailProblem, TrailProblemKind, Verdict, VerifyError,
    VerifyOptions, VerifyReport, VouchingKey, verify, verify_fleet_log, verify_store,
};
