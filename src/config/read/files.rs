//! One configuration file as a layer, with the line of every key.
//!
//! figment's own TOML reader takes a missing file for an empty one, and its error prints the line
//! that does not parse. Here a missing file is an error, and an error names the line only.

use std::{
    collections::BTreeMap,
    io::{self, ErrorKind, Read as _},
    ops::Range,
    path::Path,
    sync::Arc,
};

use figment::{
    Metadata, Profile, Provider,
    value::{Dict, Map, Value},
};
use toml_edit::{Document, Item, TableLike};

use crate::{
    config::{
        key::KeyPath,
        problem::{Location, Problem},
    },
    process::files::{NoRegularFile, open_named},
};

/// The bytes that a file may have. No configuration is larger, but what a wrong path leads to may be.
pub const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// A file as a layer.
#[derive(Debug)]
pub(in crate::config) struct FileLayer {
    pub(super) path: Arc<Path>,
    lines: BTreeMap<KeyPath, usize>,
    tree: Dict,
}

impl FileLayer {
    /// Reads a file. Mistakes inside go to `problems`, and the rest of the file is still used.
    pub(super) fn read(path: &Path, problems: &mut Vec<Problem>) -> Result<Self, Problem> {
        let text = read_text(path).map_err(|problem| {
            let hint = "name the configuration with `--config FILE` or PIGELLO_GATEWAY_CONFIG";
            let elsewhere = matches!(problem, Unreadable::Missing | Unreadable::Folder);
            let location = Location::File { path: path.into(), line: None, column: None };
            let problem = Problem::new(location, KeyPath::root(), problem.to_string());
            if elsewhere { problem.hint(hint) } else { problem }
        })?;
        Self::parse(path, &text, problems)
    }

    /// Reads the text of a file that is, or will be, at that path.
    pub(super) fn parse(
        path: &Path,
        text: &str,
        problems: &mut Vec<Problem>,
    ) -> Result<Self, Problem> {
        let path: Arc<Path> = path.into();
        let location = |line, column| Location::File { path: Arc::clone(&path), line, column };
        let newlines = Newlines::of(text);
        let document = Document::parse(text).map_err(|error| {
            let at = error.span().map(|span| newlines.position(text, span.start));
            let (line, column) = at.unzip();
            let location = location(line, column);
            Problem::new(location, KeyPath::root(), format!("not TOML: {}", message_of(&error)))
        })?;
        let mut reader = Reader { newlines, lines: BTreeMap::new(), problems, location: &location };
        let tree = reader.table(&KeyPath::root(), document.as_table());
        let lines = reader.lines;
        Ok(Self { path, lines, tree })
    }
}

impl FileLayer {
    /// The location of a key of this file.
    pub(super) fn location(&self, key: &KeyPath) -> Location {
        let line = self.lines.get(key).copied();
        Location::File { path: Arc::clone(&self.path), line, column: None }
    }
}

impl Provider for FileLayer {
    fn metadata(&self) -> Metadata {
        Metadata::from("file", &*self.path)
    }

    fn data(&self) -> figment::Result<Map<Profile, Dict>> {
        Ok(Map::from([(Profile::Default, self.tree.clone())]))
    }
}

fn read_text(path: &Path) -> Result<String, Unreadable> {
    let mut text = String::new();
    let file = open_named(path)?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(Unreadable::TooLarge);
    }
    Ok(text)
}

/// The reason why there is no text.
#[derive(Debug, thiserror::Error)]
enum Unreadable {
    #[error("there is no such file")]
    Missing,
    #[error("this is a folder, not a file")]
    Folder,
    #[error("{NoRegularFile}")]
    Special,
    #[error("this user may not read the file")]
    Forbidden,
    #[error("the file is not UTF-8 text")]
    NotText,
    #[error("the file is larger than 1 MiB, which no configuration is")]
    TooLarge,
    #[error("the file cannot be read: {0}")]
    Other(ErrorKind),
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            ErrorKind::NotFound => Self::Missing,
            ErrorKind::PermissionDenied => Self::Forbidden,
            ErrorKind::IsADirectory => Self::Folder,
            ErrorKind::InvalidData => Self::NotText,
            _ if NoRegularFile::is_cause_of(&error) => Self::Special,
            kind => Self::Other(kind),
        }
    }
}

/// The parser's own words, which name what it expected and never what it found.
fn message_of(error: &toml_edit::TomlError) -> String {
    error.message().lines().next().unwrap_or("does not parse").to_owned()
}

/// Where lines end.
#[derive(Debug)]
struct Newlines(Vec<usize>);

impl Newlines {
    fn of(text: &str) -> Self {
        Self(memchr::memchr_iter(b'\n', text.as_bytes()).collect())
    }

    fn line(&self, offset: usize) -> usize {
        self.0.partition_point(|end| *end < offset) + 1
    }

    fn position(&self, text: &str, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = line.checked_sub(2).and_then(|at| self.0.get(at)).map_or(0, |end| end + 1);
        let before = text.get(start..offset).unwrap_or_default();
        (line, before.chars().count() + 1)
    }
}

/// Turns the parsed document into figment's values.
struct Reader<'a, P> {
    newlines: Newlines,
    lines: BTreeMap<KeyPath, usize>,
    problems: &'a mut Vec<Problem>,
    location: &'a P,
}

impl<P: Fn(Option<usize>, Option<usize>) -> Location> Reader<'_, P> {
    fn table(&mut self, path: &KeyPath, table: &dyn TableLike) -> Dict {
        let mut dict = Dict::new();
        for (key, item) in table.iter() {
            let below = path.key(key);
            self.mark(&below, table.key(key).and_then(toml_edit::Key::span));
            if let Some(value) = self.item(&below, item) {
                dict.insert(key.to_owned(), value);
            }
        }
        dict
    }

    fn item(&mut self, path: &KeyPath, item: &Item) -> Option<Value> {
        match item {
            Item::None => None,
            Item::Value(value) => self.value(path, value),
            Item::Table(table) => Some(self.table(path, table).into()),
            Item::ArrayOfTables(tables) => {
                let mut values: Vec<Value> = Vec::with_capacity(tables.len());
                for (at, table) in tables.iter().enumerate() {
                    let below = path.index(at);
                    self.mark(&below, table.span());
                    values.push(self.table(&below, table).into());
                }
                Some(values.into())
            }
        }
    }

    fn value(&mut self, path: &KeyPath, value: &toml_edit::Value) -> Option<Value> {
        use toml_edit::Value as Toml;
        match value {
            Toml::String(text) => Some(text.value().as_str().into()),
            Toml::Integer(number) => Some((*number.value()).into()),
            Toml::Float(number) => Some((*number.value()).into()),
            Toml::Boolean(boolean) => Some((*boolean.value()).into()),
            Toml::Datetime(_) => {
                let location = self.location_of(path);
                let message = "a date stands here, and no key takes one";
                self.problems
                    .push(Problem::new(location, path.clone(), message).hint("put it in quotes"));
                None
            }
            Toml::Array(array) => {
                let mut values: Vec<Value> = Vec::with_capacity(array.len());
                for (at, value) in array.iter().enumerate() {
                    let below = path.index(at);
                    self.mark(&below, value.span());
                    values.extend(self.value(&below, value));
                }
                Some(values.into())
            }
            Toml::InlineTable(table) => Some(self.table(path, table).into()),
        }
    }

    fn mark(&mut self, path: &KeyPath, span: Option<Range<usize>>) {
        if let Some(span) = span {
            self.lines.insert(path.clone(), self.newlines.line(span.start));
        }
    }

    fn location_of(&self, path: &KeyPath) -> Location {
        (self.location)(self.lines.get(path).copied(), None)
    }
}
