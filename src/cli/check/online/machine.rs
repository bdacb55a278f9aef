//! Tests the machine: free addresses, a writable directory, the clock.

use std::{
    fs,
    net::TcpListener,
    path::Path,
    time::{Duration, SystemTime},
};

use bytesize::ByteSize;
use rustix::fs::{Access, access, statvfs};

use super::Step;
use crate::{audit, config::Settings, domain::Address};

/// Whether `serve` could bind this address. An address in use is no failure: the gateway itself may
/// hold it.
pub(super) fn listeners(settings: &Settings) -> Vec<Step> {
    let listeners = settings
        .listeners
        .iter()
        .map(|listener| (format!("listener {}", listener.name), &listener.address));
    let admin = settings.admin.iter().map(|admin| ("admin".to_owned(), &admin.address));
    let metrics = settings.metrics.iter().map(|it| ("metrics".to_owned(), &it.address));
    listeners.chain(admin).chain(metrics).map(|(what, address)| listener(what, address)).collect()
}

fn listener(what: String, address: &Address) -> Step {
    match address {
        Address::Tcp(tcp) => match TcpListener::bind(tcp) {
            Ok(_) => Step::good(what, format!("{address} is free")),
            Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
                Step::doubtful(what, format!("{address} is in use")).advise(Some(format!(
                    "if the gateway is not running, `ss -ltnp sport = :{}` says who has it",
                    tcp.port()
                )))
            }
            Err(error) => Step::bad(what, format!("{address}: {error}"))
                .advise(Some("choose an address that this machine has and this user may use")),
        },
        Address::Unix(path) => match path.parent().filter(|folder| !folder.is_dir()) {
            Some(folder) => Step::doubtful(what, format!("{} does not exist", folder.display()))
                .advise(Some(format!(
                    "unless systemd opens the socket, make it: mkdir -p {}",
                    folder.display()
                ))),
            None => Step::good(what, format!("{address} can be made")),
        },
    }
}

/// Whether the audit directory is writable, or can be created. Nothing is written.
pub(super) fn audit_directory(path: &Path) -> Step {
    const WHAT: &str = "audit directory";
    let nearest = path.ancestors().find(|folder| folder.exists());
    let Some(nearest) = nearest else {
        return Step::bad(WHAT, format!("{} cannot be made", path.display()));
    };
    if !nearest.is_dir() {
        return Step::bad(WHAT, format!("{} is no folder", nearest.display()))
            .advise(Some("change `audit.directory`"));
    }
    if let Err(errno) = access(nearest, Access::WRITE_OK | Access::EXEC_OK) {
        let error = std::io::Error::from(errno);
        let step = Step::bad(WHAT, format!("{} cannot be written: {error}", nearest.display()));
        let hint = format!(
            "give it to the user that runs the gateway (`chown USER {}`), or check as that user",
            nearest.display()
        );
        return step.advise(Some(hint));
    }
    let free = statvfs(nearest).map_or(0, |disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    let free = format!("{} free", ByteSize(free));
    if nearest == path {
        match fs::read_dir(path) {
            Ok(_) => Step::good(WHAT, format!("{} can be written, {free}", path.display())),
            Err(error) => Step::bad(WHAT, format!("{}: {error}", path.display())),
        }
    } else {
        let (path, parent) = (path.display(), nearest.display());
        Step::good(WHAT, format!("{path} will be made in {parent}, {free}"))
    }
}

/// Whether a file of the trail has the same number at each look. Nothing is said if it has, or if there is no
/// trail yet.
pub(super) fn steady_numbers(directory: &Path) -> Option<Step> {
    if audit::has_steady_numbers(directory)? {
        return None;
    }
    let step = Step::doubtful(
        "audit file system",
        format!("the inode numbers of {} are not steady", directory.display()),
    );
    Some(step.advise(Some(
        "the gateway then tells by its content whether a file was replaced, and may not notice a second \
         gateway in the directory; a local disk is better",
    )))
}

/// The time of another machine, from a response's `Date`.
pub(super) struct Elsewhere {
    pub(super) said_by: String,
    pub(super) time: SystemTime,
    pub(super) here: SystemTime,
}

/// Whether the clock of this machine agrees with the upstream's.
pub(super) fn clock(elsewhere: Option<Elsewhere>) -> Step {
    const WHAT: &str = "clock";
    let Some(Elsewhere { said_by, time, here }) = elsewhere else {
        return Step::skipped(WHAT, "no answer said what time it is");
    };
    let (off, way) = match here.duration_since(time) {
        Ok(off) => (off, "ahead of"),
        Err(behind) => (behind.duration(), "behind"),
    };
    if off <= TOLERABLE {
        return Step::good(WHAT, format!("agrees with {said_by}"));
    }
    Step::bad(WHAT, format!("{} {way} {said_by}", roughly(off))).advise(Some(
        "set the clock (`timedatectl set-ntp true`): certificates, tokens and the trail depend on it",
    ))
}

/// A length of time in words.
fn roughly(time: Duration) -> String {
    let seconds = time.as_secs();
    let (unit, name) = match seconds {
        0..120 => (1, "seconds"),
        120..7200 => (60, "minutes"),
        7200..172_800 => (3600, "hours"),
        _ => (86_400, "days"),
    };
    format!("{} {name}", (seconds + unit / 2) / unit)
}

/// `Date` has whole seconds, and a response takes time. Vault tokens tolerate this much.
const TOLERABLE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_of_time_is_said_as_people_say_it() {
        for (seconds, said) in [
            (31, "31 seconds"),
            (200, "3 minutes"),
            (86_399, "24 hours"),
            (200_000, "2 days"),
            (31_536_000, "365 days"),
        ] {
            assert_eq!(roughly(Duration::from_secs(seconds)), said);
        }
    }
}
