//! One HTTP/2 connection, from its preface to its end.

use std::{
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use futures_util::{Stream as _, stream::FuturesUnordered};
use h2::{Ping, PingPong, Reason, RecvStream, server::SendResponse};
use http::Request;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{Error, frame_io::FrameIo, frames::RecentStreams, outbox::Outbox};
use crate::proxy::{
    call::{Connection, RefusedConnection},
    server::{OnRefused, timer::Alarm},
};

/// An open connection, whose calls have futures of the type `F`.
pub(super) struct Open<'a, S, F> {
    h2: h2::server::Connection<FrameIo<S>, Bytes>,
    calls: FuturesUnordered<F>,
    connection: &'a Connection,
    outbox: Outbox,
    refused: &'a OnRefused,
    /// The streams that have become calls.
    accepted: RecentStreams,
    /// Since when there are calls, or are none.
    is_busy: bool,
    since: Instant,
    /// Since when the connection is being ended.
    ending: Option<Instant>,
    keep_alive: KeepAlive,
    idle: Duration,
    /// When the connection is old enough to be ended.
    old: Option<Instant>,
    alarm: Alarm,
}

impl<'a, S, F> Open<'a, S, F>
where
    S: AsyncRead + AsyncWrite + Unpin,
    F: Future<Output = ()>,
{
    pub(super) fn new(
        mut h2: h2::server::Connection<FrameIo<S>, Bytes>,
        connection: &'a Connection,
        outbox: Outbox,
        refused: &'a OnRefused,
        idle: Duration,
        age: Option<Duration>,
    ) -> Self {
        let now = Instant::now();
        let keep_alive = KeepAlive { pings: h2.ping_pong(), sent: None, heard: now };
        Self {
            h2,
            calls: FuturesUnordered::new(),
            connection,
            outbox,
            refused,
            accepted: RecentStreams::default(),
            is_busy: false,
            since: now,
            ending: None,
            keep_alive,
            idle,
            old: age.map(|age| now + age.mul_f64(0.9 + 0.2 * fastrand::f64())),
            alarm: Alarm::default(),
        }
    }

    /// Serves calls until the connection ends.
    pub(super) async fn run(
        mut self,
        begin: impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
    ) -> Result<(), Error> {
        poll_fn(|cx| {
            if self.ending.is_none() && self.connection.is_closing() {
                self.end();
            }
            self.poll(&begin, cx)
        })
        .await
    }

    fn poll(
        &mut self,
        begin: &impl Fn(Request<RecvStream>, SendResponse<Bytes>) -> F,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Error>> {
        loop {
            while let Poll::Ready(Some(())) = Pin::new(&mut self.calls).poll_next(cx) {}
            let accepted = self.h2.poll_accept(cx);
            if !matches!(accepted, Poll::Ready(Some(Ok(_)))) {
                self.report_refused();
            }
            match accepted {
                Poll::Ready(Some(Ok((request, mut respond)))) => {
                    self.accepted.add(respond.stream_id().as_u32());
                    if self.ending.is_some_and(|since| since.elapsed() > LAST_REQUESTS) {
                        respond.send_reset(Reason::REFUSED_STREAM);
                    } else {
                        self.calls.push(begin(request, respond));
                    }
                }
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error.into())),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending if ready!(self.poll_time(cx))? => return Poll::Ready(Ok(())),
                // The graceful end has begun, and h2 has to send it.
                Poll::Pending => {}
            }
        }
    }

    /// Waits until it is time for something. Returns whether the connection is over.
    fn poll_time(&mut self, cx: &mut Context<'_>) -> Poll<Result<bool, Error>> {
        if self.is_busy == self.calls.is_empty() {
            self.is_busy = !self.is_busy;
            self.since = Instant::now();
        }
        if self.is_busy {
            self.keep_alive.poll_lost(self.since, self.idle, &mut self.alarm, cx)?;
        }
        let idle = (!self.is_busy).then(|| self.since + self.idle);
        let until = match (self.ending, idle, self.old) {
            (Some(_), None, _) | (None, None, None) => return Poll::Pending,
            (Some(ending), Some(_), _) => ending.max(self.since) + LAST_REQUESTS,
            (None, Some(idle), Some(old)) => idle.min(old),
            (None, Some(time), None) | (None, None, Some(time)) => time,
        };
        ready!(self.alarm.poll(until, cx));
        if self.ending.is_some() {
            return Poll::Ready(Ok(true));
        }
        self.end();
        Poll::Ready(Ok(false))
    }

    /// Begins the graceful end: the caller learns that it must open another connection, requests that
    /// are on their way are served, and the connection closes when its calls are over (RFC 9113 §6.8).
    fn end(&mut self) {
        self.ending = Some(Instant::now());
        self.h2.graceful_shutdown();
    }

    /// Reports the requests that h2 has refused by itself.
    fn report_refused(&mut self) {
        for (stream, kind) in self.outbox.take_refused() {
            if stream == 0 || self.accepted.has(stream) == Some(false) {
                // A stream is refused once, whatever frames tell it.
                self.accepted.add(stream);
                let peer = self.connection.peer();
                (self.refused)(RefusedConnection { kind, peer, certificate: None });
            }
        }
    }
}

/// Detects a caller that has left without a word, during its calls.
struct KeepAlive {
    pings: Option<PingPong>,
    /// When the last `PING` was sent, if it has no answer.
    sent: Option<Instant>,
    /// When the caller answered last.
    heard: Instant,
}

impl KeepAlive {
    fn poll_lost(
        &mut self,
        busy: Instant,
        interval: Duration,
        alarm: &mut Alarm,
        cx: &mut Context<'_>,
    ) -> Result<(), Error> {
        let Some(pings) = &mut self.pings else { return Ok(()) };
        loop {
            let Some(sent) = self.sent else {
                if alarm.poll(busy.max(self.heard) + interval, cx).is_pending() {
                    return Ok(());
                }
                pings.send_ping(Ping::opaque())?;
                self.sent = Some(Instant::now());
                continue;
            };
            match pings.poll_pong(cx)? {
                Poll::Ready(_pong) => (self.sent, self.heard) = (None, Instant::now()),
                Poll::Pending => match alarm.poll(sent + PONG, cx) {
                    Poll::Ready(()) => return Err(Error::Unresponsive),
                    Poll::Pending => return Ok(()),
                },
            }
        }
    }
}

/// How long requests are still accepted when the graceful end has begun, and how long the caller then has
/// to close.
const LAST_REQUESTS: Duration = Duration::from_secs(5);
/// The time for the answer to a `PING`.
const PONG: Duration = Duration::from_secs(20);
