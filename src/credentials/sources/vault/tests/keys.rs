//! Keys that the members of a fleet share, in a real OpenBao.

use std::{sync::Arc, time::Duration};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use http::Method;
use serde_json::json;
use tokio::time;
use tokio_util::sync::CancellationToken;

use super::{server::Server, token};
use crate::{
    credentials::{KeyPlace, KeyReadError, KeySettings, Sources, keep_key, read_key, rotate_key},
    domain::ProfileName,
    error::Chain,
    fleet::{Key, KeyRing, Keys},
};

fn settings(server: &Server) -> KeySettings {
    let secret = Box::new(server.settings(token(server)));
    let place = KeyPlace::Vault { secret, field: "key".to_owned() };
    KeySettings { place, refresh: Duration::from_millis(500) }
}

async fn write(server: &Server, byte: u8) {
    let key = BASE64_STANDARD.encode([byte; 32]);
    server.post("secret/data/pigello", json!({ "data": { "key": key } })).await;
}

fn ids(keys: &Keys) -> Vec<u32> {
    keys.all().map(Key::id).collect()
}

fn text(error: &KeyReadError) -> String {
    Chain(error).to_string()
}

#[tokio::test]
async fn the_newest_version_and_the_one_before_are_read() {
    let Some(server) = Server::start().await else { return };
    let (settings, sources) = (settings(&server), Sources::default());
    let absent = read_key(&settings, &sources).await.unwrap_err();
    assert_eq!(text(&absent), "the vault holds nothing at secret/pigello");
    write(&server, 1).await;
    let keys = read_key(&settings, &sources).await.unwrap();
    assert_eq!((ids(&keys), keys.sealing().unwrap().id()), (vec![1], 1));
    write(&server, 2).await;
    write(&server, 3).await;
    let slow = KeySettings { refresh: Duration::from_mins(1), ..settings.clone() };
    let keys = read_key(&slow, &sources).await.unwrap();
    assert_eq!((ids(&keys), keys.sealing().unwrap().id()), (vec![3, 2], 2), "it is new");
    // The vault tells how old it is.
    time::sleep(Duration::from_millis(2100)).await;
    let keys = read_key(&settings, &sources).await.unwrap();
    assert_eq!((ids(&keys), keys.sealing().unwrap().id()), (vec![3, 2], 3));
    // However often it is read, the time of the one before is over.
    let in_use: Vec<_> = keys.in_use(Duration::from_millis(50)).map(Key::id).collect();
    assert_eq!(in_use, [3]);
    server.post("secret/destroy/pigello", json!({ "versions": [2] })).await;
    assert_eq!(ids(&read_key(&settings, &sources).await.unwrap()), [3]);
    server.post("secret/data/pigello", json!({ "data": { "key": "made-up" } })).await;
    let wrong = read_key(&settings, &sources).await.unwrap_err();
    assert_eq!(text(&wrong), "the field `key` of secret/pigello is not 32 bytes in Base64");
}

#[tokio::test]
async fn a_key_is_rotated_by_its_next_version_and_the_old_ones_may_be_destroyed() {
    let Some(server) = Server::start().await else { return };
    let (settings, sources) = (settings(&server), Sources::default());
    for version in 1..=2 {
        assert_eq!(rotate_key(&settings, &sources, false).await.unwrap(), version);
    }
    assert_eq!(ids(&read_key(&settings, &sources).await.unwrap()), [2, 1]);
    assert_eq!(rotate_key(&settings, &sources, true).await.unwrap(), 3);
    assert_eq!(ids(&read_key(&settings, &sources).await.unwrap()), [3]);
    let versions = server.tool(&["kv", "metadata", "get", "-mount=secret", "pigello"]);
    let destroyed = versions.lines().filter(|line| line.starts_with("destroyed"));
    let destroyed: Vec<_> = destroyed.map(|line| line.ends_with("true")).collect();
    assert_eq!(destroyed, [true, true, false], "{versions}");
    let more = json!({ "data": { "key": BASE64_STANDARD.encode([1; 32]), "other": "made-up" } });
    server.post("secret/data/pigello", more).await;
    let refused = rotate_key(&settings, &sources, false).await.unwrap_err();
    assert!(text(&refused).contains("has other fields"), "{refused}");
    let file = KeySettings { place: KeyPlace::File("/made/up".into()), ..settings };
    let refused = rotate_key(&file, &sources, false).await.unwrap_err();
    assert_eq!(text(&refused), "the key is in a file, and not in a vault");
}

#[tokio::test]
async fn a_ring_follows_its_vault_and_is_empty_when_the_key_is_gone() {
    let Some(server) = Server::start().await else { return };
    let (ring, stop) = (KeyRing::new(), CancellationToken::new());
    let kept = keep_key(settings(&server), Sources::default(), Arc::clone(&ring), stop.clone());
    let kept = tokio::spawn(kept);
    write(&server, 1).await;
    ring.filled().await;
    server.call(Method::DELETE, "secret/data/pigello", None).await;
    ring.emptied().await;
    assert_eq!(ring.error().as_deref(), Some("secret/pigello is deleted in the vault"));
    write(&server, 2).await;
    ring.filled().await;
    stop.cancel();
    kept.await.unwrap();
}

#[test]
fn each_member_of_a_template_has_a_key_of_its_own() {
    let file = |path: &str| KeySettings {
        place: KeyPlace::File(path.into()),
        refresh: Duration::from_mins(1),
    };
    let member = file("/keys/{profile}").for_member(&ProfileName::new("acme"));
    assert_eq!(member, file("/keys/acme"));
}
