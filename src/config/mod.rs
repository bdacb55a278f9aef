//! The configuration: from files and environment variables to checked settings.
//!
//! ```text
//! types     what a file can write: sections, keys, defaults, and the manual as doc comments
//!   │       (schema: the same as a JSON Schema)
//! read      files, then environment variables → one tree of values, with the location of each
//!   │
//! validate  structure (keys, types, forms) → checks (does it make sense?) → Settings
//!   │
//! files     who else may write or read the files that the settings name
//!   │
//! report    the effective configuration with its origins; the manual
//! ```
//!
//! Every step goes on past a mistake, so that one run reports all of them. No report quotes a value.
//! With a [`Settings`], each part of the gateway can start.

mod files;
mod key;
mod problem;
mod read;
mod report;
mod schema;
pub mod settings;
pub mod types;
mod validate;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

pub use files::{FileRole, NamedFile};
pub use key::{KeyPath, Segment};
pub(crate) use problem::suggestion;
pub use problem::{Location, Problem, Problems};
pub use read::{CONFIG as CONFIG_VARIABLE, MAX_FILE_BYTES, PREFIX as VARIABLE_PREFIX};
pub use report::{Effective, Revision, manual};
pub use schema::schema;
pub use settings::{AdminListener, MetricsListener, Settings};

use self::{files::FileFindings, read::FileLayer, schema::Shape, types::Config};
use crate::telemetry::LogFormat;

/// The configuration file, unless another one is named.
pub const DEFAULT_PATH: &str = "/etc/pigello-gateway/gateway.toml";

/// A configuration without a mistake.
#[derive(Debug)]
pub struct Loaded {
    /// The checked settings.
    pub settings: Settings,
    /// Every key with its value and the location the value comes from.
    pub effective: Effective,
    /// What is allowed, and still looks like a mistake.
    pub warnings: Vec<Problem>,
    /// The files it was read from, in order.
    pub files: Vec<PathBuf>,
    /// Whom the files are open to.
    exposed: FileFindings,
}

impl Loaded {
    /// Checks what only `serve` needs: a listener, and files that nobody else may write.
    pub fn for_serving(mut self) -> Result<Self, Problems> {
        if !self.settings.listeners.is_empty() {
            self.warnings.append(&mut self.exposed.warnings);
            self.warnings.sort();
            let problems = std::mem::take(&mut self.exposed.problems);
            return Problems::unless(problems, Some(self));
        }
        let location = self.files.last().map_or(Location::Default, |path| Location::File {
            path: path.as_path().into(),
            line: None,
            column: None,
        });
        let message = "there is no listener, so nothing can be served";
        let problem = Problem::new(location, KeyPath::root().key("listeners"), message)
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

/// The variable that names the folder of a user's session for sockets.
const RUNTIME_FOLDER: &str = "XDG_RUNTIME_DIR";

/// The format of the log that a configuration asks for, whatever else is wrong with it: in a file that can be
/// read, or in the environment.
pub fn log_format(
    paths: &[PathBuf],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Option<LogFormat> {
    let shape = Shape::of_schema(&schema());
    let mut unsaid = Vec::new();
    let files = read::files(paths, &mut unsaid);
    let (tree, _) = read::read(files, environment, &shape, &mut unsaid);
    tree.find_ref("telemetry.log_format")?.deserialize().ok()
}

/// Reads and checks a configuration. Later files win over earlier ones, the environment over all.
pub fn load(
    paths: &[PathBuf],
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let files = read::files(paths, &mut problems);
    load_layers(files, paths, environment.collect(), problems)
}

/// Checks the text of a configuration that will be the file at this path, without the environment.
pub fn load_text(path: &Path, text: &str) -> Result<Loaded, Problems> {
    let mut problems = Vec::new();
    let files = read::text(path, text, &mut problems);
    load_layers(files, &[path.to_owned()], Vec::new(), problems)
}

fn load_layers(
    files: Vec<Option<FileLayer>>,
    paths: &[PathBuf],
    environment: Vec<(OsString, OsString)>,
    mut problems: Vec<Problem>,
) -> Result<Loaded, Problems> {
    let shape = Shape::of_schema(&schema());
    let runtime = environment.iter().find(|(name, _)| name == RUNTIME_FOLDER);
    let runtime = runtime.map(|(_, value)| PathBuf::from(value));
    let environment = environment.into_iter();
    // What a file would say that cannot be read is unknown, so nothing else can be judged.
    let is_complete = files.iter().all(Option::is_some);
    let (tree, locations) = read::read(files, environment, &shape, &mut problems);
    if !is_complete {
        return Problems::unless(problems, None);
    }
    let tree = validate::fit(tree, &shape, &locations, &mut problems);
    let mut config: Config = match tree.deserialize() {
        Ok(config) => config,
        Err(error) => {
            // `fit` has reported what does not fit; figment's own words would quote it.
            let key = error.path.iter().fold(KeyPath::root(), |path, key| path.key(key));
            problems.push(Problem::new(locations.of(&key), key, "cannot be read"));
            Config::default()
        }
    };
    config.derive_defaults(runtime.as_deref());
    let mut warnings = Vec::new();
    let settings = validate::check(&config, &locations, &mut problems, &mut warnings);
    let settings = Problems::unless(problems, settings)?;
    warnings.sort();
    let effective = Effective::new(&config, &locations);
    let exposed = files::examine(paths, &settings, &locations);
    Ok(Loaded { settings, effective, warnings, files: paths.to_vec(), exposed })
}
