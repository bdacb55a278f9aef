//! Protects the memory of the process: no core file, and no access by other processes of the same
//! user. `main` calls it first, before it reads a secret or starts a thread.
//!
//! Limits: root can read the memory, and so can a debugger that runs as root. Swap is not
//! prevented; run with swap off, or with `MemorySwapMax=0`.

use std::io;

#[cfg(target_os = "linux")]
use rustix::process::{DumpableBehavior, set_dumpable_behavior};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Whether debuggers and profilers may attach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Debugging {
    /// No.
    Refused,
    /// Yes: for a debugger, a profiler or a core file on a test system. Every process of the same
    /// user can then read the memory, secrets included.
    Allowed,
}

/// Makes the process undumpable, unless debugging is allowed.
///
/// `PR_SET_DUMPABLE` (prctl(2)) gives `/proc/PID/mem`, `environ` and `maps` to root and refuses
/// `ptrace`. The core file limit is set to zero as well, because a pipe as core pattern obeys only
/// one of the two. An `exec` resets both. Other systems than Linux, which are
/// for development only, get the core file limit alone.
pub fn harden(debugging: Debugging) -> Result<(), HardeningError> {
    if debugging == Debugging::Allowed {
        return Ok(());
    }
    #[cfg(target_os = "linux")]
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|errno| HardeningError::Dumpable(errno.into()))?;
    // The hard limit too, so that nothing in the process can raise it again.
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    if getrlimit(Resource::Core) != none {
        setrlimit(Resource::Core, none).map_err(|errno| HardeningError::Core(errno.into()))?;
    }
    Ok(())
}

/// The system refused to protect the process.
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

    /// Run by the test below in a child process.
    #[test]
    fn child() {
        // A limit inherited from the test runner would hide a failure.
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
