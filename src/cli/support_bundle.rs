//! `support-bundle`: collects in one file what somebody needs who is to help.
//!
//! Everything in it is something that another command or the admin listener shows, so nothing in it is a
//! credential or a record of the audit trail. What cannot be had is replaced by the reason: a gateway that does
//! not start needs help too.

use std::{
    env,
    fmt::Write as _,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use flate2::{Compression, write::GzEncoder};
use http::Method;
use jiff::Timestamp;
use rustix::{process::Resource, system::uname};
use tar::{Builder, Header};

use super::{ConfigFiles, Failure, admin::AdminTarget, block_on, check};
use crate::{build_info::BUILD, config::Problems, process::files::NewFile};

/// Collects what somebody needs who is to help: versions, the machine, the configuration without secrets, state,
/// metrics and the newest lines of the log.
///
/// It has no credential and no record of the audit trail. It names hosts, listeners, callers and files, and lines
/// of the log name the callers' addresses: look at it before you hand it on.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    target: AdminTarget,
    /// The file to write. Without it: `pigello-gateway-support-TIME.tar.gz` in this folder.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
    /// Also run `check --online`, which asks the vault, Pigello and the collector.
    #[arg(long)]
    online: bool,
}

/// Collects, writes the file, and says what is in it.
pub fn run(args: &Args, out: &mut impl Write) -> Result<(), Failure> {
    let now = Timestamp::now();
    let name = format!("pigello-gateway-support-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    let path = args.out.clone().unwrap_or_else(|| PathBuf::from(format!("{name}.tar.gz")));
    match fs::symlink_metadata(&path) {
        Ok(data) if !data.is_file() => {
            return Err(Failure::usage(format!("{} is no file to replace", path.display())));
        }
        Ok(_) if !args.force => {
            let text = format!("{} exists", path.display());
            return Err(Failure::usage(text).hint("give another `--out`, or `--force`"));
        }
        _ => {}
    }
    let parts = collect(args, now)?;
    write(&path, &name, now, &parts).map_err(|error| {
        Failure::failed(format!("{} cannot be written: {error}", path.display()))
    })?;
    writeln!(out, "wrote {}", path.display())?;
    for Part { file, about, content } in &parts {
        writeln!(out, "  {file:<18} {about}")?;
        if *file == MISSING {
            content.lines().try_for_each(|line| writeln!(out, "    {line}"))?;
        }
    }
    writeln!(out, "Look at it before you hand it on: it names hosts, callers and files.")?;
    Ok(())
}

/// A file of the bundle.
struct Part {
    file: &'static str,
    about: &'static str,
    content: String,
}

fn collect(args: &Args, now: Timestamp) -> Result<Vec<Part>, Failure> {
    let files = args.target.files();
    let loaded = files.load();
    let problems = |problems: &Problems| problems.to_string();
    let configuration = loaded.as_ref().map(|loaded| loaded.effective.to_toml()).map_err(problems);
    let trail = loaded.as_ref().map(|loaded| listing(&loaded.settings.audit.directory));
    let trail = trail.map_err(|_| "the configuration cannot be read".to_owned());
    let mut contents = vec![
        ("version.txt", "how the program was built", Ok(version())),
        ("machine.txt", "system, limits, time", Ok(machine(now))),
        ("configuration.toml", "the configuration in effect, without secrets", configuration),
        ("check.json", "what `check` finds", Ok(checked(files, args.online)?)),
        ("trail.txt", "names and sizes of the trail's files", trail),
    ];
    let answers = [
        ("status.json", "the state of the running gateway", "/status"),
        ("ready.json", "whether it is ready", "/readyz"),
        ("metrics.txt", "its metrics", "/metrics"),
        ("log.txt", "the newest lines of its log", "/log"),
    ];
    for (file, about, path) in answers {
        contents.push((file, about, asked(&args.target, path)?));
    }
    let (mut parts, mut missing) = (Vec::new(), String::new());
    for (file, about, content) in contents {
        match content {
            Ok(content) => parts.push(Part { file, about, content }),
            Err(why) => missing.extend([file, ": ", why.trim_end(), "\n"]),
        }
    }
    if !missing.is_empty() {
        parts.push(Part {
            file: MISSING,
            about: "what could not be had, and why",
            content: missing,
        });
    }
    Ok(parts)
}

/// The file that says what is not there.
const MISSING: &str = "missing.txt";

/// The answer of the running gateway, or why there is none.
fn asked(target: &AdminTarget, path: &str) -> Result<Result<String, String>, Failure> {
    let answer = block_on(async {
        let admin = target.admin()?;
        let answer = admin.ask(Method::GET, path).await?;
        Ok::<_, Failure>((admin, answer))
    })?;
    let failure = match answer {
        Ok((_, answer)) if path == "/readyz" || answer.status.is_success() => {
            return Ok(Ok(answer.text));
        }
        Ok((admin, answer)) => admin.refused(&answer),
        Err(failure) => failure,
    };
    let mut text = anstream::StripStream::new(Vec::new());
    failure.report(&mut text)?;
    Ok(Err(String::from_utf8_lossy(&text.into_inner()).into_owned()))
}

fn version() -> String {
    let mut text = format!("{}\n", env!("CARGO_PKG_NAME"));
    for (name, value) in BUILD {
        // Writing to a string cannot fail.
        let _infallible = writeln!(text, "{name}: {value}");
    }
    text
}

/// What the machine is and what it allows.
fn machine(now: Timestamp) -> String {
    let system = uname();
    let name = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let distribution = fs::read_to_string("/etc/os-release").unwrap_or_default();
    let distribution = distribution.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let files = rustix::process::getrlimit(Resource::Nofile);
    let limit = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |n| n.to_string());
    let memory = fs::read_to_string("/sys/fs/cgroup/memory.max").unwrap_or_default();
    let memory = memory.trim();
    let lines = [
        ("host", name(system.nodename())),
        ("kernel", format!("{} {}", name(system.sysname()), name(system.release()))),
        ("machine", name(system.machine())),
        ("distribution", distribution.unwrap_or("unknown").trim_matches('"').to_owned()),
        ("processors", std::thread::available_parallelism().map_or(0, usize::from).to_string()),
        ("open files", format!("{} of {}", limit(files.current), limit(files.maximum))),
        ("memory limit", if memory.is_empty() { "unknown" } else { memory }.to_owned()),
        ("user", rustix::process::geteuid().as_raw().to_string()),
        ("under systemd", env::var_os("INVOCATION_ID").is_some().to_string()),
        ("in Kubernetes", env::var_os("KUBERNETES_SERVICE_HOST").is_some().to_string()),
        ("time", format!("{now:.3}")),
    ];
    lines.map(|(what, value)| format!("{what}: {value}\n")).concat()
}

fn checked(files: &ConfigFiles, online: bool) -> Result<String, Failure> {
    let args =
        check::Args { files: files.clone(), online, no_call: false, profile: None, json: true };
    let mut text = Vec::new();
    let _code: ExitCode = check::run(&args, &mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The names and sizes of a folder's files.
fn listing(directory: &Path) -> String {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) => return format!("{}: {error}\n", directory.display()),
    };
    let mut lines: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let bytes = entry.metadata().map_or(0, |data| data.len());
            format!("{bytes:>12} {}\n", entry.file_name().to_string_lossy())
        })
        .collect();
    lines.sort_by(|one, other| one.get(12..).cmp(&other.get(12..)));
    format!("{}\n{}", directory.display(), lines.concat())
}

fn write(path: &Path, name: &str, now: Timestamp, parts: &[Part]) -> io::Result<()> {
    let new = NewFile::create(path)?;
    let mut archive = Builder::new(GzEncoder::new(&new.file, Compression::default()));
    for Part { file, content, .. } in parts {
        let mut header = Header::new_ustar();
        header.set_mode(0o600);
        header.set_mtime(u64::try_from(now.as_second()).unwrap_or_default());
        header.set_size(content.len() as u64);
        archive.append_data(&mut header, format!("{name}/{file}"), content.as_bytes())?;
    }
    archive.into_inner()?.finish()?;
    new.finish()
}
