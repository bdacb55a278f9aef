//! The name of a chain: which lines belong together, whoever has collected them.
//!
//! A chain begins with a trail, and anew when its directory is a copy. A copy that went on under the same
//! name would make two histories of one log, and a witness would refuse both from then on.
//!
//! A copy is noticed by two things that are written into the file: the machine's id, and the birth time of the
//! file itself (its inode where the file system keeps no birth time). A copied or restored file was born later;
//! a cloned disk keeps the time, and usually comes up on a machine with another id. A wrong guess is cheap in
//! one direction: a new chain continues the hash chain of the lines, so nothing is lost, and a log ends and
//! another begins. In the other direction it is loud: the witnesses refuse, and the manual tells to remove the
//! file.

use std::{
    fs::{self, Metadata},
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::UNIX_EPOCH,
};

use aws_lc_rs::rand::{self, SecureRandom as _};
use serde::{Deserialize, Serialize};

use crate::{
    audit::chain::Hash,
    domain::hex,
    process::files::{NewFile, open_to_readers, read_own},
};

/// A chain of lines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::audit) struct Chain {
    /// 128 random bits, as 32 hexadecimal digits.
    #[serde(rename = "chain")]
    pub(in crate::audit) name: String,
    /// The `seq` of its first line, a `start`.
    pub(in crate::audit) first_seq: u64,
    place: Place,
}

/// Where a chain lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    /// A hash of the machine's id, which is not shown to others (machine-id(5)).
    machine: Option<String>,
    /// What no copy of the file has.
    file: String,
}

impl Chain {
    /// The chain of a directory, if there is one. It may have come from elsewhere.
    pub(in crate::audit) fn read(directory: &Path) -> Option<Self> {
        let chain: Self = serde_json::from_slice(&read_own(&directory.join(FILE)).ok()?).ok()?;
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        (chain.name.len() == 32 && chain.name.bytes().all(is_digit)).then_some(chain)
    }

    /// Whether the chain was made on this machine, in this directory.
    pub(super) fn is_at_home(&self, directory: &Path) -> bool {
        fs::symlink_metadata(directory.join(FILE))
            .is_ok_and(|metadata| Place::of(&metadata) == self.place)
    }

    /// Makes a new chain that begins with a line.
    pub(in crate::audit) fn begin(directory: &Path, first_seq: u64) -> io::Result<Self> {
        let mut bits = [0; 16];
        let no_entropy = |_| io::Error::other("the operating system gave no random numbers");
        rand::SystemRandom::new().fill(&mut bits).map_err(no_entropy)?;
        let name = bits.iter().flat_map(|byte| hex::digits(*byte)).map(char::from).collect();
        // The file keeps its inode when it is renamed.
        let mut new = NewFile::create(&directory.join(FILE))?;
        let chain = Self { name, first_seq, place: Place::of(&new.file.metadata()?) };
        let mut line = serde_json::to_vec(&chain)?;
        line.push(b'\n');
        open_to_readers(&new.file)?;
        new.file.write_all(&line)?;
        new.finish()?;
        Ok(chain)
    }
}

impl Place {
    fn of(file: &Metadata) -> Self {
        let born = file.created().ok().and_then(|born| born.duration_since(UNIX_EPOCH).ok());
        let file = match born {
            Some(born) => format!("born {}", born.as_nanos()),
            None => format!("inode {}", file.ino()),
        };
        Self { machine: machine(), file }
    }
}

/// The hashed id of this machine, if it has one: a container may have none.
fn machine() -> Option<String> {
    let id = fs::read_to_string("/etc/machine-id").ok()?;
    let id = id.trim();
    let hash = Hash::of(format!("pigello-gateway audit chain\n{id}").as_bytes()).to_string();
    hash.get(..32).filter(|_| !id.is_empty()).map(ToOwned::to_owned)
}

const FILE: &str = "chain.json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_chain_stays_with_its_file_and_not_with_a_copy() {
        let (home, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let made = Chain::begin(home.path(), 7).unwrap();
        assert_eq!(Chain::read(home.path()), Some(made.clone()));
        assert!(made.is_at_home(home.path()));
        fs::copy(home.path().join(FILE), copy.path().join(FILE)).unwrap();
        assert_eq!(Chain::read(copy.path()), Some(made.clone()));
        assert!(!made.is_at_home(copy.path()), "a copy");
        for elsewhere in [
            Place { machine: Some("another".to_owned()), ..made.place.clone() },
            Place { file: "born 1".to_owned(), ..made.place.clone() },
        ] {
            assert!(!Chain { place: elsewhere, ..made.clone() }.is_at_home(home.path()));
        }
        assert_ne!(Chain::begin(home.path(), 7).unwrap().name, made.name);
    }

    #[test]
    fn a_damaged_file_is_no_chain() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(Chain::read(home.path()), None);
        let made = Chain::begin(home.path(), 1).unwrap();
        let text = fs::read_to_string(home.path().join(FILE)).unwrap();
        let upper =
            text.replace(&made.name, &made.name.to_uppercase().replace(char::is_numeric, "A"));
        for damaged in
            ["", "{}", text.split_at(text.len() / 2).0, &text.replace(&made.name, "../x"), &upper]
        {
            fs::write(home.path().join(FILE), damaged).unwrap();
            assert_eq!(Chain::read(home.path()), None, "{damaged}");
        }
    }
}
