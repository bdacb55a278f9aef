//! What the gateway tells about itself is what is documented.

use std::collections::BTreeSet;

use http::StatusCode;
use pigello_gateway::{
    mock::{Fault, Mishap},
    telemetry::METRICS,
};

use crate::support::{Setup, pigello};

const TENANT: &str = "/accounts/users/customer/tenant/list/";

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_table_and_every_line_of_the_table_is_a_metric() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    pigello.handle().fault(Fault::new().mishap(Mishap::CloseUnanswered));
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    assert_eq!(gateway.caller().get("/nothing/").await.status, StatusCode::FORBIDDEN);
    gateway.reload(|text| text).await.unwrap();
    let answer = gateway.admin().get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();

    let mut told = BTreeSet::new();
    for line in text.lines() {
        if let Some(described) = line.strip_prefix("# TYPE pigello_gateway_") {
            let (name, kind) = described.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            told.insert((format!("{name}{suffix}"), kind.to_owned()));
        }
    }
    let known: BTreeSet<_> =
        METRICS.iter().map(|metric| (metric.name.to_owned(), metric.kind.to_owned())).collect();
    // A family without a member is not shown, and the cache has had no say yet.
    let missing: Vec<_> =
        known.difference(&told).filter(|(name, _)| name != "cache_requests_total").collect();
    let undocumented: Vec<_> = told.difference(&known).collect();
    assert!(missing.is_empty() && undocumented.is_empty(), "{missing:?} {undocumented:?}\n{text}");

    for expected in [
        "pigello_gateway_upstream_retries_total{kind=\"upstream_closed\"} 1",
        "pigello_gateway_upstream_attempts_total 2",
        "pigello_gateway_errors_total{kind=\"operation_unknown\"} 1",
        "pigello_gateway_upstream_breaker_state{profile=\"test\",state=\"closed\"} 1",
        "pigello_gateway_credentials_state{set=\"test\",state=\"fresh\"} 1",
        "pigello_gateway_ready 1",
    ] {
        assert!(text.lines().any(|line| line.starts_with(expected)), "{expected}\n{text}");
    }
    for line in text.lines().filter(|line| line.contains('{')) {
        let (name, rest) = line.split_once('{').unwrap();
        let name = name.trim_start_matches("pigello_gateway_").trim_end_matches("_bucket");
        let name = name.trim_end_matches("_sum").trim_end_matches("_count");
        let metric = METRICS.iter().find(|metric| metric.name == name).unwrap();
        for label in rest.split_once('}').unwrap().0.split(',') {
            let label = label.split_once('=').unwrap().0;
            assert!(label == "le" || metric.labels.contains(&label), "{line}");
        }
    }
}
