//! Tests the files and folders that a configuration names: they are there and can be read.

use std::{fs, path::Path};

use jiff::Timestamp;

use super::Step;
use crate::{
    admin::Tokens,
    audit,
    config::{FileRole, KeyPath, Loaded, NamedFile, Settings},
    error::Chain,
    outbound::{CertificateFile, CertificateUse, Nearness, Until, otlp::read_headers},
    process::{
        files::open_named,
        users::{group_id, may_give_to},
    },
    proxy::server::ServerTls,
};

/// One step for each file with a finding, or one for all.
pub(super) fn look(loaded: &Loaded) -> Vec<Step> {
    let own = loaded.files.iter().map(|path| NamedFile {
        path: path.clone(),
        key: KeyPath::root().key("--config"),
        role: FileRole::Public,
    });
    // The gateway makes its own files and folders.
    let is_needed = |file: &NamedFile| {
        matches!(
            file.role,
            FileRole::Public
                | FileRole::Chain
                | FileRole::Roots
                | FileRole::RevocationLists
                | FileRole::Secret
                | FileRole::Closed
                | FileRole::Private
        )
    };
    let named: Vec<_> = own.chain(loaded.settings.files()).filter(is_needed).collect();
    let steps: Vec<_> = named.iter().filter_map(look_at).collect();
    if steps.is_empty() {
        return vec![Step::good("files", format!("{} named, and all can be read", named.len()))];
    }
    steps
}

/// Whether each listener's certificates and key can be used, together.
pub(super) fn certificates(settings: &Settings) -> impl Iterator<Item = Step> {
    let listeners = settings.listeners.iter().map(|it| (it.name.to_string(), &it.tls));
    let metrics = settings.metrics.iter().map(|it| ("metrics".to_owned(), &it.tls));
    listeners.chain(metrics).filter_map(|(name, tls)| {
        let what = format!("certificate {name}");
        let tls = tls.clone()?;
        let file = CertificateFile::new(CertificateUse::Listener, &name, &tls.certificate);
        Some(match ServerTls::open(tls) {
            Ok(_) => until(what, &file).unwrap_or_else(|what| {
                Step::good(what, "and key belong together, and clients are checked as configured")
            }),
            Err(error) => Step::bad(what, Chain(&error).to_string()).advise(Some(error.remedy())),
        })
    })
}

/// Whether the other certificates are valid for some time. Nothing is said of those that are.
pub(super) fn other_certificates(settings: &Settings) -> Vec<Step> {
    let files = settings.certificates();
    let others = files.iter().filter(|file| file.usage != CertificateUse::Listener);
    let is_near = |file: &&CertificateFile| {
        let end = file.end();
        end.is_some_and(|end| end.nearness(Timestamp::now()) < Nearness::Far)
    };
    let steps = others
        .filter(is_near)
        .filter_map(|file| until(format!("{} {}", file.usage.label(), file.name), file).ok());
    steps.collect()
}

/// How long a certificate is valid; gives the name of the step back if that is not known.
fn until(what: String, file: &CertificateFile) -> Result<Step, String> {
    let Some(end) = file.end() else { return Err(what) };
    let now = Timestamp::now();
    let found = Until { not_after: end.not_after, now };
    let hint =
        format!("renew {}; a running gateway reads it again by itself", file.path().display());
    Ok(match end.nearness(now) {
        Nearness::Far => Step::good(what, format!("and key belong together, {found}")),
        Nearness::Soon => Step::doubtful(what, found.to_string()).advise(Some(hint)),
        Nearness::Ended => Step::bad(what, found.to_string()).advise(Some(hint)),
    })
}

/// Whether the tokens of the admin listener can be used.
pub(super) fn admin_tokens(settings: &Settings) -> impl Iterator<Item = Step> {
    settings.admin_tokens.iter().map(|path| match Tokens::read(path) {
        Ok(_) => Step::good("admin tokens", "each has a role"),
        Err(error) => Step::bad("admin tokens", Chain(&error).to_string()).advise(Some(
            "a line is `read TOKEN` or `operate TOKEN`; the file has mode 0600 and is no link, or Kubernetes mounts it",
        )),
    })
}

/// Whether the trail's keys can be used. Those that are not there will be made.
pub(super) fn trail_keys(settings: &audit::Settings) -> impl Iterator<Item = Step> {
    audit::check_keys(settings)
        .err()
        .map(|error| {
            let hint = "move the file away to let the gateway make a key, or name another file";
            Step::bad("audit key", Chain(&error).to_string()).advise(Some(hint))
        })
        .into_iter()
}

/// Whether the group that may read the trail is there, and the gateway's user may let it in.
pub(super) fn trail_readers(settings: &audit::Settings) -> impl Iterator<Item = Step> {
    settings.group.iter().map(|group| {
        const WHAT: &str = "audit group";
        match group_id(group) {
            Err(error) => Step::bad(WHAT, format!("{group}: {error}"))
                .advise(Some("name a group of this machine, or its number")),
            Ok(number) if !may_give_to(number) => Step::bad(
                WHAT,
                format!("this user is no member of {group}, so it cannot let it in"),
            )
            .advise(Some("add the user that runs the gateway to the group, or check as that user")),
            Ok(_) => Step::good(WHAT, format!("{group} may read the trail, except its keys")),
        }
    })
}

/// Whether the header fields for the collector can be read.
pub(super) fn collector_headers(settings: &Settings) -> impl Iterator<Item = Step> {
    settings.telemetry.otlp_headers_file.iter().map(|path| match read_headers(path) {
        Ok(_) => Step::good("collector", "its header fields can be read"),
        Err(error) => Step::bad("collector", Chain(&error).to_string()).advise(Some(
            "each line is `name: value`, and only the gateway's user may read the file",
        )),
    })
}

/// The finding of one file. Who else may write or read it, loading the configuration has told.
fn look_at(file: &NamedFile) -> Option<Step> {
    let path = file.path.display();
    let metadata = match fs::metadata(&file.path) {
        Ok(metadata) => metadata,
        Err(error) => {
            let step = Step::bad("files", format!("{path}: {}", why(&error)));
            return Some(step.advise(Some(format!("put it there, or change `{}`", file.key))));
        }
    };
    if let Err(error) = readable(&file.path, metadata.is_dir()) {
        let step = Step::bad("files", format!("{path}: {}", why(&error)));
        let hint = "let the user that runs the gateway read it, or check as that user";
        return Some(step.advise(Some(hint)));
    }
    None
}

fn why(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "does not exist".to_owned(),
        std::io::ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => error.to_string(),
    }
}

fn readable(path: &Path, folder: bool) -> std::io::Result<()> {
    if folder { fs::read_dir(path).map(drop) } else { open_named(path).map(drop) }
}
