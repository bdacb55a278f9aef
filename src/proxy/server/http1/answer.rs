//! Writes an answer, as fast as its caller takes it, and decides whether the connection goes on.

use std::{
    future::poll_fn,
    io,
    pin::pin,
    task::{Poll, ready},
};

use bytes::Bytes;
use http::{Response, header};
use http_body::Body as _;

use super::{
    Exchange, Http1,
    response_head::{self, AnswerFraming},
    timer::Wait,
    wire::batch,
};
use crate::proxy::server::{path::Path, transport::Transport};

impl<P: Path, S: Transport> Http1<'_, P, S> {
    /// Writes an answer. Returns whether the connection goes on.
    pub(super) async fn answer(
        &mut self,
        answer: Response<P::Body>,
        exchange: &Exchange,
    ) -> io::Result<bool> {
        let framing = response_head::framing(&exchange.method, exchange.version, &answer);
        let keep_alive = exchange.keep_alive
            && framing != AnswerFraming::UntilClose
            && !self.is_late
            && !self.connection.is_closing()
            && !self.drain.is_leaving()
            && !answer.headers().contains_key(header::CONNECTION)
            && self.wire.lock().is_complete();
        let persistence = keep_alive.then_some(self.settings.keep_alive_fields.as_str());
        let (parts, body) = answer.into_parts();
        response_head::write(
            self.wire.lock().buffer(),
            parts.status,
            &parts.headers,
            framing,
            persistence,
        );
        if let AnswerFraming::Empty(_) = framing {
            drop(body);
        } else {
            self.write_body(body, framing).await?;
        }
        poll_fn(|cx| {
            batch(self.wire, cx);
            Poll::Ready(())
        })
        .await;
        Ok(keep_alive)
    }

    async fn write_body(&mut self, body: P::Body, framing: AnswerFraming) -> io::Result<()> {
        let mut body = pin!(body);
        let mut left = match framing {
            AnswerFraming::Length(length) => length,
            _ => u64::MAX,
        };
        let is_chunked = framing == AnswerFraming::Chunked;
        while !body.is_end_stream() {
            let frame = poll_fn(|cx| {
                if let Poll::Ready(frame) = body.as_mut().poll_frame(cx) {
                    return Poll::Ready(Ok(frame));
                }
                batch(self.wire, cx);
                self.poll_failed(cx).map(Err)
            });
            let Some(frame) = frame.await? else { break };
            // HTTP/1 answers have no trailers: callers do not ask for them.
            let Ok(data) = frame.map_err(io::Error::other)?.into_data() else { continue };
            left = left.checked_sub(data.len() as u64).ok_or_else(wrong_length)?;
            if !data.is_empty() {
                self.write_data(data, is_chunked).await?;
            }
        }
        match framing {
            AnswerFraming::Length(_) if left > 0 => return Err(wrong_length()),
            AnswerFraming::Chunked => self.wire.lock().buffer().extend_from_slice(LAST_CHUNK),
            _ => {}
        }
        Ok(())
    }

    async fn write_data(&mut self, mut data: Bytes, is_chunked: bool) -> io::Result<()> {
        if is_chunked {
            response_head::write_chunk_size(self.wire.lock().buffer(), data.len());
        }
        let is_small = {
            let mut wire = self.wire.lock();
            let is_small = wire.unwritten().saturating_add(data.len()) <= BATCHED;
            if is_small {
                wire.buffer().extend_from_slice(&data);
            }
            is_small
        };
        if !is_small {
            self.write(&mut data).await?;
        }
        if is_chunked {
            self.wire.lock().buffer().extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Writes the bytes that wait and then these. Fails if the caller takes none of them for too long.
    pub(super) async fn write(&mut self, data: &mut Bytes) -> io::Result<()> {
        poll_fn(|cx| {
            let mut wire = self.wire.lock();
            if let Poll::Ready(written) = wire.poll_write(cx, data) {
                return Poll::Ready(written);
            }
            let wait = Wait::Write(wire.progress());
            ready!(self.timer.poll(wait, self.settings.timeouts.write, cx));
            Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
        })
        .await
    }
}

fn wrong_length() -> io::Error {
    io::Error::other("the answer has another length than it states")
}

const LAST_CHUNK: &[u8] = b"0\r\n\r\n";
/// The most bytes that wait for the end of the worker's pass. To copy more costs as much as to write
/// them.
const BATCHED: usize = 16 * 1024;
