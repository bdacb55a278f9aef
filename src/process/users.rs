//! User ids that stand for nobody, and the numbers of groups.
//!
//! In a user namespace the kernel shows one id, the overflow id, for every user that the namespace does not
//! map (`user_namespaces(7)`). It is then the id of many users at once, so it never proves a caller.

use std::{fs, io, sync::LazyLock};

use nix::unistd::Group;
use rustix::process::{getegid, geteuid, getgroups};

/// Whether a user id is the overflow id: the usual one, or the one that this kernel is set to.
pub fn is_overflow(uid: u32) -> bool {
    uid == USUAL_OVERFLOW_UID || uid == *OVERFLOW_UID
}

/// Whether this process's user namespace maps a user id, so that it can be seen on a socket.
pub fn is_mapped(uid: u32) -> bool {
    // Other systems have no such namespaces.
    fs::read_to_string("/proc/self/uid_map").map_or(true, |map| maps(&map, uid))
}

/// The number of a group, given by name or as a number. A name that the system does not know is an error.
pub fn group_id(group: &str) -> io::Result<u32> {
    // The greatest number stands for "no change" in chown(2).
    if let Some(number) = group.parse().ok().filter(|number| *number != u32::MAX) {
        return Ok(number);
    }
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the system has no such group");
    Ok(Group::from_name(group)?.ok_or_else(unknown)?.gid.as_raw())
}

/// Whether this process may give its files to a group: it is a member, or root.
pub fn may_give_to(group: u32) -> bool {
    let groups = getgroups().unwrap_or_default();
    let mut own = groups.into_iter().chain([getegid()]).map(rustix::fs::Gid::as_raw);
    geteuid().is_root() || own.any(|own| own == group)
}

/// Lines of the first id inside, the first outside, and how many (`user_namespaces(7)`).
fn maps(map: &str, uid: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|number| number.parse::<u64>().unwrap_or(0));
        let (first, _, count) = (numbers.next(), numbers.next(), numbers.next());
        let first = first.unwrap_or_default();
        (first..first.saturating_add(count.unwrap_or_default())).contains(&u64::from(uid))
    })
}

/// The id that this kernel is set to. A sandbox may hide the setting.
static OVERFLOW_UID: LazyLock<u32> = LazyLock::new(|| {
    let setting = fs::read_to_string("/proc/sys/kernel/overflowuid");
    setting.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(USUAL_OVERFLOW_UID)
});

/// Linux's default, which is also the user `nobody` of most distributions.
const USUAL_OVERFLOW_UID: u32 = 65534;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_maps_ranges() {
        let whole = "         0          0 4294967295\n";
        let unit = "         0          0          1\n     65122      65122          1\n";
        assert!(maps(whole, 0) && maps(whole, 1001));
        assert!(maps(unit, 0) && maps(unit, 65122) && !maps(unit, 1001) && !maps(unit, 65123));
        assert!(!maps("", 0));
    }

    #[test]
    fn a_group_has_a_name_or_a_number() {
        assert_eq!(group_id("0").unwrap(), 0);
        assert_eq!(group_id("4242").unwrap(), 4242);
        assert_eq!(group_id("root").unwrap(), 0);
        for unknown in ["no-such-group", "", "-1", "4294967295"] {
            assert!(group_id(unknown).is_err(), "{unknown}");
        }
    }

    #[test]
    fn files_can_be_given_to_a_group_of_ones_own() {
        assert!(may_give_to(getegid().as_raw()));
        assert_eq!(may_give_to(4_294_967_294), geteuid().is_root());
    }

    #[test]
    fn the_overflow_id_is_no_user() {
        assert!(is_overflow(65534) && !is_overflow(0) && !is_overflow(1001));
    }
}
