//! The audit trail on disk: what the path writes and the `audit` commands read.
//!
//! The path hands over one [`Record`] for every finished call and never waits for the disk (unless
//! the durability is [`Durability::Synced`]). A thread of its own turns records into lines, links
//! them into a hash chain and writes them, so the cost on the path is one short lock.
//!
//! # Files
//!
//! `audit-<number of its first line>-<when it was begun>.jsonl`, so that `*.jsonl` sorts in the order
//! it was written; the directory has mode 0700, its files 0600. Each line is one JSON object in
//! printable ASCII. A file ends at a size and at the end of the UTC day; some time later it is
//! compressed (`.jsonl.zst`), and where the settings ask for it, the oldest are deleted. Beside them:
//!
//! | file | what it is |
//! | --- | --- |
//! | `.lock` | held by the gateway that writes |
//! | `signing-key.pem`, `signing-key.pub.pem` | sign and check checkpoints (Ed25519, PKCS#8) |
//! | `checkpoint.json` | the last checkpoint |
//! | `object-key` | hashes object ids, if they are to be hashed |
//! | `export.json` | how far a collector has the trail |
//! | `damaged-*.bin` | what was taken out of the end of the trail after a crash |
//! | `foreign-*.bin` | what stood in the place of the file that was being written |
//!
//! # Lines
//!
//! Every line has `kind`, `schema` (this is version [`SCHEMA`]), `seq` (1, 2, 3 … without holes,
//! over all files and kinds), `time` (RFC 3339, UTC, microseconds), and last `prev` and `hash`.
//!
//! `"kind":"call"` is a finished call. Its `time` is when the call came in; lines stand in the order
//! in which calls ended.
//!
//! | field | meaning |
//! | --- | --- |
//! | `request_id` | the call; the caller has it from `X-Request-Id` |
//! | `trace_id` | W3C trace, 32 hexadecimal digits |
//! | `listener`, `profile` | where it came in, where it leads |
//! | `caller` | the caller's name, or `null` |
//! | `caller_proof` | `listener`, `uid=… gid=… pid=…` or `certificate=…`, or `null` if it never got so far |
//! | `operation` | `subtenant.get`, or `null` if it matched none |
//! | `method`, `path` | as received; a path over 2048 bytes ends in `…` |
//! | `object_id` | the last UUID in the path, or `null` |
//! | `query_keys` | names of the query's parameters, never values; `(no name)` and `(odd name)` stand for what could be a value |
//! | `status` | what the caller got, `null` if it left before |
//! | `outcome` | `forwarded`, `cached`, `refused`, `failed` |
//! | `cache` | `hit`, `miss`, `stale`, `revalidated`, `collapsed`, `bypass`, or `null` |
//! | `source_request_id` | the call whose upstream answer memory gave again |
//! | `upstream_status` | the upstream's own status |
//! | `tls_version`, `tls_certificate` | of the upstream connection; SHA-256 of its certificate |
//! | `attempts`, `retries` | how often the upstream was asked, and why it was asked again |
//! | `credential_version` | which version of the seven values was sent |
//! | `duration_us`, `upstream_us` | whole call; until the head of the upstream's answer |
//! | `request_bytes`, `response_bytes` | bodies, as far as they were sent |
//! | `error` | label of what went wrong, or `null` |
//! | `would_refuse` | label of what the policy would have refused the call for, with `mode = "report"` |
//! | `masked_fields` | fields of the upstream's answer that were removed |
//!
//! With [`ObjectIds::Hashed`], every UUID in `path` and `object_id` is `~` and 32 digits of its
//! HMAC-SHA-256. How lines become OpenTelemetry log records is in [`export`].
//!
//! Other kinds are markers:
//!
//! | kind | when |
//! | --- | --- |
//! | `start`, `stop` | a gateway took the trail and closed it in order; a `start` without a `stop` before it is a crash |
//! | `intent` | synced trails: a call is about to use a credential |
//! | `unknown` | at a start: a call had a credential when the last process was cut off, and has no record |
//! | `checkpoint` | every so many lines and seconds, and at a stop: a signature over everything before it |
//! | `gap` | `lost` records found no room while the trail could not be written |
//! | `torn` | half a line that a crash left, with its text |
//! | `damaged` | a damaged end that was set aside into `file` |
//! | `cut` | at a start: the last checkpoint vouches for lines that are not there |
//! | `restored` | the file that was being written was taken away or replaced, and has been put back |
//! | `retention` | old files are deleted, as the settings ask |
//!
//! Never in a line: a header value, a body, a query value, a credential.
//!
//! # When a record is safe
//!
//! [`Durability::Batched`]: with the kernel within 20 ms of the answer, so a killed process loses no
//! more; on the disk within a second, so a power cut loses no more. [`Durability::Synced`]: an intent
//! is on the disk before a credential is used, and the record before the answer leaves; all who wait
//! while one sync runs share the next. Such a record says what was to be sent: a caller that leaves
//! while it is sent, or that gets a 503 because the sync failed, is not told apart.
//!
//! | what happens | with [`OnFailure::Refuse`] | with [`OnFailure::Continue`] |
//! | --- | --- | --- |
//! | disk full, read-only, failing | calls are refused until a write works again, on it or on another one mounted in its place, tried each half second; records of calls under way wait | calls go on; records wait, and what finds no room is counted in a `gap` |
//! | disk slow | records wait; when half of the queue is taken, calls are refused until there is room | records wait; what finds no room is counted in a `gap` |
//! | file or directory removed, or another file in its place | it is put back with all it had, and a `restored` line says so | the same |
//! | no room for a new file | the old one goes on | the same |
//! | a sync fails | what was not synced is written again before the next try | the same |
//!
//! # The chain, by hand
//!
//! `hash` is the SHA-256 of the line up to `,"hash":`; `prev`, the last field before it, is the
//! `hash` of the line before (64 zeros in the first). With common tools:
//!
//! ```sh
//! sed -n 7p audit-….jsonl | sed 's/,"hash":"[0-9a-f]*"}$//' | tr -d '\n' | sha256sum
//! ```
//!
//! A checkpoint's signature is Ed25519 over four lines of text, with the `seq`, `time` and `prev` of
//! its line; the log stream has a copy of all of it (`audit checkpoint`):
//!
//! ```sh
//! printf 'pigello-gateway audit checkpoint\nseq %s\ntime %s\nprev %s\n' "$seq" "$time" "$prev" > message
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
mod checkpoint;
mod encode;
mod directory;
mod recover;
mod queue;
mod storage;
mod syncer;
mod writer;
mod retention;
mod export;
mod handle;
mod line;
mod read;
mod verify;
#[cfg(test)]
mod crash;
#[cfg(test)]
mod measure;
#[cfg(test)]
pub(crate) mod testing;

pub use chain::{Hash, Seal, Tip};
pub use checkpoint::Checkpoint;
pub use directory::{DirectoryError, Segment};
pub use encode::SCHEMA;
pub use export::ExportError;
pub use handle::{OpenError, Stats, Trail};
pub use keys::{KeyError, OBJECT_KEY, ObjectKey, PUBLIC_KEY, PublicKey};
pub use line::{Call, Place, call, place};
pub use observer::Watch;
pub use queue::Unwritable;
pub use read::{Follow, Found, ReadError, files, files_between, read_through};
pub use record::{CacheResult, Intent, Outcome, Record, UpstreamTls};
pub use recover::RecoverError;
pub use settings::{Durability, ObjectIds, OnFailure, Settings};
pub use target::Target;
pub use verify::{Against, Problem, ProblemKind, Report, VerifyError, verify};
