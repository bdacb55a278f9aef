//! The whole path: what goes up, what comes down, over every way in.

use http::{
    Method, StatusCode,
    header::{CONNECTION, LOCATION},
};
use pigello_gateway::{
    credentials::ValueName,
    domain::{Action, builtin_operations},
};
use pigello_mock::{EXAMPLE_SUBTENANT, Fault, MADE_UP_VALUES, SecurityScheme};
use serde_json::json;

use crate::support::{Caller, Setup, pigello};

const QUERY: &str = "?category!=3&id__in!=a,b&q=%2F%2f&&x=%C3%A5";

fn subtenant() -> String {
    format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/")
}

#[test]
fn the_gateway_and_the_mock_know_the_same_api() {
    let gateway = builtin_operations().map(|operation| {
        let (name, path) = (operation.name().to_owned(), operation.template().to_owned());
        pigello_mock::Operation { name, method: operation.method().clone(), path }
    });
    let sorted = |mut operations: Vec<pigello_mock::Operation>| {
        operations.sort_by(|a, b| a.name.cmp(&b.name));
        operations
    };
    let gateway = sorted(gateway.collect());
    assert_eq!(gateway.len(), 63);
    assert_eq!(gateway, sorted(pigello_mock::operations().collect()));

    let gateway = ValueName::ALL.map(|name| (name.key(), name.header(), name.is_secret()));
    let mock = SecurityScheme::ALL.map(|it| (it.key(), it.header(), it.is_secret()));
    assert_eq!(gateway, mock);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_goes_up_unchanged_and_is_named_in_the_trail() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let mut expected = Vec::new();
    for operation in builtin_operations() {
        let target = operation.template().replace("{pk}", EXAMPLE_SUBTENANT) + QUERY;
        let body = match operation.action() {
            Some(Action::Get | Action::List | Action::Delete) => String::new(),
            _ => format!(r#"{{"for": "{}"}}"#, operation.name()),
        };
        // The mock has opinions about queries and bodies; this is about what reaches it.
        pigello.handle().fault(Fault::new().status(StatusCode::OK).body("[]").times(1));
        let answer = gateway.caller().send(operation.method().clone(), &target, body.clone()).await;
        assert_eq!(answer.status, StatusCode::OK, "{operation:?}: {answer:?}");
        expected.push((operation, target, body));
    }
    let requests = pigello.handle().requests();
    assert_eq!(requests.len(), 63);
    for ((operation, target, body), request) in expected.iter().zip(&requests) {
        assert_eq!(request.method, *operation.method());
        assert_eq!(request.target, *target);
        assert_eq!(request.body, body.as_bytes(), "{operation:?}");
        for (name, value) in MADE_UP_VALUES {
            assert_eq!(request.values(name.header().as_str()), [value], "{operation:?} {name}");
        }
    }
    let records = gateway.into_records().await;
    assert_eq!(records.len(), 63);
    for ((operation, target, body), record) in expected.iter().zip(&records) {
        assert_eq!(record["operation"], operation.name());
        assert_eq!(record["path"], target.split('?').next().unwrap());
        assert_eq!(record["query_keys"], json!(["category!", "id__in!", "q", "x"]));
        assert_eq!(record["request_bytes"], body.len());
        assert_eq!(record["outcome"], "forwarded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_call_works_over_every_way_in() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with_unix().start().await;
    let unix = gateway.unix_caller();
    for caller in [gateway.caller().clone(), gateway.caller().http2(), unix.clone(), unix.http2()] {
        life_of_a_subtenant(&caller).await;
    }
    assert_eq!(gateway.unix_mode(), 0o660);
    let records = gateway.into_records().await;
    let listeners: Vec<_> =
        records.iter().map(|record| record["listener"].as_str().unwrap()).collect();
    assert_eq!(listeners.iter().filter(|listener| **listener == "unix").count(), records.len() / 2);
    let proof = records.last().unwrap()["caller_proof"].as_str().unwrap();
    assert!(proof.starts_with("uid="), "{proof}");
}

async fn life_of_a_subtenant(caller: &Caller) {
    let base = "/accounts/users/customer/subtenant/";
    let got = caller.get(&subtenant()).await;
    assert_eq!(got.status, StatusCode::OK);
    assert_eq!(got.json()["id"], EXAMPLE_SUBTENANT);
    let listed = caller.get(&format!("{base}list/?_page=1&_page_size=2&_slim=true")).await;
    assert_eq!(listed.json().as_array().unwrap().len(), 2);
    let mut body = got.json();
    body["first_name"] = json!("Testa");
    let created = caller.send(Method::POST, base, body.to_string()).await;
    assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
    let object = format!("{base}{}/", created.json()["id"].as_str().unwrap());
    let updated = caller.send(Method::PATCH, &object, r#"{"first_name": "Testan"}"#).await;
    assert_eq!(updated.json()["first_name"], "Testan", "{updated:?}");
    let bulk = caller.send(Method::POST, &format!("{base}list/"), json!([body]).to_string()).await;
    assert_eq!(bulk.status, StatusCode::OK, "{bulk:?}");
    let invite = "/accounts/users/auth/invite/customer/subtenant/";
    assert_eq!(caller.send(Method::POST, invite, "{}").await.status, StatusCode::CREATED);
    assert_eq!(caller.send(Method::DELETE, &object, "").await.status, StatusCode::NO_CONTENT);
    assert_eq!(caller.get(&object).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_headers_and_hop_by_hop_fields_never_reach_the_upstream() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let mut forged: Vec<(String, &str)> = vec![
        ("Connection".into(), "close, X-Pigello-Client-Secret, x-pigello-customer-id, X-Hop"),
        ("X-Hop".into(), "mine"),
        ("Proxy-Authorization".into(), "mine"),
        ("X-HTTP-Method-Override".into(), "mine"),
        ("X_HTTP_Method_Override".into(), "mine"),
        ("X-Http_Method-Override".into(), "mine"),
        ("X-Original-URL".into(), "/mine/"),
        ("X_Rewrite_URL".into(), "/mine/"),
        ("SCRIPT_NAME".into(), "/mine"),
        ("Forwarded".into(), "host=mine"),
        ("X-Forwarded-Host".into(), "mine"),
        ("X.Forwarded.Proto".into(), "mine"),
        ("X-Forwarded-Prefix".into(), "/mine"),
        ("X-Real-IP".into(), "mine"),
        ("Remote_User".into(), "mine"),
        ("X_Request_Id".into(), "mine"),
        ("Cookie".into(), "sessionid=mine"),
        ("X-Pigello-Unknown".into(), "forged"),
        ("X-Kept".into(), "kept"),
        ("Authorization".into(), "Bearer mine"),
        ("X-Request-Id".into(), "mine"),
        ("traceparent".into(), "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
    ];
    for name in ValueName::ALL {
        let name = name.header().as_str().to_owned();
        forged.push((name.to_uppercase(), "forged"));
        forged.push((name.replace('-', "_"), "forged"));
        forged.push((name.replace('-', "."), "forged"));
        forged.push((name, "forged twice"));
    }
    let headers: Vec<_> = forged.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let answer = gateway.caller().get_with(&subtenant(), &headers).await;
    assert_eq!(answer.status, StatusCode::OK);

    let requests = pigello.handle().requests();
    let request = &requests[0];
    for (name, value) in MADE_UP_VALUES {
        assert_eq!(request.values(name.header().as_str()), [value]);
    }
    let text = format!("{:?}", request.headers);
    for gone in ["forged", "mine", "x_pigello", "x.pigello", "proxy-authorization", "x-hop"] {
        assert!(!text.contains(gone), "{gone} in {text}");
    }
    assert_eq!(request.values("x-kept"), ["kept"]);
    assert_eq!(request.values("via"), ["1.1 pigello-gateway"]);
    assert_eq!(request.values("x-request-id"), [answer.header("x-request-id")]);
    let traceparent = request.values("traceparent");
    assert!(traceparent[0].starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{traceparent:?}");
    assert_ne!(traceparent[0], "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    let records = gateway.into_records().await;
    assert_eq!(records[0]["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (pigello, elsewhere) = (pigello().await, pigello().await);
    let gateway = Setup::new(&pigello).start().await;
    for status in [301, 302, 303, 307, 308] {
        let location = format!("{}{}", elsewhere.origin(), subtenant());
        let status = StatusCode::from_u16(status).unwrap();
        let redirect = Fault::new().status(status).header(LOCATION, location.parse().unwrap());
        pigello.handle().fault(redirect.times(1));
        let answer = gateway.caller().get(&subtenant()).await;
        assert_eq!((answer.status, answer.header("location")), (status, location.as_str()));
    }
    assert_eq!(elsewhere.handle().connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_pigello_answers_comes_down_untouched() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let fault = Fault::new()
        .status(StatusCode::IM_A_TEAPOT)
        .body("{\"as\": \"it is\"}")
        .header("x-theirs".parse().unwrap(), "1".parse().unwrap())
        .header(CONNECTION, "x-their-hop".parse().unwrap())
        .header("x-their-hop".parse().unwrap(), "1".parse().unwrap())
        .times(1);
    pigello.handle().fault(fault);
    let answer = gateway.caller().get("/accounts/users/customer/tenant/list/").await;
    assert_eq!(answer.status, StatusCode::IM_A_TEAPOT);
    assert_eq!(answer.body, "{\"as\": \"it is\"}");
    assert_eq!((answer.header("x-theirs"), answer.header("x-their-hop")), ("1", ""));
    assert_eq!(answer.header("proxy-status"), "");
    assert_eq!(answer.header("x-request-id").len(), 36);
}
