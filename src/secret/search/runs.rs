//! Finds long runs of bytes of one kind without a look at most bytes of a text.

use std::ops::Range;

/// The runs of at least so many bytes of a kind, and if the text is open, the one that reaches its end.
pub(super) fn runs<'a>(
    text: &'a [u8],
    fewest: usize,
    is_open: bool,
    is_of_kind: impl Fn(u8) -> bool + 'a,
) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut from = 0;
    std::iter::from_fn(move || {
        let run = next_run(text, from, fewest, &is_of_kind).or_else(|| {
            let rest = text.get(from..)?;
            let last = rest.iter().rev().take_while(|byte| is_of_kind(**byte)).count();
            Some(text.len() - last..text.len()).filter(|run| is_open && !run.is_empty())
        })?;
        from = run.end;
        Some(run)
    })
}

/// Looks at the byte where a run would have to end and goes back from there. If there is another byte in
/// between, the next run begins behind it.
fn next_run(
    text: &[u8],
    from: usize,
    fewest: usize,
    is_of_kind: &impl Fn(u8) -> bool,
) -> Option<Range<usize>> {
    let is_other = |byte: &u8| !is_of_kind(*byte);
    let mut start = from;
    loop {
        let rest = text.get(start..)?;
        let Some(gap) = rest.get(..fewest)?.iter().rposition(is_other) else {
            let end = rest.iter().position(is_other).unwrap_or(rest.len());
            return Some(start..start + end);
        };
        start += gap + 1;
    }
}
