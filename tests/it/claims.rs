//! The manual's threat model names a test for each of its claims: those tests are there.

use std::{
    fs,
    path::{Path, PathBuf},
};

#[test]
fn every_claim_names_tests_that_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known = names(root);
    let page = fs::read_to_string(root.join("docs/src/explanation/threat-model.md")).unwrap();
    let (_, table) = page.split_once("| shown by |\n").expect("the table of claims");
    let (table, _) = table.split_once("\n\n").unwrap();
    let mut claims = 0;
    let mut missing = Vec::new();
    for row in table.lines().skip(1) {
        let shown_by = row.trim_end_matches(" |").rsplit(" | ").next().unwrap();
        let named: Vec<_> = shown_by.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "nothing shows this: {row}");
        for name in named {
            claims += 1;
            let inside = format!("::{name}");
            let is_there = if name.contains('/') {
                root.join(name).exists()
            } else {
                known.iter().any(|known| known == name || known.ends_with(&inside))
            };
            if !is_there {
                missing.push(name);
            }
        }
    }
    assert!(claims > 20, "{claims}");
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
