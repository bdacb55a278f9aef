//! What a caller sees of each outage between the gateway and its upstream, and after what time: the figures
//! of the manual's table "How long a caller waits".
//!
//! It runs in a network of its own, so it needs root. Each outage has a gateway of its own.

use std::{
    future,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::watch,
};

use super::{
    Common,
    call::{Caller, LIST},
    gateway::{Gateway, Setup},
    network::{self, DEAD, LIVE, Names},
    report::{Report, progress},
    upstream::{self, Upstream},
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Set where the network has been made
    #[arg(long, hide = true)]
    inside: bool,
}

struct Rig<'a> {
    common: &'a Common,
    upstream: Upstream,
    names: Names,
    report: Report,
}

pub async fn run(common: &Common, options: &Options) -> Report {
    if !options.inside {
        network::again_in_its_own();
    }
    let protocols = ["h2", "http/1.1"];
    let upstream = Upstream::listening(Ipv4Addr::UNSPECIFIED, &protocols).await;
    let report = Report::new("outages");
    let mut rig = Rig { common, upstream, names: Names::mounted(), report };
    rig.addresses().await;
    rig.name_service().await;
    rig.forgotten_connection(&protocols).await;
    rig.forgotten_connection(&["http/1.1"]).await;
    rig.refusing_proxy().await;
    rig.retired_connections().await;
    rig.too_many_requests().await;
    rig.maintenance().await;
    rig.report
}

impl Rig<'_> {
    fn setup(&self, upstream: &Upstream, port: u16) -> Setup {
        Setup::new(self.common, upstream)
            .set("PROFILES__A__UPSTREAM", format!("https://{}:{port}", upstream::NAME))
            .set("PROFILES__A__ALLOW_PRIVATE", "true")
    }

    async fn gateway(&self) -> Gateway {
        self.setup(&self.upstream, self.upstream.address.port()).start().await
    }

    async fn call(&mut self, what: &str, caller: &mut Caller, method: Method, target: &str) {
        let begun = Instant::now();
        let outcome = caller.call(method, target, Bytes::new()).await;
        let took = begun.elapsed();
        let seen = match outcome {
            Ok(answer) => {
                let problem = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
                let problem = problem["type"].as_str().unwrap_or_default().to_owned();
                format!("{} {problem}", answer.status)
            }
            Err(broken) => broken.to_string(),
        };
        let seen = format!("{} ms: {seen}", took.as_millis());
        progress(format_args!("{what}: {seen}"));
        self.report.figure(what, seen);
    }

    async fn addresses(&mut self) {
        self.names.lead_to(&[DEAD, LIVE[0]]);
        let gateway = self.gateway().await;
        let mut caller = Caller::new(gateway.address("main"));
        self.call("one address of two is dead, GET", &mut caller, Method::GET, LIST).await;
        self.call("the next GET", &mut caller, Method::GET, LIST).await;
        self.names.lead_to(&[DEAD]);
        let gateway = self.gateway().await;
        let mut caller = Caller::new(gateway.address("main"));
        self.call("the only address is dead, GET", &mut caller, Method::GET, LIST).await;
        self.call("the only address is dead, POST", &mut caller, Method::POST, CREATE).await;
    }

    async fn name_service(&mut self) {
        self.names.lead_to(&[]);
        let gateway = self.gateway().await;
        let mut caller = Caller::new(gateway.address("main"));
        self.call("name service away from the start, GET", &mut caller, Method::GET, LIST).await;
        self.names.lead_to(&[LIVE[0]]);
        let gateway = self.setup(&self.upstream, self.upstream.address.port());
        let gateway = gateway.set("TIMEOUTS__UPSTREAM_IDLE", "1s").start().await;
        let mut caller = Caller::new(gateway.address("main"));
        self.call("name service well, GET", &mut caller, Method::GET, LIST).await;
        self.names.lead_to(&[]);
        // The answer is asked for again after five seconds, and no connection is left.
        tokio::time::sleep(Duration::from_secs(7)).await;
        self.call("name service away later, GET", &mut caller, Method::GET, LIST).await;
    }

    async fn forgotten_connection(&mut self, protocols: &[&str]) {
        let upstream = Upstream::listening(Ipv4Addr::UNSPECIFIED, protocols).await;
        self.names.lead_to(&[LIVE[0]]);
        for method in [Method::GET, Method::POST] {
            let relay = Relay::to(upstream.address).await;
            let gateway = self.setup(&upstream, relay.address.port()).start().await;
            let mut caller = Caller::new(gateway.address("main"));
            let name = protocols[0];
            self.call(&format!("{name}, {method} before"), &mut caller, Method::GET, LIST).await;
            relay.forget();
            let what = format!("{name}, a NAT has forgotten the connection, {method}");
            let target = if method == Method::GET { LIST } else { CREATE };
            self.call(&what, &mut caller, method, target).await;
        }
    }

    async fn refusing_proxy(&mut self) {
        let proxy = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = proxy.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = proxy.accept().await {
                let mut head = [0; 4096];
                drop(stream.read(&mut head).await);
                let refusal =
                    b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n";
                drop(stream.write_all(refusal).await);
            }
        });
        let setup = self.setup(&self.upstream, self.upstream.address.port());
        let gateway = setup.set("PROFILES__A__PROXY", format!("http://{address}")).start().await;
        let mut caller = Caller::new(gateway.address("main"));
        self.call("the proxy refuses, GET", &mut caller, Method::GET, LIST).await;
    }

    async fn retired_connections(&mut self) {
        self.names.lead_to(&[LIVE[0]]);
        let gateway = self.gateway().await;
        let mut caller = Caller::new(gateway.address("main"));
        self.call("GET before GOAWAY", &mut caller, Method::GET, LIST).await;
        self.upstream.retire_connections();
        self.call("POST behind GOAWAY", &mut caller, Method::POST, CREATE).await;
    }

    async fn too_many_requests(&mut self) {
        let gateway = self.gateway().await;
        let mut caller = Caller::new(gateway.address("main"));
        let limited = format!("{LIST}?status=429");
        self.call("429 with Retry-After, GET", &mut caller, Method::GET, &limited).await;
        self.call("the same operation after it", &mut caller, Method::GET, LIST).await;
        self.call("another operation after it", &mut caller, Method::POST, CREATE).await;
    }

    async fn maintenance(&mut self) {
        let gateway = self.gateway().await;
        let mut caller = Caller::new(gateway.address("main"));
        let failing = format!("{LIST}?status=503");
        self.call("an operation is in maintenance, GET", &mut caller, Method::GET, &failing).await;
        for _ in 0..20 {
            drop(caller.get(&failing).await);
        }
        self.call("the same operation after 20 of them", &mut caller, Method::GET, LIST).await;
        self.call("another operation beside it", &mut caller, Method::POST, CREATE).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        self.call("the same operation after three seconds", &mut caller, Method::GET, LIST).await;
    }
}

/// Passes bytes on, until it forgets its connections: then they stay open and silent, as behind a NAT.
struct Relay {
    address: SocketAddr,
    forgotten: watch::Sender<()>,
}

impl Relay {
    async fn to(upstream: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let forgotten = watch::Sender::new(());
        let forgetting = forgotten.clone();
        let upstream = SocketAddr::from((Ipv4Addr::LOCALHOST, upstream.port()));
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut forgotten = forgetting.subscribe();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(upstream).await.unwrap();
                    tokio::select! {
                        _ = copy_bidirectional(&mut near, &mut far) => {}
                        _ = forgotten.changed() => future::pending().await,
                    }
                });
            }
        });
        Self { address, forgotten }
    }

    fn forget(&self) {
        self.forgotten.send_replace(());
    }
}

/// An operation that is not idempotent.
const CREATE: &str = "/accounts/users/customer/tenant/";
