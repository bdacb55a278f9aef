//! Where the functions of the program stand in it: deploy/layout.ld.
//!
//! The kernel maps a program 64 KB around each page that is touched. Functions that run lie between
//! functions that do not, so nearly all of the program is resident at rest. The linker can put together
//! what runs, if it is told: this looks with callgrind at what does, from the start to the end of a
//! gateway with calls of each kind, and writes it down.
//!
//! Names are written without the hash at their end, which is another in each build. What has got
//! another name since, or is new, stands where it would without the file; the file is to be made anew
//! when resident memory has grown.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fmt::{self, Write as _},
    fs,
    path::Path,
    process::Command,
};

use super::failure::{During as _, Failure};

/// What of a program runs.
#[derive(Debug, Default)]
pub struct Layout {
    /// The size of each function, by the name that the linker knows.
    sizes: HashMap<String, u64>,
    /// What ran.
    ran: BTreeSet<String>,
    /// What ran with each call.
    often: BTreeSet<String>,
}

/// Functions that one pattern names.
#[derive(Debug, Default)]
struct Group {
    bytes: u64,
    ran: u64,
    ran_bytes: u64,
    is_often: bool,
}

/// Where a group stands: what runs with each call comes first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Often,
    Seldom,
    /// Mostly functions that never run, as where a generic function has a hundred forms.
    Mixed,
}

impl Layout {
    /// Nothing of that program has run yet.
    pub fn of(program: &Path) -> Result<Self, Failure> {
        let output = Command::new("nm")
            .args(["--print-size", "--defined-only"])
            .arg(program)
            .output()
            .during("cannot start nm (Debian: apt install binutils)")?;
        if !output.status.success() {
            return Err(Failure::new(format!("nm failed: {}", output.status)));
        }
        let mut sizes = HashMap::new();
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let mut words = line.split_ascii_whitespace().skip(1);
            if let (Some(size), Some("t" | "T"), Some(name)) =
                (words.next(), words.next(), words.next())
            {
                let size = u64::from_str_radix(size, 16).during("nm's size is no number")?;
                sizes.insert(name.to_owned(), size);
            }
        }
        Ok(Self { sizes, ..Self::default() })
    }

    /// Takes what ran from a file of callgrind's, in a life with so many calls.
    pub fn saw(&mut self, file: &Path, calls: u32) -> Result<(), Failure> {
        let text = fs::read_to_string(file).during("cannot read callgrind's file")?;
        // Each name stands there once, behind its number; later there is the number alone.
        let mut names = HashMap::new();
        let mut called = "";
        for line in text.lines() {
            let Some((key, rest)) = line.split_once('=') else { continue };
            match key {
                "fn" | "cfn" => {
                    let (number, name) = rest.split_once(' ').unwrap_or((rest, ""));
                    let name = match name.rsplit_once('\'') {
                        // A function within itself.
                        Some((name, depth)) if depth.parse::<u32>().is_ok() => name,
                        _ => name,
                    };
                    let name = *names.entry(number).or_insert(name);
                    called = name;
                    if !self.ran.contains(name) {
                        self.ran.insert(name.to_owned());
                    }
                }
                "calls" => {
                    let count = rest.split(' ').next().unwrap_or_default();
                    let count: u64 = count.parse().during("callgrind's count is no number")?;
                    if count >= u64::from(calls) {
                        self.often.insert(called.to_owned());
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the file.
    pub fn write(&self) -> Result<(), Failure> {
        let mut text = HEAD.to_owned();
        for (_, pattern) in self.patterns() {
            // Functions that hardly run are in sections whose names have another beginning.
            let _infallible = writeln!(text, "    *(.text*.{pattern})");
        }
        text.push_str(TAIL);
        fs::write(FILE, text).during(format_args!("cannot write {FILE}"))
    }

    /// What to put together, in order.
    fn patterns(&self) -> BTreeSet<(Place, String)> {
        let mut groups = BTreeMap::<_, Group>::new();
        for (name, size) in &self.sizes {
            let group = groups.entry(pattern(name)).or_default();
            group.bytes += size;
            if self.ran.contains(name) {
                group.ran += 1;
                group.ran_bytes += size;
                group.is_often |= self.often.contains(name);
            }
        }
        groups.into_iter().filter_map(|(pattern, group)| Some((group.place()?, pattern))).collect()
    }
}

impl Group {
    /// Nowhere, if its functions cost less where they are.
    fn place(&self) -> Option<Place> {
        if self.bytes - self.ran_bytes > self.ran * AROUND {
            None
        } else if self.ran_bytes * 2 < self.bytes {
            Some(Place::Mixed)
        } else if self.is_often {
            Some(Place::Often)
        } else {
            Some(Place::Seldom)
        }
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes: u64 = self.ran.iter().filter_map(|name| self.sizes.get(name)).sum();
        let (ran, all) = (self.ran.len(), self.sizes.len());
        write!(f, "{ran} functions ran, of the program {} KiB; it has {all}", bytes / 1024)
    }
}

/// A function's name in each build: without the hashes of what it is compiled from and with which
/// compiler, without the version of the provider, and without the number of its copy.
fn pattern(name: &str) -> String {
    let (name, copy) = match name.rsplit_once('.') {
        Some((name, copy)) if copy.bytes().all(|byte| byte.is_ascii_digit()) => (name, "*"),
        _ => (name, ""),
    };
    if let Some((path, _)) = name.rsplit_once(HASH).filter(|_| name.starts_with("_ZN")) {
        format!("{path}{HASH}*")
    } else if name.starts_with("_R") {
        let mut parts = name.split(CRATE);
        let path = parts.next().unwrap_or_default().to_owned();
        let path = parts.fold(path, |path, part| {
            let (_, rest) = part.split_once('_').unwrap_or_default();
            path + CRATE + "*_" + rest
        });
        path + "*"
    } else if let Some(rest) = name.strip_prefix("aws_lc_").and_then(|it| it.splitn(4, '_').nth(3))
    {
        format!("aws_lc_*_{rest}{copy}")
    } else {
        format!("{name}{copy}")
    }
}

/// What stands before the hash in a name of the older scheme, and before that of a crate in one of the
/// newer (<https://doc.rust-lang.org/rustc/symbol-mangling/index.html>).
const HASH: &str = "17h";
const CRATE: &str = "Cs";
/// How much the kernel maps where a page is touched (`fault_around_bytes`).
const AROUND: u64 = 64 * 1024;
const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/layout.ld");
const HEAD: &str = "/* What of the program runs while it serves, for the linker to put together. build.rs hands it on.
   Written by `cargo bench --bench instructions -- --layout`; benches/instructions/layout.rs says why. */
SECTIONS {
  .text.served : {
";
const TAIL: &str = "  }
}
INSERT BEFORE .text;
";
