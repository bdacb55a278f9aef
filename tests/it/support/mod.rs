//! What the tests share: a gateway in the process, its upstream, and callers.

mod caller;
mod frames;
mod gateway;
mod process;
mod proxy;
mod recorder;
mod waiting;

pub use caller::{Answer, Caller, raw};
pub use frames::{Frames, Heard, frame, headers};
pub use gateway::{Gateway, OPERATE_TOKEN, READ_TOKEN, Setup, trail_lines};
pub use process::Process;
pub use proxy::{BreakingProxy, Weather};
pub use recorder::Recorder;
pub use waiting::{Waiting, until_blank_line};

use pigello_mock::{MockPigello, Options};

/// A mock of Pigello over TLS, on a port of its own.
pub async fn pigello() -> MockPigello {
    MockPigello::start(Options::new()).await.expect("the mock starts")
}
