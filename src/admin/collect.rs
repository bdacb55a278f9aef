//! Metrics of state: collected from the running parts at each scrape. A reload exchanges the parts.

use std::{fmt, fs, time::UNIX_EPOCH};

use jiff::Timestamp;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _, MetricEncoder},
    metrics::MetricType,
};

use super::{
    GatewayView, SharedView,
    foresight::{certificates, clocks},
    health::reasons,
    shared_keys::unread,
    trouble::{Judged, ProfileTrouble, judged},
};
use crate::{
    audit::{Blocked, FindingKind, FleetLog, WitnessStats},
    credentials,
    notices::{FeedStatus, SourceStatus, Stopped},
    proxy::profile::{CircuitBreakerState, Family, Profile},
    telemetry::{dropped_log_lines, meaning},
};

/// All state of the gateway, as metrics.
#[derive(Debug)]
pub(super) struct Parts(pub(super) SharedView);

impl Collector for Parts {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let view = self.0.view();
        let mut sheet = Sheet { encoder };
        process(&mut sheet, &view)?;
        load(&mut sheet, &view)?;
        let judged = judged(&view);
        let shown = shown(&view, &judged);
        upstreams(&mut sheet, &shown)?;
        cache(&mut sheet, &view, &judged)?;
        notices(&mut sheet, &view)?;
        fleet(&mut sheet, &view)?;
        credentials(&mut sheet, &view, &shown)?;
        profiles(&mut sheet, &view, &judged)?;
        foresight(&mut sheet, &view)?;
        audit(&mut sheet, &view)
    }
}

/// Exemplars of a counter: none here.
type NoLabels = [(&'static str, &'static str); 0];

/// Encodes one metric after another.
struct Sheet<'a> {
    encoder: DescriptorEncoder<'a>,
}

impl Sheet<'_> {
    fn metric<'s>(
        &'s mut self,
        name: &'s str,
        kind: MetricType,
    ) -> Result<MetricEncoder<'s>, fmt::Error> {
        self.encoder.encode_descriptor(name, meaning(name), None, kind)
    }

    fn gauge(&mut self, name: &str, value: f64) -> fmt::Result {
        self.metric(name, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn counter(&mut self, name: &str, value: u64) -> fmt::Result {
        self.metric(name, MetricType::Counter)?.encode_counter::<NoLabels, _, u64>(&value, None)
    }

    fn gauges<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        rows: impl IntoIterator<Item = (L, f64)>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, MetricType::Gauge)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        rows: impl IntoIterator<Item = (L, u64)>,
    ) -> fmt::Result {
        let mut metric = self.metric(name, MetricType::Counter)?;
        for (labels, value) in rows {
            metric.encode_family(&labels)?.encode_counter::<NoLabels, _, u64>(&value, None)?;
        }
        Ok(())
    }
}

fn process(sheet: &mut Sheet<'_>, view: &GatewayView) -> fmt::Result {
    sheet.gauge("ready", flag(reasons(view).is_empty()))?;
    let started = view.started.duration_since(UNIX_EPOCH).unwrap_or_default();
    sheet.gauge("start_timestamp_seconds", started.as_secs_f64())?;
    sheet.gauge("config_refused", flag(view.configuration.refused.is_some()))?;
    sheet.counter("log_dropped_lines", dropped_log_lines())?;
    // Systems without /proc have no process figures.
    if let Some(bytes) = resident_bytes() {
        sheet.gauge("resident_memory_bytes", count(bytes))?;
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        sheet.gauge("open_file_descriptors", count(open.count() as u64))?;
    }
    Ok(())
}

fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

fn load(sheet: &mut Sheet<'_>, view: &GatewayView) -> fmt::Result {
    let limits = &view.limits;
    sheet.gauge("connections_limit", count(limits.connections_limit as u64))?;
    sheet.gauge("in_flight_calls", count(limits.under_way() as u64))?;
    sheet.gauge("in_flight_limit", count(limits.in_flight_limit as u64))
}

/// The profiles that have gauges of their own: those with tables, and the busiest members.
fn shown<'a>(view: &GatewayView, judged: &'a [Judged]) -> Vec<&'a Profile> {
    let named = view.metrics.profiles().named();
    let all = judged.iter().map(|judged| &*judged.profile);
    all.filter(|profile| !profile.is_member() || named.contains(&profile.name)).collect()
}

fn upstreams(sheet: &mut Sheet<'_>, shown: &[&Profile]) -> fmt::Result {
    let profiles = || shown.iter().map(|profile| (&profile.name, &profile.health));
    let states = profiles().flat_map(|(profile, health)| {
        let current = health.breaker.state();
        CircuitBreakerState::ALL.map(|state| {
            (
                [("profile", profile.to_string()), ("state", state.label().to_owned())],
                flag(state == current),
            )
        })
    });
    sheet.gauges("upstream_breaker_state", states)?;
    let pauses = profiles().map(|(profile, health)| {
        ([("profile", profile.to_string())], health.rate_limit.pause().as_secs_f64())
    });
    sheet.gauges("upstream_pause_seconds", pauses)?;
    let suspended = profiles().map(|(profile, health)| {
        let operations = health.suspended_operations().len();
        ([("profile", profile.to_string())], count(operations as u64))
    });
    sheet.gauges("upstream_suspended_operations", suspended)?;
    let rates = profiles().filter_map(|(profile, health)| {
        Some(([("profile", profile.to_string())], f64::from(health.rate_limit.rate()?)))
    });
    sheet.gauges("upstream_learnt_rate", rates)?;
    let budgets = || {
        profiles().filter_map(|(profile, health)| {
            Some(([("profile", profile.to_string())], health.rate_limit.budget()?))
        })
    };
    let leased = budgets().map(|(profile, budget)| (profile, count(budget.leased)));
    sheet.gauges("budget_leased", leased)?;
    sheet.counters("budget_refused", budgets().map(|(profile, budget)| (profile, budget.refused)))
}

fn cache(sheet: &mut Sheet<'_>, view: &GatewayView, judged: &[Judged]) -> fmt::Result {
    let stats = view.cache.stats();
    sheet.gauge("cache_responses", count(stats.responses))?;
    sheet.gauge("cache_bytes", count(stats.bytes))?;
    sheet.gauge("cache_max_bytes", count(stats.max_bytes))?;
    sheet.counter("cache_stored", stats.stored)?;
    sheet.counter("cache_purged", stats.purged)?;
    sheet.counter("cache_invalidations", stats.invalidations)?;
    let Some((shared, seconds)) = stats.shared.zip(view.cache.shared_seconds()) else {
        return Ok(());
    };
    let results = shared.results.iter().map(|it| ([("result", it.result.label())], it.count));
    sheet.counters("cache_shared", results)?;
    seconds.encode(sheet.metric("cache_shared_seconds", MetricType::Histogram)?)?;
    sheet.counter("cache_shared_stored", shared.stored)?;
    sheet.counter("cache_shared_dropped", shared.dropped)?;
    let unread = unread(judged).into_iter();
    let unread = unread.map(|(table, keys)| ([("profile", table.to_string())], count(keys)));
    sheet.gauges("cache_keys_unread", unread)
}

fn notices(sheet: &mut Sheet<'_>, view: &GatewayView) -> fmt::Result {
    let feeds = view.notices.status();
    let counts = |count: fn(&SourceStatus) -> u64| {
        let of_feed = move |feed: &FeedStatus| {
            let profile = feed.profile.clone();
            let label = move |source: &SourceStatus| {
                (
                    [("profile", profile.clone()), ("source", source.source.to_owned())],
                    count(source),
                )
            };
            feed.sources.iter().map(label).collect::<Vec<_>>()
        };
        feeds.iter().flat_map(of_feed)
    };
    sheet.counters("notices_received", counts(|source| source.received))?;
    sheet.counters("notices_applied", counts(|source| source.applied))?;
    let unreadable = view.notices.unreadable().map(|(why, count)| ([("reason", why)], count));
    sheet.counters("notices_unreadable", unreadable)?;
    let refused = view.webhooks.iter().flat_map(|webhooks| webhooks.refused());
    sheet.counters("notices_refused", refused.map(|(why, count)| ([("reason", why)], count)))?;
    let read = feeds.iter().filter(|feed| feed.state.event_log != "off");
    let profile = |feed: &FeedStatus| [("profile", feed.profile.clone())];
    let complete =
        read.clone().map(|feed| (profile(feed), flag(feed.state.event_log == "complete")));
    sheet.gauges("notices_coherent", complete)?;
    let stopped = read.clone().flat_map(|feed| {
        Stopped::ALL.map(|why| {
            let labels = [("profile", feed.profile.clone()), ("reason", why.label().to_owned())];
            (labels, flag(feed.state.stopped == Some(why)))
        })
    });
    sheet.gauges("notices_feed_stopped", stopped)?;
    let now = Timestamp::now().as_second();
    let ages = read.clone().filter_map(|feed| {
        Some((profile(feed), seconds(now.saturating_sub(feed.state.last_read?.as_second()).max(0))))
    });
    sheet.gauges("notices_feed_age_seconds", ages)?;
    let since = read
        .clone()
        .filter_map(|feed| Some((profile(feed), seconds(feed.state.complete_since?.as_second()))));
    sheet.gauges("notices_complete_since_timestamp_seconds", since)?;
    let lags =
        feeds.iter().filter_map(|feed| Some((profile(feed), count(feed.state.lag_ms?) / 1000.0)));
    sheet.gauges("notices_lag_seconds", lags)
}

/// Without a fleet there is nothing to tell.
fn fleet(sheet: &mut Sheet<'_>, view: &GatewayView) -> fmt::Result {
    let Some(member) = view.fleet.as_deref() else { return Ok(()) };
    let status = member.status();
    sheet.gauge("fleet_connected", flag(status.connected))?;
    sheet.counter("fleet_connections", status.connections)?;
    sheet.gauge("fleet_coherent", flag(status.hearing))?;
    sheet.gauge("fleet_lag_seconds", member.lag().as_secs_f64())?;
    sheet.gauge("fleet_outbox", count(status.waiting))?;
    sheet.gauge("fleet_members", count(status.members))?;
    sheet.gauge("fleet_key_unread", flag(member.is_key_unread()))?;
    sheet.counter("fleet_messages", status.messages)?;
    let notices = member.kinds().flat_map(|(kind, counts)| {
        let sources = ["own", "fleet"].into_iter().zip(counts);
        sources.map(move |(source, count)| ([("kind", kind), ("source", source)], count))
    });
    sheet.counters("fleet_notices", notices)?;
    let breaks = status.breaks.iter().map(|it| ([("why", it.reason)], it.count));
    sheet.counters("fleet_breaks", breaks)?;
    let Some(log) = view.fleet_log.as_deref().map(FleetLog::status) else { return Ok(()) };
    sheet.gauge("fleet_log_writable", flag(log.writable))?;
    sheet.gauge("fleet_log_chains", count(log.chains))?;
    let findings = FindingKind::ALL.map(|kind| {
        let found = log.findings.iter().filter(|finding| finding.kind == kind);
        ([("finding", kind.label())], count(found.count() as u64))
    });
    sheet.gauges("fleet_findings", findings)?;
    let witness = |witness: &WitnessStats| [("witness", witness.name.clone())];
    let ages = log.witnesses.iter().map(|stats| (witness(stats), count(stats.age_seconds)));
    sheet.gauges("fleet_log_witness_age_seconds", ages)?;
    let contradictions = log.witnesses.iter().map(|it| (witness(it), flag(it.contradicts)));
    sheet.gauges("fleet_log_witness_contradicts", contradictions)
}

fn credentials(sheet: &mut Sheet<'_>, view: &GatewayView, shown: &[&Profile]) -> fmt::Result {
    // A member's set has the member's name, which a set with a table may have, too.
    let members = shown.iter().filter(|it| it.is_member()).map(|member| &member.manager);
    let members = members.filter(|manager| !view.managers.contains_key(&manager.settings().name));
    let managers = view.managers.values().chain(members);
    let sets: Vec<_> = managers.map(credentials::CredentialManager::status).collect();
    let set = |status: &credentials::SetStatus| [("set", status.name.clone())];
    let states = sets.iter().flat_map(|status| {
        credentials::SetState::ALL.map(|state| {
            let labels = [("set", status.name.clone()), ("state", state.label().to_owned())];
            (labels, flag(state == status.state))
        })
    });
    sheet.gauges("credentials_state", states)?;
    let versions = sets.iter().filter_map(|status| {
        let version = status.version.clone()?;
        let source = status.source.to_owned();
        Some(([("set", status.name.clone()), ("source", source), ("version", version)], 1.0))
    });
    sheet.gauges("credentials_info", versions)?;
    let refused = sets.iter().map(|status| (set(status), flag(status.refused_version.is_some())));
    sheet.gauges("credentials_refused_version", refused)?;
    let waiting = sets.iter().map(|status| (set(status), flag(status.waiting_version.is_some())));
    sheet.gauges("credentials_waiting_version", waiting)?;
    let some = |value: fn(&credentials::SetStatus) -> Option<u64>| {
        sets.iter().filter_map(move |status| Some((set(status), count(value(status)?))))
    };
    sheet.gauges("credentials_generation", some(|status| status.generation))?;
    sheet.gauges("credentials_age_seconds", some(|status| status.age_seconds))?;
    sheet.gauges("credentials_unconfirmed_seconds", some(|status| status.unconfirmed_seconds))?;
    sheet.gauges("credentials_unaccepted_seconds", some(|status| status.unaccepted_seconds))?;
    sheet.counters(
        "credentials_rotations",
        sets.iter().map(|status| (set(status), status.rotations)),
    )?;
    sheet.counters(
        "credentials_rejections",
        sets.iter().map(|status| (set(status), status.rejections)),
    )?;
    sheet.counters("credentials_failures", sets.iter().map(|status| (set(status), status.failures)))
}

/// The members of templates: how many there are, and which are in trouble.
fn profiles(sheet: &mut Sheet<'_>, view: &GatewayView, judged: &[Judged]) -> fmt::Result {
    let templates = || {
        let families = view.directory.families().iter();
        families.map(|family| (family, [("table", family.settings().table.to_string())]))
    };
    let loaded = templates().map(|(family, labels)| (labels, members(judged, family, |_| true)));
    sheet.gauges("profiles_loaded", loaded)?;
    let absent = templates().map(|(family, labels)| (labels, count(family.absent())));
    sheet.gauges("profiles_absent", absent)?;
    let in_trouble = templates().flat_map(|(family, [(_, table)])| {
        ProfileTrouble::ALL.map(|trouble| {
            let labels = [("table", table.clone()), ("reason", trouble.label().to_owned())];
            (labels, members(judged, family, |judged| judged.troubles.contains(&trouble)))
        })
    });
    sheet.gauges("profiles_in_trouble", in_trouble)?;
    let named = judged.iter().filter(|judged| judged.is_member_in_trouble());
    let named = named.take(view.metrics.profiles().most()).flat_map(|judged| {
        judged.troubles.iter().map(|trouble| {
            let name = judged.profile.name.to_string();
            ([("profile", name), ("reason", trouble.label().to_owned())], 1.0)
        })
    });
    sheet.gauges("profile_trouble", named)
}

/// How many loaded members a template has of that kind.
fn members(judged: &[Judged], family: &Family, is_one: impl Fn(&Judged) -> bool) -> f64 {
    let table = &family.settings().table;
    let members = judged.iter().filter(|judged| judged.profile.table == *table && is_one(judged));
    count(members.count() as u64)
}

fn foresight(sheet: &mut Sheet<'_>, view: &GatewayView) -> fmt::Result {
    let ends = certificates(view).into_iter().map(|end| {
        let labels = [("use", end.usage.label().to_owned()), ("name", end.name)];
        (labels, seconds(end.not_after.as_second()))
    });
    sheet.gauges("certificate_not_after_seconds", ends)?;
    let offsets = clocks(view).into_iter().map(|clock| {
        let labels = [("server", clock.server.to_owned()), ("name", clock.name)];
        (labels, seconds(clock.offset_seconds))
    });
    sheet.gauges("clock_offset_seconds", offsets)
}

fn audit(sheet: &mut Sheet<'_>, view: &GatewayView) -> fmt::Result {
    let stats = view.trail.stats();
    sheet.gauge("audit_writable", flag(view.trail.admit().is_ok()))?;
    sheet.gauge("audit_queued_records", count(stats.queued as u64))?;
    sheet.gauge("audit_lag_seconds", count(stats.lag_ms) / 1000.0)?;
    sheet.counter("audit_written_records", stats.written)?;
    sheet.counter("audit_written_bytes", stats.bytes)?;
    sheet.counter("audit_lost_records", stats.lost)?;
    sheet.gauge("audit_last_seq", count(stats.last_seq))?;
    sheet.gauge("audit_synced_seq", count(stats.synced_seq))?;
    let witness = |witness: &WitnessStats| [("witness", witness.name.clone())];
    let all = stats.witnesses.iter();
    let sizes = all.clone().map(|stats| (witness(stats), count(stats.size)));
    sheet.gauges("audit_witnessed_size", sizes)?;
    let ages = all.clone().map(|stats| (witness(stats), count(stats.age_seconds)));
    sheet.gauges("audit_witness_age_seconds", ages)?;
    let failures = all.clone().map(|stats| (witness(stats), stats.failures));
    sheet.counters("audit_witness_failures", failures)?;
    let contradictions = all.map(|stats| (witness(stats), flag(stats.contradicts)));
    sheet.gauges("audit_witness_contradicts", contradictions)?;
    let reasons = Blocked::ALL.map(|reason| {
        let is_it = stats.retention_blocked == Some(reason.label());
        ([("reason", reason.label())], flag(is_it))
    });
    sheet.gauges("audit_retention_blocked", reasons)?;
    sheet.gauge("audit_clock_in_doubt", flag(stats.clock_in_doubt))?;
    sheet.gauge("audit_mismatch", flag(stats.mismatch.is_some()))?;
    // What the system does not say, and what is not known yet.
    if let Some(bytes) = stats.disk_free_bytes {
        sheet.gauge("audit_disk_free_bytes", count(bytes))?;
    }
    if let Some(seconds) = stats.disk_full_in_seconds {
        sheet.gauge("audit_disk_full_in_seconds", count(seconds))?;
    }
    // Without a collector there is nothing to tell of one.
    let Some(exported) = stats.exported_seq else { return Ok(()) };
    let behind = stats.last_seq.saturating_sub(exported);
    sheet.gauge("audit_export_lag_records", count(behind))?;
    let lag = stats.export_lag_ms.unwrap_or_default();
    sheet.gauge("audit_export_lag_seconds", count(lag) / 1000.0)?;
    sheet.counter("audit_export_rejected_records", stats.export_rejected.unwrap_or_default())
}

fn flag(set: bool) -> f64 {
    f64::from(u8::from(set))
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and a metric")]
fn seconds(number: i64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "exact up to 2^53, and a metric")]
fn count(number: u64) -> f64 {
    number as f64
}
