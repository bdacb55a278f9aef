//! Finds out what the program says of its build: see `src/build_info.rs`. It changes nothing about how
//! the program is built.

use std::{env, path::Path, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={COMMIT}");
    let given = |name| env::var_os(name)?.into_string().ok().filter(|value| !value.is_empty());
    let profile = given("PROFILE").unwrap_or_default();
    let flags = given("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let pgo = if flags.contains("profile-use=") { "yes" } else { "no" };
    let commit = given(COMMIT).or_else(|| if profile == "release" { commit() } else { None });
    println!("cargo::rustc-env=BUILD_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=BUILD_TARGET={}", given("TARGET").unwrap_or_default());
    // A comma in a label's value would trip programs that split at commas.
    let features = given("CARGO_CFG_FEATURE").unwrap_or_default().replace(',', " ");
    println!("cargo::rustc-env=BUILD_FEATURES={features}");
    println!("cargo::rustc-env=BUILD_PROFILE={profile}");
    println!("cargo::rustc-env=BUILD_PGO={pgo}");
}

/// The commit that is checked out here. A release build alone asks for it, because whoever asks is
/// compiled again after each commit.
fn commit() -> Option<String> {
    // A source folder that was copied into another repository has no `.git` of its own, and git would
    // tell of the repository around it.
    if !Path::new(".git").exists() {
        return None;
    }
    for path in git(&["rev-parse", "--git-path", "HEAD", "--git-path", "logs/HEAD"])?.lines() {
        println!("cargo::rerun-if-changed={path}");
    }
    // A change that is not committed shows as `-dirty`.
    for path in ["Cargo.toml", "Cargo.lock", "crates", "src"] {
        println!("cargo::rerun-if-changed={path}");
    }
    git(&["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| said.trim().to_owned())
}

/// What a packager sets who builds from a folder without `.git`.
const COMMIT: &str = "PIGELLO_BUILD_COMMIT";
