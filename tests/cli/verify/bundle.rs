//! `audit export` and `audit verify BUNDLE`: a bundle proves its records elsewhere, and nothing else does.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, SystemTime},
};

use pigello_gateway::{
    audit::{ConfigurationChange, Hash, Record},
    domain::PolicyId,
};
use serde_json::{Value, json};
use tar::{EntryType, Header};

use super::scene::{Scene, kind_of, other_key, record, seal, seq_of};

const OK: i32 = 0;
const WRONG: i32 = 1;
const USAGE: i32 = 2;
const NOT_PROVED: i32 = 3;

const KEY: [&str; 2] = ["--public-key", "kept/key.pem"];

/// The exit code and both streams of an `audit` command in the scene's folder.
fn audit(scene: &Scene, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_pigello-gateway"))
        .arg("audit")
        .args(arguments)
        .current_dir(scene.path(""))
        .env("SOURCE_DATE_EPOCH", "1780000000")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// Exports with the trail's key, and takes the trail away.
fn export(scene: &Scene, arguments: &[&str]) -> (i32, String, String) {
    let export = ["export", "--directory", "audit", "--out", "bundle.tar.zst", "--force"];
    let key = ["--sign-key", "keys/signing-key.pem"];
    let is_signed =
        arguments.iter().any(|argument| *argument == "--sign-key" || *argument == NOBODY);
    let key = if is_signed { &[][..] } else { &key[..] };
    let arguments: Vec<_> =
        arguments.iter().copied().filter(|argument| *argument != NOBODY).collect();
    audit(scene, &[&export[..], key, &arguments].concat())
}

/// Stands for an export that nobody signs.
const NOBODY: &str = "(nobody)";

/// The exit code of a check, its labels and the whole answer.
fn verify(scene: &Scene, arguments: &[&str]) -> (i32, Vec<String>, Value) {
    let check = ["verify", "bundle.tar.zst", "--json"];
    let (code, out, errors) = audit(scene, &[&check[..], arguments].concat());
    let json: Value =
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}{errors}"));
    let labels = |list: &str, name: &str| -> Vec<String> {
        let list = json[list].as_array().unwrap().iter();
        list.map(|entry| entry[name].as_str().unwrap().to_owned()).collect()
    };
    let labels = [labels("problems", "problem"), labels("reasons", "reason")].concat();
    (code, labels, json)
}

/// The files of a bundle.
type Files = Vec<(String, Vec<u8>)>;

fn unpack(path: &Path) -> Files {
    let mut archive = tar::Archive::new(zstd::Decoder::new(fs::File::open(path).unwrap()).unwrap());
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).unwrap();
        (entry.path().unwrap().to_str().unwrap().to_owned(), content)
    });
    entries.collect()
}

/// One file of a tar archive, as an attacker may write it.
fn member(name: &str, kind: EntryType, content: &[u8]) -> Vec<u8> {
    let mut header = Header::new_ustar();
    let field = &mut header.as_old_mut().name;
    field[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o600);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_entry_type(kind);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

fn tar_of(files: &Files) -> Vec<u8> {
    let members = files.iter().map(|(name, content)| member(name, EntryType::Regular, content));
    let mut bytes = members.collect::<Vec<_>>().concat();
    bytes.extend([0; 1024]);
    bytes
}

fn write_tar(scene: &Scene, tar: &[u8]) {
    fs::write(scene.path("bundle.tar.zst"), zstd::encode_all(tar, 3).unwrap()).unwrap();
}

fn pack(scene: &Scene, files: &Files) {
    write_tar(scene, &tar_of(files));
}

fn content<'a>(files: &'a mut Files, name: &str) -> &'a mut Vec<u8> {
    &mut files.iter_mut().find(|(of, _)| of == name).unwrap().1
}

fn text(files: &mut Files, name: &str) -> String {
    String::from_utf8(content(files, name).clone()).unwrap()
}

fn remove(files: &mut Files, name: &str) {
    files.retain(|(of, _)| of != name);
}

/// Changes the manifest, and makes its digests fit the files.
fn restate(files: &mut Files, change: impl FnOnce(&mut Value)) {
    let mut manifest: Value = serde_json::from_slice(content(files, "manifest.json")).unwrap();
    change(&mut manifest);
    let listed = files.iter().filter(|(name, _)| !name.starts_with("manifest.json"));
    let listed = listed.map(|(name, content)| {
        json!({ "name": name, "bytes": content.len(), "sha256": Hash::of(content).to_string() })
    });
    manifest["files"] = listed.collect();
    *content(files, "manifest.json") = serde_json::to_vec_pretty(&manifest).unwrap();
}

/// The same, and nobody signs it.
fn restate_unsigned(files: &mut Files, change: impl FnOnce(&mut Value)) {
    remove(files, "manifest.json.sig");
    restate(files, |manifest| {
        manifest["signed_with"] = Value::Null;
        change(manifest);
    });
}

/// Changes a line of the trail and of the records.
fn change_line(files: &mut Files) {
    for name in ["trail.jsonl", "records.jsonl"] {
        let changed = text(files, name).replacen("\"status\":200", "\"status\":403", 1);
        *content(files, name) = changed.into_bytes();
    }
}

fn lines(files: &mut Files, name: &str) -> Vec<String> {
    text(files, name).lines().map(ToOwned::to_owned).collect()
}

fn set_lines(files: &mut Files, name: &str, lines: &[String]) {
    *content(files, name) = [lines.join("\n"), "\n".to_owned()].concat().into();
}

/// Makes the records and the manifest fit the lines, as somebody who knows the layout would.
fn make_consistent(files: &mut Files) {
    let trail = lines(files, "trail.jsonl");
    let time = |line: &String| {
        serde_json::from_str::<Value>(line).unwrap()["time"].as_str().unwrap().to_owned()
    };
    let manifest: Value = serde_json::from_slice(content(files, "manifest.json")).unwrap();
    let asked = |option: &str| manifest["asked"][option].as_str().unwrap().to_owned();
    let period = asked("since")..asked("until");
    let fits = |line: &&String| line.contains("\"tenant.list\"") && period.contains(&time(line));
    let records: Vec<_> = trail.iter().filter(fits).cloned().collect();
    set_lines(files, "records.jsonl", &records);
    let (first, last) = (trail.first().unwrap().clone(), trail.last().unwrap().clone());
    restate_unsigned(files, |manifest| {
        manifest["records"] = records.len().into();
        manifest["lines"] = json!({
            "count": trail.len(), "first_seq": seq_of(&first), "last_seq": seq_of(&last),
            "first_time": time(&first), "last_time": time(&last),
        });
    });
}

/// A bundle of one operation of the scene's trail, from the middle of it.
fn bundle() -> Scene {
    let mut scene = Scene::new();
    let (since, until) = (time_of(&mut scene, 30), time_of(&mut scene, 80));
    let asked = ["--operation", "tenant.list", "--since", &since, "--until", &until];
    let (code, out, errors) = export(&scene, &asked);
    assert_eq!(code, OK, "{out}{errors}");
    fs::remove_dir_all(scene.path("audit")).unwrap();
    scene
}

fn time_of(scene: &mut Scene, seq: u64) -> String {
    let line: Value = serde_json::from_str(scene.line(seq)).unwrap();
    line["time"].as_str().unwrap().to_owned()
}

#[test]
fn a_bundle_proves_its_records_without_the_trail() {
    let mut scene = Scene::new();
    let (since, until) = (time_of(&mut scene, 30), time_of(&mut scene, 80));
    let asked = ["--operation", "tenant.list", "--since", &since, "--until", &until];
    let (code, out, errors) = export(&scene, &asked);
    assert_eq!(code, OK, "{out}{errors}");
    assert!(out.contains("wrote bundle.tar.zst"), "{out}");
    let bundle = scene.path("bundle.tar.zst");
    assert_eq!(fs::metadata(&bundle).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!scene.path("bundle.tar.zst.new").exists());
    let query = ["query", "--directory", "audit", "--format", "json"];
    let (_, records, _) = audit(&scene, &[&query[..], &asked].concat());

    // Elsewhere there is no trail.
    fs::remove_dir_all(scene.path("audit")).unwrap();
    let (code, labels, json) = verify(&scene, &KEY);
    assert_eq!((code, labels), (OK, Vec::new()), "{json}");
    let mut files = unpack(&bundle);
    assert_eq!(text(&mut files, "records.jsonl"), records);
    assert!(records.lines().count() > 10, "{records}");
    assert_eq!(json["records"], records.lines().count());
    let manifest = &json["manifest"];
    assert_eq!(manifest["asked"]["operation"], "tenant.list");
    assert_eq!(manifest["verification"]["verdict"], "ok");
    assert_eq!(manifest["made"], "2026-05-28T20:26:40Z");
    // The line before the period, and a checkpoint behind it.
    assert_eq!(manifest["lines"]["first_seq"], 29);
    let trail = lines(&mut files, "trail.jsonl");
    assert_eq!(kind_of(trail.last().unwrap()), "checkpoint");
    assert!(seq_of(trail.last().unwrap()) > 80);
    let names: Vec<_> = files.iter().map(|(name, _)| name.as_str()).collect();
    let expected = [
        "manifest.json",
        "manifest.json.sig",
        "index.html",
        "signing-key.pub.pem",
        "trail.jsonl",
        "records.jsonl",
    ];
    assert_eq!(names, expected);
    assert!(!String::from_utf8_lossy(&tar_of(&files)).contains("PRIVATE KEY"));
    // A person sees the same.
    let (code, out, _) = audit(&scene, &[&["verify", "bundle.tar.zst"], &KEY[..]].concat());
    assert_eq!(code, OK);
    assert!(out.contains("are what was asked for"), "{out}");

    let page = text(&mut files, "index.html");
    for shown in ["tenant.list", &since, "billing", "audit verify", "--public-key"] {
        assert!(page.contains(shown), "{shown}");
    }
    for active in ["<script", "http://", "https://", "url(", "@import", "onload"] {
        assert!(!page.contains(active), "{active}");
    }
}

#[test]
fn the_same_export_gives_the_same_bytes_and_replaces_nothing_unasked() {
    let scene = Scene::new();
    let bundle = scene.path("bundle.tar.zst");
    assert_eq!(export(&scene, &[]).0, OK);
    let first = fs::read(&bundle).unwrap();
    assert_eq!(export(&scene, &[]).0, OK);
    assert!(first == fs::read(&bundle).unwrap(), "two exports differ");
    // The files are in the order and the form of the layout.
    let tar = zstd::decode_all(&*first).unwrap();
    assert!(tar == tar_of(&unpack(&bundle)), "a header is not as documented");

    let again = ["export", "--directory", "audit", "--out", "bundle.tar.zst"];
    let (code, _, errors) = audit(&scene, &again);
    assert_eq!(code, USAGE);
    assert!(errors.contains("exists") && errors.contains("--force"), "{errors}");
    assert!(first == fs::read(&bundle).unwrap(), "the bundle was touched");
    fs::remove_file(&bundle).unwrap();
    std::os::unix::fs::symlink("elsewhere", &bundle).unwrap();
    assert_eq!(audit(&scene, &again).0, USAGE, "a link");
    assert!(!scene.path("elsewhere").exists());
}

#[test]
fn an_export_goes_into_a_file_or_to_the_collector() {
    let scene = Scene::new();
    let export = ["export", "--directory", "audit"];
    let told = |more: &[&str]| {
        let (code, _, errors) = audit(&scene, &[&export[..], more].concat());
        (code, errors)
    };
    let (code, errors) = told(&[]);
    assert!(code == USAGE && errors.contains("--out"), "{errors}");
    for with in [&["--out", "bundle.tar.zst"][..], &["--caller", "billing"], &["--force"]] {
        let (code, errors) = told(&[&["--resend-from", "1"], with].concat());
        assert!(code == USAGE && errors.contains("cannot be used with"), "{errors}");
    }
    let (_, errors) = told(&["--resend-from", "1"]);
    assert!(errors.contains("collector"), "{errors}");
}

/// What happened to a bundle, what its reader has, and what `audit verify` says.
type Case =
    (&'static str, &'static [&'static str], i32, &'static [&'static str], fn(&Scene, &mut Files));

const WITH_KEY: &[&str] = &KEY;
const WITH_NOTHING: &[&str] = &[];

const CASES: &[Case] = &[
    ("nothing", WITH_KEY, OK, &[], |_, _| {}),
    ("nothing", WITH_NOTHING, NOT_PROVED, &["key_not_given"], |_, _| {}),
    ("a line was changed", WITH_KEY, WRONG, &["file_changed", "changed"], |_, files| {
        change_line(files);
    }),
    (
        "the same, and the digests made anew",
        WITH_KEY,
        WRONG,
        &["manifest_changed", "changed"],
        |_, files| {
            change_line(files);
            restate(files, |_| {});
        },
    ),
    ("the same, and the signature dropped", WITH_KEY, WRONG, &["changed"], |_, files| {
        change_line(files);
        restate_unsigned(files, |_| {});
    }),
    ("the same, and the hash chain made anew", WITH_KEY, WRONG, &["rewritten"], |_, files| {
        change_line(files);
        let mut prev = None;
        let trail: Vec<_> = lines(files, "trail.jsonl")
            .iter()
            .map(|line| {
                let fields: Value = serde_json::from_str(line).unwrap();
                let before = prev.take().unwrap_or(fields["prev"].as_str().unwrap().to_owned());
                let line = seal(line, seq_of(line), &before);
                let fields: Value = serde_json::from_str(&line).unwrap();
                prev = Some(fields["hash"].as_str().unwrap().to_owned());
                line
            })
            .collect();
        set_lines(files, "trail.jsonl", &trail);
        make_consistent(files);
    }),
    ("a record was left out", WITH_KEY, WRONG, &["other_records"], |_, files| {
        let records = lines(files, "records.jsonl");
        set_lines(files, "records.jsonl", &records[1..]);
    }),
    (
        "the same, and the manifest made anew",
        WITH_KEY,
        WRONG,
        &["other_records", "manifest_unsigned"],
        |_, files| {
            let records = lines(files, "records.jsonl");
            set_lines(files, "records.jsonl", &records[1..]);
            restate_unsigned(files, |manifest| manifest["records"] = (records.len() - 1).into());
        },
    ),
    ("two records were swapped", WITH_KEY, WRONG, &["other_records"], |_, files| {
        let mut records = lines(files, "records.jsonl");
        records.swap(0, 1);
        set_lines(files, "records.jsonl", &records);
    }),
    ("a record of another caller's was added", WITH_KEY, WRONG, &["other_records"], |_, files| {
        let other = lines(files, "trail.jsonl");
        let other = other.iter().find(|line| line.contains("\"subtenant.list\"")).unwrap();
        let records = [lines(files, "records.jsonl"), vec![other.clone()]].concat();
        set_lines(files, "records.jsonl", &records);
        restate_unsigned(files, |manifest| manifest["records"] = records.len().into());
    }),
    ("a line was left out", WITH_KEY, WRONG, &["removed", "manifest_unsigned"], |_, files| {
        let mut trail = lines(files, "trail.jsonl");
        let at = trail.iter().position(|line| line.contains("\"tenant.list\"")).unwrap();
        trail.remove(at);
        set_lines(files, "trail.jsonl", &trail);
        make_consistent(files);
    }),
    (
        "the checkpoints at the end were cut off",
        WITH_KEY,
        NOT_PROVED,
        &["manifest_unsigned", "lines_unsigned"],
        |_, files| {
            let trail = lines(files, "trail.jsonl");
            let end = trail.iter().rposition(|line| kind_of(line) == "checkpoint").unwrap();
            set_lines(files, "trail.jsonl", &trail[..end]);
            make_consistent(files);
        },
    ),
    (
        "the end was cut off at a checkpoint",
        WITH_KEY,
        NOT_PROVED,
        &["manifest_unsigned"],
        |_, files| {
            let trail = lines(files, "trail.jsonl");
            let end = trail.iter().position(|line| kind_of(line) == "checkpoint").unwrap();
            set_lines(files, "trail.jsonl", &trail[..=end]);
            make_consistent(files);
        },
    ),
    (
        "the conditions were changed",
        WITH_KEY,
        WRONG,
        &["manifest_changed", "other_records"],
        |_, files| restate(files, |manifest| manifest["asked"]["caller"] = "payroll".into()),
    ),
    (
        "the number of records was changed",
        WITH_KEY,
        WRONG,
        &["manifest_changed", "other_lines"],
        |_, files| {
            restate(files, |manifest| manifest["records"] = 7.into());
        },
    ),
    ("the verdict of the host was changed", WITH_KEY, WRONG, &["manifest_changed"], |_, files| {
        restate(files, |manifest| manifest["verification"]["verdict"] = "wrong".into());
    }),
    ("the page was changed", WITH_KEY, WRONG, &["file_changed"], |_, files| {
        content(files, "index.html").extend(b"<p>more</p>");
    }),
    ("the signature was dropped", WITH_KEY, NOT_PROVED, &["manifest_unsigned"], |_, files| {
        restate_unsigned(files, |_| {});
    }),
    ("the signature is of something else", WITH_KEY, WRONG, &["manifest_changed"], |_, files| {
        let signature = lines(files, "trail.jsonl");
        let signature = signature.iter().find(|line| kind_of(line) == "checkpoint").unwrap();
        let fields: Value = serde_json::from_str(signature).unwrap();
        *content(files, "manifest.json.sig") = fields["signature"].as_str().unwrap().into();
    }),
    ("the signature is empty", WITH_KEY, WRONG, &["manifest_changed"], |_, files| {
        content(files, "manifest.json.sig").clear();
    }),
    (
        "the key was replaced by another",
        WITH_KEY,
        WRONG,
        &["other_key", "manifest_unsigned"],
        |scene, files| {
            other_key(scene);
            let other = fs::read(scene.path("other/signing-key.pub.pem")).unwrap();
            *content(files, "signing-key.pub.pem") = other;
            restate_unsigned(files, |_| {});
        },
    ),
    ("the key was removed", WITH_KEY, NOT_PROVED, &["manifest_unsigned"], |_, files| {
        remove(files, "signing-key.pub.pem");
        restate_unsigned(files, |_| {});
    }),
    (
        "the key was removed",
        WITH_NOTHING,
        NOT_PROVED,
        &["manifest_unsigned", "no_key"],
        |_, files| {
            remove(files, "signing-key.pub.pem");
            restate_unsigned(files, |_| {});
        },
    ),
    ("a condition names a file of the reader's", WITH_KEY, WRONG, &["malformed"], |_, files| {
        restate_unsigned(files, |manifest| {
            manifest["asked"]["object"] = "0190d1c2-9a4e-7cc3-8f00-1234567890ab".into();
            manifest["asked"]["object-key"] = "/etc/hostname".into();
        });
    }),
    ("a condition is unknown", WITH_KEY, WRONG, &["malformed"], |_, files| {
        restate_unsigned(files, |manifest| manifest["asked"]["colour"] = "red".into());
    }),
    ("the manifest is of a later program", WITH_KEY, WRONG, &["malformed"], |_, files| {
        restate_unsigned(files, |manifest| manifest["bundle"] = 2.into());
    }),
    ("the manifest is no JSON", WITH_KEY, WRONG, &["malformed"], |_, files| {
        *content(files, "manifest.json") = b"something else".to_vec();
    }),
    ("a file was removed", WITH_KEY, WRONG, &["malformed"], |_, files| {
        remove(files, "records.jsonl");
    }),
    ("a file was renamed", WITH_KEY, WRONG, &["malformed"], |_, files| {
        files.last_mut().unwrap().0.insert_str(0, "../");
    }),
    ("a file was added", WITH_KEY, WRONG, &["malformed"], |_, files| {
        files.push(("more".to_owned(), b"more".to_vec()));
    }),
    ("a file stands there twice", WITH_KEY, WRONG, &["malformed"], |_, files| {
        let page = files.iter().position(|(name, _)| name == "index.html").unwrap();
        let twice = files[page].clone();
        files.insert(page, twice);
    }),
    (
        "a file stands there twice, and in the manifest",
        WITH_KEY,
        WRONG,
        &["malformed"],
        |_, files| {
            let page = files.iter().position(|(name, _)| name == "index.html").unwrap();
            let twice = files[page].clone();
            files.insert(page, twice);
            restate_unsigned(files, |_| {});
        },
    ),
    ("two files changed places", WITH_KEY, WRONG, &["malformed"], |_, files| {
        let last = files.len() - 1;
        files.swap(last, last - 1);
    }),
    ("the last line has no end", WITH_KEY, WRONG, &["malformed"], |_, files| {
        content(files, "trail.jsonl").pop();
        restate_unsigned(files, |_| {});
    }),
    (
        "the manifest says that there are no lines",
        WITH_KEY,
        WRONG,
        &["file_changed"],
        |_, files| {
            restate_unsigned(files, |_| {});
            let text = text(files, "manifest.json");
            let mut manifest: Value = serde_json::from_str(&text).unwrap();
            for file in manifest["files"].as_array_mut().unwrap() {
                if file["name"] == "trail.jsonl" {
                    file["bytes"] = 0.into();
                    file["sha256"] = Hash::of(b"").to_string().into();
                }
            }
            *content(files, "manifest.json") = serde_json::to_vec(&manifest).unwrap();
        },
    ),
    (
        "all lines were removed",
        WITH_KEY,
        NOT_PROVED,
        &["manifest_unsigned", "empty"],
        |_, files| {
            content(files, "trail.jsonl").clear();
            content(files, "records.jsonl").clear();
            restate_unsigned(files, |manifest| {
                manifest["records"] = 0.into();
                manifest["lines"] = json!({
                    "count": 0, "first_seq": null, "last_seq": null, "first_time": null, "last_time": null,
                });
            });
        },
    ),
];

#[test]
fn every_manipulation_of_a_bundle_has_its_verdict() {
    let scene = bundle();
    let honest = unpack(&scene.path("bundle.tar.zst"));
    for (what, given, code, why, change) in CASES {
        let mut files = honest.clone();
        fs::remove_dir_all(scene.path("other")).ok();
        change(&scene, &mut files);
        pack(&scene, &files);
        let (found, labels, json) = verify(&scene, given);
        assert_eq!(found, *code, "{what}, with {given:?}: {json}");
        for label in *why {
            assert!(labels.iter().any(|found| found == label), "{what}: {label} not in {labels:?}");
        }
        if *code == NOT_PROVED {
            assert_eq!(&labels, why, "{what}");
        }
    }
}

#[test]
fn what_a_bundle_says_moves_no_cursor() {
    let scene = bundle();
    let mut files = unpack(&scene.path("bundle.tar.zst"));
    restate_unsigned(&mut files, |manifest| {
        manifest["host"] = "\u{1b}[2Jhost\u{202e}".into();
        manifest["asked"]["caller"] = "\u{1b}]0;title\u{7}".into();
    });
    pack(&scene, &files);
    let (_, out, _) = audit(&scene, &["verify", "bundle.tar.zst"]);
    assert!(
        out.contains(r"\u{1b}[2Jhost\u{202e}") && out.contains(r"\u{1b}]0;title\u{7}"),
        "{out}"
    );
}

/// Archives that no honest program writes. Each is refused with little memory, and writes nothing.
#[test]
fn a_hostile_archive_is_refused() {
    let scene = bundle();
    let path = scene.path("bundle.tar.zst");
    let honest = fs::read(&path).unwrap();
    let files = unpack(&path);
    let before = listing(&scene);
    let cases =
        [cut_and_extended(&honest, &tar_of(&files)), odd_members(&files), huge_files(&files)];
    for (what, bytes) in cases.concat() {
        fs::write(&path, bytes).unwrap();
        let limit = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" \"$@\"");
        let output = Command::new("sh")
            .args(["-c", &limit, env!("CARGO_BIN_EXE_pigello-gateway")])
            .args(["audit", "verify", "bundle.tar.zst", "--public-key", "kept/key.pem"])
            .current_dir(scene.path(""))
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        assert_eq!(output.status.code(), Some(WRONG), "{what}: {out}");
        assert!(out.contains("wrong") && !out.contains("panicked"), "{what}: {out}");
        assert!(output.stderr.is_empty(), "{what}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(listing(&scene), before, "{what}");
    }
}

/// A name, and the bytes of the file.
type Archives = Vec<(&'static str, Vec<u8>)>;

fn compress(tar: &[u8]) -> Vec<u8> {
    zstd::encode_all(tar, 3).unwrap()
}

fn cut_and_extended(honest: &[u8], tar: &[u8]) -> Archives {
    let mut damaged = tar.to_vec();
    damaged[0] = b'n';
    vec![
        ("an empty file", Vec::new()),
        ("no archive at all", b"something else".to_vec()),
        ("a tar archive without compression", tar.to_vec()),
        ("cut off in the middle", honest[..honest.len() / 2].to_vec()),
        ("cut off by a byte", honest[..honest.len() - 1].to_vec()),
        ("a byte behind the end", [honest, b"x"].concat()),
        ("a second frame behind the end", [honest, &compress(b"more")].concat()),
        ("a second archive behind the end", [honest, honest].concat()),
        ("something between the archive and the end", compress(&[tar, b"more"].concat())),
        ("more zeros than an end has", compress(&[tar, &[0; 512]].concat())),
        ("no end", compress(&tar[..tar.len() - 1024])),
        ("half an end", compress(&tar[..tar.len() - 512])),
        ("a damaged header", compress(&damaged)),
    ]
}

/// What stands where the manifest belongs.
fn odd_members(files: &Files) -> Archives {
    let first = |name: &str, kind: EntryType, content: &[u8]| {
        compress(&[member(name, kind, content), tar_of(files)].concat())
    };
    let manifest = |kind: EntryType| first("manifest.json", kind, b"");
    let other = |name: &str| first(name, EntryType::Regular, b"{}");
    vec![
        ("a link", manifest(EntryType::Symlink)),
        ("a hard link", manifest(EntryType::Link)),
        ("a device", manifest(EntryType::Char)),
        ("a folder", manifest(EntryType::Directory)),
        ("a pipe", manifest(EntryType::Fifo)),
        ("a sparse file", manifest(EntryType::GNUSparse)),
        ("a long name", first("././@LongLink", EntryType::GNULongName, b"manifest.json")),
        ("an extended header", first("pax", EntryType::XHeader, b"19 path=manifest.j\n")),
        ("a path outside", other("../manifest.json")),
        ("an absolute path", other("/tmp/manifest.json")),
        ("a path with a dot", other("./manifest.json")),
        ("a thousand files", compress(&member("x", EntryType::Regular, b"x").repeat(1000))),
    ]
}

/// A gigabyte of zeros takes little as a file.
fn huge_files(files: &Files) -> Archives {
    let mut stated = files.clone();
    restate_unsigned(&mut stated, |_| {});
    let mut manifest: Value = serde_json::from_slice(&stated[0].1).unwrap();
    for file in manifest["files"].as_array_mut().unwrap() {
        if file["name"] == "trail.jsonl" {
            file["bytes"] = (1_u64 << 30).into();
        }
    }
    stated[0].1 = serde_json::to_vec(&manifest).unwrap();
    let before_trail: Vec<u8> = stated
        .iter()
        .take_while(|(name, _)| name != "trail.jsonl")
        .flat_map(|(name, content)| member(name, EntryType::Regular, content))
        .collect();
    let manifest = member("manifest.json", EntryType::Regular, &files[0].1);
    vec![
        ("a huge manifest", huge(&[], "manifest.json", 1 << 30)),
        ("a manifest that is longer than there is", huge(&[], "manifest.json", 1 << 40)),
        ("a huge signature", huge(&manifest, "manifest.json.sig", 1 << 30)),
        ("a line that does not end", huge(&before_trail, "trail.jsonl", 1 << 30)),
    ]
}

fn huge(before: &[u8], name: &str, size: u64) -> Vec<u8> {
    let mut header = Header::new_ustar();
    header.set_path(name).unwrap();
    header.set_size(size);
    header.set_entry_type(EntryType::Regular);
    header.set_cksum();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.write_all(before).unwrap();
    encoder.write_all(header.as_bytes()).unwrap();
    let zeros = vec![0; 1 << 20];
    for _ in 0..1024 {
        encoder.write_all(&zeros).unwrap();
    }
    encoder.finish().unwrap()
}

/// What the program may map. It maps far less than the gigabyte of the hostile files.
const MEMORY_KIB: u64 = 1 << 20;

fn listing(scene: &Scene) -> Vec<std::ffi::OsString> {
    let entries = fs::read_dir(scene.path("")).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn the_manifest_is_signed_by_whom_the_reader_can_ask() {
    let scene = Scene::new();
    // The trail's key is not where an export looks, as for a user who may not read it.
    let (code, out, _) = export(&scene, &[NOBODY]);
    assert_eq!(code, NOT_PROVED, "{out}");
    assert!(out.contains("the manifest is not signed") && out.contains("--sign-key"), "{out}");
    assert_eq!(verify(&scene, &KEY).1, ["manifest_unsigned"]);

    let other = other_key(&scene);
    let (code, out, errors) = export(&scene, &["--sign-key", other.to_str().unwrap()]);
    assert_eq!(code, OK, "{out}{errors}");
    let given = [&KEY[..], &["--manifest-key", "other/signing-key.pub.pem"]].concat();
    assert_eq!(verify(&scene, &given).0, OK);
    let (code, labels, _) = verify(&scene, &KEY);
    assert_eq!((code, labels), (NOT_PROVED, vec!["manifest_key_not_given".to_owned()]));
    // A key of the same bundle that is not the manifest's.
    let given = [&KEY[..], &["--manifest-key", "kept/key.pem"]].concat();
    assert_eq!(verify(&scene, &given).0, NOT_PROVED);

    fs::write(scene.path("no-key"), "something else").unwrap();
    let (code, _, errors) = export(&scene, &["--sign-key", "no-key"]);
    assert_eq!(code, USAGE, "{errors}");
    for arguments in [["--public-key", "no-key"], ["--manifest-key", "absent"]] {
        let check = [&["verify", "bundle.tar.zst"], &arguments[..]].concat();
        assert_eq!(audit(&scene, &check).0, USAGE, "{arguments:?}");
    }
    assert_eq!(audit(&scene, &["verify", "absent.tar.zst"]).0, USAGE);
}

#[test]
fn what_a_bundle_does_not_cover_is_said() {
    let mut scene = Scene::new();
    let until = time_of(&mut scene, 50);
    let limits = |scene: &Scene| verify(scene, &KEY).2["limits"].to_string();
    // From the beginning to the end of the trail.
    assert_eq!(export(&scene, &[]).0, OK);
    let all = limits(&scene);
    assert!(all.contains("covered up to") && !all.contains("begins with record"), "{all}");
    // All of a period.
    assert_eq!(export(&scene, &["--since", "2020-01-01", "--until", &until]).0, OK);
    let period = limits(&scene);
    assert!(!period.contains("cover"), "{period}");
    // The period is not over.
    assert_eq!(export(&scene, &["--until", "2100-01-01"]).0, OK);
    assert!(limits(&scene).contains("covered up to"));
    // The trail is too short.
    let (code, out, _) = export(&scene, &["--since", "2100-01-01"]);
    assert_eq!(code, NOT_PROVED, "{out}");
    assert_eq!(verify(&scene, &KEY).1, ["empty"]);
    // Nothing fits.
    assert_eq!(export(&scene, &["--status", "599"]).0, OK);
    assert_eq!(verify(&scene, &KEY).2["records"], 0);

    // The beginning was deleted, as the settings asked.
    let trail = super::retain(&mut scene);
    trail.close().unwrap();
    assert_eq!(export(&scene, &["--since", "2020-01-01"]).0, OK);
    let deleted = limits(&scene);
    assert!(deleted.contains("what was before it is not covered"), "{deleted}");
}

#[test]
fn lines_that_nobody_signed_are_left_out_while_a_gateway_writes() {
    let scene = Scene::new();
    let trail = scene.open(27);
    let (code, out, errors) = export(&scene, &[]);
    assert_eq!(code, OK, "{out}{errors}");
    let (_, _, json) = verify(&scene, &KEY);
    let left_out = json["manifest"]["unsigned_left_out"].as_u64().unwrap();
    assert!(left_out > 0, "{json}");
    trail.close().unwrap();
    assert_eq!(export(&scene, &[]).0, OK);
    assert_eq!(verify(&scene, &KEY).2["manifest"]["unsigned_left_out"], 0);
}

#[test]
fn who_has_the_signing_key_is_caught_by_checkpoints_that_were_kept() {
    let mut scene = Scene::new();
    scene.rewrite(|line| Some(line.replace("\"caller\":\"billing\"", "\"caller\":\"payroll\"")));
    scene.sign_with(&scene.path("keys/signing-key.pem"));
    scene.write();
    scene.latest_from_lines();
    export(&scene, &[]);
    let with_log = [&KEY[..], &["--checkpoints", "kept/log"]].concat();
    let (code, labels, json) = verify(&scene, &with_log);
    assert_eq!(code, WRONG, "{json}");
    assert!(labels.contains(&"rewritten".to_owned()), "{labels:?}");
    // An honest bundle agrees with the part of the log that is about its lines.
    let mut scene = Scene::new();
    let until = time_of(&mut scene, 50);
    export(&scene, &["--until", &until]);
    let (code, labels, json) = verify(&scene, &with_log);
    assert_eq!((code, labels), (OK, Vec::new()), "{json}");
    assert!(!json["limits"].to_string().contains("--checkpoints"), "{json}");
}

#[test]
fn a_wrong_trail_is_evidence_too() {
    let mut scene = Scene::new();
    let seq = scene.nth("call", 20);
    let line = scene.line(seq);
    *line = line.replacen("\"status\":200", "\"status\":403", 1);
    scene.write();
    let (code, out, errors) = export(&scene, &[]);
    assert_eq!(code, WRONG, "{out}{errors}");
    let (code, labels, json) = verify(&scene, &KEY);
    assert_eq!((code, labels), (WRONG, vec!["changed".to_owned()]), "{json}");
    assert_eq!(json["manifest"]["verification"]["verdict"], "wrong");
    // A period without it is proved, and the host's finding told.
    let (since, until) = (time_of(&mut scene, 60), time_of(&mut scene, 90));
    let (code, out, _) = export(&scene, &["--since", &since, "--until", &until]);
    assert_eq!(code, OK, "{out}");
    assert!(out.contains("the host found its whole trail wrong"), "{out}");
}

#[test]
fn the_bundle_says_under_which_rules_its_records_were_decided() {
    let mut scene = Scene::new();
    let before = json!([{ "policy": "0000000000000000", "records": 100, "since": null }]);
    export(&scene, &[]);
    assert_eq!(verify(&scene, &KEY).2["manifest"]["policies"], before);
    let trail = scene.open(0);
    trail.configuration(ConfigurationChange {
        time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000),
        cause: "admin",
        who: Some("operate \u{202e}token".to_owned()),
        refused: None,
        hash: [7; 32],
        previous: None,
        changes: Vec::new(),
    });
    trail.submit(Record { policy: PolicyId([7; 8]), ..record(100) });
    trail.close().unwrap();
    scene.read();
    let marker = scene.nth("configuration", 0);
    let (code, _, errors) = export(&scene, &[]);
    assert_eq!(code, OK, "{errors}");
    let policies = &verify(&scene, &KEY).2["manifest"]["policies"];
    assert_eq!(policies[1]["policy"], "0707070707070707");
    assert_eq!(policies[1]["records"], 1);
    assert_eq!(policies[1]["since"]["seq"], marker);
    assert_eq!(policies[1]["since"]["cause"], "admin");
    let page = text(&mut unpack(&scene.path("bundle.tar.zst")), "index.html");
    assert!(page.contains("0707070707070707") && page.contains("operate \\u{202e}token"), "{page}");
}

#[test]
fn a_device_is_no_file_to_replace() {
    let scene = Scene::new();
    let export = ["export", "--directory", "audit", "--out", "/dev/null", "--force"];
    let (code, _, errors) = audit(&scene, &export);
    assert_eq!(code, USAGE, "{errors}");
}

#[test]
fn a_caller_that_nobody_knows_gets_no_bundle() {
    let scene = Scene::new();
    let (code, _, errors) = export(&scene, &["--caller", "biling"]);
    assert_eq!(code, USAGE, "{errors}");
    assert!(errors.contains("biling") && errors.contains("billing"), "{errors}");
    assert!(!scene.path("bundle.tar.zst").exists());
}

#[test]
fn the_configuration_is_in_the_bundle_without_secrets() {
    let scene = Scene::new();
    let path = scene.path("gateway.toml");
    let key = scene.path("keys/signing-key.pem");
    fs::write(&path, configuration(&scene.path("audit"), &key)).unwrap();
    let export = ["export", "--config", "gateway.toml", "--out", "bundle.tar.zst"];
    let (code, out, errors) = audit(&scene, &export);
    // Signed with the key that the configuration names.
    assert_eq!(code, OK, "{out}{errors}");
    let mut files = unpack(&scene.path("bundle.tar.zst"));
    let text = text(&mut files, "configuration.toml");
    assert!(text.contains("signing_key"), "{text}");
    assert_eq!(verify(&scene, &KEY).0, OK);
    content(&mut files, "configuration.toml").extend(b"# more\n");
    pack(&scene, &files);
    assert_eq!(verify(&scene, &KEY).1, ["file_changed"]);
}

fn configuration(directory: &Path, key: &Path) -> String {
    let example = fs::read_to_string(crate::config::root().join("config/gateway.toml")).unwrap();
    let mut document: toml_edit::DocumentMut = example.parse().unwrap();
    document["audit"]["directory"] = toml_edit::value(directory.to_str().unwrap());
    document["audit"]["signing_key"] = toml_edit::value(key.to_str().unwrap());
    document.to_string()
}

#[test]
fn a_bundle_from_before_a_new_key_is_checked_with_both() {
    let scene = Scene::new();
    assert_eq!(export(&scene, &[]).0, OK);
    fs::rename(scene.path("keys/signing-key.pem"), scene.path("keys/old.pem")).unwrap();
    scene.open(3).close().unwrap();
    let keys =
        ["audit/signing-key.pub.pem", "kept/key.pem"].map(|key| fs::read(scene.path(key)).unwrap());
    fs::write(scene.path("kept/both.pem"), keys.concat()).unwrap();
    let both = ["--public-key", "kept/both.pem"];
    assert_eq!(verify(&scene, &both).0, OK);
    // And one over both.
    assert_eq!(export(&scene, &[]).0, WRONG, "the trail's directory has the new key alone");
    assert_eq!(export(&scene, &both).0, OK);
    assert_eq!(verify(&scene, &both).0, OK);
    assert_eq!(verify(&scene, &[]).1, ["key_not_given"]);
    assert_eq!(verify(&scene, &["--public-key", "audit/signing-key.pub.pem"]).0, WRONG);
}
