//! Tells the linker what of the program runs while it serves, so that this stands together in it.
//!
//! deploy/layout.ld says it; benches/instructions/layout.rs says why, and writes it.

use std::env;

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
}

const LAYOUT: &str = "deploy/layout.ld";
