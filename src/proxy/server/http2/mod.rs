//! HTTP/2 of a listener: one connection of a caller, on the `h2` crate (RFC 9113).
//!
//! hyper's server cannot end one stream that its caller does not read, does not say when bytes have left,
//! and does not show requests that are malformed. So h2 is used directly.
//!
//! | file | its part |
//! | --- | --- |
//! | `connection` | accepts calls, waits, and ends the connection |
//! | `call`, `request_body` | one stream: its request goes down the path |
//! | `answer` | its answer goes to the caller, as fast as the caller takes it |
//! | `frame_io`, `frames` | the bytes under h2, in both directions, with their time limits |
//! | [`frame_budget`] | ends a connection that abuses the protocol |
//! | `field_blocks`, `field_check` | find the requests that are malformed |
//! | `hpack`, `huffman` | read field blocks (RFC 7541) |
//! | `outbox` | what calls and `frame_io` tell each other |

mod answer;
mod call;
mod connection;
pub mod frame_budget;
mod field_blocks;
mod field_check;
mod frame_io;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod hpack;
mod huffman;
mod outbox;
mod request_body;

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::io::{AsyncRead, AsyncWrite};

use self::{call::Calls, connection::Open, frame_io::FrameIo, outbox::Outbox};
use super::{OnRefused, Path, Settings};
use crate::proxy::call::{Connection, SharedService};

/// Why a connection broke off.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller broke the protocol, took too long, or left.
    #[error("HTTP/2 failed")]
    Http2(#[from] h2::Error),
    /// The caller does not answer a `PING`.
    #[error("the caller does not answer")]
    Unresponsive,
}

/// Serves a connection until it ends. `read` are the bytes that were read from it before, from the
/// beginning of the preface. `refused` is called for requests that h2 refuses before they are calls. The
/// connection ends gracefully once it is closing. When the future is dropped, its calls are.
pub(super) async fn serve<S, P>(
    stream: S,
    read: Bytes,
    settings: &Settings,
    path: &SharedService<P>,
    connection: Arc<Connection>,
    refused: &OnRefused,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
    P: Path,
{
    let outbox = Outbox::default();
    let timeouts = settings.timeouts;
    let stream = FrameIo::new(stream, read, settings, outbox.clone());
    let h2 = builder(settings).handshake(stream).await?;
    let calls = Calls { path, connection: &connection, outbox: &outbox, write: timeouts.write };
    // A panic ends its own stream alone. The panic hook has reported it.
    let begin = |request, respond| {
        AssertUnwindSafe(calls.serve(request, respond)).catch_unwind().map(|_panicked| ())
    };
    let age = settings.connection_age;
    Open::new(h2, &connection, outbox.clone(), refused, timeouts.idle, age).run(begin).await
}

fn builder(settings: &Settings) -> h2::server::Builder {
    let mut builder = h2::server::Builder::new();
    builder
        .max_concurrent_streams(settings.concurrent_streams)
        .max_header_list_size(u32::try_from(settings.head_bytes).unwrap_or(u32::MAX))
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buffer_size(SEND_BUFFER)
        .max_pending_accept_reset_streams(PENDING_RESETS)
        .max_local_error_reset_streams(Some(LOCAL_RESETS));
    builder
}

/// The bytes of a request body that a caller may send before they are read.
const STREAM_WINDOW: u32 = 64 * 1024;
/// The same for all streams of a connection. Both are what Envoy advises for callers on the internet.
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// The bytes of an answer that h2 keeps for one stream.
const SEND_BUFFER: usize = 16 * 1024;
/// Streams that a peer opens and resets before they are accepted ("rapid reset").
const PENDING_RESETS: usize = 20;
/// Streams that are reset because the peer broke the protocol.
const LOCAL_RESETS: usize = 100;

#[cfg(test)]
mod tests;
