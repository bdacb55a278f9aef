//! How many instructions a call costs the gateway, counted by valgrind's callgrind.
//!
//! Time on a shared machine moves by a tenth from run to run; instructions hardly move at all. So a
//! change that makes the path dearer is seen in the change, on any machine:
//!
//! ```sh
//! cargo bench --bench instructions                # compare with expected.toml; exit code 1 if it differs
//! cargo bench --bench instructions -- --update    # write expected.toml anew
//! ```
//!
//! The program runs as it is shipped, whole, with one worker and everything on, under callgrind, once
//! without further calls and once with [`CALLS`] of each kind. The difference, divided by the calls,
//! is the price of one: start-up, the first handshake, the end and what runs by the clock drop out. It
//! includes every thread, so the audit trail's writer as well. The kernel's share is not in it.
//!
//! Not the same as on a real processor: valgrind has no SHA instructions, so SHA-256 (the trail's chain)
//! weighs many times what it does where there are some.

#![expect(unreachable_pub, reason = "the program has no outside")]

mod expected;
mod caller;
mod program;
#[path = "../support/failure.rs"]
mod failure;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/workplace.rs"]
mod workplace;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use anstream::println;
use clap::Parser;
use pigello_gateway::mock::Authority;

use self::{
    caller::{Call, Caller},
    expected::Expected,
    failure::{During as _, Failure},
    program::Counted,
    upstream::Upstream,
    workplace::Workplace,
};

/// Counts the instructions of one call and compares them with expected.toml.
#[derive(Debug, Parser)]
struct Arguments {
    /// Write what was counted to expected.toml.
    #[arg(long)]
    update: bool,
    /// Keep callgrind's files in this folder, for `callgrind_annotate`.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Count another build of the program.
    #[arg(long, value_name = "FILE", default_value = env!("CARGO_BIN_EXE_pigello-gateway"))]
    program: PathBuf,
    /// What cargo says to every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    if let Some(folder) = &arguments.keep {
        fs::create_dir_all(folder).during(format_args!("cannot make {}", folder.display()))?;
    }
    if arguments.update {
        let counted = count_all(arguments)?;
        Expected::of(&counted).write()?;
        for (call, instructions) in counted {
            println!("{call}: {instructions} instructions, written down");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let expected = Expected::read()?;
    let mut least = count_all(arguments)?;
    if !least.iter().all(|(call, count)| expected.compare(*call, *count).holds()) {
        println!(
            "counting once more: on a busy machine calls wait, and waiting costs some as well"
        );
        for ((_, count), (_, again)) in least.iter_mut().zip(count_all(arguments)?) {
            *count = again.min(*count);
        }
    }
    let verdicts = least.iter().map(|(call, count)| expected.compare(*call, *count));
    let mut same = true;
    for verdict in verdicts {
        println!("{verdict}");
        same &= verdict.holds();
    }
    if same {
        return Ok(ExitCode::SUCCESS);
    }
    println!("hint: if the change is worth it, `cargo bench --bench instructions -- --update`");
    Ok(ExitCode::FAILURE)
}

/// The instructions of one call of each kind.
fn count_all(arguments: &Arguments) -> Result<Vec<(Call, u64)>, Failure> {
    let rest = count(arguments, None)?;
    let price = |call| {
        let with = count(arguments, Some(call))?;
        Ok((call, with.saturating_sub(rest) / u64::from(CALLS)))
    };
    Call::ALL.into_iter().map(price).collect()
}

/// The instructions of one whole life of the program, with [`CALLS`] of that kind in it or none.
fn count(arguments: &Arguments, call: Option<Call>) -> Result<u64, Failure> {
    let authority = Authority::new("instruction counts").during("cannot make an authority")?;
    let upstream = Upstream::start(&authority)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let workplace = Workplace::make(&authority, upstream.address(), any)?;
    let name = call.map_or_else(|| "rest".to_owned(), |call| call.to_string());
    let file = match &arguments.keep {
        Some(folder) => folder.join(format!("callgrind.out.{name}")),
        None => workplace.path("callgrind.out"),
    };
    let program = Counted::start(&arguments.program, &workplace.config(), file)?;
    let mut caller = Caller::new(program.address());
    for _ in 0..WARM_UP {
        for call in Call::ALL {
            caller.call(call)?;
        }
    }
    drop(upstream.take());
    if let Some(call) = call {
        for _ in 0..CALLS {
            caller.call(call)?;
        }
        let arrived = upstream.take();
        let wanted = if call.leaves() { CALLS as usize } else { 0 };
        if arrived.len() != wanted || !arrived.iter().all(|arrived| call.is(arrived)) {
            return Err(Failure::new(format!("not all {call} calls arrived as they should")));
        }
    }
    drop(caller);
    program.end()
}

/// Calls of each kind before anything is counted: memory is taken, connections are open.
const WARM_UP: u32 = 50;
/// Calls that are counted: so many that what start-up differs by from run to run is little on each. The
/// provider gathers entropy from the processor's jitter first, some 400 million instructions.
const CALLS: u32 = 4000;
