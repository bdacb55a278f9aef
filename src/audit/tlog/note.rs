//! Notes: text with signatures (C2SP signed-note), and the heads of trees that they carry (tlog-checkpoint).

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::merkle::Tree;
use crate::{
    audit::{chain::Hash, keys::SigningKey},
    domain::{SignatureKind, VerifierKey},
};

/// The head of a tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Head {
    /// The name of the log.
    pub(in crate::audit) origin: String,
    /// The number of leaves.
    pub(in crate::audit) size: u64,
    /// The hash of the tree.
    pub(in crate::audit) root: Hash,
}

impl Head {
    /// The note of this head, signed under the name of the log.
    pub(in crate::audit) fn sign(&self, key: &SigningKey) -> String {
        let Self { origin, size, root } = self;
        let text = format!("{origin}\n{size}\n{}\n", BASE64_STANDARD.encode(root.0));
        let signature = key.sign(text.as_bytes());
        let signer = key.public().verifier_key(origin);
        format!("{text}\n{}", signature_line(&signer, &signature))
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root) = (lines.next()?, lines.next()?, lines.next()?);
        let is_canonical = size == "0" || !size.starts_with(['0', '+']);
        let root = BASE64_STANDARD.decode(root).ok()?.try_into().ok()?;
        let size = size.parse().ok().filter(|_| is_canonical)?;
        // Extension lines may follow; the signatures cover them.
        let is_whole = !origin.is_empty() && lines.all(|line| !line.is_empty());
        is_whole.then(|| Self { origin: origin.to_owned(), size, root: Hash(root) })
    }

    /// The chain in the name of the log: what stands after its last `/`.
    pub(in crate::audit) fn chain(&self) -> &str {
        self.origin.rsplit('/').next().unwrap_or_default()
    }
}

/// A head's note, with the tree that it is the head of.
#[derive(Clone, Debug)]
pub(in crate::audit) struct SignedHead {
    /// The note with the log's signature.
    pub(in crate::audit) note: String,
    pub(in crate::audit) tree: Tree,
}

/// A text with signatures, as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::audit) struct Note {
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    id: [u8; 4],
    bytes: Vec<u8>,
}

/// What a note has from the holder of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::audit) enum Signed {
    /// Its signature; of a witness, with the time in seconds since 1970.
    Yes {
        /// When the witness signed.
        time: Option<u64>,
    },
    /// No signature.
    No,
    /// A signature that is not the key's.
    Forged,
}

impl Note {
    /// Parses a note. `None` if it is none, or over 64 KiB.
    pub(in crate::audit) fn parse(note: &str) -> Option<Self> {
        let is_plain = |letter: char| letter == '\n' || letter >= ' ';
        if note.len() > LONGEST || !note.chars().all(is_plain) {
            return None;
        }
        let end = note.rfind("\n\n")?;
        let (text, signatures) = (note.get(..=end)?, note.get(end + 2..)?);
        let signatures = signatures.strip_suffix('\n')?.split('\n');
        let signatures = signatures.map(Signature::parse).collect::<Option<Vec<_>>>()?;
        (signatures.len() <= MOST_SIGNATURES).then(|| Self { text: text.to_owned(), signatures })
    }

    /// The head that the text carries.
    pub(in crate::audit) fn head(&self) -> Option<Head> {
        Head::parse(&self.text)
    }

    /// Whether the holder of the key signed the note.
    pub(in crate::audit) fn signed_by(&self, key: &VerifierKey) -> Signed {
        let of_key =
            |signature: &&Signature| signature.name == key.name() && signature.id == key.id();
        let mut found = Signed::No;
        for signature in self.signatures.iter().filter(of_key) {
            match signature.verify(key, &self.text) {
                Signed::Forged => return Signed::Forged,
                verified if found == Signed::No => found = verified,
                _ => {}
            }
        }
        found
    }

    /// The lines of an answer that carry a key's signature over this note's text, if they are the key's.
    pub(super) fn cosignature(&self, lines: &str, key: &VerifierKey) -> Option<String> {
        // Some witnesses leave the last newline out.
        let lines = lines.trim_end_matches('\n');
        let answer = Self::parse(&format!("{}\n{lines}\n", self.text))?;
        match answer.signed_by(key) {
            Signed::Yes { .. } => {}
            Signed::No | Signed::Forged => return None,
        }
        let signature =
            answer.signatures.iter().find(|s| s.name == key.name() && s.id == key.id())?;
        Some(signature_line(key, &signature.bytes))
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, signature) = line.strip_prefix("— ")?.split_once(' ')?;
        let bytes = BASE64_STANDARD.decode(signature).ok()?;
        let (id, bytes) = bytes.split_first_chunk()?;
        Some(Self { name: name.to_owned(), id: *id, bytes: bytes.to_owned() })
    }

    /// Whether this is the key's signature of the text.
    fn verify(&self, key: &VerifierKey, text: &str) -> Signed {
        let (time, message, signature) = match key.kind() {
            SignatureKind::Note => (None, text.to_owned(), self.bytes.as_slice()),
            SignatureKind::Cosignature => {
                let Some((time, signature)) = self.bytes.split_first_chunk() else {
                    return Signed::Forged;
                };
                let time = u64::from_be_bytes(*time);
                (Some(time), format!("cosignature/v1\ntime {time}\n{text}"), signature)
            }
        };
        match UnparsedPublicKey::new(&ED25519, key.bytes()).verify(message.as_bytes(), signature) {
            Ok(()) => Signed::Yes { time },
            Err(_) => Signed::Forged,
        }
    }
}

fn signature_line(key: &VerifierKey, signature: &[u8]) -> String {
    let bytes = [&key.id(), signature].concat();
    format!("— {} {}\n", key.name(), BASE64_STANDARD.encode(bytes))
}

/// The specification asks for room for 16 signatures, of up to 5 KB each.
const LONGEST: usize = 128 * 1024;
const MOST_SIGNATURES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of tlog-cosignature.
    const COSIGNED: &str = "example.com/behind-the-sofa\n20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n\
        — example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n\
        — witness.example.com/w1 jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";

    fn made_key() -> (tempfile::TempDir, SigningKey) {
        let home = tempfile::tempdir().unwrap();
        let key = SigningKey::open(&home.path().join("key"), home.path()).unwrap();
        (home, key)
    }

    fn head() -> Head {
        Head { origin: "a.test/log".to_owned(), size: 7, root: Hash::of(b"root") }
    }

    #[test]
    fn a_head_is_read_from_its_note() {
        let (_home, key) = made_key();
        let note = Note::parse(&head().sign(&key)).unwrap();
        assert_eq!(note.head(), Some(head()));
        let signer = key.public().verifier_key("a.test/log");
        assert_eq!(note.signed_by(&signer), Signed::Yes { time: None });
        let other_name = key.public().verifier_key("a.test/other");
        assert_eq!(note.signed_by(&other_name), Signed::No);
        let forged = Note { text: note.text.replace('7', "8"), ..note };
        assert_eq!(forged.signed_by(&signer), Signed::Forged);
        let example = Note::parse(COSIGNED).unwrap();
        assert_eq!(example.head().unwrap().size, 20_852_163);
        assert_eq!(example.head().unwrap().chain(), "behind-the-sofa");
        assert_eq!(example.signatures[1].bytes.len(), 72);
    }

    #[test]
    fn a_cosignature_is_taken_only_from_its_witness() {
        let (_home, log) = made_key();
        let (_other, witness) = made_key();
        let note = Note::parse(&head().sign(&log)).unwrap();
        let key = witness.public().cosigner_key("w.test/w1");
        let sign = |time: u64, text: &str| {
            let signature = witness.sign(format!("cosignature/v1\ntime {time}\n{text}").as_bytes());
            signature_line(&key, &[time.to_be_bytes().as_slice(), &signature].concat())
        };
        let good = sign(1_679_315_147, &note.text);
        let stranger = "— stranger.test AAAAAAAA\n";
        assert_eq!(note.cosignature(&format!("{stranger}{good}"), &key).as_ref(), Some(&good));
        assert_eq!(note.cosignature(good.trim_end(), &key).as_ref(), Some(&good));
        let cosigned = Note::parse(&format!("{}{good}", head().sign(&log))).unwrap();
        assert_eq!(cosigned.signed_by(&key), Signed::Yes { time: Some(1_679_315_147) });
        for refused in [
            "",
            "\n",
            "no signature\n",
            stranger,
            &sign(1, &note.text.replace('7', "8")),
            &format!("{good}{}", sign(2, "other text")),
            &signature_line(&key, &[0; 71]),
            &signature_line(&key, &[]),
        ] {
            assert_eq!(note.cosignature(refused, &key), None, "{refused}");
        }
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let signature = "— a AAAAAAAA\n";
        for text in [
            "",
            "a\n1\nb\n",
            "a\n1\nb\n\n",
            &format!("a\n1\nb\n{signature}"),
            &format!("a\n1\nb\n\n{}", signature.trim_end()),
            &format!("a\n1\nb\n\n{signature}{signature}more\n"),
            &format!("a\r\n1\r\nb\r\n\n{signature}"),
            "a\n1\nb\n\n— a AAAA\n",
            "a\n1\nb\n\n- a AAAAAAAA\n",
            &format!("a\n\n{}", signature.repeat(MOST_SIGNATURES + 1)),
            &format!("{}\n\n{signature}", "a".repeat(LONGEST)),
        ] {
            assert_eq!(Note::parse(text), None, "{text}");
        }
        let root = BASE64_STANDARD.encode([1; 32]);
        for text in [
            "a\n1\n",
            &format!("a\n01\n{root}\n"),
            &format!("a\n+1\n{root}\n"),
            &format!("a\n-1\n{root}\n"),
            &format!("a\n99999999999999999999\n{root}\n"),
            &format!("\n1\n{root}\n"),
            &format!("a\n1\n{root}x\n"),
            &format!("a\n1\n{root}\n\n"),
            &format!("a\n1\n{root}"),
        ] {
            assert_eq!(Head::parse(text), None, "{text}");
        }
        assert!(Head::parse(&format!("a\n0\n{root}\nextension\n")).is_some());
    }
}
