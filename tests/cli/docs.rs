//! The manual says what the code says: pages that are made from it are as it makes them.
//!
//! `UPDATE_EXPECTED=1` writes them anew.

use std::{collections::BTreeSet, env, fs, path::PathBuf};

use pigello_gateway::{
    config,
    telemetry::{METRICS, metrics_page},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn is_as_made(path: &str, made: &str) {
    let path = root().join(path);
    if env::var_os("UPDATE_EXPECTED").is_some() {
        fs::write(&path, made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    assert!(there == made, "{} is not what the code makes; set UPDATE_EXPECTED=1", path.display());
}

#[test]
fn the_page_of_metrics_is_made_from_the_table() {
    is_as_made("docs/metrics.md", &metrics_page());
}

#[test]
fn the_page_of_the_configuration_is_made_from_the_schema() {
    is_as_made("docs/configuration.md", &config::manual());
}

/// Names of metrics in a text: `pigello_gateway_` and what follows.
fn named(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split("pigello_gateway_")
        .skip(1)
        .map(|rest| rest.chars().take_while(|letter| is_name(*letter)).collect())
        .collect()
}

#[test]
fn dashboards_and_alerts_use_only_metrics_that_exist() {
    for file in ["deploy/grafana/dashboard.json", "deploy/prometheus/alerts.yaml"] {
        let names = named(&fs::read_to_string(root().join(file)).unwrap());
        assert!(!names.is_empty(), "{file}");
        for name in names {
            let plain = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(&name);
            let known = METRICS.iter().any(|metric| metric.name == plain || metric.name == name);
            assert!(known, "{file}: there is no metric {name}");
        }
    }
}

#[test]
fn the_configuration_in_every_recipe_loads() {
    for file in [
        "deploy/compose/gateway.toml",
        "deploy/systemd/gateway.toml",
        "deploy/kubernetes/sidecar/gateway.toml",
        "deploy/kubernetes/shared/gateway.toml",
    ] {
        let loaded = config::load(&[root().join(file)], std::iter::empty());
        let loaded = loaded.and_then(config::Loaded::for_serving);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        // On a laptop the container's address is open, and published on loopback alone.
        let meant =
            |warning: &&String| file.contains("compose") && warning.contains("allow_remote");
        let unexpected: Vec<_> = warnings.iter().filter(|warning| !meant(warning)).collect();
        assert!(unexpected.is_empty(), "{file}: {unexpected:?}");
    }
}
