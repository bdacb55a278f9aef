use std::fs;

use super::*;
use crate::trail::{Segment, Settings, Trail, testing::record};

/// A trail of a start, six calls and a stop, as lines.
fn trail() -> (tempfile::TempDir, PathBuf, Vec<String>) {
    let home = tempfile::tempdir().unwrap();
    let trail = Trail::open(&Settings::new(home.path())).unwrap();
    (0..6).for_each(|_| trail.submit(record()));
    trail.close().unwrap();
    let path = Segment::list(home.path()).unwrap().remove(0).path;
    let lines = fs::read_to_string(&path).unwrap().lines().map(ToOwned::to_owned).collect();
    (home, path, lines)
}

fn first_problem(change: impl FnOnce(&mut Vec<String>)) -> Option<(u64, ProblemKind)> {
    let (home, path, mut lines) = trail();
    change(&mut lines);
    fs::write(&path, lines.join("\n") + "\n").unwrap();
    let report = verify(home.path()).unwrap();
    report.problems.first().map(|problem| (problem.line, problem.kind))
}

#[test]
fn a_trail_as_it_was_written_is_right() {
    assert_eq!(first_problem(|_| {}), None);
}

#[test]
fn tampering_is_found_and_named() {
    use ProblemKind::{Changed, NotALine, OutOfOrder, Removed, Replaced};
    assert_eq!(
        first_problem(|lines| lines[3] = lines[3].replace("billing", "nobody")),
        Some((4, Changed))
    );
    assert_eq!(first_problem(|lines| drop(lines.remove(3))), Some((4, Removed { from: 4, to: 4 })));
    assert_eq!(
        first_problem(|lines| drop(lines.drain(..2))),
        Some((1, Removed { from: 1, to: 2 }))
    );
    assert_eq!(first_problem(|lines| lines.insert(3, lines[1].clone())), Some((4, OutOfOrder)));
    assert_eq!(first_problem(|lines| lines.swap(3, 5)), Some((4, Removed { from: 4, to: 5 })));
    assert_eq!(first_problem(|lines| lines.insert(3, "{}".into())), Some((4, NotALine)));
    // A line forged with a right hash of its own does not fit those around it.
    let (_home, _path, other) = trail();
    assert_eq!(first_problem(|lines| lines[3] = other[3].clone()), Some((4, Replaced)));
}
