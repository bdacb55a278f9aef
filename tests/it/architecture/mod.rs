//! Imports point one way: between the layers of the crate, on the path of a request, and among the
//! modules of every folder.

mod imports;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::LazyLock,
};

use imports::{Import, Module, imports};

/// The layers, from the top down. A module imports only from layers below its own.
const LAYERS: &[&[&str]] = &[
    &["cli"],
    &["app"],
    &["admin"],
    &["config"],
    &["notices"],
    &["proxy"],
    &["telemetry"],
    &["credentials", "audit"],
    &["fleet"],
    &["outbound"],
    &["body", "build_info", "process"],
    &["domain", "error", "secret"],
];

/// What the rooms of the path may use of each other.
const PATH: &[(&str, &[&str])] = &[
    ("server", &["batched_io", "call"]),
    ("stages", &["call", "http_policy", "profile"]),
    ("cache", &["call", "http_policy", "profile", "stages/shared"]),
    ("client", &["batched_io", "call", "http_policy"]),
    ("call", &["profile"]),
    ("profile", &[]),
    ("http_policy", &[]),
    ("batched_io", &[]),
    ("own", &["call", "profile"]),
    ("preview", &["cache", "call", "profile", "server", "stages"]),
];

/// Modules of `stages` that are no stage: what stages share.
const SHARED_BY_STAGES: &[&str] = &["shared", "trace"];

/// Read once for all tests.
static OF_THIS_CRATE: LazyLock<BTreeSet<Import>> =
    LazyLock::new(|| imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")));

#[test]
fn layers_import_downwards() {
    let layer = |module: &Module| {
        let top = module.first()?;
        Some(LAYERS.iter().position(|layer| layer.contains(&top.as_str())).unwrap_or_else(|| {
            panic!("`{top}` stands in no layer: give it a place in LAYERS");
        }))
    };
    let wrong = OF_THIS_CRATE.iter().filter(|(from, to)| {
        from.first() != to.first()
            && layer(from).zip(layer(to)).is_some_and(|(from, to)| from >= to)
    });
    assert_none(wrong, "an import against the layers");
}

#[test]
fn the_rooms_of_the_path_use_only_what_they_may() {
    let room = |module: &Module| (module.first()? == "proxy").then(|| module.get(1).cloned())?;
    let wrong = OF_THIS_CRATE.iter().filter(|(from, to)| {
        let Some((from, room_of_target)) = room(from).zip(room(to)) else { return false };
        let (_, may_use) = PATH
            .iter()
            .find(|(name, _)| *name == from)
            .unwrap_or_else(|| panic!("`{from}` has no line in PATH"));
        let allowed = |name: &&str| match name.split_once('/') {
            Some((room, inside)) => {
                room_of_target == room && to.get(2).is_some_and(|m| m == inside)
            }
            None => room_of_target == **name,
        };
        from != room_of_target && !may_use.iter().any(allowed)
    });
    assert_none(wrong, "an import between rooms of the path");
}

#[test]
fn no_stage_imports_another() {
    let stage = |module: &Module| match module.as_slice() {
        [proxy, stages, stage, ..] if proxy == "proxy" && stages == "stages" => {
            Some(stage.clone()).filter(|stage| !SHARED_BY_STAGES.contains(&stage.as_str()))
        }
        _ => None,
    };
    let wrong = OF_THIS_CRATE
        .iter()
        .filter(|(from, to)| stage(from).zip(stage(to)).is_some_and(|(from, to)| from != to));
    assert_none(wrong, "a stage that uses another");
}

#[test]
fn no_folder_has_an_import_circle() {
    // Between two modules of one folder, whatever in them imports. The folder's own `mod.rs` puts
    // them together and is not one of them.
    let mut folders: BTreeMap<Module, BTreeMap<String, BTreeSet<String>>> = BTreeMap::new();
    for (from, to) in OF_THIS_CRATE.iter() {
        let shared = from.iter().zip(to).take_while(|(a, b)| a == b).count();
        if let (Some(user), Some(used)) = (from.get(shared), to.get(shared)) {
            let folder = folders.entry(from[..shared].to_vec()).or_default();
            folder.entry(user.clone()).or_default().insert(used.clone());
        }
    }
    let circles: Vec<_> = folders
        .iter()
        .flat_map(|(folder, uses)| {
            circles(uses).into_iter().map(|circle| format!("{}: {circle:?}", folder.join("::")))
        })
        .collect();
    assert!(circles.is_empty(), "import circles:\n{}", circles.join("\n"));
}

/// Groups of modules that reach each other.
fn circles(uses: &BTreeMap<String, BTreeSet<String>>) -> BTreeSet<BTreeSet<String>> {
    let reached = |start: &String| {
        let mut seen = BTreeSet::new();
        let mut next: Vec<&String> = uses.get(start).into_iter().flatten().collect();
        while let Some(module) = next.pop() {
            if seen.insert(module.clone()) {
                next.extend(uses.get(module).into_iter().flatten());
            }
        }
        seen
    };
    let reach: BTreeMap<_, _> = uses.keys().map(|module| (module, reached(module))).collect();
    let circle = |module: &String| {
        reach[module]
            .iter()
            .filter(|other| reach.get(other).is_some_and(|r| r.contains(module)))
            .cloned()
            .collect()
    };
    reach.keys().map(|module| circle(module)).filter(|c: &BTreeSet<_>| c.len() > 1).collect()
}

fn assert_none<'a>(wrong: impl Iterator<Item = &'a Import>, what: &str) {
    let wrong: Vec<_> =
        wrong.map(|(from, to)| format!("{} uses {}", from.join("::"), to.join("::"))).collect();
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

#[test]
fn the_parser_sees_every_spelling_of_an_import() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = folder.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    };
    write("lib.rs", "pub mod a; pub mod b; pub mod c;");
    write("a.rs", "pub struct A; pub fn make() {}");
    write("b/mod.rs", "mod inner; pub use inner::Inner; pub use crate::a::A as Renamed;");
    write("b/inner.rs", "pub struct Inner;");
    write(
        "c.rs",
        "use crate::{b::{self, Inner}, b::Renamed};
         fn f() { super::a::make(); let _: Inner = b::inner(); }
         #[cfg(test)] mod tests { use crate::d::Never; }",
    );
    let seen: Vec<_> = imports(folder.path())
        .into_iter()
        .map(|(from, to)| format!("{} > {}", from.join("::"), to.join("::")))
        .collect();
    assert_eq!(seen, ["b > a", "b > b::inner", "c > a", "c > b", "c > b::inner"]);
}
