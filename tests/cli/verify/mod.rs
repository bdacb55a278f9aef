//! `audit verify` of honest and manipulated trails: verdict, exit code and reasons.

mod bundle;
mod scene;

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    time::{Duration, SystemTime},
};

use pigello_gateway::audit::{Record, Trail};
use scene::{Scene, copy, kind_of, other_key, record, retaining_little, seal, seq_of};
use serde_json::Value;

use crate::{
    docs::is_as_made,
    program::{Place, Running, exchange, get, output},
};

/// What happened to a trail, and what `audit verify` says of it.
struct Case {
    what: &'static str,
    change: fn(&mut Scene),
    given: Given,
    code: i32,
    /// The labels of the reasons, or of the problems.
    why: &'static [&'static str],
}

/// What the auditor has besides the directory.
#[derive(Clone, Copy)]
enum Given {
    Nothing,
    Key,
    KeyAndLog,
    KeyAnd(&'static str),
}

impl Given {
    fn arguments(self) -> Vec<&'static str> {
        let key = ["--public-key", "kept/key.pem"];
        match self {
            Self::Nothing => Vec::new(),
            Self::Key => key.to_vec(),
            Self::KeyAndLog => [&key[..], &["--checkpoints", "kept/log"]].concat(),
            Self::KeyAnd(file) => [&key[..], &["--checkpoints", file]].concat(),
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Key => "key",
            Self::KeyAndLog => "key, log",
            Self::KeyAnd(_) => "key, that file",
        }
    }
}

const fn case(
    what: &'static str,
    given: Given,
    code: i32,
    why: &'static [&'static str],
    change: fn(&mut Scene),
) -> Case {
    Case { what, change, given, code, why }
}

const OK: i32 = 0;
const WRONG: i32 = 1;
const NOT_PROVED: i32 = 3;

const HONEST: &[Case] = &[
    case("nothing", Given::Key, OK, &[], |_| {}),
    case("nothing", Given::KeyAndLog, OK, &[], |_| {}),
    case("nothing", Given::Nothing, OK, &[], |_| {}),
    case("a file was compressed", Given::Key, OK, &[], |scene| compress(scene, 1, |_| {})),
    case("the gateway was killed", Given::Key, OK, &[], |scene| scene.killed_gateway(7)),
    case("the gateway was killed, and the next one went on", Given::KeyAndLog, OK, &[], |scene| {
        scene.killed_gateway(7);
        scene.gateway(5);
    }),
    case("three gateways were killed one after the other", Given::Key, OK, &[], |scene| {
        for calls in [0, 30, 7] {
            scene.killed_gateway(calls);
        }
    }),
    case("the first gateway of a trail was killed", Given::Key, OK, &[], |scene| {
        fs::remove_dir_all(scene.path("audit")).unwrap();
        scene.killed_gateway(7);
    }),
    case(
        "a power cut left half a record, and the next gateway closed it",
        Given::Key,
        OK,
        &[],
        |scene| {
            scene.killed_gateway(7);
            append(scene, b"{\"kind\":\"call\",\"schema\":1,\"se");
            scene.gateway(5);
        },
    ),
    case(
        "a power cut left zeros, and the next gateway moved them aside",
        Given::Key,
        OK,
        &[],
        |scene| {
            scene.killed_gateway(7);
            append(scene, &[0; 4096]);
            scene.gateway(5);
        },
    ),
    case(
        "the current file was deleted, and the gateway restored it",
        Given::Key,
        OK,
        &[],
        |scene| {
            let trail = scene.open(3);
            scene.read();
            fs::remove_file(&scene.files.last().unwrap().0).unwrap();
            write_until(scene, &trail, "restored");
            trail.close().unwrap();
            scene.read();
        },
    ),
    case("retention deleted the beginning", Given::KeyAndLog, OK, &[], |scene| {
        retain(scene).close().unwrap();
        scene.read();
    }),
    case(
        "retention deleted the beginning, and the gateway was killed at once",
        Given::Key,
        OK,
        &[],
        |scene| {
            let trail = retain(scene);
            let aside = scene.path("aside");
            // Of one moment: without a line that came meanwhile.
            loop {
                let before = trail.stats().last_seq;
                copy(&scene.path("audit"), &aside);
                let after = trail.stats();
                if before == after.last_seq && before == after.synced_seq {
                    break;
                }
                fs::remove_dir_all(&aside).unwrap();
            }
            trail.close().unwrap();
            fs::remove_dir_all(scene.path("audit")).unwrap();
            fs::rename(aside, scene.path("audit")).unwrap();
            scene.read();
        },
    ),
    case("older gateways wrote it", Given::Key, OK, &[], Scene::make_old),
    case("older gateways wrote it, and one of today went on", Given::Key, OK, &[], |scene| {
        scene.make_old();
        scene.gateway(30);
    }),
    case("an older gateway was killed, and one of today went on", Given::Key, OK, &[], |scene| {
        scene.make_old();
        let stop = scene.nth("stop", 1);
        scene.cut_at(stop);
        scene.write();
        scene.latest_from_lines();
        scene.gateway(30);
    }),
];

const MANIPULATED: &[Case] = &[
    case("a field of a call was changed", Given::Nothing, WRONG, &["changed"], |scene| {
        let line = scene.line(30);
        *line = line.replace("billing", "nobody");
    }),
    case("a record was deleted", Given::Nothing, WRONG, &["removed"], |scene| {
        scene.files[0].1.remove(5);
    }),
    case("the last record was deleted", Given::Key, WRONG, &["cut_tail"], |scene| {
        scene.files.last_mut().unwrap().1.pop();
    }),
    case("the end was cut off", Given::Key, WRONG, &["cut_tail"], |scene| scene.cut_at(90)),
    case(
        "a byte of the last line was cut off",
        Given::Key,
        WRONG,
        &["cut_tail", "stop_unsigned"],
        |scene| {
            let path = scene.files.last().unwrap().0.clone();
            let bytes = fs::read(&path).unwrap();
            fs::write(path, &bytes[..bytes.len() - 2]).unwrap();
            scene.files.pop();
        },
    ),
    case(
        "the end was cut off, and checkpoint.json deleted",
        Given::Key,
        NOT_PROVED,
        &["latest_missing"],
        |scene| {
            scene.cut_at(90);
            scene.forget_end();
        },
    ),
    case("the same", Given::KeyAndLog, WRONG, &["cut_tail"], |scene| {
        scene.cut_at(90);
        scene.forget_end();
    }),
    case("the same, and a gateway went on", Given::Key, NOT_PROVED, &["found_mismatch"], |scene| {
        scene.cut_at(90);
        scene.write();
        scene.forget_end();
        scene.gateway(40);
    }),
    case("the same, and a gateway went on", Given::KeyAndLog, WRONG, &["rewritten"], |scene| {
        scene.cut_at(90);
        scene.write();
        scene.forget_end();
        scene.gateway(40);
    }),
    case(
        "the end was cut off, and a gateway went on",
        Given::Key,
        WRONG,
        &["found_cut"],
        |scene| {
            scene.cut_at(90);
            scene.write();
            scene.gateway(40);
        },
    ),
    case(
        "the end was cut off at a checkpoint, and checkpoint.json made from it",
        Given::Key,
        OK,
        &[],
        cut_at_a_checkpoint,
    ),
    case("the same", Given::KeyAndLog, WRONG, &["cut_tail"], cut_at_a_checkpoint),
    case("the same, and a gateway went on", Given::KeyAndLog, WRONG, &["rewritten"], |scene| {
        cut_at_a_checkpoint(scene);
        scene.gateway(60);
    }),
    case(
        "an older copy of the directory was put in its place",
        Given::KeyAndLog,
        WRONG,
        &["cut_tail"],
        |scene| {
            let old = scene.path("old");
            copy(&scene.path("audit"), &old);
            scene.gateway(10);
            scene.keep();
            fs::remove_dir_all(scene.path("audit")).unwrap();
            fs::rename(old, scene.path("audit")).unwrap();
            scene.read();
        },
    ),
    case("two records were swapped", Given::Nothing, WRONG, &["moved"], |scene| {
        scene.files[0].1.swap(5, 6);
    }),
    case("a record was copied", Given::Nothing, WRONG, &["repeated"], |scene| {
        let copy = scene.files[0].1[5].clone();
        scene.files[0].1.insert(6, copy);
    }),
    case("a record was added at the end", Given::Key, WRONG, &["after_stop"], |scene| {
        forge_after_end(scene, 1, str::to_owned);
    }),
    case("text was added at the end", Given::Key, WRONG, &["not_a_line"], |scene| {
        scene.files.last_mut().unwrap().1.push("something else".to_owned());
    }),
    case("the first file was deleted", Given::Key, WRONG, &["removed"], |scene| {
        fs::remove_file(scene.files.remove(0).0).unwrap();
    }),
    case("a file in the middle was deleted", Given::Key, WRONG, &["removed"], |scene| {
        fs::remove_file(scene.files.remove(1).0).unwrap();
    }),
    case("the last file was deleted", Given::Key, WRONG, &["cut_tail"], |scene| {
        fs::remove_file(scene.files.pop().unwrap().0).unwrap();
    }),
    case("a compressed file was cut short", Given::Key, WRONG, &["damaged", "removed"], |scene| {
        compress(scene, 1, |bytes| bytes.truncate(bytes.len() - 100));
    }),
    case("a compressed file was emptied", Given::Key, WRONG, &["damaged", "removed"], |scene| {
        compress(scene, 1, Vec::clear);
    }),
    case("bytes were added to a compressed file", Given::Key, WRONG, &["damaged"], |scene| {
        compress(scene, 1, |bytes| bytes.extend(b"something else"));
    }),
    case("the number in a file's name was changed", Given::Key, WRONG, &["renamed"], |scene| {
        let last = scene.files.len() - 1;
        rename(scene, last, |number, time| format!("audit-{:020}-{time}", number + 1));
    }),
    case("all files got names of the year 2020", Given::Key, WRONG, &["renamed"], |scene| {
        for at in 0..scene.files.len() {
            rename(scene, at, |number, _| format!("audit-{number:020}-20200101T000000Z.jsonl"));
        }
    }),
    case("a file got a name of the year 2099", Given::Key, WRONG, &["renamed"], |scene| {
        rename(scene, 1, |number, _| format!("audit-{number:020}-20990101T000000Z.jsonl"));
    }),
    case("an old file was added again", Given::Key, WRONG, &["replayed"], |scene| {
        let (path, lines) = scene.files[0].clone();
        let name = path.file_name().unwrap().to_str().unwrap().replacen("audit-0", "audit-1", 1);
        scene.files.push((path.with_file_name(name), lines));
    }),
    case(
        "a call was changed, and the chain made anew",
        Given::Key,
        WRONG,
        &["rewritten"],
        change_and_rewrite,
    ),
    case("the same, and the key files deleted", Given::Key, WRONG, &["rewritten"], |scene| {
        change_and_rewrite(scene);
        scene.remove("audit/signing-key.pub.pem");
        scene.forget_end();
    }),
    case("the same, and the key files deleted", Given::Nothing, NOT_PROVED, &["no_key"], |scene| {
        change_and_rewrite(scene);
        scene.remove("audit/signing-key.pub.pem");
        scene.forget_end();
    }),
    case(
        "a call was changed, the chain made anew, and a gateway went on",
        Given::Key,
        WRONG,
        &["found_rewritten"],
        |scene| {
            change_and_rewrite(scene);
            scene.write();
            scene.gateway(10);
        },
    ),
    case(
        "all calls of an operation and all checkpoints were dropped",
        Given::Key,
        WRONG,
        &["cut_tail"],
        drop_operation,
    ),
    case(
        "the same, and checkpoint.json deleted",
        Given::Key,
        NOT_PROVED,
        &["no_checkpoint"],
        |scene| {
            drop_operation(scene);
            scene.forget_end();
        },
    ),
    case(
        "the same, and a gateway went on",
        Given::Key,
        NOT_PROVED,
        &["found_mismatch", "start_unsigned"],
        |scene| {
            drop_operation(scene);
            scene.write();
            scene.forget_end();
            scene.gateway(10);
        },
    ),
    case(
        "all calls of an operation and all checkpoints were dropped",
        Given::KeyAndLog,
        WRONG,
        &["rewritten"],
        drop_operation,
    ),
    case(
        "the trail was rewritten behind its first checkpoint",
        Given::Key,
        WRONG,
        &["cut_tail"],
        |scene| {
            rewrite_behind_the_first_checkpoint(scene);
            scene.forget_end();
            fs::copy(scene.path("kept/last"), scene.path("audit/checkpoint.json")).unwrap();
        },
    ),
    case(
        "the same, and checkpoint.json made from it",
        Given::Key,
        NOT_PROVED,
        &["too_many_unsigned", "stop_unsigned"],
        rewrite_behind_the_first_checkpoint,
    ),
    case(
        "the same, and a gateway went on",
        Given::Key,
        NOT_PROVED,
        &["stop_unsigned", "too_many_unsigned"],
        |scene| {
            rewrite_behind_the_first_checkpoint(scene);
            scene.gateway(5);
        },
    ),
    case(
        "the trail was rewritten behind its first checkpoint",
        Given::KeyAndLog,
        WRONG,
        &["rewritten"],
        rewrite_behind_the_first_checkpoint,
    ),
    case(
        "more records without a checkpoint than the gateway leaves",
        Given::Key,
        NOT_PROVED,
        &["too_many_unsigned"],
        |scene| {
            cut_at_a_checkpoint(scene);
            forge_after_end(scene, 21, str::to_owned);
        },
    ),
    case(
        "records without a checkpoint over more time than the gateway leaves",
        Given::Key,
        NOT_PROVED,
        &["unsigned_too_long"],
        |scene| {
            cut_at_a_checkpoint(scene);
            forge_after_end(scene, 3, |line| {
                let (before, time) = line.split_once("\"time\":\"20").unwrap();
                format!("{before}\"time\":\"21{time}")
            });
        },
    ),
    case(
        "the checkpoint after a stop was dropped, and checkpoint.json made from an earlier one",
        Given::Key,
        NOT_PROVED,
        &["stop_unsigned"],
        |scene| {
            let end = scene.nth("stop", 1) + 1;
            scene.cut_at(end);
            scene.latest_from_lines();
        },
    ),
    case(
        "the checkpoint after a start was dropped, and what follows was rewritten",
        Given::Key,
        NOT_PROVED,
        &["start_unsigned"],
        |scene| {
            let start = scene.nth("start", 1);
            scene.rewrite(|line| match kind_of(line) {
                "checkpoint" if seq_of(line) > start => None,
                _ if seq_of(line) > start + 10 => None,
                _ => Some(line.to_owned()),
            });
            scene.files.retain(|(_, lines)| !lines.is_empty());
            scene.latest_from_lines();
            drop_empty_files(scene);
        },
    ),
    case(
        "the signature of a checkpoint was changed",
        Given::Key,
        WRONG,
        &["changed", "rewritten"],
        |scene| {
            let checkpoint = scene.nth("checkpoint", 2);
            let line = scene.line(checkpoint);
            let at = line.find("\"signature\":\"").unwrap() + 20;
            line.replace_range(at..=at, if line[at..].starts_with('A') { "B" } else { "A" });
        },
    ),
    case("checkpoint.json was deleted", Given::Key, NOT_PROVED, &["latest_missing"], |scene| {
        scene.forget_end();
    }),
    case("checkpoint.json was deleted", Given::KeyAndLog, OK, &[], |scene| {
        scene.forget_end();
    }),
    case(
        "checkpoint.json was replaced by something else",
        Given::Key,
        NOT_PROVED,
        &["latest_unusable"],
        |scene| {
            fs::write(scene.path("audit/checkpoint.json"), "{}\n").unwrap();
        },
    ),
    case("the same, and a gateway went on", Given::Key, NOT_PROVED, &["found_mismatch"], |scene| {
        fs::write(scene.path("audit/checkpoint.json"), "{}\n").unwrap();
        scene.gateway(10);
    }),
    case("the same, and a gateway went on", Given::KeyAndLog, OK, &[], |scene| {
        fs::write(scene.path("audit/checkpoint.json"), "{}\n").unwrap();
        scene.gateway(10);
        scene.keep();
    }),
    case(
        "checkpoint.json names a later record that nobody signed",
        Given::Key,
        NOT_PROVED,
        &["latest_unusable"],
        |scene| {
            let latest = fs::read_to_string(scene.path("audit/checkpoint.json")).unwrap();
            let forged = latest.replacen("\"seq\":", "\"seq\":9", 1);
            fs::write(scene.path("audit/checkpoint.json"), forged).unwrap();
        },
    ),
    case("the public key was deleted", Given::Nothing, NOT_PROVED, &["no_key"], |scene| {
        scene.remove("audit/signing-key.pub.pem");
    }),
    case("the public key was deleted", Given::Key, OK, &[], |scene| {
        scene.remove("audit/signing-key.pub.pem");
    }),
    case(
        "the public key was replaced by something else",
        Given::Nothing,
        NOT_PROVED,
        &["key_unusable"],
        |scene| {
            fs::write(scene.path("audit/signing-key.pub.pem"), "something else").unwrap();
        },
    ),
    case(
        "all was signed anew with another key, also the public key replaced",
        Given::Key,
        WRONG,
        &["other_key"],
        sign_with_another_key,
    ),
    case("the same", Given::Nothing, OK, &[], sign_with_another_key),
    case(
        "a gateway went on with another signing key",
        Given::Key,
        WRONG,
        &["other_key"],
        |scene| {
            fs::rename(other_key(scene), scene.path("keys/signing-key.pem")).unwrap();
            scene.gateway(10);
        },
    ),
    case("all files were deleted", Given::Key, WRONG, &["cut_tail"], |scene| {
        for (path, _) in std::mem::take(&mut scene.files) {
            fs::remove_file(path).unwrap();
        }
    }),
    case("the directory is empty", Given::Key, NOT_PROVED, &["empty"], |scene| {
        fs::remove_dir_all(scene.path("audit")).unwrap();
        fs::create_dir(scene.path("audit")).unwrap();
        scene.files.clear();
    }),
    case("the directory is empty", Given::Nothing, NOT_PROVED, &["empty"], |scene| {
        fs::remove_dir_all(scene.path("audit")).unwrap();
        fs::create_dir(scene.path("audit")).unwrap();
        scene.files.clear();
    }),
    case(
        "all files were emptied, and checkpoint.json deleted",
        Given::Key,
        NOT_PROVED,
        &["empty"],
        |scene| {
            for (_, lines) in &mut scene.files {
                lines.clear();
            }
            scene.forget_end();
        },
    ),
    case(
        "the first file was deleted, and a retention line forged",
        Given::Key,
        NOT_PROVED,
        &["retention_unsigned"],
        |scene| {
            cut_at_a_checkpoint(scene);
            let (path, lines) = scene.files.remove(0);
            fs::remove_file(path).unwrap();
            let last = lines.last().unwrap().clone();
            forge_after_end(scene, 1, |line| forged_retention(line, &last));
        },
    ),
    case(
        "more was deleted than the retention announced",
        Given::Key,
        WRONG,
        &["removed"],
        |scene| {
            retain(scene).close().unwrap();
            scene.read();
            fs::remove_file(scene.files.remove(0).0).unwrap();
        },
    ),
    case(
        "records were put into a damaged end, and a gateway went on",
        Given::Key,
        NOT_PROVED,
        &["records_damaged"],
        |scene| {
            append(scene, b"\n{\"kind\":\"call\",\"seq\":1}\n");
            scene.gateway(5);
        },
    ),
    case(
        "the file of kept checkpoints is another file",
        Given::KeyAnd("keys/signing-key.pem"),
        NOT_PROVED,
        &["kept_unusable"],
        |_| {},
    ),
    case(
        "the file of kept checkpoints is empty",
        Given::KeyAnd("empty"),
        NOT_PROVED,
        &["kept_unusable"],
        |scene| {
            fs::write(scene.path("empty"), "").unwrap();
        },
    ),
    case(
        "the file of kept checkpoints is no text",
        Given::KeyAnd("noise"),
        NOT_PROVED,
        &["kept_unusable"],
        |scene| {
            fs::write(scene.path("noise"), [0xff, b'\n', 0xfe, b'{', 0]).unwrap();
        },
    ),
    case(
        "the kept checkpoints are another gateway's",
        Given::KeyAnd("other/checkpoint.json"),
        NOT_PROVED,
        &["kept_unusable"],
        |scene| {
            other_key(scene);
        },
    ),
    case(
        "the kept checkpoints are older than the first record",
        Given::KeyAnd("kept/first"),
        NOT_PROVED,
        &["kept_elsewhere"],
        |scene| {
            let first = scene.checkpoints().next().unwrap();
            fs::write(scene.path("kept/first"), first.to_string()).unwrap();
            retain(scene).close().unwrap();
            scene.read();
        },
    ),
];

fn cut_at_a_checkpoint(scene: &mut Scene) {
    let checkpoint = scene.nth("checkpoint", 3);
    scene.cut_at(checkpoint + 1);
    scene.write();
    scene.latest_from_lines();
}

fn change_and_rewrite(scene: &mut Scene) {
    scene.rewrite(|line| {
        Some(if seq_of(line) == 50 { line.replace("billing", "nobody") } else { line.to_owned() })
    });
}

fn drop_operation(scene: &mut Scene) {
    scene.rewrite(|line| {
        let drop = line.contains("\"subtenant.list\"") || kind_of(line) == "checkpoint";
        (!drop).then(|| line.to_owned())
    });
}

fn rewrite_behind_the_first_checkpoint(scene: &mut Scene) {
    fs::copy(scene.path("audit/checkpoint.json"), scene.path("kept/last")).unwrap();
    let first = scene.nth("checkpoint", 0);
    scene.rewrite(|line| {
        let drop = kind_of(line) == "checkpoint" && seq_of(line) > first;
        let who = if seq_of(line) > first { "nobody" } else { "billing" };
        (!drop).then(|| line.replace("billing", who))
    });
    scene.write();
    scene.latest_from_lines();
}

fn sign_with_another_key(scene: &mut Scene) {
    let key = other_key(scene);
    scene.sign_with(&key);
    fs::copy(key.with_file_name("signing-key.pub.pem"), scene.path("audit/signing-key.pub.pem"))
        .unwrap();
    scene.latest_from_lines();
}

/// Adds so many calls behind the end, with the right numbers and hashes.
fn forge_after_end(scene: &mut Scene, count: usize, change: impl Fn(&str) -> String) {
    let call = scene.nth("call", 0);
    let call = change(&scene.line(call).clone());
    let lines = &mut scene.files.last_mut().unwrap().1;
    for _ in 0..count {
        let last = lines.last().unwrap();
        let hash = hash_of(last);
        lines.push(seal(&call, seq_of(last) + 1, &hash));
    }
}

fn hash_of(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap();
    line["hash"].as_str().unwrap().to_owned()
}

/// A line that says that everything up to `last` was deleted as the settings ask.
fn forged_retention(line: &str, last: &str) -> String {
    let time = line.split("\"time\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (to, hash) = (seq_of(last), hash_of(last));
    format!(
        "{{\"kind\":\"retention\",\"schema\":1,\"seq\":{},\"time\":\"{time}\",\"from\":1,\"to\":{to},\
         \"last_hash\":\"{hash}\",\"prev\":\"\"}}",
        seq_of(line)
    )
}

/// Compresses a file, as the retention does, and changes its bytes.
fn compress(scene: &mut Scene, file: usize, change: impl FnOnce(&mut Vec<u8>)) {
    let (path, lines) = scene.files.remove(file);
    let mut bytes = zstd::encode_all((lines.join("\n") + "\n").as_bytes(), 3).unwrap();
    change(&mut bytes);
    fs::remove_file(&path).unwrap();
    fs::write(path.with_extension("jsonl.zst"), bytes).unwrap();
}

/// Gives a file another name, from its number and the rest of its name.
fn rename(scene: &mut Scene, file: usize, name: impl Fn(u64, &str) -> String) {
    let path = &mut scene.files[file].0;
    let old = path.file_name().unwrap().to_str().unwrap().to_owned();
    let (number, time) = old.strip_prefix("audit-").unwrap().split_once('-').unwrap();
    let new = path.with_file_name(name(number.parse().unwrap(), time));
    fs::rename(&*path, &new).unwrap();
    *path = new;
}

/// Adds bytes to the last file, behind the scene's back.
fn append(scene: &mut Scene, bytes: &[u8]) {
    let path = &scene.files.last().unwrap().0;
    let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

fn drop_empty_files(scene: &Scene) {
    for entry in fs::read_dir(scene.path("audit")).unwrap() {
        let path = entry.unwrap().path();
        let is_known = scene.files.iter().any(|(known, _)| *known == path);
        if path.extension().is_some_and(|end| end == "jsonl") && !is_known {
            fs::remove_file(path).unwrap();
        }
    }
}

/// A gateway whose settings keep little has deleted the first files.
fn retain(scene: &mut Scene) -> Trail {
    let trail = Trail::open(&retaining_little(scene.settings())).unwrap();
    while scene.files.first().unwrap().0.exists() {
        std::thread::yield_now();
    }
    while trail.stats().synced_seq < trail.stats().last_seq {
        std::thread::yield_now();
    }
    scene.read();
    trail
}

/// Adds a call, and waits until a line of that kind is there.
fn write_until(scene: &Scene, trail: &Trail, kind: &str) {
    let head = format!("{{\"kind\":\"{kind}\"");
    let path = &scene.files.last().unwrap().0;
    trail.submit(record(0));
    while !fs::read_to_string(path).is_ok_and(|text| text.contains(&head)) {
        std::thread::yield_now();
    }
}

/// The verdict as JSON.
fn verify(scene: &Scene, given: Given) -> (Option<i32>, Value) {
    let (code, out, errors) = scene.verify(&[&given.arguments()[..], &["--json"]].concat());
    let json = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"));
    (code, json)
}

fn check(case: &Case) {
    let mut scene = Scene::new();
    (case.change)(&mut scene);
    scene.write();
    let (code, json) = verify(&scene, case.given);
    let what = format!("{} ({}): {json:#}", case.what, case.given.words());
    assert_eq!(code, Some(case.code), "{what}");
    let verdict = match case.code {
        OK => "ok",
        WRONG => "wrong",
        _ => "not_proved",
    };
    assert_eq!(json["verdict"], verdict, "{what}");
    let labels = |list: &str, label: &str| {
        let list = json[list].as_array().unwrap();
        list.iter().map(|one| one[label].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let found = [labels("problems", "problem"), labels("reasons", "reason")].concat();
    for why in case.why {
        assert!(found.iter().any(|found| found == why), "no {why}: {what}");
    }
    if case.code == OK {
        assert!(found.is_empty(), "{what}");
        // Also the words say how far, and with which key.
        let (code, out, _) = scene.verify(&case.given.arguments());
        assert_eq!(code, Some(OK));
        assert!(out.contains("are as they were written, signed by checkpoint"), "{out}");
        let weaker = matches!(case.given, Given::Nothing);
        assert_eq!(out.contains("from the trail's own directory"), weaker, "{out}");
    }
}

#[test]
fn honest_trails_are_ok() {
    HONEST.iter().for_each(check);
}

#[test]
fn manipulated_trails_are_not() {
    MANIPULATED.iter().for_each(check);
}

#[test]
fn the_page_of_manipulations_is_the_table_of_this_test() {
    let mut page = String::from(PAGE);
    for (title, cases) in [("Honest trails", HONEST), ("Manipulated trails", MANIPULATED)] {
        write!(page, "\n## {title}\n\n| what happened | given | verdict | exit code | reasons |\n")
            .unwrap();
        page.push_str("| --- | --- | --- | --- | --- |\n");
        for Case { what, given, code, why, .. } in cases {
            let verdict = match *code {
                OK => "ok",
                WRONG => "wrong",
                _ => "not proved",
            };
            let why = why.iter().map(|why| format!("`{why}`")).collect::<Vec<_>>().join(", ");
            writeln!(page, "| {what} | {} | {verdict} | {code} | {why} |", given.words()).unwrap();
        }
    }
    is_as_made("docs/src/reference/manipulations.md", &page);
}

const PAGE: &str = "\
<!-- Made from tests/cli/verify/mod.rs; change it there. -->

# What `audit verify` finds

Each row is a test against the command itself. In all of them the signing key is outside the trail's directory, and a
checkpoint is signed after 20 records. *Given* is what the auditor has from elsewhere: the public key (`--public-key`) and
the log with the checkpoints (`--checkpoints`). [How a trail is proved](../explanation/audit-verify.md) explains the verdicts.
";

#[test]
fn a_trail_that_is_being_written_is_ok_with_what_is_only_chained() {
    let scene = Scene::new();
    let trail = scene.open(7);
    let (code, json) = verify(&scene, Given::KeyAndLog);
    assert_eq!(code, Some(OK), "{json:#}");
    assert_eq!((&json["only_chained"], &json["closed"]), (&7.into(), &false.into()), "{json:#}");
    assert!(json["statement"].as_str().unwrap().ends_with("7 records after it are only chained"));
    trail.close().unwrap();
}

/// The gateway that starts on a trail says in its log, on the trail and in its status what does not fit.
#[test]
fn a_gateway_says_what_it_finds_at_its_start() {
    let place = Place::new("");
    let config = place.config();
    let serve = || {
        let mut gateway = Running::start(&["serve", "--config", &config]);
        let admin = gateway.address_of("admin");
        let status = exchange(&admin, &get("/status"));
        (status, gateway.end().1)
    };
    let (status, _) = serve();
    assert!(status.contains("\"mismatch\":null"), "{status}");
    fs::remove_file(place.path("audit/checkpoint.json")).unwrap();
    let (status, log) = serve();
    assert!(status.contains("\"mismatch\":\"missing\""), "{status}");
    assert!(log.contains("does not fit its last checkpoint"), "{log}");
    let (code, out, _) = output(&["audit", "verify", "--config", &config]);
    assert_eq!(code, Some(NOT_PROVED), "{out}");
    assert!(out.contains("a gateway that started here found no checkpoint.json"), "{out}");
}

/// What a command answers about the trail: its exit code and its output.
fn audit(scene: &Scene, args: &[&str]) -> (Option<i32>, String) {
    let directory = scene.path("audit").to_str().unwrap().to_owned();
    let (code, out, errors) = output(&[&["audit"], args, &["--directory", &directory]].concat());
    (code, out + &errors)
}

#[test]
fn the_name_of_a_file_hides_no_record() {
    let mut scene = Scene::new();
    let tomorrow = format!("{}", jiff::Timestamp::now() + jiff::SignedDuration::from_hours(1));
    let query = ["query", "--format", "json", "--since", "1h", "--until", &tomorrow];
    let count = |scene: &Scene| {
        let (code, out) = audit(scene, &query);
        assert_eq!(code, Some(1), "the period begins before the trail: {out}");
        assert!(!out.contains("clock was set back"), "{out}");
        out.lines().filter(|line| line.starts_with("{\"kind\":\"call\"")).count()
    };
    assert_eq!(count(&scene), 100);
    for year in ["2020", "2099"] {
        for at in 1..scene.files.len() {
            rename(&mut scene, at, |number, _| {
                format!("audit-{number:020}-{year}0101T000000Z.jsonl")
            });
        }
        assert_eq!(count(&scene), 100, "{year}");
    }
    // A file in another place of the order.
    rename(&mut scene, 1, |_, time| format!("audit-{:020}-{time}", 999_999));
    let (_, out) = audit(&scene, &query);
    assert!(out.contains("100 of 100 calls"), "{out}");
}

/// The gateway deletes by what the lines say, and nothing while a name does not fit its first line.
#[test]
fn the_name_of_a_file_makes_no_record_old() {
    let mut scene = Scene::new();
    let settings = pigello_gateway::audit::Settings {
        retain_for: Some("30d".parse().unwrap()),
        compress_after: Some("30d".parse().unwrap()),
        ..scene.settings()
    };
    for shift in [0, 1] {
        for at in 0..scene.files.len() {
            rename(&mut scene, at, |number, _| {
                format!("audit-{:020}-20200101T000000Z.jsonl", number + shift)
            });
        }
        let before: Vec<_> = scene.files.iter().map(|(path, _)| path.clone()).collect();
        let trail = Trail::open(&settings).unwrap();
        let blocked = if shift == 0 { None } else { Some("error") };
        let end = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < end && trail.stats().retention_blocked != Some("error") {
            std::thread::yield_now();
        }
        assert_eq!(trail.stats().retention_blocked, blocked);
        trail.close().unwrap();
        assert!(before.iter().all(|path| path.exists()), "shift {shift}");
        scene.read();
    }
}

#[test]
fn what_is_no_file_is_neither_waited_for_nor_followed() {
    let is_plain = |scene: &Scene, kind: &str, path: &std::path::Path| {
        fs::rename(path, scene.path("kept/aside")).unwrap();
        match kind {
            "pipe" => {
                let made = std::process::Command::new("mkfifo").arg(path).status().unwrap();
                assert!(made.success());
            }
            "folder" => fs::create_dir(path).unwrap(),
            "device" => std::os::unix::fs::symlink("/dev/zero", path).unwrap(),
            _ => std::os::unix::fs::symlink(scene.path("kept/aside"), path).unwrap(),
        }
    };
    for kind in ["pipe", "folder", "device", "link"] {
        let scene = Scene::new();
        is_plain(&scene, kind, &scene.files[1].0);
        let (code, out, errors) = scene.verify(&["--json", "--public-key", "kept/key.pem"]);
        assert_eq!((code, &*out), (Some(2), ""), "{kind}: {errors}");
        assert!(errors.contains("no plain file"), "{kind}: {errors}");
        for command in ["query", "report"] {
            let (code, said) = audit(&scene, &[command]);
            assert_eq!(code, Some(2), "{kind} {command}: {said}");
        }
        let trail = Trail::open(&scene.settings()).map(|trail| trail.close().unwrap());
        assert!(trail.is_ok(), "an earlier file: {kind}");
        let last = scene.files.last().unwrap().0.clone();
        fs::remove_file(scene.path("kept/aside")).unwrap();
        is_plain(&scene, kind, &last);
        assert!(Trail::open(&scene.settings()).is_err(), "the last file: {kind}");

        let scene = Scene::new();
        is_plain(&scene, kind, &scene.path("audit/tlog/checkpoint"));
        assert_eq!(scene.verify(&Given::Key.arguments()).0, Some(OK), "{kind}");
        let scene = Scene::new();
        is_plain(&scene, kind, &scene.path("audit/checkpoint.json"));
        assert_eq!(labels(&scene, "kept/key.pem").1, ["latest_unusable"], "{kind}");
    }
}

#[test]
fn what_cannot_be_read_is_bad_usage() {
    let scene = Scene::new();
    for arguments in [&["--directory", "nowhere"][..], &["nowhere.tar.zst"], &["audit"]] {
        let out = std::process::Command::new(env!("CARGO_BIN_EXE_pigello-gateway"))
            .args(["audit", "verify"])
            .args(arguments)
            .current_dir(scene.path("."))
            .output()
            .unwrap();
        assert_eq!(out.status.code(), Some(2), "{arguments:?}: {out:?}");
    }
}

#[test]
fn every_reason_says_what_to_do() {
    let mut scene = Scene::new();
    rewrite_behind_the_first_checkpoint(&mut scene);
    scene.forget_end();
    let (code, out, _) = scene.verify(&Given::Key.arguments());
    assert_eq!((code, out.matches("what to do: ").count()), (Some(NOT_PROVED), 6), "{out}");
    assert!(
        out.ends_with("not proved: no contradiction was found, but no proof: 6 reasons\n"),
        "{out}"
    );
}

#[test]
fn what_an_ok_cannot_see_is_said() {
    let mut scene = Scene::new();
    cut_at_a_checkpoint(&mut scene);
    let (_, out, _) = scene.verify(&Given::Key.arguments());
    for limit in ["does not end with a stop", "is only seen with a later checkpoint"] {
        assert!(out.contains(limit), "{out}");
    }
}

#[test]
fn only_what_the_retention_does_not_explain_is_missing() {
    let mut scene = Scene::new();
    retain(&mut scene).close().unwrap();
    scene.read();
    let first = seq_of(&scene.files[0].1[0]);
    fs::remove_file(scene.files.remove(0).0).unwrap();
    let next = seq_of(&scene.files[0].1[0]);
    let (_, out, _) = scene.verify(&Given::Key.arguments());
    assert!(
        out.contains(&format!("records {first} to {} before it were removed", next - 1)),
        "{out}"
    );
}

#[test]
fn a_key_or_log_that_cannot_be_read_is_bad_usage() {
    let scene = Scene::new();
    for arguments in [
        ["--public-key", "nowhere.pem"],
        ["--public-key", "kept/log"],
        ["--checkpoints", "nowhere.log"],
        ["--checkpoints", "kept"],
    ] {
        let (code, out, errors) = scene.verify(&arguments);
        assert_eq!((code, &*out), (Some(2), ""), "{errors}");
        assert!(errors.contains(arguments[1]), "{errors}");
    }
}

/// A trail whose signing key was replaced between two gateways, and a file with both keys, the newest first.
fn with_a_new_key() -> Scene {
    let mut scene = Scene::new();
    fs::rename(scene.path("keys/signing-key.pem"), scene.path("keys/old.pem")).unwrap();
    scene.gateway(30);
    let old = fs::read(scene.path("kept/key.pem")).unwrap();
    let new = fs::read(scene.path("audit/signing-key.pub.pem")).unwrap();
    assert_ne!(old, new);
    fs::write(scene.path("kept/new.pem"), &new).unwrap();
    fs::write(scene.path("kept/both.pem"), [&new[..], &old].concat()).unwrap();
    fs::write(scene.path("kept/swapped.pem"), [old, new].concat()).unwrap();
    scene
}

/// The exit code, and the labels of what is wrong or in doubt.
fn labels(scene: &Scene, key: &str) -> (Option<i32>, Vec<String>) {
    let (code, out, errors) = scene.verify(&["--json", "--public-key", key]);
    let json: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{errors}"));
    let list = |list: &str, label: &str| -> Vec<String> {
        let list = json[list].as_array().unwrap().iter();
        list.map(|one| one[label].as_str().unwrap().to_owned()).collect()
    };
    let mut all = [list("problems", "problem"), list("reasons", "reason")].concat();
    all.dedup();
    (code, all)
}

#[test]
fn a_key_that_was_replaced_vouches_for_what_it_signed() {
    let scene = with_a_new_key();
    let (code, out, errors) = scene.verify(&["--public-key", "kept/both.pem"]);
    assert_eq!(code, Some(OK), "{out}{errors}");
    assert!(out.contains("or one that it replaced ("), "{out}");
    // One of the keys alone, or in the wrong order, does not.
    for key in ["kept/new.pem", "kept/key.pem", "kept/swapped.pem"] {
        assert_eq!(labels(&scene, key).0, Some(WRONG), "{key}");
    }
    // A trail that only the old key has signed says nothing of the present.
    let scene = Scene::new();
    let both = with_a_new_key();
    fs::copy(both.path("kept/both.pem"), scene.path("kept/both.pem")).unwrap();
    let mut keys = fs::read(both.path("kept/new.pem")).unwrap();
    keys.extend(fs::read(scene.path("kept/key.pem")).unwrap());
    fs::write(scene.path("kept/both.pem"), keys).unwrap();
    assert_eq!(labels(&scene, "kept/both.pem"), (Some(NOT_PROVED), vec!["earlier_key".to_owned()]));
}

#[test]
fn a_key_that_was_replaced_signs_nothing_any_more() {
    let mut scene = with_a_new_key();
    // Somebody has the old key and goes on with it.
    fs::remove_file(scene.path("keys/signing-key.pem")).unwrap();
    fs::copy(scene.path("keys/old.pem"), scene.path("keys/signing-key.pem")).unwrap();
    scene.gateway(5);
    let (code, why) = labels(&scene, "kept/both.pem");
    assert_eq!(code, Some(WRONG));
    assert!(why.contains(&"other_key".to_owned()), "{why:?}");
}

#[test]
fn a_clock_that_went_back_is_a_note() {
    let scene = Scene::new();
    let (_, out, _) = scene.verify(&Given::Key.arguments());
    assert!(!out.contains("clock"), "{out}");
    let trail = scene.open(0);
    let then = SystemTime::now() - Duration::from_hours(2);
    for at in 0..3 {
        trail.submit(Record { time: then, ..record(at) });
    }
    trail.close().unwrap();
    let (code, out, _) = scene.verify(&Given::Key.arguments());
    assert_eq!(code, Some(OK), "{out}");
    assert!(out.contains("note 1 time the clock went back by more than an hour"), "{out}");
}
