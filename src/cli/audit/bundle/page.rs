//! The page of a bundle: what it is, what was asked, the records, and how to check it. No script, no request.
//!
//! The page says what the host says. A reader who does not trust the host believes `audit verify`, not the page,
//! and the page says so.

use maud::{Markup, html};

use super::{
    CONFIGURATION, MANIFEST, MANIFEST_KEY, RECORDS, TRAIL, manifest::Manifest,
    rules::PolicyInForce, selection::Row,
};
use crate::{
    cli::audit::{document::document, verify::many},
    domain::visible,
    telemetry::chart::thousands,
};

pub(super) fn render(manifest: &Manifest, coverage: &[String], rows: &[Row]) -> String {
    let Manifest { made, program, host, .. } = manifest;
    let content = html! {
        header {
            h1 { "Audit evidence" }
            p class="quiet" {
                "Records of the audit trail of " (program.name) " on " (host) ", exported "
                (format!("{made:.0}"))
            }
        }
        (what_it_is(manifest, coverage))
        (how_to_check_it(manifest))
        (rules(manifest))
        (records(manifest.records, rows))
    };
    document("Audit evidence", STYLE, &content).into_string()
}

fn what_it_is(manifest: &Manifest, coverage: &[String]) -> Markup {
    let Manifest { program, trail, key, signed_with, lines, records, .. } = manifest;
    let (verdict, statement) = manifest.host_found();
    let fingerprint = |key: &Option<String>| key.clone().unwrap_or_else(|| "none".to_owned());
    html! {
        section {
            h2 { "What this is" }
            p {
                (many(*records, "record")) " that were asked for, and all " (many(lines.count, "line")) " of the \
                trail around them, which prove them. Each line covers the one before it with a hash, and the gateway \
                has signed checkpoints among them. So nobody without the signing key can have changed, removed or \
                added a line."
            }
            p {
                "This page says what the host says. What is proved, " code { "audit verify" } " says: see below."
            }
            dl {
                dt { "Asked for" } dd { (manifest.question()) }
                dt { "Lines" } dd { (lines.in_words()) }
                dt { "Covered, as the host says" }
                dd { @for sentence in coverage { (sentence) br; } }
                @if manifest.unsigned_left_out > 0 {
                    dt { "Left out" }
                    dd { (many(manifest.unsigned_left_out, "line")) " at the end that no checkpoint signs yet" }
                }
                dt { "The host's own check of the whole trail" }
                dd { strong class=[(verdict != "ok").then_some("bad")] { (verdict) } ": " (statement) }
                dt { "Trail" } dd { code { (trail) } }
                dt { "Key of the checkpoints" } dd { code { (fingerprint(key)) } }
                dt { "Manifest signed with" } dd { code { (fingerprint(signed_with)) } }
                dt { "Made by" } dd { (program.name) " " (program.version) ", commit " (program.commit) }
            }
        }
    }
}

fn how_to_check_it(manifest: &Manifest) -> Markup {
    let Manifest { program, key, signed_with, .. } = manifest;
    html! {
        section {
            h2 { "How to check it" }
            ol {
                li { "Get the gateway's public key from somebody who kept a copy, not from this file." }
                li { "Get " (program.name) " from where you trust it. No gateway has to run." }
                li {
                    "Run " code { "pigello-gateway audit verify BUNDLE --public-key KEY" }
                    @if key != signed_with && signed_with.is_some() {
                        ", and name the key of the manifest with " code { "--manifest-key" }
                    }
                    ". The verdict is ok, not proved or wrong."
                }
            }
            p class="quiet" {
                code { (MANIFEST) } " has all of this for programs, " code { (RECORDS) } " the records, " code { (TRAIL) }
                " all lines, " code { (CONFIGURATION) } " the configuration if it was read, " code { (MANIFEST_KEY) }
                " the manifest's key if it is one of its own."
            }
        }
    }
}

/// Under which rules the records were decided.
fn rules(manifest: &Manifest) -> Markup {
    let Manifest { policies, configuration, .. } = manifest;
    html! {
        @if !policies.is_empty() {
            section {
                h2 { "Rules in force" }
                dl {
                    @for PolicyInForce { policy, records, since } in policies {
                        dt { "Policy " code { (visible(policy)) } }
                        dd {
                            (many(*records, "record")) "; in force "
                            @match since {
                                Some(since) => {
                                    "since " (visible(&since.time)) " (record " (since.seq) ", " (visible(&since.cause))
                                    @if let Some(who) = &since.who { " by " (visible(who)) }
                                    ")"
                                }
                                None => "since before the trail begins",
                            }
                            @if Some(policy) == configuration.as_ref() { "; it is " code { (CONFIGURATION) } }
                        }
                    }
                }
                p class="quiet" {
                    "The " code { "configuration" } " lines of the trail say what each one changed: "
                    code { "audit query --kind configuration" } "."
                }
            }
        }
    }
}

fn records(all: u64, rows: &[Row]) -> Markup {
    html! {
        section {
            h2 { "Records" }
            @if rows.is_empty() {
                p { "No record fits what was asked for." }
            } @else {
                div class="wide" role="region" aria-label="Records" tabindex="0" {
                    table class="groups" {
                        thead { tr { @for (name, _) in COLUMNS { th { (name) } } } }
                        tbody {
                            @for row in rows {
                                tr { @for (name, value) in COLUMNS { td data-name=(name) { (value(row)) } } }
                            }
                        }
                    }
                }
                @if rows.len() as u64 != all {
                    p class="quiet" {
                        "The first " (rows.len()) " of " (thousands(all)) " records. All are in " code { (RECORDS) } "."
                    }
                }
            }
        }
    }
}

type Column = (&'static str, fn(&Row) -> &str);

/// The columns of the table: the name, and the value of a record.
const COLUMNS: [Column; 7] = [
    ("Record", |row| &row.seq),
    ("Time", |row| &row.time),
    ("Caller", |row| &row.caller),
    ("Operation", |row| &row.operation),
    ("Status", |row| &row.status),
    ("Outcome", |row| &row.outcome),
    ("Path", |row| &row.path),
];

const STYLE: &str = concat!(include_str!("../report/page.css"), include_str!("page.css"));
