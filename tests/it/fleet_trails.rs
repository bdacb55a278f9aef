//! The audit trails of a fleet: a hub with its fleet log, a member that is a process, and a real Valkey between them.

use std::{fs, path::Path};

use http::StatusCode;
use pigello_gateway::audit::{
    FleetLog, TrailProblemKind, Verdict, VerifyOptions, VerifyReport, files, verify,
    verify_fleet_log,
};
use pigello_mock::MADE_UP_VALUES;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    fleet_bus::{KEY, Pigello, command, member, until},
    support::{Gateway, Process, Setup, Store},
};

/// A hub, and what a member that is a process needs.
struct Scene {
    hub: Gateway,
    store: Store,
    folder: TempDir,
}

impl Scene {
    async fn start() -> Option<Self> {
        let store = Store::valkey(&[])?;
        let (_, address) = Pigello::start().await;
        let key = store.secret("key", KEY);
        let tables = member(&store, &key).replace("[fleet]\n", "[fleet]\nrole = \"hub\"\n");
        let hub = Setup::plain(&format!("http://{address}"));
        let hub = hub.variable("PIGELLO_GATEWAY_AUDIT__INSTANCE=hub").with(&tables).start().await;
        until(&hub, |fleet| fleet["hearing"] == true).await;
        Some(Self { hub, store, folder: tempfile::tempdir().unwrap() })
    }

    /// The trail of a member.
    fn audit(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    /// A member with a trail of that name, which signs ten times a second.
    fn run(&self, name: &str) -> Process {
        let path = |name: &str| self.folder.path().join(name);
        fs::create_dir_all(path("credentials")).unwrap();
        for (value, text) in MADE_UP_VALUES {
            fs::write(path("credentials").join(value.key()), text).unwrap();
        }
        let config = format!(
            "[[listeners]]\nname = \"main\"\naddress = \"127.0.0.1:0\"\nprofile = \"test\"\n\
             [profiles.test]\nupstream = \"http://127.0.0.1:9\"\ninsecure_http = true\ncredentials = \"test\"\n\
             [credentials.test]\nsource = \"directory\"\npath = \"{}\"\n\
             [audit]\ndirectory = \"{}\"\ninstance = \"{name}\"\ncheckpoint_interval = \"100ms\"\n{}",
            path("credentials").display(),
            self.audit(name).display(),
            member(&self.store, &self.store.secret("key", KEY)),
        );
        let file = path(&format!("{name}.toml"));
        fs::write(&file, config).unwrap();
        let mut process = Process::serve(&file);
        process.close_log();
        process
    }

    fn fleet_log(&self) -> std::path::PathBuf {
        FleetLog::folder(&self.hub.path("audit"))
    }

    /// The last head of a member in the fleet log, once it is so.
    async fn until_head(&self, name: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        loop {
            let lines = lines(&self.fleet_log());
            let mut heads = lines.into_iter().filter(|line| line["kind"] == "head");
            if let Some(head) = heads.rfind(|head| head["instance"] == name).filter(&is_so) {
                return head;
            }
            drop(self.hub.admin().get("/fleet").await);
        }
    }

    /// What the hub finds, once there is something, or nothing any more.
    async fn until_found(&self, kinds: &[&str]) -> Vec<Value> {
        loop {
            let status = self.hub.admin().get("/status").await.json();
            let findings = status["fleet_log"]["findings"].as_array().unwrap().clone();
            let found: Vec<_> = findings.iter().map(|it| it["finding"].as_str().unwrap()).collect();
            if kinds.iter().all(|kind| found.contains(kind)) && kinds.is_empty() == found.is_empty()
            {
                return findings;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The trail of a member, held against the fleet log.
    fn check(&self, name: &str) -> VerifyReport {
        let told = verify_fleet_log(&self.fleet_log(), VerifyOptions::default()).unwrap();
        assert_eq!(told.verdict(), Verdict::Ok, "{:?} {:?}", told.log.problems, told.log.doubts);
        let options = VerifyOptions { told: Some(told.chains), ..VerifyOptions::default() };
        verify(&self.audit(name), options, |_| {}).unwrap()
    }
}

/// The lines of a trail that is being written.
fn lines(trail: &Path) -> Vec<Value> {
    let files = files(trail).unwrap();
    let texts = files.iter().map(|file| fs::read_to_string(&file.path).unwrap());
    let complete = |text: String| {
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>()
    };
    texts.flat_map(complete).collect()
}

fn is_closed(head: &Value) -> bool {
    head["ended"] == true
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if !path.ends_with("chain.json") {
            fs::copy(&path, target).unwrap();
        }
    }
}

/// Puts a copy in the place of a trail, and leaves the name of the chain, which no copy keeps.
fn put_back(copied: &Path, trail: &Path) {
    for entry in fs::read_dir(trail).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if !path.ends_with("chain.json") {
            fs::remove_file(path).unwrap();
        }
    }
    copy(copied, trail);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_ends_is_no_finding_and_one_whose_trail_was_cut_is() {
    let Some(scene) = Scene::start().await else { return };
    let process = scene.run("one");
    scene.until_head("one", |_| true).await;
    assert!(process.end_unread().success());
    let first = scene.until_head("one", is_closed).await;
    let backup = scene.folder.path().join("backup");
    copy(&scene.audit("one"), &backup);
    let process = scene.run("one");
    scene.until_head("one", |head| head["ended"] == false).await;
    process.end_unread();
    let last = scene
        .until_head("one", |head| is_closed(head) && head["last_seq"] != first["last_seq"])
        .await;
    assert_eq!(last["chain"], first["chain"]);
    let report = scene.check("one");
    assert_eq!(report.verdict(), Verdict::Ok, "{:?} {:?}", report.problems, report.doubts);
    assert!(scene.until_found(&[]).await.is_empty());

    put_back(&backup, &scene.audit("one"));
    let report = scene.check("one");
    let is_lost = |kind: &TrailProblemKind| matches!(kind, TrailProblemKind::Lost { to, .. } if last["last_seq"] == *to);
    assert!(report.problems.iter().any(|it| is_lost(&it.kind)), "{:?}", report.problems);
    let process = scene.run("one");
    let findings = scene.until_found(&["shorter"]).await;
    assert_eq!(findings[0]["instance"], "one");
    assert_eq!(findings[0]["last_seq"], last["last_seq"]);
    process.end_unread();
    assert_eq!(scene.check("one").verdict(), Verdict::Wrong);

    // An operator sees it everywhere, and says so.
    let chain = last["chain"].as_str().unwrap();
    let metrics = scene.hub.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("fleet_findings{finding=\"shorter\"} 1"), "{metrics}");
    assert!(metrics.contains("fleet_findings{finding=\"silent\"} 0"), "{metrics}");
    // The list waits for the store, which may be slow for a moment.
    let listed = loop {
        let answer = scene.hub.admin().get("/fleet").await;
        if answer.status == StatusCode::OK {
            break answer.json();
        }
    };
    assert_eq!(listed["findings"], json!(findings));
    let page = scene.hub.admin().get("/").await;
    assert!(String::from_utf8_lossy(&page.body).contains(chain));
    let (told, failed) = command(&scene.hub, &["status"]).await;
    assert!(failed && told.contains("not as it was  one: shorter"), "{told}");
    let (told, failed) = command(&scene.hub, &["acknowledge", chain]).await;
    assert!(!failed && told.contains("1 acknowledged"), "{told}");
    assert!(scene.until_found(&[]).await.is_empty());
    let (told, failed) = command(&scene.hub, &["status"]).await;
    assert!(!failed && told.contains("trails       2"), "{told}");
    let again = format!("/fleet/acknowledge?chain={chain}");
    let again = scene.hub.admin().send(http::Method::POST, &again, "").await;
    assert_eq!(again.status, StatusCode::NOT_FOUND);
    let known = loop {
        let lines = lines(&scene.hub.path("audit"));
        if let Some(line) = lines.into_iter().find(|line| line["action"] == "acknowledge") {
            break line;
        }
    };
    assert_eq!(known["result"], json!(format!("chain={chain} findings=1")));
    // The fleet log has both, within a second.
    let is =
        |kind: &'static str| move |line: &Value| line["kind"] == kind && line["chain"] == chain;
    loop {
        let lines = lines(&scene.fleet_log());
        if lines.iter().any(is("finding")) && lines.iter().any(is("acknowledged")) {
            break;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_that_is_killed_is_silent_until_it_is_there_again() {
    let Some(scene) = Scene::start().await else { return };
    let process = scene.run("one");
    scene.until_head("one", |_| true).await;
    process.signal(Signal::KILL);
    let findings = scene.until_found(&["silent"]).await;
    assert_eq!((findings.len(), &findings[0]["instance"]), (1, &json!("one")));
    // What it wrote after its last head is on its disk.
    assert_eq!(scene.check("one").verdict(), Verdict::Ok);
    let process = scene.run("one");
    assert!(scene.until_found(&[]).await.is_empty());
    process.end_unread();
    scene.until_head("one", is_closed).await;
    assert_eq!(scene.check("one").verdict(), Verdict::Ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_members_with_one_chain_are_found() {
    let Some(scene) = Scene::start().await else { return };
    let process = scene.run("one");
    scene.until_head("one", |_| true).await;
    process.end_unread();
    scene.until_head("one", is_closed).await;
    let (one, two) = (scene.audit("one"), scene.audit("two"));
    copy(&one, &two);
    // A disk that was cloned keeps the time of birth of its files.
    let text = fs::read(one.join("chain.json")).unwrap();
    fs::write(two.join("chain.json"), &text).unwrap();
    let mut chain: Value = serde_json::from_slice(&text).unwrap();
    let is_born = chain["place"]["file"].as_str().unwrap().starts_with("born ");
    let born = |path: &Path| {
        let born = fs::metadata(path).unwrap().created().unwrap();
        born.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos()
    };
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let path = two.join("chain.json");
    chain["place"]["file"] = if is_born {
        json!(format!("born {}", born(&path)))
    } else {
        json!(format!("inode {}", inode(&path)))
    };
    fs::write(&path, chain.to_string()).unwrap();
    let both = (scene.run("one"), scene.run("two"));
    let findings = scene.until_found(&["cloned"]).await;
    assert!(findings.iter().all(|finding| finding["chain"] == chain["chain"]), "{findings:?}");
    drop(both);
}
