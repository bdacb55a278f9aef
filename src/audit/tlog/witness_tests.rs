//! Witnesses on this machine that answer as the specification says, or as they are told.

use std::{collections::HashMap, convert::Infallible, fs, path::Path, sync::Arc, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Full;
use hyper::{Response, body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;

use super::*;
use crate::{
    audit::{
        Settings, Trail, Verdict, VerifyOptions, WitnessSettings,
        keys::SigningKey,
        testing::{eventually, record},
        verify,
    },
    body,
    domain::{Span, VerifierKey},
};

/// A witness. It holds heads against each other with another implementation of the tree.
#[derive(Clone)]
struct Server {
    key: Arc<SigningKey>,
    scene: Arc<Mutex<Scene>>,
}

#[derive(Default)]
struct Scene {
    /// The last head of each log.
    known: HashMap<String, Head>,
    /// Answers to give in place of its own.
    instead: Vec<(u16, String)>,
    asked: usize,
}

impl Server {
    fn new(home: &Path) -> Self {
        let key = SigningKey::open(&home.join("witness-key"), home).unwrap();
        Self { key: Arc::new(key), scene: Arc::default() }
    }

    fn verifier_key(&self) -> VerifierKey {
        self.key.public().cosigner_key("w.test/w1")
    }

    /// Serves on a thread of its own, until the process ends.
    fn serve(&self) -> WitnessSettings {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let server = self.clone();
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let server = server.clone();
                    let service = service_fn(move |request| server.clone().answer(request));
                    tokio::spawn(async move {
                        let connection = hyper::server::conn::http1::Builder::new()
                            .serve_connection(TokioIo::new(stream), service);
                        drop(connection.await);
                    });
                }
            });
        });
        let url = format!("http://{address}/w1").parse().unwrap();
        WitnessSettings { url, key: self.verifier_key() }
    }

    async fn answer(self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        assert_eq!((request.method(), request.uri().path()), (&Method::POST, "/w1/add-checkpoint"));
        let body = body::collect_limited(request.into_body(), 1 << 20).await.unwrap();
        let mut scene = self.scene.lock();
        scene.asked += 1;
        let instead = scene.instead.pop();
        let (status, answer) =
            instead.unwrap_or_else(|| self.judge(&mut scene, std::str::from_utf8(&body).unwrap()));
        let response = Response::builder().status(status).body(Full::from(answer)).unwrap();
        Ok(response)
    }

    /// C2SP tlog-witness, `add-checkpoint`.
    fn judge(&self, scene: &mut Scene, body: &str) -> (u16, String) {
        let (proof, text) = body.split_once("\n\n").unwrap();
        let mut lines = proof.lines();
        let old: u64 = lines.next().unwrap().strip_prefix("old ").unwrap().parse().unwrap();
        let hash =
            |line| tlog_tiles::Hash(BASE64_STANDARD.decode(line).unwrap().try_into().unwrap());
        let proof: Vec<_> = lines.map(hash).collect();
        let note = Note::parse(text).unwrap();
        let new = note.head().unwrap();
        let known = scene.known.get(&new.origin).cloned();
        let size = known.as_ref().map_or(0, |known| known.size);
        if old != size {
            return (409, format!("{size}\n"));
        }
        if let Some(known) = known {
            let (root, old_root) = (tlog_tiles::Hash(new.root.0), tlog_tiles::Hash(known.root.0));
            if tlog_tiles::check_tree(&proof, new.size, root, old, old_root).is_err() {
                return (422, String::new());
            }
        } else {
            assert!(proof.is_empty());
        }
        scene.known.insert(new.origin.clone(), new);
        let body = text.rsplit_once("\n\n").map(|(text, _)| format!("{text}\n")).unwrap();
        let signature =
            self.key.sign(format!("cosignature/v1\ntime 1700000000\n{body}").as_bytes());
        let key = self.verifier_key();
        let bytes = [&key.id()[..], &1_700_000_000_u64.to_be_bytes(), &signature].concat();
        let line = format!("— {} {}\n", key.name(), BASE64_STANDARD.encode(bytes));
        (200, format!("— stranger.test AAAAAAAA\n{line}"))
    }
}

fn settings(home: &Path, witnesses: Vec<WitnessSettings>) -> Settings {
    Settings {
        checkpoint_interval: Span(Duration::from_millis(20)),
        sync_interval: Duration::from_millis(1),
        witnesses,
        ..Settings::new(home)
    }
}

fn is_cosigned(home: &Path, key: &VerifierKey) -> bool {
    let note = fs::read_to_string(home.join("tlog/checkpoint")).unwrap_or_default();
    let note = Note::parse(&note);
    note.is_some_and(|note| {
        matches!(note.signed_by(key), Signed::Yes { time: Some(1_700_000_000) })
    })
}

fn verdict(home: &Path, witness: VerifierKey) -> Verdict {
    let options = VerifyOptions { witnesses: vec![witness], ..VerifyOptions::default() };
    verify(home, options, |_| {}).unwrap().verdict()
}

#[test]
fn a_witness_cosigns_every_head_and_across_restarts() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::new(elsewhere.path());
    let settings = settings(home.path(), vec![server.serve()]);
    for calls in [10, 600] {
        let trail = Trail::open(&settings).unwrap();
        (0..calls).for_each(|_| trail.submit(record()));
        let before = server.scene.lock().asked;
        eventually("it is asked", || server.scene.lock().asked > before + 3);
        let [stats] = &trail.stats().witnesses[..] else { panic!() };
        assert_eq!((stats.name.as_str(), stats.contradicts), ("w.test/w1", false));
        trail.close().unwrap();
        assert!(is_cosigned(home.path(), &server.verifier_key()));
        let known = server.scene.lock().known.clone();
        let note = fs::read_to_string(home.path().join("tlog/checkpoint")).unwrap();
        let head = Note::parse(&note).unwrap().head().unwrap();
        assert_eq!(known.into_values().collect::<Vec<_>>(), [head]);
    }
    assert_eq!(verdict(home.path(), server.verifier_key()), Verdict::Ok);
    let other =
        Server::new(tempfile::tempdir().unwrap().path()).key.public().cosigner_key("w.test/w2");
    assert_eq!(verdict(home.path(), other), Verdict::NotProved);
}

#[test]
fn a_witness_that_is_away_or_talks_nonsense_delays_no_call_and_is_asked_again() {
    let (home, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = Server::new(elsewhere.path());
    // The last one is given first.
    let nonsense =
        ["503 ", "404 ", "403 ", "200 no note", "200 ", "409 ", "409 x", "409 0", "302 "];
    server.scene.lock().instead = nonsense
        .iter()
        .map(|text| {
            let (status, body) = text.split_once(' ').unwrap();
            (status.parse().unwrap(), format!("{body}\n"))
        })
        .collect();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = WitnessSettings {
        url: format!("http://{}", nobody.local_addr().unwrap()).parse().unwrap(),
        key: server.key.public().cosigner_key("silent.test"),
    };
    drop(nobody);
    let settings = settings(home.path(), vec![silent, server.serve()]);
    let trail = Trail::open(&settings).unwrap();
    assert_eq!(trail.admit(), Ok(()));
    eventually("it cosigns in the end", || is_cosigned(home.path(), &server.verifier_key()));
    assert_eq!(trail.admit(), Ok(()));
    let stats = trail.stats().witnesses;
    let [silent, served] = &stats[..] else { panic!("{stats:?}") };
    assert!(silent.failures > 0 && silent.size == 0 && !silent.contradicts, "{silent:?}");
    assert!(served.failures > 0 && served.size > 0 && !served.contradicts, "{served:?}");
    trail.close().unwrap();
}

type Lie = fn(&mut Head);

#[test]
fn a_witness_refuses_a_trail_that_was_rewritten_cut_or_restored() {
    let elsewhere = tempfile::tempdir().unwrap();
    let server = Server::new(elsewhere.path());
    let witness = server.serve();
    let run = |home: &Path| {
        let trail = Trail::open(&settings(home, vec![witness.clone()])).unwrap();
        (0..100).for_each(|_| trail.submit(record()));
        trail
    };
    let lies: [Lie; 2] = [
        // It has seen other lines, or more lines.
        |known| known.root = crate::audit::Hash::of(b"other lines"),
        |known| known.size += 100_000,
    ];
    for lie in lies {
        let home = tempfile::tempdir().unwrap();
        run(home.path()).close().unwrap();
        assert!(is_cosigned(home.path(), &server.verifier_key()));
        server.scene.lock().known.values_mut().for_each(lie);
        let trail = run(home.path());
        eventually("the witness contradicts", || trail.stats().witnesses[0].contradicts);
        assert_eq!(trail.admit(), Ok(()), "calls go on");
        trail.close().unwrap();
        assert!(!is_cosigned(home.path(), &server.verifier_key()));
        assert_eq!(verdict(home.path(), server.verifier_key()), Verdict::NotProved);
    }
}
