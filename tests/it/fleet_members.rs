//! Who is in a fleet: the records of gateways in a real Valkey, and what is made of them.

use std::{
    fs::File,
    time::{Duration, SystemTime},
};

use pigello_gateway::credentials::ValueName;
use serde_json::{Value, json};

use crate::{
    fleet_bus::{Fleet, KEY, OTHER_KEY, Pigello, command, member, until},
    support::{Gateway, Setup, Store},
};

/// The members as a gateway lists them, once there are so many.
async fn until_members(gateway: &Gateway, count: usize) -> Value {
    loop {
        let answer = gateway.admin().get("/fleet").await;
        if answer.status == 200 {
            let fleet = answer.json();
            if fleet["members"].as_array().unwrap().len() == count {
                return fleet;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// The raw records.
async fn records(store: &Store) -> Vec<Vec<u8>> {
    store.ask(redis::cmd("ZRANGE").arg(&["pgw:{test}:members", "0", "-1"])).await
}

#[tokio::test(flavor = "multi_thread")]
async fn every_member_says_what_it_runs_and_one_that_ends_is_gone() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, store, .. } = fleet;
    let listed = until_members(&one, 2).await;
    assert_eq!((&listed["name"], &listed["unreadable"]), (&json!("test"), &json!(0)));
    let status = one.admin().get("/status").await.json();
    let members = listed["members"].as_array().unwrap();
    for (member, (name, is_self)) in members.iter().zip([("one", true), ("two", false)]) {
        assert_eq!(member["instance"], name, "{member}");
        assert_eq!(member["is_self"], is_self);
        assert_eq!(member["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(member["event_log"], "off");
        assert!(member["seen_seconds"].as_u64().unwrap() < 30);
        let used = &member["credentials"][0];
        assert_eq!((&used["profile"], &used["set"]), (&json!("test"), &json!("test")));
        assert!(used["version"].is_string(), "{used}");
    }
    assert_eq!(members[0]["configuration"], status["configuration"]["policy"]);
    assert_ne!(members[0]["process"], members[1]["process"]);
    until(&one, |fleet| fleet["members"] == 2 || fleet["members"] == 1).await;
    let metrics = two.admin().get("/metrics").await;
    let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
    assert!(metrics.contains("pigello_gateway_fleet_members 2"), "{metrics}");
    // Whoever runs the store learns none of it.
    let all = records(&store).await;
    assert_eq!(all.len(), 2);
    for canary in ["instance", "one", "test", "credentials"] {
        let is_clear =
            |record: &Vec<u8>| record.windows(canary.len()).any(|part| part == canary.as_bytes());
        assert!(canary.len() < 4 || !all.iter().any(is_clear), "{canary}");
    }
    two.stop().await;
    assert_eq!(records(&store).await.len(), 1);
    let listed = until_members(&one, 1).await;
    assert_eq!(listed["members"][0]["instance"], "one");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_read_counts_and_what_is_old_does_not() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, store, .. } = &fleet;
    until_members(one, 2).await;
    let (_, address) = Pigello::start().await;
    let key = store.secret("other-key", OTHER_KEY);
    let stranger = Setup::plain(&format!("http://{address}")).with(&member(store, &key));
    let stranger = stranger.start().await;
    until(&stranger, |fleet| fleet["members"] == 3).await;
    let listed = loop {
        let listed = until_members(one, 2).await;
        if listed["unreadable"] == 1 {
            break listed;
        }
    };
    assert_eq!(listed["members"].as_array().unwrap().len(), 2);
    assert_eq!(until_members(&stranger, 1).await["unreadable"], 2);
    // Records of a day ago are of members that are gone, and so many now take more than one page.
    let (seconds, _): (u64, u64) = store.ask(&redis::cmd("TIME")).await;
    for (at, count) in [(seconds - 86_400, 50_u64), (seconds, 250)] {
        let mut add = redis::cmd("ZADD");
        add.arg("pgw:{test}:members");
        for number in 0..count {
            add.arg(at * 1_000_000 + number).arg(format!("made up {at} {number}"));
        }
        let () = store.ask(&add).await;
    }
    while until_members(one, 2).await["unreadable"] != 251 {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_without_a_store_or_a_fleet_says_so() {
    let (_, address) = Pigello::start().await;
    let alone = Setup::plain(&format!("http://{address}")).start().await;
    assert_eq!(alone.admin().get("/fleet").await.status, 404);
    let Some(mut store) = Store::valkey(&[]) else { return };
    let key = store.secret("key", KEY);
    let gateway = Setup::plain(&format!("http://{address}")).with(&member(&store, &key));
    let gateway = gateway.start().await;
    until_members(&gateway, 1).await;
    store.kill();
    until(&gateway, |fleet| fleet["connected"] == false).await;
    while gateway.admin().get("/fleet").await.status != 503 {}
    assert_eq!(until(&gateway, |_| true).await["members"], 0);
    store.start_again();
    until_members(&gateway, 1).await;
}

/// Gives a gateway another secret. The date of the file is the version.
async fn rotate(gateway: &Gateway, secret: &str, date: SystemTime) {
    let path = gateway.path("credentials").join(ValueName::ClientSecret.key());
    std::fs::write(&path, secret).unwrap();
    File::options().write(true).open(path).unwrap().set_modified(date).unwrap();
    gateway.reread().await.unwrap();
}

/// The version that a gateway uses.
async fn version(gateway: &Gateway) -> String {
    let status = gateway.admin().get("/status").await.json();
    status["credentials"][0]["version"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_is_over_when_every_member_uses_the_new_version() {
    let Some(fleet) = Fleet::start().await else { return };
    let Fleet { one, two, store, .. } = &fleet;
    until_members(one, 2).await;
    let (secret, date) = ("made-up-secret-after-the-rotation", SystemTime::now());
    let date = date + Duration::from_mins(1);
    rotate(one, secret, date).await;
    let new = version(one).await;
    assert_ne!(version(two).await, new);
    let wait = |more: &'static [&'static str]| {
        let new = new.clone();
        async move {
            let arguments = ["wait", "--version", &new].into_iter().chain(more.iter().copied());
            command(one, &arguments.collect::<Vec<_>>()).await
        }
    };
    let (_, failed) = wait(&["--timeout", "2s"]).await;
    assert!(failed, "the other one uses the old version");
    let listed = loop {
        let listed = until_members(one, 2).await;
        if listed["members"][0]["credentials"][0]["version"] == new {
            break listed;
        }
    };
    // Their files have other paths.
    assert_eq!(listed["members"][0]["differs"], json!(["configuration", "credentials"]));
    let (told, _) = command(two, &["status"]).await;
    assert!(told.contains("members      2\n") && told.contains("≠ test "), "{told}");
    let page = two.admin().get("/fleet/members?q=ON").await;
    let page = String::from_utf8_lossy(&page.body).into_owned();
    assert!(page.contains("2 members, 2 of them differ") && page.contains(">one"), "{page}");
    assert!(!page.contains("(this one)"), "it was not searched for");

    rotate(two, secret, date).await;
    for more in [&["--set", "test"][..], &["--profile", "test", "--members", "2"], &[]] {
        let (told, failed) = wait(more).await;
        assert_eq!((told, failed), (format!("all of 2 members use {new}\n"), false), "{more:?}");
    }
    assert_eq!(until_members(one, 2).await["members"][1]["differs"], json!(["configuration"]));
    for more in [
        &["--set", "absent", "--timeout", "0s"][..],
        &["--profile", "absent", "--timeout", "0s"],
        &["--members", "3", "--timeout", "0s"],
    ] {
        assert!(wait(more).await.1, "{more:?}");
    }
    let (told, failed) = command(one, &["status", "--json"]).await;
    let told: Value = serde_json::from_str(&told).unwrap();
    assert!(!failed && told["members"].as_array().unwrap().len() == 2 && told["unreadable"] == 0);
    // One with another key is there, and nobody knows what it uses.
    let (_, address) = Pigello::start().await;
    let key = store.secret("other-key", OTHER_KEY);
    let stranger = Setup::plain(&format!("http://{address}")).with(&member(store, &key));
    let stranger = stranger.start().await;
    until(&stranger, |fleet| fleet["members"] == 3).await;
    while until_members(one, 2).await["unreadable"] != 1 {}
    assert!(wait(&["--timeout", "3s"]).await.1);
    stranger.stop().await;
    assert!(!wait(&[]).await.1);
}
