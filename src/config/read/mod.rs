//! From files and environment variables to one tree of values, with the location of each.
//!
//! figment merges the files; then each variable is put into the tree. The tree holds no secret. The
//! defaults are not in it: serde adds them from [`super::types`].

mod environment;
mod files;
mod locations;
mod secrets;
mod service_links;

use std::{
    ffi::OsString,
    mem,
    path::{Path, PathBuf},
};

use figment::{
    Figment, Source,
    value::{Dict, Tag, Value},
};

pub(super) use environment::two_underscores;
pub use environment::{CONFIG, PREFIX};
pub(super) use files::FileLayer;
pub use files::MAX_FILE_BYTES;
pub(super) use locations::Locations;

use self::environment::Variable;
use super::{
    key::{KeyPath, Segment},
    problem::{Location, Problem},
    schema::Shape,
};

/// The files in order, as layers. One that cannot be read is a problem and no layer.
pub(super) fn files(paths: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<Option<FileLayer>> {
    let mut layer = |path: &PathBuf| {
        FileLayer::read(path, problems).map_err(|problem| problems.push(problem)).ok()
    };
    paths.iter().map(&mut layer).collect()
}

/// The text of a file that will be at that path, as the only layer.
pub(super) fn text(path: &Path, text: &str, problems: &mut Vec<Problem>) -> Vec<Option<FileLayer>> {
    let layer = FileLayer::parse(path, text, problems);
    vec![layer.map_err(|problem| problems.push(problem)).ok()]
}

/// Merges the files in order that could be read, then the environment.
pub(super) fn read(
    layers: Vec<Option<FileLayer>>,
    environment: impl Iterator<Item = (OsString, OsString)>,
    shape: &Shape,
    problems: &mut Vec<Problem>,
) -> (Value, Locations) {
    let files: Vec<_> = layers.into_iter().flatten().collect();
    let merged = files.iter().fold(Figment::new(), Figment::merge);
    let mut tree = merged.find_value("").unwrap_or_else(|_| Dict::new().into());
    let root = files.last().map_or(Location::Default, |file| file.location(&KeyPath::root()));
    let mut locations = Locations::new(root);
    each_value(&tree, &KeyPath::root(), &mut |path, tag| {
        let source = merged.get_metadata(tag).and_then(|metadata| metadata.source.as_ref());
        let file = source.and_then(Source::file_path);
        if let Some(layer) = files.iter().find(|layer| file == Some(&layer.path)) {
            locations.insert(path.clone(), layer.location(path));
        }
    });
    for variable in environment::read(environment, shape, &tree, problems) {
        if let Err(problem) = put(&mut tree, &mut locations, variable) {
            problems.push(problem);
        }
    }
    secrets::take_out(&mut tree, &locations, problems);
    (tree, locations)
}

/// Visits every value below the root.
fn each_value(value: &Value, path: &KeyPath, visit: &mut impl FnMut(&KeyPath, Tag)) {
    let mut below = |path: KeyPath, value: &Value| {
        visit(&path, value.tag());
        each_value(value, &path, visit);
    };
    match value {
        Value::Dict(_, dict) => dict.iter().for_each(|(key, value)| below(path.key(key), value)),
        Value::Array(_, list) => {
            list.iter().enumerate().for_each(|(at, value)| below(path.index(at), value));
        }
        _ => {}
    }
}

/// Puts a variable into the tree. `LISTENERS__0__ADDRESS` changes one key of the first entry of the
/// list, or begins a new entry; figment alone can only replace a list.
fn put(tree: &mut Value, locations: &mut Locations, variable: Variable) -> Result<(), Problem> {
    let Variable { name, path, value } = variable;
    let location = Location::Variable(name);
    let mut new = vec![path.clone()];
    each_value(&value, &path, &mut |path, _| new.push(path.clone()));
    put_below(tree, &KeyPath::root(), path.segments(), value, &mut new)
        .map_err(|(path, length)| environment::no_entry(location.clone(), path, length))?;
    locations.remove(&path);
    for path in new {
        locations.insert(path, location.clone());
    }
    Ok(())
}

/// Adds the path of each table and entry that it begins to `new`.
fn put_below(
    slot: &mut Value,
    path: &KeyPath,
    rest: &[Segment],
    value: Value,
    new: &mut Vec<KeyPath>,
) -> Result<(), (KeyPath, usize)> {
    let Some((segment, rest)) = rest.split_first() else {
        *slot = value;
        return Ok(());
    };
    let path = path.with(segment.clone());
    let empty = || Value::from(Dict::new());
    match (segment, mem::replace(slot, empty())) {
        (Segment::Key(key), there) => {
            let mut dict = there.into_dict().unwrap_or_default();
            if !dict.contains_key(key) {
                new.push(path.clone());
            }
            let below = dict.entry(key.clone()).or_insert_with(empty);
            let done = put_below(below, &path, rest, value, new);
            *slot = dict.into();
            done
        }
        (Segment::Index(index), there) => {
            let mut list = if let Value::Array(_, list) = there { list } else { Vec::new() };
            let length = list.len();
            if *index == length {
                new.push(path.clone());
                list.push(empty());
            }
            let done = match list.get_mut(*index) {
                Some(below) => put_below(below, &path, rest, value, new),
                None => Err((path, length)),
            };
            *slot = list.into();
            done
        }
    }
}
