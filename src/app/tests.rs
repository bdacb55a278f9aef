//! Every key of the configuration reaches the part it is for, and every default equals the part's
//! own.

use std::{fs, time::Duration};

use super::parts::trail_settings;
use crate::{
    audit::{self, Durability, ObjectIds, OnFailure},
    config,
    credentials::RefreshSettings,
    domain::{ByteSize, CredentialsName, Span},
    outbound::{CollectorSettings, ForwardProxySettings},
};

fn load(text: &str) -> config::Settings {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, text).unwrap();
    config::load(&[file], std::iter::empty()).unwrap().settings
}

fn refresh(settings: &config::Settings) -> RefreshSettings {
    settings.credentials[&CredentialsName::new("production")].refresh
}

const CREDENTIALS: &str = "[credentials.production]\nsource = \"directory\"\npath = \"/secrets\"\n";

#[test]
fn a_configuration_that_says_nothing_leaves_each_part_its_own_defaults() {
    let settings = load(CREDENTIALS);
    let directory = &settings.audit.directory;
    let configuration = Some(settings.revision.hash());
    let expected = audit::Settings { configuration, ..audit::Settings::new(directory) };
    assert_eq!(trail_settings(&settings), expected);
    assert_eq!(refresh(&settings), RefreshSettings::default());
}

#[test]
fn every_key_of_the_trail_reaches_the_trail() {
    let settings = load(
        r#"
        [audit]
        directory = "/trail"
        durability = "synced"
        on_failure = "continue"
        segment_bytes = "64MiB"
        compress_after = "0s"
        retain_for = "9000h"
        retain_bytes = "50GiB"
        checkpoint_records = 1000
        checkpoint_interval = "10s"
        signing_key = "/keys/signing.pem"
        object_ids = "hashed"
        object_key = "/keys/objects"
        group = "auditors"

        [telemetry]
        otlp_endpoint = "http://127.0.0.1:4318"
        otlp_ca_file = "/keys/collector.pem"
        otlp_headers_file = "/keys/collector-headers"
        "#,
    );
    let expected = audit::Settings {
        durability: Durability::Synced,
        on_failure: OnFailure::Continue,
        segment_bytes: ByteSize::mebi(64),
        compress_after: Some(Span::from_secs(0)),
        retain_for: Some(Span::from_secs(9000 * 3600)),
        retain_bytes: Some(ByteSize::mebi(50 * 1024)),
        checkpoint_records: 1000,
        checkpoint_interval: Span::from_secs(10),
        signing_key: Some("/keys/signing.pem".into()),
        group: Some("auditors".to_owned()),
        export_to: Some(CollectorSettings {
            endpoint: "http://127.0.0.1:4318".parse().unwrap(),
            ca_file: Some("/keys/collector.pem".into()),
            headers_file: Some("/keys/collector-headers".into()),
            proxy: ForwardProxySettings::default(),
        }),
        object_ids: ObjectIds::Hashed,
        object_key: Some("/keys/objects".into()),
        configuration: Some(settings.revision.hash()),
        ..audit::Settings::new("/trail")
    };
    assert_eq!(trail_settings(&settings), expected);
}

#[test]
fn every_key_of_a_credential_sets_life_reaches_its_keeper() {
    let keys = "refresh = \"7s\"\nmax_stale = \"11m\"\nwithdrawal_grace = \"13s\"\n\
                rejection_limit = \"17s\"\noverlap = \"19s\"\n";
    let expected = RefreshSettings {
        interval: Duration::from_secs(7),
        max_stale: Some(Duration::from_mins(11)),
        withdrawal_grace: Duration::from_secs(13),
        rejection_limit: Duration::from_secs(17),
        overlap: Duration::from_secs(19),
        ..RefreshSettings::default()
    };
    assert_eq!(refresh(&load(&[CREDENTIALS, keys].concat())), expected);
}
