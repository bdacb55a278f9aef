//! The laws that the fuzz targets hold, over the corpora in the repository and what is near them.

#[path = "../../fuzz/src/laws.rs"]
mod laws;

use std::{fs, path::Path};

use proptest::{prelude::*, test_runner::TestRunner};

#[test]
fn every_law_holds_over_its_corpus() {
    for (name, law) in laws::ALL {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "{name} has a corpus");
        for input in &inputs {
            law(input);
        }
    }
}

/// Two inputs, each cut somewhere, and one byte in between: where the interesting mistakes are.
#[test]
fn every_law_holds_near_its_corpus() {
    for (name, law) in laws::ALL {
        let inputs = corpus(name);
        let pick = prop::sample::select(inputs);
        let near = (pick.clone(), pick, any::<(u16, u16, Option<u8>)>());
        TestRunner::default()
            .run(&near, |(left, right, (cut, other_cut, byte))| {
                let left = &left[..usize::from(cut) % (left.len() + 1)];
                let right = &right[usize::from(other_cut) % (right.len() + 1)..];
                law(&[left, &Vec::from_iter(byte), right].concat());
                Ok(())
            })
            .unwrap();
    }
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpora").join(name);
    let files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    files.map(|file| fs::read(file).unwrap()).collect()
}
