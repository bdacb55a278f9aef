//! `audit query`: the calls that fit, as a table, as JSON lines or as CSV.

use std::{io, path::Path};

use clap::{Args, ValueEnum};

use super::{AuditError, Source, filter::Filter};
use crate::trail::{self, Call};

/// Shows the calls that fit.
#[derive(Debug, Args)]
pub(super) struct QueryArgs {
    #[command(flatten)]
    pub(super) source: Source,
    #[command(flatten)]
    filter: Filter,
    /// How to print them: aligned text, the trail's own lines, or comma-separated values.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Stop after so many.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    #[default]
    Table,
    Json,
    Csv,
}

pub(super) fn run(
    args: &QueryArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<(), AuditError> {
    let mut left = args.limit.unwrap_or(usize::MAX);
    heading(args.format, out).map_err(AuditError::Output)?;
    trail::for_each_line(directory, |line| {
        if left == 0 {
            return Ok(false);
        }
        if let Some(call) = trail::call(line).filter(|call| args.filter.matches(call)) {
            left -= 1;
            print(args.format, &call, line, out).map_err(AuditError::Output)?;
        }
        Ok(true)
    })
}

fn heading(format: Format, out: &mut dyn io::Write) -> io::Result<()> {
    match format {
        Format::Table => writeln!(
            out,
            "{:<27} {:<12} {:<28} {:>6} {:<9} {:<11} {:>9}  PATH",
            "TIME", "CALLER", "OPERATION", "STATUS", "OUTCOME", "CACHE", "MS"
        ),
        Format::Json => Ok(()),
        Format::Csv => writeln!(
            out,
            "time,seq,request_id,caller,operation,method,path,status,outcome,cache,duration_us,error"
        ),
    }
}

pub(super) fn print(
    format: Format,
    call: &Call<'_>,
    line: &[u8],
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let or_dash = |text: &Option<std::borrow::Cow<'_, str>>| {
        text.as_deref().map_or_else(|| "-".to_owned(), printable)
    };
    let status = call.status.map(|status| status.to_string());
    match format {
        Format::Table => writeln!(
            out,
            "{:<27} {:<12} {:<28} {:>6} {:<9} {:<11} {:>9.1}  {}",
            call.time,
            or_dash(&call.caller),
            call.operation.as_deref().map_or_else(|| call.method.to_string(), printable),
            status.as_deref().unwrap_or("-"),
            call.outcome,
            or_dash(&call.cache),
            std::time::Duration::from_micros(call.duration_us).as_secs_f64() * 1e3,
            or_dash(&call.path),
        ),
        Format::Json => {
            out.write_all(line)?;
            out.write_all(b"\n")
        }
        Format::Csv => {
            let field = |text: Option<&str>| csv(text.unwrap_or_default());
            writeln!(
                out,
                "{},{},{},{},{},{},{},{},{},{},{},{}",
                call.time,
                call.seq,
                call.request_id,
                field(call.caller.as_deref()),
                field(call.operation.as_deref()),
                csv(&call.method),
                field(call.path.as_deref()),
                field(status.as_deref()),
                call.outcome,
                field(call.cache.as_deref()),
                call.duration_us,
                field(call.error.as_deref()),
            )
        }
    }
}

/// Text that moves no cursor.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// RFC 4180, and a text that a spreadsheet would take for a formula is told to be text.
fn csv(text: &str) -> String {
    let text = printable(text);
    let formula = if text.starts_with(['=', '+', '-', '@']) { "'" } else { "" };
    if text.contains(['"', ',']) || !formula.is_empty() {
        format!("\"{formula}{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}
