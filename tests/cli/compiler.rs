//! deploy/rustc: what the compiler is told besides, and when.

use std::{path::Path, process::Command};

/// deploy/rustc, in front of that program instead of the compiler.
fn before(program: &str) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/rustc"));
    command.arg(program).env_remove("PROFILE_COUNTS");
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn optimised_code_is_compiled_with_the_profile() {
    let said = said(before("printf").args(["%s\n", "--crate-name", "a b", "-C", "opt-level=3"]));
    let profile = said.lines().find_map(|line| line.strip_prefix("-Cprofile-use=")).unwrap();
    assert!(Path::new(profile).is_file(), "{profile}");
    assert!(said.starts_with("--crate-name\na b\n-C\nopt-level=3\n"), "{said}");
}

#[test]
fn nothing_else_is() {
    for arguments in [&["-vV"][..], &["-C", "opt-level=0"], &["--crate-name", "a"]] {
        let mut command = before("printf");
        let said = said(command.arg("%s\n").args(arguments).env("PROFILE_COUNTS", "counts"));
        assert!(said.lines().eq(arguments.iter().copied()), "{said}");
    }
}

#[test]
fn a_new_profile_begins_with_counters() {
    let mut command = before("printf");
    command.args(["%s\n", "-C", "opt-level=3"]).env("PROFILE_COUNTS", "a folder");
    let said = said(&mut command);
    assert!(said.contains("\n-Cprofile-generate=a folder\n"), "{said}");
    assert!(!said.contains("profile-use"), "{said}");
}

#[test]
fn cargos_variables_reach_the_compiler() {
    // Some shells drop those whose names they could not give themselves. The benchmarks need this one.
    let said = said(before("env").env("CARGO_BIN_EXE_pigello-gateway", "kept"));
    assert!(said.contains("CARGO_BIN_EXE_pigello-gateway=kept"), "{said}");
}
