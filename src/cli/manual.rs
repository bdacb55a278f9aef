//! `completions` and `man`: shell completions and manual pages, from the command line's definition.

use std::{fs, io::Write, path::PathBuf};

use clap::Command;
use clap_complete::Shell;

use super::Failure;

/// Prints a script that completes commands and options.
///
/// For bash: `pigello-gateway completions bash > /etc/bash_completion.d/pigello-gateway`.
#[derive(Debug, clap::Args)]
pub(super) struct Completions {
    /// The shell it is for
    shell: Shell,
}

impl Completions {
    /// Prints the script to `out`.
    pub(super) fn run(&self, mut command: Command, out: &mut impl Write) -> Result<(), Failure> {
        let name = command.get_name().to_owned();
        // Not to `out` itself: clap panics when that is closed.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut command, name, &mut script);
        Ok(out.write_all(&script)?)
    }
}

/// Prints the manual page of the program, or writes one for each command.
#[derive(Debug, clap::Args)]
pub(super) struct Pages {
    /// Write the pages of all commands into this folder, which exists
    #[arg(long, value_name = "DIR")]
    directory: Option<PathBuf>,
}

impl Pages {
    /// Prints one page to `out`, or writes all.
    pub(super) fn run(&self, command: Command, out: &mut impl Write) -> Result<(), Failure> {
        // The page is about the version, not about this build of it.
        let command = command.long_version(None::<&str>);
        let Some(directory) = &self.directory else {
            return Ok(clap_mangen::Man::new(command).render(out)?);
        };
        if !fs::metadata(directory).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::usage(format!("{} is no folder", directory.display()))
                .hint(format!("mkdir -p {}", directory.display())));
        }
        clap_mangen::generate_to(command, directory).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", directory.display()))
        })?;
        writeln!(out, "wrote the pages to {}", directory.display())?;
        Ok(())
    }
}
