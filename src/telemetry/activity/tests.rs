use http::{Method, StatusCode};

use super::*;
use crate::{
    audit::{CacheResult, Outcome},
    domain::{ListenerName, PolicyId, Proof, RequestId},
};

/// Noon of a day.
const NOON: Duration = Duration::from_hours(472_236);

fn at(after_noon: Duration) -> SystemTime {
    UNIX_EPOCH + NOON + after_noon
}

fn record(caller: Option<&str>, operation: &str, outcome: Outcome) -> Record {
    let error = match outcome {
        Outcome::Forwarded | Outcome::Cached => None,
        Outcome::Refused => Some("operation_not_allowed"),
        Outcome::Failed => Some("upstream_timeout"),
    };
    Record {
        time: at(Duration::ZERO),
        request_id: RequestId::fresh(),
        trace_id: 1,
        own: None,
        peer: None,
        refused_certificate: None,
        policy: PolicyId::default(),
        listener: ListenerName::new("main"),
        caller: caller.map(LabelValue::from),
        caller_proof: Some(Proof::Listener),
        profile: Some(ProfileName::new("test")),
        operation: Some(operation.into()),
        method: Method::GET,
        target: Some("/accounts/users/customer/tenant/list/?ssn=201701272394".parse().unwrap()),
        status: Some(match outcome {
            Outcome::Forwarded | Outcome::Cached => StatusCode::OK,
            Outcome::Refused => StatusCode::FORBIDDEN,
            Outcome::Failed => StatusCode::GATEWAY_TIMEOUT,
        }),
        outcome,
        cache: (outcome == Outcome::Cached).then_some(CacheResult::Hit),
        source_request_id: None,
        source_chain: None,
        upstream_status: (outcome == Outcome::Forwarded).then_some(StatusCode::OK),
        upstream_tls: None,
        attempts: u32::from(matches!(outcome, Outcome::Forwarded | Outcome::Failed)),
        retries: Vec::new(),
        credential_version: None,
        duration: Duration::from_millis(20),
        queue_time: Duration::ZERO,
        upstream_time: Some(Duration::from_millis(15)),
        request_bytes: 0,
        response_bytes: 0,
        error,
        would_refuse: None,
        masked_fields: 0,
        list_ids: None,
    }
}

fn add(activity: &Activity, after_noon: Duration, records: &[Record]) {
    activity.add(&mut records.iter(), at(after_noon));
}

#[test]
fn calls_are_counted_by_who_called_what() {
    let activity = Activity::new();
    add(
        &activity,
        Duration::ZERO,
        &[
            record(Some("billing"), "tenant.list", Outcome::Forwarded),
            record(Some("billing"), "tenant.list", Outcome::Cached),
            record(Some("billing"), "tenant.get", Outcome::Failed),
            record(None, "tenant.list", Outcome::Refused),
        ],
    );
    for period in [Period::Hour, Period::Day] {
        let summary = activity.summary(period, at(Duration::from_secs(1)));
        let total = &summary.total;
        assert_eq!([total.forwarded, total.cached, total.refused, total.failed], [1, 1, 1, 1]);
        assert_eq!((total.errors, total.cacheable, total.from_memory), (1, 1, 1));
        let pairs: Vec<_> = summary
            .pairs
            .iter()
            .map(|(pair, counts)| {
                (pair.caller.as_deref(), pair.operation.as_deref(), counts.calls())
            })
            .collect();
        assert_eq!(
            pairs,
            [
                (None, Some("tenant.list"), 1),
                (Some("billing"), Some("tenant.get"), 1),
                (Some("billing"), Some("tenant.list"), 2),
            ]
        );
        let answers = &summary.upstreams[&ProfileName::new("test")];
        assert_eq!((answers.calls, answers.failed), (2, 1));
        assert!(answers.times.percentile(50.0).unwrap() < Duration::from_millis(20));
        assert_eq!(summary.stretches.last().unwrap().counts.calls(), 4);
    }
}

#[test]
fn an_hour_and_a_day_end_when_they_end() {
    let activity = Activity::new();
    let one = [record(Some("a"), "tenant.get", Outcome::Forwarded)];
    for minute in 0..180 {
        add(&activity, MINUTE * minute, &one);
    }
    let calls = |period, after_noon| {
        let summary = activity.summary(period, at(after_noon));
        let sum: u64 = summary.stretches.iter().map(|stretch| stretch.counts.calls()).sum();
        assert_eq!(sum, summary.total.calls(), "the chart and the table agree");
        (summary.stretches.len(), sum)
    };
    assert_eq!(calls(Period::Hour, MINUTE * 179), (60, 60));
    assert_eq!(calls(Period::Day, MINUTE * 179), (96, 180));
    // Without further calls, the old ones leave the period.
    assert_eq!(calls(Period::Hour, MINUTE * 209), (60, 30));
    assert_eq!(calls(Period::Hour, MINUTE * 300), (60, 0));
    assert_eq!(calls(Period::Day, MINUTE * (24 * 60 + 14)), (96, 165));
    assert_eq!(calls(Period::Day, MINUTE * (48 * 60)), (96, 0));
}

#[test]
fn a_clock_that_goes_back_loses_nothing() {
    let activity = Activity::new();
    let one = [record(Some("a"), "tenant.get", Outcome::Forwarded)];
    for minute in [5, 6, 5, 6] {
        add(&activity, MINUTE * minute, &one);
    }
    assert_eq!(activity.summary(Period::Hour, at(MINUTE * 6)).total.calls(), 4);
    assert_eq!(activity.summary(Period::Day, at(MINUTE * 6)).total.calls(), 4);
}

#[test]
fn pairs_without_room_are_in_the_totals() {
    let activity = Activity::new();
    let records: Vec<_> = (0..MOST_GROUPS * 2)
        .map(|number| record(Some(&format!("caller-{number}")), "tenant.get", Outcome::Cached))
        .collect();
    add(&activity, Duration::ZERO, &records);
    add(&activity, MINUTE, &records);
    let summary = activity.summary(Period::Day, at(MINUTE));
    assert_eq!(summary.pairs.len(), MOST_GROUPS);
    assert_eq!(summary.total.calls(), 4 * MOST_GROUPS as u64);
}

#[test]
fn the_last_refusals_are_kept_alike_ones_as_one() {
    let activity = Activity::new();
    let records: Vec<_> = (0..100)
        .map(|number| record(Some(&format!("c{}", number % 60)), "x.get", Outcome::Refused))
        .collect();
    add(&activity, Duration::ZERO, &records);
    add(&activity, MINUTE, &[record(None, "x.get", Outcome::Forwarded)]);
    let troubles = activity.troubles();
    assert_eq!(troubles.len(), MOST_TROUBLES);
    assert_eq!(troubles[0].caller.as_deref(), Some("c39"));
    assert_eq!(troubles[0].request_id, records[99].request_id);
    let flood: Vec<_> = (0..500).map(|_| record(None, "x.get", Outcome::Failed)).collect();
    add(&activity, MINUTE, &flood);
    let troubles = activity.troubles();
    assert_eq!((troubles[0].count, troubles[1].count), (500, 1));
    assert!(!format!("{troubles:?}").contains("201701272394"));
}

#[test]
fn refusals_are_alike_where_their_paths_have_the_same_words() {
    let activity = Activity::new();
    let to = |target: Option<&str>| {
        let mut refused = record(Some("a"), "x.get", Outcome::Refused);
        refused.target = target.map(|target| target.parse().unwrap());
        refused
    };
    for (target, count) in [
        ("/people/199001012385/", 1),
        ("/people/201701272394/?ssn=1", 2),
        ("/people/", 1),
        ("/people/201701272394/more/", 1),
        ("/people/201701272394", 1),
        ("/people/199001012385/", 3),
    ] {
        add(&activity, Duration::ZERO, &[to(Some(target))]);
        assert_eq!(activity.troubles()[0].count, count, "{target}");
    }
    add(&activity, Duration::ZERO, &[to(None), to(None)]);
    let troubles = activity.troubles();
    assert_eq!((troubles.len(), troubles[0].count, &troubles[0].outline), (5, 2, &None));
}

#[test]
fn a_call_that_is_only_reported_is_among_them() {
    let activity = Activity::new();
    let mut reported = record(Some("a"), "tenant.get", Outcome::Forwarded);
    reported.would_refuse = Some("operation_not_allowed");
    add(&activity, Duration::ZERO, &[reported]);
    let troubles = activity.troubles();
    assert!(troubles[0].reported);
    assert_eq!(troubles[0].cause, Cause::Error("operation_not_allowed"));
}

#[test]
fn an_error_that_pigello_itself_answers_is_among_them() {
    let activity = Activity::new();
    let mut passed_on = record(Some("a"), "tenant.get", Outcome::Forwarded);
    passed_on.status = Some(StatusCode::BAD_GATEWAY);
    passed_on.upstream_status = passed_on.status;
    let mut absent = record(Some("a"), "tenant.get", Outcome::Forwarded);
    absent.upstream_status = Some(StatusCode::NOT_FOUND);
    add(&activity, Duration::ZERO, &[passed_on, absent]);
    let troubles = activity.troubles();
    assert_eq!(troubles.len(), 1);
    assert_eq!((troubles[0].cause, troubles[0].reported), (Cause::Answer(502), false));
}

#[test]
fn of_ten_thousand_profiles_those_with_a_table_are_counted_and_a_page_knows_what_it_lacks() {
    let activity = Activity::new();
    let (table, last) = (ProfileName::new("production"), ProfileName::new("member-9999"));
    activity.always_count([table.clone()].into());
    let of = |profile: ProfileName| {
        let call = record(Some("app"), "tenant.list", Outcome::Forwarded);
        Record { profile: Some(profile), ..call }
    };
    let mut records: Vec<_> =
        (0..10_000).map(|number| of(ProfileName::new(format!("member-{number}")))).collect();
    records.push(of(table.clone()));
    add(&activity, Duration::ZERO, &records);
    add(&activity, MINUTE, &records);
    let now = at(MINUTE);
    for period in [Period::Hour, Period::Day] {
        let summary = activity.summary(period, now);
        assert_eq!(summary.upstreams.len(), MOST_GROUPS + 1);
        assert_eq!(summary.upstreams[&table].calls, 2);
        assert_eq!(summary.total.calls(), 20_002);
        let told = |profile: &ProfileName| {
            let (answers, is_all) = activity.answers_of(profile, period, now);
            (answers.calls, is_all)
        };
        assert_eq!(told(&table), (2, true));
        assert_eq!(told(&ProfileName::new("member-0")), (2, true));
        assert_eq!(told(&last), (0, false));
    }
}
