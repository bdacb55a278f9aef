//! The trail as a transparency log: anybody can check, with public tools, that it only ever grew.
//!
//! A Merkle tree stands over the lines of a *chain* (RFC 6962 §2.1). Its entry `i` is the 32-byte `hash` of
//! the chain's line `i`, so nothing in the tree tells who called what, and whoever has a line can prove it.
//!
//! | file | content |
//! | --- | --- |
//! | `chain.json` | the chain's name, its first line, and where it lives ([`identity`]) |
//! | `tlog/checkpoint` | the last head of the tree: a note (C2SP tlog-checkpoint) with its cosignatures |
//! | `tlog/key` | the key that checks the log's signature, as witnesses and tools take it |
//! | `tlog/tile/<level>/…` | the hashes of the tree (C2SP tlog-tiles) |
//! | `tlog-<chain>/` | the same of a chain that has ended |
//!
//! The lines are the entries, so there are no entry bundles. Tiles stay when old lines are deleted. All of it has
//! mode 0644: it holds no data of persons, and whoever may enter the trail's directory may check it.
//!
//! The writer thread grows the [`Tree`] and writes complete tiles ([`TreeLog`]). The [`publisher`] thread makes
//! the tiles durable, asks the witnesses, and writes the head.

mod identity;
mod merkle;
mod note;
mod publisher;
mod tiles;
mod tree_log;
mod witness;

pub(super) use identity::Chain;
pub use merkle::Tree;
pub(super) use merkle::verify_consistency;
pub(super) use note::{Head, Note, Signed, SignedHead};
pub use publisher::PublisherError;
pub(super) use publisher::{HeadPublisher, Heads};
pub(super) use tiles::{TileFolder, Tiles};
pub(super) use tree_log::{Names, TrailEnd, TreeLog};
pub use witness::WitnessStats;

/// The folder of the current chain's tree, in the trail's directory.
pub(super) const FOLDER: &str = "tlog";
/// The last head, in [`FOLDER`].
pub(super) const CHECKPOINT: &str = "checkpoint";

#[cfg(test)]
mod tests;
#[cfg(test)]
mod witness_tests;
