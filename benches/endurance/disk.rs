//! The trail's disk fails under load, in each of the ways that disks do, and comes back: what callers
//! get meanwhile, and what is on the trail afterwards. Needs root, for it mounts and unmounts.
//!
//! Each fault is met by a gateway that refuses calls it cannot record, and by one that goes on.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use clap::ValueEnum;

use super::{
    Common,
    call::LIST,
    gateway::{Gateway, Setup},
    load::{Load, Pace, Tally},
    report::{Report, progress},
    trail::{self, Trail},
    upstream::Upstream,
};

#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Calls a second
    #[arg(long, default_value_t = 300.0)]
    rate: f64,
    /// How long calls are made before, during and after
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    /// Only this fault
    #[arg(long, value_enum)]
    fault: Option<Fault>,
}

/// What befalls the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Fault {
    /// Something else fills a small file system
    Full,
    /// The directory is removed, with all that is in it
    Removed,
    /// The file system turns read-only for an error, and is mounted anew
    ReadOnly,
    /// Writes hang, under as many calls as there can be
    Slow,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Full, Self::Removed, Self::ReadOnly, Self::Slow];
}

/// A disk for the trail.
struct Disk {
    fault: Fault,
    mounted_at: PathBuf,
    image: PathBuf,
}

impl Disk {
    /// Makes one at the place where the trail will be.
    fn make(fault: Fault, audit: &Path) -> Self {
        let image = audit.with_file_name("disk.img");
        let disk = Self { fault, mounted_at: audit.to_owned(), image };
        let place = &disk.mounted_at;
        match fault {
            Fault::Full => {
                fs::create_dir(place).unwrap();
                run("mount", &["-t", "tmpfs", "-o", "size=16m", "endurance", text(place)]);
            }
            Fault::ReadOnly | Fault::Slow => {
                fs::create_dir(place).unwrap();
                File::create(&disk.image).unwrap().set_len(256 << 20).unwrap();
                run("mkfs.ext4", &["-q", text(&disk.image)]);
                run("mount", &["-o", "loop", text(&disk.image), text(place)]);
            }
            Fault::Removed => {}
        }
        disk
    }

    fn fail(&self) {
        let place = &self.mounted_at;
        match self.fault {
            Fault::Full => {
                let mut file = File::create(place.join("filler")).unwrap();
                for size in [1 << 16, 1 << 12, 1] {
                    while file.write_all(&vec![0; size]).is_ok() {}
                }
            }
            Fault::Removed => fs::remove_dir_all(place).unwrap(),
            Fault::ReadOnly => run("mount", &["-o", "remount,abort", text(place)]),
            Fault::Slow => run("fsfreeze", &["-f", text(place)]),
        }
    }

    fn mend(&self) {
        let place = &self.mounted_at;
        match self.fault {
            Fault::Full => fs::remove_file(place.join("filler")).unwrap(),
            Fault::Removed => {}
            Fault::ReadOnly => {
                // The gateway still has files open there, so the file system goes on without a place.
                let copy = self.image.with_extension("copy");
                fs::copy(&self.image, &copy).unwrap();
                run("umount", &["-l", text(place)]);
                // It repairs what the error left, and says so with 1.
                Command::new("e2fsck").args(["-fy", text(&copy)]).output().unwrap();
                run("mount", &["-o", "loop", text(&copy), text(place)]);
            }
            Fault::Slow => run("fsfreeze", &["-u", text(place)]),
        }
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.fault != Fault::Removed {
            Command::new("fsfreeze").arg("-u").arg(&self.mounted_at).output().ok();
            Command::new("umount").arg("-l").arg(&self.mounted_at).output().ok();
        }
    }
}

pub async fn run_all(common: &Common, options: &Options) -> Report {
    let mut report = Report::new("the trail's disk");
    for fault in Fault::ALL.into_iter().filter(|fault| options.fault.is_none_or(|f| f == *fault)) {
        for on_failure in ["refuse", "continue"] {
            case(common, options, fault, on_failure, &mut report).await;
        }
    }
    report
}

async fn case(
    common: &Common,
    options: &Options,
    fault: Fault,
    on_failure: &str,
    report: &mut Report,
) {
    let name = format!("{fault:?}, {on_failure}");
    let upstream = Upstream::start().await;
    let setup = Setup::new(common, &upstream).set("AUDIT__ON_FAILURE", on_failure);
    let disk = Disk::make(fault, &setup.path("audit"));
    let mut gateway = setup.start().await;
    let pace = Pace { callers: common.callers, rate: Some(options.rate) };
    let while_slow = Pace { callers: common.callers, rate: None };
    let mut made = 0;
    let window = async |pace: Pace, last: Duration| {
        let load = Load::start(gateway.address("main"), pace, |_| LIST.to_owned());
        tokio::time::sleep(last).await;
        load.stop().await
    };
    let last = Duration::from_secs(options.seconds);
    let before = window(pace, last).await;
    made += before.calls();

    disk.fail();
    let failed = Instant::now();
    // Until the gateway has noticed, callers get what they always get.
    let load = Load::start(
        gateway.address("main"),
        if fault == Fault::Slow { while_slow } else { pace },
        |_| LIST.to_owned(),
    );
    let noticed = notice(&gateway, fault, on_failure).await;
    let unnoticed = load.stop().await;
    made += unnoticed.calls();
    let sent = upstream.requests();
    let during = window(pace, last).await;
    made += during.calls();
    let sent = upstream.requests() - sent;

    disk.mend();
    let mended = Instant::now();
    gateway.until_ready(Duration::from_secs(30)).await;
    writable(&gateway).await;
    let back = mended.elapsed();
    let after = window(pace, last).await;
    made += after.calls();
    gateway.drain().await;
    let directory = gateway.path("audit");
    let (trail, verdict) = (Trail::read(&directory), trail::verify(&common.gateway, &directory));

    progress(format_args!("{name}: noticed after {noticed:?}, back after {back:?}"));
    report.figure(
        format!("{name}: noticed after (ms)"),
        noticed.map(|at| (at - failed).as_millis() as u64),
    );
    report.figure(format!("{name}: until noticed"), format!("{:?}", unnoticed.statuses));
    report.figure(format!("{name}: after that"), format!("{:?}", during.statuses));
    report.figure(format!("{name}: back after (ms)"), back.as_millis() as u64);
    report.figure(format!("{name}: markers"), format!("{:?}", trail.markers));
    let fine = |tally: &Tally| tally.calls() == tally.successes();
    let refused = |tally: &Tally| tally.statuses.get(&503) == Some(&tally.calls());
    let (held, what) = match (fault, on_failure) {
        (Fault::Removed, _) => {
            (fine(&unnoticed) && fine(&during), "calls go on, the trail is put back")
        }
        (_, "refuse") => (refused(&during) && sent == 0, "calls are refused, none is sent"),
        _ => (fine(&unnoticed) && fine(&during), "calls go on"),
    };
    let measured = format!("{:?}, {sent} sent", during.statuses);
    report.promise(format!("{name}: {what}"), held, measured);
    let failures = format!("{} before, {} after", before.failures(), after.failures());
    report.promise(
        format!("{name}: all is well before and after"),
        fine(&before) && fine(&after),
        failures,
    );
    let known = trail.calls.len() as u64 + trail.lost;
    report.promise(
        format!("{name}: each call is on the trail or counted as lost"),
        known == made,
        format_args!("{made} calls, {} records, {} lost", trail.calls.len(), trail.lost),
    );
    report.promise(
        format!("{name}: `audit verify` finds nothing wrong"),
        verdict.is_right,
        verdict.text,
    );
}

/// Waits until the gateway has noticed; a removed directory is put back without a word.
async fn notice(gateway: &Gateway, fault: Fault, on_failure: &str) -> Option<Instant> {
    let end = Instant::now() + Duration::from_secs(if fault == Fault::Removed { 3 } else { 30 });
    while Instant::now() < end {
        let noticed = if on_failure == "refuse" {
            gateway.admin(http::Method::GET, "/readyz").await.0 == 503
        } else {
            let audit = &gateway.status().await["audit"];
            audit["writable"] == false || audit["lost"].as_u64() > Some(0)
        };
        if noticed {
            return Some(Instant::now());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    None
}

async fn writable(gateway: &Gateway) {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        let audit = &gateway.status().await["audit"];
        if audit["writable"] == true && audit["queued"].as_u64() < Some(1_000) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the trail does not come back: {}", gateway.status().await["audit"]);
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}
