//! The forms of the list: for a terminal, a spreadsheet, a program.

use std::io::Write;

use comfy_table::{ContentArrangement, Table, presets};

use crate::{
    cli::{Failure, audit::csv},
    domain::visible,
    proxy::stages::authorize::{AccessEntry, AccessMatrix, AccessRow, EntityAccess, entity_access},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    List,
    Matrix,
    Json,
    Csv,
}

/// What is printed.
pub(super) struct Listed {
    pub(super) access: AccessMatrix,
    /// Whether a policy says who may use them.
    pub(super) with_policy: bool,
}

/// Prints the list. `width` is the terminal's, if the output is one.
pub(super) fn print(
    listed: &Listed,
    form: Form,
    width: Option<usize>,
    out: &mut impl Write,
) -> Result<(), Failure> {
    let access = &listed.access;
    match form {
        Form::List => writeln!(out, "{}", fitting(list(listed), width))?,
        Form::Json => {
            serde_json::to_writer_pretty(&mut *out, &document(listed))?;
            writeln!(out)?;
        }
        Form::Csv => spreadsheet(access, out)?,
        Form::Matrix => {
            let table = matrix(access).to_string();
            let widest = table.lines().map(|line| line.chars().count()).max().unwrap_or_default();
            if width.is_some_and(|width| widest > width) {
                writeln!(out, "{}", fitting(by_caller(access), width))?;
            } else {
                writeln!(out, "{table}")?;
            }
        }
    }
    Ok(())
}

fn plain(heading: Vec<&str>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading);
    table
}

fn fitting(mut table: Table, width: Option<usize>) -> Table {
    if let Some(width) = width {
        table.set_content_arrangement(ContentArrangement::Dynamic);
        table.set_width(u16::try_from(width).unwrap_or(u16::MAX));
    }
    table
}

/// The name; an operation of the configuration has a `+`.
fn marked(row: &AccessRow) -> String {
    let mark = if row.operation.is_built_in() { "" } else { " +" };
    format!("{}{mark}", row.operation.name())
}

fn list(Listed { access, with_policy }: &Listed) -> Table {
    let mut heading = vec!["OPERATION", "METHOD", "PATH"];
    if *with_policy {
        heading.push("WHO MAY");
    }
    let mut table = plain(heading);
    for row in &access.rows {
        let operation = &row.operation;
        let mut cells = vec![
            marked(row),
            operation.method().to_string(),
            visible(operation.template()).into_owned(),
        ];
        if *with_policy {
            let callers: Vec<_> = access.allowed(row).collect();
            cells.push(if callers.is_empty() { "nobody".to_owned() } else { callers.join(", ") });
        }
        table.add_row(cells);
    }
    table
}

fn matrix(access: &AccessMatrix) -> Table {
    let mut table =
        plain(["OPERATION"].into_iter().chain(access.callers.iter().map(AsRef::as_ref)).collect());
    for row in &access.rows {
        let marks = row.allowed.iter().map(|allowed| if *allowed { "yes" } else { "·" }.to_owned());
        table.add_row([marked(row)].into_iter().chain(marks));
    }
    table
}

/// The matrix the other way round: for each caller the entities, with what it may do.
fn by_caller(access: &AccessMatrix) -> Table {
    let mut table = plain(vec!["CALLER", "ENTITY", "MAY"]);
    for (at, caller) in access.callers.iter().enumerate() {
        let mut name = &**caller;
        for (entity, rows) in access.entities() {
            let may = match entity_access(&rows, at) {
                EntityAccess::All => "everything".to_owned(),
                EntityAccess::Some(actions) if actions.is_empty() => continue,
                EntityAccess::Some(actions) => actions.join(", "),
            };
            table.add_row([std::mem::take(&mut name), entity, &may]);
        }
        if !name.is_empty() {
            table.add_row([name, "", "nothing"]);
        }
    }
    table
}

fn spreadsheet(access: &AccessMatrix, out: &mut impl Write) -> Result<(), Failure> {
    const ABOUT: [&str; 4] = ["operation", "method", "path", "built_in"];
    // No caller's name has a colon, so no two columns have one name.
    let column = |name: &str| {
        if ABOUT.contains(&name) { format!("caller:{name}") } else { csv(name) }
    };
    let callers = access.callers.iter().map(|name| column(name));
    let heading: Vec<_> = ABOUT.iter().copied().map(str::to_owned).chain(callers).collect();
    writeln!(out, "{}", heading.join(","))?;
    let word = |is_so: bool| if is_so { "yes" } else { "no" }.to_owned();
    for row in &access.rows {
        let operation = &row.operation;
        let about = [
            csv(operation.name()),
            csv(operation.method().as_str()),
            csv(operation.template()),
            word(operation.is_built_in()),
        ];
        let cells = about.into_iter().chain(row.allowed.iter().copied().map(word));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join(","))?;
    }
    Ok(())
}

fn document(Listed { access, with_policy }: &Listed) -> Vec<AccessEntry<'_>> {
    let entry = |row| {
        if *with_policy { access.entry(row) } else { AccessEntry::of(&row.operation) }
    };
    access.rows.iter().map(entry).collect()
}
