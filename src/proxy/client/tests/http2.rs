//! HTTP/2 connections, seen by a scripted upstream that reads and writes frames.

use futures_util::future::join_all;

use super::*;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// The upstream's end of a connection.
struct Peer(TcpStream);

impl Peer {
    /// Accepts a connection and allows so many streams.
    async fn accept(scene: &Scene, streams: u32) -> Self {
        let mut peer = Self(scene.accept().await);
        let mut preface = [0; 24];
        peer.0.read_exact(&mut preface).await.unwrap();
        let settings = [&[0, 3][..], &streams.to_be_bytes()].concat();
        peer.send(SETTINGS, 0, 0, &settings).await;
        peer
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
        let stream = stream.to_be_bytes();
        let frame = [&length[1..], &[kind, flags], &stream, payload].concat();
        self.0.write_all(&frame).await.unwrap();
    }

    /// The next frame: kind, flags, stream; `None` when the gateway has closed.
    async fn frame(&mut self) -> Option<(u8, u8, u32)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        let mut payload = vec![0; length];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(stream)))
    }

    /// The stream of the next request that is complete.
    async fn request(&mut self) -> u32 {
        loop {
            match self.frame().await.unwrap() {
                (HEADERS | DATA, flags, stream) if flags & END_STREAM != 0 => return stream,
                (SETTINGS, 0, _) => self.send(SETTINGS, ACK, 0, &[]).await,
                _ => {}
            }
        }
    }

    /// Answers a stream with 200 and no body.
    async fn answer(&mut self, stream: u32) {
        self.send(HEADERS, END_HEADERS | END_STREAM, stream, &[0x88]).await;
    }

    async fn reset(&mut self, stream: u32, reason: u32) {
        self.send(RST_STREAM, 0, stream, &reason.to_be_bytes()).await;
    }

    async fn go_away(&mut self, last: u32) {
        self.send(GOAWAY, 0, 0, &[last.to_be_bytes(), [0; 4]].concat()).await;
    }

    /// Answers requests until the gateway closes. Returns how many there were.
    async fn answer_all(mut self) -> usize {
        let mut answered = 0;
        while let Some((kind, flags, stream)) = self.frame().await {
            if matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                self.answer(stream).await;
                answered += 1;
            }
        }
        answered
    }
}

async fn scene() -> Scene {
    Scene::speaking(HttpVersions::Http2).await
}

fn kind(result: Result<Response<Body>, Error>) -> Option<Kind> {
    result.err().map(|error| error.kind())
}

#[tokio::test]
async fn calls_share_a_connection() {
    let scene = scene().await;
    let upstream = async {
        let mut peer = Peer::accept(&scene, 100).await;
        let streams = [peer.request().await, peer.request().await];
        for stream in streams {
            peer.answer(stream).await;
        }
        peer
    };
    let calls = async { tokio::join!(get(&scene.upstream), get(&scene.upstream)) };
    let ((one, other), _peer) = tokio::join!(calls, upstream);
    assert!(one.is_ok() && other.is_ok());
}

#[tokio::test]
async fn more_calls_than_streams_take_more_connections() {
    let scene = scene().await;
    let upstream = async {
        let mut peers = Vec::new();
        for _ in 0..4 {
            let mut peer = Peer::accept(&scene, 10).await;
            let mut streams = Vec::new();
            for _ in 0..10 {
                streams.push(peer.request().await);
            }
            peers.push((peer, streams));
        }
        for (peer, streams) in &mut peers {
            for stream in streams {
                peer.answer(*stream).await;
            }
        }
        peers
    };
    let calls = join_all((0..40).map(|_| send(&scene.upstream, Method::POST)));
    let (answers, _peers) = tokio::join!(calls, upstream);
    assert!(answers.iter().all(Result::is_ok));
}

#[tokio::test]
async fn a_stream_is_free_once_its_response_is_read_or_left() {
    let scene = scene().await;
    let upstream = async {
        let mut peer = Peer::accept(&scene, 1).await;
        for _ in 0..3 {
            let stream = peer.request().await;
            peer.send(HEADERS, END_HEADERS, stream, &[0x88]).await;
            peer.send(DATA, 0, stream, b"half").await;
        }
        peer
    };
    let calls = async {
        for _ in 0..3 {
            drop(get(&scene.upstream).await.unwrap());
        }
    };
    tokio::join!(calls, upstream);
}

#[tokio::test]
async fn what_was_certainly_not_processed_is_told_apart() {
    let scene = scene().await;
    let upstream = async {
        let mut peer = Peer::accept(&scene, 100).await;
        for reason in [REFUSED_STREAM, CANCEL] {
            let stream = peer.request().await;
            peer.reset(stream, reason).await;
        }
        let [first, second, third] =
            [peer.request().await, peer.request().await, peer.request().await];
        peer.go_away(second).await;
        peer.answer(first).await;
        // The second may have been processed.
        drop(peer);
        third
    };
    let calls = async {
        let post = || send(&scene.upstream, Method::POST);
        assert_eq!(kind(post().await), Some(Kind::UpstreamUnprocessed));
        assert_eq!(kind(post().await), Some(Kind::UpstreamClosed));
        tokio::join!(post(), post(), post())
    };
    let ((first, second, third), _) = tokio::join!(calls, upstream);
    assert_eq!(kind(first), None);
    assert_eq!(kind(second), Some(Kind::UpstreamClosed));
    assert_eq!(kind(third), Some(Kind::UpstreamUnprocessed));
}

#[tokio::test]
async fn a_connection_that_goes_away_gets_no_further_call() {
    let scene = scene().await;
    let upstream = async {
        let mut peer = Peer::accept(&scene, 100).await;
        let stream = peer.request().await;
        peer.go_away(stream).await;
        peer.answer(stream).await;
        let (_, second) = tokio::join!(peer.answer_all(), async {
            let mut peer = Peer::accept(&scene, 100).await;
            let stream = peer.request().await;
            peer.answer(stream).await;
            peer
        });
        second
    };
    let calls = async {
        assert!(get(&scene.upstream).await.is_ok());
        assert!(send(&scene.upstream, Method::POST).await.is_ok());
    };
    tokio::join!(calls, upstream);
}

#[tokio::test]
async fn a_lost_connection_is_one_failure() {
    let scene = scene().await;
    let upstream = async {
        let mut peer = Peer::accept(&scene, 100).await;
        for _ in 0..10 {
            peer.request().await;
        }
    };
    let calls = join_all((0..10).map(|_| get(&scene.upstream)));
    let (answers, ()) = tokio::join!(calls, upstream);
    let errors: Vec<_> = answers.into_iter().map(Result::unwrap_err).collect();
    assert!(errors.iter().all(|error| error.kind() == Kind::UpstreamClosed));
    assert_eq!(errors.iter().filter(|error| !error.is_repeated()).count(), 1);
}

#[tokio::test]
async fn a_silent_connection_with_a_call_is_given_up_in_seconds() {
    let scene = scene().await;
    let upstream = async {
        let mut peer = Peer::accept(&scene, 100).await;
        peer.request().await;
        tokio::time::pause();
        // It is asked whether it is there, and says nothing.
        while peer.frame().await.unwrap().0 != PING {}
        peer
    };
    let call = async {
        let lost = get(&scene.upstream).await;
        (kind(lost), Instant::now())
    };
    let began = Instant::now();
    let ((kind, ended), _peer) = tokio::join!(call, upstream);
    assert_eq!(kind, Some(Kind::UpstreamClosed));
    assert!(ended - began < Duration::from_millis(5500), "{:?}", ended - began);
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_an_old_one_takes_no_call() {
    for time in [IDLE, AGE * 11 / 10] {
        let scene = scene().await;
        let upstream = async {
            let mut peer = Peer::accept(&scene, 100).await;
            let stream = peer.request().await;
            peer.answer(stream).await;
            peer
        };
        let (answer, peer) = tokio::join!(get(&scene.upstream), upstream);
        assert!(answer.is_ok());
        drop(answer);
        tokio::time::pause();
        advance(time + Duration::from_secs(2)).await;
        let ended = async { assert_eq!(peer.answer_all().await, 0) };
        tokio::time::timeout(Duration::from_secs(2), ended).await.unwrap();
        tokio::time::resume();
    }
}

#[tokio::test]
async fn a_large_head_is_refused_by_name_and_harms_nobody() {
    let long = |length: usize| {
        // A literal field without indexing: `x`, and a value with its length in seven-bit groups.
        let mut block = vec![0x88, 0, 1, b'x', 0x7f];
        let mut rest = length - 0x7f;
        while rest >= 0x80 {
            block.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
            rest >>= 7;
        }
        block.push(u8::try_from(rest).unwrap());
        block.resize(block.len() + length, b'a');
        block
    };
    let scene = scene().await;
    let upstream = async {
        let mut peer = Peer::accept(&scene, 100).await;
        let other = peer.request().await;
        for length in [60_000, 70_000, 300_000] {
            let stream = peer.request().await;
            let block = long(length);
            let mut pieces = block.chunks(16_000).peekable();
            let mut kind = HEADERS;
            while let Some(piece) = pieces.next() {
                let end = if pieces.peek().is_none() { END_HEADERS } else { 0 };
                let end_stream = if kind == HEADERS { END_STREAM } else { 0 };
                peer.send(kind, end | end_stream, stream, piece).await;
                kind = CONTINUATION;
            }
        }
        peer.answer(other).await;
        peer
    };
    let calls = async {
        let other = get(&scene.upstream);
        let large = async {
            assert_eq!(kind(get(&scene.upstream).await), None);
            for _ in 0..2 {
                let refused = get(&scene.upstream).await.unwrap_err();
                assert_eq!(refused.kind(), Kind::UpstreamProtocol);
                assert!(refused.detail().contains("64 KiB"), "{refused}");
            }
        };
        tokio::join!(other, large).0
    };
    let (other, _peer) = tokio::join!(calls, upstream);
    assert!(other.is_ok());
}
