//! Many activations on the command line: what is listed, shown and checked of them, a table of them, and who may use
//! which.

use std::{fs, io::Write as _, path::PathBuf, process::Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::{
    bao::Bao,
    program::{Running, exchange, get, output, program, told},
};

/// A mock with three activations, a table of their values, and a configuration with a template.
struct Customers {
    folder: TempDir,
    _pigello: Running,
    origin: String,
}

const SUBTENANTS: &str = "/accounts/users/customer/subtenant/list/?_page=1&_page_size=10";

impl Customers {
    /// With a sealed store, which is made and empty.
    fn sealed() -> Self {
        let customers = Self::with(
            "source = \"sealed\"\nfile = \"customers.sealed\"\nkey_file = \"customers.key\"\n",
            "",
        );
        customers.works(&["credentials", "init"], &["--name", "customers"]);
        customers
    }

    fn with(source: &str, more: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let (ca, values) = (path("ca.pem"), path("customers.csv"));
        let mut pigello = Running::start(&[
            "mock-upstream",
            "--listen",
            "127.0.0.1:0",
            "--ca-out",
            &ca,
            "--activations",
            "3",
            "--values-out",
            &values,
        ]);
        let origin = pigello.origin();
        let customers = Self { folder, _pigello: pigello, origin };
        customers.configure(source, "", more);
        customers
    }

    /// Writes the configuration, with more keys for the caller `billing`.
    fn configure(&self, source: &str, billing: &str, more: &str) {
        let text = format!(
            r#"
            [[listeners]]
            name = "apps"
            address = "unix:{app}"
            caller = "billing"
            allowed_hosts = ["{{profile}}.pigello.internal"]
            [[listeners]]
            name = "old"
            address = "unix:{old}"
            profile = "customer-0002"
            caller = "legacy"
            [admin]
            address = "unix:{admin}"
            [profiles."customer-*"]
            upstream = "{origin}"
            credentials = "customers"
            ca_file = "ca.pem"
            [audit]
            directory = "audit"
            [[callers]]
            name = "billing"
            allow = ["subtenant.*"]
            profiles = ["customer-*"]
            {billing}
            [[callers]]
            name = "legacy"
            allow = ["tenant.get"]
            {more}
            [credentials.customers]
            {source}
            "#,
            app = self.path("app.sock").display(),
            old = self.path("old.sock").display(),
            admin = self.path("admin.sock").display(),
            origin = self.origin,
        );
        fs::write(self.path("gateway.toml"), text).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn table(&self) -> String {
        fs::read_to_string(self.path("customers.csv")).unwrap()
    }

    /// The secrets in the table.
    fn secrets(&self) -> Vec<String> {
        let lines = self.table();
        let at =
            lines.lines().next().unwrap().split(',').position(|it| it == "client_secret").unwrap();
        lines.lines().skip(1).map(|line| line.split(',').nth(at).unwrap().to_owned()).collect()
    }

    /// Runs a command with the configuration; no secret may be in what it says.
    fn run(&self, command: &[&str], more: &[&str]) -> (Option<i32>, String, String) {
        self.fed(command, more, "")
    }

    fn fed(&self, command: &[&str], more: &[&str], input: &str) -> (Option<i32>, String, String) {
        let mut program = program();
        program.args(command).arg("--config").arg(self.path("gateway.toml")).args(more);
        program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = program.spawn().unwrap();
        // A command that finds a mistake before reads nothing.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        let (code, out, errors) = told(child.wait_with_output().unwrap());
        for secret in self.secrets() {
            assert!(
                !out.contains(&secret) && !errors.contains(&secret),
                "{command:?} shows a secret"
            );
        }
        (code, out, errors)
    }

    fn works(&self, command: &[&str], more: &[&str]) -> String {
        let (code, out, errors) = self.run(command, more);
        assert_eq!(code, Some(0), "{command:?} {more:?}\n{out}{errors}");
        out
    }

    fn json(&self, command: &[&str], more: &[&str]) -> Value {
        serde_json::from_str(&self.works(command, &[more, &["--json"]].concat())).unwrap()
    }

    fn import(&self, more: &[&str], table: &str) -> (Option<i32>, String, String) {
        self.fed(&["credentials", "import", "--table"], more, table)
    }

    fn imported(self) -> Self {
        let (code, out, errors) = self.import(&[], &self.table());
        assert_eq!(code, Some(0), "{out}{errors}");
        self
    }

    fn serve(&self) -> Running {
        let mut gateway =
            Running::start(&["serve", "--config", self.path("gateway.toml").to_str().unwrap()]);
        gateway.address_of("admin");
        gateway
    }

    /// The answer to a call of `billing` that names a profile.
    fn call(&self, profile: &str) -> String {
        let request = get(SUBTENANTS)
            .replace("Host:", &format!("Pigello-Gateway-Profile: {profile}\r\nHost:"));
        exchange(&format!("unix:{}", self.path("app.sock").display()), &request)
    }
}

#[test]
fn a_table_becomes_sets_at_once_and_only_what_changes_is_new() {
    let customers = Customers::sealed();
    let table = customers.table();
    let (code, out, errors) = customers.import(&["--dry-run"], &table);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("customer-0001: would be version 1 (new)"), "{out}");
    assert!(errors.contains("nothing was written"), "{errors}");
    let listed = customers.json(&["profiles", "list"], &[]);
    assert_eq!(listed["tables"][0]["members"], serde_json::json!([]));

    let (_, out, _) = customers.import(&[], &table);
    assert!(out.contains("customer-0003: version 1 is in use (new)"), "{out}");
    assert!(out.contains("3 rows: 3 new, 0 changed, 0 unchanged"), "{out}");
    let (_, out, _) = customers.import(&[], &table);
    assert_eq!(out, "3 rows: 0 new, 0 changed, 3 unchanged\n");
    let second = customers.secrets().remove(1);
    let (_, out, _) = customers.import(&[], &table.replace(&second, "made-up-other"));
    assert!(out.contains("customer-0002: version 2 is in use (changed)"), "{out}");
    assert!(!out.contains("customer-0001"), "{out}");
    assert!(out.contains("3 rows: 0 new, 1 changed, 2 unchanged"), "{out}");
}

#[test]
fn a_table_with_a_mistake_changes_nothing_and_all_mistakes_are_told() {
    let customers = Customers::sealed();
    let table = customers.table();
    let first = customers.secrets().remove(0);
    for (table, told) in [
        (table.replace(&first, ""), "line 2: column `client_secret`"),
        (table.replace("customer-0002", "Customer-2"), "line 3: column `profile`"),
        (table.replace("customer-0002", "nordic-2"), "line 3: column `profile`: no template"),
        (table.replace("customer-0003", "customer-0001"), "line 4: the profile of line 2"),
        (table.replacen("customer_id", "costumer_id", 1), "line 1: column 2"),
        (
            table.replacen(",application_id", "", 1),
            "line 2: it has 8 columns, and the header has 7",
        ),
        (String::new(), "the table is empty"),
    ] {
        let (code, out, errors) = customers.import(&[], &table);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{errors}");
        assert!(
            errors.contains(told) && errors.contains("nothing was imported"),
            "{told}:\n{errors}"
        );
    }
    let bad = table.replace(&first, "").replace("customer-0002", "Customer-2");
    let (_, _, errors) = customers.import(&[], &bad);
    assert!(errors.contains("line 2:") && errors.contains("line 3:"), "{errors}");
    // A value that nobody gives is a mistake too.
    let without: String = table
        .lines()
        .map(|line| {
            line.split(',')
                .enumerate()
                .filter(|(at, _)| *at != 1)
                .map(|(_, it)| it)
                .collect::<Vec<_>>()
                .join(",")
                + "\n"
        })
        .collect();
    let (code, _, errors) = customers.import(&[], &without);
    assert_eq!(code, Some(2), "{errors}");
    assert!(errors.contains("line 4: `customer_id` is missing"), "{errors}");
    let listed = customers.json(&["profiles", "list"], &[]);
    assert_eq!(listed["tables"][0]["members"], serde_json::json!([]));
    // Unless the configuration has it.
    let source = "source = \"sealed\"\nfile = \"customers.sealed\"\nkey_file = \"customers.key\"\ncustomer_id = \"made-up\"\n";
    customers.configure(source, "", "");
    let (code, out, errors) = customers.import(&[], &without);
    assert_eq!(code, Some(0), "{out}{errors}");
}

#[test]
fn profiles_are_listed_with_what_leads_to_them_and_how_they_are() {
    let customers = Customers::sealed().imported();
    let out = customers.works(&["profiles", "list"], &[]);
    for told in [
        "customer-*  a template",
        "customers: the sealed store",
        "`billing` on `apps`, by the field Pigello-Gateway-Profile or the host {profile}.pigello.internal; it may use \
         subtenant.*",
        "`legacy` on `old`, whose calls all go there; it may use tenant.get",
        "3 in the source, 0 loaded",
        "No gateway that runs",
        "customer-0003",
    ] {
        assert!(out.contains(told), "{told:?} in\n{out}");
    }
    let gateway = customers.serve();
    assert!(customers.call("customer-0001").starts_with("HTTP/1.1 200 "));
    let listed = customers.json(&["profiles", "list"], &[]);
    let members = listed["tables"][0]["members"].as_array().unwrap();
    assert_eq!(listed["running"], true);
    assert_eq!(members.len(), 3, "{listed}");
    assert_eq!(members[0]["state"]["credentials"]["version"], "1", "{listed}");
    assert_eq!(members[2]["state"], Value::Null, "{listed}");
    let shown = customers.works(&["profiles", "show", "customer-0001"], &[]);
    for told in [
        "customer-*, a template",
        "the set customer-0001",
        "`billing` on `apps`",
        "fresh, version 1",
    ] {
        assert!(shown.contains(told), "{told:?} in\n{shown}");
    }
    assert!(!shown.contains("legacy"), "{shown}");
    let shown = customers.works(&["profiles", "show", "customer-0003"], &[]);
    assert!(shown.contains("not loaded"), "{shown}");
    assert_eq!(gateway.end().0, Some(0));
    let (code, _, errors) = customers.run(&["profiles", "show", "nordic"], &[]);
    assert!(code == Some(2) && errors.contains("no such profile"), "{errors}");
    let (code, _, errors) = customers.run(&["profiles", "show", "customer-*"], &[]);
    assert!(code == Some(2) && errors.contains("is a template"), "{errors}");
}

#[test]
fn a_profile_is_shown_with_how_far_its_notices_are_complete() {
    for (notices, told, state) in [
        ("event_log = \"poll\"", "event log complete since 20", "complete"),
        (
            "event_log = \"poll\"\npath = \"/common/nowhere/\"",
            "event log stopped: missing",
            "stopped",
        ),
    ] {
        let source =
            "source = \"sealed\"\nfile = \"customers.sealed\"\nkey_file = \"customers.key\"\n";
        let customers = Customers::sealed().imported();
        customers.configure(source, "", &format!("[notices]\n{notices}\ninterval = \"1s\"\n"));
        let gateway = customers.serve();
        assert!(customers.call("customer-0001").starts_with("HTTP/1.1 200 "));
        while !customers.works(&["profiles", "show", "customer-0001"], &[]).contains(told) {}
        let listed = customers.works(&["profiles", "list"], &[]);
        assert!(listed.contains(told), "{listed}");
        let listed = customers.json(&["profiles", "list"], &[]);
        assert_eq!(listed["tables"][0]["members"][0]["state"]["notices"]["event_log"], state);
        assert_eq!(gateway.end().0, Some(0));
    }
}

#[test]
fn the_members_of_a_directory_are_its_folders() {
    let customers =
        Customers::with("source = \"directory\"\npath = \"sets/{profile}/values\"\n", "");
    for name in
        ["customer-acme/values", "customer-nordic/values", "customer-half", "nordic-x/values"]
    {
        fs::create_dir_all(customers.path("sets").join(name)).unwrap();
    }
    let listed = customers.json(&["profiles", "list"], &[]);
    let members = listed["tables"][0]["members"].as_array().unwrap();
    let names: Vec<_> = members.iter().map(|member| member["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["customer-acme", "customer-nordic"]);
    let shown = customers.works(&["profiles", "show", "customer-acme"], &[]);
    assert!(shown.contains("sets/customer-acme/values"), "{shown}");
}

#[test]
fn one_profile_is_checked_with_fingerprints() {
    let customers = Customers::sealed().imported();
    let out = customers.works(&["profiles", "check", "customer-0001"], &[]);
    for told in [
        "a member of customer-*",
        "`billing` on `apps`",
        "all seven values, version 1",
        "client_secret",
    ] {
        assert!(out.contains(told), "{told:?} in\n{out}");
    }
    // The fingerprint is that of the store, under one salt.
    let checked = customers.json(&["profiles", "check", "customer-0001", "--salt", "x"], &[]);
    let store = customers.works(
        &["credentials", "show"],
        &[
            "--name",
            "customer-0001",
            "--salt",
            "x",
            "--file",
            customers.path("customers.sealed").to_str().unwrap(),
        ],
    );
    let steps = checked["steps"].as_array().unwrap();
    let secret = steps.iter().find(|step| step["step"] == "client_secret").unwrap();
    let fingerprint = secret["found"].as_str().unwrap().split(' ').next_back().unwrap();
    assert!(store.contains(fingerprint), "{store}");

    for (name, told) in [
        ("customer-9", "holds no set"),
        ("nordic", "no table has this name"),
        ("customer-ACME", "lower case"),
        ("customer-*", "no table has this name"),
        ("customer-../x", "lower case"),
    ] {
        let (code, out, errors) = customers.run(&["profiles", "check", name], &[]);
        assert_eq!(code, Some(1), "{name}: {out}{errors}");
        assert!(out.contains(told), "{name}: {told:?} in\n{out}");
    }
}

#[test]
fn members_are_tried_online_one_a_sample_or_all() {
    let customers = Customers::sealed().imported();
    let checked = |profile: &str, code: i32| {
        let (found, out, errors) = customers.run(&["check", "--online", "--profile", profile], &[]);
        assert_eq!(found, Some(code), "{profile}: {out}{errors}");
        out
    };
    let out = customers.works(&["check", "--online"], &[]);
    assert!(out.contains("a template: `--profile`"), "{out}");
    let out = checked("customer-0002", 0);
    assert!(
        out.contains("call customer-0002") && out.contains("the seven values are taken"),
        "{out}"
    );
    for profile in ["all", "sample"] {
        let out = checked(profile, 0);
        assert_eq!(
            out.matches("all seven values, version 1; the seven values are taken").count(),
            3,
            "{out}"
        );
        assert!(out.contains("3 in the source; every one is in order"), "{out}");
    }
    let out = customers.works(&["profiles", "check", "--online", "customer-0003"], &[]);
    assert!(out.contains("the seven values are taken"), "{out}");
    // Every call is on the trail, by its profile.
    let trail =
        customers.works(&["audit", "query"], &["--format", "json", "--profile", "customer-0003"]);
    assert_eq!(trail.lines().count(), 3, "{trail}");
    assert!(trail.lines().all(|line| line.contains("\"cause\":\"check\"")), "{trail}");

    let broken = customers.table().replace(&customers.secrets()[1], "made-up-wrong");
    assert_eq!(customers.import(&[], &broken).0, Some(0));
    let out = checked("all", 1);
    assert!(out.contains("the seven values are refused (401)"), "{out}");
    assert!(out.contains("1 are not in order"), "{out}");
    assert!(checked("customer-9", 1).contains("holds no set"));
    assert!(checked("nordic", 1).contains("no table has this name"));
    // A gateway that runs puts the calls on its trail.
    let gateway = customers.serve();
    assert!(checked("customer-0001", 0).contains("the seven values are taken"));
    assert_eq!(checked("all", 1).matches("the seven values are taken").count(), 2);
    assert_eq!(gateway.end().0, Some(0));
    let (code, _, errors) = customers.run(&["check", "--profile", "all"], &[]);
    assert_eq!(code, Some(2), "{errors}");
}

#[test]
fn the_members_of_a_vault_are_put_there_by_commands_and_listed() {
    let Some(bao) = Bao::start() else { return };
    let source = "source = \"vault\"\npath = \"pigello/{profile}\"\n".to_owned() + &bao.tables();
    let customers = Customers::with(&source, "");
    let (code, _, errors) = customers.import(&[], &customers.table());
    assert!(code == Some(2) && errors.contains("--print-vault-commands"), "{errors}");
    let folder = customers.path("for-the-vault");
    let print = ["--print-vault-commands", folder.to_str().unwrap()];
    let (code, commands, errors) = customers.import(&print, &customers.table());
    assert_eq!(code, Some(0), "{errors}");
    assert!(
        commands.starts_with("bao kv put -mount=secret pigello/customer-0001 - < "),
        "{commands}"
    );
    for command in commands.lines() {
        let (arguments, file) = command.strip_prefix("bao ").unwrap().split_once(" - < ").unwrap();
        let mut put: Vec<_> = arguments.split(' ').collect();
        put.push("-");
        let status = bao.command(&put).stdin(fs::File::open(file).unwrap()).output().unwrap();
        assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));
    }
    // The folder is new each time.
    assert_eq!(customers.import(&print, &customers.table()).0, Some(1));
    let (code, out, errors) = customers.run(&["check", "--online", "--profile", "all"], &[]);
    assert_eq!(code, Some(0), "{out}{errors}");
    assert!(out.contains("3 in the source; every one is in order"), "{out}");
    let listed = customers.works(&["profiles", "list"], &[]);
    assert!(listed.contains("asks the vault"), "{listed}");
}

#[test]
fn rules_about_profiles_are_tested_compared_and_explained() {
    let customers = Customers::sealed();
    let expectations = customers.path("expectations.toml");
    let tests = |text: &str| {
        fs::write(&expectations, text).unwrap();
        customers.run(&["policy", "test"], &[expectations.to_str().unwrap()])
    };
    let (code, out, errors) = tests(concat!(
        "[[expect]]\ncaller = \"billing\"\noperation = \"subtenant.get\"\nprofile = \"customer-acme\"\nverdict = \"allowed\"\n",
        "[[expect]]\noperation = \"subtenant.get\"\nprofile = \"customer-acme\"\nonly = [\"billing\"]\n",
        "[[expect]]\noperation = \"tenant.get\"\nprofile = \"customer-acme\"\nonly = []\n",
        "[[expect]]\noperation = \"tenant.get\"\nprofile = \"customer-0002\"\nonly = [\"legacy\"]\n",
        "[[expect]]\ncaller = \"billing\"\noperation = \"subtenant.get\"\nverdict = \"profile_not_named\"\n",
    ));
    assert_eq!(code, Some(0), "{out}{errors}");
    for (unmet, told) in [
        (
            "caller = \"legacy\"\noperation = \"tenant.get\"\nprofile = \"customer-acme\"\nverdict = \"allowed\"\n",
            "is for the profile `customer-0002`",
        ),
        (
            "operation = \"subtenant.get\"\nprofile = \"customer-acme\"\nonly = []\n",
            "nobody may use `subtenant.get` with the profile `customer-acme`",
        ),
        (
            "operation = \"subtenant.get\"\nprofile = \"customer-acme\"\nonly = [\"legacy\"]\n",
            "`legacy` may use none of it",
        ),
    ] {
        let (code, out, errors) = tests(&format!("[[expect]]\n{unmet}"));
        assert_eq!(code, Some(1), "{out}{errors}");
        assert!(out.contains(told), "{told:?} in\n{out}");
    }
    let (code, _, errors) = tests(
        "[[expect]]\ncaller = \"billing\"\noperation = \"*\"\nprofile = \"nordic\"\nverdict = \"allowed\"\n",
    );
    assert!(code == Some(2) && errors.contains("no such profile"), "{errors}");

    let explained = |profile: &str| {
        customers
            .run(&["explain", "--caller", "billing", "--profile", profile, "GET", SUBTENANTS], &[])
            .1
    };
    assert!(explained("customer-acme").contains("(profile `customer-acme`)"));
    assert!(explained("nordic").contains("profile_not_allowed"));
    let meaning = customers.works(&["check"], &[]);
    assert!(meaning.contains("with the profiles customer-*"), "{meaning}");
    let (_, _, note) = customers.run(&["operations", "--caller", "billing"], &[]);
    assert!(note.contains("with the profiles customer-*"), "{note}");

    let old = customers.path("gateway.toml");
    let new = customers.path("new.toml");
    let text = fs::read_to_string(&old).unwrap();
    let template = format!(
        "[profiles.\"nordic-*\"]\nupstream = \"{}\"\ncredentials = \"customers\"\nca_file = \"ca.pem\"\n",
        customers.origin
    );
    let text = text
        .replace("[\"customer-*\"]", "[\"customer-0*\", \"nordic-*\"]")
        .replace("[audit]", &format!("{template}[audit]"));
    fs::write(&new, &text).unwrap();
    let (code, out, errors) =
        output(&["config", "diff", old.to_str().unwrap(), new.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{errors}");
    assert!(out.contains("`billing` may now use the profiles nordic-*\n"), "{out}");
    assert!(out.contains("`billing` may no longer use the profiles customer-*\n"), "{out}");
    // Whatever the caller lists, a profile that no table has is none.
    fs::write(&new, text.replace("[\"customer-0*\", \"nordic-*\"]", "[\"*\"]")).unwrap();
    let (_, out, errors) = output(&[
        "explain",
        "--config",
        new.to_str().unwrap(),
        "--caller",
        "billing",
        "--profile",
        "other",
        "GET",
        SUBTENANTS,
    ]);
    assert!(out.contains("profile_unknown"), "{out}{errors}");
}

#[test]
fn the_trail_is_asked_summed_up_and_replayed_by_profile() {
    let customers = Customers::sealed().imported();
    let gateway = customers.serve();
    for (profile, status) in
        [("customer-0001", "200"), ("customer-0002", "200"), ("nordic", "403"), ("", "400")]
    {
        let answer = customers.call(profile);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{profile}: {answer}");
    }
    assert_eq!(gateway.end().0, Some(0));
    let calls = |profile: &str| {
        customers
            .works(&["audit", "query"], &["--format", "json", "--profile", profile])
            .lines()
            .count()
    };
    for (profile, count) in [
        ("customer-0001", 1),
        ("customer-*", 2),
        ("*", 3),
        ("nordic", 1),
        ("(none)", 1),
        ("customer-9", 0),
    ] {
        assert_eq!(calls(profile), count, "{profile}");
    }
    let (code, _, errors) = customers.run(&["audit", "query"], &["--profile", "a*b"]);
    assert_eq!(code, Some(2), "{errors}");
    let report = customers.works(&["audit", "report"], &["--by", "profile"]);
    for name in ["customer-0001", "customer-0002", "(refused)", "(none)"] {
        assert!(report.contains(name), "{name} in\n{report}");
    }
    assert!(!report.contains("CALLER") && !report.contains("nordic"), "{report}");
    let usual = customers.works(&["audit", "report"], &[]);
    assert!(usual.contains("CALLER") && !usual.contains("PROFILE"), "{usual}");
    let json: Value =
        serde_json::from_str(&customers.works(&["audit", "report"], &["--format", "json"]))
            .unwrap();
    assert_eq!(json["by_profile"]["customer-0001"]["calls"], 1, "{json}");

    let policy = customers.works(&["audit", "suggest-policy"], &[]);
    assert!(policy.contains("profiles = [\n    \"customer-0001\","), "{policy}");
    assert!(policy.contains("# \"nordic\",") && !policy.contains("customer-*"), "{policy}");

    let (code, out, errors) = customers.run(&["policy", "replay"], &[]);
    assert_eq!(code, Some(0), "{out}{errors}");
    let text = fs::read_to_string(customers.path("gateway.toml")).unwrap();
    let narrow = customers.path("narrow.toml");
    fs::write(&narrow, text.replace("[\"customer-*\"]", "[\"customer-0001\"]")).unwrap();
    let (code, out, errors) = output(&["policy", "replay", "--config", narrow.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{out}{errors}");
    assert!(
        out.contains("would refuse 1 call of 1 caller") && out.contains("customer-0002"),
        "{out}"
    );
}

#[test]
fn many_members_become_the_pattern_of_their_template() {
    let customers = Customers::sealed();
    // A trail as a gateway with twelve customers has it.
    let header = customers.table().lines().next().unwrap().to_owned();
    let row = customers.table().lines().nth(1).unwrap().to_owned();
    let rows = (0..12).map(|number| row.replace("customer-0001", &format!("customer-b{number}")));
    let table = [header].into_iter().chain(rows).collect::<Vec<_>>().join("\n");
    let (code, _, errors) = customers.import(&[], &table);
    assert_eq!(code, Some(0), "{errors}");
    let gateway = customers.serve();
    for number in 0..12 {
        assert!(customers.call(&format!("customer-b{number}")).starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(gateway.end().0, Some(0));
    let policy = customers.works(&["audit", "suggest-policy"], &[]);
    assert!(
        policy.contains("    \"customer-*\",") && policy.contains("for 12 members"),
        "{policy}"
    );
    assert!(!policy.contains("customer-b1"), "{policy}");
    // Without the configuration nobody knows of a template.
    let trail = customers.path("audit");
    let (_, policy, _) =
        output(&["audit", "suggest-policy", "--directory", trail.to_str().unwrap()]);
    assert!(policy.contains("\"customer-b1\"") && !policy.contains("customer-*"), "{policy}");
}
