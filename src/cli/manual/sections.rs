//! The sections of a manual page that clap does not know: man-pages(7) has their names and order.

use std::io::{self, Write};

use clap::Command;
use clap_mangen::roff::{Roff, bold, roman};

/// A term and what is to be known of it.
type Entry = (&'static str, &'static str);

/// Writes the sections of a command's page. `path` is what follows the program's name: `audit verify`; nothing for the
/// program itself.
pub(super) fn write(command: &Command, path: &str, out: &mut impl Write) -> io::Result<()> {
    let is_program = path.is_empty();
    let reads_files = command.get_arguments().any(|argument| argument.get_long() == Some("config"));
    let mut page = Roff::new();
    list(&mut page, "EXIT STATUS", EXIT_STATUS);
    if path == "audit verify" {
        entry(&mut page, ("3", "The trail is not proved."));
    }
    if is_program || reads_files {
        list(&mut page, "ENVIRONMENT", ENVIRONMENT);
        list(&mut page, "FILES", FILES);
    }
    if is_program || path == "serve" {
        list(&mut page, "SIGNALS", SIGNALS);
    }
    let examples: Vec<_> = EXAMPLES.iter().filter(|(of, _)| is_program || *of == path).collect();
    if !examples.is_empty() {
        page.control("SH", ["EXAMPLES"]);
        page.control("nf", []);
        for (_, example) in examples {
            page.text([roman(*example)]);
        }
        page.control("fi", []);
    }
    page.to_writer(out)
}

fn list(page: &mut Roff, title: &str, entries: &[Entry]) {
    page.control("SH", [title]);
    for found in entries {
        entry(page, *found);
    }
}

fn entry(page: &mut Roff, (term, text): Entry) {
    page.control("TP", []);
    page.text([bold(term)]);
    page.text([roman(text)]);
}

const EXIT_STATUS: &[Entry] = &[
    ("0", "Done."),
    ("1", "It failed while running, or the answer is no."),
    ("2", "Bad usage or bad configuration, told on standard error before any socket is opened."),
];

const ENVIRONMENT: &[Entry] = &[
    ("PIGELLO_GATEWAY_CONFIG", "The configuration file, unless --config names one."),
    (
        "PIGELLO_GATEWAY_*",
        "A key of the configuration, in upper case and with two underscores between levels: \
         PIGELLO_GATEWAY_ADMIN__ADDRESS. It wins over the files.",
    ),
    (
        "VAULT_ADDR, VAULT_TOKEN, BAO_ADDR, BAO_TOKEN and their like",
        "The vault and the login, where the configuration has none.",
    ),
    (
        "HTTPS_PROXY, NO_PROXY",
        "The forward proxy, where the configuration says proxy = \"environment\".",
    ),
    ("XDG_RUNTIME_DIR", "Where a user's gateway has its admin socket."),
    (
        "LISTEN_FDS, LISTEN_PID, NOTIFY_SOCKET, WATCHDOG_USEC, CREDENTIALS_DIRECTORY",
        "Set by systemd: sockets, notifications and credentials.",
    ),
];

const FILES: &[Entry] = &[
    ("/etc/pigello-gateway/gateway.toml", "The configuration, unless another one is named."),
    (
        "/var/lib/pigello-gateway/audit",
        "The audit trail, unless audit.directory names another folder.",
    ),
    (
        "/run/pigello-gateway/admin.sock",
        "The admin socket, unless admin.address names another. Without that folder it is in XDG_RUNTIME_DIR or \
         beside the trail.",
    ),
];

const SIGNALS: &[Entry] = &[
    ("SIGTERM, SIGINT, SIGQUIT", "Drain: open calls are answered. A second one stops at once."),
    ("SIGHUP", "Reloads the configuration, the credentials and the certificates."),
    (
        "SIGUSR1, SIGUSR2, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR, SIGSTKFLT, SIGXCPU, SIGRTMIN to \
         SIGRTMAX-1",
        "Change nothing; the log says so.",
    ),
    ("SIGXFSZ", "A file may not grow: a failed write, as on a full disk."),
];

/// Commands and the page that each is on. The program's own page has all of them.
const EXAMPLES: &[Entry] = &[
    ("demo", "pigello-gateway demo"),
    ("init", "pigello-gateway init --directory /etc/pigello-gateway --deploy systemd"),
    ("check", "pigello-gateway check --online --config gateway.toml"),
    ("serve", "pigello-gateway serve --config gateway.toml"),
    ("serve", "kill -HUP \"$(pidof pigello-gateway)\""),
    ("health", "pigello-gateway health --live"),
    ("status", "pigello-gateway status --config gateway.toml"),
    (
        "explain",
        "pigello-gateway explain GET /accounts/users/customer/subtenant/list/ --caller billing",
    ),
    (
        "credentials set",
        "pigello-gateway credentials set --name production --from-json - <values.json",
    ),
    (
        "credentials import",
        "pigello-gateway credentials import --table --config gateway.toml <customers.csv",
    ),
    ("profiles list", "pigello-gateway profiles list --config gateway.toml"),
    ("profiles check", "pigello-gateway profiles check customer-acme --config gateway.toml"),
    ("audit query", "pigello-gateway audit query --caller billing --during 2026-11"),
    ("audit tail", "pigello-gateway audit tail --follow"),
    ("audit verify", "pigello-gateway audit verify --config gateway.toml"),
    ("config show", "pigello-gateway config show --json"),
];
