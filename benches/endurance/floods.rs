//! Floods, one after the other, and all the while a few callers who behave: none of their calls fails,
//! and memory stays bounded. How many of their calls were made, and how long they took, is a figure
//! and no promise: the flood and the gateway share this machine's processors.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::ValueEnum;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{
    Common,
    call::{Caller, LIST},
    frames,
    gateway::Setup,
    load::{Load, Pace},
    report::{Report, progress},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// How long each flood lasts
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Connections of a slow flood
    #[arg(long, default_value_t = 2_000)]
    connections: usize,
    /// Connections that do nothing
    #[arg(long, default_value_t = 9_900)]
    idle: usize,
    /// Only this flood
    #[arg(long, value_enum)]
    flood: Option<Flood>,
}

/// What callers who mean harm do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Flood {
    /// None: what it is like in peace.
    None,
    /// As many calls as they can make.
    Requests,
    /// Heads that come byte by byte.
    SlowHeads,
    /// Bodies that come byte by byte.
    SlowBodies,
    /// Large answers that they do not read.
    SlowReaders,
    /// HTTP/2 streams, reset as soon as they are begun (CVE-2023-44487).
    RapidReset,
    /// HTTP/2 heads without an end (CVE-2024-27316).
    Continuation,
    /// HTTP/2 requests whose answers may not be sent, for ever.
    ClosedWindows,
    /// Connections that do nothing.
    Idle,
}

impl Flood {
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Requests,
        Self::SlowHeads,
        Self::SlowBodies,
        Self::SlowReaders,
        Self::RapidReset,
        Self::Continuation,
        Self::ClosedWindows,
        Self::Idle,
    ];

    fn connections(self, common: &Common, options: &Options) -> usize {
        match self {
            Self::None => 0,
            Self::Requests => 4 * common.callers,
            Self::SlowHeads | Self::SlowBodies => options.connections,
            Self::SlowReaders => options.connections.min(MOST_READERS),
            Self::RapidReset | Self::Continuation | Self::ClosedWindows => 32,
            Self::Idle => options.idle,
        }
    }
}

pub async fn run(common: &Common, options: &Options) -> Report {
    let upstream = Upstream::start().await;
    upstream.forget_ids();
    let mut report = Report::new("floods");
    for flood in Flood::ALL.into_iter().filter(|f| options.flood.is_none_or(|only| only == *f)) {
        one(common, options, flood, &upstream, &mut report).await;
    }
    report
}

async fn one(
    common: &Common,
    options: &Options,
    flood: Flood,
    upstream: &Upstream,
    report: &mut Report,
) {
    // A gateway of its own, so that the peak of its memory is this flood's.
    let mut gateway = Setup::new(common, upstream).start().await;
    let (address, process) = (gateway.address("main"), gateway.process());
    let good = Pace { callers: 8, rate: Some(GOOD_RATE) };
    let stop = CancellationToken::new();
    let mut flooding = JoinSet::new();
    let connections = flood.connections(common, options);
    let ended = Arc::new(AtomicU64::new(0));
    for _ in 0..connections {
        let (stop, ended) = (stop.clone(), Arc::clone(&ended));
        flooding.spawn(async move {
            stop.run_until_cancelled(attack(flood, address, &ended)).await;
        });
        if flooding.len().is_multiple_of(500) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    let load = Load::start(address, good, |_| LIST.to_owned());
    let begun = Instant::now();
    let (mut most, mut descriptors) = (0, 0);
    while begun.elapsed() < Duration::from_secs(options.seconds) {
        tokio::time::sleep(Duration::from_millis(200)).await;
        most = most.max(process.resident());
        descriptors = descriptors.max(process.descriptors());
    }
    let tally = load.stop().await;
    stop.cancel();
    flooding.join_all().await;
    let ended = ended.load(Ordering::Relaxed);
    let name = format!("{flood:?}");
    progress(format_args!(
        "{name}: peak {} KiB, good callers {}",
        process.peak_resident(),
        tally.failures()
    ));
    report.figure(format!("{name}: connections"), connections);
    report.figure(format!("{name}: connections that the gateway ended"), ended);
    report.figure(format!("{name}: peak of memory (KiB)"), process.peak_resident());
    report.figure(format!("{name}: descriptors at most"), descriptors);
    let due = GOOD_RATE * options.seconds as f64;
    report.figure(format!("{name}: good calls"), tally.calls());
    report.figure(
        format!("{name}: of those that were due (%)"),
        (tally.calls() as f64 / due * 100.0).round(),
    );
    report.latencies(&format!("{name}: good calls"), &tally.latencies);
    report.promise(format!("{name}: the gateway lives"), gateway.runs(), "");
    report.promise(
        format!("{name}: no call fails of those who behave"),
        tally.calls() > 0 && tally.successes() == tally.calls(),
        format_args!("{} of {}, else {}", tally.successes(), tally.calls(), tally.failures()),
    );
    report.promise(
        format!("{name}: memory stays bounded"),
        process.peak_resident() < MOST_KIB,
        format_args!("{} KiB", process.peak_resident()),
    );
}

/// One connection after the other, until it is cancelled; counts those that the gateway ended.
pub async fn attack(flood: Flood, address: SocketAddr, ended: &AtomicU64) {
    loop {
        let outcome = match flood {
            Flood::None => return,
            Flood::Requests => requests(address).await,
            Flood::SlowHeads => {
                let head = format!("GET {LIST} HTTP/1.1\r\nhost: localhost\r\nx-slow: ");
                drip(address, head.as_bytes()).await
            }
            Flood::SlowBodies => {
                let head = format!(
                    "POST {LIST} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000000\r\n\r\n"
                );
                drip(address, head.as_bytes()).await
            }
            Flood::SlowReaders => unread(address).await,
            Flood::RapidReset => frames::flood(address, frames::reset).await,
            Flood::Continuation => frames::flood(address, frames::continuation).await,
            Flood::ClosedWindows => frames::closed_windows(address).await,
            Flood::Idle => idle(address).await,
        };
        ended.fetch_add(1, Ordering::Relaxed);
        if outcome.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

type Ended = std::io::Result<()>;

async fn requests(address: SocketAddr) -> Ended {
    let mut caller = Caller::new(address);
    while caller.get(LIST).await.is_ok_and(|answer| answer.status == 200) {}
    Ok(())
}

/// Sends a beginning, and then a byte a second.
async fn drip(address: SocketAddr, beginning: &[u8]) -> Ended {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(beginning).await?;
    let mut answer = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut answer) => if read? == 0 { return Ok(()) },
            () = tokio::time::sleep(Duration::from_secs(1)) => stream.write_all(b"x").await?,
        }
    }
}

/// Asks for more than the kernel takes, and reads a byte a second of it.
async fn unread(address: SocketAddr) -> Ended {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(4_096)?;
    let mut stream = socket.connect(address).await?;
    let head = format!("GET {LIST}?size=16000000 HTTP/1.1\r\nhost: localhost\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    let mut byte = [0; 1];
    while stream.read(&mut byte).await? > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    Ok(())
}

async fn idle(address: SocketAddr) -> Ended {
    let mut stream = TcpStream::connect(address).await?;
    // Nothing comes; what ends it is the gateway.
    stream.read_exact(&mut [0; 1]).await?;
    Ok(())
}

/// Calls a second, all who behave together.
const GOOD_RATE: f64 = 200.0;
/// Each has an answer on its way that nobody takes, in the gateway and in the kernel.
const MOST_READERS: usize = 200;
/// No flood may take more memory than this: half a gigabyte.
const MOST_KIB: u64 = 512 * 1024;
