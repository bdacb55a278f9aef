//! What a check of a bundle found, for people and for programs.

use std::io;

use serde_json::{Value, json};

use super::check::BundleReport;
use crate::{
    audit::Verdict,
    cli::audit::verify::{self, BAD, DOUBT, GOOD, MAX_SHOWN, many},
    domain::visible,
};

/// Everything from the bundle is shown without control characters: its author may be anybody.
pub(super) fn print(report: &BundleReport, out: &mut dyn io::Write) -> io::Result<()> {
    if let Some(manifest) = &report.manifest {
        let made = format!("{:.0}", manifest.made);
        let (trail, host) = (visible(&manifest.trail), visible(&manifest.host));
        writeln!(out, "evidence of the trail {trail} on {host}, exported {made}")?;
        writeln!(out, "asked for {}", visible(&manifest.question()))?;
        let records = many(report.records, "record");
        writeln!(out, "{records} of {}", visible(&report.lines.in_words()))?;
    }
    if let Some(key) = &report.trail.key {
        let signed = many(report.trail.checkpoints, "checkpoint");
        writeln!(out, "{signed} signed with the key {}", key.id)?;
    }
    verify::notes(&report.trail, out)?;
    let problems = report.problems.iter().map(ToString::to_string);
    let problems = problems.chain(report.trail.problems.iter().map(ToString::to_string));
    for problem in problems.take(MAX_SHOWN) {
        writeln!(out, "{BAD}wrong{BAD:#} {}", visible(&problem))?;
    }
    let doubts = report.doubts.iter().map(|doubt| (doubt.to_string(), doubt.remedy()));
    let of_trail = report.trail.doubts.iter();
    let of_trail = of_trail.map(|doubt| (doubt.to_string(), doubt.kind.remedy()));
    for (doubt, remedy) in doubts.chain(of_trail).take(MAX_SHOWN) {
        writeln!(out, "{DOUBT}not proved{DOUBT:#} {}", visible(&doubt))?;
        writeln!(out, "    what to do: {remedy}")?;
    }
    let style = match report.verdict() {
        Verdict::Ok => GOOD,
        Verdict::NotProved => DOUBT,
        Verdict::Wrong => BAD,
    };
    let verdict = report.verdict().label();
    writeln!(out, "{style}{verdict}{style:#}: {}", visible(&statement(report)))?;
    if report.verdict() == Verdict::Ok {
        for limit in report.limits() {
            writeln!(out, "    {}", visible(&limit))?;
        }
    }
    Ok(())
}

pub(super) fn as_json(report: &BundleReport) -> Value {
    let mut json = verify::as_json(&report.trail);
    let problems = report.problems.iter();
    let problems = problems.map(|it| json!({ "problem": it.label(), "text": it.to_string() }));
    let doubts = report.doubts.iter().map(|doubt| {
        json!({ "reason": doubt.label(), "text": doubt.to_string(), "remedy": doubt.remedy() })
    });
    for (name, first) in [("problems", problems.collect::<Vec<_>>()), ("reasons", doubts.collect())]
    {
        if let Some(Value::Array(list)) = json.get_mut(name) {
            list.splice(0..0, first);
        }
    }
    let manifest = report.manifest.as_ref();
    let more = json!({
        "verdict": report.verdict().label().replace(' ', "_"),
        "statement": statement(report),
        "limits": if report.verdict() == Verdict::Ok { report.limits() } else { Vec::new() },
        "lines": report.lines.count,
        "records": report.records,
        "manifest": manifest.and_then(|manifest| serde_json::to_value(manifest).ok()),
    });
    if let (Value::Object(json), Value::Object(more)) = (&mut json, more) {
        json.extend(more);
    }
    json
}

/// The reason of the verdict, in one sentence.
fn statement(report: &BundleReport) -> String {
    match (report.verdict(), report.problems.first(), report.doubts.first()) {
        (Verdict::Wrong, Some(problem), _) => problem.to_string(),
        (Verdict::NotProved, _, Some(doubt)) => doubt.to_string(),
        (Verdict::Ok, ..) => {
            let verb = if report.records == 1 { "is" } else { "are" };
            let records = report.records;
            format!("{}; {records} of them {verb} what was asked for", report.trail.statement())
        }
        _ => report.trail.statement(),
    }
}
