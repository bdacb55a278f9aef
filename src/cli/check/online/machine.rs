//! Tests the machine: free addresses, a writable directory, the clock.

use std::{fs, net::TcpListener, path::Path, time::Duration};

use bytesize::ByteSize;
use rustix::fs::{Access, access, statvfs};
use serde_json::Value;

use super::Step;
use crate::{
    audit, cli::admin::is_gateway, config::Settings, domain::Address, outbound::TOLERABLE_OFFSET,
};

/// Whether `serve` could bind each address, or the running gateway has it. Another address in use is no failure:
/// a gateway that does not tell may have it.
pub(super) async fn listeners(settings: &Settings, running: Option<&Value>) -> Vec<Step> {
    let held = running.and_then(|status| status["listeners"].as_array());
    let held: Vec<_> = held.into_iter().flatten().filter_map(|it| it["address"].as_str()).collect();
    let mut steps = Vec::new();
    for it in &settings.listeners {
        let is_held = held.contains(&&*it.address.to_string());
        steps.push(listener(format!("listener {}", it.name), &it.address, is_held));
    }
    let admin = settings.admin.iter().map(|admin| ("admin", &admin.address));
    let metrics = settings.metrics.iter().map(|it| ("metrics", &it.address));
    for (what, address) in admin.chain(metrics) {
        let is_held = is_gateway(address.clone()).await;
        steps.push(listener(what.to_owned(), address, is_held));
    }
    steps
}

fn listener(what: String, address: &Address, is_held: bool) -> Step {
    if is_held {
        return Step::good(what, format!("the running gateway has {address}"));
    }
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
pub(super) fn audit_directory(path: &Path, running: Option<&Value>) -> Step {
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
    if let Some(seconds) =
        running.and_then(|status| status.pointer("/audit/disk_full_in_seconds")?.as_u64())
        && seconds < DISK_SOON
    {
        let full_in = roughly(Duration::from_secs(seconds));
        let found = format!("{free}, and full in {full_in} at the rate of the last day");
        let hint = "make room, or shorten `audit.retain_for` or `audit.retain_bytes`";
        return Step::doubtful(WHAT, found).advise(Some(hint));
    }
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

/// This machine's clock beside another one.
pub(super) struct Clock {
    pub(super) said_by: String,
    /// In seconds; negative if it is behind.
    pub(super) ahead: i64,
}

/// Whether the clock of this machine agrees with those of the upstreams and the vaults.
pub(super) fn clock(clocks: &[Clock]) -> Step {
    const WHAT: &str = "clock";
    let Some(Clock { said_by, ahead }) =
        clocks.iter().max_by_key(|clock| clock.ahead.unsigned_abs())
    else {
        return Step::skipped(WHAT, "no answer said what time it is");
    };
    let off = Duration::from_secs(ahead.unsigned_abs());
    if off <= TOLERABLE_OFFSET {
        let all: Vec<_> = clocks.iter().map(|clock| &*clock.said_by).collect();
        return Step::good(WHAT, format!("agrees with {}", all.join(", ")));
    }
    let way = if *ahead > 0 { "ahead of" } else { "behind" };
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

/// Three days to make room, in seconds.
const DISK_SOON: u64 = 3 * 86_400;

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
