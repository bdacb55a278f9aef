//! Pages of the manual that are generated from the code are up to date.
//!
//! `UPDATE_EXPECTED=1` rewrites them.

use std::{collections::BTreeSet, env, fs};

use pigello_gateway::{
    config, domain, error,
    telemetry::{METRICS, metrics_page},
};

use crate::config::root;

/// A file of the repository holds this text, word for word.
#[track_caller]
pub(crate) fn is_as_made(path: &str, made: &str) {
    let path = root().join(path);
    if env::var_os("UPDATE_EXPECTED").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(made.lines()).find(|(there, made)| there != made);
    assert!(there == made, "{}: {differs:?}; UPDATE_EXPECTED=1 rewrites it", path.display());
}

#[test]
fn the_page_of_metrics_is_made_from_the_table() {
    is_as_made("docs/src/reference/metrics.md", &metrics_page());
}

#[test]
fn the_page_of_the_configuration_is_made_from_the_schema() {
    is_as_made("docs/src/reference/configuration.md", &config::manual());
}

#[test]
fn the_page_of_operations_is_made_from_the_catalog() {
    is_as_made("docs/src/reference/catalogue.md", &domain::operations_page());
}

/// The module's own documentation is the page: what is said of the trail is said once.
#[test]
fn the_page_of_the_trail_is_the_documentation_of_its_module() {
    let page = page_of_module("src/audit/mod.rs", "The audit trail");
    assert!(page.contains("(this is version 1)"), "the version of the lines");
    is_as_made("docs/src/reference/audit.md", &page);
}

#[test]
fn the_page_of_bundles_is_the_documentation_of_its_module() {
    let page = page_of_module("src/cli/audit/bundle/mod.rs", "Evidence bundles");
    is_as_made("docs/src/reference/bundles.md", &page);
}

fn page_of_module(path: &str, title: &str) -> String {
    let module = fs::read_to_string(root().join(path)).unwrap();
    let lines = module.lines().map_while(|line| line.strip_prefix("//!"));
    let mut page = format!("<!-- Made from {path}; change it there. -->\n\n# {title}\n\n");
    for line in lines {
        let line = line.strip_prefix(' ').unwrap_or(line);
        let line = match line.strip_prefix("# ") {
            Some(heading) => format!("## {heading}"),
            // A link into the code is only its name here.
            None => line.replace("[`", "`").replace("`]", "`"),
        };
        let line = line.replace("`SCHEMA`", "1");
        // It shows a line of a trail that is nowhere but in an example.
        let line = if line == "```sh" { "```text".to_owned() } else { line };
        page += line.trim_end();
        page.push('\n');
    }
    page
}

/// Every command's own `--help`, in the order of the program.
#[test]
fn the_page_of_commands_is_what_they_say_of_themselves() {
    let mut page = String::from(COMMANDS);
    commands(&[], &mut page);
    is_as_made("docs/src/reference/commands.md", &page);
}

fn commands(path: &[String], page: &mut String) {
    let mut arguments: Vec<_> = path.iter().map(String::as_str).collect();
    arguments.push("--help");
    let (code, help, errors) = crate::program::output(&arguments);
    assert_eq!(code, Some(0), "{errors}");
    let name = [&["pigello-gateway".to_owned()], path].concat().join(" ");
    let level = "#".repeat(2 + path.len().min(2));
    let part = format!("\n{level} {name}\n\n```text\n{}\n```\n", help.trim_end());
    page.push_str(&part);
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let listed = listed.take_while(|line| !line.is_empty());
    // A command's own line is indented by two; what goes on from there is indented by more.
    let names = listed.filter(|line| line.chars().take_while(|letter| *letter == ' ').count() == 2);
    for name in names.filter_map(|line| line.split_whitespace().next()) {
        if name != "help" {
            commands(&[path, &[name.to_owned()]].concat(), page);
        }
    }
}

const COMMANDS: &str = "\
<!-- Generated from the program's help; UPDATE_EXPECTED=1 cargo test --test cli rewrites it. -->

# Commands and exit codes

| exit code | meaning |
| --- | --- |
| 0 | done |
| 1 | a failure while running: a step of `check --online`, an audit trail that does not verify or does not cover the period that is asked for, a port in use |
| 2 | bad usage or bad configuration: one message on standard error that names the file, the key and the reason, before any socket is opened |

## Times and durations

Commands and the configuration read durations in the same form, and all commands read times in the same form.

| form | meaning |
| --- | --- |
| `250ms`, `30s`, `10m`, `1h`, `90d`, `2w`, `2h30m` | a duration; a day has 24 hours. For `--since` and `--until`: so long ago |
| `now` | now |
| `2026-03`, `2026-03-14` | for `--during`: the whole month or day; for `--since` and `--until`: its beginning |
| `2026-03-14T08:00`, `2026-03-14 08:00:30` | a time of `--timezone`, which is UTC by default |
| `2026-03-14T08:00:00+01:00`, `2026-03-14T07:00:00Z` | a time with its offset (RFC 3339) |

`--timezone` takes names like `Europe/Stockholm`, `UTC`, and `local`. Tables show times in that zone, and the report counts
days and hours in it; JSON and CSV have the trail's own times, in UTC. The zones are those of the system; where it has none,
as in the container image, those that the program brings.

## Manual pages and completions

`pigello-gateway man` prints the manual page, and `man --directory DIR` writes one for each command.
`completions SHELL` prints completions for a shell.
";

#[test]
fn the_page_of_errors_is_made_from_the_kinds() {
    is_as_made("docs/src/reference/errors.md", &error::errors_page());
}

/// Names of metrics in a text: `pigello_gateway_` and what follows.
fn named(text: &str) -> BTreeSet<String> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.split("pigello_gateway_")
        .skip(1)
        .map(|rest| rest.chars().take_while(|letter| is_name(*letter)).collect())
        .collect()
}

#[test]
fn dashboards_and_alerts_use_only_metrics_that_exist() {
    for file in ["deploy/grafana/dashboard.json", "deploy/prometheus/alerts.yaml"] {
        let names = named(&fs::read_to_string(root().join(file)).unwrap());
        assert!(!names.is_empty(), "{file}");
        for name in names {
            let plain = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .unwrap_or(&name);
            let known = METRICS.iter().any(|metric| metric.name == plain || metric.name == name);
            assert!(known, "{file}: there is no metric {name}");
        }
    }
}

#[test]
fn every_alert_has_a_runbook_and_every_panel_a_description() {
    let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
    let (alerts, manual) =
        (read("deploy/prometheus/alerts.yaml"), read("docs/src/reference/operations.md"));
    let names: Vec<_> = alerts
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: PigelloGateway"))
        .collect();
    assert!(names.len() > 20);
    for name in names {
        assert!(alerts.contains(&format!("operations.html#alert-{name}\"")), "{name}");
        assert!(manual.contains(&format!("<a id=\"alert-{name}\"></a>`{name}`")), "{name}");
    }
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("deploy/grafana/dashboard.json")).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(
            panel["description"].as_str().is_some_and(|it| !it.is_empty()),
            "{}",
            panel["title"]
        );
    }
}

#[test]
fn the_configuration_in_every_recipe_loads() {
    for file in [
        "deploy/compose/gateway.toml",
        "deploy/systemd/gateway.toml",
        "deploy/debian/gateway.toml",
        "deploy/kubernetes/sidecar/gateway.toml",
        "deploy/kubernetes/shared/gateway.toml",
        "deploy/kubernetes/webhook/gateway.toml",
    ] {
        let loaded = config::load(&[root().join(file)], std::iter::empty());
        let loaded = loaded.and_then(config::Loaded::for_serving);
        let loaded = loaded.unwrap_or_else(|problems| panic!("{problems}"));
        let warnings: Vec<_> = loaded.warnings.iter().map(ToString::to_string).collect();
        // On a laptop the container's address is open, and published on loopback alone. Git keeps no
        // mode of the made-up secret beside it.
        let meant = |warning: &&String| {
            let is_meant = |text| warning.contains(text);
            file.contains("compose")
                && (is_meant("allow_remote") || is_meant("may be read by others"))
        };
        let unexpected: Vec<_> = warnings.iter().filter(|warning| !meant(warning)).collect();
        assert!(unexpected.is_empty(), "{file}: {unexpected:?}");
    }
}

/// Where a manifest brings the configuration, it is the file beside it.
#[test]
fn a_manifest_holds_the_configuration_beside_it() {
    for (manifest, file) in [
        ("deploy/kubernetes/sidecar/sidecar.yaml", "deploy/kubernetes/sidecar/gateway.toml"),
        ("deploy/kubernetes/shared/gateway.yaml", "deploy/kubernetes/shared/gateway.toml"),
        ("deploy/kubernetes/webhook/gateway.yaml", "deploy/kubernetes/webhook/gateway.toml"),
    ] {
        let text = |file| fs::read_to_string(root().join(file)).unwrap();
        let configuration = text(file);
        let lines = configuration
            .lines()
            .map(|line| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") });
        let embedded = format!("  gateway.toml: |\n{}---\n", lines.collect::<String>());
        assert!(text(manifest).contains(&embedded), "{manifest} differs from {file}");
    }
}

/// A command that runs in a container names the container and the program as they are called there.
#[test]
fn commands_in_a_container_find_the_program() {
    let program = "/pigello-gateway";
    let dockerfile = fs::read_to_string(root().join("deploy/Dockerfile")).unwrap();
    assert!(dockerfile.contains(&format!("ENTRYPOINT [\"{program}\"]")), "{dockerfile}");
    let mut texts = crate::book::markdown(root().join("docs/src"));
    let chart = root().join("deploy/helm/pigello-gateway");
    texts.extend([
        root().join("README.md"),
        chart.join("README.md"),
        chart.join("templates/NOTES.txt"),
    ]);
    let mut found = 0;
    for file in texts {
        let text = fs::read_to_string(&file).unwrap();
        for line in text.lines().filter(|line| line.contains("kubectl ") && line.contains(" exec "))
        {
            found += 1;
            let fits = line.contains(&format!(" -c gateway -- {program} "));
            assert!(fits, "{}: {line}", file.display());
        }
    }
    assert!(found > 5, "{found}");
}

/// What is deployed is this version.
#[test]
fn recipes_name_this_version() {
    let version = env!("CARGO_PKG_VERSION");
    for (file, named) in [
        (
            "deploy/kubernetes/sidecar/sidecar.yaml",
            format!("image: \"pigello-gateway:{version}\"\n"),
        ),
        (
            "deploy/kubernetes/shared/gateway.yaml",
            format!("image: \"pigello-gateway:{version}\"\n"),
        ),
        (
            "deploy/kubernetes/webhook/gateway.yaml",
            format!("image: \"pigello-gateway:{version}\"\n"),
        ),
        ("deploy/helm/pigello-gateway/Chart.yaml", format!("appVersion: {version}\n")),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        assert!(text.contains(&named), "{file} does not name {named}");
    }
}
