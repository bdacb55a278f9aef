//! Serves bytes as a connection. Only the fuzzer's build and the unit tests have it.

use std::{convert::Infallible, future::ready, pin::Pin};

use futures_util::{FutureExt as _, StreamExt as _, stream};
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tower::service_fn;

use super::*;
use crate::{
    body::collect_limited, domain::Peer, error::BoxError, proxy::server::ConnectionTimeouts,
};

/// A request that was served; `None` for one that cannot be read. Its body is `None` if it was broken.
pub type Served = Option<(Request<()>, Option<Bytes>)>;

/// Serves a connection on which those bytes come, in pieces of that many bytes. Returns the requests and
/// the bytes of the answers. Every answer has the number of its request, every other one in chunks.
pub fn connection(bytes: &[u8], piece: usize) -> (Vec<Served>, Vec<u8>) {
    let served = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::new(Mutex::new(Vec::new()));
    let stream =
        Script { bytes: bytes.to_vec(), at: 0, piece: piece.max(1), answers: Arc::clone(&answers) };
    let seen = Arc::clone(&served);
    let path = service_fn(move |arrival: Arrival| {
        let seen = Arc::clone(&seen);
        async move {
            let request = match arrival.request {
                Ok(request) => {
                    let (parts, body) = request.into_parts();
                    let body = collect_limited(body, 1 << 20).await.ok();
                    Some((Request::from_parts(parts, ()), body))
                }
                Err(_) => None,
            };
            let number = seen.lock().len();
            seen.lock().push(request);
            let text = Bytes::from(number.to_string());
            let body = if number % 2 == 0 {
                Body::full(text)
            } else {
                let frame = stream::once(ready(Ok::<_, BoxError>(Frame::data(text))));
                Body::wrap(StreamBody::new(frame.boxed()))
            };
            Ok::<_, Infallible>(Response::new(body))
        }
    });
    let (settings, drain) = (settings(), Drain::new());
    let connection = Connection::new(Peer::Unix { uid: 0, gid: 0, pid: None }, Vec::new());
    let path = SharedService::new(path);
    // It never waits, so it is over when it is polled once. How the connection ends does not matter.
    let _ended = serve(stream, &settings, &drain, &path, connection).now_or_never();
    let served = std::mem::take(&mut *served.lock());
    let answers = std::mem::take(&mut *answers.lock());
    (served, answers)
}

fn settings() -> Settings {
    let long = Duration::from_mins(1);
    Settings {
        timeouts: ConnectionTimeouts { head: long, idle: long, write: long },
        head_bytes: 4096,
        header_count: 100,
        keep_alive_fields: response_head::keep_alive_fields(long),
        concurrent_streams: 1,
        connection_age: None,
    }
}

/// A peer that sends prepared bytes and takes all answers.
struct Script {
    bytes: Vec<u8>,
    at: usize,
    piece: usize,
    answers: Arc<Mutex<Vec<u8>>>,
}

impl Transport for Script {
    const HAS_END: bool = true;
}

impl AsyncRead for Script {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let rest = this.bytes.get(this.at..).unwrap_or_default();
        let length = rest.len().min(this.piece).min(buffer.remaining());
        buffer.put_slice(rest.get(..length).unwrap_or_default());
        this.at += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        data: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.answers.lock().extend_from_slice(data);
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
