//! Tests the files and folders that a configuration names: existence and permissions.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

use super::Step;
use crate::{
    config::{
        Loaded,
        settings::{CredentialsSettings, SourceSettings, VaultLogin, VaultSettings},
    },
    credentials::ValueName,
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

fn credentials(set: &CredentialsSettings, file: &mut impl FnMut(&Path, String, bool)) {
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
        SourceSettings::Environment { .. } | SourceSettings::Vault { .. } => {}
    }
}

fn vault(settings: &VaultSettings, file: &mut impl FnMut(&Path, String, bool)) {
    if let Some(path) = &settings.ca_file {
        file(path, "vault.ca_file".to_owned(), false);
    }
    if let Some((certificate, private_key)) = &settings.client_certificate {
        file(certificate, "vault.certificate".to_owned(), false);
        file(private_key, "vault.private_key".to_owned(), true);
    }
    match settings.auth.as_ref().map(|auth| &auth.method) {
        Some(VaultLogin::Token { file: path }) => {
            file(path, "vault.auth.token_file".to_owned(), true);
        }
        Some(VaultLogin::AppRole { secret_id_file, .. }) => {
            file(secret_id_file, "vault.auth.secret_id_file".to_owned(), true);
        }
        // A Kubernetes service account token is readable by every user in its container.
        Some(VaultLogin::Kubernetes { jwt_file, .. } | VaultLogin::Jwt { jwt_file, .. }) => {
            file(jwt_file, "vault.auth.jwt_file".to_owned(), false);
        }
        Some(VaultLogin::Cert { .. }) | None => {}
    }
}
