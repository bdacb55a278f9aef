//! What the tests of the sources share.

/// Says loudly that a test could not run, and fails it where nothing may be skipped.
#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
pub(crate) fn skip(why: &str) {
    let required = std::env::var_os("PIGELLO_TEST_REQUIRE_TOOLS").is_some_and(|value| value == "1");
    assert!(!required, "{why}, and PIGELLO_TEST_REQUIRE_TOOLS=1 allows no skipping");
    eprintln!("\n*** SKIPPED: {why} ***\n");
}
