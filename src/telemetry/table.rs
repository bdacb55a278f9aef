//! Every metric with its labels and meaning: the one table behind the manual, and behind the tests
//! of the gateway, the dashboard and the alerts.

use std::fmt::Write as _;

/// A documented metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Described {
    /// The name after `pigello_gateway_` as Prometheus stores it: counters end in `_total`.
    pub name: &'static str,
    /// `counter`, `gauge`, `histogram` or `info`.
    pub kind: &'static str,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Its meaning.
    pub meaning: &'static str,
}

macro_rules! metrics {
    ($($name:literal $kind:ident [$($label:literal),*] $meaning:literal;)*) => {
        /// Every metric of the gateway.
        pub const METRICS: &[Described] = &[$(Described {
            name: $name,
            kind: stringify!($kind),
            labels: &[$($label),*],
            meaning: $meaning,
        },)*];
    };
}

metrics! {
    "build_info" info ["version", "commit", "target", "features", "profile", "pgo"] "The version that runs and how it was built, as `--version` says it; always 1";
    "ready" gauge [] "Whether calls can be served: what `/readyz` says";
    "start_timestamp_seconds" gauge [] "When the process started, in seconds since 1970";
    "resident_memory_bytes" gauge [] "Memory of the process";
    "open_file_descriptors" gauge [] "Open files and sockets of the process";
    "log_dropped_lines_total" counter [] "Lines of the log that were dropped, because their reader was too slow or gone";
    "config_loaded_timestamp_seconds" gauge [] "When the configuration in use was loaded, in seconds since 1970";
    "config_refused" gauge [] "1 if the last reload was refused: the configuration in use is not that of the files, and a restart would fail or change it";
    "config_reloads_total" counter ["result"] "Attempts to reload the configuration: `done` or `refused`";
    "calls_total" counter ["operation", "caller", "outcome", "status"] "Calls. `outcome` is `forwarded`, `cached`, `refused` or `failed`; `status` is the class (`2xx`) or `none`";
    "call_duration_seconds" histogram ["operation"] "From a call's arrival to the last byte of its answer";
    "errors_total" counter ["kind"] "Calls that were refused or failed, by the label that the audit trail has in `error`";
    "profile_calls_total" counter ["profile"] "Calls that their profile served: of each profile with a table of its own, of the busiest members of templates (`telemetry.top_profiles`), and of all other members as `other`. A member that becomes one of the busiest begins at 0";
    "profile_errors_total" counter ["profile"] "Those among them that failed or were answered with 500 or above";
    "profile_trouble" gauge ["profile", "reason"] "1 for what is the matter with a member of a template, for as many members as `telemetry.top_profiles`: `no_credentials`, `refused` (by Pigello), `breaker_open`, `paused` or `unconfirmed` (half an hour longer than its `interval`)";
    "profiles_in_trouble" gauge ["table", "reason"] "Loaded members of a template with that trouble, all of them";
    "profiles_loaded" gauge ["table"] "Loaded members of a template";
    "profiles_absent" gauge ["table"] "Names that a template's source does not have, as far as that is remembered";
    "request_bytes_total" counter [] "Bytes of callers' bodies";
    "response_bytes_total" counter [] "Bytes of answers' bodies";
    "connections" gauge [] "Open connections of callers";
    "connections_limit" gauge [] "How many there may be (`limits.connections`)";
    "connections_limited_total" counter ["limit"] "Connections that a limit closed: `peer` (at once, over `limits.connections_per_peer`) or `unproven` (without an allowed call, the oldest one, for a new one)";
    "in_flight_calls" gauge [] "Calls under way";
    "in_flight_limit" gauge [] "How many there may be (`limits.in_flight`)";
    "upstream_duration_seconds" histogram ["operation"] "From sending a request upstream to the head of the answer";
    "upstream_queue_seconds" histogram [] "How long requests waited to be sent because a worker was saturated; only those that waited";
    "upstream_responses_total" counter ["status"] "Answers of the upstream, by status";
    "upstream_attempts_total" counter [] "Requests sent upstream, repeats included";
    "upstream_retries_total" counter ["kind"] "Attempts that were given up and made again, by why";
    "upstream_breaker_state" gauge ["profile", "state"] "1 for the state the breaker is in: `closed`, `half_open` or `open`";
    "upstream_suspended_operations" gauge ["profile"] "Operations that are left alone: their breaker is open, or Pigello asked for a pause of them";
    "upstream_learnt_rate" gauge ["profile"] "Calls a second that Pigello's 429 responses have taught; absent while there is no such rate";
    "budget_leased" gauge ["profile"] "Calls of the budget that this gateway may make before it has more; absent without `[profiles.….budget]`, as is the next one";
    "budget_refused_total" counter ["profile"] "Calls that were refused because the budget, or a caller's share of it, was used up";
    "upstream_pause_seconds" gauge ["profile"] "How long Pigello still wants to be left alone (its `Retry-After`)";
    "cache_requests_total" counter ["operation", "result"] "Calls the cache had a say in, by the word that the audit trail has in `cache`";
    "cache_responses" gauge [] "Answers in memory";
    "cache_bytes" gauge [] "Bytes that they take";
    "cache_max_bytes" gauge [] "Bytes that they may take (`cache.max_bytes`)";
    "cache_stored_total" counter [] "Answers that were stored";
    "cache_purged_total" counter [] "Answers that were purged";
    "cache_invalidations_total" counter [] "Writes that made something in memory unreachable";
    "cache_shared_total" counter ["result"] "Looks for responses of other members of the fleet: `hit`, `waited` (for another member's fetch, and found), `miss`, `outdated` (what it is about has changed since), `unreadable` (its key is not here, or it was altered), `not_shared` (another member has found that it cannot be), `away` (the store did not answer in time); absent without `[cache.shared]`, as are the next four";
    "cache_shared_seconds" histogram [] "How long such looks took";
    "cache_shared_stored_total" counter [] "Responses that were handed to the store for the other members";
    "cache_shared_dropped_total" counter [] "Responses that were not, because too many waited for the store";
    "cache_keys_unread" gauge ["profile"] "Keys of the shared cache that could not be read the last time: of a profile its own, of a template those of its loaded members; what was read before is used on, unless the source has none any more";
    "notices_received_total" counter ["profile", "source"] "Events of changes in Pigello that came, from the `event_log`, from each `webhook`, and from the `fleet`";
    "notices_applied_total" counter ["profile", "source"] "Those of them that were new, and dropped what has changed from memory";
    "notices_unreadable_total" counter ["reason"] "Webhooks in which no event could be read";
    "notices_refused_total" counter ["reason"] "Requests to the listener for webhooks that were refused";
    "notices_coherent" gauge ["profile"] "Whether it is proved that no notice was missed, so that `coherent_ttl` holds; absent if the event log is not read and nothing rests on it";
    "notices_feed_stopped" gauge ["profile", "reason"] "1 while the event log cannot be used, for this reason";
    "notices_feed_age_seconds" gauge ["profile"] "Since the event log was read to its end, by this gateway or for its fleet";
    "notices_complete_since_timestamp_seconds" gauge ["profile"] "Since when no notice was missed, in seconds since 1970";
    "notices_lag_seconds" gauge ["profile"] "From a change in Pigello to its drop from memory, the last time";
    "credentials_state" gauge ["set", "state"] "1 for the state the credential set is in, as in `/status`";
    "credentials_info" gauge ["set", "source", "version"] "The version in use; always 1";
    "credentials_refused_version" gauge ["set"] "1 while Pigello refuses a new version and the one before it stays in use, else 0";
    "credentials_waiting_version" gauge ["set"] "1 while a new version waits until Pigello has accepted it from another gateway of the fleet (`adopt = \"proven\"`), else 0";
    "credentials_generation" gauge ["set"] "The number of the set in use; another number is another version";
    "credentials_age_seconds" gauge ["set"] "Since the version in use was first read";
    "credentials_unconfirmed_seconds" gauge ["set"] "Since the source last confirmed it";
    "credentials_unaccepted_seconds" gauge ["set"] "Since Pigello last took the version in use; absent before it has";
    "credentials_rotations_total" counter ["set"] "How often another version took the place of one";
    "credentials_rejections_total" counter ["set"] "How often Pigello refused all versions that there were";
    "credentials_failures_total" counter ["set"] "How often the source was read without success";
    "certificate_not_after_seconds" gauge ["use", "name"] "When a certificate ends, in seconds since 1970. `use` is `listener`, `client_ca`, `upstream_ca`, `vault_ca`, `vault_client`, `store_ca`, `store_client` or `collector_ca` for a file, and `upstream` or `vault` for what the server showed in the last handshake; `name` is the listener, profile or credential set. A chain ends with its first certificate, a file of authorities with its last one";
    "clock_offset_seconds" gauge ["server", "name"] "By how much this machine's clock is ahead of the one that the last `Date` of an `upstream` or a `vault` showed, behind if negative; `name` is the profile or credential set";
    "fleet_connected" gauge [] "Whether there is a connection to the fleet's store; absent without `[fleet]`, as are the others of the fleet";
    "fleet_connections_total" counter [] "Connections that were made to it";
    "fleet_coherent" gauge [] "Whether every change that other members tell is heard; while it is 0, answers live for `ttl`";
    "fleet_lag_seconds" gauge [] "How long ago everything that was in the store was heard: what was told since may not be known here yet";
    "fleet_outbox" gauge [] "Changes that wait to be told";
    "fleet_members" gauge [] "Members that are there, this one among them; 0 while there is no connection";
    "fleet_key_unread" gauge [] "1 while the key of the notices (`[fleet] key`) could not be read the last time; one that was read before is used on, unless the source has none any more";
    "fleet_messages_total" counter [] "Messages with changes that were told";
    "fleet_notices_total" counter ["kind", "source"] "What was told (`own`) and what was heard of other members (`fleet`); a `tick` is a reading of an event log";
    "fleet_breaks_total" counter ["why"] "How often changes may have been missed: `position` (the store has lost the last message that was heard, or was restarted empty), `gap` (a message was kept back), `unreadable` (sealed with another key, or forged)";
    "fleet_log_writable" gauge [] "Whether the fleet log of this hub can be written; absent without `role = \"hub\"`, as are the others of the fleet log";
    "fleet_log_chains" gauge [] "Chains of members' trails that it knows, also of those that have ended";
    "fleet_findings" gauge ["finding"] "Trails of members that are not as they were, until they are heard of again or an operator acknowledges it: `silent` (no new head, and the gateway has not ended), `shorter`, `rewritten`, `cloned` (two gateways continue one chain), `other_key`";
    "fleet_log_witness_age_seconds" gauge ["witness"] "Since the witness last cosigned a head of the fleet log, or since the start";
    "fleet_log_witness_contradicts" gauge ["witness"] "1 while the witness knows another history of the fleet log";
    "audit_writable" gauge [] "Whether the trail can be written";
    "audit_queued_records" gauge [] "Records that wait to be written";
    "audit_lag_seconds" gauge [] "How long the oldest of them has waited";
    "audit_written_records_total" counter [] "Lines written";
    "audit_written_bytes_total" counter [] "Bytes written";
    "audit_lost_records_total" counter [] "Records that found no room; the trail tells of the gap";
    "audit_last_seq" gauge [] "The number of the last line";
    "audit_synced_seq" gauge [] "The number of the last line in stable storage";
    "audit_retention_blocked" gauge ["reason"] "1 for why old files are not deleted although they are due, or their room is needed: `export` (the collector has not had them), `clock` (in doubt), `nothing_due`, `error` (see the log)";
    "audit_clock_in_doubt" gauge [] "1 while the wall clock has jumped and no file is deleted by its age";
    "audit_mismatch" gauge [] "1 if the trail did not fit its last checkpoint when the gateway started: it was cut, rewritten or restored, or the checkpoint was; `/status` has the reason";
    "audit_disk_free_bytes" gauge [] "Bytes that the trail's disk has left for the gateway";
    "audit_disk_full_in_seconds" gauge [] "When the trail's disk is full, if the room goes on to shrink as in the last day; absent in the first half hour, and while it does not shrink";
    "audit_export_lag_records" gauge [] "Lines that the collector has not had; absent without a collector, as are the next two";
    "audit_export_lag_seconds" gauge [] "For how long the collector has not had all lines";
    "audit_export_rejected_records_total" counter [] "Lines that the collector refused for good; they are marked on the trail";
    "audit_witnessed_size" gauge ["witness"] "How many lines of the chain the witness has cosigned; 0 if none since the start";
    "audit_witness_age_seconds" gauge ["witness"] "Since the witness last cosigned a head, or since the start";
    "audit_witness_failures_total" counter ["witness"] "Heads that the witness has not cosigned";
    "audit_witness_contradicts" gauge ["witness"] "1 while the witness knows another history of the chain than the trail has: it was cut, rewritten, restored or copied";
}

/// The meaning of a metric, by its registered name: without the suffix `_total` or `_info` of its
/// type.
pub fn meaning(name: &str) -> &'static str {
    let is_it = |metric: &&Described| {
        let behind = metric.name.strip_prefix(name);
        behind.is_some_and(|behind| matches!(behind, "" | "_total" | "_info"))
    };
    METRICS.iter().find(is_it).map_or("", |metric| metric.meaning)
}

/// The manual's page.
pub fn metrics_page() -> String {
    let mut page = String::from(
        "# Metrics\n\n\
         <!-- Made from src/telemetry/table.rs; `UPDATE_EXPECTED=1 cargo nextest run --test cli docs` writes it anew. -->\n\n\
         `GET /metrics` on the admin or the metrics listener. Every name begins with `pigello_gateway_`. Label values come\n\
         from the configuration and from closed sets, never from what a caller sent, so there is a bound to\n\
         their number.\n\n\
         | metric | type | labels | meaning |\n| --- | --- | --- | --- |\n",
    );
    for metric in METRICS {
        let labels: Vec<_> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a string cannot fail.
        let _infallible = writeln!(
            page,
            "| `{}` | {} | {} | {} |",
            metric.name,
            metric.kind,
            labels.join(", "),
            metric.meaning
        );
    }
    page
}
