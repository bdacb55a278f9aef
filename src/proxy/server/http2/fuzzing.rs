//! Checks the field blocks of prepared bytes. Only the fuzzer's build and the unit tests have it.

use tokio::io::ReadBuf;

use super::field_blocks::FieldBlocks;

/// Passes the bytes of a caller on, in pieces of that many bytes. Returns what h2 gets, and the streams
/// whose requests are malformed.
pub fn pass(bytes: &[u8], piece: usize) -> (Vec<u8>, Vec<u32>) {
    let mut blocks = FieldBlocks::new(PREFACE, LIMIT);
    let (mut passed, mut malformed) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        blocks.take(piece, |stream, _request| malformed.push(stream));
        let mut buffer = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut buffer);
            if !blocks.pass_on(&mut buffer) {
                break;
            }
            passed.extend_from_slice(buffer.filled());
        }
    }
    (passed, malformed)
}

const PREFACE: usize = 24;
const LIMIT: usize = 40_000;
