//! A connection with a path of the test's own, and a caller that writes its frames by hand.

use std::{
    collections::VecDeque,
    convert::Infallible,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::{Body as HttpBody, Frame};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex},
    sync::oneshot,
    task::JoinHandle,
    time::Instant,
};
use tower::service_fn;

use crate::{
    body::Outgoing,
    domain::Peer,
    error::{BoxError, Kind},
    proxy::{
        call::{Arrival, Connection, Interim, SharedService, Unreadable},
        server::{ConnectionTimeouts, OnRefused, Settings, http2},
    },
};

/// A body that reports what of it was sent.
pub(super) struct TestBody {
    frames: VecDeque<Bytes>,
    given: u64,
    /// Whether more frames would come, if somebody had any.
    is_endless: bool,
    ended: Ended,
}

/// The bodies that have ended: the bytes that were sent, and whether those were all.
pub(super) type Ended = Arc<Mutex<Vec<(u64, bool)>>>;

impl HttpBody for TestBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.frames.pop_front() {
            None if self.is_endless => Poll::Pending,
            None => Poll::Ready(None),
            Some(data) => {
                self.given += data.len() as u64;
                Poll::Ready(Some(Ok(Frame::data(data))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && !self.is_endless
    }
}

impl Outgoing for TestBody {
    fn unsent(mut self: Pin<&mut Self>, bytes: u64) {
        self.given -= bytes;
        self.is_endless = true;
    }
}

impl Drop for TestBody {
    fn drop(&mut self) {
        let is_complete = self.is_end_stream();
        self.ended.lock().push((self.given, is_complete));
    }
}

/// A served connection, and the caller's end of it.
pub(super) struct Caller {
    pub(super) stream: DuplexStream,
    unread: Vec<u8>,
    pub(super) ended: Ended,
    pub(super) refused: Arc<Mutex<Vec<Kind>>>,
    /// The requests that could not be read: method, target and error.
    pub(super) unreadable: Arc<Mutex<Vec<String>>>,
    /// Begins the graceful end.
    pub(super) close: Option<oneshot::Sender<()>>,
    pub(super) serving: JoinHandle<Result<(), http2::Error>>,
    pub(super) began: Instant,
}

pub(super) const SETTINGS: Settings = Settings {
    timeouts: ConnectionTimeouts {
        head: Duration::from_secs(10),
        idle: Duration::from_mins(1),
        write: Duration::from_secs(30),
    },
    head_bytes: 16 * 1024,
    header_count: 100,
    keep_alive_fields: String::new(),
    concurrent_streams: 100,
    connection_age: None,
};

impl Caller {
    /// Connects over a stream that takes `capacity` bytes, and sends `preface`.
    ///
    /// `/N` is answered with N bytes, `/never` is not, `/panic` panics, `/open` sends one byte and leaves
    /// the answer open, `/hints` sends a 103 and a second later an empty answer.
    pub(super) async fn begin(capacity: usize, settings: Settings, preface: &[u8]) -> Self {
        let (mut stream, server) = duplex(capacity);
        stream.write_all(preface).await.unwrap();
        let (ended, refused) = (Ended::default(), Arc::<Mutex<Vec<Kind>>>::default());
        let connection = Connection::new(Peer::Unix { uid: 0, gid: 0, pid: None }, Vec::new());
        let (close, closing) = oneshot::channel();
        let unreadable = Arc::<Mutex<Vec<String>>>::default();
        let (ends, refusals) = (Arc::clone(&ended), Arc::clone(&refused));
        let unread = Arc::clone(&unreadable);
        let path = service_fn(move |arrival: Arrival| {
            let (ended, refusals) = (Arc::clone(&ends), Arc::clone(&unread));
            async move {
                let path = match arrival.request {
                    Ok(request) => request.uri().path().to_owned(),
                    Err(Unreadable { method, target, error }) => {
                        let target = target.map(|target| target.path().to_owned());
                        let kind = error.kind().label();
                        refusals
                            .lock()
                            .push(format!("{method} {} {kind}", target.unwrap_or_default()));
                        "/0".to_owned()
                    }
                };
                let mut body =
                    TestBody { frames: VecDeque::new(), given: 0, is_endless: true, ended };
                match &*path {
                    "/never" => std::future::pending().await,
                    "/hints" => {
                        let headers = HeaderMap::new();
                        let hints = Interim { status: StatusCode::EARLY_HINTS, headers };
                        arrival.interim.unwrap().push(hints);
                        tokio::time::sleep(Duration::from_secs(1)).await;
                        body.is_endless = false;
                    }
                    "/panic" => panic!("as the test wants it"),
                    "/open" => body.frames.push_back(Bytes::from_static(b"x")),
                    length => {
                        let length = length.trim_start_matches('/').parse().unwrap();
                        body.frames.push_back(vec![b'x'; length].into());
                        body.is_endless = false;
                    }
                }
                Ok::<_, Infallible>(Response::new(body))
            }
        });
        let serving = tokio::spawn(async move {
            let path = SharedService::new(path);
            let refused: OnRefused = Arc::new(move |refused| refusals.lock().push(refused.kind));
            let read = Bytes::new();
            let known = Arc::clone(&connection);
            let mut serving = pin!(http2::serve(server, read, &settings, &path, known, &refused));
            tokio::select! {
                ended = serving.as_mut() => return ended,
                Ok(()) = closing => connection.begin_closing(),
            }
            serving.await
        });
        let (unread, began) = (Vec::new(), Instant::now());
        let close = Some(close);
        Self { stream, unread, ended, refused, unreadable, close, serving, began }
    }

    /// Connects with a first window of that many bytes.
    pub(super) async fn connect(window: u32) -> Self {
        Self::connect_with(SETTINGS, window).await
    }

    pub(super) async fn connect_with(settings: Settings, window: u32) -> Self {
        Self::begin(1 << 20, settings, &preface(window)).await
    }

    pub(super) async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame: type, flags, stream and payload; `None` at the end. `SETTINGS` and `PING` are
    /// answered.
    pub(super) async fn frame(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        loop {
            let frame = self.silently().await?;
            match (frame.0, frame.1) {
                // The connection may have ended.
                (4, 0) => drop(self.stream.write_all(&frame_of(4, 1, 0, &[])).await),
                (6, 0) => drop(self.stream.write_all(&frame_of(6, 1, 0, &frame.3)).await),
                (4 | 6 | 8, _) => {}
                _ => return Some(frame),
            }
        }
    }

    /// The next frame, whatever it is, with no answer to it.
    pub(super) async fn silently(&mut self) -> Option<(u8, u8, u32, Vec<u8>)> {
        let whole = loop {
            if let Some(length) = self.unread.get(..3) {
                let whole = 9 + usize::from(length[1]) * 256 + usize::from(length[2]);
                if self.unread.len() >= whole {
                    break whole;
                }
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(length @ 1..) => self.unread.extend_from_slice(&buffer[..length]),
                Ok(0) | Err(_) => return None,
            }
        };
        let frame: Vec<u8> = self.unread.drain(..whole).collect();
        let stream = u32::from_be_bytes(frame[5..9].try_into().unwrap());
        Some((frame[3], frame[4], stream, frame[9..].to_vec()))
    }

    /// Reads frames until one of that type and stream comes.
    pub(super) async fn wait_for(&mut self, kind: u8, stream: u32) -> Vec<u8> {
        loop {
            let frame = self.frame().await.expect("the connection is open");
            if (frame.0, frame.2) == (kind, stream) {
                return frame.3;
            }
        }
    }

    /// Reads to the end of the connection. Returns the seconds since its beginning.
    pub(super) async fn end(mut self) -> u64 {
        while self.frame().await.is_some() {}
        self.began.elapsed().as_secs()
    }

    pub(super) fn elapsed(&self) -> u64 {
        self.began.elapsed().as_secs()
    }
}

/// What a caller sends first.
pub(super) fn preface(window: u32) -> Vec<u8> {
    let window = [&[0, 4][..], &window.to_be_bytes()].concat();
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame_of(4, 0, 0, &window)].concat()
}

pub(super) fn frame_of(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A field block without compression.
pub(super) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A `GET`.
pub(super) fn get(stream: u32, path: &str) -> Vec<u8> {
    let fields =
        [(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", path)];
    frame_of(1, 5, stream, &block(&fields))
}

/// A caller that gives more window.
pub(super) fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame_of(8, 0, stream, &bytes.to_be_bytes())
}
