//! `pigello-gateway`: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    pigello_gateway::cli::main(std::env::args_os())
}
