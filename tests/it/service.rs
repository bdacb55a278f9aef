//! The gateway as a service: its signals, its restarts, what it tells the service manager, and that it
//! stays as small as it was.

use std::{
    collections::BTreeSet,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixDatagram,
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use pigello_mock::{Fault, Interruption, MADE_UP_VALUES, MockPigello};
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use crate::{
    lifecycle::{INVITE, TENANT, load, times},
    support::{Caller, Process, pigello, trail_lines},
};

/// A folder with a configuration of its own.
pub fn written(pigello: &MockPigello, listener: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("credentials")).unwrap();
    for (name, value) in MADE_UP_VALUES {
        fs::write(path("credentials").join(name.key()), value).unwrap();
    }
    fs::write(path("ca.pem"), pigello.ca_pem().unwrap()).unwrap();
    let text = format!(
        r#"
        [[listeners]]
        name = "main"
        address = "{listener}"
        profile = "test"
        [admin]
        address = "127.0.0.1:0"
        [profiles.test]
        upstream = "{}"
        ca_file = "ca.pem"
        credentials = "test"
        [credentials.test]
        source = "directory"
        path = "credentials"
        [audit]
        directory = "audit"
        [runtime]
        workers = 2
        "#,
        pigello.origin()
    );
    fs::write(path("gateway.toml"), text).unwrap();
    folder
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_and_a_changed_file_reload_and_a_bad_one_is_refused_with_the_reason() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let config = folder.path().join("gateway.toml");
    let mut process = Process::serve(&config);
    process.log_line("\"message\":\"serving\"");
    let caller = Caller::tcp(process.address("main"));
    assert_eq!(caller.get(TENANT).await.status, StatusCode::OK);

    let admin = format!("address = \"{}\"", process.address("admin"));
    let asked = folder.path().join("asked.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(
        &asked,
        text.replace("[admin]\n        address = \"127.0.0.1:0\"", &format!("[admin]\n{admin}")),
    )
    .unwrap();
    assert!(Process::health(&asked).success(), "what a probe asks");
    assert_eq!(Process::health(&config).code(), Some(1), "port 0 is nobody");

    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, format!("{good}\n[limits]\nrequest_bodi = \"1B\"\n")).unwrap();
    process.signal(Signal::HUP);
    let line = process.log_line("configuration refused");
    assert!(line.contains("request_bodi") && line.contains("request_body"), "{line}");
    assert_eq!(caller.get(TENANT).await.status, StatusCode::OK);

    // No signal: the file is seen to have changed.
    fs::write(&config, format!("{good}\n[limits]\nrequest_body = \"1B\"\n")).unwrap();
    process.log_line("configuration reloaded");
    let refused = caller.send(Method::POST, INVITE, "{}").await;
    assert_eq!(refused.status, StatusCode::PAYLOAD_TOO_LARGE);

    // A signal has the credentials read again as well.
    fs::remove_file(folder.path().join("credentials/client_secret")).unwrap();
    process.signal(Signal::HUP);
    process.log_line("credentials could not be read again");

    let (status, log) = process.terminate();
    assert!(status.success(), "{log}");
    assert!(log.contains("\"last_seq\":"), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_hands_the_socket_over_loses_no_call() {
    let pigello = pigello().await;
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let folder = written(&pigello, &address.to_string());
    let config = folder.path().join("gateway.toml");
    let mut process = Process::serve_on(&config, &socket);
    assert_eq!(process.address("main"), address);
    let caller = Caller::tcp(address);
    while caller.get(TENANT).await.status != StatusCode::OK {}
    let enough = CancellationToken::new();
    let callers: Vec<_> = (0..4).map(|_| load(&caller, &enough, false)).collect();
    for _ in 0..times(5, 100) {
        let seen = pigello.handle().request_count();
        pigello.handle().wait_for_requests(seen + 5).await;
        let (status, log) = process.terminate();
        assert!(status.success(), "{log}");
        process = Process::serve_on(&config, &socket);
    }
    enough.cancel();
    for caller in callers {
        let seen = caller.await.unwrap();
        let failed: Vec<_> = seen.iter().filter(|status| **status != StatusCode::OK).collect();
        assert!(failed.is_empty(), "{failed:?} of {}", seen.len());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_manager_is_told_how_the_service_stands() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let told = |what: &str| loop {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).unwrap_or_else(|error| panic!("{what}: {error}"));
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        if message.contains(what) {
            return message;
        }
    };
    let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let process = Process::serve_with(&folder.path().join("gateway.toml"), &environment);
    told("READY=1");
    told("WATCHDOG=1");
    process.signal(Signal::HUP);
    assert!(told("RELOADING=1").contains("MONOTONIC_USEC="));
    assert!(told("READY=1").contains("STATUS=serving calls"));

    let config = folder.path().join("gateway.toml");
    let good = fs::read_to_string(&config).unwrap();
    fs::write(&config, good.replace("profile =", "profil =")).unwrap();
    process.signal(Signal::HUP);
    let refused = told("STATUS=configuration refused: ");
    assert!(refused.contains("READY=1") && refused.contains("listeners[0].profil"), "{refused}");
    // A file that changes is told as well.
    fs::write(&config, &good).unwrap();
    assert!(told("STATUS=serving calls").contains("READY=1"));
    fs::write(&config, good.replace("profile =", "profil =")).unwrap();
    told("STATUS=configuration refused: ");
    fs::write(&config, good).unwrap();
    told("STATUS=serving calls");

    // A drain that waits for a call is no sign of illness.
    pigello.handle().fault(Fault::new().interrupt(Interruption::StallHead));
    let caller = Caller::tcp(process.address("main"));
    let request = Request::get(TENANT).header("host", "localhost").body(Full::default()).unwrap();
    let call = tokio::spawn(async move { caller.request(request).await });
    pigello.handle().wait_for_requests(1).await;
    process.signal(Signal::TERM);
    told("STOPPING=1");
    for _ in 0..3 {
        told("WATCHDOG=1");
    }
    assert!(process.terminate().0.success());
    drop(call.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_during_a_drain_is_told_so_at_once() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let (config, socket) = (folder.path().join("gateway.toml"), folder.path().join("admin.sock"));
    let text = fs::read_to_string(&config).unwrap();
    let tcp = "[admin]\n        address = \"127.0.0.1:0\"";
    assert!(text.contains(tcp), "{text}");
    let unix = format!("[admin]\naddress = \"unix:{}\"", socket.display());
    fs::write(&config, text.replace(tcp, &unix)).unwrap();
    let mut process = Process::serve(&config);
    process.log_line("\"message\":\"serving\"");
    let admin = Caller::unix(socket);
    assert_eq!(admin.send(Method::POST, "/reload", "").await.status, StatusCode::OK);

    pigello.handle().fault(Fault::new().interrupt(Interruption::StallHead));
    let caller = Caller::tcp(process.address("main"));
    let request = Request::get(TENANT).header("host", "localhost").body(Full::default()).unwrap();
    let call = tokio::spawn(async move { caller.request(request).await });
    pigello.handle().wait_for_requests(1).await;
    process.signal(Signal::TERM);
    process.log_line("draining");
    for target in ["/reload", "/reload?dry_run=true"] {
        let answer = admin.send(Method::POST, target, "").await;
        assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.json()["detail"], "the gateway is stopping");
    }
    // A call in flight is waited for.
    assert!(!call.is_finished());
    drop(process);
    drop(call.await.unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_that_takes_long_is_no_sign_of_illness() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let config = folder.path().join("gateway.toml");
    let socket = folder.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let next = || {
        let mut message = [0; 512];
        let length = manager.recv(&mut message).expect("the manager is told something");
        String::from_utf8_lossy(&message[..length]).into_owned()
    };
    let environment = [("NOTIFY_SOCKET", socket.to_str().unwrap()), ("WATCHDOG_USEC", "400000")];
    let process = Process::serve_with(&config, &environment);
    while !next().contains("READY=1") {}
    // A vault that never answers: new credentials are waited for.
    let vault = TcpListener::bind("127.0.0.1:0").unwrap();
    fs::write(folder.path().join("token"), "made-up").unwrap();
    let slow = format!(
        "[credentials.slow]\nsource = \"vault\"\npath = \"pigello\"\n\
         [vault]\naddress = \"http://{}\"\n\
         [vault.auth]\nmethod = \"token\"\ntoken_file = \"token\"\n",
        vault.local_addr().unwrap()
    );
    fs::write(&config, fs::read_to_string(&config).unwrap() + &slow).unwrap();
    process.signal(Signal::HUP);
    while !next().contains("RELOADING=1") {}
    let mut signs = 0;
    loop {
        let message = next();
        if message.contains("READY=1") {
            break;
        }
        signs += u32::from(message.contains("WATCHDOG=1"));
    }
    assert!(signs > 5, "{signs} signs of life while the vault was waited for");
    let (status, log) = process.terminate();
    assert!(status.success(), "{log}");
    assert!(log.contains("the credentials `slow` cannot be loaded"), "{log}");
}

/// A call that may meet a gateway that has gone: `None` if nobody accepted it.
async fn try_call(address: SocketAddr) -> Option<String> {
    let stream = TcpStream::connect(address).await.ok()?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(TENANT).header("host", "localhost");
    let request = request.body(Full::<Bytes>::default()).unwrap();
    // A connection that waited in the kernel's queue when the socket closed was never accepted.
    let response = sender.send_request(request).await.ok()?;
    assert_eq!(response.status(), StatusCode::OK);
    let id = response.headers()["x-request-id"].to_str().unwrap().to_owned();
    let body = pigello_gateway::body::collect_limited(response.into_body(), 1 << 20).await;
    body.expect("an answer that was begun is finished");
    Some(id)
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_under_load_answers_every_accepted_call_and_keeps_every_record() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let process = Process::serve(&folder.path().join("gateway.toml"));
    let address = process.address("main");
    let callers: Vec<_> = (0..8)
        .map(|_| {
            tokio::spawn(async move {
                let mut answered = Vec::new();
                while let Some(id) = try_call(address).await {
                    answered.push(id);
                }
                answered
            })
        })
        .collect();
    pigello.handle().wait_for_requests(200).await;
    let before = std::time::Instant::now();
    let (status, log) = tokio::task::spawn_blocking(|| process.terminate()).await.unwrap();
    assert!(status.success(), "{log}");
    assert!(before.elapsed() < Duration::from_secs(10), "within the grace: {:?}", before.elapsed());
    let mut answered = BTreeSet::new();
    for caller in callers {
        answered.extend(caller.await.unwrap());
    }
    let mut kept = BTreeSet::new();
    let mut last_seq = 0;
    for record in trail_lines(&folder.path().join("audit")) {
        last_seq = last_seq.max(record["seq"].as_u64().unwrap());
        if record["kind"] == "call" {
            assert_eq!(record["outcome"], "forwarded", "{record}");
            kept.insert(record["request_id"].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(answered, kept, "what was answered is what is on the trail");
    assert!(log.contains(&format!("\"last_seq\":{last_seq}")), "{last_seq}: {log}");
}

/// One of the gateway's own metrics.
async fn metric(gateway: &Caller, name: &str) -> f64 {
    let answer = gateway.get("/metrics").await;
    let text = String::from_utf8(answer.body.to_vec()).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("pigello_gateway_{name} ")));
    line.unwrap_or_else(|| panic!("{name}: {text}")).parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_and_files_stay_flat_however_many_callers_come_and_go() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let process = Process::serve(&folder.path().join("gateway.toml"));
    let (address, admin) = (process.address("main"), Caller::tcp(process.address("admin")));
    let calls = async |count: u32| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                tokio::spawn(async move {
                    for _ in 0..count / 4 {
                        try_call(address).await.expect("an answer");
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    };
    calls(times(1000, 20_000)).await;
    let memory = metric(&admin, "resident_memory_bytes").await;
    let files = metric(&admin, "open_file_descriptors").await;
    calls(times(2000, 200_000)).await;
    let (memory_now, files_now) = (
        metric(&admin, "resident_memory_bytes").await,
        metric(&admin, "open_file_descriptors").await,
    );
    assert!(memory_now < memory + 8.0 * 1024.0 * 1024.0, "{memory} → {memory_now}");
    assert!((files_now - files).abs() <= 8.0, "{files} → {files_now}");
    drop(process);
}
