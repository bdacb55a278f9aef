use proptest::prelude::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

use super::{lingering_close::LINGER, *};
use crate::proxy::call::Peer;

const LIMITS: HeadLimits = HeadLimits { bytes: 1024, fields: 20 };

fn wire() -> (DuplexStream, StrictReader<DuplexStream>, Arc<Connection>) {
    let (caller, stream) = duplex(1 << 16);
    let (io, connection) = follow(stream, CloseMode::Drop);
    (caller, io, connection)
}

fn follow<S>(stream: S, close_mode: CloseMode) -> (StrictReader<S>, Arc<Connection>) {
    let connection = Connection::new(Peer::Unix { uid: 0, gid: 0, pid: None }, Vec::new());
    let (known, protocol) = (Arc::clone(&connection), Protocol::Unknown);
    (StrictReader::new(stream, known, LIMITS, protocol, close_mode), connection)
}

/// Sends the pieces one by one and reads after each, as much as there is.
async fn pass(pieces: &[&[u8]]) -> (Vec<u8>, Option<ParseError>, bool) {
    let (mut caller, mut io, connection) = wire();
    let (mut passed, mut failed) = (Vec::new(), false);
    for piece in pieces {
        caller.write_all(piece).await.unwrap();
        let mut buffer = vec![0; 1 << 16];
        while let Some(read) = futures_util::FutureExt::now_or_never(io.read(&mut buffer)) {
            match read {
                Ok(0) => break,
                Ok(length) => passed.extend_from_slice(&buffer[..length]),
                Err(_) => {
                    failed = true;
                    break;
                }
            }
        }
    }
    (passed, connection.parse_error(), failed)
}

#[tokio::test]
async fn a_complete_message_passes_unchanged() {
    for message in [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand frames",
    ] {
        let (passed, error, failed) = pass(&[message.as_bytes()]).await;
        assert_eq!((passed.as_slice(), error, failed), (message.as_bytes(), None, false));
        let bytes: Vec<&[u8]> = message.as_bytes().chunks(1).collect();
        let (passed, error, failed) = pass(&bytes).await;
        assert_eq!((passed.as_slice(), error, failed), (message.as_bytes(), None, false));
    }
}

#[tokio::test]
async fn the_first_bytes_tell_the_version() {
    for (sent, version) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", HttpVersion::Http1),
        ("PRX / HTTP/1.1\r\nHost: x\r\n\r\n", HttpVersion::Http1),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nand frames", HttpVersion::Http2),
        // No bytes, or not enough: hyper finds the end.
        ("", HttpVersion::Http1),
        ("PRI * HTTP/2.0\r\n", HttpVersion::Http1),
    ] {
        for piece in [1, 7, sent.len().max(1)] {
            let (mut caller, mut io, _) = wire();
            let send = async {
                for bytes in sent.as_bytes().chunks(piece) {
                    caller.write_all(bytes).await.unwrap();
                    tokio::task::yield_now().await;
                }
                caller.shutdown().await.unwrap();
            };
            let (protocol, ()) = tokio::join!(io.protocol(), send);
            assert_eq!(protocol.unwrap(), version, "{sent:?} in pieces of {piece}");
            let mut passed = Vec::new();
            io.read_to_end(&mut passed).await.unwrap();
            let whole = sent.ends_with("\r\n\r\n") || sent.ends_with("frames");
            assert_eq!(passed, if whole { sent.as_bytes() } else { b"" }, "{sent:?}");
        }
    }
    let (mut caller, mut io, _) = wire();
    caller.write_all(b"INVALID CONNECTION PREFACE\r\n\r\n").await.unwrap();
    assert!(io.protocol().await.is_err(), "no HTTP");
}

#[tokio::test]
async fn a_message_that_comes_in_one_piece_passes_in_one_piece() {
    for message in [
        "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let (mut caller, mut io, _) = wire();
        caller.write_all(message.as_bytes()).await.unwrap();
        caller.write_all(b"GET /next HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        let mut buffer = vec![0; 1000];
        let length = io.read(&mut buffer).await.unwrap();
        assert_eq!(str::from_utf8(&buffer[..length]).unwrap(), message);
    }
}

#[tokio::test]
async fn messages_pass_one_by_one() {
    let (mut caller, mut io, _) = wire();
    let (first, second) = ("GET /1 HTTP/1.1\r\n\r\n", "GET /2 HTTP/1.1\r\n\r\n");
    caller.write_all(format!("{first}{second}").as_bytes()).await.unwrap();
    let mut buffer = [0; 512];
    for message in [first, second] {
        let length = io.read(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..length], message.as_bytes());
    }
}

#[tokio::test]
async fn a_refused_head_is_replaced_and_its_error_stored() {
    let (passed, error, failed) =
        pass(&[b"GET /a HTTP/1.1\r\nX : y\r\n\r\nGET /next HTTP/1.1\r\n\r\n"]).await;
    assert_eq!(passed, b"GET /a HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert_eq!((error, failed), (Some(ParseError::FieldName), false));
    let (passed, error, _) = pass(&[b"GET / HTTP/1.1\n"]).await;
    assert_eq!(passed, b"- * HTTP/1.1\r\nconnection: close\r\n\r\n");
    assert_eq!(error, Some(ParseError::LineEnd));
}

#[tokio::test]
async fn a_good_message_before_a_bad_one_passes() {
    let (mut caller, mut io, connection) = wire();
    caller.write_all(b"GET /1 HTTP/1.1\r\n\r\nGET  /2 HTTP/1.1\r\n\r\n").await.unwrap();
    let mut buffer = [0; 512];
    assert_eq!(io.read(&mut buffer).await.unwrap(), 19);
    assert_eq!(connection.parse_error(), None);
    assert!(io.read(&mut buffer).await.unwrap() > 0);
    assert_eq!(connection.parse_error(), Some(ParseError::RequestLine));
}

#[tokio::test]
async fn a_broken_body_fails_its_reader() {
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (passed, error, failed) = pass(&[head, b"5\r\nhello\r\n", b"x\r\n"]).await;
    assert!(passed.starts_with(head) && failed && error.is_none());
    let whole = [head.as_slice(), b"5;\r\nhello\r\n0\r\n\r\n"].concat();
    let (passed, error, failed) = pass(&[&whole]).await;
    assert_eq!((passed.as_slice(), error, failed), (head.as_slice(), None, true));
}

#[tokio::test]
async fn the_error_names_the_part_over_a_limit() {
    let long = "a".repeat(2000);
    for (message, error) in [
        (long.clone(), ParseError::Method),
        (format!("GET /{}", "a".repeat(9000)), ParseError::TargetTooLong),
        (format!("GET / HTTP/1.1\r\nX: {long}"), ParseError::HeadTooLarge),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(21)), ParseError::HeadTooLarge),
    ] {
        let (_, found, _) = pass(&[message.as_bytes()]).await;
        assert_eq!(found, Some(error));
    }
}

#[tokio::test]
async fn a_stream_with_an_end_of_its_own_is_shut_down() {
    for close_mode in [CloseMode::Drop, CloseMode::Shutdown] {
        let (mut caller, stream) = duplex(1 << 16);
        let (mut io, _) = follow(stream, close_mode);
        caller.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        assert!(io.read(&mut [0; 512]).await.unwrap() > 0);
        io.shutdown().await.unwrap();
        // What is shut down takes no more.
        assert_eq!(io.write(b"x").await.is_err(), close_mode == CloseMode::Shutdown);
        drop(io);
        let mut left = Vec::new();
        assert!(caller.read_to_end(&mut left).await.is_ok(), "dropped, it has ended either way");
    }
}

#[tokio::test(start_paused = true)]
async fn a_close_lingers_after_a_refusal() {
    let (mut caller, mut io, _) = wire();
    caller.write_all(b"GET /\n").await.unwrap();
    assert!(io.read(&mut [0; 512]).await.unwrap() > 0);
    caller.write_all(&[b'x'; 1000]).await.unwrap();
    let began = Instant::now();
    io.shutdown().await.unwrap();
    assert_eq!(began.elapsed(), LINGER);
}

proptest! {
    /// However the bytes are cut, the same bytes pass, and none after an error.
    #[test]
    fn the_result_does_not_depend_on_the_cuts(
        message in "(GET|POST) / HTTP/1.1\r\n(Host: x\r\n|Content-Length: 3\r\n|Transfer-Encoding: chunked\r\n|\n| ){0,3}\r\n(abc|3\r\n|abc\r\n|0\r\n\r\n|GET / HTTP/1.1\r\n\r\n){0,4}",
        cut in 1_usize..100,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let at_once = runtime.block_on(pass(&[message.as_bytes()]));
        let pieces: Vec<&[u8]> = message.as_bytes().chunks(cut).collect();
        let in_pieces = runtime.block_on(pass(&pieces));
        // Which of several errors is found first may differ.
        prop_assert_eq!(at_once.1.is_some(), in_pieces.1.is_some());
        prop_assert_eq!(at_once.2, in_pieces.2);
        if !at_once.2 && at_once.1.is_none() {
            prop_assert_eq!(at_once.0, in_pieces.0);
        }
    }
}
