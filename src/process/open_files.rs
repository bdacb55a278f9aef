//! Open files. Each connection is one, to a caller or to Pigello, and the soft limit that a shell or a
//! service manager gives is often 1,024.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum
        && let Err(errno) = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })
    {
        tracing::warn!(%errno, "the limit of open files cannot be raised");
    }
}

/// How many connections of callers the hard limit allows; `None` if there is no limit.
pub fn most_connections() -> Option<usize> {
    let limit = getrlimit(Resource::Nofile).maximum?;
    Some(room(usize::try_from(limit).unwrap_or(usize::MAX)))
}

/// The limit in force; `None` if there is none.
fn limit() -> Option<usize> {
    getrlimit(Resource::Nofile).current.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// The connections of callers for which there are files: each may need one to Pigello, and there is a reserve
/// for everything else.
fn room(limit: usize) -> usize {
    limit.saturating_sub(RESERVE) / 2
}

/// As much of a part of all connections as the limit of open files allows, so that the reserve is never
/// used up by callers.
pub fn fitting(part: usize, all: usize) -> usize {
    fit(part, all, limit())
}

fn fit(part: usize, all: usize, limit: Option<usize>) -> usize {
    let room = limit.map_or(usize::MAX, room);
    if all <= room {
        return part;
    }
    let share = (part as u128).saturating_mul(room as u128).checked_div(all as u128);
    share.and_then(|share| usize::try_from(share).ok()).unwrap_or_default().max(1)
}

/// For the admin listener, the audit trail, the configuration, the credentials, and the runtime.
const RESERVE: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_cut_in_proportion_when_files_are_few() {
        for (part, all, limit, fitting) in [
            (10_000, 10_000, None, 10_000),
            (10_000, 10_000, Some(20_128), 10_000),
            (10_000, 10_000, Some(1024), 448),
            (2_500, 10_000, Some(1024), 112),
            (1, 10_000, Some(1024), 1),
            (100, 100, Some(64), 1),
        ] {
            assert_eq!(fit(part, all, limit), fitting, "{part} of {all}, {limit:?}");
        }
    }
}
