//! Tells the linker what keeps the program small in memory.
//!
//! What of it runs while it serves stands together: deploy/layout.ld says it, and
//! benches/instructions/layout.rs says why, and writes it. Where pointers are to be filled in when the
//! program starts is said in short, which takes half a megabyte less to read then.

use std::{env, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={LAYOUT}");
    let is = |key: &str, value: &str| env::var_os(key).is_some_and(|is| is == value);
    // Where the names in it were seen, and where both the linker that Rust brings along and GNU's take
    // such a file. Whoever brings another one goes without.
    let fits = is("PROFILE", "release")
        && is("CARGO_CFG_TARGET_ARCH", "x86_64")
        && is("CARGO_CFG_TARGET_OS", "linux")
        && is("CARGO_CFG_TARGET_ENV", "gnu")
        && env::var_os("RUSTC_LINKER").is_none()
        && !env::var_os("CARGO_ENCODED_RUSTFLAGS")
            .is_some_and(|flags| flags.to_string_lossy().contains("link"));
    // A comma would end the linker's argument.
    let here = env::var_os("CARGO_MANIFEST_DIR").and_then(|here| here.into_string().ok());
    if fits && let Some(here) = here.filter(|here| !here.contains(',')) {
        println!("cargo::rustc-link-arg-bins=-Wl,--script={here}/{LAYOUT}");
    }
    if fits && env::var_os("HOST") == env::var_os("TARGET") && reads_short_relocations() {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
}

/// Whether this machine's glibc reads them (`DT_RELR`): from 2.36 on. An older one starts no program
/// that has them, and says so.
fn reads_short_relocations() -> bool {
    let said = Command::new("getconf").arg("GNU_LIBC_VERSION").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let minor =
        said.ok().and_then(|said| said.trim().strip_prefix("glibc 2.")?.parse::<u32>().ok());
    minor.is_some_and(|minor| minor >= 36)
}

const LAYOUT: &str = "deploy/layout.ld";
