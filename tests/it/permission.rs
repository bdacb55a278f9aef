//! Report before enforce, and limits of one caller.

use http::StatusCode;
use pigello_mock::Fault;

use crate::support::{Setup, pigello};

const LIST: &str = "/accounts/users/customer/tenant/list/";

#[tokio::test(flavor = "multi_thread")]
async fn report_lets_through_and_writes_down_what_would_be_refused() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .listener("caller = \"billing\"\n")
        .with("[policy]\nmode = \"report\"\n[[callers]]\nname = \"billing\"\nallow = [\"subtenant.*\"]\n")
        .start()
        .await;
    assert_eq!(gateway.caller().get(LIST).await.status, StatusCode::OK);
    let unknown = gateway.caller().get("/no/such/operation/").await;
    assert_ne!(unknown.status, StatusCode::FORBIDDEN);
    let subtenants = gateway.caller().get("/accounts/users/customer/subtenant/list/").await;
    assert_eq!(subtenants.status, StatusCode::OK);
    assert_eq!(pigello.handle().requests().len(), 3);
    let records = gateway.into_records().await;
    assert_eq!(records[0]["would_refuse"], "operation_not_allowed");
    assert_eq!(
        (&records[0]["outcome"], &records[0]["operation"]),
        (&"forwarded".into(), &"tenant.list".into())
    );
    assert_eq!(records[1]["would_refuse"], "operation_unknown");
    assert!(records[2]["would_refuse"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_over_its_rate_is_told_when_to_come_back() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .listener("caller = \"billing\"\n")
        .with("[[callers]]\nname = \"billing\"\nallow = [\"*\"]\nrate = 1\nburst = 2\n")
        .start()
        .await;
    let mut statuses = Vec::new();
    for _ in 0..4 {
        let answer = gateway.caller().get(LIST).await;
        if answer.status == StatusCode::TOO_MANY_REQUESTS {
            assert_eq!(answer.problem(), "rate_limited");
            assert_eq!(answer.header("retry-after"), "1");
        }
        statuses.push(answer.status.as_u16());
    }
    assert_eq!(statuses[..2], [200, 200]);
    assert!(statuses[2..].contains(&429), "{statuses:?}");
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert_eq!(pigello.handle().requests().len(), 4 - refused);
    assert!(gateway.into_records().await.iter().any(|record| record["error"] == "rate_limited"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_has_only_so_many_calls_under_way() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .listener("caller = \"billing\"\n")
        .with("[[callers]]\nname = \"billing\"\nallow = [\"*\"]\nconcurrency = 1\n")
        .start()
        .await;
    pigello.handle().fault(Fault::new().delay(std::time::Duration::from_secs(2)).times(1));
    let caller = gateway.caller().clone();
    let first = tokio::spawn(async move { caller.get(LIST).await });
    // The first has reached the upstream once the mock has its request.
    while pigello.handle().requests().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(gateway.caller().get(LIST).await.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(first.await.unwrap().status, StatusCode::OK);
    assert_eq!(gateway.caller().get(LIST).await.status, StatusCode::OK);
}

/// A name that leads to this machine is no upstream unless the profile says so.
#[tokio::test(flavor = "multi_thread")]
async fn a_name_that_leads_inside_is_not_dialled() {
    let pigello = pigello().await;
    let port = pigello.origin().rsplit(':').next().unwrap().trim_end_matches('/').to_owned();
    // Resolved by the machine itself, to a loopback address (RFC 6761 §6.3).
    let upstream = format!("https://ip6-localhost:{port}");
    let gateway = Setup::new(&pigello).upstream(upstream).start().await;
    let answer = gateway.caller().get(LIST).await;
    assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
    let problem = answer.problem();
    assert!(["upstream_address_refused", "upstream_dns"].contains(&&*problem), "{problem}");
    assert_eq!(pigello.handle().connections(), 0);
}
