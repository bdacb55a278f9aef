//! The configuration: from files and environment to checked settings.
//!
//! ```text
//! files, environment → layers (one tree, and where each value came from)
//!                    → secrets (none may stand here)
//!                    → fit     (keys, types, forms)
//!                    → raw     (the tree as types, defaults filled in)
//!                    → check   (does it make sense?) → Settings
//! ```
//!
//! Every step goes on past what is wrong, so that one run tells all of it. What is told never holds
//! a value. If a [`Settings`] exists, each part of the gateway can start with it.

mod check;
mod effective;
mod environment;
mod files;
mod fit;
mod key;
mod layers;
mod manual;
mod problem;
pub mod raw;
mod schema;
mod secrets;
pub mod settings;
mod shape;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub use effective::Effective;
pub use environment::{CONFIG as CONFIG_VARIABLE, PREFIX as VARIABLE_PREFIX};
pub use key::{KeyPath, Segment};
pub use manual::manual;
pub use problem::{Place, Problem, Problems};
pub use schema::schema;
pub use settings::Settings;

use self::{layers::Layers, shape::Shape};

/// Where the configuration is if nothing else is said.
pub const DEFAULT_PATH: &str = "/etc/pigello-gateway/gateway.toml";

/// A configuration that is in order.
#[derive(Debug)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// The same, key by key, with where each value came from.
    pub effective: Effective,
    /// What is allowed and still looks like a mistake.
    pub warnings: Vec<Problem>,
    /// The files it was read from, in order.
    pub files: Vec<PathBuf>,
}

impl Loaded {
    /// Asks for what `serve` needs and other commands do not: a listener.
    pub fn for_serving(self) -> Result<Self, Problems> {
        if !self.settings.listeners.is_empty() {
            return Ok(self);
        }
        let place = self.files.last().map_or(Place::Default, |path| Place::File {
            path: path.as_path().into(),
            line: None,
            column: None,
        });
        let message = "there is no listener, so nothing can be served";
        let problem = Problem::new(place, KeyPath::root().key("listeners"), message)
            .hint("add a [[listeners]] entry with `name`, `address` and `profile`");
        Problems::unless(vec![problem], None)
    }
}

/// The files to read: those of `--config`, else the one that `PIGELLO_GATEWAY_CONFIG` names, else
/// [`DEFAULT_PATH`].
pub fn config_paths(named: &[PathBuf], variable: Option<OsString>) -> Vec<PathBuf> {
    match (named, variable) {
        ([], Some(variable)) if !variable.is_empty() => vec![variable.into()],
        ([], _) => vec![Path::new(DEFAULT_PATH).to_owned()],
        (named, _) => named.to_vec(),
    }
}

/// Reads and checks a configuration. Later files win over earlier ones, the environment over all.
pub fn load(
    paths: &[PathBuf],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let shape = Shape::of_schema(&schema());
    let Layers { mut tree, places, complete } =
        Layers::read(paths, environment, &shape, &mut problems);
    if !complete {
        // What a file that cannot be read would have said is unknown, so nothing else is judged.
        return Problems::unless(problems, None);
    }
    secrets::take_out(&mut tree, &places, &mut problems);
    let tree = fit::fit(tree, &shape, &places, &mut problems);
    let mut raw: raw::Config = match tree.deserialize() {
        Ok(raw) => raw,
        Err(error) => {
            // `fit` has told what does not fit; figment's own words would quote it.
            let key = error.path.iter().fold(KeyPath::root(), |path, key| path.key(key));
            problems.push(Problem::new(places.of(&key), key, "cannot be read"));
            raw::Config::default()
        }
    };
    raw.derive_defaults();
    let mut warnings = Vec::new();
    let settings = check::check(&raw, &places, &mut problems, &mut warnings);
    let settings = Problems::unless(problems, settings)?;
    warnings.sort();
    let effective = Effective::new(&raw, &places);
    Ok(Loaded { settings, effective, warnings, files: paths.to_vec() })
}
