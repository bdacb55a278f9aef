//! What will fail if nobody acts is told before it does: certificates that end, clocks that differ.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use http::StatusCode;
use serde_json::Value;

use crate::{
    lifecycle::TENANT,
    support::{Authority, Gateway, Setup, dns, pigello},
};

async fn metrics(gateway: &Gateway) -> String {
    String::from_utf8(gateway.admin().get("/metrics").await.body.to_vec()).unwrap()
}

fn value(metrics: &str, series: &str) -> f64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(series));
    line.unwrap_or_else(|| panic!("{series}: {metrics}")).trim().parse().unwrap()
}

fn now() -> f64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_ends_of_certificates_are_in_metrics_status_and_page() {
    let pigello = pigello().await;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let authority = Authority::new();
    let pair = authority.issue_for(Duration::from_hours(100));
    fs::write(path("cert.pem"), &pair.certificate).unwrap();
    fs::write(path("key.pem"), &pair.key).unwrap();
    fs::write(path("ca.pem"), &authority.pem).unwrap();
    let tls = format!(
        "[[listeners]]\nname = \"mutual\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
         [listeners.tls]\ncertificate = \"{}\"\nprivate_key = \"{}\"\nclient_ca = \"{}\"\n",
        path("cert.pem").display(),
        path("key.pem").display(),
        path("ca.pem").display()
    );
    let gateway = Setup::new(&pigello).with(&tls).start().await;
    let series = |usage: &str, name: &str| {
        format!("pigello_gateway_certificate_not_after_seconds{{use=\"{usage}\",name=\"{name}\"}} ")
    };
    let text = metrics(&gateway).await;
    let left = value(&text, &series("listener", "mutual")) - now();
    assert!((350_000.0..=360_001.0).contains(&left), "{left}");
    assert!(value(&text, &series("client_ca", "mutual")) > now());
    assert!(value(&text, &series("upstream_ca", "test")) > now());
    assert!(!text.contains("use=\"upstream\""), "there was no handshake yet");

    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    assert!(value(&metrics(&gateway).await, &series("upstream", "test")) > now());
    let status: Value = gateway.admin().get("/status").await.json();
    let ends = status["certificates"].as_array().unwrap();
    let uses: Vec<_> = ends.iter().map(|end| end["use"].as_str().unwrap()).collect();
    assert_eq!(uses, ["listener", "client_ca", "upstream_ca", "upstream"]);
    assert!(status["audit"]["disk_free_bytes"].as_u64().unwrap() > 0);
    let page = String::from_utf8(gateway.admin().get("/").await.body.to_vec()).unwrap();
    assert!(page.contains("Certificate (Listener mutual): valid until "), "{page}");
    assert!(page.contains("Upstream of test") && page.contains(" free"), "{page}");

    // A renewed file is read again.
    let renewed = authority.issue(dns("localhost"), false);
    fs::write(path("cert.pem"), &renewed.certificate).unwrap();
    fs::write(path("key.pem"), &renewed.key).unwrap();
    let wait = async {
        while value(&metrics(&gateway).await, &series("listener", "mutual")) - now() < 400_000.0 {}
    };
    tokio::time::timeout(Duration::from_mins(1), wait).await.expect("the new end is told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_differs_is_in_metrics_status_and_page() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let series = "pigello_gateway_clock_offset_seconds{server=\"upstream\",name=\"test\"} ";
    assert!(!metrics(&gateway).await.contains(series), "nothing was called yet");
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    assert!(value(&metrics(&gateway).await, series).abs() < 2.0);

    let tomorrow = SystemTime::now() + Duration::from_hours(24);
    let date = format!("header=Date: {}", httpdate::fmt_http_date(tomorrow));
    pigello.handle().fault(date.parse().unwrap());
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    let offset = value(&metrics(&gateway).await, series);
    assert!((-86_401.0..-86_000.0).contains(&offset), "{offset}");
    let status: Value = gateway.admin().get("/status").await.json();
    assert!(status["clocks"][0]["offset_seconds"].as_i64().unwrap() < -86_000, "{status}");
    let page = String::from_utf8(gateway.admin().get("/").await.body.to_vec()).unwrap();
    assert!(page.contains("The clock of this machine is"), "{page}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_credentials_away_is_in_the_readiness() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .with("[metrics]\naddress = \"127.0.0.1:0\"\n")
        .without_value("client_secret")
        .start()
        .await;
    let answer = gateway.admin().get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    let reason = answer.json()["reasons"][0].clone();
    assert!(reason["cause"].as_str().unwrap().contains("client_secret"), "{reason}");
    assert!(reason["next_try_seconds"].as_u64().unwrap() > 0, "{reason}");
    assert!(!reason["remedy"].as_str().unwrap().contains("/readyz"), "{reason}");
    let asked = gateway.metrics().get("/readyz").await.json()["reasons"][0].clone();
    assert!(asked["cause"].is_null() && asked["next_try_seconds"].is_u64(), "{asked}");
}
