//! Looks outside, as `check --online` does: are the credentials there, and does the upstream answer
//! with a certificate that is valid for its name? Nothing is sent to Pigello, and no value is shown.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use super::{parts, sources};
use crate::{config::settings::Settings, credentials, error::Chain, pipeline::upstream::Connector};

/// One look, and what was seen.
#[derive(Debug)]
pub struct Step {
    /// What was looked at: `credentials production`.
    pub what: String,
    /// What was found, or why it is not as it should be.
    pub found: Result<String, String>,
}

/// Looks at everything that the configuration names outside, one thing after the other.
pub async fn probe(settings: &Settings) -> Vec<Step> {
    let mut steps = Vec::new();
    for (name, set) in &settings.credentials {
        let found = match sources::settings(set, settings.vault.as_ref()) {
            Ok(source) => read(&source).await,
            Err(error) => Err(Chain(&error).to_string()),
        };
        steps.push(Step { what: format!("credentials {name}"), found });
    }
    for (name, profile) in &settings.profiles {
        let found = match parts::upstream_settings(profile, settings) {
            Ok(upstream) => dial(Connector::new(upstream)).await,
            Err(error) => Err(Chain(&error).to_string()),
        };
        steps.push(Step { what: format!("upstream {name}"), found });
    }
    let found = directory(&settings.audit.directory);
    steps.push(Step { what: "audit directory".to_owned(), found });
    steps
}

async fn read(settings: &credentials::Settings) -> Result<String, String> {
    match tokio::time::timeout(READ_LIMIT, credentials::load(settings)).await {
        Ok(Ok(set)) => Ok(format!("all seven values, version {}", set.version())),
        Ok(Err(error)) => Err(Chain(&error).to_string()),
        Err(_) => Err("the source did not answer in time".to_owned()),
    }
}

async fn dial(connector: Connector) -> Result<String, String> {
    let began = Instant::now();
    match connector.connect().await {
        Ok(stream) => {
            let millis = began.elapsed().as_millis();
            Ok(format!("{} in {millis} ms", stream.describe()))
        }
        Err(error) => Err(Chain(&error).to_string()),
    }
}

/// Whether the trail's folder is there, or could be made. Nothing is written.
fn directory(path: &Path) -> Result<String, String> {
    let nearest = path.ancestors().find(|folder| folder.exists());
    match (path.exists(), nearest) {
        (true, _) => fs::read_dir(path)
            .map(|_| format!("{} is there", path.display()))
            .map_err(|error| format!("{}: {error}", path.display())),
        (false, Some(parent)) => {
            Ok(format!("{} will be made in {}", path.display(), parent.display()))
        }
        (false, None) => Err(format!("{} cannot be made", path.display())),
    }
}

/// Longer than a source's own limit.
const READ_LIMIT: Duration = Duration::from_secs(20);
