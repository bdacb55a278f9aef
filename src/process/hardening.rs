//! Keeps the memory of the process to itself: no core file, and no other process of the same user
//! may read it. Called first thing in `main`, before any secret is read and any thread started.
//!
//! What it does not do: root reads memory all the same, and so does whoever may attach a debugger
//! as root. Swap is not locked out either; run with swap off, or with `MemorySwapMax=0`.

use std::io;

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Whether debuggers and profilers may look in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debugging {
    /// No.
    Refused,
    /// Yes: for a debugger, a profiler or a core file on a test system. It opens the memory, with
    /// the secrets in it, to every process of the same user.
    Allowed,
}

/// Closes the process, unless debugging is allowed.
///
/// It makes the process not dumpable (`PR_SET_DUMPABLE`, prctl(2)), so that `/proc/PID/mem`,
/// `environ` and `maps` belong to root and `ptrace` is refused, and sets the limit of core files
/// to nothing as well, because a pipe as core pattern heeds only the one or the other. Neither
/// outlives an `exec`. Elsewhere than on Linux, which is for development only, there is the limit alone.
pub fn harden(debugging: Debugging) -> Result<(), HardeningError> {
    if debugging == Debugging::Allowed {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| HardeningError::Dumpable(errno.into()))?;
    // The hard limit goes too, so that nothing in the process can raise it again.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if getrlimit(Resource::Core) != none {
        setrlimit(Resource::Core, none).map_err(|errno| HardeningError::Core(errno.into()))?;
    }
    Ok(())
}

/// The system refused to close the process.
#[derive(Debug, thiserror::Error)]
pub enum HardeningError {
    /// `PR_SET_DUMPABLE`.
    #[error("cannot keep other processes out of this one's memory")]
    Dumpable(#[source] io::Error),
    /// `RLIMIT_CORE`.
    #[error("cannot forbid core files")]
    Core(#[source] io::Error),
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{
        env, fs,
        os::unix::process::{CommandExt as _, ExitStatusExt as _},
        process::{self, Command},
    };

    use rustix::process::dumpable_behavior;

    use super::*;

    const CHILD: &str = "PIGELLO_TEST_HARDENING_CHILD";

    /// Not a test of its own: the process that the test below starts and looks at.
    #[test]
    fn child() {
        // A limit that the test runner was given would make the test pass for nothing.
        let limit = getrlimit(Resource::Core);
        setrlimit(Resource::Core, Rlimit { current: limit.maximum, ..limit }).unwrap();
        match env::var_os(CHILD).and_then(|mode| mode.into_string().ok()).as_deref() {
            Some("closed") => harden(Debugging::Refused).unwrap(),
            Some("open") => harden(Debugging::Allowed).unwrap(),
            _ => return,
        }
        let closed = dumpable_behavior().unwrap() == DumpableBehavior::NotDumpable;
        assert!(!closed || getrlimit(Resource::Core).maximum == Some(0));
        fs::write("state", if closed { "closed" } else { "open" }).unwrap();
        process::abort();
    }

    #[test]
    fn a_closed_process_leaves_no_core_and_the_switch_leaves_it_open() {
        for mode in ["closed", "open"] {
            let folder = tempfile::TempDir::new().unwrap();
            let mut child = Command::new(env::current_exe().unwrap());
            child.args(["--exact", "process::hardening::tests::child", "--nocapture"]);
            child.env(CHILD, mode).current_dir(&folder).arg0("hardening-child");
            let status = child.output().unwrap().status;
            assert_eq!(status.signal(), Some(6), "{status}");
            assert_eq!(fs::read_to_string(folder.path().join("state")).unwrap(), mode);
            if mode == "closed" {
                assert!(!status.core_dumped());
                let left = fs::read_dir(&folder).unwrap().count();
                assert_eq!(left, 1, "nothing but the state");
            }
        }
    }
}
