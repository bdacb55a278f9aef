//! Reloads and drains, under load.

use std::{fs, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pigello_mock::Fault;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use crate::support::{Caller, Setup, pigello};

pub const TENANT: &str = "/accounts/users/customer/tenant/list/";
pub const INVITE: &str = "/accounts/users/auth/invite/customer/subtenant/";

/// How often something is done: a little in every run, a lot with `LONG=1`.
pub fn times(usual: u32, long: u32) -> u32 {
    if std::env::var_os("LONG").is_some() { long } else { usual }
}

pub type Sender = hyper::client::conn::http1::SendRequest<Full<Bytes>>;

/// A connection that is kept.
pub async fn kept(caller: &Caller) -> Sender {
    let stream = TcpStream::connect(caller.address()).await.unwrap();
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

pub async fn send(sender: &mut Sender, method: Method, target: &str, body: &str) -> StatusCode {
    let request = Request::builder().method(method).uri(target).header("host", "localhost");
    let request = request.body(Full::from(body.to_owned())).unwrap();
    sender.ready().await.unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    drop(pigello_gateway::body::collect_limited(response.into_body(), 1 << 20).await.unwrap());
    status
}

/// Calls until it is told that it is enough; what it saw.
pub fn load(
    caller: &Caller,
    enough: &CancellationToken,
    keep: bool,
) -> JoinHandle<Vec<StatusCode>> {
    let (caller, enough) = (caller.clone(), enough.clone());
    tokio::spawn(async move {
        let mut seen = Vec::new();
        let mut connection = if keep { Some(kept(&caller).await) } else { None };
        while !enough.is_cancelled() {
            seen.push(match &mut connection {
                Some(connection) => send(connection, Method::GET, TENANT, "").await,
                None => caller.get(TENANT).await.status,
            });
        }
        seen
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_follows_the_new_rules_from_its_next_request_on() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let mut connection = kept(gateway.caller()).await;
    assert_eq!(send(&mut connection, Method::POST, INVITE, "{}").await, StatusCode::CREATED);
    gateway.reload(|text| text + "\n[limits]\nrequest_body = \"1B\"\n").await.unwrap();
    let refused = send(&mut connection, Method::POST, INVITE, "{}").await;
    assert_eq!(refused, StatusCode::PAYLOAD_TOO_LARGE);
    let metrics = gateway.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    let counted = "pigello_gateway_config_reloads_total{result=\"done\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_connection_may_do_what_its_caller_may_now() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello)
        .listener("caller = \"billing\"\n")
        .with("[[callers]]\nname = \"billing\"\nallow = [\"tenant.*\"]\n")
        .start()
        .await;
    let mut connection = kept(gateway.caller()).await;
    assert_eq!(send(&mut connection, Method::GET, TENANT, "").await, StatusCode::OK);
    gateway.reload(|text| text.replace("tenant.*", "subtenant.*")).await.unwrap();
    assert_eq!(send(&mut connection, Method::GET, TENANT, "").await, StatusCode::FORBIDDEN);
    gateway.reload(|text| text.replace("subtenant.*", "tenant.*")).await.unwrap();
    assert_eq!(send(&mut connection, Method::GET, TENANT, "").await, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_changed_is_refused_and_everything_stays() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let folder = gateway.path("elsewhere");
    let refused = gateway
        .reload(|text| {
            let folder = folder.display().to_string();
            text.replace("[audit]", "[limits]\nrequest_body = \"1B\"\n[audit]")
                .replace(&gateway.path("audit").display().to_string(), &folder)
        })
        .await;
    assert_eq!(refused.unwrap_err(), "audit.directory can only change with a restart");
    assert!(!folder.exists());
    let answer = gateway.caller().send(Method::POST, INVITE, "{}").await;
    assert_eq!(answer.status, StatusCode::CREATED, "no half of it took effect");
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_cannot_be_loaded_are_refused() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let refused = gateway
        .reload(|text| {
            let folder = gateway.path("credentials").display().to_string();
            text.replace(&folder, &gateway.path("missing").display().to_string())
        })
        .await;
    assert!(refused.unwrap_err().starts_with("the credentials `test` cannot be loaded"));
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    assert_eq!(gateway.admin().get("/readyz").await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn listeners_come_and_go() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let socket = gateway.path("gateway.sock");
    let before = fs::read_to_string(gateway.path("gateway.toml")).unwrap();
    let more = format!(
        "\n[[listeners]]\nname = \"unix\"\naddress = \"unix:{}\"\nprofile = \"test\"\n",
        socket.display()
    );
    gateway.reload(|text| text + &more).await.unwrap();
    let unix = gateway.unix_caller();
    assert_eq!(unix.get(TENANT).await.status, StatusCode::OK);
    let status = gateway.admin().get("/status").await.json();
    assert_eq!(status["listeners"].as_array().unwrap().len(), 2);
    gateway.reload(|_| before).await.unwrap();
    assert!(!socket.exists());
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread")]
async fn reloads_under_load_cost_no_call() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let enough = CancellationToken::new();
    let callers: Vec<_> =
        [true, true, false, false].map(|keep| load(gateway.caller(), &enough, keep)).into();
    let plain = fs::read_to_string(gateway.path("gateway.toml")).unwrap();
    for round in 0..times(100, 1000) {
        let limit = format!("{plain}\n[limits]\nrequest_body = \"{}KiB\"\n", round + 1);
        gateway.reload(|_| limit).await.unwrap();
    }
    enough.cancel();
    for caller in callers {
        let seen = caller.await.unwrap();
        assert!(seen.len() > 10, "{}", seen.len());
        assert!(seen.iter().all(|status| *status == StatusCode::OK), "{seen:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_answers_what_it_accepted_and_ends_with_the_last_record() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    pigello.handle().fault(Fault::new().delay(Duration::from_millis(300)).times(2));
    let caller = gateway.caller().clone();
    let calls = [caller.clone(), caller.http2()]
        .map(|caller| tokio::spawn(async move { caller.get(TENANT).await.status }));
    pigello.handle().wait_for_requests(2).await;
    let (stopped, summary) = gateway.stop().await;
    for call in calls {
        assert_eq!(call.await.unwrap(), StatusCode::OK);
    }
    assert!(!summary.cut_off);
    assert!(TcpStream::connect(caller.address()).await.is_err(), "nobody listens any more");
    let records = stopped.records();
    assert_eq!(records.len(), 2);
    let lines = stopped.lines();
    assert_eq!(lines.last().unwrap()["seq"], summary.last_seq);
    // The markers of an orderly end come last.
    let kinds: Vec<_> = lines.iter().map(|line| line["kind"].as_str().unwrap()).collect();
    let stop = kinds.iter().position(|kind| *kind == "stop").unwrap();
    assert!(!kinds[stop..].contains(&"call"), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_still_taken_for_the_drain_delay() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with("[timeouts]\ndrain_delay = \"700ms\"\n").start().await;
    gateway.drain();
    let mut ready = gateway.admin().get("/readyz").await;
    while ready.status == StatusCode::OK {
        ready = gateway.admin().get("/readyz").await;
    }
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(String::from_utf8_lossy(&ready.body).contains("shutting down"), "{ready:?}");
    assert_eq!(gateway.caller().get(TENANT).await.status, StatusCode::OK);
    assert_eq!(gateway.into_records().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_not_kept_for_the_drain_delay() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with("[timeouts]\ndrain_delay = \"2s\"\n").start().await;
    let caller = gateway.caller().clone();
    let mut before = kept(&caller).await;
    assert_eq!(send(&mut before, Method::GET, TENANT, "").await, StatusCode::OK);
    assert_eq!(caller.get(TENANT).await.header("connection"), "keep-alive");
    gateway.drain();
    // Every one of these is answered; from some moment on with the word that it was the last.
    loop {
        let answer = caller.get(TENANT).await;
        assert_eq!(answer.status, StatusCode::OK);
        if answer.header("connection") == "close" {
            break;
        }
    }
    // A connection from before ends with its next call, while new ones are still taken.
    assert_eq!(send(&mut before, Method::GET, TENANT, "").await, StatusCode::OK);
    before.ready().await.expect_err("the gateway has closed it");
    // HTTP/2 has another word for it.
    let answer = caller.http2().get(TENANT).await;
    assert_eq!((answer.status, answer.header("connection")), (StatusCode::OK, ""));
    drop(gateway.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_callers_are_told_to_go_away() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).start().await;
    let stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(format!("http://localhost{TENANT}"));
    let request = request.body(Full::<Bytes>::default()).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    drop(answer);
    gateway.drain();
    // An orderly end, and not a connection that breaks.
    connection.await.unwrap().unwrap();
    drop(gateway.stop().await);
}
