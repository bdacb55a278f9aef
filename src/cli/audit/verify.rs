//! `audit verify`: checks that the trail is what the gateway wrote.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anstyle::{AnsiColor, Style};
use clap::Args;
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};

use super::{error::AuditError, location::TrailLocation, progress::ProgressLine};
use crate::{
    audit::{
        self, Checkpoint, FleetLogReport, KeptReport, KeySource, StoreReport, ToldReport,
        TrailDoubt, TrailProblem, Verdict, VerifyOptions, VerifyReport, VouchingKey,
    },
    domain::{VerifierKey, visible},
};

/// Checks the whole trail, or a bundle of `audit export`, or a fleet log.
///
/// The verdict is `ok` (exit code 0) if a signature vouches for the records, `not proved` (3) if nothing
/// contradicts them but something that would prove them is missing, and `wrong` (1) if they were changed.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    location: TrailLocation,
    /// A bundle of `audit export`, instead of a trail
    #[arg(
        value_name = "BUNDLE",
        conflicts_with_all = ["config", "directory", "stdin", "note", "witness", "fleet_log"]
    )]
    pub(super) bundle: Option<PathBuf>,
    /// The public key of the checkpoints; without it, the one in the trail's directory, which proves less. Keys that
    /// it replaced may stand behind it in the file, the newest first
    #[arg(long, value_name = "FILE")]
    pub(super) public_key: Option<PathBuf>,
    /// The public key of a bundle's manifest, if it was not signed with the trail's own
    #[arg(long, value_name = "FILE", requires = "bundle")]
    pub(super) manifest_key: Option<PathBuf>,
    /// Checkpoints from outside the trail: a file of the gateway's log lines
    #[arg(long, value_name = "FILE")]
    pub(super) checkpoints: Option<PathBuf>,
    /// A note that was kept elsewhere (C2SP tlog-checkpoint); may be repeated
    #[arg(long, value_name = "FILE")]
    note: Vec<PathBuf>,
    /// The key of a witness that must have signed the note, or the trail's own if none is given, or with
    /// `--fleet-log` the head of that; may be repeated
    #[arg(long, value_name = "KEY")]
    witness: Vec<VerifierKey>,
    /// Hold the trail against the heads in this fleet log of a hub. Without a trail, check the fleet log alone, and list
    /// the chains that it tells of
    #[arg(long, value_name = "DIR")]
    fleet_log: Option<PathBuf>,
    /// The public key of the fleet log; without it, the one in its directory, which proves less
    #[arg(long, value_name = "FILE", requires = "fleet_log")]
    fleet_log_key: Option<PathBuf>,
    /// Read lines from standard input, as a store gives them back: chain by chain, each by `seq`; a line may have
    /// its chain before it, with a tab between. `--public-key` may then name a file of several keys
    #[arg(long, conflicts_with_all = ["config", "directory"])]
    stdin: bool,
    /// Print the verdict and its reasons as JSON
    #[arg(long)]
    pub(super) json: bool,
}

impl VerifyArgs {
    /// The bundle, the trail's directory, or else the configuration files.
    pub(super) fn source(&self) -> Result<&[PathBuf], &[PathBuf]> {
        let alone = self.fleet_log.as_ref().filter(|_| !self.location.is_given());
        let directory = self.bundle.as_ref().or(alone).map(std::slice::from_ref);
        directory.map_or_else(|| self.location.get(), Ok)
    }
}

pub(super) fn run(
    args: &VerifyArgs,
    directory: &Path,
    out: &mut dyn io::Write,
) -> Result<Verdict, AuditError> {
    let fleet_log = args.fleet_log()?;
    if let Some(fleet_log) = &fleet_log
        && !args.location.is_given()
    {
        let printed = if args.json {
            writeln!(out, "{:#}", fleet_log_as_json(fleet_log))
        } else {
            print_fleet_log(fleet_log, args.fleet_log_key.as_deref(), true, out)
        };
        printed.map_err(AuditError::Output)?;
        return Ok(fleet_log.verdict());
    }
    let options = args.options(fleet_log.as_ref())?;
    let mut progress = ProgressLine::over(&audit::files(directory)?);
    let report = audit::verify(directory, options, |file| progress.file(file))?;
    drop(progress);
    let printed = if args.json {
        writeln!(out, "{:#}", with_fleet_log(as_json(&report), fleet_log.as_ref()))
    } else {
        args.print_fleet_log(fleet_log.as_ref(), out)
            .and_then(|()| print(&report, args.public_key.as_deref(), out))
    };
    printed.map_err(AuditError::Output)?;
    Ok(report.verdict().and(fleet_log.as_ref().map_or(Verdict::Ok, FleetLogReport::verdict)))
}

/// Checks lines of a store.
pub(super) fn run_on_lines(
    args: &VerifyArgs,
    lines: impl io::BufRead,
    out: &mut dyn io::Write,
) -> Result<Verdict, AuditError> {
    let fleet_log = args.fleet_log()?;
    let report = audit::verify_store(lines, &args.options(fleet_log.as_ref())?)?;
    let printed = if args.json {
        writeln!(out, "{:#}", with_fleet_log(store_as_json(&report), fleet_log.as_ref()))
    } else {
        args.print_fleet_log(fleet_log.as_ref(), out)
            .and_then(|()| print_store(&report, args.public_key.as_deref(), out))
    };
    printed.map_err(AuditError::Output)?;
    Ok(report.verdict().and(fleet_log.as_ref().map_or(Verdict::Ok, FleetLogReport::verdict)))
}

impl VerifyArgs {
    pub(super) fn reads_lines(&self) -> bool {
        self.stdin
    }

    /// The fleet log that is named, checked.
    fn fleet_log(&self) -> Result<Option<FleetLogReport>, AuditError> {
        let Some(directory) = &self.fleet_log else { return Ok(None) };
        if !directory.is_dir() {
            return Err(AuditError::NoDirectory { path: directory.clone() });
        }
        let options = VerifyOptions {
            key: self.fleet_log_key.clone().map_or(KeySource::Directory, KeySource::File),
            witnesses: self.witness.clone(),
            ..VerifyOptions::default()
        };
        Ok(Some(audit::verify_fleet_log(directory, options)?))
    }

    fn print_fleet_log(
        &self,
        fleet_log: Option<&FleetLogReport>,
        out: &mut dyn io::Write,
    ) -> io::Result<()> {
        let Some(fleet_log) = fleet_log else { return Ok(()) };
        print_fleet_log(fleet_log, self.fleet_log_key.as_deref(), false, out)?;
        writeln!(out, "the trail:")
    }

    fn options(&self, fleet_log: Option<&FleetLogReport>) -> Result<VerifyOptions, AuditError> {
        let notes = self.note.iter().map(|path| match fs::read(path) {
            Ok(note) => Ok(String::from_utf8_lossy(&note).into_owned()),
            Err(source) => Err(AuditError::Unreadable { path: path.clone(), source }),
        });
        Ok(VerifyOptions {
            key: self.public_key.clone().map_or(KeySource::Directory, KeySource::File),
            checkpoints: self.checkpoints.as_deref().map(kept).transpose()?,
            notes: notes.collect::<Result<_, _>>()?,
            told: fleet_log.map(|fleet_log| fleet_log.chains.clone()),
            // Only the fleet log's own head must have their signatures, if there is one.
            witnesses: if fleet_log.is_some() { Vec::new() } else { self.witness.clone() },
        })
    }
}

/// A fleet log, and the chains that it tells of, if they are wanted.
fn print_fleet_log(
    report: &FleetLogReport,
    key_file: Option<&Path>,
    with_chains: bool,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    writeln!(out, "the fleet log:")?;
    print(&report.log, key_file, out)?;
    writeln!(out, "it tells of {}", many(report.chains.len() as u64, "chain"))?;
    if !with_chains || report.chains.is_empty() {
        return Ok(());
    }
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(["CHAIN", "GATEWAY", "HEADS", "UP TO RECORD", "LAST HEAD", "END", "FOUND"]);
    for chain in &report.chains {
        let found: Vec<_> = chain.findings.iter().map(|kind| kind.label()).collect();
        table.add_row([
            chain.name.clone(),
            visible(&chain.instance).into_owned(),
            chain.count().to_string(),
            chain.last_seq.to_string(),
            chain.last_time.clone(),
            if chain.ended { "closed" } else { "open" }.to_owned(),
            found.join(" "),
        ]);
    }
    writeln!(out, "\n{}", table.trim_fmt())
}

fn fleet_log_as_json(report: &FleetLogReport) -> Value {
    let chains = report.chains.iter().map(|chain| {
        json!({
            "chain": chain.name,
            "instance": chain.instance,
            "key": chain.key.to_string(),
            "heads": chain.count(),
            "last_seq": chain.last_seq,
            "last_time": chain.last_time,
            "closed": chain.ended,
            "findings": chain.findings,
        })
    });
    let chains: Vec<_> = chains.collect();
    let mut fields = as_json(&report.log);
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("chains".to_owned(), json!(chains));
    }
    fields
}

/// Adds the check of a fleet log, which has a verdict of its own.
fn with_fleet_log(mut report: Value, fleet_log: Option<&FleetLogReport>) -> Value {
    if let (Some(fields), Some(fleet_log)) = (report.as_object_mut(), fleet_log) {
        fields.insert("fleet_log".to_owned(), fleet_log_as_json(fleet_log));
    }
    report
}

fn print_store(
    report: &StoreReport,
    key_file: Option<&Path>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    for (chain, report) in &report.chains {
        match chain {
            Some(chain) => writeln!(out, "chain {chain}: ")?,
            None => writeln!(out, "records without a chain: ")?,
        }
        print(report, key_file, out)?;
    }
    for chain in &report.missing {
        writeln!(
            out,
            "{BAD}wrong{BAD:#} there are no records of the chain {chain}, which a note is of"
        )?;
    }
    let count = many(report.chains.len() as u64, "chain");
    writeln!(out, "{count}: {}", report.verdict().label())
}

fn store_as_json(report: &StoreReport) -> Value {
    let chains = report.chains.iter().map(|(chain, report)| {
        let mut report = as_json(report);
        if let Some(fields) = report.as_object_mut() {
            fields.insert("chain".to_owned(), json!(chain));
        }
        report
    });
    json!({
        "verdict": report.verdict().label().replace(' ', "_"),
        "missing_chains": report.missing,
        "chains": chains.collect::<Vec<_>>(),
    })
}

/// The checkpoints in a file, which may hold other lines too.
pub(super) fn kept(path: &Path) -> Result<Vec<Checkpoint>, AuditError> {
    let bytes = fs::read(path)
        .map_err(|source| AuditError::Unreadable { path: path.to_owned(), source })?;
    Ok(bytes.split(|byte| *byte == b'\n').filter_map(Checkpoint::parse).collect())
}

fn print(
    report: &VerifyReport,
    key_file: Option<&Path>,
    out: &mut dyn io::Write,
) -> io::Result<()> {
    let VerifyReport { files, lines, calls, .. } = report;
    write!(
        out,
        "{} in {} in {}",
        many(*calls, "call"),
        many(*lines, "record"),
        many(*files, "file")
    )?;
    match (report.first_seq, report.last_seq) {
        (Some(first), Some(last)) => writeln!(out, ", records {first} to {last}")?,
        _ => writeln!(out)?,
    }
    if let Some(key) = &report.key {
        let signed = many(report.checkpoints, "checkpoint");
        write!(out, "{signed} signed with the key {}", key.id)?;
        if !key.earlier.is_empty() {
            write!(out, " or one that it replaced ({})", key.earlier.join(", "))?;
        }
        write!(out, ", from ")?;
        match key_file {
            Some(file) => writeln!(out, "{}", file.display())?,
            None => writeln!(out, "the trail's own directory")?,
        }
    }
    if let Some(KeptReport { found, signed, agreed, last_agreed }) = &report.kept {
        write!(out, "{} kept elsewhere, {signed} with this key, ", many(*found, "checkpoint"))?;
        match last_agreed {
            Some(seq) => writeln!(out, "{agreed} agree, the last at record {seq}")?,
            None => writeln!(out, "none agrees")?,
        }
    }
    if let Some(ToldReport { compared, agreed, last_agreed }) = &report.told {
        write!(out, "{} in the fleet log, ", many(*compared, "head"))?;
        match last_agreed {
            Some(seq) => writeln!(out, "{agreed} agree, the last at record {seq}")?,
            None => writeln!(out, "none agrees")?,
        }
    }
    for witness in &report.witnesses {
        writeln!(out, "signed by the witness {witness}")?;
    }
    notes(report, out)?;
    for problem in report.problems.iter().take(MAX_SHOWN) {
        writeln!(out, "{BAD}wrong{BAD:#} {}", visible(&problem.to_string()))?;
    }
    for doubt in report.doubts.iter().take(MAX_SHOWN) {
        writeln!(out, "{DOUBT}not proved{DOUBT:#} {}", visible(&doubt.to_string()))?;
        writeln!(out, "    what to do: {}", doubt.kind.remedy())?;
    }
    match report.verdict() {
        Verdict::Ok => {
            writeln!(out, "{GOOD}ok{GOOD:#}: {}", report.statement())?;
            for limit in report.limits() {
                writeln!(out, "    {limit}")?;
            }
            Ok(())
        }
        Verdict::NotProved => {
            let count = many(report.doubts.len() as u64, "reason");
            writeln!(
                out,
                "{DOUBT}not proved{DOUBT:#}: no contradiction was found, but no proof: {count}"
            )
        }
        Verdict::Wrong => {
            let count = many(report.problems.len() as u64, "problem");
            writeln!(out, "{BAD}wrong{BAD:#}: {count}; examine the first one first")
        }
    }
}

/// Events that are not problems.
pub(super) fn notes(report: &VerifyReport, out: &mut dyn io::Write) -> io::Result<()> {
    let notes = [
        (report.crashes, "time", "the gateway was killed; the next one continued the trail"),
        (
            report.adopted,
            "record",
            "had no signature yet when the next gateway started, which took them as it found them",
        ),
        (report.torn, "half-written record", "closed with a marker"),
        (report.damaged, "time", "the end of the trail was damaged, and was moved aside"),
        (report.unknown, "call", "in progress when the gateway was killed: outcome unknown"),
        (report.lost, "record", "dropped while the trail could not be written"),
        (report.restored, "time", "the current file was removed or replaced, and restored"),
        (
            report.clock_went_back,
            "time",
            "the clock went back by more than an hour; the order of records is that of `seq`",
        ),
    ];
    for (count, what, note) in notes.into_iter().filter(|(count, ..)| *count > 0) {
        writeln!(out, "{NOTE}note{NOTE:#} {} {note}", many(count, what))?;
    }
    Ok(())
}

pub(super) fn as_json(report: &VerifyReport) -> Value {
    let key = report.key.as_ref().map(|VouchingKey { id, earlier, is_of_trail }| {
        let from = if *is_of_trail { "trail" } else { "elsewhere" };
        json!({ "fingerprint": id, "earlier": earlier, "from": from })
    });
    let kept = report.kept.as_ref().map(|KeptReport { found, signed, agreed, last_agreed }| {
        json!({ "found": found, "signed": signed, "agreed": agreed, "last_agreed": last_agreed })
    });
    let problems = report.problems.iter().map(|TrailProblem { file, line, seq, kind }| {
        json!({
            "problem": kind.label(),
            "file": file.to_string_lossy(),
            "line": line,
            "seq": seq,
            "text": kind.to_string(),
        })
    });
    let reasons = report.doubts.iter().map(|TrailDoubt { seq, kind }| {
        json!({
            "reason": kind.label(),
            "seq": seq,
            "text": kind.to_string(),
            "remedy": kind.remedy(),
        })
    });
    json!({
        "verdict": report.verdict().label().replace(' ', "_"),
        "statement": report.statement(),
        "limits": if report.verdict() == Verdict::Ok { report.limits() } else { Vec::new() },
        "key": key,
        "kept_checkpoints": kept,
        "fleet_log_heads": report.told.as_ref().map(|told| json!({
            "compared": told.compared,
            "agreed": told.agreed,
            "last_agreed": told.last_agreed,
        })),
        "witnesses": report.witnesses,
        "problems": problems.collect::<Vec<_>>(),
        "reasons": reasons.collect::<Vec<_>>(),
        "files": report.files,
        "records": report.lines,
        "calls": report.calls,
        "first_seq": report.first_seq,
        "last_seq": report.last_seq,
        "checkpoints": report.checkpoints,
        "vouched_seq": report.vouched_seq,
        "only_chained": report.chained,
        "closed": report.is_closed,
        "crashes": report.crashes,
        "unsigned_at_crashes": report.adopted,
        "torn": report.torn,
        "damaged": report.damaged,
        "unknown": report.unknown,
        "lost": report.lost,
        "restored": report.restored,
        "clock_went_back": report.clock_went_back,
    })
}

pub(super) fn many(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

pub(super) const MAX_SHOWN: usize = 20;
pub(super) const GOOD: Style = AnsiColor::Green.on_default().bold();
pub(super) const BAD: Style = AnsiColor::Red.on_default().bold();
pub(super) const DOUBT: Style = AnsiColor::Yellow.on_default().bold();
const NOTE: Style = AnsiColor::Cyan.on_default().bold();
