//! A canary through every source and every failure, with the log at its most talkative: neither
//! the log, nor an error, nor a status, nor a `Debug` shows it, in any of the forms it could take.

use std::{fs, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use tempfile::TempDir;

use crate::{
    credentials::{
        CredentialManager, CredentialVerdict, Identifiers, RefreshSettings, Settings,
        SourceSettings, Sources, ValueName, testing::Log,
    },
    domain::CredentialsName,
    error::Chain,
};

const CANARY: &str = "canary+made/up=\"7f3a";

/// The canary as it is, and as base64, hexadecimal, percent and JSON escapes would write it.
fn forms() -> Vec<String> {
    let hex: Vec<_> = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    let percent: Vec<_> = CANARY.bytes().map(|byte| format!("%{byte:02X}")).collect();
    vec![
        CANARY.to_owned(),
        BASE64_STANDARD.encode(CANARY),
        hex.concat(),
        percent.concat(),
        serde_json::to_string(CANARY).unwrap().trim_matches('"').to_owned(),
        // A piece of it that no escaping changes.
        "7f3a".to_owned(),
    ]
}

#[track_caller]
fn absent(text: &str) {
    for form in forms() {
        assert!(!text.contains(&form), "{form} in {text}");
    }
}

#[tokio::test]
async fn no_failure_of_a_source_shows_a_value() {
    let (log, _guard) = Log::listen();
    let root = TempDir::new().unwrap();
    let mut fixed = Identifiers::new();
    fixed.insert(ValueName::CustomerId, "another").unwrap();
    let manager = CredentialManager::new(
        Settings {
            name: CredentialsName::new("production"),
            source: SourceSettings::Directory { path: root.path().to_owned() },
            fixed,
            keep: None,
            refresh: RefreshSettings {
                quiet: Duration::from_millis(5),
                ..RefreshSettings::default()
            },
        },
        &Sources::default(),
    );
    let write = |text: &str| {
        for name in ValueName::ALL.into_iter().filter(|name| *name != ValueName::CustomerId) {
            fs::write(root.path().join(name.key()), text).unwrap();
        }
    };
    // Good, and every way of being bad.
    write(CANARY);
    manager.refresh().await.unwrap();
    let lease = manager.snapshot().unwrap();
    manager.report(&lease, CredentialVerdict::Accepted);
    for bad in
        [format!(" {CANARY}"), format!("{CANARY}\n{CANARY}"), format!("{CANARY}å"), String::new()]
    {
        write(&bad);
        let error = manager.refresh().await.unwrap_err();
        absent(&format!("{} {error:?}", Chain(error.as_ref())));
    }
    fs::write(root.path().join("customer_id"), CANARY).unwrap();
    let error = manager.refresh().await.unwrap_err();
    absent(&format!("{} {error:?}", Chain(error.as_ref())));
    manager.report(&lease, CredentialVerdict::Refused);
    let mut headers = http::HeaderMap::new();
    lease.write_to(&mut headers);
    let status = serde_json::to_string(&manager.status()).unwrap();
    absent(&format!("{manager:?} {lease:?} {headers:?} {status} {:?}", manager.settings()));
    let text = log.text();
    assert!(text.contains("credential set read"), "{text}");
    assert!(text.contains("credential source failed"), "{text}");
    absent(&text);
}
