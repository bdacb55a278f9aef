//! The memory of the program as it runs, looked at from outside: what was rotated away is gone from
//! it, and nobody but root can look.
//!
//! The scan is another process than the one it looks at, because inside it would find its own buffers.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{FileExt as _, MetadataExt as _},
        process::ExitStatusExt as _,
    },
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use memchr::memmem;
use pigello_mock::EXAMPLE_SUBTENANT;
use rustix::process::Signal;

use crate::{
    bao::say_skipped,
    program::{Place, Running, exchange, get},
    sources::Source,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_pigello-gateway");
/// The vault's client keeps a connection for ten seconds, and with it what it last received.
const SOON: Duration = Duration::from_mins(1);

/// How often the secret is in the memory of a process: whole, and its last half, because a freed block
/// begins with what the allocator writes over it.
fn count(process: u32, secret: &str) -> (usize, usize) {
    let maps = fs::read_to_string(format!("/proc/{process}/maps")).unwrap();
    let memory = File::open(format!("/proc/{process}/mem")).unwrap();
    let half = secret.split_at(secret.len() / 2).1;
    let mut counts = (0, 0);
    // Files that are mapped hold what the disk holds; whatever the process wrote is in the others.
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split(' ').next().unwrap().split_once('-').unwrap();
        let bound = |text| u64::from_str_radix(text, 16).unwrap();
        let mut region = vec![0; usize::try_from(bound(to) - bound(from)).unwrap()];
        if memory.read_exact_at(&mut region, bound(from)).is_ok() {
            counts.0 += memmem::find_iter(&region, secret).count();
            counts.1 += memmem::find_iter(&region, half).count();
        }
    }
    counts
}

fn random() -> String {
    let half = || uuid::Uuid::new_v4().simple().to_string();
    half() + &half()
}

/// Calls of every kind, each on a connection of its own.
fn call(address: &str) {
    for target in [
        format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/"),
        "/accounts/users/customer/tenant/list/".to_owned(),
    ] {
        for _ in 0..4 {
            let answer = exchange(address, &get(&target));
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        }
    }
}

fn wait_for(admin: &str, page: &str, text: &str) {
    let before = Instant::now();
    loop {
        let answer = exchange(admin, &get(page));
        if answer.contains(text) {
            return;
        }
        assert!(before.elapsed() < SOON, "{page} never says {text}: {answer}");
    }
}

fn the_old_one_goes(source: &Source, place: &Place) {
    let (old, new) = (random(), random());
    source.configure(place, "overlap = \"0s\"\n");
    source.write(place, &old);
    // The switch for debuggers, so that the test need not be root to look.
    let config = place.config();
    let log = File::create(place.path("log")).unwrap();
    let arguments = ["--allow-debugging", "serve", "--config", &config];
    let mut gateway = Running::start_logging(&arguments, log.into());
    let (address, admin) = (gateway.address_of("tcp"), gateway.address_of("admin"));
    wait_for(&admin, "/readyz", "HTTP/1.1 200 ");
    call(&address);
    let name = source.name();
    let (whole, half) = count(gateway.id(), &old);
    assert!(whole > 0 && half >= whole, "{name}: the scan finds what is there: {whole}, {half}");
    assert_eq!(count(gateway.id(), &new), (0, 0), "{name}");

    source.write(place, &new);
    exchange(
        &admin,
        "POST /credentials/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
    );
    wait_for(&admin, "/status", "\"rotations\":1");
    // Pigello takes the new one, and with that the old one has had its time.
    call(&address);
    let before = Instant::now();
    loop {
        let left = count(gateway.id(), &old);
        if left == (0, 0) {
            break;
        }
        assert!(before.elapsed() < SOON, "{name}: the old secret is still there: {left:?}");
    }
    assert!(count(gateway.id(), &new).0 > 0, "{name}: the new one is there");
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn after_a_rotation_the_old_secret_is_gone_from_memory() {
    if cfg!(not(feature = "wipe-memory")) {
        say_skipped("the memory scan: this build does not wipe what it frees");
        return;
    }
    for source in Source::all().into_iter().filter(Source::rotates) {
        the_old_one_goes(&source, &Place::accepting_anything(""));
    }
    // A connection of HTTP/1 keeps the last request in its buffer for as long as it lies idle.
    let place = Place::accepting_anything("");
    let _pigello = over_http1(&place);
    the_old_one_goes(&Source::Directory, &place);
}

/// Puts a mock that speaks HTTP/1 behind the gateway.
fn over_http1(place: &Place) -> Running {
    let mock = ["mock-upstream", "--plain", "--accept-any-values", "--listen", "127.0.0.1:0"];
    let mut pigello = Running::start(&mock);
    let line = pigello.line_with("http://");
    let origin = line.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let profile = format!(
        "[profiles.test]\ninsecure_http = true\nupstream = \"{}\"\ncredentials = \"test\"\n",
        origin.trim_end_matches(['/', '.', ','])
    );
    let text = fs::read_to_string(place.path("gateway.toml")).unwrap();
    let (head, rest) = text.split_once("[profiles.test]").unwrap();
    let (_, tail) = rest.split_once("[credentials.test]").unwrap();
    let text = format!("{head}{profile}[credentials.test]{tail}");
    fs::write(place.path("gateway.toml"), text).unwrap();
    pigello
}

/// The limit of core files, as the kernel shows it: soft and hard.
fn core_limit(process: u32) -> String {
    let limits = fs::read_to_string(format!("/proc/{process}/limits")).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    line.split_whitespace().skip(4).take(2).collect::<Vec<_>>().join(" ")
}

/// Starts the program with cores allowed, in a folder of its own to leave them in.
fn serve_where_cores_are_allowed(place: &Place, folder: &Path, switch: Option<&str>) -> Running {
    fs::create_dir(folder).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -S -c \"$(ulimit -H -c)\"; exec \"$@\"", "sh", PROGRAM]);
    command.args(switch).args(["serve", "--config", &place.config()]);
    command.current_dir(folder).stderr(Stdio::null());
    Running::of(&mut command)
}

#[test]
fn an_abort_leaves_no_core_file() {
    let place = Place::accepting_anything("");
    let open = place.path("open");
    let mut debugged = serve_where_cores_are_allowed(&place, &open, Some("--allow-debugging"));
    debugged.address_of("admin");
    let allowed = core_limit(debugged.id());
    assert_eq!(debugged.end().0, Some(0));
    if allowed.starts_with("0 ") {
        say_skipped("the core file: nobody may leave one here");
        return;
    }
    let folder = place.path("closed");
    let mut gateway = serve_where_cores_are_allowed(&place, &folder, None);
    let admin = gateway.address_of("admin");
    wait_for(&admin, "/readyz", "HTTP/1.1 200 ");
    assert_eq!(core_limit(gateway.id()), "0 0", "without the switch it is {allowed}");
    gateway.signal(Signal::ABORT);
    let status = gateway.wait();
    assert_eq!(status.signal(), Some(6), "{status}");
    assert!(!status.core_dumped());
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0, "something was left behind");
}

/// Gives a folder, and what is in it, to another user.
fn give(path: &Path, user: u32) {
    std::os::unix::fs::chown(path, Some(user), Some(user)).unwrap();
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            give(&entry.unwrap().path(), user);
        }
    }
}

#[test]
fn what_the_process_holds_belongs_to_root_alone() {
    let owner =
        |process: u32, file: &str| fs::metadata(format!("/proc/{process}/{file}")).unwrap().uid();
    for (switch, private) in [(None, true), (Some("--allow-debugging"), false)] {
        let place = Place::accepting_anything("");
        let mut user = rustix::process::getuid().as_raw();
        let mut command = Command::new(PROGRAM);
        if user == 0 {
            // Nobody in particular, because everything of root's belongs to root.
            user = 65534;
            give(&place.path(""), user);
            let user = user.to_string();
            command = Command::new("setpriv");
            command.args(["--reuid", &user, "--regid", &user, "--clear-groups", PROGRAM]);
        }
        command.args(switch).args(["serve", "--config", &place.config()]).stderr(Stdio::null());
        let mut gateway = Running::of(&mut command);
        gateway.address_of("admin");
        for file in ["mem", "environ", "maps", "fd"] {
            let expected = if private { 0 } else { user };
            assert_eq!(owner(gateway.id(), file), expected, "{file} with {switch:?}");
        }
    }
}
