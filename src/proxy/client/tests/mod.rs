//! The connections that calls use, seen by a scripted upstream over TCP.

use std::time::SystemTime;

use bytes::Bytes;
use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::advance,
};

use super::*;
use crate::{
    body::{CollectError, collect_limited},
    credentials::Lease,
    domain::{RequestId, TraceContext},
    error::Kind,
    proxy::call::CallContext,
};

mod http2;

const IDLE: Duration = Duration::from_mins(1);
const AGE: Duration = Duration::from_mins(10);

struct Scene {
    listener: TcpListener,
    upstream: UpstreamClient,
    rotate: watch::Sender<u64>,
}

impl Scene {
    async fn new() -> Self {
        Self::speaking(HttpVersions::Http1).await
    }

    async fn speaking(http: HttpVersions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = Self::settings(format!("http://{address}").parse().unwrap(), http);
        let (rotate, rotations) = watch::channel(0);
        Self { listener, upstream: UpstreamClient::new(settings, Some(rotations)), rotate }
    }

    fn settings(origin: Origin, http: HttpVersions) -> Settings {
        Settings {
            origin,
            connect_to: None,
            allow_private: false,
            proxy: None,
            local_address: None,
            resolver: Resolver::system(),
            connect: ConnectTimeouts {
                resolve: Duration::from_secs(10),
                connect: Duration::from_secs(5),
            },
            keep: KeepLimits { idle: IDLE, age: AGE },
            adaptive_concurrency: true,
            http,
            tls: None,
            revocation: None,
            observed: Arc::default(),
        }
    }

    async fn accept(&self) -> TcpStream {
        self.listener.accept().await.unwrap().0
    }

    /// One call, whose answer the upstream's end of a connection gives, over a connection that is
    /// open or new.
    async fn call(&self, open: Option<TcpStream>) -> TcpStream {
        let answer = async {
            let mut stream = match open {
                Some(stream) => stream,
                None => self.accept().await,
            };
            receive(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").await.unwrap();
            Ok(stream)
        };
        let (response, stream) =
            tokio::try_join!(send(&self.upstream, Method::POST), answer).unwrap();
        assert_eq!(read(response).await.unwrap(), "OK");
        stream
    }
}

async fn get(upstream: &UpstreamClient) -> Result<Response<Body>, Error> {
    send(upstream, Method::GET).await
}

async fn send(upstream: &UpstreamClient, method: Method) -> Result<Response<Body>, Error> {
    send_in(&context(), upstream, method).await
}

fn context() -> CallContext {
    let id = RequestId::fresh();
    let trace = TraceContext::continue_or_begin(None, id);
    CallContext::begin(SystemTime::now(), id, trace, false)
}

async fn send_in(
    context: &CallContext,
    upstream: &UpstreamClient,
    method: Method,
) -> Result<Response<Body>, Error> {
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    *request.uri_mut() = "/a?b".parse().unwrap();
    let lease = Arc::new(Lease::made_up("made-up-secret-of-a-test"));
    let table = ProfileName::new("production");
    upstream.call(Outbound { request, table, lease, context: context.clone() }).await
}

async fn read(response: Response<Body>) -> Result<Bytes, CollectError> {
    collect_limited(response.into_body(), 100).await
}

/// Reads a head.
async fn receive(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        assert_eq!(stream.read(&mut byte).await.unwrap(), 1, "the gateway left");
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The gateway has closed its end.
async fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]).await, Ok(0) | Err(_))
}

#[tokio::test]
async fn a_connection_carries_one_call_after_the_other() {
    let scene = Scene::new().await;
    let mut stream = scene.call(None).await;
    for _ in 0..3 {
        stream = scene.call(Some(stream)).await;
    }
}

#[tokio::test]
async fn a_request_names_the_origin_and_nothing_else() {
    // The second has the target of an HTTP/2 request whose connection was closed before it was sent.
    for target in ["/a?b", "https://api.pigello.test/a?b"] {
        let scene = Scene::new().await;
        let upstream = scene.upstream.clone();
        let mut request = Request::new(Body::empty());
        *request.uri_mut() = target.parse().unwrap();
        let now = Instant::now();
        let call = tokio::spawn(async move { upstream.send(&mut request, now).await.map(drop) });
        let mut stream = scene.accept().await;
        let host = scene.listener.local_addr().unwrap();
        let head = format!("GET /a?b HTTP/1.1\r\nhost: {host}\r\n\r\n");
        assert_eq!(receive(&mut stream).await, head);
        call.abort();
    }
}

#[tokio::test]
async fn without_tls_only_a_loopback_address_is_dialled() {
    let settings = |resolver| Settings {
        origin: "http://localhost:9".parse().unwrap(),
        connect_to: None,
        allow_private: true,
        proxy: None,
        local_address: None,
        resolver,
        connect: ConnectTimeouts {
            resolve: Duration::from_secs(10),
            connect: Duration::from_secs(5),
        },
        keep: KeepLimits { idle: IDLE, age: AGE },
        adaptive_concurrency: true,
        http: HttpVersions::Auto,
        tls: None,
        revocation: None,
        observed: Arc::default(),
    };
    for address in ["192.0.2.2", "10.0.0.1", "2001:db8::1", "::ffff:192.0.2.2"] {
        let leads_to = Resolver::new(move |_| Ok(vec![address.parse().unwrap()]));
        let upstream = UpstreamClient::new(settings(leads_to), None);
        let refused = get(&upstream).await.unwrap_err();
        assert_eq!(refused.kind(), Kind::UpstreamAddressRefused, "{address}");
    }
}

#[tokio::test]
async fn a_connection_that_the_upstream_closed_costs_no_call() {
    let scene = Scene::new().await;
    for _ in 0..20 {
        drop(scene.call(None).await);
    }
}

#[tokio::test]
async fn calls_at_the_same_time_have_their_own_connections() {
    let scene = Scene::new().await;
    let calls = async { tokio::join!(get(&scene.upstream), get(&scene.upstream)) };
    let answers = async {
        let mut streams = [scene.accept().await, scene.accept().await];
        for stream in &mut streams {
            receive(stream).await;
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
        streams
    };
    let ((one, other), _streams) = tokio::join!(calls, answers);
    assert_eq!(one.unwrap().status(), StatusCode::NO_CONTENT);
    assert_eq!(other.unwrap().status(), StatusCode::NO_CONTENT);
}

#[tokio::test]
async fn a_response_that_is_not_read_to_its_end_closes_its_connection() {
    let scene = Scene::new().await;
    let answer = async {
        let mut stream = scene.accept().await;
        receive(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
        stream
    };
    let (response, mut stream) = tokio::join!(get(&scene.upstream), answer);
    drop(response.unwrap());
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn a_small_response_that_came_with_its_head_is_in_memory_and_its_connection_is_free() {
    let scene = Scene::new().await;
    let upstream = async {
        let mut stream = scene.accept().await;
        for _ in 0..3 {
            receive(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").await.unwrap();
        }
        stream
    };
    let calls = async {
        for _ in 0..3 {
            // Over the same connection, though nobody has read a body yet.
            let response = get(&scene.upstream).await.unwrap();
            assert_eq!(response.body().in_memory().unwrap(), "OK");
        }
    };
    tokio::join!(upstream, calls);
}

#[tokio::test]
async fn a_small_response_that_comes_in_pieces_is_complete() {
    let scene = Scene::new().await;
    let (head_is_there, wait) = tokio::sync::oneshot::channel();
    let upstream = async {
        let mut stream = scene.accept().await;
        receive(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab").await.unwrap();
        wait.await.unwrap();
        stream.write_all(b"cd").await.unwrap();
        stream
    };
    let call = async {
        let response = get(&scene.upstream).await.unwrap();
        assert_eq!(http_body::Body::size_hint(response.body()).exact(), Some(4));
        head_is_there.send(()).unwrap();
        assert_eq!(read(response).await.unwrap(), "abcd");
    };
    tokio::join!(upstream, call);
}

#[tokio::test]
async fn a_response_that_breaks_off_is_an_error() {
    let scene = Scene::new().await;
    let answer = async {
        let mut stream = scene.accept().await;
        receive(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf").await.unwrap();
    };
    let (response, ()) = tokio::join!(get(&scene.upstream), answer);
    assert!(read(response.unwrap()).await.is_err());
}

#[tokio::test]
async fn a_connection_that_ends_before_the_response_is_an_error_of_its_own() {
    let scene = Scene::new().await;
    let answer = async {
        let mut stream = scene.accept().await;
        receive(&mut stream).await;
    };
    let (response, ()) = tokio::join!(get(&scene.upstream), answer);
    assert_eq!(response.unwrap_err().kind(), Kind::UpstreamClosed);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let scene = Scene::new().await;
    let mut stream = scene.call(None).await;
    tokio::time::pause();
    advance(IDLE * 3 / 4).await;
    tokio::task::yield_now().await;
    tokio::time::resume();
    stream = scene.call(Some(stream)).await;
    tokio::time::pause();
    advance(IDLE * 3 / 4).await;
    tokio::task::yield_now().await;
    tokio::time::resume();
    // It was used in between.
    stream = scene.call(Some(stream)).await;
    tokio::time::pause();
    advance(IDLE * 2).await;
    assert!(is_closed(&mut stream).await);
}

#[tokio::test]
async fn a_rotation_closes_idle_connections_now_and_busy_ones_later() {
    let scene = Scene::new().await;
    let upstream = scene.upstream.clone();
    let busy = tokio::spawn(async move { get(&upstream).await });
    let mut busy_stream = scene.accept().await;
    receive(&mut busy_stream).await;
    let mut idle = scene.call(None).await;
    scene.rotate.send(1).unwrap();
    assert!(is_closed(&mut idle).await);
    // The call under way is not disturbed.
    busy_stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").await.unwrap();
    let response = busy.await.unwrap().unwrap();
    assert_eq!(read(response).await.unwrap(), "OK");
    assert!(is_closed(&mut busy_stream).await);
    scene.call(None).await;
}

#[tokio::test]
async fn the_wait_for_another_request_is_no_part_of_the_upstreams_time() {
    let scene = Scene::new().await;
    scene.upstream.pool.limit().unwrap().set(1);
    let (first, second) = (context(), context());
    let times = |context: &CallContext| {
        let mut times = None;
        context.note(|facts| times = Some((facts.queue_time, facts.upstream_time)));
        times.unwrap()
    };
    let answers = async {
        let mut stream = scene.accept().await;
        receive(&mut stream).await;
        // The second one waits now.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(20) {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            receive(&mut stream).await;
        }
    };
    let get = |context| send_in(context, &scene.upstream, Method::GET);
    tokio::select! {
        () = answers => unreachable!("there are two requests"),
        both = async { tokio::join!(get(&first), get(&second)) } => {
            assert!(both.0.is_ok() && both.1.is_ok());
        }
    }
    assert_eq!(times(&first).0, Duration::ZERO);
    let (queued, upstream) = times(&second);
    assert!(queued >= Duration::from_millis(20), "{queued:?}");
    assert!(upstream.unwrap() < queued, "{upstream:?}");
}

#[tokio::test]
async fn without_the_adaptive_limit_no_request_waits() {
    let mut settings = Scene::settings("http://127.0.0.1:9".parse().unwrap(), HttpVersions::Http1);
    settings.adaptive_concurrency = false;
    assert!(UpstreamClient::new(settings, None).pool.limit().is_none());
}

#[tokio::test]
async fn a_call_counts_as_in_flight_until_its_response_is_there() {
    let scene = Scene::new().await;
    let limit = scene.upstream.pool.limit().unwrap();
    let seen = async {
        let mut stream = scene.accept().await;
        receive(&mut stream).await;
        assert_eq!(limit.requests(), 1);
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").await.unwrap();
    };
    let (response, ()) = tokio::join!(get(&scene.upstream), seen);
    assert!(response.is_ok());
    assert_eq!(limit.requests(), 0);
}

#[tokio::test]
async fn a_slow_upstream_gets_all_requests_meanwhile() {
    let scene = Scene::new().await;
    let mut calls = JoinSet::new();
    for _ in 0..100 {
        let upstream = scene.upstream.clone();
        calls.spawn(async move { get(&upstream).await.is_ok() });
    }
    let mut streams = Vec::new();
    for _ in 0..calls.len() {
        let mut stream = scene.accept().await;
        receive(&mut stream).await;
        streams.push(stream);
    }
    for stream in &mut streams {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").await.unwrap();
    }
    assert!(calls.join_all().await.into_iter().all(|is_good| is_good));
}
