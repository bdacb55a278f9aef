//! A trail as a log, read by other implementations, and what becomes of its chain.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use signed_note::{StandardVerifier, VerifierList};
use tlog_tiles::{TileHashReader, TileReader, check_record, check_tree, prove_record, prove_tree};

use super::*;
use crate::{
    audit::{
        ChainFields, Record, Settings, Trail, TrailSegment, Verdict, VerifyOptions,
        testing::{check, eventually, record},
        verify,
    },
    domain::{ByteSize, LogOrigin, Span},
};

fn run(settings: &Settings, calls: usize) -> u64 {
    let trail = Trail::open(settings).unwrap();
    for _ in 0..calls {
        trail.submit(Record { time: SystemTime::now(), ..record() });
        while trail.stats().queued > 4096 {
            std::thread::yield_now();
        }
    }
    trail.close().unwrap()
}

fn lines(home: &Path) -> Vec<Vec<u8>> {
    let segments = TrailSegment::list(home).unwrap();
    let texts = segments.iter().map(|segment| fs::read(&segment.path).unwrap());
    let split =
        |text: Vec<u8>| text.split(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    texts.flat_map(split).filter(|line| !line.is_empty()).collect()
}

fn published_head(home: &Path) -> Head {
    let note = fs::read_to_string(home.join("tlog/checkpoint")).unwrap();
    Note::parse(&note).unwrap().head().unwrap()
}

fn chain(home: &Path) -> Chain {
    Chain::read(home).unwrap()
}

/// Reads the tiles of a log as `tlog_tiles` asks for them.
struct Files(PathBuf);

impl TileReader for Files {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = |tile: &tlog_tiles::Tile| {
            let path = tile.path().replacen("tile/8/", "tile/", 1);
            fs::read(self.0.join(path)).map_err(|_| tlog_tiles::Error::InvalidTile)
        };
        tiles.iter().map(read).collect()
    }

    fn save_tiles(&self, _tiles: &[tlog_tiles::Tile], _data: &[Vec<u8>]) {}
}

#[test]
fn other_implementations_read_the_log() {
    let home = tempfile::tempdir().unwrap();
    let origin: LogOrigin = "audit.test/pigello".parse().unwrap();
    let settings = Settings { origin, ..Settings::new(home.path()) };
    run(&settings, 700);
    let first = published_head(home.path());
    run(&settings, 70_000);
    let lines = lines(home.path());
    let head = published_head(home.path());
    assert_eq!(head.origin, format!("audit.test/pigello/{}", chain(home.path()).name));
    assert_eq!(head.size, lines.len() as u64 - 1, "everything before the last checkpoint");

    // The note, with the key as the folder has it.
    let log = home.path().join("tlog");
    let key = fs::read_to_string(log.join("key")).unwrap();
    let verifier = Box::new(StandardVerifier::new(key.trim_end()).unwrap());
    let bytes = fs::read(log.join("checkpoint")).unwrap();
    let note = signed_note::Note::from_bytes(&bytes).unwrap();
    assert_eq!(note.verify(&VerifierList::new(vec![verifier])).unwrap().0.len(), 1);
    let text = tlog_tiles::Checkpoint::from_bytes(note.text()).unwrap();
    assert_eq!((text.size(), text.hash().0), (head.size, head.root.0));

    // Any line is proved by its hash, and the tree grew from the earlier one.
    let files = Files(log);
    let root = tlog_tiles::Hash(head.root.0);
    let reader = TileHashReader::new(head.size, root, &files);
    for at in [0, 1, 255, 256, 702, 65_535, 65_536, head.size - 1] {
        let proof = prove_record(head.size, at, &reader).unwrap();
        let hash = ChainFields::read(&lines[usize::try_from(at).unwrap()]).unwrap().stated;
        let leaf = tlog_tiles::record_hash(&hash.0);
        check_record(&proof, head.size, root, at, leaf).unwrap();
    }
    let proof = prove_tree(head.size, first.size, &reader).unwrap();
    let old = tlog_tiles::Hash(first.root.0);
    check_tree(&proof, head.size, root, first.size, old).unwrap();
    let tree = TileFolder::of(&files.0).load(head.size).unwrap();
    let folder = TileFolder::of(&files.0);
    let own = Tiles::new(&folder, &tree).proof_from(first.size).unwrap();
    let own: Vec<_> = own.into_iter().map(|hash| tlog_tiles::Hash(hash.0)).collect();
    assert_eq!(own, proof);
    assert_eq!(check(home.path()).verdict(), Verdict::Ok);
}

#[test]
fn whoever_may_enter_the_directory_may_read_the_tree() {
    let home = tempfile::tempdir().unwrap();
    run(&Settings::new(home.path()), 600);
    let mut folders = vec![home.path().join("tlog")];
    let mut files = vec![home.path().join("chain.json")];
    while let Some(folder) = folders.pop() {
        assert_eq!(mode(&folder), 0o755, "{}", folder.display());
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    // Two complete tiles, incomplete ones of two levels, head and key.
    assert!(files.len() >= 6, "{files:?}");
    for file in files {
        assert_eq!(mode(&file), 0o644, "{}", file.display());
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_chain_goes_on_after_a_stop_and_after_a_crash() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings::new(home.path());
    run(&settings, 300);
    let made = chain(home.path());
    let before = published_head(home.path());
    run(&settings, 300);
    assert_eq!(chain(home.path()), made);
    // As a crash leaves it: the head is old, and tiles after it have what was never on disk.
    let after = published_head(home.path());
    let folder = TileFolder::of(&home.path().join("tlog"));
    let note = fs::read(home.path().join("tlog/checkpoint")).unwrap();
    run(&settings, 300);
    fs::write(home.path().join("tlog/checkpoint"), note).unwrap();
    fs::write(home.path().join("tlog/tile/0/003"), [7; 8192]).unwrap();
    run(&settings, 300);
    assert_eq!(chain(home.path()), made);
    let last = published_head(home.path());
    let tree = folder.load(last.size).unwrap();
    let tiles = Tiles::new(&folder, &tree);
    for old in [before, after] {
        let proof = tiles.proof_from(old.size).unwrap();
        assert!(verify_consistency((old.size, old.root), (last.size, last.root), &proof));
    }
    assert_eq!(check(home.path()).verdict(), Verdict::Ok);
}

#[test]
fn damaged_tiles_are_made_again_from_the_lines() {
    type Damage = fn(&Path);
    let damages: [Damage; 5] = [
        |log| fs::remove_dir_all(log).unwrap(),
        |log| fs::remove_dir_all(log.join("tile")).unwrap(),
        |log| fs::remove_file(log.join("checkpoint")).unwrap(),
        |log| fs::write(log.join("checkpoint"), "no note").unwrap(),
        |log| {
            let partial = fs::read_dir(log.join("tile/0/002.p")).unwrap();
            for file in partial {
                fs::write(file.unwrap().path(), [7; 8192]).unwrap();
            }
        },
    ];
    for damage in damages {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings::new(home.path());
        run(&settings, 600);
        let (made, old) = (chain(home.path()), published_head(home.path()));
        damage(&home.path().join("tlog"));
        run(&settings, 100);
        assert_eq!(chain(home.path()), made);
        let last = published_head(home.path());
        let folder = TileFolder::of(&home.path().join("tlog"));
        let tree = folder.load(last.size).unwrap();
        let proof = Tiles::new(&folder, &tree).proof_from(old.size).unwrap();
        assert!(verify_consistency((old.size, old.root), (last.size, last.root), &proof));
    }
}

#[test]
fn a_copy_and_a_cut_trail_go_on_in_another_chain() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 5] = [
        ("restored from a copy", |home| {
            let file = home.join("chain.json");
            let text = fs::read(&file).unwrap();
            fs::remove_file(&file).unwrap();
            fs::write(&file, text).unwrap();
        }),
        ("no name", |home| fs::remove_file(home.join("chain.json")).unwrap()),
        ("cut", |home| {
            let path = &TrailSegment::list(home).unwrap()[0].path;
            let text = fs::read_to_string(path).unwrap();
            let kept: Vec<_> = text.split_inclusive('\n').take(200).collect();
            fs::write(path, kept.concat()).unwrap();
        }),
        ("another key", |home| fs::remove_file(home.join("signing-key.pem")).unwrap()),
        ("damage that the lines do not fit", |home| {
            fs::remove_dir_all(home.join("tlog/tile")).unwrap();
            let path = &TrailSegment::list(home).unwrap()[0].path;
            let text = fs::read_to_string(path).unwrap();
            let mut lines: Vec<_> = text.split_inclusive('\n').collect();
            lines.remove(10);
            fs::write(path, lines.concat()).unwrap();
        }),
    ];
    for (what, change) in changes {
        let home = tempfile::tempdir().unwrap();
        let settings = Settings::new(home.path());
        run(&settings, 300);
        let (old, head) = (chain(home.path()), published_head(home.path()));
        change(home.path());
        run(&settings, 300);
        let new = chain(home.path());
        assert_ne!(new.name, old.name, "{what}");
        let lines = lines(home.path());
        let first: serde_json::Value = lines
            .iter()
            .map(|line| serde_json::from_slice::<serde_json::Value>(line).unwrap())
            .find(|line| line["seq"] == new.first_seq)
            .unwrap();
        assert_eq!(
            (&first["kind"], &first["chain"]),
            (&"start".into(), &new.name.into()),
            "{what}"
        );
        // The tree of the chain that ended is kept.
        let aside = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<_> = aside
            .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("tlog-"))
            .collect();
        let [aside] = &aside[..] else { panic!("{what}: {aside:?}") };
        let note = fs::read_to_string(aside.join("checkpoint")).unwrap();
        assert_eq!(Note::parse(&note).unwrap().head(), Some(head), "{what}");
    }
}

#[test]
fn a_trail_of_an_older_gateway_begins_its_chain_where_it_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings::new(home.path());
    let last = run(&settings, 300);
    fs::remove_dir_all(home.path().join("tlog")).unwrap();
    fs::remove_file(home.path().join("chain.json")).unwrap();
    run(&settings, 10);
    assert_eq!(chain(home.path()).first_seq, last + 1);
    assert_eq!(check(home.path()).verdict(), Verdict::Ok, "{:?}", check(home.path()));
    assert_eq!(published_head(home.path()).size, 13);
}

#[test]
fn an_idle_gateway_goes_on_signing() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings {
        checkpoint_interval: Span(Duration::from_millis(20)),
        sync_interval: Duration::from_millis(1),
        ..Settings::new(home.path())
    };
    let trail = Trail::open(&settings).unwrap();
    eventually("five checkpoints", || trail.stats().last_seq >= 6);
    trail.close().unwrap();
    let report = check(home.path());
    assert!(report.checkpoints >= 6 && report.calls == 0, "{report:?}");
    assert_eq!(report.verdict(), Verdict::Ok);
}

#[test]
fn the_tree_outlives_deleted_lines() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings { segment_bytes: ByteSize(40_000), ..Settings::new(home.path()) };
    for _ in 0..4 {
        run(&settings, 300);
    }
    let early = fs::read_to_string(home.path().join("tlog/checkpoint")).unwrap();
    for _ in 0..4 {
        run(&settings, 300);
    }
    let segments = TrailSegment::list(home.path()).unwrap();
    let bound = segments.iter().rev().take(3).map(|s| s.path.metadata().unwrap().len()).sum();
    let deleting = Settings { retain_bytes: Some(ByteSize(bound)), ..settings };
    let trail = Trail::open(&deleting).unwrap();
    eventually("files are deleted", || {
        TrailSegment::list(home.path()).unwrap()[0].first_seq > 1500
    });
    trail.close().unwrap();
    run(&deleting, 10);
    let verified = |note: &str| {
        let notes = vec![note.to_owned()];
        verify(home.path(), VerifyOptions { notes, ..VerifyOptions::default() }, |_| {}).unwrap()
    };
    let report = verified(&early);
    assert_eq!(report.verdict(), Verdict::Ok, "{report:?}");
    assert_eq!(report.kept.unwrap().agreed, 1, "compared by the tiles");
    // Without its tiles, the note proves nothing about what is left.
    fs::remove_dir_all(home.path().join("tlog/tile/0")).unwrap();
    let report = verified(&early);
    assert_eq!(report.verdict(), Verdict::NotProved, "{report:?}");
}

#[test]
fn a_kept_note_shows_what_was_rewritten_with_the_key_and_what_was_cut() {
    let home = tempfile::tempdir().unwrap();
    let settings = Settings::new(home.path());
    run(&settings, 50);
    let kept = fs::read_to_string(home.path().join("tlog/checkpoint")).unwrap();
    run(&settings, 50);
    let verdict = |home: &Path, note: &str| {
        let options = VerifyOptions { notes: vec![note.to_owned()], ..VerifyOptions::default() };
        let report = verify(home, options, |_| {}).unwrap();
        (report.verdict(), format!("{:?} {:?}", report.problems, report.doubts))
    };
    assert_eq!(verdict(home.path(), &kept).0, Verdict::Ok);
    for (note, said) in [
        ("no note", "KeptUnusable"),
        (&kept.replace("\n\n", "\n\n\n"), "KeptUnusable"),
        (&kept.replacen('5', "6", 1), "KeptUnusable"),
    ] {
        let (verdict, why) = verdict(home.path(), note);
        assert!(verdict == Verdict::NotProved && why.contains(said), "{why}");
    }

    // The holder of the key writes the whole trail again: everything inside it fits.
    let forged = tempfile::tempdir().unwrap();
    for file in ["signing-key.pem", "signing-key.pub.pem"] {
        fs::copy(home.path().join(file), forged.path().join(file)).unwrap();
    }
    run(&Settings::new(forged.path()), 200);
    assert_eq!(check(forged.path()).verdict(), Verdict::Ok);
    let (said, why) = verdict(forged.path(), &kept);
    assert!(said == Verdict::Wrong && why.contains("OtherChain"), "{why}");

    // Under the same name, shorter and longer.
    let key = crate::audit::keys::SigningKey::read(&home.path().join("signing-key.pem")).unwrap();
    let head = Note::parse(&kept).unwrap().head().unwrap();
    for (size, root, said) in [
        (head.size, crate::audit::Hash::of(b"another"), "Rewritten"),
        (head.size + 1000, head.root, "CutTail"),
    ] {
        let note = Head { size, root, ..head.clone() }.sign(&key);
        let (verdict, why) = verdict(home.path(), &note);
        assert!(verdict == Verdict::Wrong && why.contains(said), "{why}");
    }
}
