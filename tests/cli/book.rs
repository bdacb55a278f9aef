//! The manual: its pages are there, its links lead somewhere, and its commands work.
//!
//! A block marked `sh,run` is run: the blocks of one page together, as one script, in an empty folder and
//! with a network of their own, so that the manual's ports are free. Every other `sh` block is marked
//! `sh,skip`, and says above it why it is not run. A block under `<!-- copy of FILE -->` holds that file.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{bao::skip, config::root, docs::is_as_made};

fn source() -> PathBuf {
    root().join("docs/src")
}

/// Every page of the book.
fn pages() -> Vec<PathBuf> {
    markdown(source())
}

/// The Markdown files in a folder and below it, in order.
pub(crate) fn markdown(folder: PathBuf) -> Vec<PathBuf> {
    let mut folders = vec![folder];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(path);
            }
        }
    }
    pages.sort();
    pages
}

/// Where the links of a text lead, without those in code.
fn links(text: &str) -> Vec<String> {
    let mut code = false;
    let mut links = Vec::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        if code {
            continue;
        }
        for rest in line.split("](").skip(1) {
            links.push(rest.split(')').next().unwrap().to_owned());
        }
    }
    links
}

#[test]
fn the_summary_names_every_page_and_every_page_is_there() {
    let summary = fs::read_to_string(source().join("SUMMARY.md")).unwrap();
    let mut named = links(&summary);
    named.sort();
    let there: Vec<_> = pages()
        .iter()
        .map(|page| page.strip_prefix(source()).unwrap().display().to_string())
        .filter(|page| page != "SUMMARY.md")
        .collect();
    assert_eq!(named, there);
}

/// A forge shows a page as it is written, so a page brings its text itself.
#[test]
fn a_page_includes_nothing_and_its_copies_are_as_their_files() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        assert!(!text.contains("{{#"), "{} includes another file", page.display());
        let mut made = String::new();
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            made = made + line + "\n";
            let file =
                line.strip_prefix("<!-- copy of ").and_then(|line| line.strip_suffix(" -->"));
            if let Some(file) = file {
                let copy = fs::read_to_string(root().join(file)).unwrap();
                let fence = lines.next().unwrap();
                made = made + fence + "\n" + copy.trim_end() + "\n```\n";
                lines.find(|line| *line == "```").expect("the end of the block");
            }
        }
        is_as_made(page.strip_prefix(root()).unwrap().to_str().unwrap(), &made);
    }
}

/// Every decision has a number of its own and a line in the index.
#[test]
fn the_index_of_decisions_names_each_of_them() {
    let folder = root().join("docs/decisions");
    let named = links(&fs::read_to_string(folder.join("README.md")).unwrap());
    let there: Vec<_> = markdown(folder.clone())
        .iter()
        .map(|file| file.strip_prefix(&folder).unwrap().display().to_string())
        .filter(|file| file != "README.md")
        .collect();
    assert_eq!(named, there);
    for (at, file) in there.iter().enumerate() {
        assert!(file.starts_with(&format!("{:04}-", at + 1)), "{file}");
    }
}

#[test]
fn every_link_leads_somewhere() {
    let outside = [
        "README.md",
        "CONTRIBUTING.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "benches/README.md",
        "benches/endurance/README.md",
        "examples/clients/README.md",
        "release/README.md",
    ];
    let outside = outside.iter().map(|file| root().join(file));
    let mut broken = Vec::new();
    for page in pages().into_iter().chain(markdown(root().join("docs/decisions"))).chain(outside) {
        for link in links(&fs::read_to_string(&page).unwrap()) {
            let (file, _) = link.split_once('#').unwrap_or((&link, ""));
            if file.contains("://") || file.is_empty() {
                continue;
            }
            if !page.parent().unwrap().join(file).exists() {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The commands of a page, if it has some.
fn commands(page: &Path) -> Result<String, String> {
    let text = fs::read_to_string(page).unwrap();
    let mut script = String::new();
    let mut block: Option<String> = None;
    let mut before = "";
    for line in text.lines() {
        match &block {
            None => {
                let Some(kind) = line.strip_prefix("```") else {
                    if !line.is_empty() {
                        before = line;
                    }
                    continue;
                };
                // A copied file is run by the test of that file.
                let excused = ["<!-- not run: ", "<!-- copy of "]
                    .iter()
                    .any(|excuse| before.starts_with(excuse) && before.ends_with(" -->"));
                // Pages that are made from the code.
                let reference = page.parent().is_some_and(|folder| folder.ends_with("reference"));
                if kind == "sh,skip" && !excused {
                    return Err(format!(
                        "a block does not say why it is not run, after {before:?}"
                    ));
                }
                if ["sh", "bash", "shell", "console"].contains(&kind) && !reference {
                    return Err(format!("`{kind}` is neither `sh,run` nor `sh,skip`"));
                }
                block = Some(kind.to_owned());
            }
            Some(_) if line == "```" => block = None,
            Some(kind) if kind == "sh,run" => {
                script += line;
                script.push('\n');
            }
            Some(_) => {}
        }
    }
    Ok(script)
}

#[test]
fn every_command_is_run_or_says_why_not() {
    let wrong: Vec<_> = pages()
        .iter()
        .filter_map(|page| Some(format!("{}: {}", page.display(), commands(page).err()?)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Runs a page's commands one after the other; the first that fails is the end.
fn works(page: &str) {
    let alone = Command::new("unshare").args(["--net", "ip", "link", "set", "lo", "up"]).output();
    if !alone.is_ok_and(|output| output.status.success()) {
        return skip(
            "the manual's commands (a network of their own needs `unshare --net` and `ip`)",
        );
    }
    let commands = commands(&source().join(page)).unwrap();
    assert!(commands.contains("pigello-gateway"), "{page} has commands");
    let folder = tempfile::tempdir().unwrap();
    let programs = folder.path().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_pigello-gateway"), programs.join("pigello-gateway")).unwrap();
    if let Some(bao) = env::var_os("BAO_BIN") {
        symlink(bao, programs.join("bao")).unwrap();
    }
    let place = folder.path().join("place");
    fs::create_dir(&place).unwrap();
    // What it starts ends with it.
    let script = format!(
        "set -euo pipefail\ntrap 'jobs -p | xargs --no-run-if-empty kill' EXIT\n\
         ip link set lo up\n{commands}"
    );
    fs::write(folder.path().join("script"), script).unwrap();
    let path = env::join_paths(
        [programs].into_iter().chain(env::split_paths(&env::var_os("PATH").unwrap())),
    );
    let output = Command::new("timeout")
        .args(["120", "unshare", "--net", "bash", "-x", "../script"])
        .env("PATH", path.unwrap())
        .env_remove("PIGELLO_GATEWAY_CONFIG")
        .current_dir(&place)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, errors) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{page}: {}\n{out}\n{errors}", output.status);
}

#[test]
fn the_tutorial() {
    works("tutorial.md");
}

#[test]
fn finding_out_why_it_does_not_work() {
    works("how-to/troubleshoot.md");
}

#[test]
fn rotating_the_secret() {
    works("how-to/rotate.md");
}

#[test]
fn serving_many_customers() {
    works("how-to/many-activations.md");
}

#[test]
fn reading_the_secret_from_a_vault() {
    if env::var_os("BAO_BIN").is_none() {
        return skip("no OpenBao server (set BAO_BIN)");
    }
    works("how-to/vault-approle.md");
}

#[test]
fn letting_callers_on_other_machines_in() {
    works("how-to/mtls.md");
}

#[test]
fn sending_the_trail_to_a_siem() {
    works("how-to/siem.md");
}

#[test]
fn backing_up_the_trail() {
    works("how-to/backup.md");
}

#[test]
fn seeing_the_page_from_afar() {
    works("how-to/page.md");
}

#[test]
fn adding_a_caller() {
    works("how-to/add-a-caller.md");
}

#[test]
fn reading_the_trail() {
    works("how-to/read-the-trail.md");
}

#[test]
fn answering_an_auditor() {
    works("how-to/questions.md");
}

#[test]
fn handing_out_evidence() {
    works("how-to/hand-evidence.md");
}

#[test]
fn shrinking_a_policy() {
    works("how-to/shrink-a-policy.md");
}

#[test]
fn keeping_the_rules_as_code() {
    works("how-to/rules-as-code.md");
}

#[test]
fn upgrading() {
    works("how-to/upgrade.md");
}

#[test]
fn choosing_a_size() {
    works("how-to/size.md");
}

#[test]
fn developing_against_the_mock() {
    works("how-to/mock.md");
}

#[test]
fn identifying_a_build() {
    works("reference/platforms.md");
}

/// A page with commands has a test here.
#[test]
fn no_page_is_forgotten() {
    let this = fs::read_to_string(root().join("tests/cli/book.rs")).unwrap();
    for page in pages() {
        if commands(&page).is_ok_and(|commands| !commands.is_empty()) {
            let name = page.strip_prefix(source()).unwrap().display().to_string();
            assert!(this.contains(&format!("works(\"{name}\");")), "{name}");
        }
    }
}
