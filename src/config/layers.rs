//! Lays the files and the environment over each other, and remembers where every value came from.

use std::{collections::BTreeMap, ffi::OsString, path::PathBuf, sync::Arc};

use figment::{
    Figment, Source,
    value::{Dict, Tag, Value},
};

use super::{
    environment,
    files::FileLayer,
    key::KeyPath,
    problem::{Place, Problem},
    shape::Shape,
};

/// All layers in one tree. The defaults are no layer of it: they stand with the keys in `raw`.
#[derive(Debug)]
pub(super) struct Layers {
    pub(super) tree: Value,
    pub(super) places: Places,
    /// Whether every file could be read.
    pub(super) complete: bool,
}

impl Layers {
    /// Reads the files in order, then the environment.
    pub(super) fn read(
        paths: &[PathBuf],
        variables: impl Iterator<Item = (OsString, OsString)>,
        shape: &Shape,
        problems: &mut Vec<Problem>,
    ) -> Self {
        let mut files = Vec::with_capacity(paths.len());
        for path in paths {
            match FileLayer::read(path, problems) {
                Ok(file) => files.push(file),
                Err(problem) => problems.push(problem),
            }
        }
        let lower = files.iter().fold(Figment::new(), Figment::merge);
        let below = whole(&lower);
        let variables = environment::read(variables, shape, &below, problems);
        let upper = variables.iter().fold(Figment::new(), Figment::merge);
        let origin = |tag: Tag, path: &KeyPath| {
            let metadata = lower.get_metadata(tag).or_else(|| upper.get_metadata(tag))?;
            match metadata.source.as_ref()? {
                Source::File(file) => {
                    let file = files.iter().find(|layer| *layer.path == **file)?;
                    let line = file.lines.get(path).copied();
                    Some(Place::File { path: Arc::clone(&file.path), line, column: None })
                }
                Source::Custom(variable) => Some(Place::Variable(variable.as_str().into())),
                _ => None,
            }
        };
        let mut overlay = Overlay { origin: &origin, problems };
        let tree = overlay.lay(Some(shape), &KeyPath::root(), Some(below), whole(&upper));
        let root = files.last().map_or(Place::Default, |file| Place::File {
            path: Arc::clone(&file.path),
            line: None,
            column: None,
        });
        let mut places = Places { known: BTreeMap::new(), root };
        places.note(&tree, &KeyPath::root(), &origin);
        Self { tree, places, complete: files.len() == paths.len() }
    }
}

fn whole(figment: &Figment) -> Value {
    figment.find_value("").unwrap_or_else(|_| Dict::new().into())
}

/// Lays variables over files. It differs from figment's own merge where a variable reaches into a
/// list: `LISTENERS__0__ADDRESS` changes one key of the first entry, or begins a new entry.
struct Overlay<'a, O> {
    origin: &'a O,
    problems: &'a mut Vec<Problem>,
}

impl<O: Fn(Tag, &KeyPath) -> Option<Place>> Overlay<'_, O> {
    fn lay(
        &mut self,
        shape: Option<&Shape>,
        path: &KeyPath,
        below: Option<Value>,
        over: Value,
    ) -> Value {
        match (shape, below, over) {
            (Some(Shape::List(inner)), below, Value::Dict(tag, entries)) => {
                let (tag, mut list) = match below {
                    Some(Value::Array(tag, list)) => (tag, list),
                    _ => (tag, Vec::new()),
                };
                self.lay_entries(inner, path, &mut list, entries);
                Value::Array(tag, list)
            }
            (shape, Some(Value::Dict(tag, mut dict)), Value::Dict(_, entries)) => {
                for (key, value) in entries {
                    let inner = match shape {
                        Some(Shape::Table(fields)) => fields.get(&key).map(|field| &field.shape),
                        Some(Shape::Named(inner)) => Some(&**inner),
                        _ => None,
                    };
                    let laid = self.lay(inner, &path.key(&key), dict.remove(&key), value);
                    dict.insert(key, laid);
                }
                Value::Dict(tag, dict)
            }
            (shape, None, Value::Dict(tag, entries)) => self.lay(
                shape,
                path,
                Some(Value::Dict(tag, Dict::new())),
                Value::Dict(tag, entries),
            ),
            (_, _, over) => over,
        }
    }

    fn lay_entries(&mut self, inner: &Shape, path: &KeyPath, list: &mut Vec<Value>, entries: Dict) {
        let mut entries: Vec<_> =
            entries.into_iter().map(|(key, value)| (key.parse::<usize>(), key, value)).collect();
        entries.sort_by_key(|(index, ..)| index.clone().unwrap_or(usize::MAX));
        for (index, key, value) in entries {
            let there = list.len();
            match index {
                Ok(index) if index < there => {
                    if let Some(entry) = list.get_mut(index) {
                        let below = std::mem::replace(entry, false.into());
                        *entry = self.lay(Some(inner), &path.index(index), Some(below), value);
                    }
                }
                Ok(index) if index == there => {
                    let laid = self.lay(Some(inner), &path.index(index), None, value);
                    list.push(laid);
                }
                _ => {
                    let place = (self.origin)(value.tag(), path).unwrap_or(Place::Default);
                    let key = index.map_or_else(|_| path.key(key), |index| path.index(index));
                    let message = "there is no such entry in the list";
                    self.problems.push(
                        Problem::new(place, key, message)
                            .hint(format!("entries are counted from 0; {there} begins a new one")),
                    );
                }
            }
        }
    }
}

/// Where every value of the tree came from.
#[derive(Debug)]
pub(super) struct Places {
    known: BTreeMap<KeyPath, Place>,
    root: Place,
}

impl Places {
    /// Where a key stands, or where the nearest table above it does.
    pub(super) fn of(&self, path: &KeyPath) -> Place {
        let mut path = path.clone();
        loop {
            if let Some(place) = self.known.get(&path) {
                return place.clone();
            }
            match path.parent() {
                Some(parent) => path = parent,
                None => return self.root.clone(),
            }
        }
    }

    /// Where a key itself stands; a key that no layer sets has its default.
    pub(super) fn set(&self, path: &KeyPath) -> Place {
        self.known.get(path).cloned().unwrap_or(Place::Default)
    }

    /// Whether a layer sets the key.
    pub(super) fn is_set(&self, path: &KeyPath) -> bool {
        self.known.contains_key(path)
    }

    fn note(
        &mut self,
        value: &Value,
        path: &KeyPath,
        origin: &impl Fn(Tag, &KeyPath) -> Option<Place>,
    ) {
        if *path != KeyPath::root()
            && let Some(place) = origin(value.tag(), path)
        {
            self.known.insert(path.clone(), place);
        }
        match value {
            Value::Dict(_, dict) => {
                for (key, value) in dict {
                    self.note(value, &path.key(key), origin);
                }
            }
            Value::Array(_, list) => {
                for (at, value) in list.iter().enumerate() {
                    self.note(value, &path.index(at), origin);
                }
            }
            _ => {}
        }
    }
}
