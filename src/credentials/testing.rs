//! Shared by the tests of credentials.

use std::{
    io::{self, Write},
    sync::{Arc, Once},
};

use parking_lot::Mutex;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Says loudly that a test could not run, and fails it where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("PIGELLO_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{why}, and PIGELLO_TEST_REQUIRE_TOOLS=1 allows no skipping");
    eprintln!("\n*** SKIPPED: {why} ***\n");
}

/// The log of a test.
#[derive(Clone, Default)]
pub(in crate::credentials) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// Records everything that this thread logs, at every level.
    pub(in crate::credentials) fn listen() -> (Self, DefaultGuard) {
        // Without a global subscriber, a call site that another test's thread reaches first would stay
        // disabled.
        static EVERYWHERE: Once = Once::new();
        EVERYWHERE.call_once(|| {
            drop(tracing::subscriber::set_global_default(tracing_subscriber::registry()));
        });
        let log = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_writer(log.clone())
            .finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    pub(in crate::credentials) fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}
