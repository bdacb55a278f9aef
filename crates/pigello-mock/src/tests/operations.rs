//! The operations, authentication and lists.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    Accepted, Credentials, EXAMPLE_SUBTENANT, MAX_BODY_BYTES, MockPigello, Options, SecurityScheme,
    api::ENTITIES, operations,
};

use super::client::{call, get};

const SUBTENANT: &str = "/accounts/users/customer/subtenant/";

fn example() -> String {
    format!("{SUBTENANT}{EXAMPLE_SUBTENANT}/")
}

/// What an entity's create and update are called with.
fn writable(entity: &str) -> Value {
    let id = json!({ "id": EXAMPLE_SUBTENANT });
    match entity {
        "subtenantcontractconnection" => {
            json!({"sub_tenant": id, "stakeholder_type": 1, "brf_apartment": id})
        }
        "subtenanttenantconnection" => {
            json!({"sub_tenant": id, "tenant": id, "stakeholder_type": 3})
        }
        "tenant" => json!({"corporate_name": "Nya Provhyra AB"}),
        "organizationuser" => json!({"detail_access": 2}),
        "subtenant" => json!({
            "first_name": "Nils",
            "allow_errands_access_through_connections": true,
            "allow_personal_information_access": true,
            "add_connection_description_on_invoice": true,
            "allow_notifications": true,
            "allow_revenue_row_access": true,
            "allow_brf_access": true,
            "allow_cancel_contract_access": true,
            "allow_errands_access": true,
            "allow_contracts_access": true,
            "allow_invoice_access": true,
            "allow_objects_access": true,
            "allow_my_pages_access": true,
        }),
        "organizationuserworkengagement" => json!({"user": id, "work_engagement": id}),
        "organizationusersegment" => json!({"segment": id, "user": id}),
        "integrationuseragent" => json!({
            "application_id": EXAMPLE_SUBTENANT,
            "service_id": EXAMPLE_SUBTENANT,
            "service_version_id": EXAMPLE_SUBTENANT,
            "clashing_priority": 1,
        }),
        "protectedidentity" => json!({"tenant": id, "first_name": "Skyddad"}),
        "workengagement" => json!({"name": "Snickare"}),
        _ => panic!("{entity} is no entity"),
    }
}

#[tokio::test]
async fn all_63_operations_answer_as_documented() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let mut reached = Vec::new();
    for entity in &ENTITIES {
        let base = entity.path;
        let sent = writable(entity.name);

        let made = call(Method::POST, base).json(&sent).send(&mock).await.unwrap();
        assert_eq!(made.status, StatusCode::CREATED, "{}: {:?}", entity.name, made.body);
        let made = made.json();
        let object = format!("{base}{}/", made["id"].as_str().unwrap());

        let read = get(&object).send(&mock).await.unwrap();
        assert_eq!((read.status, read.json()), (StatusCode::OK, made.clone()));

        let changed = json!({ "custom_id": "changed" });
        let changed = call(Method::PATCH, &object).json(&changed).send(&mock).await.unwrap();
        assert_eq!(changed.status, StatusCode::OK);
        let mut expected = made.clone();
        expected["custom_id"] = json!("changed");
        assert_eq!(changed.json(), expected);

        let list = format!("{base}list/");
        let listed = get(&list).send(&mock).await.unwrap();
        assert_eq!(listed.status, StatusCode::OK);
        assert_eq!(listed.json().as_array().unwrap().last(), Some(&expected));

        let bulk = json!([{"id": made["id"], "custom_id": "again"}, sent]);
        let bulk = call(Method::POST, &list).json(&bulk).send(&mock).await.unwrap();
        assert_eq!(bulk.status, StatusCode::OK);
        assert_eq!(bulk.json()[0]["custom_id"], "again");
        assert_ne!(bulk.json()[1]["id"], made["id"]);

        let gone = call(Method::DELETE, &object).send(&mock).await.unwrap();
        assert_eq!((gone.status, gone.body.len()), (StatusCode::NO_CONTENT, 0));
        assert_eq!(get(&object).send(&mock).await.unwrap().status, StatusCode::NOT_FOUND);

        reached.extend(
            ["create", "get", "update", "list", "bulk_write", "delete"]
                .map(|action| format!("{}.{action}", entity.name)),
        );
        if let Some(path) = entity.invitation {
            let invited = call(Method::POST, path).json(&json!({})).send(&mock).await.unwrap();
            assert_eq!((invited.status, invited.json()), (StatusCode::CREATED, Value::Null));
            reached.push(format!("{}.invite", entity.name));
        }
    }
    let mut all: Vec<_> = operations().map(|operation| operation.name).collect();
    all.sort();
    reached.sort();
    assert_eq!(reached, all);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn the_example_subtenant_has_65_fields_and_no_cache_headers() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let answer = get(&example()).send(&mock).await.unwrap();
    assert_eq!(answer.json().as_object().unwrap().len(), 65);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    for name in ["cache-control", "etag", "last-modified", "expires", "vary", "age"] {
        assert_eq!(answer.header(name), None);
    }
    for version in 1..=2 {
        let head = call(Method::HEAD, &example());
        let head = if version == 1 { head.http1() } else { head };
        let head = head.send(&mock).await.unwrap();
        assert_eq!((head.status, head.body.len()), (StatusCode::OK, 0));
        assert_eq!(head.header("content-length"), Some(answer.body.len().to_string().as_str()));
    }
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn each_of_the_seven_is_required() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    for scheme in SecurityScheme::ALL {
        let header = scheme.header();
        let missing = get(&example()).without(&header).send(&mock).await.unwrap();
        assert_eq!(missing.status, StatusCode::UNAUTHORIZED);
        assert!(missing.json()["detail"].as_str().unwrap().contains(header.as_str()));

        let wrong = get(&example()).without(&header).header(header.as_str(), "canary-wrong");
        let wrong = wrong.send(&mock).await.unwrap();
        assert_eq!(wrong.status, StatusCode::UNAUTHORIZED);
        assert!(!String::from_utf8_lossy(&wrong.body).contains("canary"));

        let twice = get(&example()).header(header.as_str(), "canary-again");
        assert_eq!(twice.send(&mock).await.unwrap().status, StatusCode::UNAUTHORIZED);
    }
    let requests = mock.handle().requests();
    assert_eq!(requests.len(), 21);
    assert!(requests.iter().all(|request| !request.authorized));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn credentials_can_be_rotated_while_it_runs() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let next = Credentials::made_up_with_secret("the-next-made-up-secret").unwrap();
    mock.handle().accept(Accepted::OneOf(vec![Credentials::made_up(), next.clone()]));
    assert_eq!(get(&example()).send(&mock).await.unwrap().status, StatusCode::OK);
    mock.handle().accept(Accepted::OneOf(vec![next]));
    assert_eq!(get(&example()).send(&mock).await.unwrap().status, StatusCode::UNAUTHORIZED);
    mock.handle().accept(Accepted::Anything);
    assert_eq!(get(&example()).send(&mock).await.unwrap().status, StatusCode::OK);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn unknown_paths_get_404_and_methods_405() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let slashless = example().trim_end_matches('/').to_owned();
    let answer = get(&slashless).send(&mock).await.unwrap();
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    assert!(answer.json()["detail"].as_str().unwrap().contains("slash"));
    for unknown in ["/", "/accounts/", "/accounts/users/customer/subtenant/7/"] {
        assert_eq!(get(unknown).send(&mock).await.unwrap().status, StatusCode::NOT_FOUND);
    }
    for (method, path, allow) in [
        (Method::PUT, example(), "DELETE, GET, HEAD, PATCH"),
        (Method::DELETE, format!("{SUBTENANT}list/"), "GET, HEAD, POST"),
        (Method::GET, SUBTENANT.to_owned(), "POST"),
    ] {
        let answer = call(method, &path).send(&mock).await.unwrap();
        assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(answer.header("allow"), Some(allow));
    }
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn invalid_bodies_change_nothing() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let before = mock.handle().object("subtenant", EXAMPLE_SUBTENANT);
    let patch = || call(Method::PATCH, &example()).header("content-type", "application/json");
    for (body, status) in [
        ("", StatusCode::BAD_REQUEST),
        ("{", StatusCode::BAD_REQUEST),
        ("[]", StatusCode::BAD_REQUEST),
        (r#"{"is_active": 1}"#, StatusCode::BAD_REQUEST),
        (r#"{"first_name": "x", "birth_date": "soon"}"#, StatusCode::BAD_REQUEST),
    ] {
        assert_eq!(patch().body(body).send(&mock).await.unwrap().status, status, "{body}");
    }
    let form = call(Method::PATCH, &example())
        .header("content-type", "application/x-www-form-urlencoded")
        .body("first_name=x");
    let form = form.send(&mock).await.unwrap();
    assert_eq!(form.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    let large = patch().body(vec![b' '; MAX_BODY_BYTES + 1]).send(&mock).await.unwrap();
    assert_eq!(large.status, StatusCode::PAYLOAD_TOO_LARGE);
    let bulk = json!([{"id": EXAMPLE_SUBTENANT, "first_name": "x"}, {"first_name": "y"}, 7]);
    let list = format!("{SUBTENANT}list/");
    let bulk = call(Method::POST, &list).json(&bulk).send(&mock).await.unwrap();
    assert_eq!(bulk.status, StatusCode::BAD_REQUEST);
    assert_eq!(bulk.json()[0], json!({}));
    assert_eq!(bulk.json()[1]["allow_notifications"][0], "This field is required.");
    assert_eq!(mock.handle().object("subtenant", EXAMPLE_SUBTENANT), before);
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn lists_follow_their_query() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let list = async |query: &str| {
        let target = format!("{SUBTENANT}list/?{query}");
        get(&target).send(&mock).await.unwrap()
    };
    let slim = list("_slim=true&_page=1&_page_size=1").await;
    assert_eq!(slim.json(), json!([{ "id": EXAMPLE_SUBTENANT }]));
    let half = list("_page=1").await;
    assert_eq!(half.status, StatusCode::BAD_REQUEST);
    assert_eq!(half.json()["_page_size"][0], "Must be sent together with _page.");
    let negated = list("first_name__in!=Maja,Anders&_order_by=-created_at&_slim=1").await;
    assert_eq!(negated.json().as_array().unwrap().len(), 2);
    let typo = list("frist_name=Maja").await;
    assert_eq!(typo.status, StatusCode::BAD_REQUEST);
    let lines = list("_jsonl=true").await;
    assert_eq!(lines.header("content-type"), Some("application/x-ndjson"));
    let lines = String::from_utf8(lines.body.to_vec()).unwrap();
    assert_eq!(lines.lines().count(), 4);
    assert!(lines.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn requests_are_recorded_as_sent() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let target = format!("{SUBTENANT}list/?category!=3&q=%2F%2e&&x=");
    get(&target).header("x-twice", "1").header("x-twice", "2").send(&mock).await.unwrap();
    let sent = call(Method::PATCH, &example()).http1().header("x_under_score", "kept");
    sent.json(&json!({"popular_name": "M"})).send(&mock).await.unwrap();
    mock.handle().wait_for_requests(2).await;

    let requests = mock.handle().requests();
    assert_eq!(requests[0].target, target);
    assert_eq!(requests[0].values("x-twice"), ["1", "2"]);
    assert_eq!(requests[0].version, http::Version::HTTP_2);
    assert_eq!(requests[0].authority.as_deref(), Some("api.pigello.test"));
    assert_eq!(requests[0].sni.as_deref(), Some("api.pigello.test"));
    assert!(requests[0].authorized);
    assert_eq!(requests[1].method, Method::PATCH);
    assert_eq!(requests[1].version, http::Version::HTTP_11);
    assert_eq!(&requests[1].body[..], br#"{"popular_name":"M"}"#);
    assert_eq!(requests[1].values("x_under_score"), ["kept"]);
    assert_ne!(requests[0].connection, requests[1].connection);
    assert_eq!(mock.handle().connections(), 2);
    assert_eq!(requests[1].values("x-pigello-client-secret").len(), 1);
    assert!(!format!("{requests:?}").contains("made-up-secret"));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn plain_http_is_http1() {
    let mock = MockPigello::start(Options::new().plain()).await.unwrap();
    assert!(mock.origin().starts_with("http://127.0.0.1:"));
    assert!(mock.ca_pem().is_none());
    let answer = get(&example()).http1().send(&mock).await.unwrap();
    assert_eq!(answer.status, StatusCode::OK);
    let request = mock.handle().requests().remove(0);
    assert_eq!(request.sni, None);
    assert_eq!(request.authority.as_deref(), Some(mock.address().to_string().as_str()));
    mock.stop().await.unwrap();
}

#[tokio::test]
async fn a_field_can_change_without_a_call() {
    let mock = MockPigello::start(Options::new()).await.unwrap();
    let handle = mock.handle();
    assert!(handle.set_field("subtenant", EXAMPLE_SUBTENANT, "custom_id", json!("new")));
    assert!(!handle.set_field("subtenant", "none", "custom_id", json!("new")));
    assert_eq!(get(&example()).send(&mock).await.unwrap().json()["custom_id"], "new");
    handle.reset();
    assert_eq!(handle.request_count(), 0);
    assert_eq!(get(&example()).send(&mock).await.unwrap().json()["custom_id"], "HG-1001");
    mock.stop().await.unwrap();
}
