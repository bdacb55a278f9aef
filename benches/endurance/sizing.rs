//! What a connection and a stored answer take of the gateway's memory: many of one kind, and how much
//! more there is with them than before. Each kind has a gateway of its own, so that none gets the
//! memory that another gave back. What the kernel keeps for sockets is not in it.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use super::{
    Common,
    call::{Caller, LIST, subtenant},
    gateway::{Gateway, Setup},
    report::{Report, progress},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Connections of each kind
    #[arg(long, default_value_t = 1_000)]
    connections: usize,
    /// Stored answers
    #[arg(long, default_value_t = 20_000)]
    answers: usize,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    // Over HTTP/2 all calls share one connection.
    let upstream = Upstream::speaking(&["http/1.1"]).await;
    upstream.forget_ids();
    let mut report = Report::new("sizing");
    report.figure("connections of each kind", options.connections);
    report.figure("stored answers", options.answers);
    let rig = Rig { common, upstream: &upstream, options };

    report.figure("at rest (KiB)", rig.start().await.process().anonymous());
    let mut holds = |what: String, most: usize, bytes: usize| {
        report.promise(format!("{what}: at most {most} bytes"), bytes <= most, bytes);
    };
    holds("a caller's connection that has said nothing".into(), 4_000, rig.silent().await);
    let (used, to_upstream) = rig.used().await;
    holds("a caller's idle connection".into(), 8_192, used);
    holds("an idle connection to the upstream, TLS, HTTP/1.1".into(), 48_000, to_upstream);
    for body in [100, 1_000, 10_000] {
        let what = format!("a stored answer with a body of {body} bytes");
        holds(what, 2_500 + body + body / 4, rig.stored(body).await);
    }
    for protocol in ["http/1.1", "h2"] {
        let upstream = Upstream::speaking(&[protocol]).await;
        upstream.forget_ids();
        let rig = Rig { common, upstream: &upstream, options };
        let what = format!("a call whose caller does not read, HTTP/1.1, upstream {protocol}");
        holds(what, UNREAD, rig.unread_http1().await);
        let what = format!("a call whose caller does not read, HTTP/2, upstream {protocol}");
        holds(what, UNREAD, rig.unread_http2().await);
    }
    report
}

struct Rig<'a> {
    common: &'a Common,
    upstream: &'a Upstream,
    options: &'a Options,
}

impl Rig<'_> {
    /// A gateway that has made a few calls of each kind.
    async fn start(&self) -> Gateway {
        // A quarter of a listener's part is for connections without an allowed call.
        let most = (8 * self.options.connections).to_string();
        let gateway = Setup::new(self.common, self.upstream)
            .set("RUNTIME__WORKERS", "1")
            .set("LIMITS__CONNECTIONS", &most)
            .set("LIMITS__IN_FLIGHT", &most)
            .set("TIMEOUTS__FIRST_BYTE", "2m")
            .set("TIMEOUTS__REQUEST", "2m")
            .set("TIMEOUTS__CONNECT", "1m")
            .set("TIMEOUTS__WRITE", "5m")
            .set("CACHE__MAX_BYTES", "1GiB")
            .start()
            .await;
        let mut caller = Caller::new(gateway.address("main"));
        for n in 0..WARM {
            succeed(&mut caller, LIST).await;
            succeed(&mut caller, &subtenant(n)).await;
        }
        drop(caller);
        tokio::time::sleep(SETTLED).await;
        gateway
    }

    async fn silent(&self) -> usize {
        let gateway = self.start().await;
        let process = gateway.process();
        let (before, descriptors) = (process.anonymous(), process.descriptors());
        let mut open = Vec::new();
        for _ in 0..self.options.connections {
            open.push(TcpStream::connect(gateway.address("main")).await.unwrap());
        }
        while process.descriptors() < descriptors + open.len() {
            tokio::task::yield_now().await;
        }
        each(before, process.anonymous(), open.len())
    }

    /// What a caller's connection takes once it has been used, and what one to the upstream takes.
    async fn used(&self) -> (usize, usize) {
        let gateway = self.start().await;
        let process = gateway.process();
        let before = process.anonymous();
        let mut callers: Vec<_> =
            (0..self.options.connections).map(|_| Caller::new(gateway.address("main"))).collect();
        // One after the other, over one connection to the upstream.
        for caller in &mut callers {
            succeed(caller, LIST).await;
        }
        let with_callers = process.anonymous();
        progress(format_args!("{} connections to the upstream", callers.len()));
        // All at the same time, each over a connection of its own.
        let (target, seen) = (format!("{LIST}?gate=1"), self.upstream.requests());
        let mut calls = JoinSet::new();
        for mut caller in callers {
            let target = target.clone();
            calls.spawn(async move {
                succeed(&mut caller, &target).await;
                caller
            });
        }
        while self.upstream.requests() < seen + self.options.connections as u64 {
            tokio::time::sleep(SHORT).await;
        }
        self.upstream.open_gate();
        let callers = calls.join_all().await;
        tokio::time::sleep(SETTLED).await;
        let with_both = process.anonymous();
        (each(before, with_callers, callers.len()), each(with_callers, with_both, callers.len()))
    }

    /// What a call takes whose caller reads nothing of a large answer, over HTTP/1.1.
    async fn unread_http1(&self) -> usize {
        let gateway = self.start().await;
        let (before, seen) = (gateway.process().anonymous(), self.upstream.requests());
        let mut open = Vec::new();
        for _ in 0..self.options.connections {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(4096).unwrap();
            let mut stream = socket.connect(gateway.address("main")).await.unwrap();
            let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", large());
            stream.write_all(request.as_bytes()).await.unwrap();
            open.push(stream);
        }
        self.until(seen + open.len() as u64).await;
        each(before, settled(&gateway).await, open.len())
    }

    /// The same over HTTP/2: a hundred streams on each connection, whose windows are closed.
    async fn unread_http2(&self) -> usize {
        let gateway = self.start().await;
        let (before, seen) = (gateway.process().anonymous(), self.upstream.requests());
        let (mut open, mut tasks) = (Vec::new(), JoinSet::new());
        for _ in 0..self.options.connections.div_ceil(STREAMS) {
            let stream = TcpStream::connect(gateway.address("main")).await.unwrap();
            let mut builder = h2::client::Builder::new();
            let (mut sender, connection) =
                builder.initial_window_size(1).handshake::<_, Bytes>(stream).await.unwrap();
            tasks.spawn(connection);
            for _ in 0..STREAMS {
                sender = sender.ready().await.unwrap();
                let request = Request::get(format!("http://localhost{}", large()));
                open.push(sender.send_request(request.body(()).unwrap(), true).unwrap().0);
            }
        }
        self.until(seen + open.len() as u64).await;
        each(before, settled(&gateway).await, open.len())
    }

    /// Waits until the upstream has seen so many requests.
    async fn until(&self, requests: u64) {
        while self.upstream.requests() < requests {
            tokio::time::sleep(SHORT).await;
        }
    }

    async fn stored(&self, body: usize) -> usize {
        let gateway = self.start().await;
        let process = gateway.process();
        let before = process.anonymous();
        let mut caller = Caller::new(gateway.address("main"));
        let first = WARM;
        let target = |n| format!("{}?size={body}", subtenant(n));
        for n in first..first + self.options.answers as u64 {
            succeed(&mut caller, &target(n)).await;
        }
        tokio::time::sleep(SETTLED).await;
        let with_them = process.anonymous();
        let again = caller.get(&target(first)).await.unwrap();
        assert!(again.is_hit(), "what was fetched first is no longer stored");
        each(before, with_them, self.options.answers)
    }
}

/// A target whose answer fits into no buffer.
fn large() -> String {
    format!("{LIST}?size={}", 16 << 20)
}

/// The private memory once it no longer grows.
async fn settled(gateway: &Gateway) -> u64 {
    let mut before = 0;
    loop {
        tokio::time::sleep(SETTLED).await;
        let now = gateway.process().anonymous();
        if now <= before + before / 100 {
            return now;
        }
        before = now;
    }
}

async fn succeed(caller: &mut Caller, target: &str) {
    let answer = caller.get(target).await.unwrap();
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
}

/// How many bytes each of so many took, from one figure in KiB to another.
fn each(before: u64, after: u64, count: usize) -> usize {
    after.saturating_sub(before) as usize * 1024 / count
}

/// The documented memory of a call whose caller does not read: `docs/src/how-to/size.md`.
const UNREAD: usize = 176 * 1024;
/// Streams on an HTTP/2 connection.
const STREAMS: usize = 100;
/// Calls of each kind before anything is measured.
const WARM: u64 = 500;
/// Between two looks.
const SHORT: Duration = Duration::from_millis(10);
/// Until connections are closed and what was freed last has been given back.
const SETTLED: Duration = Duration::from_secs(1);
