//! The files that a configuration names, and who else may write or read them.
//!
//! A file of trusted roots needs a certificate that can be one; others in it are told. Of a revocation list that
//! has ended, or ends soon, the operator is warned.
//!
//! A pipe or a device may never answer, so a configuration that names one is refused.
//!
//! What others may write, they decide: such a configuration is refused. Of a secret that others may read,
//! the operator is warned. [`crate::process::files`] says who others are.

use std::path::{Path, PathBuf};

use jiff::Timestamp;

use super::{
    key::KeyPath,
    problem::{Location, Problem},
    read::Locations,
    settings::Settings,
    types::Vault,
};
use crate::{
    audit,
    credentials::{self, Keep, KeyPlace, SourceSettings, ValueName},
    error::Chain,
    fleet::StoreSettings,
    outbound::{
        CertificateFile, CertificateUse, Nearness, Roots, RootsError, Until, authorities_end,
        chain_end, list_ends,
    },
    process::files::{self, PrivateFileError},
    proxy::server::TlsFiles,
};

/// A file or folder that a key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedFile {
    /// Its path.
    pub path: PathBuf,
    /// The key.
    pub key: KeyPath,
    /// What it is for.
    pub role: FileRole,
}

/// What a file is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileRole {
    /// A file to read, which anybody may read.
    Public,
    /// A chain of certificates in PEM, which anybody may read.
    Chain,
    /// Trusted roots in PEM, which anybody may read.
    Roots,
    /// Revocation lists in PEM, which anybody may read.
    RevocationLists,
    /// A file to read, which only the gateway should read.
    Secret,
    /// A file to read, which is not used if others can read it.
    Closed,
    /// A file to read, which must be no link and closed to everybody but its owner, or a Secret that Kubernetes
    /// mounts.
    Private,
    /// A file that the gateway makes if it is not there, and that only the gateway should read.
    OwnSecret,
    /// A folder that the gateway writes.
    OwnFolder,
}

/// What was found, by severity.
#[derive(Debug, Default)]
pub(super) struct FileFindings {
    pub(super) problems: Vec<Problem>,
    pub(super) warnings: Vec<Problem>,
}

/// Looks at the configuration's own files, and at those that it names. What is not there is no finding.
pub(super) fn examine(own: &[PathBuf], settings: &Settings, locations: &Locations) -> FileFindings {
    let mut findings = FileFindings::default();
    for path in own {
        if let Err(error) = files::keep_writers_out(path) {
            let location = Location::File { path: path.as_path().into(), line: None, column: None };
            let problem = Problem::new(location, KeyPath::root(), error.to_string());
            findings.problems.push(problem.hint(error.hint()));
        }
    }
    for file in settings.files() {
        let at = |message: String| Problem::new(locations.of(&file.key), file.key.clone(), message);
        if file.role != FileRole::Private
            && let Err(error) = files::keep_to_regular(&file.path)
        {
            let path = file.path.display();
            findings.problems.push(at(format!("{path}: {error}")).hint("put a file in its place"));
            continue;
        }
        let writers = match file.role {
            FileRole::OwnFolder => files::keep_writers_out_of_folder(&file.path),
            FileRole::Public
            | FileRole::Chain
            | FileRole::Roots
            | FileRole::RevocationLists
            | FileRole::Secret
            | FileRole::Closed
            | FileRole::OwnSecret => files::keep_writers_out(&file.path),
            // It is judged as a whole, below.
            FileRole::Private => Ok(()),
        };
        if let Err(error) = writers {
            let hint = match file.role {
                FileRole::OwnFolder => format!(
                    "{}, or name a folder in it: the gateway makes it for itself",
                    error.hint()
                ),
                _ => error.hint(),
            };
            findings.problems.push(at(error.to_string()).hint(hint));
        }
        if matches!(file.role, FileRole::Secret | FileRole::OwnSecret | FileRole::Closed)
            && let Err(error) = files::keep_readers_out(&file.path)
        {
            let finding = at(error.to_string()).hint(error.hint());
            match file.role {
                FileRole::Closed => findings.problems.push(finding),
                _ => findings.warnings.push(finding),
            }
        }
        if file.role == FileRole::Private {
            match files::open_private(&file.path) {
                // A file that cannot be read here may be readable where the gateway runs.
                Ok(_) | Err(PrivateFileError::Unreadable { .. }) => {}
                Err(error) => {
                    let problem = at(error.to_string());
                    findings.problems.push(match error.hint() {
                        Some(hint) => problem.hint(hint),
                        None => problem,
                    });
                }
            }
        }
        match file.role {
            FileRole::Chain => ends(&file, chain_end, at, &mut findings),
            FileRole::Roots => {
                roots(&file, &at, &mut findings);
                ends(&file, authorities_end, at, &mut findings);
            }
            FileRole::RevocationLists => revocation_lists(&file, at, &mut findings),
            _ => {}
        }
    }
    findings
}

/// Looks into a file of trusted roots. One that cannot be read here may be readable where the gateway runs.
fn roots(file: &NamedFile, at: &impl Fn(String) -> Problem, findings: &mut FileFindings) {
    match Roots::read(&file.path) {
        Ok(roots) => findings.warnings.extend(roots.left_out.iter().map(|left_out| {
            let path = file.path.display();
            at(format!("{path}: {left_out}")).hint("the others are used; replace or remove it")
        })),
        Err(error @ RootsError::None { .. }) => findings.problems.push(
            at(error.to_string())
                .hint("put PEM certificates into it: `-----BEGIN CERTIFICATE-----`"),
        ),
        Err(RootsError::Read { .. }) => {}
    }
}

/// Looks at the end of certificates.
fn ends(
    file: &NamedFile,
    end: impl Fn(&[u8]) -> Option<Timestamp>,
    at: impl Fn(String) -> Problem,
    findings: &mut FileFindings,
) {
    let not_after = files::read_named(&file.path).ok().and_then(|pem| end(&pem));
    let (Some(not_after), now) = (not_after, Timestamp::now()) else { return };
    if Nearness::of(not_after, now) < Nearness::Far {
        let (path, until) = (file.path.display(), Until { not_after, now });
        let warning = at(format!("{path}: {until}"));
        findings
            .warnings
            .push(warning.hint("renew it; the gateway reads the file again by itself"));
    }
}

/// The same for revocation lists.
fn revocation_lists(file: &NamedFile, at: impl Fn(String) -> Problem, findings: &mut FileFindings) {
    let Ok(pem) = files::read_named(&file.path) else { return };
    let path = file.path.display();
    match list_ends(&pem) {
        Ok(ends) => findings.warnings.extend(ends.iter().filter_map(|end| {
            let found = end.finding(Timestamp::now())?;
            Some(at(format!("{path}: {found}")).hint("fetch its successor"))
        })),
        Err(error) => findings
            .problems
            .push(at(format!("{path} cannot be used: {}", Chain(&error))).hint(REVOCATION_LISTS)),
    }
}

/// What to do about a file that should hold revocation lists.
const REVOCATION_LISTS: &str = "put version 2 revocation lists in PEM into it, `-----BEGIN X509 CRL-----`: `openssl \
                                crl -inform DER -in OLD -out NEW` makes one of a list in DER";

impl Settings {
    /// All files and folders that the keys name.
    pub fn files(&self) -> Vec<NamedFile> {
        let mut all = Vec::new();
        let mut add = |path: &Path, key: KeyPath, role: FileRole| {
            all.push(NamedFile { path: path.to_owned(), key, role });
        };
        let root = KeyPath::root();
        for (at, listener) in self.listeners.iter().enumerate() {
            if let Some(tls) = &listener.tls {
                of_tls(tls, &root.key("listeners").index(at).key("tls"), &mut add);
            }
        }
        if let Some(tls) = self.metrics.as_ref().and_then(|metrics| metrics.tls.as_ref()) {
            of_tls(tls, &root.key("metrics").key("tls"), &mut add);
        }
        if let Some(webhook) = &self.notices.webhook {
            let table = root.key("notices").key("webhook");
            add(&webhook.tokens_file, table.key("tokens_file"), FileRole::Private);
            if let Some(tls) = webhook.tls() {
                of_tls(&tls, &table, &mut add);
            }
        }
        if let Some(path) = &self.admin_tokens {
            add(path, root.key("admin").key("token_file"), FileRole::Private);
        }
        for (name, profile) in &self.profiles {
            for (path, key, role) in [
                (&profile.ca_file, "ca_file", FileRole::Roots),
                (&profile.crl_file, "crl_file", FileRole::RevocationLists),
                (&profile.proxy_authorization_file, "proxy_authorization_file", FileRole::Closed),
            ] {
                if let Some(path) = path {
                    add(path, root.key("profiles").key(name.as_str()).key(key), role);
                }
            }
        }
        let fleet_key = self.fleet_key.iter().map(|key| (root.key("fleet").key("key"), key));
        let cache_keys = self
            .cache_keys
            .iter()
            .map(|(name, key)| (root.key("profiles").key(name.as_str()).key("cache_key"), key));
        for (key, settings) in fleet_key.chain(cache_keys) {
            if let KeyPlace::File(path) = &settings.place {
                add(path, key.key("path"), FileRole::Closed);
            }
        }
        for set in self.credentials.values() {
            of_credentials(set, &mut add);
        }
        if let Some(fleet) = &self.fleet {
            of_store(&fleet.store, &mut add);
        }
        if let Some(settings) = &self.vault {
            of_vault(settings, &mut add);
        }
        if let Some(path) = &self.telemetry.proxy_authorization_file {
            add(path, root.key("telemetry").key("proxy_authorization_file"), FileRole::Closed);
        }
        of_trail(&self.audit, &mut add);
        let table = root.key("telemetry");
        if let Some(path) = &self.telemetry.otlp_ca_file {
            add(path, table.key("otlp_ca_file"), FileRole::Roots);
        }
        if let Some(path) = &self.telemetry.otlp_headers_file {
            add(path, table.key("otlp_headers_file"), FileRole::Secret);
        }
        all
    }
}

impl Settings {
    /// The files of certificates, to know when they end.
    pub fn certificates(&self) -> Vec<CertificateFile> {
        let mut all = Vec::new();
        let mut add = |usage, name: &str, path: Option<&Path>| {
            all.extend(path.map(|path| CertificateFile::new(usage, name, path)));
        };
        let listeners = self.listeners.iter().map(|it| (it.name.as_str(), it.tls.clone()));
        let metrics = self.metrics.iter().map(|it| ("metrics", it.tls.clone()));
        let webhook = self.notices.webhook.iter().map(|it| ("webhook", it.tls()));
        for (name, tls) in listeners.chain(metrics).chain(webhook) {
            let Some(tls) = tls else { continue };
            add(CertificateUse::Listener, name, Some(&tls.certificate));
            add(CertificateUse::ClientCa, name, tls.client_ca.as_deref());
        }
        for (name, profile) in &self.profiles {
            add(CertificateUse::UpstreamCa, name.as_str(), profile.ca_file.as_deref());
        }
        for (name, set) in &self.credentials {
            let SourceSettings::Vault(vault) = &set.source else { continue };
            add(CertificateUse::VaultCa, name.as_str(), vault.server.ca_file().as_deref());
            let own = vault.server.client_certificate().map(|own| own.certificate);
            add(CertificateUse::VaultClient, name.as_str(), own.as_deref());
        }
        if let Some(fleet) = &self.fleet {
            add(CertificateUse::StoreCa, "fleet", fleet.store.ca_file.as_deref());
            add(CertificateUse::StoreClient, "fleet", fleet.store.certificate.as_deref());
        }
        let collector = self.telemetry.otlp_ca_file.as_deref();
        add(CertificateUse::CollectorCa, "collector", collector);
        all
    }
}

fn of_tls(tls: &TlsFiles, table: &KeyPath, add: &mut impl FnMut(&Path, KeyPath, FileRole)) {
    add(&tls.certificate, table.key("certificate"), FileRole::Chain);
    add(&tls.private_key, table.key("private_key"), FileRole::Secret);
    if let Some(path) = &tls.client_ca {
        add(path, table.key("client_ca"), FileRole::Roots);
    }
    for path in &tls.client_crl {
        add(path, table.key("client_crl"), FileRole::RevocationLists);
    }
}

fn of_credentials(set: &credentials::Settings, add: &mut impl FnMut(&Path, KeyPath, FileRole)) {
    let key = |key: &str| KeyPath::root().key("credentials").key(set.name.as_str()).key(key);
    match &set.source {
        SourceSettings::Directory { path } => {
            let folder = credentials::expanded(path);
            add(&folder, key("path"), FileRole::Public);
            for name in ValueName::ALL {
                let value = folder.join(name.key());
                let role = if name.is_secret() { FileRole::Secret } else { FileRole::Public };
                // Reading the set reports those that are missing.
                if value.exists() {
                    add(&value, key("path"), role);
                }
            }
        }
        SourceSettings::Sealed { file, key_file } => {
            add(file, key("file"), FileRole::Public);
            add(key_file, key("key_file"), FileRole::Secret);
        }
        SourceSettings::Environment { .. } | SourceSettings::Vault(_) => {}
    }
    if let Some(Keep { file, key_file }) = &set.keep {
        add(file, key("keep"), FileRole::OwnSecret);
        add(key_file, key("key_file"), FileRole::OwnSecret);
    }
}

fn of_vault(vault: &Vault, add: &mut impl FnMut(&Path, KeyPath, FileRole)) {
    let table = KeyPath::root().key("vault");
    let auth = vault.auth.as_ref();
    let login = table.key("auth");
    for (path, key, role) in [
        (&vault.ca_file, table.key("ca_file"), FileRole::Roots),
        (&vault.crl_file, table.key("crl_file"), FileRole::RevocationLists),
        (&vault.proxy_authorization_file, table.key("proxy_authorization_file"), FileRole::Closed),
        (&vault.certificate, table.key("certificate"), FileRole::Chain),
        (&vault.private_key, table.key("private_key"), FileRole::Secret),
        (auth.map_or(&None, |auth| &auth.token_file), login.key("token_file"), FileRole::Secret),
        (
            auth.map_or(&None, |auth| &auth.secret_id_file),
            login.key("secret_id_file"),
            FileRole::Secret,
        ),
        // A token of Kubernetes may be read by everyone in its container.
        (auth.map_or(&None, |auth| &auth.jwt_file), login.key("jwt_file"), FileRole::Public),
    ] {
        if let Some(path) = path {
            add(path, key, role);
        }
    }
}

fn of_store(store: &StoreSettings, add: &mut impl FnMut(&Path, KeyPath, FileRole)) {
    let table = KeyPath::root().key("fleet").key("store");
    for (path, key, role) in [
        (&store.password_file, "password_file", FileRole::Closed),
        (&store.sentinel_password_file, "sentinel_password_file", FileRole::Closed),
        (&store.ca_file, "ca_file", FileRole::Roots),
        (&store.certificate, "certificate", FileRole::Chain),
        (&store.private_key, "private_key", FileRole::Secret),
    ] {
        if let Some(path) = path {
            add(path, table.key(key), role);
        }
    }
}

fn of_trail(audit: &audit::Settings, add: &mut impl FnMut(&Path, KeyPath, FileRole)) {
    let table = KeyPath::root().key("audit");
    add(&audit.directory, table.key("directory"), FileRole::OwnFolder);
    add(&audit.signing_key_path(), table.key("signing_key"), FileRole::OwnSecret);
    add(&audit.object_key_path(), table.key("object_key"), FileRole::OwnSecret);
}
