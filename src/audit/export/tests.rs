use std::{
    convert::Infallible,
    fs::{self, Permissions},
    io::Read as _,
    os::unix::fs::PermissionsExt as _,
};

use bytes::Bytes;
use flate2::read::GzDecoder;
use http::{Method, Request};
use http_body_util::Full;
use hyper::{Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use prost::Message as _;

use super::*;
use crate::{
    audit::{Settings, Trail, TrailSegment, testing::record},
    body,
    domain::{ByteSize, Span},
    outbound::{
        ForwardProxySettings,
        otlp::{AnyKind, ExportRequest, ExportResponse, LogRecord, PartialSuccess},
    },
};

/// A collector on this machine that answers as it is told and remembers what it took.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Scene>>);

#[derive(Default)]
struct Scene {
    /// Answers to give before it takes anything.
    refusals: Vec<u16>,
    /// More records than this in a request are a 413.
    most: Option<usize>,
    /// How many records of each request it leaves out.
    left_out: i64,
    /// The value of `authorization` that it wants.
    token: Option<&'static str>,
    /// Another call of this trail ends during each request.
    busy: Option<Trail>,
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
        CollectorSettings {
            endpoint,
            ca_file: None,
            headers_file: None,
            proxy: ForwardProxySettings::default(),
        }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/v1/logs"));
        assert_eq!(request.headers()["content-type"], "application/x-protobuf");
        assert_eq!(request.headers()["content-encoding"], "gzip");
        let token = request.headers().get("authorization").cloned();
        let body = body::collect_limited(request.into_body(), 1 << 24).await.unwrap();
        let mut message = Vec::new();
        GzDecoder::new(&body[..]).read_to_end(&mut message).unwrap();
        let sent = ExportRequest::<LogRecord>::decode(message.as_slice()).unwrap();
        let ended = self.0.lock().busy.as_ref().map(|trail| trail.submit_synced(record()));
        if let Some(ended) = ended {
            ended.await.unwrap();
        }
        let records = &sent.resources[0].scopes[0].items;
        let mut scene = self.0.lock();
        scene.asked += 1;
        let refusal = match () {
            () if scene.token.is_some_and(|wanted| token.is_none_or(|token| token != wanted)) => {
                Some(503)
            }
            () if scene.most.is_some_and(|most| records.len() > most) => Some(413),
            () => scene.refusals.pop(),
        };
        if let Some(status) = refusal {
            let response = Response::builder().status(status).body(Full::default()).unwrap();
            return Ok(response);
        }
        let source = ["pigello.audit.chain", "service.instance.id"].map(|key| {
            let attributes = &sent.resources[0].resource.as_ref().unwrap().attributes;
            let attribute = attributes.iter().find(|attribute| attribute.key == key).unwrap();
            let Some(AnyKind::Text(text)) = &attribute.value.as_ref().unwrap().kind else {
                panic!()
            };
            text.clone()
        });
        for record in records {
            let Some(AnyKind::Text(line)) = &record.body.as_ref().unwrap().kind else { panic!() };
            scene.taken.push(crate::audit::line_head(line.as_bytes()).unwrap().seq);
            scene.sources.push(source.clone());
        }
        let partial = PartialSuccess { rejected: scene.left_out, error_message: String::new() };
        let response = ExportResponse { partial_success: Some(partial) };
        Ok(Response::new(Full::from(response.encode_to_vec())))
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
    Position::open(home, Readers::default()).unwrap().seq()
}

#[tokio::test]
async fn everything_arrives_in_order_and_across_restarts() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    let address = collector.serve().await;
    let trail = Trail::open(&settings(home.path(), address.clone())).unwrap();
    (0..1500).for_each(|_| trail.submit(record()));
    collector.until("the calls arrive", |scene| scene.taken.len() >= 1502).await;
    let last = tokio::task::spawn_blocking(|| trail.close().unwrap()).await.unwrap();
    assert_eq!(position(home.path()), last, "the end is sent before the gateway goes");

    let trail = Trail::open(&settings(home.path(), address)).unwrap();
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
    collector.0.lock().refusals = vec![429, 504, 502, 503];
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
    let address = collector.serve().await;
    let settings = Settings {
        segment_bytes: ByteSize(1),
        retain_for: Some(Span::from_secs(0)),
        compress_after: None,
        ..settings(home.path(), address)
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

/// The markers of refused lines, once there are that many and the collector has had everything.
async fn rejections(home: &Path, trail: &Trail, count: usize) -> Vec<serde_json::Value> {
    let markers = || -> Vec<serde_json::Value> {
        let [segment] = &TrailSegment::list(home).unwrap()[..] else { panic!("one file") };
        let text = fs::read_to_string(&segment.path).unwrap();
        let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let lines = complete.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &serde_json::Value| line["kind"] == "export_rejected").collect()
    };
    let done = async {
        while markers().len() < count || trail.stats().exported_seq < Some(trail.stats().last_seq) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), done).await.expect("all is exported");
    markers()
}

#[tokio::test]
async fn a_request_that_is_too_large_is_halved_and_nothing_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    collector.0.lock().most = Some(100);
    let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
    (0..600).for_each(|_| trail.submit(record()));
    collector.until("all arrive", |scene| scene.taken.len() >= 601).await;
    assert_eq!(collector.0.lock().taken[..601], (1..=601).collect::<Vec<_>>());
    assert_eq!(trail.stats().export_rejected, Some(0));
}

#[tokio::test]
async fn what_is_refused_for_good_is_marked_and_the_rest_goes_on() {
    for status in [400, 401, 403, 404, 422, 500] {
        let home = tempfile::tempdir().unwrap();
        let collector = Collector::default();
        collector.0.lock().refusals = vec![status];
        let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
        collector.until("it has refused", |scene| scene.asked > 0).await;
        (0..20).for_each(|_| trail.submit(record()));
        collector.until("the others arrive", |scene| scene.taken.len() >= 20).await;
        let markers = rejections(home.path(), &trail, 1).await;
        let [marker] = &markers[..] else { panic!("{markers:?}") };
        assert_eq!((&marker["from"], &marker["status"]), (&1.into(), &status.into()));
        let refused = marker["records"].as_u64();
        assert_eq!(refused, trail.stats().export_rejected);
        assert!(!trail.stats().export_failing);
        let first = collector.0.lock().taken[0];
        assert_eq!(Some(first - 1), marker["to"].as_u64(), "{status}");
        let kept = async {
            while position(home.path()) < first {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), kept).await.expect("the position is kept");
    }
}

#[tokio::test]
async fn a_line_that_is_too_large_by_itself_is_marked() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    collector.0.lock().most = Some(0);
    let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
    let markers = rejections(home.path(), &trail, 1).await;
    assert_eq!((&markers[0]["from"], &markers[0]["status"]), (&1.into(), &413.into()));
}

#[tokio::test]
async fn a_collector_that_refuses_everything_does_not_make_the_trail_grow() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    collector.0.lock().refusals = vec![400; 1000];
    let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
    collector.until("its own marker was sent", |scene| scene.asked > 1).await;
    assert_eq!(rejections(home.path(), &trail, 1).await.len(), 1);
}

#[tokio::test]
async fn records_that_the_collector_leaves_out_are_marked_and_not_sent_again() {
    let home = tempfile::tempdir().unwrap();
    let collector = Collector::default();
    collector.0.lock().left_out = 1;
    let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
    collector.until("it has answered", |scene| scene.asked > 0).await;
    let markers = rejections(home.path(), &trail, 1).await;
    assert_eq!((&markers[0]["records"], &markers[0]["status"]), (&1.into(), &200.into()));
    let taken = collector.0.lock().taken.clone();
    assert!(taken.is_sorted_by(|a, b| a < b), "{taken:?}");
}

#[tokio::test]
async fn what_was_taken_counts_although_the_position_cannot_be_kept() {
    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join("export.json.new")).unwrap();
    let collector = Collector::default();
    let trail = Trail::open(&settings(home.path(), collector.serve().await)).unwrap();
    (0..5).for_each(|_| trail.submit(record()));
    collector.until("all arrive", |scene| scene.taken.len() >= 6).await;
    assert_eq!(rejections(home.path(), &trail, 0).await.len(), 0);
    assert!(trail.stats().exported_seq >= Some(6));
    assert_eq!(position(home.path()), 0);
    let taken = collector.0.lock().taken.clone();
    assert!(taken.is_sorted_by(|a, b| a < b), "sent once: {taken:?}");
}

#[tokio::test]
async fn the_token_of_the_headers_file_can_be_changed_while_the_gateway_runs() {
    let home = tempfile::tempdir().unwrap();
    let headers = home.path().join("headers");
    fs::write(&headers, "authorization: Bearer old\n").unwrap();
    fs::set_permissions(&headers, Permissions::from_mode(0o600)).unwrap();
    let collector = Collector::default();
    collector.0.lock().token = Some("Bearer made-up");
    let endpoint = collector.serve().await;
    let export_to = CollectorSettings { headers_file: Some(headers.clone()), ..endpoint.clone() };
    let directory = home.path().join("audit");
    let settings = Settings { export_to: Some(export_to), ..settings(&directory, endpoint) };
    let _trail = Trail::open(&settings).unwrap();
    collector.until("the old one is refused", |scene| scene.asked > 0).await;
    fs::write(&headers, "authorization: Bearer made-up\n").unwrap();
    collector.until("the new one is used", |scene| !scene.taken.is_empty()).await;
}

#[tokio::test]
async fn lines_are_sent_again_from_a_number_on() {
    let home = tempfile::tempdir().unwrap();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    (0..600).for_each(|_| trail.submit(record()));
    let last = trail.close().unwrap();
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    let directory = home.path().to_owned();
    let from = move |from, endpoint| {
        let directory = directory.clone();
        tokio::task::spawn_blocking(move || resend(&directory, &endpoint, from).unwrap())
    };
    let resent = from(100, endpoint.clone()).await.unwrap();
    assert_eq!(resent, Resent { lines: last - 99, rejected: 0, status: None });
    assert_eq!(collector.0.lock().taken, (100..=last).collect::<Vec<_>>());
    collector.0.lock().refusals = vec![400];
    let resent = from(last, endpoint).await.unwrap();
    assert_eq!(resent, Resent { lines: 1, rejected: 1, status: Some(400) });
    assert!(!home.path().join("export.json").exists(), "the gateway's own position is untouched");
}

#[tokio::test]
async fn lines_that_come_while_others_are_sent_again_are_left_to_the_gateway() {
    let home = tempfile::tempdir().unwrap();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    (0..600).for_each(|_| trail.submit(record()));
    trail.submit_synced(record()).await.unwrap();
    let last = reader::last_seq(home.path()).unwrap();
    let collector = Collector::default();
    let endpoint = collector.serve().await;
    collector.0.lock().busy = Some(trail);
    let directory = home.path().to_owned();
    let resent = tokio::task::spawn_blocking(move || resend(&directory, &endpoint, 1).unwrap());
    let resent = tokio::time::timeout(Duration::from_mins(1), resent).await.expect("it ends");
    assert_eq!(resent.unwrap(), Resent { lines: last, rejected: 0, status: None });
    assert!(reader::last_seq(home.path()).unwrap() > last, "the gateway went on");
}
