//! Listening sockets: who wakes for a connection, who gets none during a drain, what the kernel shows.

use std::{fs, io::ErrorKind, net::TcpStream, os::unix::net::UnixStream};

use http::StatusCode;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    lifecycle::TENANT,
    service::written,
    support::{Caller, Process, Setup, Waiting, pigello},
};

/// One request on a connection of its own, which the policy refuses.
fn ask(mut stream: impl std::io::Read + std::io::Write) {
    stream
        .write_all(b"GET /nowhere/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_wakes_few_threads_whatever_the_number_of_workers() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let config = folder.path().join("gateway.toml");
    let socket = folder.path().join("socket");
    let unix = format!(
        "\n[[listeners]]\nname = \"unix\"\naddress = \"unix:{}\"\nprofile = \"test\"\n",
        socket.display()
    );
    let text = fs::read_to_string(&config).unwrap().replace("workers = 2", "workers = 16");
    fs::write(&config, text + &unix).unwrap();
    let process = Process::serve(&config);
    let address = process.address("main");
    let tcp = || ask(TcpStream::connect(address).unwrap());
    let unix = || ask(UnixStream::connect(&socket).unwrap());
    for connect in [&tcp as &dyn Fn(), &unix] {
        // The first connections build what the later ones find.
        (0..16).for_each(|_| connect());
        let before = process.voluntary_switches();
        (0..CONNECTIONS).for_each(|_| connect());
        let switches = process.voluntary_switches() - before;
        assert!(switches < 3 * CONNECTIONS, "{switches} for {CONNECTIONS} connections");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn few_open_files_shut_neither_callers_nor_probes_out() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let config = folder.path().join("gateway.toml");
    let mut process = Process::serve_with_files(&config, 200, 256);
    assert_eq!(process.open_files_limit(), 256, "the soft limit is raised");
    process.log_line("there are open files for 64 connections only");
    let address = process.address("main");
    let (caller, admin) = (Caller::tcp(address), Caller::tcp(process.address("admin")));
    let silent: Vec<_> = (0..300).map_while(|_| TcpStream::connect(address).ok()).collect();
    for _ in 0..5 {
        assert_eq!(caller.get(TENANT).await.status, StatusCode::OK);
        assert_eq!(admin.get("/readyz").await.status, StatusCode::OK);
    }
    assert_eq!(silent.len(), 300);
    assert!(process.open_files() < 256);
}

/// Connects again and again until the kernel refuses it.
async fn until_refused<T>(connect: impl Fn() -> std::io::Result<T>) -> ErrorKind {
    loop {
        match connect() {
            Ok(_) => tokio::task::yield_now().await,
            // It was in the queue in the moment in which the socket closed.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
            Err(error) => return error.kind(),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_refuses_new_callers_at_once_and_serves_those_that_came_before() {
    let upstream = Waiting::listen().await;
    let gateway = upstream.setup().with_unix().start().await;
    let address = gateway.caller().address();
    let mut slow = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /slow/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = upstream.ask(&mut slow, request).await;

    gateway.drain();
    let refused = until_refused(|| TcpStream::connect(address)).await;
    assert_eq!(refused, ErrorKind::ConnectionRefused);
    let socket = gateway.path("gateway.sock");
    assert_eq!(until_refused(|| UnixStream::connect(&socket)).await, ErrorKind::NotFound);
    let ready = gateway.admin().get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE, "health is told to the end");

    answer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let mut received = String::new();
    slow.read_to_string(&mut received).await.unwrap();
    assert!(received.starts_with("HTTP/1.1 200 ") && received.ends_with("ok"), "{received}");
    let (_, summary) = gateway.stop().await;
    assert!(!summary.cut_off);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_a_reload_takes_away_refuses_new_callers_and_finishes_its_calls() {
    let upstream = Waiting::listen().await;
    let gateway = upstream.setup().with_unix().start().await;
    let socket = gateway.path("gateway.sock");
    let mut slow = tokio::net::UnixStream::connect(&socket).await.unwrap();
    let request = "GET /slow/ HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = upstream.ask(&mut slow, request).await;
    let one = |text: String| text[..text.rfind("[[listeners]]").unwrap()].to_owned();
    gateway.reload(|text| one(text) + "[policy]\nunmatched = \"forward\"\n").await.unwrap();
    assert_eq!(UnixStream::connect(&socket).unwrap_err().kind(), ErrorKind::NotFound);
    answer.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.unwrap();
    let mut received = String::new();
    slow.read_to_string(&mut received).await.unwrap();
    assert!(received.starts_with("HTTP/1.1 200 "), "{received}");
}

/// Wherever a drain meets a reload, the sockets are closed.
#[tokio::test(flavor = "multi_thread")]
async fn a_drain_in_the_middle_of_a_reload_closes_the_sockets() {
    let pigello = pigello().await;
    for turns in 0..12 {
        let gateway = Setup::new(&pigello).with_unix().start().await;
        let socket = gateway.path("gateway.sock");
        let reload = gateway.reload(|text| text + "[limits]\nrequest_body = \"1B\"\n");
        let drain = async {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            gateway.drain();
        };
        // The reload may be given up.
        let (_maybe_refused, ()) = tokio::join!(reload, drain);
        let (_stopped, _) = gateway.stop().await;
        assert!(!socket.exists(), "after {turns} turns");
    }
}

/// The file of another process that has taken the path in the meantime stays.
#[tokio::test(flavor = "multi_thread")]
async fn only_the_gateways_own_socket_file_is_removed() {
    let pigello = pigello().await;
    let gateway = Setup::new(&pigello).with_unix().start().await;
    let socket = gateway.path("gateway.sock");
    fs::remove_file(&socket).unwrap();
    let _other = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let (_stopped, _) = gateway.stop().await;
    assert!(UnixStream::connect(&socket).is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_connections_to_the_admin_listener_take_few_descriptors_and_shut_nobody_out() {
    let pigello = pigello().await;
    let folder = written(&pigello, "127.0.0.1:0");
    let mut process = Process::serve(&folder.path().join("gateway.toml"));
    process.log_line("\"message\":\"serving\"");
    let admin = Caller::tcp(process.address("admin"));
    assert_eq!(admin.get("/livez").await.status, StatusCode::OK);
    let before = process.open_files();
    let silent: Vec<_> = (0..450).map(|_| TcpStream::connect(admin.address()).unwrap()).collect();
    // Its answer comes after all of them were accepted.
    assert_eq!(admin.get("/livez").await.status, StatusCode::OK);
    let more = process.open_files() - before;
    assert!(more <= 64 + 8, "{more} descriptors for connections that say nothing");
    assert_eq!(Caller::tcp(process.address("main")).get(TENANT).await.status, StatusCode::OK);
    drop(silent);
}

const CONNECTIONS: u64 = 500;
