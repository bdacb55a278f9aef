//! A person at a terminal: the program in a pseudo-terminal of `script`, asked and answered line by line.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

/// The program, with somebody in front of it.
pub(crate) struct Terminal {
    child: Child,
    keys: Option<ChildStdin>,
    screen: ChildStdout,
    /// All that was ever shown.
    pub(crate) shown: String,
    /// How much of it was waited for.
    seen: usize,
}

impl Terminal {
    /// Starts the program. What is typed is shown, unless the program hides it.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let quoted = arguments.iter().map(|argument| format!("'{argument}'"));
        let quoted = quoted.collect::<Vec<_>>().join(" ");
        Self::shell(&format!("{} {quoted}", env!("CARGO_BIN_EXE_pigello-gateway")))
    }

    /// Starts a command of the shell.
    pub(crate) fn shell(command: &str) -> Self {
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--echo", "always", "--command", command, "/dev/null"])
            .env_remove("PIGELLO_GATEWAY_CONFIG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (keys, screen) = (child.stdin.take(), child.stdout.take().unwrap());
        Self { child, keys, screen, shown: String::new(), seen: 0 }
    }

    /// Waits until this is on the screen, after what was waited for before.
    pub(crate) fn sees(&mut self, text: &str) {
        loop {
            if let Some(at) = self.shown[self.seen..].find(text) {
                self.seen += at + text.len();
                return;
            }
            assert!(self.read(), "{text:?} is not in\n{}", self.shown);
        }
    }

    /// False at the end.
    fn read(&mut self) -> bool {
        let mut bytes = [0; 4096];
        let read = self.screen.read(&mut bytes).unwrap();
        self.shown += &String::from_utf8_lossy(&bytes[..read]);
        read > 0
    }

    /// Types keys.
    pub(crate) fn types(&mut self, keys: &str) {
        let to = self.keys.as_mut().unwrap();
        to.write_all(keys.as_bytes()).and_then(|()| to.flush()).unwrap();
    }

    /// Waits for a prompt, and answers it.
    pub(crate) fn answers(&mut self, prompt: &str, answer: &str) {
        self.sees(prompt);
        self.types(&format!("{answer}\n"));
    }

    /// Waits for the end: its exit code and the whole screen.
    pub(crate) fn ends(mut self) -> (Option<i32>, String) {
        while self.read() {}
        (self.child.wait().unwrap().code(), self.shown)
    }
}
