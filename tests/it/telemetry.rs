//! What the gateway tells about itself is what is documented.

use std::{collections::BTreeSet, io::Read as _};

use axum::{Router, routing::post};
use bytes::Bytes;
use flate2::read::GzDecoder;
use http::StatusCode;
use pigello_gateway::{
    outbound::otlp::{AnyKind, ExportRequest, KeyValue, Span},
    telemetry::METRICS,
};
use pigello_mock::{Fault, Interruption};
use prost::Message as _;
use tokio::{net::TcpListener, sync::mpsc};

use crate::support::{Setup, pigello};

const TENANT: &str = "/accounts/users/customer/tenant/list/";

#[tokio::test(flavor = "multi_thread")]
async fn every_metric_is_in_the_table_and_every_line_of_the_table_is_a_metric() {
    let pigello = pigello().await;
    let (address, _received) = collector().await;
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("key");
    std::fs::write(&key, "bWFkZS11cC1rZXktdGhhdC1pcy0zMi1ieXRlcy1sbyE=").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let telemetry = format!(
        "[telemetry]\notlp_endpoint = \"{address}\"\n[fleet]\nname = \"test\"\nrole = \"hub\"\n\
         key = {{ source = \"file\", path = \"{}\" }}\n\
         [fleet.store]\naddress = \"unix:{}\"\n[cache.shared]\nenabled = true\n",
        key.display(),
        folder.path().join("away.sock").display()
    );
    let cache_key = format!("cache_key = {{ source = \"file\", path = \"{}\" }}\n", key.display());
    let gateway = Setup::new(&pigello).profile(&cache_key).with(&telemetry).start().await;
    pigello.handle().fault(Fault::new().interrupt(Interruption::CloseUnanswered));
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    assert_eq!(gateway.caller().get("/nothing/").await.status, StatusCode::FORBIDDEN);
    gateway.reload(|text| text).await.unwrap();
    let accept = [("accept", "application/openmetrics-text")];
    let answer = gateway.admin().get_with("/metrics", &accept).await;
    assert!(answer.header("content-type").starts_with("application/openmetrics-text"));
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
    // A family without a member is not shown: the cache has had no say yet, nor has the disk shrunk.
    let not_yet = ["cache_requests_total", "audit_disk_full_in_seconds"];
    let missing: Vec<_> =
        known.difference(&told).filter(|(name, _)| !not_yet.contains(&name.as_str())).collect();
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

/// A collector on a port of its own, and what it was sent.
async fn collector() -> (String, mpsc::UnboundedReceiver<(Vec<KeyValue>, Vec<Span>)>) {
    let (sent, received) = mpsc::unbounded_channel();
    let take = move |body: Bytes| async move {
        let mut message = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut message).unwrap();
        let request = ExportRequest::<Span>::decode(message.as_slice()).unwrap();
        let resource = &request.resources[0];
        let source = resource.resource.clone().unwrap().attributes;
        drop(sent.send((source, resource.scopes[0].items.clone())));
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/v1/traces", post(take));
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}"), received)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_whose_caller_asks_for_it_is_a_trace_with_a_span_for_each_stage() {
    let pigello = pigello().await;
    let (address, mut received) = collector().await;
    let gateway = Setup::new(&pigello)
        .with(&format!("[telemetry]\notlp_endpoint = \"{address}\"\n"))
        .start()
        .await;
    let traceparent =
        |flags| format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}");
    // One that was not asked for comes first: it would arrive first.
    gateway.caller().get_with(TENANT, &[("traceparent", &traceparent("00"))]).await;
    pigello.handle().fault(Fault::new().interrupt(Interruption::CloseUnanswered));
    gateway.caller().get_with(TENANT, &[("traceparent", &traceparent("01"))]).await;
    let onward = pigello.handle().requests().last().unwrap().values("traceparent")[0].to_owned();
    drop(gateway.stop().await);

    let (source, spans) = received.recv().await.unwrap();
    let value = |attributes: &[KeyValue], key: &str| {
        let found = attributes.iter().find(|attribute| attribute.key == key);
        found.and_then(|attribute| attribute.value.clone()?.kind)
    };
    assert!(matches!(value(&source, "service.instance.id"), Some(AnyKind::Text(_))));
    let status = value(&spans[0].attributes, "http.response.status_code");
    assert_eq!(status, Some(AnyKind::Integer(200)));
    let trace_id = 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736_u128.to_be_bytes();
    assert!(spans.iter().all(|span| span.trace_id == trace_id));
    let call = &spans[0];
    assert_eq!(call.parent_span_id, 0x00f0_67aa_0ba9_02b7_u64.to_be_bytes());
    assert_eq!((call.name.as_str(), call.kind), ("tenant.list", 2));
    let id = u64::from_be_bytes(call.span_id.as_slice().try_into().unwrap());
    assert!(onward.contains(&format!("{id:016x}")), "{onward}");
    // Each is part of the one before it, and the two attempts of the same one.
    let by_name = |name: &'static str| spans.iter().filter(move |span| span.name == name);
    let mut outer = call;
    for stage in [
        "identify",
        "receive",
        "select",
        "authorize",
        "load",
        "gather",
        "write_ahead",
        "cache",
        "intend",
        "resolve",
        "attempts",
        "guard",
    ] {
        let span = by_name(stage).next().unwrap_or_else(|| panic!("{stage}: {spans:#?}"));
        assert_eq!(span.parent_span_id, outer.span_id, "{stage}");
        outer = span;
    }
    let attempts: Vec<_> = by_name("attempt").collect();
    assert_eq!(attempts.len(), 2);
    assert!(attempts.iter().all(|attempt| attempt.parent_span_id == outer.span_id));
    assert_eq!(attempts[0].status.as_ref().unwrap().code, 2);
    for span in &spans {
        assert!(span.start_time_unix_nano <= span.end_time_unix_nano);
        assert!(span.start_time_unix_nano >= call.start_time_unix_nano);
    }
    assert_eq!(spans.len(), 15);
    // The gateway has ended, so nothing more is on its way.
    assert!(received.try_recv().is_err(), "nothing of the other call");
}
