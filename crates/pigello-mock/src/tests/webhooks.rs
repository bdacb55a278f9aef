//! Webhooks: a second mock receives them, over HTTP and HTTPS, and refuses some.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{
    Activation, ActivationHandle, EXAMPLE_SUBTENANT, Fault, MockPigello, Options, Webhook,
    WebhookFaults, WebhookHandle,
};

use super::client::call;

/// A receiver that takes everything, where it is told nothing else.
async fn receiver(options: Options) -> MockPigello {
    let receiver = MockPigello::start(options).await.unwrap();
    take_everything(&receiver);
    receiver
}

fn take_everything(receiver: &MockPigello) {
    let fault = Fault::new().status(StatusCode::NO_CONTENT).until_cleared();
    receiver.handle().fault(fault);
}

fn url(receiver: &MockPigello) -> String {
    format!("{}/hooks/made-up-token", receiver.origin())
}

/// To a receiver over plain HTTP, repeated at once.
fn webhook(receiver: &MockPigello) -> Webhook {
    let soon = Duration::from_millis(1);
    Webhook::new(&url(receiver), receiver.ca_pem()).unwrap().retry(soon, soon)
}

fn rename(activation: &ActivationHandle, name: &str) {
    let path = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    activation.elsewhere(Method::PATCH, &path, &json!({ "first_name": name }));
}

async fn start() -> (MockPigello, ActivationHandle) {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let built_in = mock.handle().activation(Activation::BUILT_IN).unwrap();
    (mock, built_in)
}

/// The bodies that have arrived.
fn arrived(receiver: &MockPigello) -> Vec<Value> {
    let requests = receiver.handle().requests();
    requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
}

/// What `object_id` the deliveries had, in the order of their arrival.
fn objects(receiver: &MockPigello) -> Vec<String> {
    let first = |body: &Value| body[0]["object_id"].as_str().unwrap().to_owned();
    arrived(receiver).iter().map(first).collect()
}

/// Creates that many tenants, and returns their identifiers.
fn create(activation: &ActivationHandle, count: usize) -> Vec<String> {
    let tenant = json!({"first_name": "Nils"});
    let create =
        |_| activation.elsewhere(Method::POST, "/accounts/users/customer/tenant/", &tenant);
    let created = (0..count).map(create);
    created.map(|(_, tenant)| tenant["id"].as_str().unwrap().to_owned()).collect()
}

async fn settled(webhook: &WebhookHandle, deliveries: u64) {
    webhook.wait_until(|counts| counts.accepted + counts.lost >= deliveries).await;
}

#[tokio::test]
async fn the_events_of_a_write_arrive_over_http_and_https() {
    for options in [Options::new().plain(), Options::new()] {
        let receiver = receiver(options).await;
        let sender = Options::new().webhook(webhook(&receiver));
        let mock = MockPigello::start(sender).await.unwrap();
        let bulk = json!([{"corporate_name": "Prov AB"}, {"corporate_name": "Test AB"}]);
        let list = "/accounts/users/customer/tenant/list/";
        call(Method::POST, list).json(&bulk).send(&mock).await.unwrap();
        settled(&mock.handle().webhooks()[0], 1).await;

        let request = receiver.handle().requests().remove(0);
        assert_eq!((&request.method, &*request.target), (&Method::POST, "/hooks/made-up-token"));
        assert_eq!(request.values("content-type"), ["application/json"]);
        let body = &arrived(&receiver)[0];
        assert_eq!(body.as_array().unwrap().len(), 2, "one write is one delivery");
        assert_eq!(body[0]["event_identifier"], "accounts.tenant.instancecreated");
        let log = super::client::get("/common/eventlog/list/").send(&mock).await.unwrap();
        assert_eq!(log.json(), *body, "a row of the log is an event");
        mock.stop().await.unwrap();
        receiver.stop().await.unwrap();
    }
}

#[tokio::test]
async fn a_delivery_is_repeated_until_it_is_accepted() {
    let receiver = MockPigello::start(Options::new().plain()).await.unwrap();
    let refuse = Fault::new().status(StatusCode::SERVICE_UNAVAILABLE).times(2);
    receiver.handle().fault(refuse);
    receiver.handle().fault("break=connection".parse().unwrap());
    receiver.handle().fault("status=302; header=location: /elsewhere/".parse().unwrap());
    take_everything(&receiver);
    let (mock, built_in) = start().await;
    let webhook = mock.handle().webhook(webhook(&receiver));
    rename(&built_in, "Nils");
    settled(&webhook, 1).await;
    let counts = webhook.counts();
    assert_eq!((counts.writes, counts.accepted, counts.refused, counts.unanswered), (1, 1, 3, 1));
    let bodies = arrived(&receiver);
    assert_eq!(bodies.len(), 5);
    assert!(bodies.iter().all(|body| *body == bodies[0]));
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_hangs_has_the_timeout() {
    let receiver = MockPigello::start(Options::new().plain()).await.unwrap();
    receiver.handle().fault("stall=head".parse().unwrap());
    take_everything(&receiver);
    let (mock, built_in) = start().await;
    let short = webhook(&receiver).timeout(Duration::from_millis(50));
    let webhook = mock.handle().webhook(short);
    rename(&built_in, "Nils");
    settled(&webhook, 1).await;
    assert!(webhook.counts().unanswered >= 1);
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn one_that_is_refused_holds_up_no_other() {
    let receiver = MockPigello::start(Options::new().plain()).await.unwrap();
    receiver.handle().fault("status=500".parse().unwrap());
    take_everything(&receiver);
    let (mock, built_in) = start().await;
    let hour = Duration::from_hours(1);
    let webhook = mock.handle().webhook(webhook(&receiver).retry(hour, hour));
    let created = create(&built_in, 3);
    settled(&webhook, 2).await;
    assert_eq!(objects(&receiver), created);
    assert_eq!(webhook.counts().refused, 1);
    // One that waits for an hour does not keep the mock from ending.
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn a_receiver_that_is_away_gets_it_when_it_is_back() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (mock, built_in) = start().await;
    let soon = Duration::from_millis(1);
    let away = Webhook::new(&format!("http://{address}/"), None).unwrap().retry(soon, soon);
    let webhook = mock.handle().webhook(away);
    let created = create(&built_in, 1);
    webhook.wait_until(|counts| counts.unanswered >= 3).await;
    let receiver = receiver(Options::new().plain().listen(address)).await;
    settled(&webhook, 1).await;
    assert_eq!(objects(&receiver).last(), created.last());
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn a_certificate_of_another_authority_gets_nothing() {
    let receiver = receiver(Options::new()).await;
    let other = crate::Authority::new("other").unwrap();
    let (mock, built_in) = start().await;
    let hour = Duration::from_hours(1);
    let untrusted = Webhook::new(&url(&receiver), Some(other.pem())).unwrap().retry(hour, hour);
    let webhook = mock.handle().webhook(untrusted);
    rename(&built_in, "Nils");
    webhook.wait_until(|counts| counts.unanswered == 1).await;
    assert_eq!(receiver.handle().request_count(), 0);
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn deliveries_are_lost_and_doubled_by_the_seed() {
    let (mock, built_in) = start().await;
    let mut runs = Vec::new();
    for seed in [7, 7, 8] {
        let receiver = receiver(Options::new().plain()).await;
        let faults = WebhookFaults { seed, lose: 0.3, double: 0.3, ..WebhookFaults::default() };
        let webhook = mock.handle().webhook(webhook(&receiver).faults(faults));
        let created = create(&built_in, 30);
        webhook.wait_until(|it| it.accepted == 30 - it.lost + it.doubled).await;
        let counts = webhook.counts();
        assert!((3..=15).contains(&counts.lost) && counts.doubled >= 3, "{counts:?}");
        let objects = objects(&receiver);
        let times = |id: &String| objects.iter().filter(|it| *it == id).count();
        runs.push(created.iter().map(times).collect::<Vec<_>>());
        assert!(objects.is_sorted(), "the order of the writes");
        receiver.stop().await.unwrap();
        mock.handle().reset();
    }
    assert_eq!(runs[0], runs[1]);
    assert_ne!(runs[0], runs[2]);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn deliveries_overtake_one_another() {
    let receiver = receiver(Options::new().plain()).await;
    let (mock, built_in) = start().await;
    let faults = WebhookFaults { reorder: 1.0, ..WebhookFaults::default() };
    let webhook = mock.handle().webhook(webhook(&receiver).faults(faults));
    let created = create(&built_in, 4);
    settled(&webhook, 4).await;
    let [a, b, c, d] = created.try_into().unwrap();
    assert_eq!(objects(&receiver), [&b, &a, &d, &c].map(String::clone));
    assert_eq!(webhook.counts().reordered, 2);
    webhook.faults(WebhookFaults { reorder: 1.0, ..WebhookFaults::default() });
    rename(&built_in, "Nils");
    // Nothing follows, so it is held back for a second alone.
    settled(&webhook, 5).await;
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn deliveries_are_delayed() {
    let receiver = receiver(Options::new().plain()).await;
    let (mock, built_in) = start().await;
    let hours = WebhookFaults { delay: Duration::from_hours(10), ..WebhookFaults::default() };
    let webhook = mock.handle().webhook(webhook(&receiver).faults(hours));
    create(&built_in, 3);
    webhook.wait_until(|counts| counts.delayed == 3).await;
    webhook.faults(WebhookFaults::default());
    let created = create(&built_in, 1);
    settled(&webhook, 1).await;
    assert_eq!(objects(&receiver), created);
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn a_webhook_can_be_for_one_activation() {
    let receiver = receiver(Options::new().plain()).await;
    let options = Options::new().activations(["acme", "beta"].map(Activation::made_up));
    let mock = MockPigello::start(options).await.unwrap();
    let of_acme = mock.handle().webhook(webhook(&receiver).activation("acme"));
    let of_all = mock.handle().webhook(webhook(&receiver));
    create(&mock.handle().activation("beta").unwrap(), 1);
    create(&mock.handle().activation("acme").unwrap(), 1);
    settled(&of_all, 2).await;
    settled(&of_acme, 1).await;
    assert_eq!((of_acme.counts().writes, of_all.counts().writes), (1, 2));
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}

#[tokio::test]
async fn the_control_paths_control_webhooks() {
    let receiver = receiver(Options::new()).await;
    let (mock, built_in) = start().await;
    let control = async |method: Method, path: &str, body: &Value| {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let call = call(method, &format!("/__mock__/{path}")).body(body);
        call.send(&mock).await.unwrap()
    };
    let asked = json!({
        "url": url(&receiver), "ca": receiver.ca_pem(), "activation": "built-in",
        "first_retry": "5ms", "longest_retry": "1s", "timeout": "1m", "faults": {"delay": "0s"},
    });
    assert_eq!(control(Method::POST, "webhooks", &asked).await.status, StatusCode::CREATED);
    let elsewhere = format!(
        "activations/built-in/elsewhere/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/"
    );
    control(Method::PATCH, &elsewhere, &json!({"first_name": "Nils"})).await;
    settled(&mock.handle().webhooks()[0], 1).await;
    let told = control(Method::GET, "webhooks", &Value::Null).await.json();
    assert_eq!(
        (&told[0]["url"], &told[0]["counts"]["accepted"]),
        (&json!(url(&receiver)), &json!(1))
    );
    control(Method::PUT, "webhooks/faults", &json!({"lose": 1.0})).await;
    rename(&built_in, "Olle");
    settled(&mock.handle().webhooks()[0], 2).await;
    assert_eq!(mock.handle().webhooks()[0].counts().lost, 1);
    assert_eq!(
        control(Method::DELETE, "webhooks", &Value::Null).await.status,
        StatusCode::NO_CONTENT
    );
    rename(&built_in, "Per");
    assert!(mock.handle().webhooks().is_empty());
    assert_eq!(receiver.handle().request_count(), 1);

    let no_authority = json!({ "url": url(&receiver) });
    for (method, path, body, status) in [
        (Method::POST, "webhooks", &no_authority, StatusCode::BAD_REQUEST),
        (Method::POST, "webhooks", &json!({"url": "nonsense"}), StatusCode::BAD_REQUEST),
        (Method::POST, "webhooks", &json!({"uri": "http://a/"}), StatusCode::BAD_REQUEST),
        (Method::PUT, "webhooks/faults", &json!({"loose": 1}), StatusCode::BAD_REQUEST),
        (Method::PUT, "webhooks", &Value::Null, StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "webhooks/faults", &Value::Null, StatusCode::METHOD_NOT_ALLOWED),
        (Method::GET, "webhooks/1", &Value::Null, StatusCode::NOT_FOUND),
    ] {
        assert_eq!(control(method, path, body).await.status, status, "{path} {body}");
    }
    mock.stop().await.unwrap();
    receiver.stop().await.unwrap();
}
