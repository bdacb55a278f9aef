//! One record tells the truth of one call: whatever reached the upstream is on the trail, whoever has left
//! meanwhile.
//!
//! Callers leave at random moments of cached reads, reads, writes and stale reads with a revalidation behind
//! them. A scripted upstream counts the requests by their `X-Request-Id`, and leaves some without an answer until
//! the gateway is stopped.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request};
use http_body_util::Full;
use parking_lot::Mutex;
use pigello_mock::EXAMPLE_SUBTENANT;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::yield_now,
};

use crate::support::{Caller, Gateway, Setup};

const SYNCED: &str = "PIGELLO_GATEWAY_AUDIT__DURABILITY=synced";
const LIST: &str = "/accounts/users/customer/subtenant/list/";
const RULES: &str = r#"
    [[cache.rules]]
    operations = ["subtenant.get"]
    ttl = "0s"
    stale_while_revalidate = "1h"
    [timeouts]
    drain = "300ms"
    [limits]
    connections = 2000
"#;

/// An object; there are a few, so that calls meet.
fn object(number: usize) -> String {
    format!("/accounts/users/customer/subtenant/{}{number:02}/", &EXAMPLE_SUBTENANT[..34])
}

/// How often each request arrived, and the last status that it was answered with.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Arrivals>>);

type Arrivals = HashMap<String, (u64, Option<u16>)>;

/// Answers after a random number of turns. What has `hold` in its query is never answered.
async fn upstream(seen: Seen) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, seen.clone()));
        }
    });
    origin
}

async fn answer_all(mut stream: TcpStream, seen: Seen) {
    let mut read = Vec::new();
    loop {
        let Some(end) = read.windows(4).position(|end| end == b"\r\n\r\n") else {
            if matches!(stream.read_buf(&mut read).await, Ok(0) | Err(_)) {
                return;
            }
            continue;
        };
        let head = String::from_utf8(read[..end].to_vec()).unwrap().to_ascii_lowercase();
        let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(name));
        let length: usize = field("content-length: ").map_or(0, |text| text.parse().unwrap());
        let is_chunked = field("transfer-encoding: ").is_some();
        // No answer before the end of the body: it could be quicker than the news that the caller left.
        while read.len() < end + 4 + length || (is_chunked && !read.ends_with(b"0\r\n\r\n")) {
            if matches!(stream.read_buf(&mut read).await, Ok(0) | Err(_)) {
                return;
            }
        }
        let length = if is_chunked { read.len() - end - 4 } else { length };
        read.drain(..end + 4 + length);
        let id = field("x-request-id: ").unwrap().to_owned();
        seen.0.lock().entry(id.clone()).or_default().0 += 1;
        if head.lines().next().unwrap().contains("hold") {
            return drop(stream.read(&mut [0]).await);
        }
        turns(2_000).await;
        let is_valid = field("if-none-match: ").is_some() && fastrand::bool();
        let (status, body) = if is_valid { (304, "") } else { (200, "0123456789") };
        // Before it is sent: the gateway can be quicker than this task.
        seen.0.lock().get_mut(&id).unwrap().1 = Some(status);
        let length =
            if is_valid { String::new() } else { format!("content-length: {}\r\n", body.len()) };
        let answer = format!("HTTP/1.1 {status} X\r\netag: \"a\"\r\n{length}\r\n{body}");
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn turns(most: u32) {
    for _ in 0..fastrand::u32(..most) {
        yield_now().await;
    }
}

/// Makes a call, and leaves at a random moment, or stays.
async fn call(caller: Caller, method: Method, target: String) {
    let http2 = fastrand::bool();
    let caller = if http2 { caller.http2() } else { caller };
    let uri = if http2 { format!("http://localhost{target}") } else { target };
    let body = if method == Method::PATCH { "{}" } else { "" };
    let mut request = Request::builder().method(method).uri(uri);
    if !http2 {
        request = request.header("host", "localhost");
    }
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    let answer = caller.request(request.body(Full::new(Bytes::from(body))).unwrap());
    if fastrand::u8(..4) == 0 {
        drop(answer.await);
    } else {
        tokio::select! {
            _ = answer => {}
            () = turns(4_000) => {}
        }
    }
}

async fn rounds(gateway: &Gateway, rounds: usize) {
    let caller = gateway.caller();
    let callers = (0..8).map(|_| {
        let caller = caller.clone();
        tokio::spawn(async move {
            for _ in 0..rounds {
                let object = object(fastrand::usize(..4));
                let (method, target) = match fastrand::u8(..8) {
                    0 => (Method::GET, LIST.to_owned()),
                    1 => (Method::PATCH, object),
                    2 => (Method::GET, format!("{object}?number={}", fastrand::u16(..))),
                    _ => (Method::GET, object),
                };
                call(caller.clone(), method, target).await;
            }
        })
    });
    for ended in join_all(callers).await {
        ended.unwrap();
    }
}

/// Calls that are not over when the gateway stops. Half of the callers have left.
async fn held(gateway: &Gateway, seen: &Seen) -> Vec<TcpStream> {
    let before = seen.0.lock().len();
    let mut staying = Vec::new();
    for number in 0..8 {
        let mut stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
        let target = if number % 4 < 2 { object(number) } else { LIST.to_owned() };
        let head = format!("GET {target}?hold={number} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        while seen.0.lock().len() <= before + number {
            yield_now().await;
        }
        if number % 2 == 0 {
            staying.push(stream);
        }
    }
    staying
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_reached_the_upstream_has_one_record_whoever_left() {
    for variables in [&[][..], &[SYNCED]] {
        let seen = Seen::default();
        let mut setup = Setup::plain(&upstream(seen.clone()).await).with(RULES);
        for variable in variables {
            setup = setup.variable(variable);
        }
        let gateway = setup.start().await;
        rounds(&gateway, 60).await;
        let staying = held(&gateway, &seen).await;
        let (stopped, summary) = gateway.stop().await;
        assert!(summary.cut_off);
        drop(staying);
        check(&stopped.lines(), &seen, !variables.is_empty());
    }
}

/// Every request that arrived has one record that says so.
fn check(lines: &[Value], seen: &Seen, synced: bool) {
    let calls: Vec<_> = lines.iter().filter(|line| line["kind"] == "call").collect();
    let ids: HashSet<_> = calls.iter().map(|call| call["request_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), calls.len(), "each call has one record");
    let sent: HashMap<_, _> = calls
        .iter()
        .filter(|call| call["attempts"].as_u64().unwrap() > 0)
        .map(|call| (call["request_id"].as_str().unwrap(), *call))
        .collect();
    let seen = seen.0.lock();
    for (id, (count, answered)) in seen.iter() {
        let Some(call) = sent.get(id.as_str()) else {
            panic!(
                "no record of {id} in {} records: {:?}",
                calls.len(),
                calls.iter().find(|c| c["request_id"] == **id)
            );
        };
        assert!(call["attempts"].as_u64().unwrap() >= *count, "{count} arrived: {call}");
        assert!(call["credential_version"].is_string(), "{call}");
        assert_ne!(call["outcome"], "refused", "{call}");
        // Without one, the call was given up before the answer was there.
        if !call["upstream_status"].is_null() {
            assert_eq!(call["upstream_status"].as_u64(), answered.map(u64::from), "{call}");
        }
    }
    let mut figures: BTreeMap<_, u64> = BTreeMap::new();
    for call in &calls {
        if let Some(by) = call["caused_by"].as_str() {
            assert_eq!((&call["cause"], &call["peer"]), (&"revalidation".into(), &Value::Null));
            assert!(ids.contains(by), "{call}");
        }
        let left = call["error"] == "caller_gone" && call["upstream_status"] == 200;
        *figures.entry("left, and answered").or_default() += u64::from(left);
        *figures.entry("revalidated").or_default() += u64::from(!call["cause"].is_null());
        *figures.entry("stopped").or_default() += u64::from(call["error"] == "stopping");
    }
    // The test has met what it is about.
    assert!(figures.values().all(|count| *count > 0), "{figures:?}");
    if synced {
        let intents: HashSet<_> = lines
            .iter()
            .filter(|line| line["kind"] == "intent")
            .map(|line| line["request_id"].as_str().unwrap())
            .collect();
        assert!(seen.keys().all(|id| intents.contains(id.as_str())));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_names_configuration_and_peer() {
    let seen = Seen::default();
    let gateway = Setup::plain(&upstream(seen).await).start().await;
    let stream = TcpStream::connect(gateway.caller().address()).await.unwrap();
    let peer = stream.local_addr().unwrap().to_string();
    let (mut read, mut write) = stream.into_split();
    let head = format!("GET {LIST} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    write.write_all(head.as_bytes()).await.unwrap();
    read.read_to_end(&mut Vec::new()).await.unwrap();
    gateway.reload(|text| text + "[limits]\nrequest_body = \"1B\"\n").await.unwrap();
    gateway.caller().get(LIST).await;
    let (stopped, _) = tokio::time::timeout(Duration::from_secs(20), gateway.stop()).await.unwrap();
    let lines = stopped.lines();
    let of = |kind: &'static str| lines.iter().filter(move |line| line["kind"] == kind);
    let calls: Vec<_> = of("call").collect();
    assert_eq!(calls[0]["peer"], peer);
    let policies: Vec<_> = of("configuration").map(|marker| &marker["policy"]).collect();
    assert_eq!(policies, calls.iter().map(|call| &call["policy"]).collect::<Vec<_>>());
    assert_ne!(policies[0], policies[1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_leaves_in_its_body_is_not_refused() {
    let seen = Seen::default();
    let gateway = Setup::plain(&upstream(seen).await).start().await;
    let address = gateway.caller().address();
    let path = "/accounts/users/customer/subtenant/";
    // Small bodies are complete before anything is sent; large ones are on their way.
    for (framing, sent) in [
        ("Content-Length: 2000", 100),
        ("Content-Length: 2000000", 150_000),
        ("Transfer-Encoding: chunked", 100),
        ("Transfer-Encoding: chunked", 150_000),
    ] {
        for resets in [false, true] {
            let stream = TcpStream::connect(address).await.unwrap();
            let (mut read, mut write) = stream.into_split();
            let chunk = if framing.starts_with('T') { "30d40\r\n" } else { "" };
            let head =
                format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{framing}\r\n\r\n{chunk}");
            write.write_all(head.as_bytes()).await.unwrap();
            write.write_all(&vec![b' '; sent]).await.unwrap();
            if resets {
                let stream = read.reunite(write).unwrap();
                stream.set_zero_linger().unwrap();
            } else {
                write.shutdown().await.unwrap();
                let mut answer = Vec::new();
                read.read_to_end(&mut answer).await.unwrap();
                let answer = String::from_utf8_lossy(&answer);
                assert!(
                    answer.starts_with("HTTP/1.1 400 ") && answer.contains("caller_gone"),
                    "{answer}"
                );
            }
        }
    }
    let (stopped, _) = tokio::time::timeout(Duration::from_secs(20), gateway.stop()).await.unwrap();
    let records = stopped.records();
    assert_eq!(records.len(), 8);
    for record in records {
        assert_eq!(record["outcome"], "failed", "{record}");
        assert_eq!(record["error"], "caller_gone", "{record}");
    }
}
