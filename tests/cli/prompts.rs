//! Answers at a terminal that are not one line, and a terminal that has to show again what is typed.

use std::{path::Path, process::Command};

use crate::{program::output, terminal::Terminal};

/// An empty store.
fn store(folder: &Path) -> String {
    let file = folder.join("made-up.sealed").to_str().unwrap().to_owned();
    assert_eq!(output(&["credentials", "init", "--file", &file]).0, Some(0));
    file
}

/// The version that is in use, if any.
fn shown(file: &str) -> String {
    let shown = output(&["credentials", "show", "--json", "--file", file]).1;
    // Its age goes on.
    shown.lines().filter(|line| !line.contains("age_seconds")).collect()
}

/// Only its first line would be the secret, and a shell would run the others.
#[test]
fn a_pasted_secret_with_a_line_break_is_not_put_into_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = store(folder.path());
    for (at, paste) in [
        "made-up-secret-part-one\nmade-up-secret-part-two\n",
        "made-up-secret-part-one\nmade-up-secret-part-two",
        "made-up-secret-part-one\r\nmade-up-secret-part-two\r\n",
        "made-up-secret-part-one\n\n",
        "short\nyes\nyes\n",
    ]
    .into_iter()
    .enumerate()
    {
        let before = shown(&file);
        let mut terminal =
            Terminal::start(&["credentials", "set", "client_secret", "--file", &file]);
        terminal.sees("client_secret: ");
        terminal.types(paste);
        terminal.sees("has more than one line");
        assert_eq!(shown(&file), before, "{paste:?}");
        // Nothing of it is left for the next answer.
        let right = format!("made-up-secret-of-one-line-{at}");
        terminal.answers("client_secret: ", &right);
        let (code, screen) = terminal.ends();
        assert_eq!(code, Some(0), "{screen}");
        assert!(screen.contains(&format!("version {} is in use", at + 1)), "{screen}");
        assert!(!screen.contains("part-") && !screen.contains(&right), "{screen}");
    }
}

/// The rest would go to the shell.
#[test]
fn a_single_identifier_with_a_line_break_is_not_taken() {
    let folder = tempfile::tempdir().unwrap();
    let file = store(folder.path());
    let before = shown(&file);
    let mut terminal = Terminal::start(&["credentials", "set", "customer_id", "--file", &file]);
    terminal.sees("customer_id: ");
    terminal.types("1f3a5c70-0000-4000-8000-000000000001\nmade-up-secret-behind-it\n");
    let (code, screen) = terminal.ends();
    assert_eq!(code, Some(1), "{screen}");
    assert!(screen.contains("has more than one line"), "{screen}");
    assert_eq!(shown(&file), before);
}

/// A terminal drops what a line has over 4095 characters.
#[test]
fn a_secret_that_the_terminal_may_have_cut_is_not_put_into_use() {
    let folder = tempfile::tempdir().unwrap();
    let file = store(folder.path());
    let mut terminal = Terminal::start(&["credentials", "set", "client_secret", "--file", &file]);
    terminal.sees("client_secret: ");
    terminal.types(&format!("{}\n", "s".repeat(4097)));
    terminal.sees("takes 4095 characters in one line");
    terminal.answers("client_secret: ", &"s".repeat(4000));
    assert_eq!(terminal.ends().0, Some(0));
}

#[test]
fn a_signal_at_the_hidden_prompt_leaves_a_terminal_that_shows_what_is_typed() {
    let folder = tempfile::tempdir().unwrap();
    let file = store(folder.path());
    let program = env!("CARGO_BIN_EXE_pigello-gateway");
    for signal in ["TERM", "INT", "QUIT"] {
        let command = format!(
            "sh -c 'echo pid=$$.; exec {program} credentials set client_secret --file {file}'; \
             echo code=$?; stty -a"
        );
        let mut terminal = Terminal::shell(&command);
        terminal.sees("client_secret: ");
        let pid = terminal.shown.split_once("pid=").unwrap().1.split_once('.').unwrap().0;
        assert!(Command::new("kill").args(["-s", signal, pid]).status().unwrap().success());
        let (_, screen) = terminal.ends();
        let after = screen.split_once("code=1").unwrap_or_else(|| panic!("{screen}")).1;
        let modes: Vec<_> = after.split_whitespace().collect();
        assert!(modes.contains(&"echo") && modes.contains(&"isig"), "{signal}: {screen}");
        assert!(modes.contains(&"icanon"), "{signal}: {screen}");
    }
}
