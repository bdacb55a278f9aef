//! The threat model, the table of the review's findings, that of a fleet's failures and SECURITY.md name a test for each
//! claim: those tests are there.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_claim_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = names(root);
    let mut missing = Vec::new();
    for (page, fewest) in [
        ("docs/src/explanation/threat-model.md", 20),
        ("docs/src/explanation/security-review.md", 20),
        ("docs/src/explanation/fleet-failures.md", 20),
        ("SECURITY.md", 10),
    ] {
        let text = fs::read_to_string(root.join(page)).unwrap();
        let (_, table) = text.split_once("| shown by |\n").expect("the table of claims");
        let (table, _) = table.split_once("\n\n").unwrap();
        let mut claims = 0;
        for row in table.lines().skip(1).filter(|row| !row.contains("| open | |")) {
            let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
            let named: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty(), "nothing shows this: {row}");
            claims += named.len();
            let is_there = |name: &&str| {
                let inside = format!("::{name}");
                if name.contains('/') {
                    root.join(name).exists()
                } else {
                    known.iter().any(|known| known == name || known.ends_with(&inside))
                }
            };
            missing.extend(named.into_iter().filter(|name| !is_there(name)).map(str::to_owned));
        }
        assert!(claims > fewest, "{page}: {claims}");
    }
    assert!(missing.is_empty(), "{missing:?}");
}

/// Modules and functions of the program and of this test program, as nextest would name them.
fn names(root: &Path) -> Vec<String> {
    let mut names = Vec::new();
    for (folder, base) in [("src", None), ("tests/it", Some("it"))] {
        let folder = root.join(folder);
        for file in sources(&folder) {
            let below = file.strip_prefix(&folder).unwrap().with_extension("");
            let parts = below.iter().map(|part| part.to_str().unwrap());
            let module: Vec<_> =
                base.into_iter().chain(parts.filter(|part| *part != "mod")).collect();
            let mut module = module.join("::");
            names.push(module.clone());
            for line in fs::read_to_string(&file).unwrap().lines().map(str::trim_start) {
                if line == "mod tests {" {
                    module += "::tests";
                    names.push(module.clone());
                }
                let line = line.strip_prefix("async ").unwrap_or(line);
                if let Some((name, _)) = line.strip_prefix("fn ").and_then(|l| l.split_once('(')) {
                    names.push(format!("{module}::{name}"));
                }
            }
        }
    }
    names
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}
