//! Imports point one way: the layers of the crate, and the stages of the path among themselves.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What each module may use, besides itself. A new module needs a line here.
const MAY_USE: &[(&str, &[&str])] = &[
    (
        "cli",
        &[
            "app",
            "body",
            "config",
            "credentials",
            "domain",
            "error",
            "mock",
            "pipeline",
            "runtime",
            "secret",
            "telemetry",
            "trail",
        ],
    ),
    (
        "app",
        &["admin", "config", "credentials", "domain", "error", "pipeline", "telemetry", "trail"],
    ),
    ("admin", &["credentials", "domain", "error", "pipeline", "telemetry", "trail"]),
    // A section that belongs to one part is that part's own type.
    ("config", &["credentials", "domain", "error", "pipeline", "secret", "telemetry", "trail"]),
    ("pipeline", &["body", "credentials", "domain", "error", "telemetry", "trail"]),
    ("mock", &["body", "credentials", "domain", "error", "secret"]),
    ("telemetry", &["domain", "error", "trail"]),
    ("credentials", &["body", "domain", "error", "secret"]),
    ("trail", &["body", "domain", "error"]),
    ("runtime", &[]),
    ("body", &["error"]),
    ("secret", &[]),
    ("error", &[]),
    ("domain", &[]),
];

/// What the stages have in common; a stage uses no other stage.
const SHARED: &[&str] =
    &["behind", "connection", "defect", "draft", "hop_by_hop", "muffle", "request", "turn"];

#[test]
fn layers_import_downwards() {
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for (file, module, text) in sources() {
        if ["main", "lib"].contains(&module.as_str()) {
            continue;
        }
        seen.insert(module.clone());
        let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: `{module}` has no line in MAY_USE", file.display()));
            continue;
        };
        for used in used_modules(&text, "crate::") {
            if used != module && !allowed.contains(&used.as_str()) {
                wrong.push(format!("{}: `{module}` may not use `{used}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let known: BTreeSet<_> = MAY_USE.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(seen, known, "every line of MAY_USE is about a module that exists");
}

#[test]
fn no_stage_imports_another() {
    let mut wrong = Vec::new();
    for (file, module, text) in sources() {
        let stage = file.components().nth(1).map(|stage| stage.as_os_str().to_string_lossy());
        let Some(stage) = stage.map(|stage| stage.trim_end_matches(".rs").to_owned()) else {
            continue;
        };
        if module != "pipeline" || stage == "mod" || SHARED.contains(&stage.as_str()) {
            continue;
        }
        for used in used_modules(&text, "crate::pipeline::") {
            if used != stage && !SHARED.contains(&used.as_str()) {
                wrong.push(format!("{}: `{stage}` may not use `{used}`", file.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every source file: its path below `src`, its top module, its text without comments.
fn sources() -> Vec<(PathBuf, String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code: String = text
                    .lines()
                    .filter(|line| !line.trim_start().starts_with("//"))
                    .collect::<Vec<_>>()
                    .join("\n");
                let below = path.strip_prefix(&root).unwrap().to_owned();
                let top = below.components().next().unwrap().as_os_str().to_string_lossy();
                let module = top.trim_end_matches(".rs").to_owned();
                files.push((below, module, code));
            }
        }
    }
    files
}

/// The modules that paths beginning with `root` name, also in groups: `crate::{a, b::c}`.
fn used_modules(text: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(root) {
        let rest = &text[at + root.len()..];
        match rest.strip_prefix('{') {
            None => drop(found.insert(first_word(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut item = String::new();
                for letter in group.chars() {
                    match letter {
                        '{' => depth += 1,
                        '}' if depth == 0 => break,
                        '}' => depth -= 1,
                        ',' if depth == 0 => {
                            found.insert(first_word(item.trim()));
                            item.clear();
                            continue;
                        }
                        _ => {}
                    }
                    item.push(letter);
                }
                found.insert(first_word(item.trim()));
            }
        }
    }
    // `crate::{self, …}` and macros are no modules.
    found.retain(|word| !word.is_empty() && word != "self" && word.starts_with(char::is_lowercase));
    found
}

fn first_word(text: &str) -> String {
    text.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}
