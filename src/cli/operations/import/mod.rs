//! `operations import`: makes `[[operations]]` from an OpenAPI description.
//!
//! [`document`] reads the file and finds what can be called, [`naming`] gives names by the rule of the built-in
//! operations, [`fragment`] writes the result. What cannot become an operation is told with the reason. The
//! file may come from anywhere, so its size, its nesting and its references are bounded, and nothing of it
//! gets onto the terminal or into the result as anything but visible text.

mod document;
mod fragment;
mod naming;

use std::{
    collections::BTreeSet,
    fs::OpenOptions,
    io::{self, Write},
    path::{Path, PathBuf},
};

use self::document::{Description, Endpoint, Found, Skipped};
use crate::{
    cli::Failure,
    config,
    domain::{Catalog, CatalogError, Operation, OperationError, builtin_operations, visible},
};

/// Makes `[[operations]]` from an OpenAPI description.
///
/// Reads OpenAPI 3, as YAML or JSON, and prints a fragment of the configuration; what was left out, and why,
/// goes to standard error. Names follow the rule of the built-in operations: `GET …/realestate/{pk}/` is
/// `realestate.get`. Entities of one name in several places get the segments before it:
/// `structural_realestate.get`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The OpenAPI description; `-` reads standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Write to a new file in place of standard output
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// An operation to write, with what the description says of it.
#[derive(Debug)]
struct Imported {
    operation: Operation,
    /// Whether the description has a body for a method that defines none.
    body: bool,
    /// Whether the description leaves open that the variables of the path are UUIDs.
    is_unsaid: bool,
    about: String,
}

pub(super) fn run(
    args: &Args,
    out: &mut impl Write,
    notes: &mut impl Write,
) -> Result<(), Failure> {
    let text = document::read(&args.file)?;
    let description = Description::parse(&text)?;
    let Found { endpoints, mut skipped, mut remarks } = description.endpoints();
    let (imported, built_in) = import(endpoints, &mut skipped)?;
    let source = args.file.file_name().unwrap_or_default().to_string_lossy();
    let fragment = fragment::text(&source, &imported);
    if fragment.len() as u64 > config::MAX_FILE_BYTES {
        let text = format!(
            "{} operations are more than the 1 MiB that a file of the configuration may have",
            imported.len()
        );
        return Err(Failure::failed(text).hint("leave out of the description what nobody calls"));
    }
    remarks.extend(unsaid(&imported));
    remarks.extend(grown_grants(&imported));
    match &args.out {
        Some(path) => write_new(path, &fragment)?,
        None => out.write_all(fragment.as_bytes())?,
    }
    report(&imported, built_in, &skipped, &remarks, notes)?;
    Ok(())
}

/// The operations that a configuration takes, and how many are built in.
fn import(
    endpoints: Vec<Endpoint>,
    skipped: &mut Vec<Skipped>,
) -> Result<(Vec<Imported>, usize), Failure> {
    let bug = |error: CatalogError| Failure::failed(error.to_string());
    let mut catalog = Catalog::new([]).map_err(bug)?;
    let is_built_in = |endpoint: &Endpoint| {
        let operations = catalog.operations().iter();
        let same = |operation: &Operation| {
            operation.template() == endpoint.template && operation.method() == endpoint.method
        };
        operations.map(AsRef::as_ref).any(same)
    };
    let (built_in, new): (Vec<_>, Vec<_>) = endpoints.into_iter().partition(is_built_in);
    let mut imported = Vec::new();
    for (endpoint, name) in naming::named(new) {
        let made = name.map_err(Refused::Name).and_then(|name| {
            let method = endpoint.method.clone();
            let operation = Operation::new(&name, method, &endpoint.template)?;
            catalog.add(operation.clone())?;
            Ok(operation)
        });
        match made {
            Ok(operation) => {
                let body = endpoint.has_body && !operation.takes_body();
                let Endpoint { is_unsaid, about, .. } = endpoint;
                imported.push(Imported { operation, body, is_unsaid, about });
            }
            Err(why) => skipped.push(endpoint.skipped(why.to_string())),
        }
    }
    Ok((imported, built_in.len()))
}

fn unsaid(imported: &[Imported]) -> Option<String> {
    let count = imported.iter().filter(|imported| imported.is_unsaid).count();
    (count > 0).then(|| {
        format!(
            "{count} operations have a text in their path that the file does not call a UUID; the gateway \
             takes only UUIDs there"
        )
    })
}

/// The patterns that callers may have without these operations, and that take some of them.
fn grown_grants(imported: &[Imported]) -> Option<String> {
    let parts = |operation: &Operation| {
        let (entity, action) = operation.name().split_once('.')?;
        Some((entity.to_owned(), action.to_owned()))
    };
    let (entities, actions): (BTreeSet<_>, BTreeSet<_>) =
        builtin_operations().filter_map(|operation| parts(&operation)).unzip();
    let mut patterns = BTreeSet::new();
    for (entity, action) in imported.iter().filter_map(|imported| parts(&imported.operation)) {
        patterns.insert("*".to_owned());
        if entities.contains(&entity) {
            patterns.insert(format!("{entity}.*"));
        }
        if actions.contains(&action) {
            patterns.insert(format!("*.{action}"));
        }
    }
    let patterns: Vec<_> = patterns.iter().map(|pattern| format!("`{pattern}`")).collect();
    (!patterns.is_empty()).then(|| {
        format!(
            "a caller that has one of these in `allow` may use more at once: {}",
            patterns.join(", ")
        )
    })
}

/// Why an endpoint cannot become an operation.
#[derive(Debug, thiserror::Error)]
enum Refused {
    #[error(transparent)]
    Name(naming::SharedName),
    #[error(transparent)]
    Form(#[from] OperationError),
    #[error(transparent)]
    Taken(#[from] CatalogError),
}

fn write_new(path: &Path, text: &str) -> Result<(), Failure> {
    let written = OpenOptions::new().write(true).create_new(true).open(path);
    written.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let failure = Failure::failed(format!("cannot write {}: {error}", path.display()));
        match error.kind() {
            io::ErrorKind::AlreadyExists => failure.hint("name a new file with --out"),
            _ => failure,
        }
    })
}

fn report(
    imported: &[Imported],
    built_in: usize,
    skipped: &[Skipped],
    remarks: &[String],
    notes: &mut impl Write,
) -> io::Result<()> {
    writeln!(
        notes,
        "{} operations; {built_in} more are built in already, {} were left out",
        imported.len(),
        skipped.len()
    )?;
    for remark in remarks {
        writeln!(notes, "note: {}", visible(remark))?;
    }
    for Skipped { what, why } in skipped {
        writeln!(notes, "left out {}: {}", visible(what), visible(why))?;
    }
    Ok(())
}
