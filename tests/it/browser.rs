//! The page in a real browser: how it looks, what axe-core says of it, that its buttons work.
//!
//! `PIGELLO_PICTURES=FOLDER` keeps the pictures. The work is done by `tests/browser/look.mjs`.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, SystemTime},
};

use http::{Method, StatusCode};
use pigello_gateway::{
    audit::{CacheResult, Outcome, Record},
    domain::{ListenerName, PolicyId, ProfileName, Proof, RequestId},
    error::Kind,
};
use pigello_mock::{EXAMPLE_SUBTENANT, MockPigello};

use super::{
    admin_access::{relay, session},
    page::{failing, gateway, page_after, subtenant},
};
use crate::support::{Caller, Gateway, Setup, pigello};

/// A day of calls as a landlord's systems make them, with a bad quarter of an hour in it.
fn invent_a_past(gateway: &Gateway) {
    let now = SystemTime::now();
    // Repeatable, and without a pattern that one sees.
    let mut generator = fastrand::Rng::with_seed(7);
    let mut random = move |below: u64| generator.u64(..below);
    let usual = [
        ("billing", "subtenant.get", 60),
        ("billing", "subtenant.list", 6),
        ("billing", "tenant.get", 12),
        ("portal", "subtenant.get", 90),
        ("portal", "subtenant.update", 8),
        ("portal", "organizationuser.list", 5),
        ("reports", "tenant.list", 14),
        ("reports", "organization.list", 4),
    ];
    for minutes_ago in (1..24 * 60).rev() {
        let ended = now - Duration::from_secs(minutes_ago * 60);
        let bad = (17..26).contains(&minutes_ago);
        let mut records = Vec::new();
        // Quiet nights.
        let load = 40 + ((minutes_ago + 400) % 1440).abs_diff(720) / 8;
        for (caller, operation, weight) in usual {
            for _ in 0..weight * (load + random(40)) / 400 {
                records.push(invented(caller, operation, ended, bad, &mut random));
            }
        }
        if random(9) == 0 {
            let mut refused = invented("reports", "subtenant.update", ended, false, &mut random);
            refused.outcome = Outcome::Refused;
            refused.status = Some(StatusCode::FORBIDDEN);
            refused.error = Some(Kind::NotAllowed.label());
            (refused.attempts, refused.upstream_status, refused.cache) = (0, None, None);
            refused.duration = Duration::from_micros(90);
            records.push(refused);
        }
        gateway.activity().add(&mut records.iter(), ended);
    }
}

fn invented(
    caller: &str,
    operation: &str,
    time: SystemTime,
    bad: bool,
    random: &mut impl FnMut(u64) -> u64,
) -> Record {
    let is_cached = operation == "subtenant.get" && random(100) < 78;
    let fails = !is_cached && random(100) < if bad { 45 } else { 1 };
    let (entity, action) = operation.split_once('.').unwrap();
    let last = if action == "list" { "list" } else { EXAMPLE_SUBTENANT };
    let target = format!("/accounts/users/customer/{entity}/{last}/?_page=1");
    let upstream =
        Duration::from_millis(40 + random(60) * random(8) + u64::from(bad) * random(2500));
    Record {
        time,
        request_id: RequestId::fresh(),
        trace_id: 1,
        own: None,
        peer: None,
        refused_certificate: None,
        policy: PolicyId::default(),
        listener: ListenerName::new("main"),
        caller: Some(caller.into()),
        caller_proof: Some(Proof::UnixPeer { uid: 1001, gid: 1001, pid: Some(4711) }),
        profile: Some(ProfileName::new("test")),
        operation: Some(operation.into()),
        method: if action == "update" { Method::PATCH } else { Method::GET },
        target: Some(target.parse().unwrap()),
        status: Some(if fails { StatusCode::GATEWAY_TIMEOUT } else { StatusCode::OK }),
        outcome: match (is_cached, fails) {
            (true, _) => Outcome::Cached,
            (false, true) => Outcome::Failed,
            (false, false) => Outcome::Forwarded,
        },
        cache: match (operation, is_cached) {
            (_, true) => Some(CacheResult::Hit),
            ("subtenant.get", false) => Some(CacheResult::Miss),
            _ => None,
        },
        source_request_id: None,
        source_chain: None,
        upstream_status: (!is_cached && !fails).then_some(StatusCode::OK),
        upstream_tls: None,
        attempts: u32::from(!is_cached),
        retries: Vec::new(),
        credential_version: Some(Arc::from("7")),
        duration: if is_cached { Duration::from_micros(70 + random(200)) } else { upstream },
        queue_time: Duration::ZERO,
        upstream_time: (!is_cached).then_some(upstream),
        request_bytes: 0,
        response_bytes: 2_048,
        error: fails.then_some(Kind::UpstreamFirstByteTimeout.label()),
        would_refuse: None,
        masked_fields: 0,
        list_ids: None,
    }
}

/// The page of an evidence bundle of the gateway's trail.
fn evidence(gateway: &Gateway) -> PathBuf {
    let bundle = gateway.path("bundle.tar.zst");
    let exported = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"))
        .args(["audit", "export", "--out"])
        .arg(&bundle)
        .arg("--directory")
        .arg(gateway.path("audit"))
        .output()
        .unwrap();
    assert!(bundle.exists(), "{}", String::from_utf8_lossy(&exported.stderr));
    let folder = gateway.path("bundle");
    let tar = zstd::decode_all(std::fs::File::open(bundle).unwrap()).unwrap();
    tar::Archive::new(&*tar).unpack(&folder).unwrap();
    folder.join("index.html")
}

/// The folder of the script, and the browser; where one is missing it says so, and fails the test
/// where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn tools() -> Option<(PathBuf, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/browser");
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = |name: &str| {
        env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
    };
    let chromium = ["chromium", "chromium-browser", "google-chrome"].into_iter().find_map(on_path);
    let why = match (chromium, on_path("node"), folder.join("node_modules").exists()) {
        (Some(chromium), Some(_), true) => return Some((folder, chromium)),
        (None, ..) => "there is no Chromium",
        (_, None, _) => "there is no Node",
        (.., false) => "`npm ci --prefix tests/browser` was not run",
    };
    let required = env::var_os("PIGELLO_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{why}, and PIGELLO_TEST_REQUIRE_TOOLS=1 allows no skipping");
    eprintln!("\n*** SKIPPED: {why} ***\n");
    None
}

/// More callers than a screen has columns, and operations of the configuration.
async fn many_callers(pigello: &MockPigello) -> Gateway {
    let mut setup = Setup::new(pigello).listener("caller = \"caller-0\"\n").with_tcp_admin();
    for at in 0..20 {
        let allow = ["subtenant.*", "*.get\", \"*.list", "tenant.update", "*"][at % 4];
        setup =
            setup.with(&format!("[[callers]]\nname = \"caller-{at}\"\nallow = [\"{allow}\"]\n"));
        setup = setup.with(&format!(
            "[[operations]]\nname = \"entity_{at}.get\"\nmethod = \"GET\"\npath = \"/area/entity-{at}/{{pk}}/\"\n"
        ));
    }
    setup.start().await
}

/// Light, dark and narrow, with data, empty and with everything failing; axe-core has nothing serious
/// to say, nothing leaves the page's origin, and the button works with and without JavaScript.
#[tokio::test(flavor = "multi_thread")]
async fn it_looks_right_in_a_browser() {
    let Some((folder, chromium)) = tools() else { return };
    let pigello = pigello().await;
    let empty = gateway(&pigello).await;
    let data = gateway(&pigello).await;
    invent_a_past(&data);
    for _ in 0..4 {
        data.caller().get(&subtenant()).await;
    }
    data.caller().send(Method::PATCH, &subtenant(), "{}").await;
    data.caller().get("/people/199001012385/").await;
    page_after(&data, 6).await;
    let failing = failing(&pigello).await;
    let home = |gateway: &Gateway| format!("http://{}/", gateway.admin().address());
    let mut cookies = Vec::new();
    for gateway in [&data, &empty, &failing] {
        let browser = Caller::tcp(gateway.admin().address());
        cookies.push(session(gateway.admin(), &browser).await);
    }
    let [of_data, of_empty, of_failing] = &*cookies else { panic!("three gateways") };
    let many = many_callers(&pigello).await;
    let of_many = session(many.admin(), &Caller::tcp(many.admin().address())).await;
    // A gateway on a Unix socket, through the relay of `pigello-gateway page`.
    let unix = Setup::new(&pigello).start().await;
    unix.caller().get(&subtenant()).await;
    let (relay, _running) = relay(&unix).await;
    let link = unix.admin().send(Method::POST, "/session/link", "").await.json();
    let link = format!("http://{}{}", relay.address(), link["path"].as_str().unwrap());

    let report = data.path("report.html");
    let reported = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"))
        .args(["audit", "report", "--verify", "--html"])
        .arg(&report)
        .arg("--directory")
        .arg(data.path("audit"))
        .output()
        .unwrap();
    assert!(report.exists(), "{}", String::from_utf8_lossy(&reported.stderr));

    let evidence = evidence(&data);

    let pictures = env::var_os("PIGELLO_PICTURES").map(PathBuf::from);
    let mut look = Command::new("node");
    look.arg(folder.join("look.mjs"))
        .arg(chromium)
        .args(pictures.as_ref().map(|folder| format!("pictures={}", folder.display())))
        .arg(format!("data={} {of_data}", home(&data)))
        .arg(format!("day={}?over=day {of_data}", home(&data)))
        .arg(format!("empty={} {of_empty}", home(&empty)))
        .arg(format!("failing={} {of_failing}", home(&failing)))
        .arg(format!("report=file://{}", report.display()))
        .arg(format!("evidence=file://{}", evidence.display()))
        .arg(format!("access={}access {of_data}", home(&data)))
        .arg(format!("many={}access {of_many}", home(&many)))
        .arg(format!("error={}errors/operation_not_allowed", home(&empty)))
        .arg(format!("enter={link}"));
    let looked = tokio::task::spawn_blocking(move || look.output().unwrap()).await.unwrap();
    let (out, err) =
        (String::from_utf8_lossy(&looked.stdout), String::from_utf8_lossy(&looked.stderr));
    assert!(looked.status.success(), "{out}\n{err}");
    for gateway in [&data, &unix] {
        assert_eq!(gateway.admin().get("/status").await.json()["cache"]["responses"], 0, "{out}");
    }
}
