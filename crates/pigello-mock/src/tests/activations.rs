//! Many activations over the wire: told apart, rotated, revoked and limited, each on its own.

use http::{Method, StatusCode};
use serde_json::json;

use crate::{
    Activation, ActivationHandle, Credentials, EXAMPLE_SUBTENANT, Fault, MockPigello, OldSecret,
    Options, RateLimit, SecurityScheme,
};

use super::client::{Call, call, get};

const LIST: &str = "/accounts/users/customer/subtenant/list/";

fn example() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

async fn acme_and_beta() -> (MockPigello, ActivationHandle, ActivationHandle) {
    let options =
        Options::new().activations(["customer-acme", "customer-beta"].map(Activation::made_up));
    let mock = MockPigello::start(options).await.unwrap();
    let acme = mock.handle().activation("customer-acme").unwrap();
    let beta = mock.handle().activation("customer-beta").unwrap();
    (mock, acme, beta)
}

/// The call with the newest values of an activation.
fn of(activation: &ActivationHandle, call: Call) -> Call {
    call.credentials(&activation.credentials().unwrap())
}

async fn status(mock: &MockPigello, credentials: &Credentials) -> StatusCode {
    get(&example()).credentials(credentials).send(mock).await.unwrap().status
}

#[tokio::test]
async fn people_of_one_activation_are_not_seen_from_another() {
    let (mock, acme, beta) = acme_and_beta().await;
    for (activation, custom_id) in
        [(&acme, "customer-acme HG-1001"), (&beta, "customer-beta HG-1001")]
    {
        let answer = of(activation, get(&example())).send(&mock).await.unwrap();
        assert_eq!(answer.json()["custom_id"], custom_id);
    }
    let tenants = "/accounts/users/customer/tenant/";
    let create = call(Method::POST, tenants).json(&json!({"first_name": "Nils"}));
    let created = of(&acme, create).send(&mock).await.unwrap().json();
    let path = format!("{tenants}{}/", created["id"].as_str().unwrap());
    assert_eq!(of(&acme, get(&path)).send(&mock).await.unwrap().status, StatusCode::OK);
    assert_eq!(of(&beta, get(&path)).send(&mock).await.unwrap().status, StatusCode::NOT_FOUND);

    let delete = call(Method::DELETE, &example());
    of(&acme, delete).send(&mock).await.unwrap();
    assert_eq!(of(&acme, get(LIST)).send(&mock).await.unwrap().json().as_array().unwrap().len(), 3);
    assert_eq!(of(&beta, get(LIST)).send(&mock).await.unwrap().json().as_array().unwrap().len(), 4);
    let requests = mock.handle().requests();
    assert_eq!(requests[0].activation.as_deref(), Some("customer-acme"));
    assert_eq!(requests[1].activation.as_deref(), Some("customer-beta"));
    assert_eq!(mock.handle().mixed(), 0);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn a_mix_of_two_activations_gets_401_and_is_counted() {
    let (mock, acme, beta) = acme_and_beta().await;
    for scheme in SecurityScheme::ALL {
        let of_beta = beta.credentials().unwrap();
        let (_, value) = of_beta.values().find(|(other, _)| *other == scheme).unwrap();
        let mixed = of(&acme, get(&example())).without(&scheme.header());
        let mixed = mixed.header(scheme.header().as_str(), value.to_str().unwrap());
        let answer = mixed.send(&mock).await.unwrap();
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{scheme}");
        assert_eq!(answer.json()["detail"], "The seven values do not belong together.");
    }
    assert_eq!(mock.handle().mixed(), 7);
    assert_eq!((acme.counts().mixed, beta.counts().mixed), (7, 7));
    assert!(mock.handle().requests().iter().all(|it| it.mixed && !it.authorized));
    mock.handle().reset();
    assert_eq!((mock.handle().mixed(), acme.counts().requests), (0, 0));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn rotation_and_revocation_leave_the_others_alone() {
    let (mock, acme, beta) = acme_and_beta().await;
    let (first, of_beta) = (acme.credentials().unwrap(), beta.credentials().unwrap());
    let second = acme.rotate(OldSecret::Accepted);
    assert_eq!(status(&mock, &first).await, StatusCode::OK);
    assert_eq!(status(&mock, &second).await, StatusCode::OK);
    acme.refuse_old();
    assert_eq!(status(&mock, &first).await, StatusCode::UNAUTHORIZED);
    let third = acme.rotate(OldSecret::Refused);
    assert_eq!(status(&mock, &second).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&mock, &third).await, StatusCode::OK);
    acme.revoke();
    assert_eq!(status(&mock, &third).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&mock, &of_beta).await, StatusCode::OK);
    acme.restore();
    assert_eq!(status(&mock, &third).await, StatusCode::OK);

    let arrived: Vec<_> =
        acme.arrived().into_iter().map(|(set, times)| (set == third, times)).collect();
    assert_eq!(arrived, [(false, 2), (false, 2), (true, 3)]);
    let counts = acme.counts();
    assert_eq!((counts.requests, counts.accepted, counts.wrong), (7, 4, 3));
    assert_eq!(beta.counts().requests, 1);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn a_limit_is_for_one_activation() {
    let (mock, acme, beta) = acme_and_beta().await;
    acme.limit(Some(RateLimit { calls_per_second: 0, retry_after: 7 }));
    let limited = of(&acme, get(LIST)).send(&mock).await.unwrap();
    assert_eq!(limited.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(limited.header("retry-after"), Some("7"));
    assert_eq!(of(&beta, get(LIST)).send(&mock).await.unwrap().status, StatusCode::OK);
    acme.limit(None);
    assert_eq!(of(&acme, get(LIST)).send(&mock).await.unwrap().status, StatusCode::OK);
    let counts = acme.counts();
    assert_eq!((counts.accepted, counts.limited, beta.counts().limited), (2, 1, 0));
    mock.stop().await.unwrap();
}

/// A fault answers in place of everything else, a limit too.
#[tokio::test]
async fn a_fault_precedes_a_limit() {
    let (mock, acme, _) = acme_and_beta().await;
    acme.limit(Some(RateLimit { calls_per_second: 0, retry_after: 7 }));
    mock.handle().fault(Fault::new().status(StatusCode::BAD_GATEWAY));
    assert_eq!(of(&acme, get(LIST)).send(&mock).await.unwrap().status, StatusCode::BAD_GATEWAY);
    assert_eq!(acme.counts().limited, 0);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn a_thousand_activations_start_at_once() {
    let started = std::time::Instant::now();
    let options = Options::new().plain().activations(Activation::made_up_many(1_000));
    let mock = MockPigello::start(options).await.unwrap();
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    let all = mock.handle().activations();
    assert_eq!((all.len(), all[999].name()), (1_000, "customer-1000"));
    for activation in [&all[0], &all[999]] {
        let answer = of(activation, get(&example()).http1()).send(&mock).await.unwrap();
        assert_eq!(answer.json()["custom_id"], format!("{} HG-1001", activation.name()));
    }
    let late = mock.handle().add(Activation::made_up("late"));
    assert_eq!(of(&late, get(LIST).http1()).send(&mock).await.unwrap().status, StatusCode::OK);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn the_control_paths_control_activations() {
    let (mock, acme, _) = acme_and_beta().await;
    let control = async |method: Method, path: &str, body: &str| {
        let call = call(method, &format!("/__mock__/activations/{path}")).body(body.to_owned());
        call.send(&mock).await.unwrap()
    };
    let added = control(Method::PUT, "customer-new", "").await;
    assert_eq!(added.status, StatusCode::CREATED);
    assert_eq!(added.json().as_object().unwrap().len(), 7);
    let all = control(Method::GET, "", "").await.json();
    assert_eq!(all["activations"].as_array().unwrap().len(), 3);
    assert_eq!(all["activations"][2]["name"], "customer-new");

    let first = acme.credentials().unwrap();
    let rotated = control(Method::POST, "customer-acme/rotate", r#"{"old": "accepted"}"#).await;
    let shown = rotated.json()["client_secret"].as_str().unwrap().to_owned();
    assert_eq!(shown, acme.credentials().unwrap().text(SecurityScheme::CLIENT_SECRET));
    assert_eq!(status(&mock, &first).await, StatusCode::OK);
    control(Method::POST, "customer-acme/refuse-old", "").await;
    assert_eq!(status(&mock, &first).await, StatusCode::UNAUTHORIZED);
    control(Method::POST, "customer-acme/rotate", "").await;
    let third = acme.credentials().unwrap();
    for (action, wanted) in [("revoke", StatusCode::UNAUTHORIZED), ("restore", StatusCode::OK)] {
        let done = control(Method::POST, &format!("customer-acme/{action}"), "").await;
        assert_eq!(done.status, StatusCode::NO_CONTENT);
        assert_eq!(status(&mock, &third).await, wanted);
    }
    let limit = r#"{"calls_per_second": 0, "retry_after": 3}"#;
    control(Method::PUT, "customer-acme/limit", limit).await;
    assert_eq!(status(&mock, &third).await, StatusCode::TOO_MANY_REQUESTS);
    let described = control(Method::GET, "customer-acme", "").await;
    assert_eq!(described.json()["limit"]["retry_after"], 3);
    assert_eq!(described.json()["counts"]["limited"], 1);
    assert!(!String::from_utf8_lossy(&described.body).contains("made-up-secret"));
    control(Method::DELETE, "customer-acme/limit", "").await;
    assert_eq!(status(&mock, &third).await, StatusCode::OK);

    for (method, path, body, wanted) in [
        (Method::GET, "nobody", "", StatusCode::NOT_FOUND),
        (Method::POST, "nobody/rotate", "", StatusCode::NOT_FOUND),
        (Method::POST, "customer-acme/nothing", "", StatusCode::NOT_FOUND),
        (Method::GET, "customer-acme/rotate", "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "customer-acme/limit", "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "customer-acme", "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "", "", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "customer-acme/rotate", "accepted", StatusCode::BAD_REQUEST),
        (Method::PUT, "customer-acme/limit", r#"{"calls": 1}"#, StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(control(method, path, body).await.status, wanted, "{path}");
    }
    mock.stop().await.unwrap();
}
