//! How many instructions a call costs the gateway, counted by valgrind's callgrind, and how much memory
//! it takes at rest.
//!
//! Time on a shared machine moves by a tenth from run to run; instructions hardly move at all. So the
//! change that makes the path dearer shows it, on any machine:
//!
//! ```sh
//! cargo bench --bench instructions                # report beside expected.toml; fails far above it
//! cargo bench --bench instructions -- --update    # rewrite expected.toml
//! ```
//!
//! It is a report: it fails only where a call costs more than the margin of expected.toml, a quarter.
//! An update of a dependency or of the compiler moves the counts by less, and is not to wait for this.
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
mod template;
#[path = "../support/failure.rs"]
mod failure;
#[path = "../support/upstream.rs"]
mod upstream;
#[path = "../support/workplace.rs"]
mod workplace;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anstream::println;
use clap::{Args, Parser};
use pigello_mock::Authority;

use self::{
    caller::{Call, Caller, Kind},
    expected::Expected,
    failure::{During as _, Failure},
    program::{Resident, Running},
    upstream::Upstream,
    workplace::Workplace,
};

/// Counts the instructions of one call and compares them with expected.toml.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    instead: Instead,
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

/// What it does instead of comparing.
#[derive(Clone, Copy, Debug, Args)]
#[group(multiple = false)]
struct Instead {
    /// Write what was counted to expected.toml.
    #[arg(long)]
    update: bool,
    /// Make the calls without counting: release/build trains a profile with them.
    #[arg(long)]
    calls_only: bool,
    /// Compare calls of a member of a template with those of a profile with a table of its own.
    #[arg(long)]
    members: bool,
    /// Compare calls of a gateway that is in a fleet, whose store is at that address without TLS, with those of one
    /// that is alone.
    #[arg(long, value_name = "ADDRESS")]
    fleet: Option<SocketAddr>,
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
    if arguments.instead.calls_only {
        make_calls(&arguments.program)?;
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.instead.members {
        return compare_members(arguments);
    }
    if let Some(store) = arguments.instead.fleet {
        return compare_fleet(arguments, store);
    }
    if arguments.instead.update {
        let counted = count_all(arguments, Kind::Fixed)?;
        Expected::of(&counted).write()?;
        for (call, instructions) in counted {
            println!("{call}: {instructions} instructions, written down");
        }
        return Ok(ExitCode::SUCCESS);
    }
    compare(arguments)
}

/// Counts, and says how that differs from what is expected.
fn compare(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let expected = Expected::read()?;
    let mut holds = true;
    for (call, count) in count_all(arguments, Kind::Fixed)? {
        let verdict = expected.compare(call, count);
        println!("{verdict}");
        holds &= verdict.holds();
    }
    if !holds {
        println!("hint: if the change is worth it, `cargo bench --bench instructions -- --update`");
    }
    let resident = resident(arguments)?;
    println!("at rest: {} KiB resident with the program's file", resident.total);
    println!("at rest: {} KiB of its own, of {MOST_OWN} at most", resident.own);
    Ok(if holds && resident.own <= MOST_OWN { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts calls of a member of a template beside those of a profile with a table of its own.
fn compare_members(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let fixed = count_all(arguments, Kind::Fixed)?;
    let mut holds = true;
    for (kind, whose) in [(Kind::Member, "of a member"), (Kind::Named, "that names its member")] {
        for ((call, fixed), (_, member)) in fixed.iter().zip(count_all(arguments, kind)?) {
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            let more = member as f64 / *fixed as f64 - 1.0;
            println!("{call} {whose}: {member} instructions, {:+.1} % of {fixed}", more * 100.0);
            holds &= kind == Kind::Named || more <= MOST_OF_MEMBER;
        }
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Counts calls of a gateway in a fleet beside those of one that is alone.
fn compare_fleet(arguments: &Arguments, store: SocketAddr) -> Result<ExitCode, Failure> {
    let alone = count_all(arguments, Kind::Fixed)?;
    let mut holds = true;
    for ((call, alone), (_, member)) in
        alone.iter().zip(count_all(arguments, Kind::InFleet(store))?)
    {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let more = member as f64 / *alone as f64 - 1.0;
        println!("{call} in a fleet: {member} instructions, {:+.1} % of {alone}", more * 100.0);
        holds &= call.leaves() || more <= MOST_OF_FLEET;
    }
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The instructions of one call of each kind.
fn count_all(arguments: &Arguments, kind: Kind) -> Result<Vec<(Call, u64)>, Failure> {
    let folder = arguments.keep.as_deref();
    let rest = count(arguments, kind, None, folder)?;
    let price = |call| {
        let with = count(arguments, kind, Some(call), folder)?;
        Ok((call, with.saturating_sub(rest) / u64::from(CALLS)))
    };
    Call::ALL.into_iter().map(price).collect()
}

/// callgrind's file in that folder.
fn file_of(folder: &Path, call: Option<Call>) -> PathBuf {
    folder.join(format!("callgrind.out.{}", call.map_or("rest", Call::name)))
}

/// The instructions of one whole life of the program, with [`CALLS`] of that kind in it or none. The
/// folder keeps callgrind's file.
fn count(
    arguments: &Arguments,
    kind: Kind,
    call: Option<Call>,
    folder: Option<&Path>,
) -> Result<u64, Failure> {
    let (upstream, workplace) = set_up()?;
    template::prepare(&workplace, kind)?;
    let file = match folder {
        Some(folder) => file_of(folder, call),
        None => workplace.path("callgrind.out"),
    };
    let command = program::counted(&arguments.program, &file);
    let program = Running::start(command, &workplace.config())?;
    let mut caller = Caller::new(program.address(), kind);
    for _ in 0..WARM_UP {
        for call in Call::ALL {
            caller.call(call)?;
        }
    }
    if let Some(call) = call {
        repeat(call, &mut caller, &upstream)?;
    }
    drop(caller);
    program.end()?;
    program::total(&file)
}

/// Makes [`CALLS`] calls of that kind, and looks at how they arrived.
fn repeat(call: Call, caller: &mut Caller, upstream: &Upstream) -> Result<(), Failure> {
    drop(upstream.take());
    for _ in 0..CALLS {
        caller.call(call)?;
    }
    let arrived = upstream.take();
    let wanted = if call.leaves() { CALLS as usize } else { 0 };
    if arrived.len() != wanted || !arrived.iter().all(|arrived| call.is(arrived)) {
        return Err(Failure::new(format!("not all {call} calls arrived as they should")));
    }
    Ok(())
}

/// A life of the program with calls of each kind, as many times as it takes for a profile.
fn make_calls(program: &Path) -> Result<(), Failure> {
    let (upstream, workplace) = set_up()?;
    let program = Running::start(Command::new(program), &workplace.config())?;
    let mut caller = Caller::new(program.address(), Kind::Fixed);
    // Once before: what is to be answered from memory has to be there.
    caller.call(Call::Cached)?;
    for _ in 0..PROFILE_ROUNDS {
        for call in Call::ALL {
            repeat(call, &mut caller, &upstream)?;
        }
    }
    drop(caller);
    program.end()
}

/// The memory of a gateway that has started and answered one call. The least of three.
fn resident(arguments: &Arguments) -> Result<Resident, Failure> {
    let (_, workplace) = set_up()?;
    let mut least = Resident { total: u64::MAX, own: u64::MAX };
    for _ in 0..3 {
        let program = Running::start(Command::new(&arguments.program), &workplace.config())?;
        Caller::new(program.address(), Kind::Fixed).call(Call::Proxied)?;
        least = least.min(program.resident()?);
        program.end()?;
    }
    Ok(least)
}

/// What a gateway needs to serve.
fn set_up() -> Result<(Upstream, Workplace), Failure> {
    let authority = Authority::new("instruction counts").during("cannot make an authority")?;
    let upstream = Upstream::start(&authority)?;
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let workplace = Workplace::make(&authority, upstream.address(), any)?;
    Ok((upstream, workplace))
}

/// The most KiB that a plain build may take at rest for itself. The kernel maps the program's file 64 KiB around
/// each page that is used, shares it among processes and takes it back when memory is short: how much of it is
/// resident at a moment says more of the kernel than of the program.
const MOST_OWN: u64 = 4 * 1024;
/// Calls of each kind before anything is counted: memory is taken, connections are open.
const WARM_UP: u32 = 50;
/// Calls that are counted: so many that what start-up differs by from run to run is little on each. The
/// provider gathers entropy from the processor's jitter first, some 400 million instructions.
const CALLS: u32 = 4000;
/// By which part a call of a loaded member may cost more than one of a profile with a table of its own. A call that
/// names its member has one field more, which costs what any field does.
const MOST_OF_MEMBER: f64 = 0.02;
/// By which part an answer from memory may cost more in a fleet: it makes one atomic load more. What runs by the clock
/// in a fleet, a reading of the bus each second, is in it.
const MOST_OF_FLEET: f64 = 0.01;
/// How often [`CALLS`] of each kind are made for a profile: it has as many calls of other kinds in it.
const PROFILE_ROUNDS: u32 = 5;
