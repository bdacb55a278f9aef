//! Reads the imports of the crate's sources: which file uses which.
//!
//! Every path in the code is resolved, in `use` items and in expressions and types alike, and a
//! re-export is followed to the module that defines the item.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use syn::{
    Attribute, Item, ItemMod, UseTree,
    visit::{self, Visit},
};

/// The path of a module below the crate: `["proxy", "stages", "retry"]`.
pub type Module = Vec<String>;

/// One import: the module that uses, and the module that defines what is used.
pub type Import = (Module, Module);

/// All imports of product code between different modules; tests are left out.
pub fn imports(source: &Path) -> BTreeSet<Import> {
    let mut files = BTreeMap::new();
    read(source, &mut Vec::new(), &mut files);
    let modules: BTreeSet<_> = files.keys().cloned().collect();
    let scopes: BTreeMap<_, _> = files
        .iter()
        .map(|(module, file)| (module.clone(), Scope::of(&modules, module, file)))
        .collect();
    let mut found = BTreeSet::new();
    for (module, file) in &files {
        let mut paths = Paths { modules: &modules, module, uses: Vec::new() };
        paths.visit_file(file);
        for path in paths.uses {
            let target = resolve(&scopes, &path, 0);
            if target != *module {
                found.insert((module.clone(), target));
            }
        }
    }
    found
}

/// Parses the files of a folder: `mod.rs`, `lib.rs` and `main.rs` are the folder itself.
fn read(folder: &Path, module: &mut Module, files: &mut BTreeMap<Module, syn::File>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            module.push(name);
            read(&path, module, files);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && name != "main"
            && !is_test(module, &name)
        {
            let file = syn::parse_file(&fs::read_to_string(&path).unwrap()).unwrap();
            let mut own = module.clone();
            if !["mod", "lib"].contains(&name.as_str()) {
                own.push(name);
            }
            files.insert(own, file);
        }
    }
}

/// Whether a file holds tests, or what only tests use.
fn is_test(module: &Module, name: &str) -> bool {
    module.iter().any(|folder| folder == "tests")
        || ["tests", "testing"].contains(&name)
        || name.ends_with("_tests")
}

/// What a module re-exports, by name; `*` for a glob.
struct Scope {
    exports: Vec<(String, Vec<String>)>,
}

impl Scope {
    fn of(modules: &BTreeSet<Module>, module: &Module, file: &syn::File) -> Self {
        let mut exports = Vec::new();
        for item in &file.items {
            if let Item::Use(item) = item {
                leaves(&item.tree, &mut Vec::new(), &mut |name, path| {
                    if let Some(path) = absolute(modules, module, path) {
                        exports.push((name.to_owned(), path));
                    }
                });
            }
        }
        Self { exports }
    }
}

/// The module that defines what a path leads to.
fn resolve(scopes: &BTreeMap<Module, Scope>, path: &[String], depth: u32) -> Module {
    let mut module = Vec::new();
    for (at, segment) in path.iter().enumerate() {
        let mut child = module.clone();
        child.push(segment.clone());
        if scopes.contains_key(&child) {
            module = child;
            continue;
        }
        // No module: an item, defined here or re-exported from elsewhere.
        let exported = scopes[&module].exports.iter().find(|(name, _)| name == segment);
        if let Some((_, target)) = exported.filter(|_| depth < 8) {
            let mut target = target.clone();
            target.extend_from_slice(&path[at + 1..]);
            return resolve(scopes, &target, depth + 1);
        }
        break;
    }
    module
}

/// Calls back for each leaf of a tree of imports, with the name it gets.
fn leaves(tree: &UseTree, path: &mut Vec<String>, found: &mut impl FnMut(&str, &[String])) {
    match tree {
        UseTree::Path(inner) => {
            path.push(inner.ident.to_string());
            leaves(&inner.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => {
            found(&path.last().cloned().unwrap_or_default(), path);
        }
        UseTree::Name(name) => {
            path.push(name.ident.to_string());
            found(&name.ident.to_string(), path);
            path.pop();
        }
        UseTree::Rename(renamed) => {
            path.push(renamed.ident.to_string());
            found(&renamed.rename.to_string(), path);
            path.pop();
        }
        UseTree::Glob(_) => found("*", path),
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, path, found);
            }
        }
    }
}

/// A path as seen from the crate's root; `None` for paths into other crates.
fn absolute(modules: &BTreeSet<Module>, module: &[String], path: &[String]) -> Option<Vec<String>> {
    let mut base = module.to_vec();
    let rest = match path.first()?.as_str() {
        "crate" => {
            base.clear();
            &path[1..]
        }
        "self" => &path[1..],
        "super" => {
            let ups = path.iter().take_while(|segment| *segment == "super").count();
            base.truncate(base.len().checked_sub(ups)?);
            &path[ups..]
        }
        child => {
            base.push(child.to_owned());
            if !modules.contains(&base) {
                return None;
            }
            &path[1..]
        }
    };
    base.extend(rest.iter().cloned());
    Some(base)
}

/// Collects the paths of one file that begin with `crate`, `self` or `super`.
struct Paths<'a> {
    modules: &'a BTreeSet<Module>,
    module: &'a [String],
    uses: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test_only(attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        assert!(
            item.content.is_none() || item.ident == "sealed",
            "a module in a file: {}",
            item.ident
        );
    }

    fn visit_use_tree(&mut self, tree: &'ast UseTree) {
        leaves(tree, &mut Vec::new(), &mut |_, path| {
            self.uses.extend(absolute(self.modules, self.module, path));
        });
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        // `self` and `super` alone are values and visibilities.
        if segments.len() > 1 {
            self.uses.extend(absolute(self.modules, self.module, &segments));
        }
        visit::visit_path(self, path);
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}

/// `#[cfg(test)]`, alone or among other conditions.
fn is_test_only(attributes: &[Attribute]) -> bool {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).any(|attribute| {
        let condition = attribute.meta.require_list().unwrap().tokens.to_string();
        condition.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == "test")
    })
}
