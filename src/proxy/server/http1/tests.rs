#[path = "../../../../fuzz/src/connection.rs"]
#[expect(unreachable_pub, reason = "the fuzzer's package uses it too")]
mod law;

use std::convert::Infallible;

use futures_util::stream;
use http::{StatusCode, header};
use http_body::Frame;
use http_body_util::StreamBody;
use proptest::prelude::*;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    task::JoinHandle,
    time::{Instant, sleep},
};
use tower::service_fn;

use super::*;
use crate::{
    body::collect_limited,
    domain::Peer,
    error::{BoxError, Chain},
    proxy::server::ConnectionTimeouts,
};

impl Transport for DuplexStream {
    const HAS_END: bool = false;
}

fn settings() -> Settings {
    let seconds = Duration::from_secs;
    Settings {
        timeouts: ConnectionTimeouts { head: seconds(10), idle: seconds(60), write: seconds(30) },
        head_bytes: 1024,
        header_count: 20,
        keep_alive_fields: response_head::keep_alive_fields(seconds(60)),
        concurrent_streams: 1,
        connection_age: None,
    }
}

/// A caller of a path, and the connection between them.
struct Caller {
    stream: DuplexStream,
    connection: Arc<Connection>,
    served: JoinHandle<io::Result<Option<(DuplexStream, Bytes)>>>,
}

impl Caller {
    async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// Reads until the text ends an answer.
    async fn read_to(&mut self, end: &str) -> String {
        let mut read = Vec::new();
        while !read.ends_with(end.as_bytes()) {
            read.push(self.stream.read_u8().await.expect("more of the answer"));
        }
        String::from_utf8(read).unwrap()
    }

    /// Reads until the connection is closed.
    async fn rest(&mut self) -> String {
        let mut read = Vec::new();
        self.stream.read_to_end(&mut read).await.unwrap();
        String::from_utf8(read).unwrap()
    }
}

/// Calls `answer` for each request.
fn call<F, R>(capacity: usize, answer: F) -> Caller
where
    F: Fn(Result<Request<Body>, Unreadable>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let (stream, gateway) = duplex(capacity);
    let connection = Connection::new(Peer::Unix { uid: 0, gid: 0, pid: None }, Vec::new());
    let known = Arc::clone(&connection);
    let path = service_fn(move |arrival: Arrival| {
        let answer = answer.clone();
        async move { Ok::<_, Infallible>(answer(arrival.request).await) }
    });
    let served = tokio::spawn(async move {
        let drain = Drain::new();
        serve(gateway, &settings(), &drain, &SharedService::new(path), known).await
    });
    Caller { stream, connection, served }
}

/// Answers with the method, the target and the body of the request.
async fn echo(request: Result<Request<Body>, Unreadable>) -> Response<Body> {
    let text = match request {
        Ok(request) => {
            let start = format!("{} {} ", request.method(), request.uri());
            match collect_limited(request.into_body(), 1000).await {
                Ok(body) => start + str::from_utf8(&body).unwrap(),
                Err(error) => format!("{start}broken: {}", Chain(&error)),
            }
        }
        Err(unreadable) => format!("{} {}", unreadable.method, unreadable.error.detail()),
    };
    Response::new(Body::full(text))
}

async fn ok(_: Result<Request<Body>, Unreadable>) -> Response<Body> {
    Response::new(Body::full("ok."))
}

fn streamed(frames: &'static [&'static str]) -> Body {
    let frames = frames.iter().map(|frame| Ok::<_, BoxError>(Frame::data(Bytes::from(*frame))));
    Body::wrap(StreamBody::new(stream::iter(frames)))
}

#[tokio::test]
async fn requests_are_answered_one_by_one() {
    let messages = [
        ("GET /1 HTTP/1.1\r\n\r\n", "GET /1 "),
        ("\r\nPOST /2 HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "POST /2 hello"),
        (
            "POST /3 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n1\r\n!\r\n0\r\nX: y\r\n\r\n",
            "POST /3 hello!",
        ),
        ("GET /4 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", "GET /4 "),
    ];
    let all: String = messages.iter().map(|(message, _)| *message).collect();
    for piece in [1, 7, 1000] {
        let mut caller = call(1 << 16, echo);
        for bytes in all.as_bytes().chunks(piece) {
            caller.send(bytes).await;
            tokio::task::yield_now().await;
        }
        for (_, answer) in messages {
            let read = caller.read_to(answer).await;
            assert!(read.starts_with("HTTP/1.1 200 OK\r\n"), "{read}");
            assert!(read.contains(&format!("\r\ncontent-length: {}\r\n", answer.len())), "{read}");
            assert!(read.contains("\r\nkeep-alive: timeout=55\r\n"), "{read}");
            assert_eq!(read.matches("\r\ndate: ").count(), 1, "{read}");
        }
        drop(caller.stream);
        assert!(caller.served.await.unwrap().unwrap().is_none());
    }
}

#[tokio::test]
async fn a_connection_closes_when_either_side_says_so() {
    let close = |_| async {
        let mut answer = ok(Ok(Request::default())).await;
        answer.headers_mut().insert(header::CONNECTION, "close".parse().unwrap());
        answer
    };
    for (mut caller, request) in [
        (call(1000, close), "GET / HTTP/1.1\r\n\r\n"),
        (call(1000, ok), "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"),
        (call(1000, ok), "GET / HTTP/1.0\r\n\r\n"),
        (call(1000, ok), "GET  / HTTP/1.1\r\n\r\n"),
    ] {
        caller.send(request).await;
        let answer = caller.rest().await;
        assert!(
            answer.contains("\r\nconnection: close\r\n") && answer.ends_with("ok."),
            "{answer}"
        );
        assert!(!answer.contains("keep-alive"), "{answer}");
    }
    let mut caller = call(1000, ok);
    caller.connection.begin_closing();
    caller.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(caller.rest().await.contains("\r\nconnection: close\r\n"), "the gateway drains");
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_answered_and_none_follows() {
    for (message, answer) in [
        ("GET /a HTTP/1.1\r\nX : y\r\n\r\n", "GET a header field's name is not a token"),
        ("GET / HTTQ/1.1\r\n\r\n", "GET a request begins with `METHOD target HTTP/1.1`"),
        ("\x16\x03\x01\n", "- every line of a head ends with CR LF"),
    ] {
        let mut caller = call(1000, echo);
        caller.send(format!("{message}GET /next HTTP/1.1\r\n\r\n")).await;
        let read = caller.rest().await;
        assert!(read.ends_with(answer), "{message:?}: {read}");
    }
}

#[tokio::test]
async fn a_broken_body_fails_its_reader_and_ends_the_connection() {
    for body in ["5\r\nhello\r\nx\r\n", "5\r\nhello!\r\n", "5;\r\nhello\r\n0\r\n\r\n"] {
        let mut caller = call(1000, echo);
        caller.send("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        caller.send(body).await;
        let read = caller.rest().await;
        assert!(read.contains("POST / broken: the body broke off: a chunk"), "{read}");
        assert!(read.contains("\r\nconnection: close\r\n"), "{read}");
    }
}

#[tokio::test]
async fn answers_are_framed_by_what_is_known_of_their_length() {
    let chunked = "\r\ntransfer-encoding: chunked\r\n";
    for (request, frames, head, body) in [
        ("GET / HTTP/1.1\r\n", &["abc", "", "de"][..], chunked, "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive\r\n",
            &["abc"],
            "\r\nconnection: close\r\n",
            "\r\n\r\nabc",
        ),
        ("HEAD / HTTP/1.1\r\n", &["abc"], "HTTP/1.1 200 OK\r\n", "\r\n\r\n"),
    ] {
        let mut caller = call(1000, move |_| async { Response::new(streamed(frames)) });
        caller.send(format!("{request}\r\n")).await;
        caller.stream.shutdown().await.unwrap();
        let read = caller.rest().await;
        assert!(read.contains(head) && read.ends_with(body), "{read}");
    }
}

#[tokio::test]
async fn an_answer_without_a_body_has_none() {
    for (method, status, stated) in [
        ("GET", StatusCode::NO_CONTENT, None),
        ("GET", StatusCode::NOT_MODIFIED, Some("7")),
        ("HEAD", StatusCode::OK, Some("7")),
    ] {
        let mut caller = call(1000, move |_| async move {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = status;
            answer.headers_mut().insert(header::CONTENT_LENGTH, "7".parse().unwrap());
            answer
        });
        caller.send(format!("{method} / HTTP/1.1\r\nConnection: close\r\n\r\n")).await;
        let read = caller.rest().await;
        let length =
            read.split_once("content-length: ").map(|(_, rest)| rest.split('\r').next().unwrap());
        assert!(length == stated && read.ends_with("\r\n\r\n"), "{read}");
    }
}

#[tokio::test]
async fn an_answer_that_is_not_as_long_as_it_states_breaks_off() {
    for (length, frames, read) in [("9", &["abc"][..], "abc"), ("2", &["a", "bc"], "a")] {
        let mut caller = call(1000, move |_| async move {
            let mut answer = Response::new(streamed(frames));
            answer.headers_mut().insert(header::CONTENT_LENGTH, length.parse().unwrap());
            answer
        });
        caller.send("GET / HTTP/1.1\r\n\r\n").await;
        assert!(caller.rest().await.is_empty() || read.len() < 9);
        assert!(caller.served.await.unwrap().is_err());
    }
}

#[tokio::test]
async fn http2_is_handed_over_with_its_bytes() {
    for piece in [1, 5, 100] {
        let mut caller = call(1000, ok);
        for bytes in [PREFACE, b"frames"].concat().chunks(piece) {
            caller.send(bytes).await;
            tokio::task::yield_now().await;
        }
        drop(caller.stream);
        let (mut stream, read) = caller.served.await.unwrap().unwrap().expect("HTTP/2");
        let mut rest = read.to_vec();
        stream.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, [PREFACE, b"frames"].concat());
    }
    let mut caller = call(1000, ok);
    caller.send("PRIX / HTTP/1.1\r\n\r\n").await;
    caller.read_to("ok.").await;
    caller.send(PREFACE).await;
    assert!(caller.rest().await.contains("close"), "only at the beginning");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_after_its_time() {
    let mut caller = call(1000, ok);
    let began = Instant::now();
    assert_eq!(caller.rest().await, "");
    assert_eq!(began.elapsed(), Duration::from_mins(1) + GRACE);
    let mut caller = call(1000, ok);
    for _ in 0..3 {
        sleep(Duration::from_secs(50)).await;
        caller.send("GET / HTTP/1.1\r\n\r\n").await;
        assert!(caller.read_to("ok.").await.contains("keep-alive"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_at_the_edge_of_the_idle_time_is_answered_and_the_last_one() {
    for milliseconds in [59_999, 60_001, 60_900] {
        let mut caller = call(1000, echo);
        sleep(Duration::from_millis(milliseconds)).await;
        caller.send("POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\n").await;
        sleep(Duration::from_millis(500)).await;
        caller.send("x").await;
        let answer = caller.read_to("/ x").await;
        assert_eq!(answer.contains("connection: close"), milliseconds > 60_000, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_slow_head_is_refused_at_an_absolute_time() {
    let mut caller = call(1000, echo);
    let began = Instant::now();
    for byte in b"GET /slow HTTP/1.1\r" {
        caller.send([*byte]).await;
        sleep(Duration::from_millis(500)).await;
    }
    let answer = caller.rest().await;
    assert!(answer.contains("GET the request's head did not arrive"), "{answer}");
    assert_eq!(began.elapsed().as_secs(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_no_bytes_is_cut_off() {
    let large = |_| async { Response::new(Body::full(vec![0; 1 << 20])) };
    let mut caller = call(1000, large);
    caller.send("GET / HTTP/1.1\r\n\r\n").await;
    let began = Instant::now();
    assert_eq!(caller.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(began.elapsed().as_secs(), 30);
    // So is one that takes a byte now and then.
    let mut caller = call(1000, large);
    caller.send("GET / HTTP/1.1\r\n\r\n").await;
    let began = Instant::now();
    while caller.stream.read_u8().await.is_ok() {
        sleep(Duration::from_secs(5)).await;
    }
    assert!(began.elapsed() < Duration::from_hours(2), "it reads what had been sent");
    assert_eq!(caller.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    // A slow one is not.
    let mut caller = call(1000, large);
    caller.send("GET / HTTP/1.1\r\nConnection: close\r\n\r\n").await;
    let mut read = 0;
    while let Ok(length @ 1..) = caller.stream.read(&mut [0; 10_000]).await {
        read += length;
        if read % 20_000 < 1000 {
            sleep(Duration::from_secs(20)).await;
        }
    }
    assert!(read > 1 << 20);
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_takes_no_bytes_of_a_short_answer_is_cut_off() {
    let mut caller = call(16, ok);
    let began = Instant::now();
    caller.send("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(caller.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(began.elapsed().as_secs(), 30);
}

#[tokio::test]
async fn a_caller_that_leaves_during_its_call_ends_it() {
    struct Dropped(Option<tokio::sync::oneshot::Sender<()>>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _sent = self.0.take().map(|ended| ended.send(()));
        }
    }
    for request in [
        "GET / HTTP/1.1\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
    ] {
        let (ended, has_ended) = tokio::sync::oneshot::channel();
        let ended = Arc::new(Mutex::new(Some(ended)));
        let mut caller = call(1000, move |request: Result<Request<Body>, Unreadable>| {
            let dropped = Dropped(ended.lock().take());
            async move {
                let _read = collect_limited(request.unwrap().into_body(), 9).await;
                let _dropped = dropped;
                std::future::pending().await
            }
        });
        caller.send(request).await;
        tokio::task::yield_now().await;
        drop(caller.stream);
        has_ended.await.unwrap();
    }
}

#[tokio::test]
async fn another_task_that_reads_the_body_lets_the_loop_see_the_caller_leave() {
    let mut caller = call(1000, |request: Result<Request<Body>, Unreadable>| async {
        let body = request.unwrap().into_body();
        let read = tokio::spawn(collect_limited(body, 9)).await.unwrap();
        assert_eq!(read.unwrap(), "abc");
        std::future::pending().await
    });
    caller.send("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\na").await;
    tokio::task::yield_now().await;
    caller.send("bc").await;
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    drop(caller.stream);
    assert_eq!(caller.served.await.unwrap().unwrap_err().kind(), io::ErrorKind::ConnectionAborted);
}

#[tokio::test]
async fn a_caller_that_waits_to_continue_is_told_when_its_body_is_read() {
    let mut caller = call(1000, echo);
    caller.send("POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    assert_eq!(caller.read_to("\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    caller.send("abc").await;
    assert!(caller.read_to("abc").await.contains("200 OK"));
    // A refusal reads no body.
    let mut caller = call(1000, ok);
    caller.send("POST / HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n").await;
    let answer = caller.read_to("ok.").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("connection: close"), "{answer}");
}

/// RFC 9112 §9.6: the answer to an upload that nobody reads must not be lost in a reset.
#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_read_for_a_while() {
    let mut caller = call(1 << 16, ok);
    caller.send("POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n").await;
    for _ in 0..20 {
        caller.send(vec![0; 50_000]).await;
        sleep(Duration::from_millis(200)).await;
    }
    let answer = caller.read_to("ok.").await;
    assert!(answer.contains("connection: close"), "{answer}");
    assert_eq!(caller.rest().await, "", "the end is signalled while the caller sends");
    let silent = Instant::now();
    assert!(caller.served.await.unwrap().is_ok());
    assert!(silent.elapsed() <= CLOSE_SILENT);
}

#[tokio::test(start_paused = true)]
async fn a_refused_upload_is_not_read_for_ever() {
    let mut caller = call(1 << 16, ok);
    caller.send("POST / HTTP/1.1\r\nContent-Length: 20000000\r\n\r\n").await;
    let began = Instant::now();
    while caller.stream.write_all(&vec![0; 50_000]).await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
    assert!((CLOSE..CLOSE + Duration::from_secs(2)).contains(&began.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn a_new_connection_has_time_for_its_first_request_when_the_gateway_drains() {
    let mut caller = call(1000, ok);
    caller.connection.begin_closing();
    let began = Instant::now();
    assert_eq!(caller.rest().await, "");
    assert_eq!(began.elapsed(), FIRST_REQUEST);
}

/// The law of `fuzz/src/connection.rs`.
fn law_holds(bytes: &[u8], piece: usize) {
    let (served, answers) = fuzzing::connection(bytes, piece);
    let seen = |(request, body): (Request<()>, Option<Bytes>)| law::SeenRequest {
        method: request.method().to_string(),
        target: request.uri().to_string(),
        fields: request.headers().len(),
        body: body.map(|body| body.to_vec()),
    };
    let seen: Vec<_> = served.into_iter().map_while(|request| request.map(seen)).collect();
    law::holds(bytes, &seen, &answers);
}

proptest! {
    #[test]
    fn another_parser_reads_the_same_requests(
        bytes in "((GET|POST|HEAD|OPTIONS) (/a|/b\\?c=d|\\*|http://x/) HTTP/1\\.[01]\r\n(Host: x\r\n|Connection: (close|keep-alive)\r\n|Expect: 100-continue\r\n|Content-Length: ?[03] ?\r\n|Transfer-Encoding: chunked\r\n|X: y\n|){0,4}\r\n(abc|3;x=y\r\nabc\r\n|0\r\n(X: y\r\n)?\r\n|\r\n|){0,3}){1,4}",
        piece in 1_usize..200,
    ) {
        law_holds(bytes.as_bytes(), piece);
    }
}
