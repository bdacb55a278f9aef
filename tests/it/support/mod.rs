//! What the tests share: a gateway in the process, its upstream, and callers.

mod authority;
mod caller;
mod frames;
mod gateway;
mod process;
mod proxy;
mod recorder;
mod store;
mod tls_server;
mod waiting;

pub use authority::{Authority, Pair, SPIFFE, connect_tls, dns, uri};
pub use caller::{Answer, Caller, raw, raw_bytes};
pub use frames::{Frames, Heard, frame, headers};
pub use gateway::{Gateway, OPERATE_TOKEN, READ_TOKEN, Setup, trail_lines};
pub use process::Process;
pub use proxy::{BreakingProxy, Weather};
pub use recorder::Recorder;
pub use store::{Store, acl_of_manual, free_port};
pub use tls_server::{TlsServer, server_config, vault_answer};
pub use waiting::{Waiting, until_blank_line};

use pigello_mock::{MockPigello, Options};

/// A mock of Pigello over TLS, on a port of its own.
pub async fn pigello() -> MockPigello {
    MockPigello::start(Options::new()).await.expect("the mock starts")
}

/// Says loudly what is left out, and fails where nothing may be.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub fn skip(what: &str) {
    let required = std::env::var_os("PIGELLO_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{what}, and PIGELLO_TEST_REQUIRE_TOOLS=1 allows no skipping");
    eprintln!("\n*** SKIPPED: {what} ***\n");
}
