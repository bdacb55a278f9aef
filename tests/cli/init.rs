//! `init`: what it writes loads, is refused no place it would overwrite, and leads to a gateway that
//! answers.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use pigello_gateway::{
    cli::init::{self, Args, Person},
    config::{self, Loaded},
};
use pigello_mock::{Authority, EXAMPLE_SUBTENANT, MADE_UP_VALUES};

use crate::{
    program::{Running, exchange, get, output},
    terminal::Terminal,
};

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

/// What somebody types where it is not shown.
const SECRET: &str = "made-up-secret-0042\n";

/// Runs it with these options; `answers` are what somebody types.
fn init(arguments: &[&str], answers: Option<&str>) -> Result<String, (String, Option<String>)> {
    let command = <Command as clap::Parser>::try_parse_from([&["init"], arguments].concat());
    let command = command.map_err(|error| (error.to_string(), None))?;
    let mut out = Vec::new();
    let mut person = Person::new(answers.map(str::as_bytes), SECRET.as_bytes(), &mut out);
    let done = init::run(&command.args, &mut person);
    drop(person);
    done.map_err(|failure| {
        let (text, hint) = failure.text();
        (text, hint.map(str::to_owned))
    })?;
    Ok(String::from_utf8(out).unwrap())
}

/// Not even values that lie where the mock's would go.
#[test]
fn values_that_are_there_stay() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let secret = folder.path().join("credentials/client_secret");
    fs::create_dir(folder.path().join("credentials")).unwrap();
    fs::write(&secret, "mine").unwrap();
    let arguments =
        ["--directory", place, "--secret-from", "directory", "--upstream", "mock", "--defaults"];
    let (text, _) = init(&arguments, None).unwrap_err();
    assert!(text.contains("credentials/client_secret exists already"), "{text}");
    assert_eq!(fs::read_to_string(&secret).unwrap(), "mine");
    assert!(!folder.path().join("gateway.toml").exists());
    fs::remove_file(&secret).unwrap();
    let told = init(&arguments, None).unwrap();
    assert!(told.contains("kept") && !told.contains("readable by you alone"), "{told}");
    assert_eq!(fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
}

/// How many commands it ends with.
fn next(told: &str) -> usize {
    let commands = told.split("Next:\n").nth(1).unwrap().lines();
    commands.filter(|line| line.starts_with("  ") && !line.starts_with("      ")).count()
}

fn loads(files: &[&Path]) {
    let files: Vec<_> = files.iter().map(|file| (*file).to_owned()).collect();
    let loaded = config::load(&files, std::iter::empty()).and_then(Loaded::for_serving);
    let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
    let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(warnings, Vec::<String>::new(), "{files:?}");
}

#[test]
fn every_combination_writes_a_configuration_that_loads() {
    let folder = tempfile::tempdir().unwrap();
    let mut made = 0;
    for source in ["sealed", "vault", "directory", "environment"] {
        for upstream in ["production", "development", "mock", "https://pigello.test:444"] {
            for deploy in ["none", "systemd", "kubernetes"] {
                let place = folder.path().join(format!("{made}"));
                let arguments = [
                    "--directory",
                    place.to_str().unwrap(),
                    "--secret-from",
                    source,
                    "--upstream",
                    upstream,
                    "--deploy",
                    deploy,
                ];
                let done = init(&arguments, None);
                if (source, deploy) == ("sealed", "kubernetes") {
                    let (text, hint) = done.unwrap_err();
                    assert!(text.contains("does not fit into a pod") && hint.is_some());
                    assert!(!place.exists());
                    continue;
                }
                let told = done.unwrap();
                made += 1;
                let (file, overlay) = (place.join("gateway.toml"), place.join("systemd.toml"));
                loads(&[&file]);
                if overlay.exists() {
                    loads(&[&file, &overlay]);
                }
                assert!(told.contains("pigello-gateway check --"), "{told}");
                assert_eq!(next(&told) > 3, deploy == "systemd", "{told}");
                let owned = (source, deploy) == ("sealed", "systemd");
                assert_eq!(told.contains("chown -R pigello-gateway:"), owned, "{told}");
                // A service does not see what lies in a temporary folder.
                assert_eq!(told.contains("note: "), deploy == "systemd", "{told}");
            }
        }
    }
    assert_eq!(made, 44);
}

#[test]
fn every_login_to_a_vault_loads_with_what_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let roots = folder.path().join("roots.pem");
    fs::write(&roots, Authority::new("made-up").unwrap().pem()).unwrap();
    let roots = roots.to_str().unwrap();
    for login in ["approle", "kubernetes", "token", "cert"] {
        for deploy in ["none", "systemd"] {
            let place = folder.path().join(format!("{login}-{deploy}"));
            let given = "--secret-from vault --vault-address https://vault.test:8201 --vault-mount /kv/ \
                         --vault-path /team/pigello/ --profile main --caller billing \
                         --allow tenant.get --allow subtenant.* \
                         --listen unix:/run/calls.sock --admin unix:/run/admin.sock";
            let place_and_login = [
                "--directory",
                place.to_str().unwrap(),
                "--vault-login",
                login,
                "--deploy",
                deploy,
                "--ca-file",
                roots,
            ];
            let given: Vec<_> = given.split_whitespace().chain(place_and_login).collect();
            init(&given, None).unwrap();
            let (file, overlay) = (place.join("gateway.toml"), place.join("systemd.toml"));
            loads(&[&file]);
            if overlay.exists() {
                loads(&[&file, &overlay]);
            }
            let text = fs::read_to_string(&file).unwrap();
            for part in [
                &format!("method = \"{login}\""),
                "address = \"https://vault.test:8201\"",
                "mount = \"kv\"",
                "path = \"team/pigello\"",
                "profile = \"main\"",
                "allow = [\"tenant.get\", \"subtenant.*\"]",
                &format!("ca_file = \"{roots}\""),
                "address = \"unix:/run/calls.sock\"",
                "address = \"unix:/run/admin.sock\"",
            ] {
                assert!(text.contains(part), "{part} in\n{text}");
            }
        }
    }
}

#[test]
fn what_is_secret_is_readable_by_its_owner_alone() {
    let folder = tempfile::tempdir().unwrap();
    for (source, name, mode) in [
        ("sealed", "credentials.key", 0o600),
        ("sealed", "credentials.sealed", 0o600),
        ("sealed", "gateway.toml", 0o644),
        ("directory", "credentials", 0o700),
        ("environment", "credentials.env", 0o600),
        ("vault", "vault-policy.hcl", 0o644),
    ] {
        let place = folder.path().join(source);
        if !place.exists() {
            init(&["--directory", place.to_str().unwrap(), "--secret-from", source], None).unwrap();
        }
        let found = fs::metadata(place.join(name)).unwrap().permissions().mode() & 0o777;
        assert_eq!(found, mode, "{source}: {name}");
    }
}

#[test]
fn nothing_is_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let file = folder.path().join("gateway.toml");
    fs::write(&file, "# mine\n").unwrap();
    let (text, hint) = init(&["--directory", place], None).unwrap_err();
    assert!(text.contains("gateway.toml exists already; nothing was written"), "{text}");
    assert!(hint.unwrap().contains("--force"));
    assert_eq!(fs::read_to_string(&file).unwrap(), "# mine\n");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    // With --force, everything but a store and its key.
    init(&["--directory", place, "--force"], None).unwrap();
    let key = fs::read(folder.path().join("credentials.key")).unwrap();
    let told = init(&["--directory", place, "--force"], None).unwrap();
    assert!(told.contains("kept"), "{told}");
    assert_eq!(fs::read(folder.path().join("credentials.key")).unwrap(), key);
}

#[test]
fn a_mistake_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new");
    for (wrong, said) in [
        (&["--allow", "subtenent.get"][..], "subtenant.get"),
        (&["--upstream", "http://pigello.test"], "https"),
        (&["--caller", "two words"], "not a name; write up to 64"),
        (&["--caller", "_app"], "first a letter or a digit"),
        (&["--profile", "-"], "first a letter or a digit"),
        (&["--secret-from", "sealed", "--vault-path", "x"], "--vault-path is for"),
        (
            &["--secret-from", "directory", "--vault-address", "https://v.test"],
            "--vault-address is",
        ),
        (&["--secret-from", "environment", "--vault-mount", "kv"], "--vault-mount is for"),
        (&["--secret-from", "sealed", "--vault-login", "token"], "--vault-login is for"),
        (&["--ca-file", "/nonexistent/roots.pem"], "--ca-file: "),
        (&["--ca-file", "/dev/null"], "--ca-file: "),
        (&["--listen", "unix:/run/a\nb"], "control character"),
        (&["--listen", "unix:/run/a\\", "--deploy", "systemd"], "a blank or a backslash"),
        (&["--listen", "0.0.0.0:8080"], "shared-mtls.toml"),
        (&["--values", "v.json", "--secret-from", "vault"], "--values is for"),
        (&["--deploy", "kubernetes", "--secret-from", "vault", "--vault-login", "token"], "pod"),
    ] {
        let arguments = [&["--directory", place.to_str().unwrap()], wrong].concat();
        let (text, _) = init(&arguments, None).unwrap_err();
        assert!(text.contains(said), "{wrong:?}: {text}");
        assert!(!place.exists(), "{wrong:?}");
    }
}

#[test]
fn a_dry_run_shows_the_files_and_writes_none() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new");
    let arguments = ["--directory", place.to_str().unwrap(), "--dry-run", "--deploy", "systemd"];
    let shown = init(&arguments, None).unwrap();
    for text in ["gateway.toml (mode 0644)", "[[listeners]]", "[Socket]"] {
        assert!(shown.contains(text), "{text} in\n{shown}");
    }
    assert!(!place.exists());
}

#[test]
fn somebody_who_answers_is_asked_until_it_can_be_understood() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("asked");
    let answers = "prod\nproduction\nmain\nnone\nvalut\nvault\nhttps://vault.test:8200\n\
                   team/pigello\napprole\nbilling\nsubtenant.*, tenent.get\nsubtenant.*, tenant.get\n\
                   \nyes\n";
    let told = init(&["--directory", place.to_str().unwrap()], Some(answers)).unwrap();
    assert!(told.contains("give production, development, mock, or a URL"), "{told}");
    assert!(told.contains("give one of sealed, vault, directory, environment"), "{told}");
    assert!(
        told.contains("`tenent.get` stands for no operation; did you mean `tenant.get`?"),
        "{told}"
    );
    let text = fs::read_to_string(place.join("gateway.toml")).unwrap();
    for part in [
        "[profiles.main]",
        "path = \"team/pigello\"",
        "allow = [\"subtenant.*\", \"tenant.get\"]",
        "caller = \"billing\"",
    ] {
        assert!(text.contains(part), "{part} in\n{text}");
    }
    let policy = fs::read_to_string(place.join("vault-policy.hcl")).unwrap();
    assert!(policy.contains("path \"secret/data/team/pigello\""), "{policy}");

    let (text, hint) = init(&["--directory", "never"], Some("production\n")).unwrap_err();
    assert!(text.contains("the input ended") && hint.unwrap().contains("--defaults"));
}

#[test]
fn somebody_who_has_the_values_is_asked_for_each_and_the_secret_is_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("asked");
    let path = place.to_str().unwrap();
    let id = |number: u8| format!("1f3a5c70-0000-4000-8000-00000000000{number}\n");
    let [one, two, three, four, six] = [1, 2, 3, 4, 6].map(id);
    // What cannot be a header value is asked for again, and what does not look right is asked about.
    let answers = format!(
        "\n\n\n\n\n\n\nyes\n{one}{one}no\n{two}måde-up\n{three}b101\n\nb101\nperhaps\nno\n{four}{six}n\n\
         organization.company\n{six}yes\n"
    );
    let told = init(&["--directory", path], Some(&answers)).unwrap();
    for doubt in [
        "it is the same as `customer_id` – sure?",
        "it looks like no UUID – sure?",
        "it looks like no content type",
        "not printable ASCII",
    ] {
        assert!(told.contains(doubt), "{doubt}: {told}");
    }
    assert!(told.contains("production: version 1 is in use"), "{told}");
    assert!(!told.contains(SECRET.trim()), "{told}");
    assert!(!told.contains("credentials set"), "{told}");
    let file = place.join("credentials.sealed");
    let file = file.to_str().unwrap();
    let (code, shown, errors) =
        output(&["credentials", "show", "--json", "--file", file, "--name", "production"]);
    assert_eq!(code, Some(0), "{errors}");
    assert_eq!(shown.matches("client_secret").count(), 1, "{shown}");

    // Without them, the command that puts them in comes next.
    let place = folder.path().join("later");
    let path = place.to_str().unwrap();
    let told = init(&["--directory", path], Some("\n\n\n\n\n\n\nno\nyes\n")).unwrap();
    assert!(told.contains("credentials set --name production"), "{told}");
}

/// The answers to all questions before the one that is tried: upstream, name, run by, source.
const TO_THE_VAULT: &str = "\n\n\n2\n";

#[test]
fn an_answer_that_the_configuration_would_refuse_is_refused_at_its_question() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    fs::write(taken.join("gateway.toml"), "").unwrap();
    let place = folder.path().join("new");
    for (before, wrong, said) in [
        ("", "http://api.pigello.io", "https"),
        ("", "4", "give production, development, mock"),
        ("\n", "two words", "not a name; write up to 64"),
        ("\n\n", "docker", "give one of none, systemd, kubernetes, or its number"),
        ("\n\n3\n", "sealed", "does not fit into a pod"),
        (TO_THE_VAULT, "http://10.0.0.1:8200", "plain `http://` leads to another machine"),
        (TO_THE_VAULT, "vault.internal", "give a URL"),
        ("\n\n\n2\n\n", "http://vault/secret", "is not a path of a secret"),
        ("\n\n\n2\n\n", "a//b", "is not a path of a secret"),
        ("\n\n\n2\n\n\n", "password", "give one of approle"),
        ("\n\n\n1\n", "a b", "not a name; write up to 64"),
        ("\n\n\n1\n\n", "subtenant.fly", "stands for no operation"),
        ("\n\n\n1\n\n", "tenant", "`pigello-gateway operations` lists all"),
        ("\n\n\n1\n\n\n", "0.0.0.0:8080", "other machines can reach that"),
        ("\n\n\n1\n\n\n", "8080", "write"),
        ("\n\n3\n2\n\n\n\n\n", "unix:/run/x.sock", "not on a Unix socket"),
        ("\n\n\n1\n\n\n\n", file.to_str().unwrap(), "is no folder"),
        ("\n\n\n1\n\n\n\n", taken.to_str().unwrap(), "exists already"),
    ] {
        let mut out = Vec::new();
        let command = <Command as clap::Parser>::try_parse_from(["init"]).unwrap();
        let answers = format!("{before}{wrong}\n");
        let mut person = Person::new(Some(answers.as_bytes()), SECRET.as_bytes(), &mut out);
        // The input ends at the same question.
        assert!(init::run(&command.args, &mut person).is_err());
        drop(person);
        let told = String::from_utf8(out).unwrap();
        let last = told.lines().rev().take(2).collect::<Vec<_>>().join("\n");
        assert!(last.contains(said), "{wrong}: {told}");
        assert!(!place.exists() && !Path::new("pigello-gateway").exists(), "{wrong}");
    }
}

#[test]
fn the_plan_is_shown_and_any_answer_can_be_changed() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new");
    let path = place.to_str().unwrap();
    // The caller is the fifth answer; then the source, which opens the vault's questions.
    let answers = format!(
        "3\n\n\n3\n\n\n127.0.0.1:8123\n{path}\n5\nbilling\n99\nmaybe\n4\nvault\n\n\n\nyes\n"
    );
    let told = init(&[], Some(&answers)).unwrap();
    for line in [
        "  1  production   https://api.pigello.io, the real one",
        "  2  vault        HashiCorp Vault or OpenBao",
        "   5  application   app\n",
        "   5  application   billing\n",
        "there is no answer 99",
        "give yes, no, or a number",
        "   5  vault         https://vault.internal:8200\n",
        "   6  secret in it  pigello/mock (mount secret)\n",
    ] {
        assert!(told.contains(line), "{line} in\n{told}");
    }
    let text = fs::read_to_string(place.join("gateway.toml")).unwrap();
    for part in ["source = \"vault\"", "name = \"billing\"", "127.0.0.1:8123"] {
        assert!(text.contains(part), "{part} in\n{text}");
    }

    let place = folder.path().join("not");
    let path = place.to_str().unwrap();
    let (text, _) = init(&["--directory", path], Some("mock\n\n\n\n\n\n\nno\n")).unwrap_err();
    assert_eq!(text, "nothing was written");
    assert!(!place.exists());
}

/// What fails while files are written goes back to a question, with all other answers kept.
#[test]
fn a_late_failure_loses_no_answer() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    let place = folder.path().join("new");
    let answers = format!("mock\nmain\n\n\nbilling\n\n\nyes\n{}\nyes\n", place.display());
    let below = file.join("below");
    let told = init(&["--directory", below.to_str().unwrap()], Some(&answers)).unwrap();
    assert!(told.contains("cannot make"), "{told}");
    let text = fs::read_to_string(place.join("gateway.toml")).unwrap();
    assert!(text.contains("[profiles.main]") && text.contains("name = \"billing\""), "{text}");
}

#[test]
fn a_person_at_a_terminal_is_led_through() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("gateway");
    let path = place.to_str().unwrap();
    let answer_all = |terminal: &mut Terminal| {
        for (question, answer) in [
            ("Which Pigello is called?", "1"),
            ("called in the configuration?", ""),
            ("How is the gateway run?", "1"),
            ("Where does the secret come from?", "1"),
            ("What is the application called", "billing"),
            ("What may it do?", "subtenant.*"),
            ("Where does it call?", "127.0.0.1:8123"),
            ("at hand", "yes"),
            ("customer_id: ", "1f3a5c70-0000-4000-8000-000000000001"),
            ("application_id: ", "1f3a5c70-0000-4000-8000-000000000002"),
            ("service_id: ", "1f3a5c70-0000-4000-8000-000000000003"),
            ("service_version_id: ", "1f3a5c70-0000-4000-8000-000000000004"),
            ("client_ct: ", "organization.company"),
            ("client_object_id: ", "1f3a5c70-0000-4000-8000-000000000006"),
        ] {
            terminal.sees(question);
            if !question.ends_with(": ") {
                terminal.sees("]: ");
            }
            terminal.types(&format!("{answer}\n"));
        }
        terminal.sees("client_secret: ");
    };
    // Ctrl-C and Ctrl-D at the hidden prompt: nothing is written, and the terminal shows again what is typed.
    for (key, code) in [("\u{3}", 1), ("\u{4}", 2)] {
        let mut terminal = Terminal::start(&["init", "--directory", path]);
        answer_all(&mut terminal);
        terminal.types(key);
        let (ended, shown) = terminal.ends();
        assert_eq!(ended, Some(code), "{shown}");
        assert!(shown.contains("nothing was written") && !place.exists(), "{shown}");
    }
    let mut terminal = Terminal::start(&["init", "--directory", path]);
    answer_all(&mut terminal);
    terminal.types(SECRET);
    terminal.answers("Write it?", "yes");
    let (code, shown) = terminal.ends();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains(SECRET.trim()), "{shown}");
    assert!(shown.contains("organization.company"), "{shown}");
    assert!(shown.contains("version 1 is in use"), "{shown}");

    // The same prompts for a store that is there, and a question before it is emptied.
    let store = place.join("credentials.sealed");
    let store = ["--file", store.to_str().unwrap()];
    let mut terminal = Terminal::start(&[&["credentials", "set"], &store[..]].concat());
    terminal.answers("customer_id: ", "b101");
    terminal.answers("it looks like no UUID – sure?", "yes");
    for number in 2..5 {
        terminal.answers("_id: ", &format!("1f3a5c70-0000-4000-8000-00000000000{number}"));
    }
    terminal.answers("client_ct: ", "organization.company");
    terminal.answers("client_object_id: ", "1f3a5c70-0000-4000-8000-000000000006");
    terminal.answers("client_secret: ", "made-up-secret-0043");
    let (code, shown) = terminal.ends();
    assert!(code == Some(0) && shown.contains("version 2 is in use"), "{shown}");
    assert!(!shown.contains("made-up-secret"), "{shown}");
    for (answer, code) in [("no", 1), ("yes", 0)] {
        let mut terminal =
            Terminal::start(&[&["credentials", "remove", "--all"], &store[..]].concat());
        terminal.answers("sure?", answer);
        let (ended, shown) = terminal.ends();
        assert_eq!(ended, Some(code), "{shown}");
    }
}

/// From nothing to an answer, with the three commands that it ends with.
#[test]
fn the_next_three_commands_lead_to_a_gateway_that_answers() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("gateway");
    let path = |name: &str| place.join(name).to_str().unwrap().to_owned();
    let (code, told, errors) = output(&[
        "init",
        "--directory",
        place.to_str().unwrap(),
        "--upstream",
        "mock",
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
    ]);
    assert_eq!(code, Some(0), "{errors}");
    let mut commands = told.lines().filter_map(|line| line.strip_prefix("  pigello-gateway "));
    let mock = commands.next().unwrap();
    assert_eq!(mock, format!("mock-upstream --ca-out {}", path("mock-ca.pem")));
    // Its usual port may be taken here.
    let mock: Vec<_> = mock.split(' ').chain(["--listen", "127.0.0.1:0"]).collect();
    let mut pigello = Running::start(&mock);
    let origin = pigello.origin();
    let config = path("gateway.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("https://localhost:8443", &origin)).unwrap();

    let check: Vec<_> = commands.next().unwrap().split(' ').collect();
    let (code, out, errors) = output(&check);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(!out.contains('✗'), "{out}");
    let serve: Vec<_> = commands.next().unwrap().split(' ').collect();
    let mut gateway = Running::start(&serve);
    let address = gateway.address_of("app");
    let admin = gateway.address_of("admin");
    while !exchange(&admin, &get("/readyz")).starts_with("HTTP/1.1 200 ") {}
    let target = format!("/accounts/users/customer/subtenant/{EXAMPLE_SUBTENANT}/");
    let answer = exchange(&address, &get(&target));
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(gateway.end().0, Some(0));
}

#[test]
fn values_are_sealed_at_once_and_shown_nowhere() {
    let folder = tempfile::tempdir().unwrap();
    let values: serde_json::Map<_, _> = MADE_UP_VALUES
        .iter()
        .map(|(name, value)| (name.key().to_owned(), (*value).into()))
        .collect();
    let file = folder.path().join("values.json");
    fs::write(&file, serde_json::Value::from(values).to_string()).unwrap();
    let place = folder.path().join("gateway");
    let arguments = ["--directory", place.to_str().unwrap(), "--values", file.to_str().unwrap()];
    let told = init(&arguments, None).unwrap();
    assert!(told.contains("version 1 is in use"), "{told}");
    assert_eq!(next(&told), 3, "{told}");
    let (_, secret) = MADE_UP_VALUES.iter().find(|(name, _)| name.is_secret()).unwrap();
    assert!(!told.contains(secret));
    for entry in fs::read_dir(&place).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(secret.len()).any(|part| part == secret.as_bytes()));
    }
}

/// A port on loopback is every user's; a machine with systemd has more than one.
#[test]
fn a_machine_with_systemd_gets_a_socket_and_no_port() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    let told = init(&["--directory", place, "--deploy", "systemd", "--defaults"], None).unwrap();
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let (text, socket) = (read("gateway.toml"), read("pigello-gateway.socket"));
    assert!(text.contains("address = \"unix:/run/pigello-gateway/gateway.sock\""), "{text}");
    assert!(text.contains("mode 0660") && text.contains("group pigello-callers"), "{text}");
    for line in [
        "ListenStream=/run/pigello-gateway/gateway.sock",
        "SocketMode=0660",
        "SocketGroup=pigello-callers",
    ] {
        assert!(socket.contains(line), "{line} in\n{socket}");
    }
    assert!(told.contains("groupadd -f --system pigello-callers\n"), "{told}");
    assert!(told.contains("usermod -aG pigello-callers USER"), "{told}");
    let unit = read("pigello-gateway.service");
    assert!(unit.lines().all(|line| !line.starts_with("PrivateUsers=")), "{unit}");
}

/// The unit that `init` writes and the one in `deploy` protect the machine alike.
#[test]
fn the_unit_is_as_hardened_as_the_one_in_deploy() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("new");
    let arguments = [
        "--directory",
        place.to_str().unwrap(),
        "--deploy",
        "systemd",
        "--secret-from",
        "directory",
    ];
    init(&arguments, None).unwrap();
    let written = fs::read_to_string(place.join("pigello-gateway.service")).unwrap();
    let deployed =
        fs::read_to_string(crate::config::root().join("deploy/systemd/pigello-gateway.service"));
    let deployed = deployed.unwrap();
    assert!(deployed.lines().all(|line| !line.starts_with("PrivateUsers=")), "{deployed}");
    for line in deployed.lines() {
        let own = ["#", "Exec", "LoadCredential"].iter().any(|start| line.starts_with(start));
        assert!(own || written.contains(line), "{line:?} in src/cli/init/pigello-gateway.service");
    }
    assert!(!written.contains("{{"), "{written}");
}

/// The same for a pod: the gateway in it is confined, probed and limited alike.
#[test]
fn the_sidecar_is_the_one_in_deploy() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().to_str().unwrap();
    init(
        &["--directory", place, "--deploy", "kubernetes", "--secret-from", "vault", "--defaults"],
        None,
    )
    .unwrap();
    let written = fs::read_to_string(folder.path().join("kubernetes.yaml")).unwrap();
    let deployed =
        fs::read_to_string(crate::config::root().join("deploy/kubernetes/sidecar/sidecar.yaml"));
    let gateway = |text: &str| {
        assert!(text.contains("\n      enableServiceLinks: false\n"), "{text}");
        let (_, container) = text.split_once("          restartPolicy: Always\n").unwrap();
        let (ports, container) = container.split_once("          securityContext:\n").unwrap();
        // The chart's variables stand for what `init` writes into the configuration.
        let (ports, _) = ports.split_once("          env:\n").unwrap_or((ports, ""));
        format!("{ports}{}", container.split_once("          volumeMounts:\n").unwrap().0)
    };
    assert_eq!(gateway(&written), gateway(&deployed.unwrap()));
    assert!(!written.contains("{{"), "{written}");
}

/// The names of folders that systemd would read otherwise, if they stood in a unit as they are.
#[test]
fn a_folder_with_any_name_is_one_word_in_the_units() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().to_str().unwrap();
    for (name, literal, pattern, word) in [
        ("a b", "a b", "a b", "a b"),
        ("p%h", "p%%h", "p%%h", "p%%h"),
        ("dol$HOME", "dol$HOME", "dol$HOME", "dol$$HOME"),
        ("q\"x", "q\"x", "q\"x", "q\\\"x"),
        ("back\\slash", "back\\slash", "back\\\\slash", "back\\\\slash"),
        ("s*", "s*", "s\\*", "s*"),
    ] {
        for source in ["sealed", "directory", "environment", "vault"] {
            let place = format!("{root}/{source}/{name}");
            let arguments = ["--deploy", "systemd", "--secret-from", source, "--directory", &place];
            init(&arguments, None).unwrap();
            let unit = fs::read_to_string(format!("{place}/pigello-gateway.service")).unwrap();
            let config = format!(" --config \"{root}/{source}/{word}/gateway.toml\"");
            assert_eq!(unit.matches(&config).count(), 3, "{unit}");
            let line = match source {
                "directory" => format!(
                    "\nLoadCredential=client_secret:{root}/{source}/{literal}/credentials/client_secret\n"
                ),
                "environment" => {
                    format!("\nEnvironmentFile={root}/{source}/{pattern}/credentials.env\n")
                }
                "vault" => {
                    format!("\nLoadCredential=secret-id:{root}/{source}/{literal}/secret-id\n")
                }
                _ => config,
            };
            assert!(unit.contains(&line), "{line} in\n{unit}");
        }
    }
    let place = format!("{root}/calls");
    let listen = "unix:/run/a b%h/gateway.sock";
    init(&["--deploy", "systemd", "--directory", &place, "--listen", listen], None).unwrap();
    let socket = fs::read_to_string(format!("{place}/pigello-gateway.socket")).unwrap();
    assert!(socket.contains("\nListenStream=/run/a b%%h/gateway.sock\n"), "{socket}");
    for name in ["a\nExecStartPost=b", "a\u{1b}[2J", "a\u{85}b"] {
        let place = format!("{root}/{name}");
        let (text, _) = init(&["--directory", &place], None).unwrap_err();
        assert!(text.contains("control character"), "{text}");
        assert!(!Path::new(&place).exists());
    }
}

/// What was taken as the default comes from other answers, and follows them; what was typed stays.
#[test]
fn a_changed_answer_moves_the_defaults_that_came_from_it() {
    let folder = tempfile::tempdir().unwrap();
    for (at, (answers, there)) in [
        (
            "mock\n\n\n\n\n\n\n1\nproduction\nno\n3\nsystemd\nyes\n",
            &["[profiles.production]", "\"unix:/run/pigello-gateway/gateway.sock\""][..],
        ),
        (
            "mock\nmain\n\n\n\n\n127.0.0.1:8123\n1\nproduction\nno\n3\nsystemd\nyes\n",
            &["[profiles.main]", "https://api.pigello.io", "\"127.0.0.1:8123\""],
        ),
        // The typed name of the mock is its default once more.
        ("mock\nmain\n\n\n\n\n\n2\n\nyes\n", &["[profiles.mock]"]),
        (
            "\n\n\n2\n\n\n\n\n\n\n2\nmain\n3\nkubernetes\nyes\n",
            &["path = \"pigello/main\"", "method = \"kubernetes\""],
        ),
        ("\n\n3\n\n\n\n\n\n\n3\nsystemd\nno\nyes\n", &["source = \"sealed\"", "unix:/run/"]),
        (
            "\n\n3\n\n\nteam/typed\n\n\n\n3\nsystemd\n\nyes\n",
            &["source = \"vault\"", "team/typed", "method = \"approle\""],
        ),
    ]
    .into_iter()
    .enumerate()
    {
        let place = folder.path().join(at.to_string());
        init(&["--directory", place.to_str().unwrap()], Some(answers)).unwrap();
        let text = fs::read_to_string(place.join("gateway.toml")).unwrap();
        for part in there {
            assert!(text.contains(part), "{answers:?}: {part} in\n{text}");
        }
    }
}

#[test]
fn a_name_that_the_configuration_takes_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let long = "a".repeat(64);
    for (at, (profile, caller)) in
        [("a.b-c_d", "team.billing"), (&*long, &*long), ("0", "no")].into_iter().enumerate()
    {
        for (deploy, source) in
            [("systemd", "directory"), ("kubernetes", "vault"), ("none", "sealed")]
        {
            let place = folder.path().join(format!("{at}-{deploy}"));
            let path = place.to_str().unwrap();
            let names = ["--profile", profile, "--caller", caller, "--directory", path];
            init(&[&names[..], &["--deploy", deploy, "--secret-from", source]].concat(), None)
                .unwrap();
            let (file, overlay) = (place.join("gateway.toml"), place.join("systemd.toml"));
            loads(&[&file]);
            if overlay.exists() {
                loads(&[&file, &overlay]);
            }
            if let Ok(manifest) = fs::read_to_string(place.join("kubernetes.yaml")) {
                let label = manifest.split("app.kubernetes.io/name: \"").nth(1).unwrap();
                let label = label.split_once('"').unwrap().0;
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                assert!(
                    label.len() + "-gateway".len() <= 63 && label.bytes().all(plain),
                    "{label}"
                );
            }
        }
    }
}

#[test]
fn an_option_of_the_vault_chooses_the_vault() {
    let folder = tempfile::tempdir().unwrap();
    for (at, option) in [
        ["--vault-path", "team/pigello"],
        ["--vault-mount", "kv"],
        ["--vault-address", "https://vault.test"],
        ["--vault-login", "token"],
    ]
    .into_iter()
    .enumerate()
    {
        let place = folder.path().join(at.to_string());
        init(&[&["--directory", place.to_str().unwrap()], &option[..]].concat(), None).unwrap();
        let text = fs::read_to_string(place.join("gateway.toml")).unwrap();
        assert!(text.contains("source = \"vault\"") && text.contains(option[1]), "{text}");
    }
}

/// The pod does not start without the Secret that its manifest names.
#[test]
fn the_secret_that_the_manifest_names_is_made_by_a_printed_command() {
    let folder = tempfile::tempdir().unwrap();
    for (source, flag) in [("environment", "--from-env-file="), ("directory", "--from-file=")] {
        let place = folder.path().join(source);
        let path = place.to_str().unwrap();
        let arguments = ["--deploy", "kubernetes", "--secret-from", source, "--directory", path];
        let told = init(&arguments, None).unwrap();
        let made = told.find(&format!("kubectl create secret generic pigello {flag}"));
        let used = told.find("kubectl apply -f ");
        assert!(made.is_some() && made < used, "{told}");
        let manifest = fs::read_to_string(place.join("kubernetes.yaml")).unwrap();
        assert!(manifest.contains("pigello }"), "{manifest}");
    }
}
