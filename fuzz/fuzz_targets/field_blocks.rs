#![no_main]

use pigello_gateway::proxy::server::http2::fuzzing::pass;

// What h2 gets does not depend on how the bytes of a caller are cut.
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Some((piece, bytes)) = bytes.split_first() else { return };
    let whole = pass(bytes, bytes.len());
    assert_eq!(pass(bytes, usize::from(*piece)), whole);
    // What was replaced is not malformed any more.
    let (passed, malformed) = pass(&whole.0, whole.0.len());
    assert!(malformed.is_empty() && passed == whole.0);
});
