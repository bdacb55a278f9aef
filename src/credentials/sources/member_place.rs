//! Where the name of a template's member stands in a path.

use crate::domain::{PROFILE_PLACE, ProfileName};

/// Where the name of a member first stands in a path: `run/pigello/customer-{profile}.d/values`.
pub(super) struct Place<'a> {
    /// `run/pigello/`, with its last slash, which may be all of it.
    pub(super) parent: &'a str,
    /// `customer-`
    before: &'a str,
    /// `.d`
    after: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn of(path: &'a str) -> Option<Self> {
        let (before, after) = path.split_once(PROFILE_PLACE)?;
        let folder = before.rfind('/').map_or(0, |slash| slash + 1);
        let (parent, before) = before.split_at(folder);
        let after = after.split('/').next().unwrap_or_default();
        Some(Self { parent, before, after })
    }

    /// The member that an entry of the parent belongs to.
    pub(super) fn member(&self, entry: &str) -> Option<ProfileName> {
        let name = entry.strip_prefix(self.before)?.strip_suffix(self.after)?;
        ProfileName::of_member(name.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_anywhere_in_a_path() {
        for (path, parent, entry, member) in [
            ("pigello/{profile}", "pigello/", "acme", Some("acme")),
            ("{profile}", "", "acme", Some("acme")),
            ("a/x-{profile}/b", "a/", "x-acme", Some("acme")),
            ("a/x-{profile}/b", "a/", "acme", None),
            ("a/{profile}.d", "a/", "acme.d", Some("acme")),
            ("a/{profile}.d", "a/", "acme", None),
        ] {
            let place = Place::of(path).unwrap();
            assert_eq!(place.parent, parent, "{path}");
            assert_eq!(place.member(entry), member.map(ProfileName::new), "{path} {entry}");
        }
    }
}
