//! The event log over the wire: what writes it, how it fails, and how far reads can be behind it.

use http::{Method, StatusCode};
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};
use serde_json::{Value, json};

use crate::{
    Activation, ActivationHandle, EXAMPLE_SUBTENANT, EventLogFaults, LogAnswer, MockPigello,
    Options,
};

use super::client::{Answer, call, get};

const LOG: &str = "/common/eventlog/list/";
const SUBTENANT: &str = "/accounts/users/customer/subtenant/";

fn example() -> String {
    format!("{SUBTENANT}{EXAMPLE_SUBTENANT}/")
}

async fn start() -> (MockPigello, ActivationHandle) {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let built_in = mock.handle().activation(Activation::BUILT_IN).unwrap();
    (mock, built_in)
}

async fn log(mock: &MockPigello, query: &str) -> Answer {
    get(&format!("{LOG}?{query}")).send(mock).await.unwrap()
}

fn rename(activation: &ActivationHandle, name: &str) {
    let (status, _) =
        activation.elsewhere(Method::PATCH, &example(), &json!({ "first_name": name }));
    assert_eq!(status, StatusCode::OK);
}

/// One column of the rows of an answer.
fn column(answer: &Answer, name: &str) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK);
    let rows = answer.json();
    rows.as_array().unwrap().iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn create_update_delete_and_bulk_write_are_logged() {
    let (mock, _) = start().await;
    assert_eq!(log(&mock, "").await.json(), json!([]));
    let tenants = "/accounts/users/customer/tenant/";
    let create = call(Method::POST, tenants).json(&json!({"first_name": "Nils"}));
    let id = create.send(&mock).await.unwrap().json()["id"].as_str().unwrap().to_owned();
    let one = format!("{tenants}{id}/");
    call(Method::PATCH, &one).json(&json!({"first_name": "Olle"})).send(&mock).await.unwrap();
    let bulk = json!([{"id": id, "last_name": "Prov"}, {"corporate_name": "Prov AB"}]);
    call(Method::POST, &format!("{tenants}list/")).json(&bulk).send(&mock).await.unwrap();
    call(Method::DELETE, &one).send(&mock).await.unwrap();
    // These change nothing, so nothing is logged.
    for refused in [
        call(Method::DELETE, &one),
        call(Method::PATCH, &example()).json(&json!({"is_active": 1})),
        call(Method::POST, &format!("{tenants}list/")).json(&json!([{"first_name": "x"}, {}])),
        get(&example()),
    ] {
        refused.send(&mock).await.unwrap();
    }
    let rows = log(&mock, "").await;
    assert_eq!(
        column(&rows, "event_identifier"),
        ["created", "updated", "updated", "created", "deleted"]
            .map(|what| format!("accounts.tenant.instance{what}"))
    );
    let objects = column(&rows, "object_id");
    assert_eq!([&objects[0], &objects[1], &objects[2], &objects[4]], [&id; 4]);
    assert_ne!(objects[3], id);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_is_a_list_like_the_others() {
    let (mock, built_in) = start().await;
    for name in ["Nils", "Olle", "Per"] {
        rename(&built_in, name);
    }
    let times = column(&log(&mock, "").await, "created_at");
    assert!(times.is_sorted());
    let newest = log(&mock, "_order_by=-created_at&_page=1&_page_size=1").await;
    assert_eq!(column(&newest, "created_at"), times[2..]);
    let since = log(&mock, &format!("created_at__gte={}&_order_by=created_at", times[1])).await;
    assert!(column(&since, "created_at").contains(&times[1]));
    assert!(!column(&since, "created_at").contains(&times[0]) || times[0] == times[1]);
    let none = log(&mock, "content_type=accounts.tenant").await;
    assert_eq!(none.json(), json!([]));
    let half = log(&mock, "_page_size=1").await;
    assert_eq!((half.status, half.json()["_page"].is_array()), (StatusCode::BAD_REQUEST, true));
    assert_eq!(log(&mock, "nonsense=1").await.status, StatusCode::BAD_REQUEST);
    let posted = call(Method::POST, LOG).json(&json!({})).send(&mock).await.unwrap();
    assert_eq!(posted.status, StatusCode::METHOD_NOT_ALLOWED);
    let head = call(Method::HEAD, LOG).send(&mock).await.unwrap();
    assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
    let nobody =
        get(LOG).without(&crate::SecurityScheme::ALL[6].header()).send(&mock).await.unwrap();
    assert_eq!(nobody.status, StatusCode::UNAUTHORIZED);
    mock.handle().reset();
    assert_eq!(log(&mock, "").await.json(), json!([]));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn the_path_can_be_another() {
    let options = Options::new().event_log("/common/logs/eventlog/list/");
    let mock = MockPigello::start(options).await.unwrap();
    assert_eq!(log(&mock, "").await.status, StatusCode::NOT_FOUND);
    let there = get("/common/logs/eventlog/list/").send(&mock).await.unwrap();
    assert_eq!(there.json(), json!([]));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn each_activation_has_a_log_of_its_own() {
    let options = Options::new().activations(["acme", "beta"].map(Activation::made_up));
    let mock = MockPigello::start(options).await.unwrap();
    let handle = mock.handle();
    let (acme, beta) = (handle.activation("acme").unwrap(), handle.activation("beta").unwrap());
    rename(&acme, "Nils");
    let log = async |of: &ActivationHandle| {
        let call = get(LOG).credentials(&of.credentials().unwrap());
        call.send(&mock).await.unwrap()
    };
    assert_eq!((log(&acme).await.json().as_array().unwrap().len()), 1);
    assert_eq!(log(&beta).await.json(), json!([]));
    acme.event_log(EventLogFaults { answer: LogAnswer::Forbidden, ..EventLogFaults::default() });
    assert_eq!(log(&acme).await.status, StatusCode::FORBIDDEN);
    assert_eq!(log(&beta).await.status, StatusCode::OK);
    handle.event_log(&EventLogFaults { answer: LogAnswer::Missing, ..EventLogFaults::default() });
    assert_eq!(log(&acme).await.status, StatusCode::NOT_FOUND);
    assert_eq!(log(&beta).await.status, StatusCode::NOT_FOUND);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn the_log_fails_in_every_way_and_recovers() {
    let (mock, built_in) = start().await;
    rename(&built_in, "Nils");
    let answers = async |answer: LogAnswer| {
        built_in.event_log(EventLogFaults { answer, ..EventLogFaults::default() });
        log(&mock, "").await
    };
    for (answer, status) in [
        (LogAnswer::Forbidden, StatusCode::FORBIDDEN),
        (LogAnswer::Missing, StatusCode::NOT_FOUND),
        (LogAnswer::Failing, StatusCode::INTERNAL_SERVER_ERROR),
    ] {
        assert_eq!(answers(answer).await.status, status);
    }
    let garbage = answers(LogAnswer::Garbage).await;
    assert_eq!(garbage.status, StatusCode::OK);
    assert!(serde_json::from_slice::<Value>(&garbage.body).is_err());
    let envelope = answers(LogAnswer::Envelope).await.json();
    assert_eq!(
        (&envelope["count"], &envelope["results"][0]["object_id"]),
        (&json!(1), &json!(EXAMPLE_SUBTENANT))
    );
    let renamed = answers(LogAnswer::Renamed).await.json();
    assert_eq!(
        (&renamed[0]["log_object_id"], &renamed[0]["object_id"]),
        (&json!(EXAMPLE_SUBTENANT), &Value::Null)
    );
    assert_eq!(answers(LogAnswer::Rows).await.json()[0]["object_id"], EXAMPLE_SUBTENANT);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn pages_of_the_log_have_the_size_that_the_mock_is_told() {
    let (mock, built_in) = start().await;
    for _ in 0..5 {
        rename(&built_in, "Nils");
    }
    built_in.event_log(EventLogFaults { page_size: Some(2), ..EventLogFaults::default() });
    let mut ids = Vec::new();
    for page in 1..=4 {
        let page = log(&mock, &format!("_page={page}&_page_size=500&_order_by=created_at")).await;
        ids.push(column(&page, "id"));
    }
    assert_eq!(ids.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 1, 0]);
    built_in.event_log(EventLogFaults::default());
    assert_eq!(column(&log(&mock, "_order_by=created_at").await, "id"), ids.concat());
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn somebody_elses_write_is_no_call() {
    let (mock, built_in) = start().await;
    let (status, created) = built_in.elsewhere(
        Method::POST,
        "/accounts/users/customer/tenant/",
        &json!({"first_name": "Nils"}),
    );
    assert_eq!(status, StatusCode::CREATED);
    let path = format!("/accounts/users/customer/tenant/{}/", created["id"].as_str().unwrap());
    assert_eq!(get(&path).send(&mock).await.unwrap().json()["first_name"], "Nils");
    assert_eq!(built_in.elsewhere(Method::DELETE, &path, &Value::Null).0, StatusCode::NO_CONTENT);
    assert_eq!(built_in.elsewhere(Method::DELETE, &path, &Value::Null).0, StatusCode::NOT_FOUND);
    assert_eq!(
        built_in.elsewhere(Method::GET, "not a path", &Value::Null).0,
        StatusCode::BAD_REQUEST
    );
    let (mock_saw, counted) = (mock.handle().request_count(), built_in.counts().requests);
    assert_eq!((mock_saw, counted), (1, 1), "only the read");
    let rows = log(&mock, "").await.json();
    assert!(rows[0]["triggered_by_organization_user"]["id"].is_string());
    assert_eq!(rows.as_array().unwrap().len(), 2);
    // A field that is set changes the object without an event, as if one were lost.
    assert!(built_in.set_field("subtenant", EXAMPLE_SUBTENANT, "custom_id", json!("x")));
    assert_eq!(log(&mock, "").await.json().as_array().unwrap().len(), 2);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn reads_can_be_behind_the_log() {
    let (mock, built_in) = start().await;
    let hour = std::time::Duration::from_hours(1);
    mock.handle().lag(hour);
    rename(&built_in, "Nils");
    let shown = async || get(&example()).send(&mock).await.unwrap().json()["first_name"].clone();
    let listed = async || {
        let list = get(&format!("{SUBTENANT}list/?first_name=Nils")).send(&mock).await.unwrap();
        list.json().as_array().unwrap().len()
    };
    assert_eq!((shown().await, listed().await), (json!("Maja"), 0));
    assert_eq!(log(&mock, "").await.json().as_array().unwrap().len(), 1);
    assert_eq!(built_in.object("subtenant", EXAMPLE_SUBTENANT).unwrap()["first_name"], "Nils");
    // A write is answered from the objects as they are.
    let update = call(Method::PATCH, &example()).json(&json!({"last_name": "Prov"}));
    assert_eq!(update.send(&mock).await.unwrap().json()["full_name"], "Nils Prov");
    built_in.lag(std::time::Duration::ZERO);
    assert_eq!((shown().await, listed().await), (json!("Nils"), 1));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn pigellos_clock_can_be_wrong() {
    let (mock, built_in) = start().await;
    let date = async || {
        let answer = get(&example()).send(&mock).await.unwrap();
        let date = answer.header("date").unwrap().to_owned();
        rfc2822::DateTimeParser::new().parse_timestamp(date.as_bytes()).unwrap()
    };
    let near =
        |a: Timestamp, b: Timestamp| a.duration_since(b).abs() < SignedDuration::from_mins(1);
    let now = Timestamp::now();
    assert!(near(date().await, now));
    let skew = SignedDuration::from_hours(-5);
    mock.handle().skew(skew);
    assert!(near(date().await, now + skew));
    rename(&built_in, "Nils");
    let created: Timestamp = column(&log(&mock, "").await, "created_at")[0].parse().unwrap();
    assert!(near(created, now + skew));
    mock.handle().skew(SignedDuration::MAX);
    assert!(near(date().await, now), "a clock that cannot be is right");
    mock.handle().reset();
    assert!(near(date().await, now));
    let fault =
        get(&example()).header("x-mock-fault", "header=date: soon").send(&mock).await.unwrap();
    assert_eq!(fault.headers.get_all("date").iter().collect::<Vec<_>>(), ["soon"]);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn the_control_paths_control_the_log() {
    let (mock, _) = start().await;
    let control = async |method: Method, path: &str, body: &str| {
        let call = call(method, &format!("/__mock__/{path}")).body(body.to_owned());
        call.send(&mock).await.unwrap()
    };
    let elsewhere = format!("activations/built-in/elsewhere{}", example());
    let renamed = control(Method::PATCH, &elsewhere, r#"{"first_name": "Nils"}"#).await;
    assert_eq!(renamed.json()["first_name"], "Nils");
    let listed = format!("activations/built-in/elsewhere{SUBTENANT}list/?first_name=Nils");
    assert_eq!(control(Method::GET, &listed, "").await.json().as_array().unwrap().len(), 1);
    assert_eq!(log(&mock, "").await.json().as_array().unwrap().len(), 1);

    for path in ["eventlog", "activations/built-in/eventlog"] {
        let put = control(Method::PUT, path, r#"{"answer": "failing", "late_by": "5s"}"#).await;
        assert_eq!(put.status, StatusCode::NO_CONTENT);
        assert_eq!(log(&mock, "").await.status, StatusCode::INTERNAL_SERVER_ERROR);
        let shown = control(Method::GET, "activations/built-in/eventlog", "").await.json();
        assert_eq!((&shown["answer"], &shown["late_by"]), (&json!("failing"), &json!("5s")));
        control(Method::DELETE, path, "").await;
        assert_eq!(log(&mock, "").await.status, StatusCode::OK);
    }
    for path in ["replica", "activations/built-in/replica"] {
        control(Method::PUT, path, r#"{"lag": "1h"}"#).await;
        let shown = control(Method::GET, "activations/built-in/replica", "").await.json();
        assert_eq!(shown, json!({"lag": "1h"}));
        control(Method::PATCH, &elsewhere, &json!({"first_name": path}).to_string()).await;
        let stale = get(&example()).send(&mock).await.unwrap().json();
        assert_ne!(stale["first_name"], path);
        control(Method::DELETE, path, "").await;
        assert_eq!(get(&example()).send(&mock).await.unwrap().json()["first_name"], path);
    }
    control(Method::PUT, "clock", r#"{"skew": "-5m"}"#).await;
    assert_eq!(control(Method::GET, "clock", "").await.json(), json!({"skew": "5m ago"}));
    for (method, path, body, status) in [
        (Method::PUT, "eventlog", r#"{"answer": "loud"}"#, StatusCode::BAD_REQUEST),
        (Method::PUT, "eventlog", r#"{"later": 1}"#, StatusCode::BAD_REQUEST),
        (Method::PUT, "replica", r#"{"lag": "soon"}"#, StatusCode::BAD_REQUEST),
        (Method::PUT, "clock", "{}", StatusCode::BAD_REQUEST),
        (Method::POST, "eventlog", "{}", StatusCode::METHOD_NOT_ALLOWED),
        (Method::POST, "replica", "{}", StatusCode::METHOD_NOT_ALLOWED),
        (Method::DELETE, "clock", "", StatusCode::METHOD_NOT_ALLOWED),
    ] {
        assert_eq!(control(method, path, body).await.status, status, "{path} {body}");
    }
    mock.stop().await.unwrap();
}
