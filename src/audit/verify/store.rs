//! Checks lines as a store gives them back: of several chains, one after the other, without the files beside
//! them.

use std::{
    collections::BTreeSet,
    io::{self, BufRead, Read as _},
    path::Path,
};

use super::{
    Evidence, Heads, KeySource, TrailDoubtKind, Verdict, Verifier, VerifyError, VerifyOptions,
    VerifyReport,
};
use crate::{
    audit::{
        chain::{ChainFields, Hash},
        keys::PublicKey,
        line,
        tlog::Note,
    },
    domain::VerifierKey,
};

/// The result of a check of a store's lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreReport {
    /// The reports, in the order of the lines, with the name of the chain. Lines of older gateways have none.
    pub chains: Vec<(Option<String>, VerifyReport)>,
    /// Chains of kept notes that no line was of.
    pub missing: Vec<String>,
}

impl StoreReport {
    /// The worst verdict of the chains.
    pub fn verdict(&self) -> Verdict {
        let mut verdicts: Vec<_> = self.chains.iter().map(|(_, report)| report.verdict()).collect();
        if !self.missing.is_empty() {
            verdicts.push(Verdict::Wrong);
        } else if verdicts.is_empty() {
            verdicts.push(Verdict::NotProved);
        }
        let is = |verdict| verdicts.contains(&verdict);
        if is(Verdict::Wrong) {
            Verdict::Wrong
        } else if is(Verdict::NotProved) {
            Verdict::NotProved
        } else {
            Verdict::Ok
        }
    }
}

/// Checks lines, chain by chain; the chains in any order. A line may have its chain before it, with a tab
/// between. Without that, a `start` of another chain begins the next one. The same line twice in a row counts
/// once, because a collector may get it twice.
pub fn verify_store(
    lines: impl BufRead,
    options: &VerifyOptions,
) -> Result<StoreReport, VerifyError> {
    let keys = match &options.key {
        KeySource::File(file) => PublicKey::read_all(file)?,
        KeySource::Gateway(key) => vec![key.clone()],
        KeySource::Directory => Vec::new(),
    };
    let notes: Vec<_> = options.notes.iter().map(|note| Note::parse(note)).collect();
    let mut check = StoreCheck {
        options,
        keys,
        notes,
        report: StoreReport::default(),
        current: None,
        seen: BTreeSet::new(),
    };
    let mut lines = Lines { reader: lines, bytes: Vec::new() };
    while let Some(bytes) = lines.next().map_err(VerifyError::Input)? {
        check.line(bytes)?;
    }
    check.end_chain();
    let named =
        check.notes.iter().flatten().filter_map(|note| Some(note.head()?.chain().to_owned()));
    let missing: BTreeSet<_> = named.filter(|chain| !check.seen.contains(chain)).collect();
    Ok(StoreReport { missing: missing.into_iter().collect(), ..check.report })
}

struct StoreCheck<'a> {
    options: &'a VerifyOptions,
    keys: Vec<PublicKey>,
    /// Texts that are no notes count as kept, too.
    notes: Vec<Option<Note>>,
    report: StoreReport,
    current: Option<Current>,
    seen: BTreeSet<String>,
}

struct Current {
    chain: Option<String>,
    verifier: Verifier,
    /// `seq`, `hash` of the last line.
    last: Option<(u64, Hash)>,
}

impl StoreCheck<'_> {
    fn line(&mut self, bytes: &[u8]) -> Result<(), VerifyError> {
        let (named, bytes) = split_chain(bytes);
        if bytes.is_empty() {
            return Ok(());
        }
        let fields = ChainFields::read(bytes);
        let head = line::line_head(bytes);
        let start = head.filter(|head| head.kind == "start").map(|_| line::marker(bytes));
        let own = start.as_ref().and_then(|start| start.chain.clone());
        let follows = match (&self.current, &fields, head) {
            (Some(Current { last: Some((seq, hash)), .. }), Some(fields), Some(head)) => {
                if *seq == head.seq && *hash == fields.stated && fields.is_intact() {
                    return Ok(());
                }
                head.seq == seq + 1 && fields.prev == *hash
            }
            _ => false,
        };
        let is_same = |current: &Current| match (&named, &own) {
            (Some(named), _) => current.chain.as_ref() == Some(named),
            (None, Some(own)) => follows || current.chain.as_ref() == Some(own),
            (None, None) => true,
        };
        if !self.current.as_ref().is_some_and(is_same) {
            self.end_chain();
            let key = start.as_ref().map(|start| start.key.as_str());
            self.begin_chain(named.or(own), key)?;
        }
        let Some(current) = &mut self.current else { return Ok(()) };
        current.verifier.line(bytes);
        if let (Some(head), Some(fields)) = (head, fields) {
            current.last = Some((head.seq, fields.stated));
        }
        Ok(())
    }

    fn begin_chain(
        &mut self,
        chain: Option<String>,
        key_name: Option<&str>,
    ) -> Result<(), VerifyError> {
        if let Some(chain) = &chain
            && !self.seen.insert(chain.clone())
        {
            return Err(VerifyError::NotSorted { chain: chain.clone() });
        }
        let of_start = |key: &&PublicKey| Some(key.id()) == key_name;
        let key = self.keys.iter().find(of_start).or(self.keys.first()).cloned();
        let key = key.map(|key| (key, false)).ok_or(TrailDoubtKind::NoKey);
        let mut evidence = Evidence::new(key, None, self.options.checkpoints_of(chain.as_deref()));
        let mut heads = Heads::default();
        let told = self.options.told.iter().flatten();
        let told = told.filter(|told| Some(&told.name) == chain.as_ref()).cloned().collect();
        heads.tell(self.options.told.is_some().then_some(told));
        for note in &self.notes {
            let of_chain =
                |note: &&Note| note.head().is_some_and(|h| Some(h.chain()) == chain.as_deref());
            match note {
                None => evidence.keep_note(false),
                Some(note) => {
                    if let Some(note) = Some(note).filter(of_chain) {
                        let is_usable = heads.expect(note.clone(), evidence.key());
                        evidence.keep_note(is_usable);
                    }
                }
            }
        }
        let witnesses: Vec<VerifierKey> = self.options.witnesses.clone();
        let verifier = Verifier::new(Path::new("-"), evidence, heads, witnesses).of_store();
        self.current = Some(Current { chain, verifier, last: None });
        Ok(())
    }

    fn end_chain(&mut self) {
        if let Some(Current { chain, verifier, .. }) = self.current.take() {
            self.report.chains.push((chain, verifier.finish()));
        }
    }
}

/// Splits a line from the name of its chain. Lines of a trail hold no tab.
fn split_chain(bytes: &[u8]) -> (Option<String>, &[u8]) {
    match memchr::memchr(b'\t', bytes) {
        Some(at) if !bytes.starts_with(b"{") => {
            let (chain, line) = bytes.split_at(at);
            let line = line.get(1..).unwrap_or_default();
            (Some(String::from_utf8_lossy(chain).into_owned()), line)
        }
        _ => (None, bytes),
    }
}

/// Lines of a bounded length.
struct Lines<R> {
    reader: R,
    bytes: Vec<u8>,
}

impl<R: BufRead> Lines<R> {
    fn next(&mut self) -> io::Result<Option<&[u8]>> {
        self.bytes.clear();
        let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut self.bytes)?;
        let line = self.bytes.strip_suffix(b"\n").unwrap_or(&self.bytes);
        Ok((read > 0).then(|| line.strip_suffix(b"\r").unwrap_or(line)))
    }
}

/// Above the longest line of a trail; a longer one is cut, and is then no line of a trail.
const LONGEST_LINE: u64 = 1 << 20;
