//! `completions` and `man`: shell completions and manual pages, from the command line's definition.

mod sections;

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

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
            return Ok(page(&command, "", out)?);
        };
        if !fs::metadata(directory).is_ok_and(|metadata| metadata.is_dir()) {
            return Err(Failure::usage(format!("{} is no folder", directory.display()))
                .hint(format!("mkdir -p {}", directory.display())));
        }
        pages(command, "", directory).map_err(|error| {
            Failure::failed(format!("cannot write to {}: {error}", directory.display()))
        })?;
        writeln!(out, "wrote the pages to {}", directory.display())?;
        Ok(())
    }
}

/// Writes the page of a command and of those below it. `path` leads to it from the program.
fn pages(mut command: Command, path: &str, directory: &Path) -> io::Result<()> {
    command.build();
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        let path = format!("{path} {}", below.get_name());
        pages(below.clone(), path.trim_start(), directory)?;
    }
    let name = command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned();
    page(&command, path, &mut File::create(directory.join(format!("{name}.1")))?)
}

fn page(command: &Command, path: &str, out: &mut impl Write) -> io::Result<()> {
    clap_mangen::Man::new(command.clone()).render(out)?;
    sections::write(command, path, out)
}
