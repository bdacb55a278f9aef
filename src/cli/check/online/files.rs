//! Tests the files and folders that a configuration names: existence and permissions.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::Step;
use crate::{
    config::{Loaded, types::Vault},
    credentials::{self, SourceSettings, ValueName},
};

/// One step for each file with a finding, or one for all.
pub(super) fn look(loaded: &Loaded) -> Vec<Step> {
    let named = named(loaded);
    let steps: Vec<_> = named.iter().filter_map(Named::look).collect();
    if steps.is_empty() {
        let found = format!("{} named, and nobody else may read what is secret", named.len());
        return vec![Step::good("files", found)];
    }
    steps
}

/// A file that a key names.
struct Named {
    path: PathBuf,
    /// The key.
    key: String,
    /// Whether only the owner should be able to read it.
    secret: bool,
}

impl Named {
    fn look(&self) -> Option<Step> {
        let path = self.path.display();
        let metadata = match fs::metadata(&self.path) {
            Ok(metadata) => metadata,
            Err(error) => {
                let step = Step::bad("files", format!("{path}: {}", why(&error)));
                return Some(step.advise(Some(format!("put it there, or change `{}`", self.key))));
            }
        };
        if let Err(error) = readable(&self.path, metadata.is_dir()) {
            let step = Step::bad("files", format!("{path}: {}", why(&error)));
            let hint = "let the user that runs the gateway read it, or check as that user";
            return Some(step.advise(Some(hint)));
        }
        let others = metadata.permissions().mode() & 0o077;
        if self.secret && others != 0 && metadata.is_file() {
            let mode = metadata.permissions().mode() & 0o7777;
            let found = format!("{path} may be read by others than its owner (mode {mode:04o})");
            return Some(Step::doubtful("files", found).advise(Some(format!("chmod 600 {path}"))));
        }
        None
    }
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => error.to_string(),
    }
}

fn readable(path: &Path, folder: bool) -> std::io::Result<()> {
    if folder { fs::read_dir(path).map(drop) } else { fs::File::open(path).map(drop) }
}

fn named(loaded: &Loaded) -> Vec<Named> {
    let mut all = Vec::new();
    let mut file = |path: &Path, key: String, secret: bool| {
        all.push(Named { path: path.to_owned(), key, secret });
    };
    let settings = &loaded.settings;
    for path in &loaded.files {
        file(path, "--config".to_owned(), false);
    }
    for listener in &settings.listeners {
        let Some(tls) = &listener.tls else { continue };
        let key = |name: &str| format!("listeners.tls.{name} of `{}`", listener.name);
        file(&tls.certificate, key("certificate"), false);
        file(&tls.private_key, key("private_key"), true);
        if let Some(path) = &tls.client_ca {
            file(path, key("client_ca"), false);
        }
        for path in &tls.client_crl {
            file(path, key("client_crl"), false);
        }
    }
    for (name, profile) in &settings.profiles {
        if let Some(path) = &profile.ca_file {
            file(path, format!("profiles.{name}.ca_file"), false);
        }
    }
    for set in settings.credentials.values() {
        credentials(set, &mut file);
    }
    if let Some(settings) = &settings.vault {
        vault(settings, &mut file);
    }
    all
}

fn credentials(set: &credentials::Settings, file: &mut impl FnMut(&Path, String, bool)) {
    let key = |key: &str| format!("credentials.{}.{key}", set.name);
    match &set.source {
        SourceSettings::Directory { path } => {
            file(path, key("path"), false);
            let secret = path.join(ValueName::ClientSecret.key());
            // A missing file is reported by the step that loads all seven.
            if secret.exists() {
                file(&secret, key("path"), true);
            }
        }
        SourceSettings::Sealed { file: store, key_file } => {
            file(store, key("file"), false);
            file(key_file, key("key_file"), true);
        }
        SourceSettings::Environment { .. } | SourceSettings::Vault(_) => {}
    }
}

fn vault(vault: &Vault, file: &mut impl FnMut(&Path, String, bool)) {
    let auth = vault.auth.as_ref();
    for (path, key, secret) in [
        (&vault.ca_file, "ca_file", false),
        (&vault.certificate, "certificate", false),
        (&vault.private_key, "private_key", true),
        (auth.map_or(&None, |auth| &auth.token_file), "auth.token_file", true),
        (auth.map_or(&None, |auth| &auth.secret_id_file), "auth.secret_id_file", true),
        // A token of Kubernetes may be read by everyone in its container.
        (auth.map_or(&None, |auth| &auth.jwt_file), "auth.jwt_file", false),
    ] {
        if let Some(path) = path {
            file(path, format!("vault.{key}"), secret);
        }
    }
}
