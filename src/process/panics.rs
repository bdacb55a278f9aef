//! Reports a panic: its location, and its message only when it is a literal of the source.
//!
//! A formatted message may hold data: a slice error quotes the text, an `unwrap` prints the error.
//! The caller of a panicking call gets a response, and the call is on the trail; see
//! `proxy/stages/respond.rs`.

use std::{
    io::{self, Write as _},
    panic::{self, PanicHookInfo},
    thread,
};

use super::hardening::Debugging;

/// Reports panics in the log, or on standard error while there is none. With debugging allowed the
/// standard library reports them in full.
pub fn tell_panics(debugging: Debugging) {
    if debugging == Debugging::Refused {
        panic::set_hook(Box::new(tell));
    }
}

fn tell(panic: &PanicHookInfo<'_>) {
    let message = panic.payload().downcast_ref::<&'static str>().copied();
    let message = message.unwrap_or("its message may hold data and is not shown");
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    let thread = thread::current();
    let thread = thread.name().unwrap_or("unnamed");
    if tracing::dispatcher::has_been_set() {
        tracing::error!(%place, thread, said = message, "a defect: the program panicked");
    } else {
        // Standard error may be closed, and there is nobody left to report that to.
        let _closed = writeln!(io::stderr(), "a defect: panicked at {place} ({thread}): {message}");
    }
}

#[cfg(test)]
mod tests {
    use std::{
        env,
        process::{Command, Output},
    };

    use super::*;

    const CHILD: &str = "PIGELLO_TEST_PANICS_CHILD";
    const CANARY: &str = "canary-å-6d1f";

    /// Run by the tests below in a child process. Each panic is of a kind that the standard library
    /// or a crate can cause.
    #[test]
    fn child() {
        let Some(mode) = env::var_os(CHILD).and_then(|mode| mode.into_string().ok()) else {
            return;
        };
        let debugging = mode.starts_with("open");
        tell_panics(if debugging { Debugging::Allowed } else { Debugging::Refused });
        if mode.ends_with("logged") {
            let log = tracing_subscriber::fmt().with_writer(io::stderr).json().finish();
            tracing::subscriber::set_global_default(log).unwrap();
        }
        let panics: [fn(); 4] = [
            // Slices in the middle of the å.
            || assert!(CANARY.split_at(8).0.is_empty()),
            || assert!(CANARY.parse::<bool>().map_err(|_| CANARY).unwrap()),
            || panic!("{CANARY}"),
            || panic!("a text of the source"),
        ];
        for panics in panics {
            panic::catch_unwind(panics).unwrap_err();
        }
    }

    fn output(mode: &str) -> String {
        let mut child = Command::new(env::current_exe().unwrap());
        child.args(["--exact", "process::panics::tests::child", "--nocapture"]).env(CHILD, mode);
        let Output { stdout, stderr, status } = child.output().unwrap();
        let text = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        assert!(status.success(), "{text:?}");
        text.concat()
    }

    #[test]
    fn a_panic_is_told_by_its_place_and_without_what_it_may_quote() {
        for mode in ["closed", "closed and logged"] {
            let text = output(mode);
            assert_eq!(text.matches("a defect: ").count(), 4, "{mode}: {text}");
            // The first location is in the standard library.
            assert_eq!(text.matches("panics.rs:").count(), 3, "{mode}: {text}");
            assert!(text.contains("a text of the source"), "{mode}: {text}");
            assert!(!text.contains("canary") && !text.contains("6d1f"), "{mode}: {text}");
        }
    }

    #[test]
    fn with_debugging_allowed_everything_is_told() {
        let text = output("open");
        assert!(text.contains(CANARY) && !text.contains("a defect: "), "{text}");
    }
}
