use std::{convert::Infallible, fs};

use http::{Method, Request};
use http_body_util::Full;
use hyper::{Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use super::*;
use crate::{
    audit::{Settings, Trail, TrailSegment, testing::record},
    body,
    domain::{ByteSize, Span},
    outbound::ForwardProxySettings,
};

/// A collector on this machine that answers as it is told and remembers what it took.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Scene>>);

#[derive(Default)]
struct Scene {
    /// Answers to give before it takes anything.
    refusals: Vec<u16>,
    asked: usize,
    taken: Vec<u64>,
    /// The chain and the instance of each of them.
    sources: Vec<[String; 2]>,
}

impl Collector {
    async fn serve(&self) -> CollectorSettings {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let collector = self.clone();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let collector = collector.clone();
                let service = service_fn(move |request| collector.clone().answer(request));
                tokio::spawn(async move {
                    let connection = hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service);
                    drop(connection.await);
                });
            }
        });
        let endpoint = format!("http://{address}").parse().unwrap();
        CollectorSettings { endpoint, proxy: ForwardProxySettings::default() }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/v1/logs"));
        let body = body::collect_limited(request.into_body(), 1 << 24).await.unwrap();
        let mut scene = self.0.lock();
        scene.asked += 1;
        if let Some(status) = scene.refusals.pop() {
            let response = Response::builder().status(status).body(Full::default()).unwrap();
            return Ok(response);
        }
        let sent: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let attributes = sent["resourceLogs"][0]["resource"]["attributes"].as_array().unwrap();
        let source = ["pigello.audit.chain", "service.instance.id"].map(|key| {
            let attribute = attributes.iter().find(|attribute| attribute["key"] == key).unwrap();
            attribute["value"]["stringValue"].as_str().unwrap().to_owned()
        });
        for record in sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap() {
            let line = record["body"]["stringValue"].as_str().unwrap();
            scene.taken.push(crate::audit::line_head(line.as_bytes()).unwrap().seq);
            scene.sources.push(source.clone());
        }
        Ok(Response::new(Full::from("{}")))
    }

    async fn until(&self, what: &str, reached: impl Fn(&Scene) -> bool) {
        let wait = async {
            while !reached(&self.0.lock()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect(what);
    }
}

fn settings(home: &Path, collector: CollectorSettings) -> Settings {
    Settings {
        export_to: Some(collector),
        sync_interval: Duration::from_millis(10),
        ..Settings::new(home)
    }
}

fn position(home: &Path) -> u64 {
    Position::open(home).unwrap().seq()
}

#[tokio::test]
async fn everything_arrives_in_order_and_across_restarts() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let to = collector.serve().await;
    let trail = Trail::open(&settings(home.path(), to.clone())).unwrap();
    (0..1500).for_each(|_| trail.submit(record()));
    collector.until("the calls arrive", |scene| scene.taken.len() >= 1502).await;
    let last = tokio::task::spawn_blocking(|| trail.close().unwrap()).await.unwrap();
    assert_eq!(position(home.path()), last, "the end is sent before the gateway goes");

    let trail = Trail::open(&settings(home.path(), to)).unwrap();
    collector.until("the start arrives", |scene| scene.taken.last() > Some(&(last + 1))).await;
    let taken = collector.0.lock().taken.clone();
    assert!(taken == (1..=last + 2).collect::<Vec<_>>(), "{} lines", taken.len());
    let told = async {
        while trail.stats().exported_seq <= Some(last + 1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), told).await.unwrap();
    assert_eq!(position(home.path()), last + 2);
}

#[tokio::test]
async fn every_line_arrives_with_its_own_chain_and_instance() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    // The first chain is read behind the second one's start.
    for (instance, to) in [("pod-1", None), ("pod-2", Some(collector.serve().await))] {
        let settings = Settings {
            instance: Some(instance.to_owned()),
            export_to: to,
            sync_interval: Duration::from_millis(10),
            ..Settings::new(home.path())
        };
        drop(fs::remove_file(home.path().join("chain.json")));
        let trail = Trail::open(&settings).unwrap();
        trail.submit(record());
        tokio::task::spawn_blocking(|| trail.close().unwrap()).await.unwrap();
    }
    let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
    collector.until("all arrive", |scene| scene.taken.len() >= 12).await;
    let sources = collector.0.lock().sources.clone();
    let chain = trail.stats().chain.unwrap();
    let host = Settings::new(home.path()).instance_name();
    assert!(
        sources[..5].iter().all(|[chain, instance]| instance == "pod-1" && *chain == sources[0][0])
    );
    assert!(sources[5..10].iter().all(|source| *source == [chain.clone(), "pod-2".to_owned()]));
    assert_eq!(sources[10], [chain, host]);
    assert_ne!(sources[0][0], sources[5][0]);
}

#[tokio::test]
async fn a_collector_that_is_away_loses_nothing_and_stops_nobody() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    collector.0.lock().refusals = vec![400, 503];
    let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
    collector.until("it is asked", |scene| scene.asked > 0).await;
    (0..100).for_each(|_| trail.submit(record()));
    assert_eq!(trail.admit(), Ok(()));
    assert_eq!(position(home.path()), 0, "nothing is kept that was not taken");
    collector.until("all arrive", |scene| scene.taken.len() >= 101).await;
    assert_eq!(collector.0.lock().taken[..101], (1..=101).collect::<Vec<_>>());
}

#[tokio::test]
async fn old_files_stay_until_they_are_exported() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    collector.0.lock().refusals = vec![503; 1000];
    let to = collector.serve().await;
    let settings = Settings {
        segment_bytes: ByteSize(1),
        retain_for: Some(Span::from_secs(0)),
        compress_after: None,
        ..settings(home.path(), to)
    };
    let trail = Trail::open(&settings).unwrap();
    for _ in 0..3 {
        trail.submit_synced(record()).await.unwrap();
    }
    trail.close().unwrap();
    let before = TrailSegment::list(home.path()).unwrap();
    assert!(before.len() >= 3);

    // The retention makes its first round at once, with everything old and nothing exported.
    let trail = Trail::open(&settings).unwrap();
    collector.until("it is asked again", |scene| scene.asked > 1).await;
    trail.close().unwrap();
    assert!(TrailSegment::list(home.path()).unwrap().starts_with(&before));

    fs::write(home.path().join("export.json"), "{\"seq\":1000}").unwrap();
    let _trail = Trail::open(&settings).unwrap();
    let gone = async {
        while TrailSegment::list(home.path()).unwrap().contains(&before[0]) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.unwrap();
}
